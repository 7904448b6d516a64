"""Ridge on leading features by one naive refit for every fold, size and strength, and problems to hold it against.

The error of a refit by the normal equations, relative to the largest label, is that of :mod:`problems`: the condition
number of ``X'X + alpha I`` times rounding. Principal components are also uncertain by their own directions: rounding of
the Gram matrix turns the leading s of them towards the others by ``rounding |G| / gap``, with the gap between the
eigenvalues s and s + 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from problems import EPS
from sklearn.linear_model import Ridge

from fastprobe.backend.base import Backend
from fastprobe.probes.prefix import Cells, Curves, PrefixProblem, complements, solve
from fastprobe.probes.prefix.scan import Columns, Predictions

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

KINDS = ("regression", "binary", "three classes")


@dataclass(frozen=True, eq=False)
class Case:
    """Features (n, d), their factors, labels of some tasks, and which rows train and which are predicted.

    Attributes
    ----------
    x : ndarray, shape (n, d)
    scale : ndarray, shape (d,), or None
    kinds : tuple of str
        Of :data:`KINDS`, a task each.
    labels : list of ndarray, each of shape (n,)
        Values, or class numbers.
    cells : Cells
    alphas : tuple of float
    """

    x: NDArray
    scale: Floats | None
    kinds: tuple[str, ...]
    labels: list[Floats]
    cells: Cells
    alphas: tuple[float, ...]

    @property
    def d(self) -> int:
        return self.x.shape[1]

    @cached_property
    def columns(self) -> Columns:
        ends = np.cumsum([0, *(3 if kind == "three classes" else 1 for kind in self.kinds)]).tolist()
        return Columns(
            tuple(slice(lo, hi) for lo, hi in pairwise(ends)),
            tuple(kind != "regression" for kind in self.kinds),
        )

    @cached_property
    def y(self) -> Floats:
        """Label columns, as least squares takes them."""
        of_kind = {
            "regression": lambda y: y[:, None],
            "binary": lambda y: 2 * y[:, None] - 1,
            "three classes": lambda y: np.where(y[:, None] == np.arange(3), 1.0, -1.0),
        }
        return np.concatenate([of_kind[kind](y) for kind, y in zip(self.kinds, self.labels, strict=True)], axis=1)

    @cached_property
    def scaled(self) -> Floats:
        """Features times their factors; a factor of 0 is that of a constant feature."""
        return self.x.astype(np.float64) * (1.0 if self.scale is None else self.scale)

    def problem(self, backend: Backend) -> PrefixProblem:
        design = backend.design(backend.asarray(self.x), np.arange(len(self.x)))
        return PrefixProblem(backend, design, backend.asarray(self.y), self.scale)

    def about_training(self, cell: int) -> tuple[Floats, Floats, Floats]:
        """Training rows, those to predict, and training labels, all less the training means; and the label means."""
        train, test = self.cells.trained[cell], self.cells.tested[cell]
        mean = self.scaled[train].mean(axis=0)
        return self.scaled[train] - mean, self.scaled[test] - mean, self.y[train]

    def tolerance(self, cell: int, alpha: float) -> float:
        """Bound on the error of a prediction by any number of features, relative to the largest label.

        The leave-out route starts from a fit on all rows, whose condition number is the largest.
        """
        centered = self.scaled - self.scaled.mean(axis=0)
        sizes = [np.linalg.norm(centered, 2), np.linalg.norm(self.about_training(cell)[0], 2)]
        return 100 * EPS * (1 + max(sizes) ** 2 / alpha)

    def turning(self, cell: int) -> Floats:
        """How far rounding turns the leading components of a fit, for every number of them, shape (d,)."""
        train = self.about_training(cell)[0]
        values = np.zeros(self.d + 1)
        roots = np.linalg.svd(train, compute_uv=False)
        values[: len(roots)] = roots**2
        rank = (values > 100 * EPS * values[0]).sum()
        gaps = values[:-1] - values[1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            turned = 100 * EPS * values[0] / gaps
        turned[rank:] = 0.0  # directions without training rows have no part in a prediction, whatever they are
        return turned


def draw(
    seed: int, n: int, d: int, folds: int, *, kinds: tuple[str, ...] = KINDS, alphas: Sequence[float] = (1.0,),
    share: float = 0.2, trains: float = 1.0, scaled: bool = False, dtype: Any = np.float64,
) -> Case:  # fmt: skip
    """Draw a case.

    Parameters
    ----------
    share : float
        Of the rows, that are predicted by a fit; folds differ in size.
    trains : float
        Of the other rows, that train.
    scaled : bool
        Features have factors, the last of which is 0, that of a constant feature (one of them is not).
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) * np.linspace(2, 0.2, d) + rng.standard_normal(d)
    if np.issubdtype(dtype, np.integer):
        x = np.round(20 * x).clip(0, 255)
    scale = None
    if scaled:
        scale = rng.uniform(0.01, 3, d)
        if d > 1:
            x[:, -1], scale[-1] = 7.0, 0.0
    x = x.astype(dtype)
    labels = []
    for kind in kinds:
        signal = x @ rng.standard_normal(d) / np.sqrt(d) + rng.standard_normal(n)
        ranks = np.argsort(np.argsort(signal)) / n
        labels.append(signal if kind == "regression" else np.floor((2 if kind == "binary" else 3) * ranks))
    tested = [np.sort(rng.permutation(n)[: max(1, int(share * n) - k % 3)]) for k in range(folds)]
    trained = [
        np.sort(rng.permutation(rest)[: max(2, int(trains * len(rest)) - k % 2)])
        for k, rest in enumerate(complements(tested, n))
    ]
    return Case(x, scale, kinds, labels, Cells.whole(trained, tested), tuple(alphas))


