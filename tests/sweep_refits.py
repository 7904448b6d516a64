"""What every row of a sweep must say, by one naive refit for every fold of it.

The scale is that of the whole embedding for every size; dimensions are cut off after standardisation. Refits are by the
normal equations, components by the singular value decomposition; of the first fold of every row scikit-learn is asked,
too, which takes ten times as long.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest
from logistic_twin import refit_sklearn
from numpy.typing import NDArray
from prefix_twin import score, undecided
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge

from fastprobe import Benchmark, FoldSpec, Protocol, Submission, Sweep, Task
from fastprobe.folds import Folds, make_folds
from fastprobe.probes.inner import plan_inner, plan_within

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCORES = 1e-9
"""Of fold scores, as :data:`parity.SCORES`; problems have condition numbers below 1e4, so that rounding is far less."""

EPS_Q = 0.02


@dataclass(frozen=True, eq=False)
class Refits:
    """The refits of one embedding.

    Attributes
    ----------
    values : ndarray of float64, shape (N, d)
        The numbers of the embedding; those of a stored one as its codes stand for.
    ids : ndarray of str, shape (N,)
    benchmark : Benchmark
    protocol : Protocol
    by_variance : ndarray of float64, shape (d,), optional
        Variances that order the dimensions, those of the values by default.
    pca_rows : {"train", "all"}
    standard : bool
        Whether the values are standardised already.
    """

    values: Floats
    ids: NDArray[np.str_]
    benchmark: Benchmark
    protocol: Protocol
    by_variance: Floats | None = None
    pca_rows: str = "train"
    standard: bool = False
    _folds: dict[str, Folds] = field(default_factory=dict)

    @cached_property
    def features(self) -> Floats:
        """The standardised values."""
        if self.standard or not self.protocol.standardize:
            return self.values
        known = self.values[np.isin(self.ids, self.benchmark.labelled_ids)]
        return (self.values - known.mean()) / known.std()

    def task(self, name: str) -> Task:
        return next(task for task in self.benchmark.tasks if task.name == name)

    def folds(self, task: Task) -> Folds:
        if task.name not in self._folds:
            self._folds[task.name] = make_folds(self.protocol.folds, task.ids, task.y, task.kind)
        return self._folds[task.name]

    def rows(self, task: Task) -> Ints:
        place = {sample: i for i, sample in enumerate(self.ids.tolist())}
        return np.array([place[sample] for sample in task.ids.tolist()])

    def training(self, task: Task, fraction: float) -> list[Ints]:
        """Rows of the task that train each fold: the first of one permutation, whatever the fraction."""
        trained = []
        for k, held in enumerate(self.folds(task).held_out):
            rows = np.setdiff1d(np.arange(len(task.ids)), held)
            if fraction < 1:
                count = max(2, int(np.ceil(round(fraction * len(rows), 6))))
                rows = np.random.default_rng([self.protocol.folds.seed, k]).permutation(rows)[:count]
            trained.append(np.sort(rows))
        return trained

    def ordered(self, task: Task, train: Ints, order: str, seed: int | None) -> Floats:
        """Features of the task, the dimensions in an order; those of a fold where it turns them for itself."""
        x = self.features[self.rows(task)]
        if order == "variance":
            variances = self.values.var(axis=0) if self.by_variance is None else self.by_variance
            return x[:, np.argsort(-variances, kind="stable")]
        if order == "random":
            return x[:, np.random.default_rng(seed).permutation(x.shape[1])]
        if order == "pca":
            whole = x[train] if self.pca_rows == "train" else self.features
            return (x - whole.mean(axis=0)) @ np.linalg.svd(whole - whole.mean(axis=0), full_matrices=False)[2].T
        return x

    def labels(self, task: Task) -> Floats:
        """Columns of labels as least squares takes them."""
        y = task.y[:, None]
        if task.kind == "regression":
            return y
        return np.where(y == np.arange(task.n_classes), 1.0, -1.0) if task.n_classes > 2 else 2 * y - 1

    def predict(self, task: Task, x: Floats, train: Ints, test: Ints, alpha: float, probe: str) -> Floats:
        """Predictions or decision values of a refit, (rows, columns)."""
        if probe == "logistic":
            fitted = refit_sklearn(x[train], task.y[train].astype(np.int64), task.n_classes, alpha)
            assert fitted is not None
            return fitted.decisions(x[test])
        y = self.labels(task)[train]
        mean, inside = x[train].mean(axis=0), x[train] - x[train].mean(axis=0)
        weights = np.linalg.solve(inside.T @ inside + alpha * np.eye(x.shape[1]), inside.T @ (y - y.mean(axis=0)))
        return (x[test] - mean) @ weights + y.mean(axis=0)

    def assert_sklearn(
        self, row: dict[str, Any], task: Task, train: Ints, test: Ints, alpha: float, predicted: Floats
    ) -> None:
        """Hold predictions of a ridge probe to those of scikit-learn's transformers and estimators."""
        x = self.ordered(task, train, "given" if row["order"] == "pca" else row["order"], row["seed"])
        if row["order"] == "pca":
            x = PCA(svd_solver="full").fit(x[train] if self.pca_rows == "train" else self.features).transform(x)
        model = Ridge(alpha=alpha, solver="svd").fit(x[train, : row["size"]], self.labels(task)[train])
        wanted = model.predict(x[test, : row["size"]]).reshape(predicted.shape)
        assert np.abs(predicted - wanted).max() <= SCORES * max(1.0, np.abs(task.y).max())

    def fold_scores(self, row: dict[str, Any]) -> list[float | None]:
        """Score every fold of a row of the table; None where a training or held-out set has one class or value."""
        task = self.task(row["task"])
        kind = "regression" if task.kind == "regression" else "binary" if task.n_classes == 2 else "three classes"
        found: list[float | None] = []
        for k, (train, test) in enumerate(
            zip(self.training(task, row["fraction"]), self.folds(task).held_out, strict=True)
        ):
            if task.kind == "classification" and len(set(task.y[train])) < 2:
                found.append(None)
                continue
            alpha = row["fold_alphas"][k] if row["alpha"] is None else row["alpha"]
            x = self.ordered(task, train, row["order"], row["seed"])[:, : row["size"]]
            predicted = self.predict(task, x, train, test, alpha, row["probe"])
            if k == 0 and row["probe"] == "ridge":
                self.assert_sklearn(row, task, train, test, alpha, predicted)
            assert not undecided(kind, predicted, 1e-9)
            value = score(kind, task.y[test], predicted)
            found.append(None if np.isnan(value) else value)
        return found

    def chosen(self, row: dict[str, Any], grid: tuple[float, ...]) -> list[float]:
        """Strength of every fold of a row by naive refits of ridge: least mean squared error of inner validation."""
        task, n = self.task(row["task"]), len(self.task(row["task"]).ids)
        folds, trained = self.folds(task), self.training(task, row["fraction"])
        inner, seed = self.protocol.inner_folds, self.protocol.folds.seed
        if row["fraction"] == 1:
            plan = plan_inner(folds.held_out, n, inner, seed, folds.groups)
        else:
            plan = plan_within(trained, n, inner, seed, folds.groups)
        y = self.labels(task)
        squares = np.zeros((len(trained), len(grid)))
        for fold, p, rows in plan.validate:
            train = np.setdiff1d(np.arange(n), plan.left_out[p])
            x = self.ordered(task, train, row["order"], row["seed"])[:, : row["size"]]
            for a, alpha in enumerate(grid):
                rest = self.predict(task, x, train, rows, alpha, "ridge") - y[rows]
                squares[fold, a] += (rest**2).sum()
        two = np.sort(squares, axis=1)[:, :2]
        assert (two[:, 1] - two[:, 0] > 1e-9 * two[:, 0]).all()  # none is chosen by rounding
        return [grid[a] for a in squares.argmin(axis=1)]


