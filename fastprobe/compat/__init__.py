"""Stand-ins for other programs: their commands and files, computed by fastprobe."""
