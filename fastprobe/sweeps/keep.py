"""What a sweep says: the smallest size that keeps most of the full score, and the best score for the bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["CURVE_KEYS", "KEYS", "Frontier", "Kept", "frontier", "grouped", "smallest_sizes"]

KEYS = ("submission", "task", "order", "seed", "size", "alpha", "bits", "quantizer", "fraction")
"""Columns that tell the rows of a sweep apart."""

CURVE_KEYS = tuple(key for key in KEYS if key != "size")
"""What the rows of one curve over size have in common."""

_RESAMPLES = 1000
_SEED = 42
_BAND = (0.05, 0.95)


@dataclass(frozen=True)
class Kept:
    """The smallest size of one curve that keeps a share of its full score.

    Attributes
    ----------
    submission, task, order, seed, alpha, bits, quantizer, fraction
        What the rows of the curve have in common; see the columns of the sweep.
    metric : str
        Of the scores: r2, f1 or macro_f1.
    share : float
        Part of the full mean score that is to be kept.
    full_size : int
        Largest size of the curve.
    full_mean, full_q : float or None
        Mean score and Q at that size.
    size : int or None
        Smallest size whose mean score is at least ``share * full_mean``; None if the curve has no answer.
    low, high : int or None
        5 % and 95 % points of that size over resampled folds.
    bytes_per_sample : int or None
        Stored bytes of one sample at `size`.
    reason : str or None
        Why there is no answer.
    """

    submission: str
    task: str
    order: str
    seed: int | None
    alpha: float | None
    bits: int | None
    quantizer: str
    fraction: float
    metric: str
    share: float
    full_size: int
    full_mean: float | None
    full_q: float | None
    size: int | None = None
    low: int | None = None
    high: int | None = None
    bytes_per_sample: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Frontier:
    """The rate-distortion frontier of one submission on one task.

    Attributes
    ----------
    submission, task : str
    rows : tuple of int
        Rows of the sweep on the frontier, ascending by bytes.
    bytes_per_sample : tuple of int
        Stored bytes of a sample in these rows, ascending.
    mean : tuple of float
        Mean score in these rows, ascending.
    """

    submission: str
    task: str
    rows: tuple[int, ...]
    bytes_per_sample: tuple[int, ...]
    mean: tuple[float, ...]


def grouped(table: pa.Table, columns: Sequence[str]) -> dict[tuple[Any, ...], NDArray[np.int64]]:
    """Return the rows of each combination of values of some columns, in order of appearance.

    Parameters
    ----------
    table : pyarrow.Table
    columns : sequence of str

    Returns
    -------
    dict
        Values of `columns` -> row numbers, int64, ascending.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for row, values in enumerate(zip(*(table[name].to_pylist() for name in columns), strict=True)):
        groups.setdefault(values, []).append(row)
    return {values: np.array(rows, dtype=np.int64) for values, rows in groups.items()}


def smallest_sizes(table: pa.Table, shares: Sequence[float] = (0.99, 0.95)) -> list[Kept]:
    """Return, for each curve over size and each share, the smallest size that keeps that share of the full mean score.

    A curve is what has one submission, task, order, seed, alpha, bits, quantizer and fraction, and at least two sizes.
    Its full score is that of its largest size.

    Parameters
    ----------
    table : pyarrow.Table
        Rows of a sweep.
    shares : sequence of float
        Above 0, at most 1.

    Returns
    -------
    list of Kept
        Curves in order of appearance, the shares of each in their order.

    Raises
    ------
    InputError
        If a share is out of range.

    Notes
    -----
    The uncertainty is that of a bootstrap over folds: 1,000 times as many folds are drawn with replacement (the same
    for every size, so the curves of a draw belong together), the smallest size is read off again, and the 5 % and 95 %
    points of these sizes are given. Folds that overlap are not independent, so this says how much the answer depends on
    the choice of folds, and is no confidence interval for new samples. In a draw whose full score is not above 0, or
    without a fold that has one, only the full size keeps it.
    """
    for share in shares:
        if not 0 < share <= 1:
            raise InputError("shares", found=repr(share), expected="numbers above 0, at most 1", fix="write 0.99, say")
    return [kept for keys, rows in _size_curves(table) for kept in _kept(table.take(rows), keys, shares)]


