"""Sweeps of real embeddings equal naive refits: every size of presto, bits and learning curves of alphaearth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
from numpy.typing import NDArray
from prefix_twin import score
from sweep_refits import Refits, assert_rows, assert_summary

import fastprobe
from fastprobe import Benchmark, FoldSpec, Protocol, Submission, Sweep
from fastprobe.folds import make_folds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PROMISED = 1e-8
"""Of fold scores."""

D = 1024
SIZES = [1, *sorted(np.random.default_rng(0).choice(np.arange(2, D), 20, replace=False).tolist()), D]
"""Both ends, and 20 at random."""


@dataclass(frozen=True, eq=False)
class Presto:
    """The trained embedding of presto; all tasks have the same samples.

    Attributes
    ----------
    submission : Submission
    benchmark : Benchmark
    """

    submission: Submission
    benchmark: Benchmark

    @cached_property
    def x(self) -> Floats:
        """Standardised, in the order of the labels."""
        place = {sample: row for row, sample in enumerate(self.submission.ids.tolist())}
        assert len({tuple(task.ids) for task in self.benchmark.tasks}) == 1
        labelled = self.submission.x[[place[i] for i in self.benchmark.labelled_ids.tolist()]].astype(np.float64)
        x = self.submission.x[[place[i] for i in self.benchmark.tasks[0].ids.tolist()]].astype(np.float64)
        return (x - labelled.mean()) / labelled.std()

    @cached_property
    def all_rows(self) -> Floats:
        """The same of all rows of the submission, up to a shift."""
        return self.submission.x.astype(np.float64) / self._std

    @cached_property
    def _std(self) -> float:
        known = np.isin(self.submission.ids, self.benchmark.labelled_ids)
        return float(self.submission.x[known].astype(np.float64).std())

    @cached_property
    def y(self) -> Floats:
        return np.stack([2 * t.y - 1 if t.kind == "classification" else t.y for t in self.benchmark.tasks], axis=1)

    def held_out(self, n_folds: int) -> tuple[Ints, ...]:
        task = self.benchmark.tasks[0]
        return make_folds(FoldSpec(n_folds=n_folds), task.ids, task.y, "regression").held_out

    def fold_scores(
        self, features: Floats, test: Ints, size: int, alpha: float, *, by_svd: bool = False
    ) -> list[float]:
        """Score every task by a refit to the rows that are not held out, on the leading features."""
        train = np.setdiff1d(np.arange(len(features)), test)
        mean, y_mean = features[train, :size].mean(axis=0), self.y[train].mean(axis=0)
        inside, target = features[train, :size] - mean, self.y[train] - y_mean
        if by_svd:
            left, roots, right = np.linalg.svd(inside, full_matrices=False)
            weights = right.T @ ((roots / (roots**2 + alpha))[:, None] * (left.T @ target))
        else:
            gram = inside.T @ inside + alpha * np.eye(size)
            weights = scipy.linalg.solve(gram, inside.T @ target, assume_a="pos")
        predicted = (features[test, :size] - mean) @ weights + y_mean
        found = []
        for j, task in enumerate(self.benchmark.tasks):
            kind = "regression" if task.kind == "regression" else "binary"
            found.append(score(kind, task.y[test], predicted[:, j : j + 1]))
        return found

    def components(self, test: Ints, pca_rows: str) -> Floats:
        """Principal components of the rows that train, or of all rows of the submission."""
        rows = np.delete(self.x, test, axis=0) if pca_rows == "train" else self.all_rows
        return (self.x - rows.mean(axis=0)) @ np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)[2].T

    def assert_swept(
        self, sweep: Sweep, folds: list[int], sizes: list[int], *, pca_rows: str = "train", by_svd: bool = False
    ) -> None:
        """Hold some folds and sizes of all tasks, and the summaries of these rows, to refits."""
        by_setting: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
        for row in sweep.rows:
            setting = row["order"], row["seed"], row["alpha"], row["size"]
            by_setting.setdefault(setting, {})[row["task"]] = row
        held_out = self.held_out(sweep.rows[0]["n_folds"])
        for fold in folds:
            features = {"given": self.x}
            for order, seed, alpha, size in by_setting:
                if size not in sizes:
                    continue
                if order == "pca" and "pca" not in features:
                    features["pca"] = self.components(held_out[fold], pca_rows)
                x = self.x[:, np.random.default_rng(seed).permutation(D)] if order == "random" else features[order]
                rows = by_setting[order, seed, alpha, size]
                wanted = self.fold_scores(x, held_out[fold], size, alpha, by_svd=by_svd)
                for task, value in zip(self.benchmark.tasks, wanted, strict=True):
                    error = abs(rows[task.name]["fold_scores"][fold] - value)
                    assert error <= PROMISED, (task.name, order, alpha, size, fold)
        for row in sweep.rows:
            assert row["n_failed"] == 0
            assert row["residual"] <= 1e-10
            if row["size"] in sizes:
                assert_summary(row)


@cache
def presto(folder: Path, tasks: tuple[str, ...] = ()) -> Presto:
    benchmark = Benchmark.from_folder(folder / "labels")
    return Presto(
        Submission.read(folder / "submissions" / "trained.npz"), benchmark.select([*tasks]) if tasks else benchmark
    )


def sweep(data: Presto, **options: Any) -> Sweep:
    return fastprobe.sweep([data.submission], data.benchmark, device="cpu", **options)


def test_some_sizes_of_presto(data: Path) -> None:
    """Two folds and tasks; all of them, at more sizes and in other orders, in the slow tests."""
    case = presto(data / "presto", ("elevation", "dw_trees"))
    found = sweep(case, sizes="all", folds=2, alphas=[1.0, 100.0])
    assert len(found) == D * 2 * 2
    case.assert_swept(found, [0, 1], [1, 300, D])


@pytest.mark.slow
@pytest.mark.parametrize("order", ["given", "random"])
def test_every_size_of_presto(data: Path, order: str) -> None:
    """All sizes are swept at 40 folds, which is by leaving out; refits at both ends and 20 sizes, all tasks."""
    case = presto(data / "presto")
    found = sweep(case, sizes="all", alphas=[1.0, 100.0], orders=[order], random_orders=1)
    assert len(found) == D * 2 * len(case.benchmark.tasks)
    case.assert_swept(found, [0, 17, 39], SIZES)
    case.assert_swept(found, list(range(40)), [1, 200, D])
    case.assert_swept(found, [5], [64, 700, D], by_svd=True)
    scores = fastprobe.score([case.submission], case.benchmark, protocol="ridge", alpha=1.0, device="cpu")
    for row in found.select(size=D, alpha=1.0).rows:
        other = scores.get(row["submission"], row["task"])
        assert row["fold_scores"] == pytest.approx(other.fold_scores, abs=PROMISED)
        assert row["q"] == pytest.approx(other.q, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pca_rows", ["train", "all"])
def test_principal_components_of_presto(data: Path, pca_rows: str) -> None:
    case = presto(data / "presto")
    found = sweep(case, sizes="all", alphas=[1.0, 100.0], orders=["pca"], pca_rows=pca_rows)  # type: ignore[arg-type]
    case.assert_swept(found, [0, 17, 39], SIZES, pca_rows=pca_rows)
    case.assert_swept(found, list(range(0, 40, 4)), [1, 200, D], pca_rows=pca_rows)


@pytest.mark.slow
def test_fewer_labels_of_presto(data: Path) -> None:
    """Fewer training rows than dimensions, added up."""
    case = presto(data / "presto", ("elevation", "dw_trees"))
    found = sweep(case, sizes=[1, 100, 500, D], alphas=[1.0, 100.0], fractions=[0.1, 0.5, 1.0], folds=3)
    protocol = Protocol(probe="ridge", folds=FoldSpec(n_folds=3))
    assert_rows(found, Refits(case.submission.x.astype(np.float64), case.submission.ids, case.benchmark, protocol))


def alphaearth(folder: Path, tasks: list[str], n_folds: int) -> tuple[Submission, Benchmark, Protocol]:
    benchmark = Benchmark.from_folder(folder / "labels")
    submission = Submission.read(folder / "submissions" / "alphaearth.npz")
    chosen = benchmark.select(tasks) if tasks else benchmark
    return submission, chosen, Protocol(probe="ridge", folds=FoldSpec(n_folds=n_folds))


def assert_bits(folder: Path, tasks: list[str], n_folds: int, bits: list[int], sizes: list[int]) -> None:
    submission, benchmark, protocol = alphaearth(folder, tasks, n_folds)
    found = fastprobe.sweep(
        [submission], benchmark, protocol=protocol, sizes=sizes, bits=bits, quantizers=["uniform", "dimension"],
        alphas=[1.0], device="cpu",
    )  # fmt: skip
    assert len(found) == len(benchmark.tasks) * len(sizes) * 2 * len(bits)
    for width in bits:
        for quantizer in ("uniform", "dimension"):
            values = fastprobe.quantize(submission.x, width, quantizer).values()
            rows = found.select(bits=width, quantizer=quantizer)
            assert_rows(rows, Refits(values, submission.ids, benchmark, protocol))


def assert_learning(folder: Path, tasks: list[str], n_folds: int, orders: list[str]) -> None:
    submission, benchmark, protocol = alphaearth(folder, tasks, n_folds)
    found = fastprobe.sweep(
        [submission], benchmark, protocol=protocol, sizes=[4, 64], fractions=[0.01, 0.1, 1.0], orders=orders,
        alphas=[1.0, 100.0], device="cpu",
    )  # fmt: skip
    assert_rows(found, Refits(submission.x.astype(np.float64), submission.ids, benchmark, protocol))


def test_some_bits_of_alphaearth(data: Path) -> None:
    assert_bits(data / "alphaearth", ["latitude", "dw_trees"], 2, [8, 1], [5, 64])


def test_some_learning_curves_of_alphaearth(data: Path) -> None:
    assert_learning(data / "alphaearth", ["latitude", "dw_trees"], 2, ["given"])


@pytest.mark.slow
def test_bits_of_alphaearth(data: Path) -> None:
    """All folds of all tasks at the ends of what there is; the widths between them at fewer folds."""
    assert_bits(data / "alphaearth", [], 40, [8, 1], [17, 64])
    assert_bits(data / "alphaearth", ["latitude", "dw_trees", "S1_VH"], 10, [16, 4, 2], [1, 30, 64])


@pytest.mark.slow
def test_learning_curves_of_alphaearth(data: Path) -> None:
    assert_learning(data / "alphaearth", [], 40, ["given"])
    assert_learning(data / "alphaearth", ["latitude", "dw_trees"], 10, ["variance", "pca"])
