"""NeuCo-Bench's linear probe step by step, as its code reads, in NumPy's float32.

Random numbers are drawn from one generator where torch draws them (MT19937, seeded with 42): the weights of a fold, and
for every epoch the order of the training and of the held-out samples. Folds are trained one after another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastprobe.audit.metrics import Cells, reachable
from fastprobe.audit.refit import Candidate, Fold
from fastprobe.specs import ReplaySpec

__all__ = ["PROMISED", "Replayed", "scaled", "unit_labels"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
F = np.float32

PROMISED = 5e-5
"""What a fold score may differ by (relative where its size is above 1), and an output (relative to the largest):
float32 sums in another order, over a few hundred steps."""

_SAME = 1e-6  # F1 of the same counts, in float32


def scaled(x: NDArray[np.generic], *, width: int | None, standardize: bool) -> Singles:
    """Pad an embedding with zeros, and standardise it by one mean and one standard deviation.

    Both are float32 sums in the order in which pandas keeps the array of NeuCo-Bench: column after column.
    """
    padded = np.zeros((len(x), width or x.shape[1]), dtype=F)
    padded[:, : x.shape[1]] = x
    if not standardize:
        return padded
    columns = np.ascontiguousarray(padded.T)
    std = columns.std()
    return (padded - columns.mean()) / (std if std != 0 else F(1))


def unit_labels(y: NDArray[np.float64]) -> Singles:
    """Labels mapped to 0 .. 1; NaN where all are the same."""
    with np.errstate(invalid="ignore"):
        return ((y - y.min()) / (y.max() - y.min())).astype(F)


@dataclass(frozen=True, eq=False)
class Replayed:
    """The replay of a task.

    Attributes
    ----------
    x : ndarray of float32, shape (n, D)
        Standardised rows of the task.
    y : ndarray of float32, shape (n,)
        As they are trained on.
    logistic : bool
        A classification.
    spec : ReplaySpec
    n_folds : int
    before : sequence of int
        Sizes of the tasks that draw before it.
    """

    x: Singles
    y: Singles
    logistic: bool
    spec: ReplaySpec
    n_folds: int
    before: Sequence[int]

    def fold(self, number: int, recorded: float | None, recorded_choice: Candidate | None = None) -> Fold:
        """Train a fold and hold it against its record, which has no choice: there is no strength."""
        n, d = self.x.shape
        words, splitter = RandomState(42), RandomState(42)
        of_probe = d + 1 + self.spec.epochs * 2 if self.spec.store_probes else 0
        for size in self.before:
            _draw(words, self.n_folds * self._of_fold(size) + of_probe)
        _draw(words, number * self._of_fold(n))
        for _ in range(number + 1):
            order = splitter.permutation(n)
        held_out, train = order[: math.ceil(0.1 * n)], order[math.ceil(0.1 * n) :]
        with np.errstate(all="ignore"):  # a rate that is too high ends in NaN, as there
            outputs = self._outputs(words, train, held_out)
            return replace(self._judged(number, outputs, self.y[held_out], recorded), recorded_choice=recorded_choice)

    def _of_fold(self, n: int) -> int:
        """Words that a fold of a task draws: D + 1 for weights, and n + 2 in every epoch."""
        return self.x.shape[1] + 1 + self.spec.epochs * (n + 2)

    def _outputs(self, words: RandomState, train: Ints, held_out: Ints) -> list[Singles]:
        """Train by AdamW, and return the outputs for the held-out samples after every epoch."""
        rate, weights = self.spec.learning_rate, _initial(words, self.x.shape[1])
        first, second, step = np.zeros_like(weights), np.zeros_like(weights), 0
        outputs = []
        for _ in range(self.spec.epochs):
            order = train[_order(words, len(train))]
            for start in range(0, len(order), self.spec.batch_size):
                rows = order[start : start + self.spec.batch_size]
                z, step = self.x[rows] @ weights[:-1] + weights[-1], step + 1
                slopes = self._slopes(z, self.y[rows])
                gradient = np.append(slopes @ self.x[rows], slopes.sum(dtype=F))
                weights = weights * F(1 - rate * 0.01)
                first = first + F(1 - 0.9) * (gradient - first)
                second = F(0.999) * second + F(1 - 0.999) * gradient * gradient
                size = np.sqrt(second) / F(math.sqrt(1 - 0.999**step)) + F(1e-8)
                weights = weights - F(rate / (1 - 0.9**step)) * (first / size)
            _order(words, len(held_out))  # the metrics do not depend on the order
            outputs.append(self.x[held_out] @ weights[:-1] + weights[-1])
        return outputs

    def _slopes(self, z: Singles, y: Singles) -> Singles:
        """Derivatives of the mean loss of a batch by its outputs."""
        return (F(1) / (F(1) + np.exp(-z)) - y if self.logistic else F(2) * (z - y)) / F(len(z))

    def _judged(self, number: int, outputs: Sequence[Singles], y: Singles, recorded: float | None) -> Fold:
        """Take the best epoch, as NeuCo-Bench does."""
        if not self.logistic:
            score = max((s for z in outputs if not math.isnan(s := _r2(z, y))), default=None)
            return Fold(number, recorded, score, 0.0 if score is None else PROMISED * max(1.0, abs(score)))
        epochs = [_f1_scores(z, y) for z in outputs]
        best = max(of_epoch[0] for of_epoch in epochs)
        if recorded is None or abs(recorded - best) <= _SAME:
            return Fold(number, recorded, best, _SAME)
        # Decided otherwise within rounding, some epoch has the score in the record and none need have a higher one.
        there = [s for of_epoch in epochs for s in of_epoch if abs(s - recorded) <= _SAME]
        if there and all(min(of_epoch) <= recorded + _SAME for of_epoch in epochs):
            return Fold(number, recorded, there[0], _SAME, undecided=True)
        return Fold(number, recorded, best, _SAME)


def _draw(words: RandomState, count: int) -> NDArray[np.uint32]:
    return words.randint(0, 2**32, size=count, dtype=np.uint32)


def _initial(words: RandomState, d: int) -> Singles:
    """Weights and bias of ``torch.nn.Linear(d, 1)``, uniform within +-1/sqrt(d) as torch rounds that for each."""
    gain = math.sqrt(2.0 / (1 + math.sqrt(5) ** 2))
    bounds = np.full(d + 1, F(math.sqrt(3.0) * (gain / math.sqrt(d))))
    bounds[d] = F(1 / math.sqrt(d))
    u = (_draw(words, d + 1) & np.uint32(0xFFFFFF)) / 2.0**24
    return (u * (bounds + bounds).astype(np.float64) - bounds).astype(F)


def _order(words: RandomState, n: int) -> list[int]:
    """An order of n samples: two words seed the loader, and the others swap each sample with one that follows."""
    _draw(words, 2)
    order = list(range(n))
    for i, word in enumerate(_draw(words, n - 1).tolist()):
        j = i + word % (n - i)
        order[i], order[j] = order[j], order[i]
    return order


def _r2(outputs: Singles, y: Singles) -> float:
    """R2 of torchmetrics: sums in float32; 1 where there is hardly a residual, 0 where labels hardly differ."""
    residual = F(((y - outputs).astype(np.float64) ** 2).sum())
    squares, total = F((y.astype(np.float64) ** 2).sum()), F(y.astype(np.float64).sum())
    spread = F(squares - total * F(total / F(len(y))))
    if residual <= F(1e-4):
        return 1.0
    return 0.0 if abs(spread) <= F(1e-4) else float(F(1) - F(residual / spread))


def _f1_scores(outputs: Singles, y: Singles) -> list[float]:
    """F1 of torchmetrics, and what it may be if outputs are off within rounding.

    Outputs that all lie in [0, 1] are taken for probabilities and cut at 0.5, others for logits and cut at 0. Without
    any positive, found or true, it is 0.
    """
    off = PROMISED * max(1.0, float(np.abs(outputs).max()))
    low, high = float(outputs.min()), float(outputs.max())
    scores = []
    for slack in (0.0, off, -off):
        cut = 0.5 if low >= -slack and high <= 1 + slack else 0.0
        decisions = outputs.astype(np.float64)[:, None] - cut
        scores += [_f1(cells) for cells in reachable((y == 1).astype(np.int64), decisions, off, 2)]
    return scores


def _f1(cells: Cells) -> float:
    _, fp, fn, tp = cells
    return 2 * tp / (2 * tp + fp + fn) if 2 * tp + fp + fn else 0.0
