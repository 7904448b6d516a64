"""From the number of a GPU to its backend."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from fastprobe.backend.cuda.presence import remedy
from fastprobe.errors import DeviceError

if TYPE_CHECKING:
    from fastprobe.backend.cuda.backend import CudaBackend

__all__ = ["open_device"]

_log = logging.getLogger(__name__)

LANES = 8
"""Sample groups that are worked on at the same time: small factorisations leave most of a GPU idle."""


def open_device(number: int, *, lanes: int = LANES, limit: int | None = None) -> CudaBackend:
    """Return the backend of a GPU that is there.

    Parameters
    ----------
    number : int
    lanes : int
    limit : int, optional
        Bytes of device memory to take at most; by default a share of what is free.

    Raises
    ------
    DeviceError
        If CuPy finds a GPU, but not the libraries of CUDA.
    """
    try:
        import cupy as cp
        from cupy.cuda import nvrtc

        from fastprobe.backend.cuda.backend import CudaBackend
        from fastprobe.backend.cuda.gpu import Gpu
        from fastprobe.backend.cuda.libraries import CudaLibraries
        from fastprobe.backend.cuda.modules import Modules

        nvrtc.getVersion()  # loads the library
    except (ImportError, RuntimeError) as error:
        raise DeviceError(
            "--device",
            found=f"a GPU and CuPy, but not all libraries of CUDA ({str(error).splitlines()[0]})",
            expected="cuBLAS, cuSOLVER and NVRTC",
            fix=f"{remedy()}, which brings them",
        ) from error
    gpu = Gpu(number, lanes=lanes, limit=limit)
    if not gpu.fast_float64:
        _log.info(
            "%s: float64 is slow on this GPU; ridge takes float32 with float64 refinement where it pays", gpu.name
        )
    return CudaBackend(cp, gpu, CudaLibraries(), Modules(), lanes=lanes)
