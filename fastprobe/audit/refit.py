"""One fold after another: choose a strength where the protocol has one chosen, fit, predict, score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastprobe.audit.metrics import f1, r2, r2_shift, reachable
from fastprobe.audit.splits import Splits

__all__ = ["PROMISED", "Candidate", "Fold", "Predictions", "Probe", "Refits", "rounding", "squared_losses"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PROMISED = 1e-8
"""What a fold score may differ by beside what rounding explains (relative where its size is above 1); see
``docs/verify.md``."""

_EPS = float(np.finfo(np.float64).eps)
_SAME = 1e-12  # F1 of the same counts


@dataclass(frozen=True)
class Candidate:
    """What may be chosen for a fold.

    Attributes
    ----------
    alpha : float
    kernel : str
        As the record has it; empty but for the probe ``kernel``.
    """

    alpha: float
    kernel: str = ""

    def __str__(self) -> str:
        return f"alpha {self.alpha:g}" + (f", {self.kernel}" if self.kernel else "")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions of fitted candidates.

    Attributes
    ----------
    values : ndarray, shape (candidates, rows, columns)
        Labels for a regression; else decision values: one column for two classes, of which the second is predicted
        above 0, or a column for each class. Minus infinity for a class that did not train.
    error : ndarray, shape (candidates,)
        How far the values of the engine may be off, or these.
    """

    values: Floats
    error: Floats


class Probe(Protocol):
    """A probe on the samples of a task, which it can be fitted to any of."""

    @property
    def candidates(self) -> Sequence[Candidate]:
        """Of equally good ones the largest strength is taken, and then the first."""

    def predict(self, train: Ints, rows: Ints, which: Sequence[int]) -> Predictions:
        """Fit some candidates, given by their numbers, to some rows, and predict others."""

    def losses(self, predictions: Predictions, rows: Ints) -> tuple[Floats, Floats]:
        """Losses of predicted rows and how far they may be off, each (candidates, rows); NaN for rows to pass over."""


@dataclass(frozen=True)
class Fold:
    """A fold that was refitted, beside its record.

    Attributes
    ----------
    number : int
    recorded, score : float or None
        The score in the record, and that of the refit; None for none. Where samples are undecided and another
        decision on them gives the score in the record, it is that.
    tolerance : float
        By how much the two may differ.
    recorded_choice, choice : Candidate or None
        In the record, and of the refit; None for probes that have none.
    tied : bool
        Whether the choice in the record is as good as that of the refit within rounding, and was taken.
    undecided : bool
        Whether samples whose decision value is 0 within rounding (or the same for two classes) had to be decided
        otherwise to reach the score in the record.
    """

    number: int
    recorded: float | None
    score: float | None
    tolerance: float
    recorded_choice: Candidate | None = None
    choice: Candidate | None = None
    tied: bool = False
    undecided: bool = False

    @property
    def difference(self) -> float | None:
        """Size of the difference of the scores; None if one of them is missing."""
        if self.recorded is None or self.score is None:
            return None
        return abs(self.recorded - self.score)

    @property
    def agrees(self) -> bool:
        """Whether the scores agree."""
        if self.difference is None:
            return self.recorded is None and self.score is None
        return self.difference <= self.tolerance  # not if it is NaN

    @property
    def chosen_alike(self) -> bool:
        """Whether the choices agree."""
        return self.recorded_choice == self.choice