def refit(case: Case, cell: int, size: int, alpha: float, *, components: bool = False) -> Floats:
    """Predictions (m, t) of a refit by SciPy: least squares on training rows below which sqrt(alpha) I is stacked."""
    train, test, y = case.about_training(cell)
    if components:
        basis = np.linalg.svd(train, full_matrices=True)[2].T
        train, test = train @ basis, test @ basis
    stacked = np.vstack([train[:, :size], np.sqrt(alpha) * np.eye(size)])
    target = np.vstack([y - y.mean(axis=0), np.zeros((size, y.shape[1]))])
    return test[:, :size] @ scipy.linalg.lstsq(stacked, target, lapack_driver="gelsy")[0] + y.mean(axis=0)


def refit_sklearn(case: Case, cell: int, size: int, alpha: float) -> Floats:
    """The same by scikit-learn, which centres by itself."""
    train, test = case.cells.trained[cell], case.cells.tested[cell]
    model = Ridge(alpha=alpha, solver="svd").fit(case.scaled[train, :size], case.y[train])
    return model.predict(case.scaled[test, :size]).reshape(len(test), -1)


def predictions(
    case: Case, backend: Backend, *, components: bool = False, alphas: Sequence[float] | None = None
) -> tuple[Floats, Curves]:
    """What the probe predicts, shape (P, A, m, t, d), zero in padded slots; and how the fits went."""
    sizes = case.cells.stop - case.cells.start
    m, t, d = int(sizes.max()), case.y.shape[1], case.d

    def all_of_them(predicted: Predictions, parts: slice) -> Floats:
        features, z, mean = map(backend.to_numpy, (predicted.features, predicted.z, predicted.mean))
        values = np.cumsum(features[:, :, None] * z.swapaxes(1, 2)[:, None], axis=3) + mean[:, None, :, None]
        out = np.zeros((len(features), m, t, d))
        for k, size in enumerate(predicted.sizes):
            out[k, :size] = values[k, :size]
        assert np.array_equal(predicted.sizes, sizes[parts])
        for k, part in enumerate(range(parts.start, parts.stop)):  # labels come with the rows that they belong to
            found, truth = backend.to_numpy(predicted.y)[k, : predicted.sizes[k]], case.y[case.cells.rows(part)]
            assert np.abs(found - truth).max() <= 4 * EPS * np.abs(case.y).max()
        return out.reshape(len(features), m * t, d)

    alphas = case.alphas if alphas is None else alphas
    with backend.session():
        curves = solve(case.problem(backend), case.cells, alphas, all_of_them, (m * t, d), components=components)
    return curves.values.reshape(len(sizes), len(alphas), m, t, d), curves


def score(kind: str, truth: Floats, predicted: Floats) -> float:
    """R2, F1 or macro F1 of labels (m,) and predictions (m, columns); NaN where it is undefined.

    The formulas of scikit-learn, which takes longer to check its arguments than a refit does; a test compares.
    """
    if (truth == truth[0]).all():
        return float("nan")
    if kind == "regression":
        return float(1 - ((truth - predicted[:, 0]) ** 2).sum() / ((truth - truth.mean()) ** 2).sum())
    guess = (predicted[:, 0] > 0) * 1.0 if kind == "binary" else predicted.argmax(axis=1)
    each = {
        c: 2 * ((truth == c) & (guess == c)).sum() / ((truth == c).sum() + (guess == c).sum())
        for c in np.union1d(truth, guess)
    }
    return float(each[1.0] if kind == "binary" else np.mean([*each.values()]))


def undecided(kind: str, predicted: Floats, room: float) -> bool:
    """Whether some class is one of rounding."""
    if kind == "regression":
        return False
    if kind == "binary":
        return bool(np.abs(predicted).min() <= room)
    first, second = np.sort(predicted, axis=1)[:, -1:-3:-1].T
    return bool((first - second).min() <= room)
