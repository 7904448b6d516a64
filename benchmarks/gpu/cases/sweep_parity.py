"""The same sweeps from the CPU engine and from the device; a chapter of the part ``parity``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fastprobe
from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding, Missed
from benchmarks.gpu.options import ALPHA
from fastprobe.backend import Backend
from fastprobe.embeddings import Submission
from fastprobe.sweeps.table import Sweep
from fastprobe.tasks import Benchmark

__all__ = ["COMPONENTS_TOLERANCE", "TOLERANCE", "compare", "difference"]

TOLERANCE = 1e-9
"""Largest difference of a fold score."""

COMPONENTS_TOLERANCE = 1e-8
"""The same for principal components: an eigenvector turns by rounding over the gap to its neighbours."""

_FEW_FOLDS = 5  # where the CPU would take long: eigenvectors of every fold, and strengths chosen in every fold
_FRACTIONS = (0.1, 0.5, 1.0)
_KEYS = ("task", "order", "seed", "size", "alpha", "bits", "quantizer", "fraction")


def difference(found: Sweep, expected: Sweep, tolerance: float) -> Finding:
    """Compare two sweeps of one submission.

    Parameters
    ----------
    found, expected : Sweep
    tolerance : float
        For fold scores.

    Returns
    -------
    Finding
        Largest difference of fold scores and of Q (relative to Q), and where the first is.

    Raises
    ------
    Missed
        If a fold score differs by more than the tolerance, or has a value on one side only, or the rows are not of the
        same sizes, orders and so on.
    """
    if not found.table.select(_KEYS).equals(expected.table.select(_KEYS)):
        raise Missed(Finding(f"{len(found)} rows, which are not those of the {len(expected)} expected"))
    gap = _gap(_fold_scores(found), _fold_scores(expected))
    q, reference = (_column(sweep, "q") for sweep in (found, expected))
    q_gap = _gap(q, reference) / np.maximum(np.nan_to_num(np.abs(reference)), 1e-3)
    worst = int(gap.max(axis=1).argmax())
    where = ", ".join(f"{key} {value}" for key in _KEYS if (value := found.table[key][worst].as_py()) is not None)
    largest, largest_q = float(gap[worst].max()), float(q_gap.max())
    values = {
        "fold_difference": largest, "q_difference": largest_q, "where": where, "tolerance": tolerance,
        "rows": len(found), "devices": sorted({*_texts(found, "device"), *_texts(expected, "device")}),
        "remarks": sorted({remark for remarks in found.table["notes"].to_pylist() for remark in remarks}),
    }  # fmt: skip
    finding = Finding(
        f"fold scores {largest:.1e} (at most {tolerance:.0e}), Q {largest_q:.1e} relative, {len(found)} rows", values
    )
    if not largest <= tolerance:
        raise Missed(Finding(f"{finding.text}; worst: {where}", values))
    return finding


def _gap(found: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Absolute differences; 0 where neither is a number, infinite where one of them is none."""
    gap = np.where(np.isnan(found) & np.isnan(expected), 0.0, np.abs(found - expected))
    return np.where(np.isnan(gap), np.inf, gap)


def _column(sweep: Sweep, name: str) -> NDArray[np.float64]:
    return np.array(sweep.table[name].to_numpy(), dtype=np.float64)


def _fold_scores(sweep: Sweep) -> NDArray[np.float64]:
    flat = sweep.table["fold_scores"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.array(flat, dtype=np.float64).reshape(len(sweep), -1)


def _texts(sweep: Sweep, name: str) -> set[str]:
    return set(sweep.table[name].unique().to_pylist())


def _sweeps(benchmark: Benchmark, d: int, folds: int) -> Iterator[tuple[str, Benchmark, dict[str, Any], float]]:
    """Names, tasks, options and tolerances."""
    every: dict[str, Any] = {"sizes": "all", "protocol": "ridge", "alpha": ALPHA, "folds": folds}
    few = {**every, "folds": min(folds, _FEW_FOLDS)}
    yield "all sizes", benchmark, every, TOLERANCE
    orders = {"orders": ("variance", "random"), "random_orders": 2, "alpha": 1.0}
    yield "all sizes, orders variance and random", benchmark, every | orders, TOLERANCE
    yield "all sizes, principal components", benchmark, few | {"orders": ("pca",)}, COMPONENTS_TOLERANCE
    quantizers = {"bits": (8, 1), "quantizers": ("uniform", "dimension", "sign")}
    yield "all sizes, bit widths", benchmark, every | quantizers, TOLERANCE
    yield "all sizes, learning curve", benchmark, every | {"fractions": _FRACTIONS}, TOLERANCE
    yield "all sizes, chosen strength", benchmark, few | {"alpha": "auto"}, TOLERANCE
    classes = replace(benchmark, tasks=tuple(task for task in benchmark.tasks if task.kind == "classification"))
    if classes.tasks:
        yield "logistic, 2 sizes", classes, few | {"protocol": "logistic", "sizes": (max(1, d // 8), d)}, TOLERANCE


def compare(context: Context, title: str, submission: Submission, benchmark: Benchmark) -> None:
    """Sweep a submission on both, in several ways."""
    for name, tasks, options, tolerance in _sweeps(benchmark, submission.x.shape[1], context.options.folds):

        def swept(device: Backend | str, tasks: Benchmark = tasks, options: dict[str, Any] = options) -> Sweep:
            return fastprobe.sweep([submission], tasks, device=device, **options)

        def work(swept: Any = swept, tolerance: float = tolerance) -> Finding:
            return difference(swept(context.target.backend), swept("cpu"), tolerance)

        context.ledger.measure(f"{title}: sweep, {name}", work)
