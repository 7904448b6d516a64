"""The cost model: which route solves the folds of a sample group soonest, within memory.

Work is counted in multiply-add pairs times two (flops) by kind, divided by the rate at which the device does that kind
of work, and summed. Only ratios matter, and they are much the same on all CPUs: matrix products run near the peak,
triangular solves at half, small Cholesky factorisations at a fifth, and products with scattered rows at the speed of
the cache. :mod:`fastprobe.backend.rates` has them by device; ``python -m benchmarks`` shows predicted beside measured
times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from fastprobe.backend.rates import CPU, Rates
from fastprobe.errors import InputError

__all__ = ["ROUTE_NAMES", "Plan", "Rates", "Shape", "choose_route", "estimate"]

ROUTE_NAMES: tuple[str, ...] = ("direct", "downdate", "iterate", "dual", "mixed")

_CONVERGED = 1e-11  # relative residual at which conjugate gradients stop
_CORRECTIONS, _COARSE = 3, 1e-6  # of the route mixed: how many, and the relative residual of each
_BATCH_BYTES = 2**26  # of one of its products with all samples


@dataclass(frozen=True)
class Shape:
    """Size of a ridge problem.

    Attributes
    ----------
    n, d, t : int
        Samples, features, tasks.
    sets : int
        Left-out sets K.
    m : int
        Rows of the largest set.
    alphas : int
        Strengths.
    """

    n: int
    d: int
    t: int
    sets: int
    m: int
    alphas: int = 1


@dataclass(frozen=True)
class Plan:
    """A chosen route.

    Attributes
    ----------
    route : str
    seconds : mapping of str to float
        Estimate for every route; infinite where it does not apply.
    forced : bool
        Whether the caller named the route.
    """

    route: str
    seconds: Mapping[str, float]
    forced: bool = False


def choose_route(shape: Shape, *, route: str | None = None, memory: float = math.inf, rates: Rates = CPU) -> Plan:
    """Choose the cheapest route whose working memory fits.

    The route *mixed* computes in float32, and is chosen only for devices that are slow in float64.

    Parameters
    ----------
    shape : Shape
    route : str, optional
        Take this one; ``auto`` and None choose.
    memory : float
        Bytes that the route may use beside the features.
    rates : Rates
        Of the device.

    Raises
    ------
    InputError
        If the named route does not exist, or no route fits into memory.
    """
    estimates = {name: estimate(shape, name, rates) for name in ROUTE_NAMES}
    seconds = {name: e.seconds for name, e in estimates.items()}
    if route not in (None, "auto"):
        if route not in ROUTE_NAMES:
            names = ", ".join(ROUTE_NAMES)
            raise InputError(
                "--route", found=repr(route), expected=f"auto, {names}", fix="correct the name of the route"
            )
        return Plan(route, seconds, forced=True)
    eligible = {name: e for name, e in estimates.items() if name != "mixed" or rates.slow_float64}
    fitting = {name: e.seconds for name, e in eligible.items() if e.bytes <= memory}
    if not fitting:
        least = min(e.bytes for e in eligible.values())
        raise InputError(
            "memory",
            found=f"{memory / 2**30:.1f} GiB for {shape.n} samples x {shape.d} features",
            expected=f"at least {least / 2**30:.1f} GiB",
            fix="use a machine with more memory, or fewer features",
        )
    return Plan(min(fitting, key=fitting.__getitem__), seconds)


@dataclass(frozen=True)
class Estimate:
    """Cost of a route: seconds, and bytes beside the features."""

    seconds: float
    bytes: float


def estimate(shape: Shape, route: str, rates: Rates = CPU) -> Estimate:
    """Estimate what a route costs for a problem of this shape, on a device with these rates."""
    n, d, m, a, k = shape.n, shape.d, shape.m, shape.alphas, shape.sets
    columns = shape.t * a
    path = a > 1
    gram = n * d * d / rates.gemm
    # what the factorisation of the d x d matrix costs, for one strength or for all of a path
    factor = _eigh(d, rates) + 2 * n * d * d / rates.gemm if path else d**3 / 3 / rates.potrf
    if route == "direct":
        whiten = 0.0 if path else n * d * d / rates.trsm
        solve = k * a * (m * m * d / rates.gemm + m**3 / 3 / rates.potrf)
        return Estimate(gram + factor + whiten + solve, 8.0 * (n * d + 2 * d * d + 2 * m * d + 3 * m * m))
    if route == "downdate":
        solve = k * (m * d * d / rates.gemm + a * d**3 / 3 / rates.potrf)
        return Estimate(gram + solve, 8.0 * (4 * d * d + 3 * m * d))
    if route == "iterate":
        steps = _iterations(shape, _CONVERGED)
        if path:
            solve = steps * k * 4 * m * d * columns / rates.gemm
            return Estimate(gram + factor + solve, 8.0 * (2 * n * d + 3 * d * d + 2 * m * d + 8 * m * columns))
        per_step = 4 * k * m * d * columns / rates.rows + 2 * d * d * k * columns / rates.trsm
        return Estimate(gram + factor + steps * per_step, 8.0 * (2 * d * d + 4 * k * (m + d) * columns))
    if route == "mixed":
        return _mixed(shape, rates)
    kernel = n * n * d / rates.gemm
    invert = a * n**3 / rates.potrf
    solve = k * a * m**3 / 3 / rates.potrf
    return Estimate(kernel + invert + solve, 8.0 * (n * d + 4 * n * n + 3 * m * m))


def _mixed(shape: Shape, rates: Rates) -> Estimate:
    """A float32 factor for every strength; corrections of all columns; two products with all samples for each."""
    n, d, m, a, k = shape.n, shape.d, shape.m, shape.alphas, shape.sets
    columns = k * shape.t * a
    gram = n * d * d / rates.gemm32
    factor = a * (d**3 / 3 / rates.potrf32 + (2 * n * d * d + d**3) / rates.gemm32)
    residuals = (2 + 4 * _CORRECTIONS) * n * d * columns / rates.gemm
    steps = _CORRECTIONS * _iterations(shape, _COARSE)
    correct = steps * 4 * m * d * columns / rates.rows32 + _CORRECTIONS * 4 * d * d * columns / rates.gemm32
    batch = min(_BATCH_BYTES, 8 * n * k * shape.t)
    return Estimate(gram + factor + residuals + correct, 8.0 * (n * d + 2 * d * d + m * d) + 4.0 * batch)


def _eigh(d: int, rates: Rates) -> float:
    return 6 * d**3 / rates.eigh


def _iterations(shape: Shape, residual: float) -> float:
    """Steps of conjugate gradients, from the edge of the spectrum of H_SS for features without structure.

    With d of n degrees of freedom and m of n rows left out, the largest eigenvalue of H_SS is close to
    ``(sqrt(a (1 - b)) + sqrt(b (1 - a)))^2``, a = m / n, b = d / n (Wachter 1980). A penalty only lowers it.
    """
    a, b = shape.m / shape.n, min(1.0, shape.d / shape.n)
    if a + b >= 1:
        return math.inf
    edge = (math.sqrt(a * (1 - b)) + math.sqrt(b * (1 - a))) ** 2
    root = math.sqrt(1 / (1 - edge))
    return math.log(residual) / math.log((root - 1) / (root + 1))
