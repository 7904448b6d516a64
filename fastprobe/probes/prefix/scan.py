"""Scores and losses of every number of leading features, from the statistics of one scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend
from fastprobe.probes.prefix.cells import Cells

__all__ = ["Columns", "Predictions", "Truth", "losses", "scores"]

Floats = NDArray[np.float64]

_BLOCK_BYTES = 2**26  # of decision values of several classes that are held at once


@dataclass(frozen=True)
class Columns:
    """Label columns of some tasks.

    Attributes
    ----------
    of_task : tuple of slice
        Columns of each: one for a regression and two classes, M for M > 2 classes.
    classification : tuple of bool
    """

    of_task: tuple[slice, ...]
    classification: tuple[bool, ...]

    def __len__(self) -> int:
        return len(self.of_task)

    @cached_property
    def regressions(self) -> list[int]:
        """Tasks that are regressions."""
        return [j for j, is_one in enumerate(self.classification) if not is_one]

    @cached_property
    def binary(self) -> list[int]:
        """Tasks of two classes."""
        return [j for j in self._classified if self.of_task[j].stop - self.of_task[j].start == 1]

    @cached_property
    def multiple(self) -> list[int]:
        """Tasks of more classes."""
        return [j for j in self._classified if self.of_task[j].stop - self.of_task[j].start > 1]

    @property
    def _classified(self) -> list[int]:
        return [j for j, is_one in enumerate(self.classification) if is_one]


@dataclass(frozen=True, eq=False)
class Truth:
    """What the labels of P parts say of themselves.

    Attributes
    ----------
    tss : ndarray of float64, shape (P, t)
        Sum of squares about the mean of the part; exactly 0 where a column is constant.
    mixed : ndarray of bool, shape (P, t)
        Whether a column has more than one value.
    """

    tss: Floats
    mixed: NDArray[np.bool_]

    @classmethod
    def of(cls, y: Floats, cells: Cells) -> Truth:
        """Look at labels of shape (n, t)."""
        parts = [y[cells.rows(p)] for p in range(len(cells.cell))]
        mixed = np.array([(part != part[:1]).any(axis=0) for part in parts])
        tss = np.array([((part - part.mean(axis=0)) ** 2).sum(axis=0) for part in parts])
        return cls(np.where(mixed, tss, 0.0), mixed)


@dataclass(frozen=True, eq=False)
class Predictions:
    """Rows of q parts, padded, and how they are predicted; see :func:`fastprobe.kernels.reference.prefix_scan`.

    Attributes
    ----------
    features : array, shape (q, m, d)
    z : array, shape (q, d, t)
    mean : array, shape (q, t)
    y : array, shape (q, m, t)
        Labels.
    sizes : ndarray of int64, shape (q,)
        Rows of each part, on the host.
    """

    features: Array
    z: Array
    mean: Array
    y: Array
    sizes: NDArray[np.int64]

    def only(self, backend: Backend, columns: Sequence[int]) -> Predictions:
        """Keep some label columns."""
        if list(columns) == list(range(self.z.shape[2])):
            return self
        kept = backend.asarray(np.array(columns))
        z, mean, y = (backend.xp.ascontiguousarray(a[..., kept]) for a in (self.z, self.mean, self.y))
        return Predictions(self.features, z, mean, y, self.sizes)


def losses(backend: Backend, columns: Columns, predicted: Predictions, sizes: NDArray[np.int64]) -> Floats:
    """Mean squared error of every part, task and size, (q, tasks, S), summed over the columns of a task."""
    sse = _squares(backend, predicted, sizes)
    return np.stack([sse[:, of].sum(axis=1) for of in columns.of_task], axis=1) / predicted.sizes[:, None, None]


def scores(
    backend: Backend, columns: Columns, predicted: Predictions, sizes: NDArray[np.int64], truth: Truth, parts: slice
) -> Floats:
    """R2, F1 or macro F1 of every part, task and number of features, (q, tasks, S); NaN where labels are constant.

    As :func:`fastprobe.metrics.fold_scores`.
    """
    out = np.full((len(predicted.sizes), len(columns), len(sizes)), np.nan)
    if columns.regressions:
        which = [columns.of_task[j].start for j in columns.regressions]
        sse, tss = _squares(backend, predicted.only(backend, which), sizes), truth.tss[parts][:, which, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            out[:, columns.regressions] = np.where(tss > 0, 1.0 - sse / tss, np.nan)
    if columns.binary:
        which = [columns.of_task[j].start for j in columns.binary]
        some = predicted.only(backend, which)
        counts = backend.prefix_confusion(some.features, some.z, some.mean, some.y, some.sizes)
        hits, wrong, missed = np.moveaxis(backend.to_numpy(counts)[..., sizes - 1], 2, 0)
        with np.errstate(invalid="ignore"):
            f1 = 2.0 * hits / (2 * hits + wrong + missed)
        out[:, columns.binary] = np.where(truth.mixed[parts][:, which, None], f1, np.nan)
    for j in columns.multiple:
        of = columns.of_task[j]
        some = predicted.only(backend, range(of.start, of.stop))
        mixed: NDArray[np.bool_] = np.any(truth.mixed[parts][:, of], axis=1, keepdims=True)
        out[:, j] = np.where(mixed, _macro_f1(backend, some, sizes), np.nan)
    return out


def _squares(backend: Backend, predicted: Predictions, sizes: NDArray[np.int64]) -> Floats:
    """Squared errors (q, t, S)."""
    p = predicted
    sse = backend.prefix_scan(p.features, p.z, p.mean, p.y, p.sizes)
    return backend.to_numpy(sse)[..., sizes - 1]


def _macro_f1(backend: Backend, predicted: Predictions, sizes: NDArray[np.int64]) -> Floats:
    """Macro F1 (q, S) of the class with the largest decision value, its classes those in truth or predictions."""
    xp, p = backend.xp, predicted
    (q, m, d), classes = p.features.shape, p.z.shape[2]
    picked, numbers = backend.asarray(sizes - 1), xp.arange(classes)
    inside = xp.arange(m) < backend.asarray(p.sizes)[:, None]
    truth = p.y.argmax(axis=2)
    member = (truth[:, :, None] == numbers) & inside[:, :, None]
    hits, guesses = xp.zeros((q, classes, len(sizes))), xp.zeros((q, classes, len(sizes)))
    step = max(1, _BLOCK_BYTES // (16 * q * d * classes))
    for lo in range(0, m, step):
        rows = slice(lo, min(m, lo + step))
        steps = p.features[:, rows, :, None] * p.z[:, None]
        values = xp.cumsum(steps, axis=2)[:, :, picked] + p.mean[:, None, None]
        guess = values.argmax(axis=3)
        for c in range(classes):
            chosen = (guess == c) & inside[:, rows, None]
            guesses[:, c] += chosen.sum(axis=1)
            hits[:, c] += (chosen & member[:, rows, c, None]).sum(axis=1)
    members = member.sum(axis=1)[:, :, None]
    there = members + guesses > 0
    f1 = xp.where(there, 2.0 * hits / xp.where(there, members + guesses, 1.0), 0.0)
    return backend.to_numpy(f1.sum(axis=1) / there.sum(axis=1))
