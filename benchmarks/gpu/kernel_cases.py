"""Our kernels at the sizes of the E2S workload: their arguments, and what they have to read, write and compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.gpu.cases.ceilings import Floor, drawn

__all__ = ["Call", "KernelCase", "kernel_cases"]

Array = Any


@dataclass(frozen=True, eq=False)
class Call:
    """Arguments of one call of a launcher, after `launch`.

    Attributes
    ----------
    arguments : tuple
    written : tuple of array
        What the kernel writes, all of it: finite numbers, counts that are not negative, or true.
    """

    arguments: tuple[Any, ...]
    written: tuple[Array, ...]


@dataclass(frozen=True, eq=False)
class KernelCase:
    """One kernel at one size.

    Attributes
    ----------
    kernel : str
        Name of the launcher in :mod:`fastprobe.kernels.gpu`.
    size : str
    floor : Floor
    make : callable
        Of namespace and seed: the arguments.
    inputs : int
        Sets of arguments to rotate through, larger than the cache together.
    scratch : bool
        Whether the launcher asks for an allocator.
    """

    kernel: str
    size: str
    floor: Floor
    make: Callable[[Any, int], Call]
    inputs: int = 3
    scratch: bool = False


def _normal(xp: Any, seed: int, *shape: int, dtype: str = "float64") -> Array:
    return xp.asarray(drawn(shape, dtype, seed))


def _subsets(seed: int, n: int, *shape: int) -> np.ndarray:
    """Distinct rows along the last axis."""
    rng, (*count, m) = np.random.RandomState(seed), shape
    return np.array([rng.permutation(n)[:m] for _ in range(int(np.prod(count)))]).reshape(shape)


def _gather(n: int, d: int) -> KernelCase:
    def make(xp: Any, seed: int) -> Call:
        x, rows = _normal(xp, seed, n, d, dtype="float32"), xp.asarray(_subsets(seed, n, n))
        out = xp.empty((n, d))
        return Call((x, rows, xp.ones(n, dtype=bool), x.mean(axis=0, dtype="float64"), None, out), (out,))

    return KernelCase("standardize_gather", f"{n} x {d}, float32", Floor(12.0 * n * d + 9 * n, 1.0 * n * d), make)


def _press(count: int, m: int, t: int) -> KernelCase:
    def make(xp: Any, seed: int) -> Call:
        half = _normal(xp, seed, count, m, m) / (3 * m**0.5)  # I - half half' has eigenvalues from 5/9 to 1
        blocks = xp.eye(m) - xp.matmul(half, half.swapaxes(1, 2))
        rhs, sizes = _normal(xp, seed + 1, count, m, t), xp.full(count, m, dtype="int64")
        v, ok, error = xp.empty((count, m, t)), xp.empty(count, dtype=bool), xp.empty(count)
        return Call((blocks, sizes, rhs, v, ok, error), (v, ok, error))

    floor = Floor(8.0 * count * (m * m + 2 * m * t), count * (m**3 / 3 + 4.0 * m * m * t))
    return KernelCase("block_press", f"{count} sets of {m}, {t} tasks", floor, make, inputs=8)


def _metrics(n: int, count: int, m: int, columns: int) -> KernelCase:
    def make(xp: Any, seed: int) -> Call:
        y, rows = _normal(xp, seed, n, 1), xp.asarray(_subsets(seed, n, count, m))
        residuals, sizes = _normal(xp, seed + 1, count, m, columns), xp.full(count, m, dtype="int64")
        out = xp.empty((7, count, columns))
        return Call((y, rows, sizes, residuals, out), (out,))

    floor = Floor(8.0 * count * m * (columns + 2), 8.0 * count * m * columns)
    return KernelCase("fold_metrics", f"{count} folds of {m}, {columns} columns", floor, make)


def _train(n: int, d: int, count: int, epochs: int, m: int) -> KernelCase:
    batch = 64

    def make(xp: Any, seed: int) -> Call:
        x, y = _normal(xp, seed, n, d, dtype="float32"), _normal(xp, seed + 1, n, dtype="float32")
        order = xp.asarray(_subsets(seed, n, count, epochs, m).astype(np.int32))
        weights = xp.zeros((count, epochs + 1, d + 1), dtype="float32")
        fitted = xp.empty((count, 0, 0), dtype="float32")
        return Call((x, xp.arange(n), y, order, batch, 1e-3, False, weights, fitted), (weights[:, 1:],))

    samples, steps = count * epochs * m, count * epochs * -(-m // batch)
    floor = Floor(4.0 * samples * d, 4.0 * samples * d + 14.0 * steps * d, "float32", cached=True)
    size = f"{count} folds of {m} x {d}, {epochs} epochs"
    return KernelCase("train_linear", size, floor, make, inputs=2, scratch=True)


def _predict(n: int, d: int, count: int, epochs: int, m: int) -> KernelCase:
    def make(xp: Any, seed: int) -> Call:
        x, rows = _normal(xp, seed, n, d, dtype="float32"), xp.asarray(_subsets(seed, n, count, m))
        weights, out = _normal(xp, seed + 1, count, epochs, d + 1, dtype="float32"), xp.empty((count, epochs, m), "f4")
        return Call((x, rows, weights, out), (out,))

    floor = Floor(4.0 * count * m * d, 2.0 * count * epochs * m * d, "float32", cached=True)
    return KernelCase("predict_linear", f"{count} folds of {m} x {d}, {epochs} weight vectors", floor, make, inputs=2)


def _prefix(kernel: str, count: int, m: int, d: int, t: int) -> KernelCase:
    def make(xp: Any, seed: int) -> Call:
        features, z = _normal(xp, seed, count, m, d) / d**0.5, _normal(xp, seed + 1, count, d, t)
        mean, y = xp.zeros((count, t)), xp.sign(_normal(xp, seed + 2, count, m, t))
        sizes = xp.full(count, m, dtype="int64")
        out = xp.empty((count, t, d)) if kernel == "prefix_scan" else xp.empty((count, t, 3, d), dtype="int32")
        return Call((features, z, mean, y, sizes, out), (out,))

    floor = Floor(8.0 * count * (m * d + 2 * d * t), 5.0 * count * m * d * t)
    return KernelCase(kernel, f"{count} folds of {m} x {d}, {t} tasks", floor, make, inputs=2, scratch=True)


def _logistic(n: int, count: int, columns: int) -> KernelCase:
    def make(xp: Any, seed: int) -> Call:
        eta, y = _normal(xp, seed, n, columns), (_normal(xp, seed + 1, n, 1) > 0).astype("float64")
        training = xp.asarray(np.random.RandomState(seed).random_sample((n, count)) < 0.9)
        task, fold = xp.zeros(columns, dtype="int64"), xp.arange(columns) % count
        residual, curvature, loss = xp.empty((n, columns)), xp.empty((n, columns)), xp.empty(columns)
        return Call((eta, y, training, task, fold, residual, curvature, loss), (residual, curvature, loss))

    floor = Floor(25.0 * n * columns, 20.0 * n * columns)
    return KernelCase("logistic_step", f"{n} samples, {columns} columns", floor, make, scratch=True)


def _softmax(n: int, count: int, problems: int, classes: int) -> KernelCase:
    def make(xp: Any, seed: int) -> Call:
        shape = n, problems, classes, count
        eta, codes = _normal(xp, seed, *shape), xp.arange(n) % classes
        training = xp.asarray(np.random.RandomState(seed).random_sample((n, count)) < 0.9)
        residual, shares, loss = xp.empty(shape), xp.empty(shape), xp.empty((problems, count))
        return Call((eta, codes, training, xp.arange(count), residual, shares, loss), (residual, shares, loss))

    pairs = n * problems * count
    floor = Floor(pairs * (24.0 * classes + 1.0), 20.0 * pairs * classes)
    return KernelCase("softmax_step", f"{n} samples, {problems} x {count} columns, {classes} classes", floor, make,
                      scratch=True)  # fmt: skip


def kernel_cases(scale: float, folds: int) -> list[KernelCase]:
    """Return the cases, at the sizes of the groups of the workload.

    Parameters
    ----------
    scale : float
        Factor on samples and dimensions.
    folds : int
    """

    def sized(size: int) -> int:
        return max(16, round(size * scale))

    n, d, biomass, heat = sized(13_260), sized(1024), sized(2415), sized(1659)
    m = -(-n // 10)
    return [
        _gather(n, d),
        _press(folds, -(-heat // 10), 2),
        _press(8 * folds, -(-heat // 10), 2),
        _metrics(n, folds, m, 60),
        _train(n, d, folds, 10, n - m),
        _predict(n, d, folds, 10, m),
        _prefix("prefix_scan", folds, -(-biomass // 10), d, 3),
        _prefix("prefix_confusion", folds, -(-biomass // 10), d, 3),
        _logistic(biomass, folds, 12 * folds),
        _softmax(biomass, folds, 10, 4),
    ]
