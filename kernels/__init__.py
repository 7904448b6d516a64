"""Kernels: arrays in, arrays out. Installed as ``fastprobe.kernels``."""
