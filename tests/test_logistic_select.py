"""The strength of a logistic probe is chosen as by a nested loop of scikit-learn fits."""

from __future__ import annotations

import numpy as np
import pytest
from logistic_twin import EPS, Case, Probe, draw, log_losses, probabilities, refit, refit_sklearn
from numpy.typing import NDArray
from sklearn.metrics import f1_score, log_loss

import fastprobe
from fastprobe import FoldSpec, Protocol, metrics
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.base import Backend
from fastprobe.folds import make_folds
from fastprobe.probes.inner import InnerPlan, plan_inner
from fastprobe.probes.logistic import LogisticProblem, select
from fastprobe.probes.logistic.newton import ACCEPTED

CPU = get_backend("cpu", threads=1)
ARRAY = ArrayBackend(np, device="numpy", budget=2**30)
GRID = [0.01, 1.0, 10.0, 100.0, 1e4]
backends = pytest.mark.parametrize("backend", [CPU, ARRAY], ids=["cpu", "array"])


@pytest.fixture(scope="module", autouse=True)
def single_blas_thread():
    """Threads that wait for small matrices by spinning would take most of the time."""
    with CPU.session():
        yield


def chosen_by(case: Case, plan: InnerPlan, backend: Backend) -> tuple[NDArray, NDArray]:
    design = backend.design(backend.asarray(case.x), np.arange(len(case.x)))
    codes = backend.asarray(case.codes.astype(np.float64))
    return select(LogisticProblem(backend, design, codes, case.n_classes), plan, len(case.held_out), GRID)


def nested(case: Case, plan: InnerPlan) -> tuple[NDArray, NDArray]:
    """Mean log loss (K, A) of the validation rows by scikit-learn refits, and the largest decision value of any."""
    total, count, largest = np.zeros((len(case.held_out), len(GRID))), np.zeros(len(case.held_out)), 1.0
    for a, alpha in enumerate(GRID):
        for p, left_out in enumerate(plan.left_out):
            probe = sklearn_without(case, left_out, alpha)
            for fold, of, rows in plan.validate:
                if of != p:
                    continue
                decisions, truth = probe.decisions(case.x[rows]), case.codes[rows]
                p_class = probabilities(decisions)
                p_class = np.column_stack([1 - p_class, p_class]) if case.n_classes == 2 else p_class
                losses = log_losses(decisions, truth)
                if p_class[np.arange(len(rows)), truth].min() > 1e-12:  # scikit-learn rounds less than that up
                    mean = log_loss(truth, p_class, labels=range(case.n_classes))
                    assert mean == pytest.approx(losses.mean(), rel=1e-9, abs=1e-12)
                total[fold, a] += losses.sum()
                count[fold] += a == 0 and len(rows)
                largest = max(largest, np.abs(probe.decisions(case.x)).max())
    return total / count[:, None], largest


def sklearn_without(case: Case, left_out: NDArray, alpha: float) -> Probe:
    rows = np.setdiff1d(np.arange(len(case.x)), left_out)
    probe = refit_sklearn(case.x[rows], case.codes[rows], case.n_classes, alpha)
    assert probe is not None
    return probe


def planned(classes: int, scheme: str, folds: int) -> tuple[Case, InnerPlan, NDArray, float]:
    case = draw(21, 80, 4, classes, 1, noise=1.0)
    ids = np.arange(80).astype(str)
    held_out = make_folds(FoldSpec(scheme, n_folds=folds), ids, case.codes.astype(float), "classification").held_out  # type: ignore[arg-type]
    case = Case(case.x, case.codes, classes, list(held_out))
    plan = plan_inner(held_out, 80, 4, seed=42)
    return case, plan, *nested(case, plan)


@pytest.mark.parametrize(
    ("classes", "scheme", "folds", "backend"),
    [
        (2, "shuffle", 4, CPU),
        (3, "stratified-kfold", 4, ARRAY),
        (2, "kfold", 2, ARRAY),  # too few neighbours to validate: blocks of its own
    ],
)
def test_choice_equals_nested_refits(classes: int, scheme: str, folds: int, backend: Backend) -> None:
    case, plan, wanted, largest = planned(classes, scheme, folds)
    chosen, loss = chosen_by(case, plan, backend)
    room = 4 * ACCEPTED * largest  # of two decision values, each by twice what is accepted; a loss has the slope 1
    assert np.abs(loss - wanted).max() <= room
    best = wanted.min(axis=1, keepdims=True)
    assert ((wanted <= best + 2 * room).sum(axis=1) == 1).all()  # or the choice would be a matter of rounding
    assert np.array_equal(chosen, wanted.argmin(axis=1))
    assert ((chosen > 0) & (chosen < len(GRID) - 1)).any()


