"""``python -m fastprobe`` is ``fastprobe``."""

from __future__ import annotations

from fastprobe.cli import main

if __name__ == "__main__":
    main()
