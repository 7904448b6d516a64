"""What the device can do: the numbers that all others are shares of; a chapter of the part ``kernels``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding
from benchmarks.gpu.target import Target
from benchmarks.gpu.timing import Measured, measure, readable

__all__ = ["Ceilings", "Floor", "drawn", "measure_ceilings", "run"]

_COPY, _CACHED = 1 << 30, 16 << 20  # bytes: far more than any cache holds, and less than a large one does
_ORDER = 4096
_GRAM = 13_260, 1024
_NOTHING = 'extern "C" __global__ void nothing() {}'


@dataclass(frozen=True)
class Ceilings:
    """Rates of this device in this run.

    Attributes
    ----------
    memory : float
        Bytes a second, read and written, of a copy larger than the caches.
    cached : float
        The same of a copy that stays in the last cache.
    float64, float32 : float
        Flops a second of square products.
    """

    memory: float
    cached: float
    float64: float
    float32: float


@dataclass(frozen=True)
class Floor:
    """What a piece of work has to do.

    Attributes
    ----------
    bytes : float
        Each input read once, each output written once.
    flops : float
        Multiplications and additions.
    dtype : str
        ``float64`` or ``float32``.
    cached : bool
        Whether the bytes are rows that are read again and again, and come from the last cache.
    """

    bytes: float
    flops: float
    dtype: str = "float64"
    cached: bool = False

    def seconds(self, ceilings: Ceilings) -> float:
        """Least time that the ceilings allow."""
        rate = ceilings.float64 if self.dtype == "float64" else ceilings.float32
        return max(self.bytes / (ceilings.cached if self.cached else ceilings.memory), self.flops / rate)


def _copy(target: Target, size: int, inputs: int) -> tuple[float, Measured]:
    xp, count = target.xp, max(1, size // 8)
    pairs = [(xp.ones(count), xp.empty(count)) for _ in range(inputs)]

    def work(i: int) -> None:
        source, destination = pairs[i]
        destination[...] = source

    found = measure(target, work, inputs=inputs)
    return 16 * count / found.median_seconds, found


def _product(target: Target, shape: tuple[int, int, int], dtype: str, *, gram: bool = False) -> tuple[float, Measured]:
    """Rate of ``A B`` for shapes (m, k) and (k, n), or of ``X'X`` for an X of shape (k, n)."""
    xp, (m, n, k) = target.xp, shape
    right, left = (xp.asarray(drawn((size, k), dtype)) for size in (n, m))
    inputs = []
    for _ in range(3):  # the same numbers in other places
        columns = xp.ascontiguousarray(right.T)
        inputs.append((columns.T if gram else left.copy(), columns, xp.empty((m, n), dtype=dtype)))

    def work(i: int) -> None:
        left, right, out = inputs[i]
        xp.matmul(left, right, out=out)

    found = measure(target, work, inputs=len(inputs))
    return 2.0 * m * n * k / found.median_seconds, found


def drawn(shape: tuple[int, ...], dtype: str, seed: int = 0) -> NDArray[Any]:
    """Draw normal numbers on the host: cuRAND may not be installed."""
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32).astype(dtype)


def _sized(size: int, scale: float) -> int:
    return max(64, round(size * min(1.0, scale)))


def measure_ceilings(target: Target, scale: float) -> Ceilings:
    """Measure what other parts refer to.

    Parameters
    ----------
    target : Target
    scale : float
        Below 1 for a smoke test.
    """
    order = _sized(_ORDER, scale)
    return Ceilings(
        memory=_copy(target, _sized(_COPY, scale * scale), 2)[0],
        cached=_copy(target, _sized(_CACHED, scale * scale) // 2, 1)[0],
        float64=_product(target, (order, order, order), "float64")[0],
        float32=_product(target, (order, order, order), "float32")[0],
    )


def _transfer(context: Context, size: int, *, up: bool) -> Finding:
    target = context.target
    target.require_gpu()
    import cupyx

    host, device = cupyx.empty_pinned(size, dtype="uint8"), target.xp.empty(size, dtype="uint8")
    host[:] = 1
    work: Callable[[int], Any] = (lambda _: device.set(host)) if up else (lambda _: device.get(out=host))
    return _bandwidth(size, measure(target, work))


def _launch(context: Context) -> Finding:
    target = context.target
    target.require_gpu()
    kernel = target.xp.RawKernel(_NOTHING, "nothing")
    queued = measure(target, lambda _: kernel((1,), (32,), ()), seconds=1.0)

    def alone(_: int) -> None:
        kernel((1,), (32,), ())
        target.synchronize()

    waited = measure(target, alone, seconds=1.0)
    values = {"queued": queued.values(), "waited_for": waited.values()}
    text = f"{readable(queued.median_seconds)} each in a row, {readable(waited.median_seconds)} if waited for"
    return Finding(text, values)


def _bandwidth(size: float, found: Measured) -> Finding:
    rate = size / found.median_seconds
    return Finding(f"{rate / 1e9:.4g} GB/s", {**found.values(), "bytes": size, "bytes_per_second": rate})


def _flop_rate(flops: float, found: Measured) -> Finding:
    rate = flops / found.median_seconds
    return Finding(f"{rate / 1e12:.3g} TFLOP/s", {**found.values(), "flops": flops, "flops_per_second": rate})


def run(context: Context) -> None:
    """Measure copies, products, transfers and launches."""
    target, scale, ledger = context.target, context.options.scale, context.ledger
    large, cached, order = _sized(_COPY, scale * scale), _sized(_CACHED, scale * scale) // 2, _sized(_ORDER, scale)
    rows, columns = _sized(_GRAM[0], scale), _sized(_GRAM[1], scale)

    def copied(size: int, inputs: int) -> Finding:
        return _bandwidth(16 * (size // 8), _copy(target, size, inputs)[1])

    def multiplied(m: int, n: int, k: int, dtype: str, *, gram: bool = False) -> Finding:
        return _flop_rate(2.0 * m * n * k, _product(target, (m, n, k), dtype, gram=gram)[1])

    ledger.measure(f"copy on the device, {large / 2**20:.4g} MiB (read and written)", lambda: copied(large, 2))
    ledger.measure(f"copy within the cache, {cached / 2**20:.3g} MiB (read and written)", lambda: copied(cached, 1))
    for dtype in ("float64", "float32"):
        ledger.measure(f"{dtype} product, {order}^3", lambda dtype=dtype: multiplied(order, order, order, dtype))  # type: ignore[misc]
        ledger.measure(
            f"{dtype} X'X by the full product, {rows} x {columns}",
            lambda dtype=dtype: multiplied(columns, columns, rows, dtype, gram=True),  # type: ignore[misc]
        )
    size = math.prod((_sized(_GRAM[0], scale), _sized(_GRAM[1], scale), 4))
    ledger.measure("pinned host to device, one submission", lambda: _transfer(context, size, up=True))
    ledger.measure("device to pinned host, one submission", lambda: _transfer(context, size, up=False))
    ledger.measure("kernel launch", lambda: _launch(context))
