"""Arrays that lie on a GPU: those of CuPy, torch and others by DLPack, those of Numba by the CUDA array interface.

They are used where they lie. Only functions that are given such an array load CuPy.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array
from fastprobe.errors import DeviceError, InputError

__all__ = ["adopted", "fingerprint", "first_not_finite", "gpu_of", "plain", "to_host"]

_ON_GPU = (2, 13)  # kDLCUDA and kDLCUDAManaged of DLPack
_BLOCK = 1 << 23  # entries that a fingerprint widens at once: 64 MiB


def plain(a: Any) -> Any:
    """Cut a tensor off from the gradients that torch keeps for it; give any other array as it is."""
    return a.detach() if hasattr(a, "detach") else a


def gpu_of(a: Any) -> int | None:
    """Number of the GPU that an array lies on; None if it is not on one."""
    if hasattr(a, "__dlpack_device__"):
        kind, number = a.__dlpack_device__()
        return int(number) if int(kind) in _ON_GPU else None
    if hasattr(a, "__cuda_array_interface__"):
        try:
            import cupy as cp
        except ImportError:
            return 0  # which one makes no difference: without CuPy none can be used
        return int(cp.cuda.runtime.pointerGetAttributes(a.__cuda_array_interface__["data"][0]).device)
    return None


def adopted(a: Any, where: str) -> Array:
    """Give a CuPy array that shares the memory of an array on a GPU, ordered after its producer on the current stream.

    Parameters
    ----------
    a : array
        For which :func:`gpu_of` gives a number.
    where : str
        Named in messages.

    Raises
    ------
    DeviceError
        If CuPy cannot be used here.
    InputError
        If CuPy has no such type.
    """
    from fastprobe.backend.cuda.presence import find_gpus

    found = find_gpus()
    if not found.count:
        raise DeviceError(
            where, found=f"an array on a GPU, but {found.reason}", expected="a GPU that CuPy can use",
            fix=f"{found.fix}; or copy the array to the host",
        )  # fmt: skip
    import cupy as cp

    try:
        with cp.cuda.Device(gpu_of(a)):
            return cp.from_dlpack(plain(a)) if hasattr(a, "__dlpack_device__") else cp.asarray(a)
    except (BufferError, TypeError, ValueError, NotImplementedError) as error:
        raise InputError(
            where,
            found=f"an array of {getattr(a, 'dtype', 'an unknown type')} that CuPy cannot use ({error})",
            expected="float64, float32, float16 or integers",
            fix="convert the values, with x.float() for example",
        ) from error


def first_not_finite(xp: Any, x: Array) -> tuple[int, int] | None:
    """Row and column of the first NaN or infinity of a matrix; None if there is none."""
    finite = xp.isfinite(x)
    if bool(finite.all()):
        return None
    row, column = divmod(int(finite.argmin()), x.shape[1])
    return row, column


def fingerprint(xp: Any, x: Array) -> bytes:
    """Sixteen bytes that tell matrices apart, computed where they lie.

    Two sums ``sum_ij a_i b_j bits(x_ij)`` modulo 2^64 with fixed odd random a and b: two matrices that differ, and were
    not made to deceive, share one with a probability of about 2^-63.

    Parameters
    ----------
    xp : namespace
    x : array, shape (n, d)
        C-contiguous, of 1, 2, 4 or 8 bytes an entry.
    """
    bits, (n, d) = x.view(f"uint{8 * x.dtype.itemsize}"), x.shape
    rows = max(1, _BLOCK // d)
    sums = []
    for seed in (1, 2):
        rng = np.random.RandomState(seed)
        b, a = (xp.asarray(rng.randint(0, 2**64, size, dtype=np.uint64) | np.uint64(1)) for size in (d, n))
        blocks = [(bits[lo : lo + rows] * b).sum(axis=1) for lo in range(0, n, rows)]
        sums.append((xp.concatenate(blocks) * a).sum())
    return blake2b(to_host(xp.stack(sums)).tobytes(), digest_size=16).digest()


def to_host(a: Array) -> NDArray[Any]:
    """Copy an array of CuPy to the host."""
    return a if isinstance(a, np.ndarray) else a.get()
