"""Where a kernel test runs: on the host always, on a device where there is one (``-m gpu``)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cuda_host.launcher import host_launch

__all__ = ["TARGETS", "Target", "make_target"]

TARGETS = ["host", pytest.param("cuda", marks=pytest.mark.gpu)]
"""Values for ``pytest.mark.parametrize("where", TARGETS)``."""


@dataclass(frozen=True)
class Target:
    """A launch function and its memory.

    Attributes
    ----------
    launch : callable
        See :class:`fastprobe.kernels.gpu.Launch`.
    put, get : callable
        From the host to the target, and back.
    """

    launch: Callable[..., None]
    put: Callable[[Any], Any]
    get: Callable[[Any], NDArray[Any]]

    def run(self, launcher: Callable[..., None], *args: Any) -> list[Any]:
        """Call a launcher with all arrays on the target; returns the arguments as they are afterwards, on the host."""
        placed = [self.put(a) if isinstance(a, np.ndarray) else a for a in args]
        launcher(self.launch, *placed)
        return [self.get(b) if isinstance(a, np.ndarray) else a for a, b in zip(args, placed, strict=True)]


@cache
def make_target(where: str) -> Target:
    """Return the host, or the CUDA device; skips the test where there is none."""
    if where == "host":
        return Target(host_launch, lambda a: a.copy(), lambda a: a)
    cupy = pytest.importorskip("cupy", reason="CuPy is not installed")
    if not cupy.is_available():
        pytest.skip("there is no CUDA device")
    from fastprobe.backend.cuda.modules import Modules

    return Target(Modules(), cupy.array, cupy.asnumpy)