def frontier(table: pa.Table) -> list[Frontier]:
    """Return the rate-distortion frontier of every submission on every task.

    On it are the rows that score higher than every other row with as many bytes or fewer; of equal rows, the first.
    Only rows that train on all training rows take part.

    Parameters
    ----------
    table : pyarrow.Table
        Rows of a sweep.

    Returns
    -------
    list of Frontier
        In order of appearance, without those that have no score at all.
    """
    full = np.flatnonzero(table["fraction"].to_numpy() == 1.0)
    bytes_ = table["bytes_per_sample"].to_numpy()
    means = table["mean"].to_numpy()
    frontiers = []
    for (submission, task), group in grouped(table.take(full), ("submission", "task")).items():
        rows = full[group]
        rows = rows[~np.isnan(means[rows])]
        if len(rows) == 0:
            continue
        rows = rows[np.lexsort((-means[rows], bytes_[rows]))]
        best_before = np.maximum.accumulate(np.concatenate([[-math.inf], means[rows][:-1]]))
        rows = rows[means[rows] > best_before]
        columns = (tuple(column.tolist()) for column in (rows, bytes_[rows], means[rows]))
        frontiers.append(Frontier(submission, task, *columns))
    return frontiers


def _size_curves(table: pa.Table) -> Iterator[tuple[dict[str, Any], NDArray[np.int64]]]:
    """Yield the keys and the rows, ascending by size, of the curves with at least two sizes."""
    sizes = table["size"].to_numpy()
    for values, rows in grouped(table, CURVE_KEYS).items():
        if len(np.unique(sizes[rows])) > 1:
            yield dict(zip(CURVE_KEYS, values, strict=True)), rows[np.argsort(sizes[rows], kind="stable")]


def _kept(curve: pa.Table, keys: dict[str, Any], shares: Sequence[float]) -> Iterator[Kept]:
    sizes = curve["size"].to_numpy()
    means = curve["mean"].to_numpy()
    metric, full_mean, full_q = (curve[name][-1].as_py() for name in ("metric", "mean", "q"))
    common = {**keys, "metric": metric, "full_size": int(sizes[-1]), "full_mean": full_mean, "full_q": full_q}
    reason = _no_answer(sizes, means)
    if reason is not None:
        yield from (Kept(**common, share=share, reason=reason) for share in shares)
        return
    resampled = _resampled_means(curve)
    for share in shares:
        first = int(_first_kept(means[None], share)[0])
        low, high = np.quantile(sizes[_first_kept(resampled, share)], _BAND, method="inverted_cdf").tolist()
        bytes_ = curve["bytes_per_sample"][first].as_py()
        yield Kept(**common, share=share, size=int(sizes[first]), low=low, high=high, bytes_per_sample=bytes_)


def _no_answer(sizes: NDArray[np.int64], means: NDArray[np.float64]) -> str | None:
    missing = sizes[np.isnan(means)]
    if len(missing):
        more = f" and {len(missing) - 1} more sizes" if len(missing) > 1 else ""
        return f"no mean score at size {missing[0]}{more}"
    return None if means[-1] > 0 else "the full score is not above 0"


def _first_kept(means: NDArray[np.float64], share: float) -> NDArray[np.intp]:
    """Return, for each curve of (B, S) means over ascending sizes, the index of the first that keeps the share."""
    full = means[:, -1:]
    keeps = (means >= share * full) & (full > 0)
    keeps[:, -1] = True
    return keeps.argmax(axis=1)


def _resampled_means(curve: pa.Table) -> NDArray[np.float64]:
    """Return mean scores over resampled folds, (resamples, sizes); NaN where no fold of a draw has a score."""
    n_folds = curve["n_folds"][0].as_py()
    folds = curve["fold_scores"].combine_chunks().flatten().to_numpy(zero_copy_only=False)  # NaN for null
    scores = folds.reshape(len(curve), n_folds).T
    draws = np.random.default_rng(_SEED).multinomial(n_folds, np.full(n_folds, 1 / n_folds), size=_RESAMPLES)
    there = ~np.isnan(scores)
    totals = draws @ np.where(there, scores, 0.0)
    counts = draws @ there.astype(np.float64)
    return np.divide(totals, counts, out=np.full_like(totals, np.nan), where=counts > 0)
