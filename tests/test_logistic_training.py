"""Logistic probes trained on a part of the rows that are not left out: they are refits of that part, one at a time."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from logistic_twin import (
    Case,
    distance,
    draw,
    fit_sklearn,
    log_losses,
    refit,
    refit_sklearn,
    sklearn_gap,
)
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from strict_namespace import Namespace

from fastprobe import Benchmark, FoldSpec, Submission
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.base import Backend
from fastprobe.folds import make_folds
from fastprobe.metrics import decision_statistics, fold_scores
from fastprobe.probes.inner import plan_inner
from fastprobe.probes.logistic import CONVERGED, SINGLE_CLASS, LogisticProblem, select, solve
from fastprobe.probes.logistic.newton import ACCEPTED

CPU = get_backend("cpu", threads=1)
ARRAY = ArrayBackend(np, device="numpy", budget=2**30)
STRICT = ArrayBackend(Namespace(), device="strict", budget=2**24)
GRID = [0.01, 1.0, 100.0, 1e4]
ROOM = 2 * ACCEPTED  # as in test_logistic.py


@pytest.fixture(scope="module", autouse=True)
def single_blas_thread():
    """Threads that wait for small matrices by spinning would take most of the time."""
    with CPU.session():
        yield


def problem_of(case: Case, backend: Backend = CPU) -> LogisticProblem:
    design = backend.design(backend.asarray(case.x), np.arange(len(case.x)))
    return LogisticProblem(backend, design, backend.asarray(case.codes.astype(np.float64)), case.n_classes)


def nested(case: Case, seed: int, fractions: list[float]) -> list[NDArray[np.bool_]]:
    """Training rows (n, K) of every fraction, those of a smaller one among those of a larger one."""
    parts = [np.zeros((len(case.x), len(case.held_out)), dtype=bool) for _ in fractions]
    for fold in range(len(case.held_out)):
        rows = np.random.default_rng([seed, fold]).permutation(case.training(fold))
        for part, fraction in zip(parts, fractions, strict=True):
            part[rows[: max(1, round(fraction * len(rows)))], fold] = True
    return parts


def q_of(scores: list[float]) -> float:
    return 100 * 0.02 * np.mean(scores) / (np.std(scores) + 0.02)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10**6), n=st.integers(12, 40), d=st.integers(1, 6), classes=st.integers(2, 4),
    folds=st.integers(1, 4), fraction=st.sampled_from([0.1, 0.3, 0.6, 1.0]),
    alphas=st.lists(st.sampled_from(GRID), min_size=1, max_size=3, unique=True),
    noise=st.sampled_from([0.3, 1.0, 5.0]), offset=st.sampled_from([0.0, 3.0]), backend=st.sampled_from([CPU, ARRAY]),
)  # fmt: skip
def test_probes_of_a_part_are_refits_of_it(seed, n, d, classes, folds, fraction, alphas, noise, offset, backend):
    """By the twin and, as far as it converges, by scikit-learn; a part may lack classes, all but one included."""
    case = draw(seed, n, d, classes, folds, noise=noise, offset=offset)
    (training,) = nested(case, seed, [fraction])
    solution = solve(problem_of(case, backend), case.held_out, alphas, training=training)
    for fold, held in enumerate(case.held_out):
        rows = np.flatnonzero(training[:, fold])
        for a, alpha in enumerate(alphas):
            found = solution.decisions[fold, : len(held), a]
            probe = refit(case.x[rows], case.codes[rows], classes, alpha)
            if probe is None:
                assert solution.status[fold, a] == SINGLE_CLASS
                assert not found.any()
                continue
            assert solution.status[fold, a] == CONVERGED
            everywhere = probe.decisions(case.x)
            assert distance(found, everywhere[held], everywhere) <= ROOM
            of_rows = case.x[rows], case.codes[rows], classes, alpha
            sklearn = fit_sklearn(*of_rows)
            room = ROOM + sklearn_gap(*of_rows, sklearn, case.x)
            assert distance(found, sklearn.decisions(case.x[held]), everywhere) <= room


@pytest.mark.parametrize("classes", [2, 3])
def test_all_other_rows_train_by_default(classes: int) -> None:
    case = draw(41, 50, 4, classes, 3)
    default = solve(problem_of(case), case.held_out, GRID)
    told = solve(problem_of(case), case.held_out, GRID, training=case.masks)
    assert np.array_equal(default.decisions, told.decisions)


@pytest.mark.parametrize(("classes", "backend"), [(2, STRICT), (3, CPU)], ids=["strict", "cpu"])
def test_a_learning_curve(classes: int, backend: Backend) -> None:
    """Decision values, scores of all folds, and Q at nested parts, all in one call, as by scikit-learn refits."""
    case = draw(42, 120, 5, classes, 4, noise=1.5)
    fractions = [0.2, 0.5, 1.0]
    parts = nested(case, 7, fractions)
    assert all((less <= more).all() for less, more in itertools.pairwise(parts))
    solution = solve(problem_of(case, backend), case.held_out * 3, [1.0], training=np.hstack(parts))
    assert (solution.status == CONVERGED).all()
    codes = backend.asarray(case.codes.astype(np.float64))
    stats = decision_statistics(backend, solution.sets, codes, solution.decisions[:, :, 0])
    found = fold_scores(stats, "classification").reshape(3, 4)
    decisions = backend.to_numpy(solution.decisions)
    for f, training in enumerate(parts):
        wanted = []
        for fold, held in enumerate(case.held_out):
            rows = np.flatnonzero(training[:, fold])
            of_rows = case.x[rows], case.codes[rows], classes, 1.0
            probe = refit_sklearn(*of_rows)
            theirs, truth = probe.decisions(case.x[held]), case.codes[held]
            mine = decisions[4 * f + fold, : len(held), 0]
            room = ROOM + sklearn_gap(*of_rows, probe, case.x)
            assert distance(mine, theirs, probe.decisions(case.x)) <= room
            guess = theirs[:, 0] > 0 if classes == 2 else theirs.argmax(axis=1)
            options = {} if classes == 2 else {"average": "macro", "labels": np.union1d(truth, guess)}
            wanted.append(f1_score(truth, guess, **options))
        assert found[f] == pytest.approx(wanted, abs=1e-14)
        assert q_of(found[f]) == pytest.approx(q_of(wanted), rel=1e-12)
    assert len(np.unique(found.mean(axis=1))) == 3


def test_a_part_that_lacks_classes() -> None:
    """One fold trains on two classes of three, one on a single class, one on nothing."""
    case = draw(43, 60, 3, 3, 4, noise=2.0)
    training = case.masks
    training[case.codes == 1, 1] = False
    training[case.codes != 2, 2] = False
    training[:, 3] = False
    solution = solve(problem_of(case), case.held_out, [0.1, 10.0], training=training)
    assert (solution.status == [[CONVERGED] * 2, [CONVERGED] * 2, [SINGLE_CLASS] * 2, [SINGLE_CLASS] * 2]).all()
    lacking = solution.decisions[1, : len(case.held_out[1])]
    assert (lacking[:, :, 1] == -np.inf).all()
    for fold in (0, 1):
        rows, held = np.flatnonzero(training[:, fold]), case.held_out[fold]
        for a, alpha in enumerate([0.1, 10.0]):
            wanted = refit(case.x[rows], case.codes[rows], 3, alpha).decisions(case.x)
            assert distance(solution.decisions[fold, : len(held), a], wanted[held], wanted) <= ROOM


@pytest.mark.parametrize(("classes", "backend"), [(2, CPU), (3, ARRAY)], ids=["cpu", "array"])
@pytest.mark.parametrize("batch", [2**28, 1], ids=["at once", "one set at a time"])
def test_the_strength_is_chosen_by_probes_of_a_part(
    classes: int, backend: Backend, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mean log losses of the validation rows, and choices, as by scikit-learn refits of a half."""
    monkeypatch.setattr(importlib.import_module("fastprobe.probes.logistic.select"), "_BATCH_BYTES", batch)
    case = draw(44, 90, 4, classes, 1, noise=1.0)
    held_out = [np.sort(rows) for rows in np.array_split(np.random.default_rng(1).permutation(90), 6)]
    plan = plan_inner(held_out, 90, 4, seed=42)
    (training,) = nested(Case(case.x, case.codes, classes, plan.left_out), 3, [0.5])
    chosen, loss = select(problem_of(case, backend), plan, 6, GRID, training)
    total, count, largest, gap = np.zeros(loss.shape), np.zeros(6), 1.0, 0.0
    for fold, p, rows in plan.validate:
        train = np.flatnonzero(training[:, p])
        count[fold] += len(rows)
        for a, alpha in enumerate(GRID):
            of_rows = case.x[train], case.codes[train], classes, alpha
            probe = refit_sklearn(*of_rows)
            gap = max(gap, sklearn_gap(*of_rows, probe, case.x))
            total[fold, a] += log_losses(probe.decisions(case.x[rows]), case.codes[rows]).sum()
            largest = max(largest, np.abs(probe.decisions(case.x)).max())
    wanted = total / count[:, None]
    room = 2 * (ROOM + gap) * largest  # slope 1 by each of two decision values
    assert np.abs(loss - wanted).max() <= room
    assert ((wanted <= wanted.min(axis=1, keepdims=True) + 2 * room).sum(axis=1) == 1).all()
    assert np.array_equal(chosen, wanted.argmin(axis=1))
    assert ((chosen > 0) & (chosen < len(GRID) - 1)).any()


