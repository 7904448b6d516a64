"""Logistic probes of real tasks decide as scikit-learn's: all classification tasks of presto and alphaearth.

Features go to the probe as they were read, with the strength of standardised ones, as in a job; scikit-learn gets
standardised ones. It starts a thousandth away from the probe that is to be checked, so that it takes a second instead
of ten, and converges by its own means; a fold of the widest starts from nothing.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
from logistic_twin import Case, Probe, refit_sklearn
from sklearn.metrics import f1_score

from fastprobe import Benchmark, FoldSpec, Submission, Task
from fastprobe.backend import get_backend
from fastprobe.folds import make_folds
from fastprobe.metrics import decision_statistics, fold_scores
from fastprobe.probes.logistic import CONVERGED, LogisticProblem, fit, solve

CPU = get_backend("cpu", threads=2)
ALPHAS = (100.0, 1.0, 0.01)
TASKS = {
    "presto": ["above_1500m", "dw_bare", "dw_shrub", "dw_trees", "growing_season"],
    "alphaearth": ["dw_built", "dw_crops", "dw_flooded_vegetation", "dw_trees", "dw_water", "is_amazon"],
}
NARROW = [("presto", "rawbands"), ("alphaearth", "alphaearth")]
WIDE = [("presto", "trained"), ("presto", "untrained")]

PROMISED = 1e-5
"""Of decision values, relative to the largest of the fold."""


@cache
def load(folder: Path, name: str) -> tuple[Submission, Benchmark]:
    return Submission.read(folder / "submissions" / f"{name}.npz"), Benchmark.from_folder(folder / "labels")


def assert_like_sklearn(
    folder: Path,
    name: str,
    task: Task,
    folds: list[int],
    *,
    of: int = 40,
    alphas: tuple[float, ...] = ALPHAS,
    cold: bool = False,
) -> None:
    """Of the first folds of 40, all converge, and some are refitted by scikit-learn."""
    submission, benchmark = load(folder, name)
    row_of = {sample: row for row, sample in enumerate(submission.ids.tolist())}
    labelled = submission.x[[row_of[i] for i in benchmark.labelled_ids.tolist()]].astype(np.float64)
    mean, std = labelled.mean(), labelled.std()
    x = submission.x[[row_of[i] for i in task.ids.tolist()]]
    held_out = list(make_folds(FoldSpec(), task.ids, task.y, "classification").held_out[:of])
    case, standard = Case(x, task.y.astype(np.int64), 2, held_out), (x.astype(np.float64) - mean) / std
    with CPU.session():
        problem = LogisticProblem(CPU, CPU.design(x, np.arange(len(x))), task.y, 2)
        strengths = [alpha * std**2 for alpha in alphas]
        solution = solve(problem, held_out, strengths)
        assert (solution.status == CONVERGED).all()
        assert np.isfinite(solution.gradient).all()
        scores = [
            fold_scores(decision_statistics(CPU, solution.sets, task.y, solution.decisions[:, :, a]), "classification")
            for a in range(len(alphas))
        ]
        start = fit(problem, strengths, case.masks[:, folds])
    for k, fold in enumerate(folds):
        rows, held = case.training(fold), held_out[fold]
        for a, alpha in enumerate(alphas):
            weights, intercepts = 0.999 * start.weights[k, a], 0.999 * start.intercepts[k, a]
            near = None if cold else Probe(weights * std, intercepts + mean * weights.sum(axis=1))
            probe = refit_sklearn(standard[rows], case.codes[rows], 2, alpha, near)
            wanted = probe.decisions(standard[held])[:, 0]
            found = solution.decisions[fold, : len(held), a, 0]
            room = PROMISED * np.abs(wanted).max()
            assert np.abs(found - wanted).max() <= room, (task.name, fold, alpha)
            if np.abs(wanted).min() > room:
                truth = case.codes[held]
                assert scores[a][fold] == pytest.approx(f1_score(truth, wanted > 0, zero_division=0), abs=1e-14)


def of_real_tasks(embeddings: list[tuple[str, str]], at_most: int = 10):
    return pytest.mark.parametrize(
        ("dataset", "name", "task"),
        [(dataset, name, task) for dataset, name in embeddings for task in TASKS[dataset][:at_most]],
    )


def task_of(data: Path, dataset: str, name: str, task: str) -> Task:
    return next(t for t in load(data / dataset, name)[1].tasks if t.name == task)


def test_all_classification_tasks_are_tested(data: Path) -> None:
    for dataset, name in [*NARROW, *WIDE]:
        _, benchmark = load(data / dataset, name)
        assert [t.name for t in benchmark.tasks if t.kind == "classification"] == TASKS[dataset]
        assert all(t.n_classes == 2 for t in benchmark.tasks if t.kind == "classification")


@of_real_tasks(NARROW, 2)
def test_narrow_embeddings(data: Path, dataset: str, name: str, task: str) -> None:
    """Two folds of all 40 that are solved; the others, and other tasks, are in the slow test."""
    assert_like_sklearn(data / dataset, name, task_of(data, dataset, name, task), [0, 20])


def test_a_wide_embedding(data: Path) -> None:
    assert_like_sklearn(
        data / "presto", "trained", task_of(data, "presto", "trained", "dw_trees"), [1], of=2, alphas=(1.0,)
    )


@pytest.mark.slow
def test_a_wide_embedding_from_nothing(data: Path) -> None:
    assert_like_sklearn(
        data / "presto", "trained", task_of(data, "presto", "trained", "dw_trees"), [1], of=2, cold=True
    )


@pytest.mark.slow
@of_real_tasks(NARROW)
def test_narrow_embeddings_all_folds(data: Path, dataset: str, name: str, task: str) -> None:
    assert_like_sklearn(data / dataset, name, task_of(data, dataset, name, task), list(range(40)))


@pytest.mark.slow
@of_real_tasks(WIDE)
def test_wide_embeddings_all_folds(data: Path, dataset: str, name: str, task: str) -> None:
    """All 40 folds are solved; scikit-learn, which takes minutes for them, refits four, others for every task."""
    place = WIDE.index((dataset, name)) * len(TASKS[dataset]) + TASKS[dataset].index(task)
    assert_like_sklearn(data / dataset, name, task_of(data, dataset, name, task), list(range(place, 40, 10)))
