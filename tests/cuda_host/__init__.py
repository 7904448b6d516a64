"""Runs the CUDA kernels on the CPU, from the same source files, on NumPy arrays.

:func:`host_launch` is a launch function for :mod:`fastprobe.kernels.gpu`. It compiles ``kernels/cuda/<source>`` with
g++ against ``shim.h`` and runs every thread of every block as a fiber. What a device would let pass is an error here:

* arguments whose number, type, layout or writability differs from the kernel's parameters;
* barriers that not all live threads reach, undefined behaviour (misaligned vectors, overflow), writes outside an array
  or outside shared memory;
* results that depend on the order in which threads run between barriers (a barrier is missing): every launch runs
  twice, with the threads in opposite orders.

Shared memory holds NaN before every block, so that a read of what nobody wrote shows in the result.
"""

from __future__ import annotations

from cuda_host.compiler import KernelError
from cuda_host.launcher import host_launch, make_host_launch

__all__ = ["KernelError", "host_launch", "make_host_launch"]