@dataclass(frozen=True, eq=False)
class Refits:
    """Refits of a task.

    Attributes
    ----------
    probe : Probe
    splits : Splits
    y : ndarray of float64, shape (n,)
        Labels; class numbers for a classification.
    classes : int
        M, 0 for a regression.
    """

    probe: Probe
    splits: Splits
    y: Floats
    classes: int
    _known: dict[bytes, Predictions] = field(init=False, repr=False, default_factory=dict)

    def fold(self, number: int, recorded: float | None, recorded_choice: Candidate | None) -> Fold:
        """Refit a fold and hold it against its record."""
        held_out = self.splits.held_out[number]
        train = self.splits.trains(held_out)
        if self.classes and min(len(np.unique(self.y[rows])) for rows in (train, held_out)) < 2:
            # Without a fit there is nothing to choose by; what the engine notes then is of no effect.
            return Fold(number, recorded, None, 0.0, recorded_choice, recorded_choice)
        best, tied = self._chosen(number, recorded_choice)
        found = self.probe.predict(train, held_out, [best])
        values, error, choice = found.values[0], float(found.error[0]), self.probe.candidates[best]
        if self.classes:
            decided, undecided = self._decided(held_out, values, error + PROMISED, recorded)
            return Fold(number, recorded, decided, _SAME, recorded_choice, choice, tied, undecided)
        y, predicted = self.y[held_out], values[:, 0]
        score = r2(y, predicted)
        tolerance = 0.0 if score is None else PROMISED * max(1.0, abs(score)) + r2_shift(y, predicted, error)
        return Fold(number, recorded, score, tolerance, recorded_choice, choice, tied)

    def _decided(self, held_out: Ints, values: Floats, error: float, recorded: float | None) -> tuple[float, bool]:
        """F1 of decision values, and whether samples had to be decided otherwise to reach that in the record."""
        truth = self.y[held_out].astype(np.int64)
        scores = [f1(cells) or 0.0 for cells in reachable(truth, values, error, self.classes)]  # of two classes or more
        alike = (score for score in scores if recorded is not None and abs(score - recorded) <= _SAME)
        score = next(alike, scores[0])
        return score, score != scores[0]

    def _chosen(self, number: int, recorded: Candidate | None) -> tuple[int, bool]:
        """Number of the candidate for a fold, and whether that of the record was taken for one as good."""
        candidates = self.probe.candidates
        if len(candidates) == 1:
            return 0, False
        total, slack, count = np.zeros(len(candidates)), np.zeros(len(candidates)), 0
        for left_out, rows in self.splits.validation(number):
            found = self._inner(left_out)
            place = np.searchsorted(left_out, rows)
            losses, off = self.probe.losses(Predictions(found.values[:, place], found.error), rows)
            counted = ~np.isnan(losses[0])
            total += losses[:, counted].sum(axis=1)
            slack += off[:, counted].sum(axis=1)
            count += int(counted.sum())
        best = min(range(len(candidates)), key=lambda i: (total[i], -candidates[i].alpha))
        if recorded in candidates and candidates[best] != recorded:
            other = candidates.index(recorded)
            # A whole path of sums is rounded, too.
            if total[other] - slack[other] <= total[best] + slack[best] + 10 * _EPS * count * total[best]:
                return other, True
        return best, False

    def _inner(self, left_out: Ints) -> Predictions:
        """Predictions of all candidates for rows that are left out; two folds may need the same."""
        key = left_out.tobytes()
        if key not in self._known:
            every = range(len(self.probe.candidates))
            self._known[key] = self.probe.predict(self.splits.trains(left_out), left_out, every)
        return self._known[key]


def rounding(largest: float, alpha: float, y: Floats) -> float:
    """Bound on the error of a prediction by a float64 solve of ``K + alpha I``.

    It is the condition number times rounding times the labels; a hundred is for sums over rows.

    Parameters
    ----------
    largest : float
        Largest eigenvalue of K, or more.
    alpha : float
    y : ndarray
        Labels.
    """
    return 100.0 * _EPS * (1.0 + largest / alpha) * float(np.abs(y).max())


def squared_losses(predictions: Predictions, y: Floats) -> tuple[Floats, Floats]:
    """Squared errors of predictions, summed over columns, and how far they may be off; each (candidates, rows)."""
    residuals, error = np.abs(predictions.values - y), predictions.error[:, None, None]
    return (residuals**2).sum(axis=2), (2.0 * residuals * error + error**2).sum(axis=2)
