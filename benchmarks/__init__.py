"""Benchmarks of fastprobe beside its peers, run side by side in one process: ``python -m benchmarks``."""