def test_rows_that_train_and_are_left_out_are_an_error() -> None:
    case = draw(45, 30, 3, 2, 3)
    problem, training = problem_of(case), case.masks
    training[case.held_out[1][0], 1] = True
    with pytest.raises(ValueError, match="set 1 trains on rows that it leaves out"):
        solve(problem, case.held_out, [1.0], training=training)
    plan = plan_inner(case.held_out, 30, 4, seed=42)
    with pytest.raises(ValueError, match="trains on rows that it leaves out"):
        select(problem, plan, 3, [1.0], np.ones((30, len(plan.left_out)), dtype=bool))


@pytest.mark.parametrize("shape", [(30, 2), (29, 3), (30,)])
def test_training_rows_of_another_shape_are_an_error(shape: tuple[int, ...]) -> None:
    case = draw(45, 30, 3, 2, 3)
    with pytest.raises(ValueError, match=r"not \(30, 3\): samples x sets left out"):
        solve(problem_of(case), case.held_out, [1.0], training=np.zeros(shape, dtype=bool))


@pytest.mark.parametrize("fraction", [0.05, 0.3])
def test_real_embeddings(data: Path, fraction: float) -> None:
    """Four of 40 folds of a task of alphaearth, with the strength of standardised features."""
    submission = Submission.read(data / "alphaearth" / "submissions" / "alphaearth.npz")
    benchmark = Benchmark.from_folder(data / "alphaearth" / "labels")
    task = next(t for t in benchmark.tasks if t.name == "dw_trees")
    row_of = {sample: row for row, sample in enumerate(submission.ids.tolist())}
    x = submission.x[[row_of[i] for i in task.ids.tolist()]].astype(np.float64)
    x = (x - x.mean()) / x.std()
    held_out = list(make_folds(FoldSpec(), task.ids, task.y, "classification").held_out[:4])
    case = Case(x, task.y.astype(np.int64), 2, held_out)
    (training,) = nested(case, 1, [fraction])
    alphas = [1.0, 100.0]
    solution = solve(problem_of(case), held_out, alphas, training=training)
    assert (solution.status == CONVERGED).all()
    for a, alpha in enumerate(alphas):
        stats = decision_statistics(CPU, solution.sets, task.y, solution.decisions[:, :, a])
        scores = fold_scores(stats, "classification").tolist()
        theirs = []
        for fold, held in enumerate(held_out):
            rows = np.flatnonzero(training[:, fold])
            of_rows = x[rows], case.codes[rows], 2, alpha
            probe = refit_sklearn(*of_rows)
            wanted, everywhere = probe.decisions(x[held]), probe.decisions(x)
            room = ROOM + sklearn_gap(*of_rows, probe, x)
            assert distance(solution.decisions[fold, : len(held), a], wanted, everywhere) <= room
            assert np.abs(wanted).min() > room * max(1.0, np.abs(everywhere).max())  # no decision is a tie
            theirs.append(f1_score(case.codes[held], wanted[:, 0] > 0))
        assert scores == pytest.approx(theirs, abs=1e-14)
        assert q_of(scores) == pytest.approx(q_of(theirs), rel=1e-12)