def assert_rows(sweep: Sweep, refits: Refits) -> None:
    """Hold all rows of one embedding to refits: fold scores, their mean and deviation, and Q."""
    assert len(sweep)
    for row in sweep.rows:
        assert_summary(row)
        wanted = refits.fold_scores(row)
        assert [s is None for s in row["fold_scores"]] == [s is None for s in wanted], row
        ours, theirs = ([np.nan if s is None else s for s in one] for one in (row["fold_scores"], wanted))
        worst = np.nanmax(np.abs(np.array(ours) - np.array(theirs)), initial=0.0)
        assert worst <= SCORES, (row["task"], row["order"], row["size"], row["fraction"], worst)
        # Q divides by the deviation, at least by 0.02, and has the slope 100 eps (1 + |mean| / 0.02) / 0.02 by a score
        known = [s for s in wanted if s is not None]
        if row["q"] is not None:
            assert abs(row["q"] - q_of(known)) <= 100 * SCORES * (1 + abs(np.mean(known)) / EPS_Q)


def assert_summary(row: dict[str, Any]) -> None:
    """Mean, deviation and Q are those of the fold scores."""
    known = [s for s in row["fold_scores"] if s is not None]
    assert len(row["fold_scores"]) == row["n_folds"]
    assert row["n_failed"] == row["n_folds"] - len(known)
    if not known:
        assert (row["mean"], row["std"], row["q"]) == (None, None, None)
        return
    assert row["mean"] == pytest.approx(np.mean(known), rel=1e-12, abs=1e-15)
    assert row["std"] == pytest.approx(np.std(known), rel=1e-9, abs=1e-14)
    if row["n_failed"] > 0.3 * row["n_folds"]:
        assert row["q"] is None
    else:
        assert row["q"] == pytest.approx(q_of(known), rel=1e-9)


def q_of(scores: list[float]) -> float:
    return 100 * EPS_Q * float(np.mean(scores)) / (float(np.std(scores)) + EPS_Q)


def small_benchmark(n: int = 72, seed: int = 3) -> tuple[NDArray[np.str_], Floats, Benchmark]:
    """Draw ids, features (n, 6) of falling size and values of four tasks, in two sample groups.

    Six samples have no label in any task, and the rows are in another order than the labels.
    """
    rng = np.random.default_rng(seed)
    ids = np.array([f"s{i:03d}" for i in range(n)])
    x = rng.standard_normal((n, 6)) * np.array([1.0, 3.0, 0.5, 2.0, 0.2, 1.5]) + rng.standard_normal(6)
    signal = x @ rng.standard_normal(6) + 1.5 * rng.standard_normal((3, n))
    ranks = np.argsort(np.argsort(signal, axis=1), axis=1) / n
    named = rng.permutation(n)[6:]
    few = named[: len(named) * 2 // 3]
    tasks = [
        Task.from_arrays("area", "regression", ids[named], signal[0, named]),
        Task.from_arrays("crops", "classification", ids[named], np.floor(3 * ranks[1, named])),
        Task.from_arrays("ships", "classification", ids[named], np.floor(2 * ranks[2, named])),
        Task.from_arrays("width", "regression", ids[few], signal[1, few]),
    ]
    return ids, x, Benchmark.from_tasks(tasks)


FOLDS = FoldSpec(n_folds=4, test_size=0.25)


def submission(name: str, dtype: Any = np.float32) -> Submission:
    """The embedding of :func:`small_benchmark`; integers are codes of it."""
    ids, x, _ = small_benchmark()
    if np.issubdtype(dtype, np.integer):
        x = np.round(20 * x).clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    return Submission(name, ids, x.astype(dtype))