@pytest.mark.parametrize(("classes", "unknown"), [(2, False), (3, False), (4, True)])
def test_losses_of_every_strength(classes: int, unknown: bool) -> None:
    """Of all sets, slots and strengths at once; infinite for the class of a row that the probe does not know."""
    rng = np.random.default_rng(22)
    decisions = rng.choice([0.1, 1.0, 30.0], (2, 9, 5, 1)) * rng.standard_normal(
        (2, 9, 5, 1 if classes == 2 else classes)
    )
    codes = rng.integers(0, classes, (2, 9))
    if unknown:
        decisions[..., 1] = -np.inf
    found = metrics.log_losses(np, decisions, codes.astype(np.float64))
    assert found.shape == (2, 9, 5)
    assert np.array_equal(np.isinf(found), np.broadcast_to(unknown & (codes == 1)[..., None], found.shape))
    for k, a in np.ndindex(2, 5):
        wanted = log_losses(decisions[k, :, a], codes[k])
        known = np.isfinite(wanted)
        assert np.array_equal(found[k, ~known, a], wanted[~known])
        largest = 1.0 + np.abs(decisions[np.isfinite(decisions)]).max()
        assert np.abs(found[k, known, a] - wanted[known]).max() <= 4 * EPS * largest  # differences, and a logarithm


def test_rows_of_a_class_that_did_not_train_do_not_choose() -> None:
    """One sample of class 2: where it validates, no probe knows of it; the other rows choose."""
    case = draw(23, 80, 4, 2, 5, noise=2.0)
    codes = case.codes.copy()
    codes[case.held_out[1][0]] = 2
    rare = Case(case.x, codes, 3, case.held_out)
    plan = plan_inner(rare.held_out, 80, 4, seed=42)
    chosen, loss = chosen_by(rare, plan, ARRAY)
    assert np.isfinite(loss).all()
    total, count, largest = np.zeros(loss.shape), np.zeros(5), 1.0
    for fold, p, rows in plan.validate:
        train = np.setdiff1d(np.arange(80), plan.left_out[p])
        known = rows[np.isin(codes[rows], codes[train])]
        count[fold] += len(known)
        for a, alpha in enumerate(GRID):
            decisions = refit(case.x[train], codes[train], 3, alpha).decisions(case.x[known])
            total[fold, a] += log_losses(decisions, codes[known]).sum()
            largest = max(largest, np.abs(decisions[np.isfinite(decisions)]).max())
    assert sum(len(rows) for _, _, rows in plan.validate) > count.sum()
    assert np.abs(loss - total / count[:, None]).max() <= 4 * ACCEPTED * largest
    assert (chosen < len(GRID) - 1).any()


@backends
def test_blocks_without_a_second_class_do_not_choose(backend: Backend) -> None:
    """A single positive sample: its fold has nothing to choose by, and takes the largest of equal strengths."""
    case = draw(24, 60, 3, 2, 1)
    held_out = list(np.split(np.arange(60), 6))
    rare = Case(case.x, (np.arange(60) == 0).astype(np.int64), 2, held_out)
    chosen, loss = chosen_by(rare, plan_inner(held_out, 60, 4, seed=42), backend)
    assert np.isfinite(loss).all()
    assert chosen[0] == len(GRID) - 1
    assert (loss[0] == 0).all()
    assert (loss[1:].max(axis=1) > 0).all()


@pytest.mark.parametrize(("name", "classes"), [("closed-form", 2), ("logistic", 3)])
def test_auto_equals_a_nested_loop_of_scikit_learn(name: str, classes: int) -> None:
    """Strengths, scores of all folds, and Q."""
    case = draw(25, 100, 5, classes, 1, noise=3.0, scale=2.0, offset=1.0)
    protocol = Protocol(probe=name, alpha_grid=tuple(GRID), folds=FoldSpec(n_folds=4))  # type: ignore[arg-type]
    record = fastprobe.score_arrays(case.x, case.codes, kind="classification", protocol=protocol, device="cpu").record
    scaled = (case.x - case.x.mean()) / case.x.std()
    ids = np.arange(100).astype(str)
    held_out = make_folds(protocol.folds, ids, case.codes.astype(float), "classification").held_out
    case = Case(scaled, case.codes, classes, list(held_out))
    loss, _ = nested(case, plan_inner(held_out, 100, protocol.inner_folds, protocol.folds.seed))
    wanted = np.array(GRID)[loss.argmin(axis=1)]
    assert record.fold_alphas == tuple(wanted)
    scores = []
    for k, rows in enumerate(held_out):
        decisions, truth = sklearn_without(case, rows, wanted[k]).decisions(scaled[rows]), case.codes[rows]
        if classes == 2:
            scores.append(f1_score(truth, decisions[:, 0] > 0))
        else:
            guess = decisions.argmax(axis=1)
            scores.append(f1_score(truth, guess, average="macro", labels=np.union1d(truth, guess)))
    assert record.fold_scores == pytest.approx(scores, abs=1e-14)
    assert record.q == pytest.approx(100 * 0.02 * np.mean(scores) / (np.std(scores) + 0.02), rel=1e-12)
