"""Compiling the CUDA C++ kernels of ``kernels/cuda`` with NVRTC, and launching them."""

from __future__ import annotations

import threading
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Any

import cupy as cp

__all__ = ["SOURCES", "Modules", "compile_options", "source_text"]

SOURCES = Path(str(files("fastprobe.kernels"))) / "cuda"
"""Folder of the ``.cu`` and ``.cuh`` files."""

_WITHOUT_ASKING = 48 * 1024  # bytes of shared memory, static and dynamic together, that any kernel may have


class Modules:
    """Launches kernels on the current device and stream; see :class:`fastprobe.kernels.gpu.Launch`.

    A source file is compiled when its first kernel is launched. CuPy keeps the result on disk.
    """

    def __init__(self, folder: Path = SOURCES) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._kernels: dict[tuple[int, str, str], Any] = {}
        self._shared: dict[tuple[int, str, str], int] = {}

    def __call__(
        self, source: str, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...],
        shared: int = 0,
    ) -> None:  # fmt: skip
        """Run `kernel` of the file `source`."""
        self._kernel(source, kernel, shared)(grid, block, args, shared_mem=shared)

    def _kernel(self, source: str, name: str, shared: int) -> Any:
        """Return a kernel that may have so much dynamic shared memory; the limit is raised once, not at each launch."""
        key = cp.cuda.runtime.getDevice(), source, name
        with self._lock:
            if key not in self._kernels:
                text = source_text(self._folder, source)
                module = cp.RawModule(code=text, options=compile_options(self._folder), backend="nvrtc")
                self._kernels[key] = module.get_function(name)
                self._shared[key] = _WITHOUT_ASKING - self._kernels[key].shared_size_bytes
            if shared > self._shared[key]:
                self._kernels[key].max_dynamic_shared_size_bytes = shared
                self._shared[key] = shared
            return self._kernels[key]


def compile_options(folder: Path) -> tuple[str, ...]:
    """Return the options of NVRTC; nvcc takes the same."""
    return ("-std=c++17", f"-I{folder}")


def source_text(folder: Path, source: str) -> str:
    """Return the text of a source file, and below it a digest of all headers.

    CuPy finds compiled code by the text that it is given, in which the headers are only named.
    """
    digest = blake2b(digest_size=16)
    for header in sorted(folder.glob("*.cuh")):
        digest.update(header.read_bytes())
    return f"{(folder / source).read_text(encoding='utf-8')}\n// headers: {digest.hexdigest()}\n"
