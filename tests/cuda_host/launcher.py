"""The launch function: checks a call as strictly as it can be, then runs it."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cuda_host.compiler import KernelError, Library, Parameter, build

__all__ = ["host_launch", "make_host_launch"]

SOURCES = Path(__file__).resolve().parents[2] / "kernels" / "cuda"
MAX_BLOCK, MAX_GRID = (1024, 1024, 64), (2**31 - 1, 65535, 65535)
MAX_SHARED = 227 * 1024  # of a block on compute capability 9.0
GUARD = 256  # bytes watched on both sides of an array, and the alignment that is kept


class Guarded:
    """A copy of an array with the same alignment, between guards."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array
        self.buffer = np.full(array.nbytes + 4 * GUARD, 0xFF, dtype=np.uint8)
        base = self.buffer.ctypes.data
        self.start = -(-(base + GUARD) // GUARD) * GUARD - base + array.ctypes.data % GUARD
        self.address = base + self.start
        self.data[:] = array.reshape(-1).view(np.uint8)

    @property
    def data(self) -> NDArray[np.uint8]:
        return self.buffer[self.start : self.start + self.array.nbytes]

    def is_intact(self) -> bool:
        outside = self.buffer.sum(dtype=np.int64) - self.data.sum(dtype=np.int64)
        return bool(outside == 0xFF * (self.buffer.size - self.array.nbytes))


def make_host_launch(folder: Path) -> Callable[..., None]:
    """Return a launch function for the .cu files of a folder; see :class:`fastprobe.kernels.gpu.Launch`."""

    def launch(
        source: str, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared: int = 0
    ) -> None:
        library = build(folder / source)
        where = f"{source}:{kernel}"
        if kernel not in library.kernels:
            raise KernelError(f"{where}: there are only the kernels {sorted(library.kernels)}")
        parameters = library.kernels[kernel].parameters
        if len(args) != len(parameters):
            raise KernelError(f"{where}: {len(args)} arguments for {len(parameters)} parameters")
        for argument, parameter in zip(args, parameters, strict=True):
            _check_argument(where, argument, parameter)
        _check_overlap(where, args, parameters)
        extents = _extents(where, "grid", grid, MAX_GRID), _extents(where, "block", block, MAX_BLOCK)
        if shared + library.dll.static_shared() > MAX_SHARED:
            raise KernelError(f"{where}: {shared} bytes of shared memory; a block gets at most {MAX_SHARED}")
        forwards, backwards = (_run(where, library, kernel, extents, args, shared, order) for order in (False, True))
        for parameter, argument, one, other in zip(parameters, args, forwards, backwards, strict=True):
            if not parameter.pointer:
                continue
            if not np.array_equal(one.data, other.data):
                raise KernelError(f"{where}: {parameter.name} depends on the order of threads: a barrier is missing")
            if not parameter.const:
                argument.reshape(-1).view(np.uint8)[:] = one.data

    return launch


host_launch = make_host_launch(SOURCES)


def _run(
    where: str, library: Library, kernel: str, extents: tuple[Any, Any], args: tuple[Any, ...], shared: int,
    backwards: bool,
) -> list[Any]:  # fmt: skip
    """Run on copies of the arrays; returns the copies, and the scalars as they are."""
    copies = [Guarded(a) if isinstance(a, np.ndarray) else a for a in args]
    values = [ctypes.c_void_p(c.address) if isinstance(c, Guarded) else _scalar(c) for c in copies]
    pointers = (ctypes.c_void_p * max(1, len(values)))(*[ctypes.addressof(v) for v in values])
    entry = getattr(library.dll, f"launch_{kernel}")
    entry.restype = ctypes.c_char_p
    message = entry(pointers, *extents, ctypes.c_ulong(shared), ctypes.c_bool(backwards))
    if message:
        raise KernelError(f"{where}: {message.decode()}")
    for argument, copy in zip(library.kernels[kernel].parameters, copies, strict=True):
        if isinstance(copy, Guarded) and not copy.is_intact():
            raise KernelError(f"{where}: wrote outside of {argument.name}, shape {copy.array.shape}")
    return copies


def _scalar(value: np.generic) -> Any:
    return ctypes.create_string_buffer(value.tobytes(), value.nbytes)


def _extents(where: str, name: str, given: tuple[int, ...], limits: tuple[int, ...]) -> Any:
    extents = (*given, 1, 1, 1)[:3]
    wrong = not 1 <= len(given) <= 3 or any(not 1 <= e <= limit for e, limit in zip(extents, limits, strict=True))
    if wrong or (name == "block" and np.prod(extents) > 1024):
        raise KernelError(f"{where}: the {name} {given} is empty or beyond the limits of a device")
    return (ctypes.c_uint * 3)(*extents)


def _check_argument(where: str, argument: Any, parameter: Parameter) -> None:
    name = f"{where}: {parameter.name}"
    kind = np.ndarray if parameter.pointer else np.generic
    if not isinstance(argument, kind):
        wanted = "an array" if parameter.pointer else "a NumPy scalar"
        raise KernelError(f"{name} is {type(argument).__name__}, not {wanted} of {parameter.dtype}")
    if argument.dtype != parameter.dtype:
        raise KernelError(f"{name} is of {argument.dtype}, not {parameter.dtype}")
    if parameter.pointer and not argument.flags.c_contiguous:
        raise KernelError(f"{name} is not C-contiguous")
    if parameter.pointer and not parameter.const and not argument.flags.writeable:
        raise KernelError(f"{name} is read-only")


def _check_overlap(where: str, args: tuple[Any, ...], parameters: tuple[Parameter, ...]) -> None:
    arrays = [(a, p) for a, p in zip(args, parameters, strict=True) if p.pointer]
    for (a, p), (b, q) in itertools.combinations(arrays, 2):
        if not (p.const and q.const) and np.may_share_memory(a, b):
            raise KernelError(f"{where}: {p.name} and {q.name} overlap, and one of them is written")
