"""The GPU suite: tests, parity and speed on one GPU, in one command: ``python -m benchmarks.gpu``."""
