"""Logistic probes of all folds and strengths at once are those of refits, one at a time."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from logistic_twin import (
    EPS,
    Case,
    Probe,
    centred,
    distance,
    draw,
    fit_sklearn,
    gradient_and_size,
    log_losses,
    sklearn_gap,
)
from numpy.typing import NDArray

from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.base import Backend
from fastprobe.errors import DeviceError
from fastprobe.probes.logistic import (
    CONVERGED,
    LIMIT,
    SINGLE_CLASS,
    Fit,
    LogisticProblem,
    Solution,
    describe,
    fit,
    solve,
)
from fastprobe.probes.logistic.newton import ACCEPTED

CPU = get_backend("cpu", threads=1)
ARRAY = ArrayBackend(np, device="numpy", budget=2**30)

ALPHAS = [10.0**e for e in range(-3, 6)]

ROOM = 2 * ACCEPTED
"""What is promised of a column that has converged, of its decision values relative to the largest; the estimate of it
knows the error up to a factor that depends on where the largest is."""


@pytest.fixture(scope="module", autouse=True)
def single_blas_thread():
    """Threads that wait for small matrices by spinning would take most of the time."""
    with CPU.session():
        yield


def problem_of(case: Case, backend: Backend = CPU) -> LogisticProblem:
    design = backend.design(backend.asarray(case.x), np.arange(len(case.x)))
    return LogisticProblem(backend, design, backend.asarray(case.codes.astype(np.float64)), case.n_classes)


def decisions_of(solution: Solution, case: Case, fold: int, a: int) -> NDArray:
    """Decision values of the held-out rows of a fold."""
    return solution.decisions[fold, : len(case.held_out[fold]), a]


Refits = dict[tuple[int, float], Probe | None]


def refits_of(case: Case, alphas: list[float]) -> Refits:
    """Refit every fold at every strength by the twin."""
    return {(fold, alpha): case.probe(fold, alpha) for fold in range(len(case.held_out)) for alpha in alphas}


def assert_solved(
    case: Case, alphas: list[float], solution: Solution, room: float = ROOM, refits: Refits | None = None
) -> None:
    """All columns are those of the twin."""
    refits = refits or refits_of(case, alphas)
    for fold in range(len(case.held_out)):
        for a, alpha in enumerate(alphas):
            probe = refits[fold, alpha]
            if probe is None:
                assert solution.status[fold, a] == SINGLE_CLASS
                assert np.isnan(solution.gradient[fold, a])
                assert not decisions_of(solution, case, fold, a).any()
                continue
            assert solution.status[fold, a] == CONVERGED, (fold, alpha)
            assert solution.error[fold, a] <= ACCEPTED
            wanted = probe.decisions(case.x[case.held_out[fold]])
            found = decisions_of(solution, case, fold, a)
            assert distance(found, wanted, probe.decisions(case.x)) <= room, (fold, alpha)
    assert not solution.decisions[~solution.sets.mask].any()


def probe_of(found: Fit, fold: int, a: int) -> Probe:
    return Probe(found.weights[fold, a], found.intercepts[fold, a])


def assert_gradient(case: Case, fold: int, alpha: float, found: Fit, a: int) -> None:
    """The gradient that is recorded is that of the objective at the weights that are returned.

    Up to what rounding makes of it: the sums behind the decision values, which are updated from step to step.
    """
    rows, mean, probe = case.training(fold), case.x.mean(axis=0, dtype=np.float64), probe_of(found, fold, a)
    features, own, place = centred(case.x[rows], case.codes[rows], case.n_classes, probe, mean)
    gradient, size = gradient_and_size(features, own, place, alpha)
    # The intercept of features as they are is another sum that rounds: of weights and means, and moves all rows.
    moved = 10 * EPS * (np.abs(probe.weights) @ np.abs(mean)).max() * np.abs(features).sum(axis=0)
    room = np.linalg.norm(100 * EPS * size + moved)
    assert abs(found.gradient[fold, a] - np.linalg.norm(gradient)) <= room, (fold, alpha)


def assert_weights(case: Case, found: Probe, wanted: Probe) -> None:
    """Weights lie in the span of the centred rows, where decision values tell them: by the least singular value."""
    centred = case.x - case.x.mean(axis=0, dtype=np.float64)
    singular = np.linalg.svd(centred, compute_uv=False)
    least = singular[singular > len(centred) * EPS * singular[0]].min()
    everywhere = wanted.decisions(case.x)
    largest = max(1.0, np.abs(everywhere[np.isfinite(everywhere)]).max())
    assert np.linalg.norm(found.weights - wanted.weights, axis=1).max() <= (
        ROOM * largest * np.sqrt(len(centred)) / least
    )


cases = given(
    seed=st.integers(0, 10**6), n=st.integers(12, 40), d=st.integers(1, 9), classes=st.integers(2, 5),
    folds=st.integers(1, 4), alphas=st.lists(st.sampled_from(ALPHAS), min_size=1, max_size=3, unique=True),
    noise=st.sampled_from([0.3, 1.0, 5.0]), scale=st.sampled_from([0.1, 1.0, 10.0]),
    offset=st.sampled_from([0.0, 3.0]), dtype=st.sampled_from([np.float64, np.float32, np.int8]),
    backend=st.sampled_from([CPU, ARRAY]),
)  # fmt: skip


def assert_sklearn(case: Case, fold: int, alpha: float, everywhere: NDArray) -> None:
    """scikit-learn agrees, as far as it got: rounding keeps a column in two hundred from its tolerance."""
    rows = case.training(fold)
    training = case.x[rows], case.codes[rows], case.n_classes, alpha
    sklearn = fit_sklearn(*training)
    room = ROOM + sklearn_gap(*training, sklearn, case.x)
    assert distance(sklearn.decisions(case.x), everywhere, everywhere) <= room


def check_random_case(seed, n, d, classes, folds, alphas, backend, **kind) -> None:
    case = draw(seed, n, d, classes, folds, **kind)
    problem = problem_of(case, backend)
    solution, found = solve(problem, case.held_out, alphas), fit(problem, alphas, case.masks)
    refits = refits_of(case, alphas)
    assert_solved(case, alphas, solution, refits=refits)
    assert np.array_equal(found.status, solution.status)
    for fold, held_out in enumerate(case.held_out):
        for a, alpha in enumerate(alphas):
            if found.status[fold, a] == SINGLE_CLASS:
                continue
            assert_gradient(case, fold, alpha, found, a)
            wanted = refits[fold, alpha]
            probe, everywhere = probe_of(found, fold, a), wanted.decisions(case.x)
            assert distance(probe.decisions(case.x), everywhere, everywhere) <= ROOM
            assert_weights(case, probe, wanted)
            assert_sklearn(case, fold, alpha, everywhere)
            known = np.isfinite(everywhere[0])[case.codes[held_out]] if classes > 2 else np.ones(len(held_out), bool)
            mine = log_losses(decisions_of(solution, case, fold, a)[known], case.codes[held_out][known])
            theirs = log_losses(everywhere[held_out][known], case.codes[held_out][known])
            largest = max(1.0, np.abs(everywhere[np.isfinite(everywhere)]).max())
            assert (np.abs(mine - theirs) <= 2 * ROOM * largest).all()  # slope 1 by each of two decision values


@settings(max_examples=5, deadline=None)
@example(  # scikit-learn ends above its tolerance
    seed=26589, n=27, d=9, classes=3, folds=1, alphas=[1e-3, 0.01, 0.1], noise=5.0, scale=10.0, offset=0.0,
    dtype=np.int8, backend=CPU,
)  # fmt: skip
@cases
def test_random_problems(**drawn) -> None:
    check_random_case(**drawn)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@cases
def test_many_random_problems(**drawn) -> None:
    check_random_case(**drawn)


# Edge cases


@pytest.mark.parametrize(("classes", "backend"), [(2, ARRAY), (3, CPU)], ids=["array", "cpu"])
def test_separable_classes_converge(classes: int, backend: Backend) -> None:
    """A penalty, however weak, gives separable classes an optimum, at decision values that grow as it gets weaker."""
    case = draw(1, 40, 6, classes, 2, noise=0.0)
    alphas = [1e-8, 1e-5, 1e-2]
    solution = solve(problem_of(case, backend), case.held_out, alphas)
    assert_solved(case, alphas, solution)
    for fold in range(2):
        decisions, rows = case.probe(fold, 1e-8).decisions(case.x), case.training(fold)
        guess = decisions[:, 0] > 0 if classes == 2 else decisions.argmax(axis=1)
        assert (guess == case.codes)[rows].all()
        sizes = np.abs(solution.decisions[fold]).max(axis=(0, 2))
        assert (np.diff(sizes) < 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [1e-8, 1e-6, 1e-4])
@pytest.mark.parametrize("scale", [0.1, 10.0])
def test_curvatures_far_apart_converge(alpha: float, scale: float) -> None:
    """Nearly separable, few rows, weak penalties: what float32 and one metric for all classes do not see.

    A gradient is known to rounding only, which a weak penalty lets grow: rows of size |x| move by |x|^2 / alpha of it.
    """
    for seed in range(20):
        case = draw(seed, 14 + seed, 1 + seed % 9, 2 + seed % 4, 2, noise=0.3 * (seed % 3), scale=scale)
        solution = solve(problem_of(case), case.held_out, [alpha])
        reach = (case.x**2).sum(axis=1).max() * np.sqrt(len(case.x))
        assert_solved(case, [alpha], solution, ROOM + EPS * reach / alpha)


@pytest.mark.parametrize("backend", [CPU, ARRAY], ids=["cpu", "array"])
def test_folds_that_train_on_one_class_do_not_harm_the_others(backend: Backend) -> None:
    case = draw(2, 40, 4, 2, 5)
    codes = case.codes.copy()
    codes[case.held_out[2]] = 1
    codes[np.setdiff1d(np.arange(40), case.held_out[2])] = 0
    lonely = Case(case.x, codes, 2, case.held_out)
    solution = solve(problem_of(lonely, backend), lonely.held_out, [0.1, 10.0])
    assert (solution.status == SINGLE_CLASS).all(axis=1).tolist() == [False, False, True, False, False]
    assert_solved(lonely, [0.1, 10.0], solution)
    others = [0, 1, 3, 4]
    alone = solve(problem_of(lonely, backend), [lonely.held_out[k] for k in others], [0.1, 10.0])
    width = alone.sets.width
    assert np.abs(solution.decisions[others][:, :width] - alone.decisions).max() <= ROOM * np.abs(alone.decisions).max()


def test_one_positive_sample() -> None:
    case = draw(3, 30, 5, 2, 6)
    codes = np.zeros(30, dtype=np.int64)
    codes[case.held_out[0][0]] = 1
    rare = Case(case.x, codes, 2, case.held_out)
    alphas = [1e-4, 1.0, 1e4]
    solution = solve(problem_of(rare), rare.held_out, alphas)
    holds = [codes[rows].any() for rows in rare.held_out]
    assert ((solution.status == SINGLE_CLASS).all(axis=1) == holds).all()
    assert 0 < sum(holds) < 6
    assert_solved(rare, alphas, solution)


def test_duplicated_columns_share_their_weight() -> None:
    case = draw(4, 50, 4, 3, 3)
    doubled = Case(np.hstack([case.x, case.x]), case.codes, 3, case.held_out)
    solution = solve(problem_of(doubled), case.held_out, [0.01, 10.0])
    assert_solved(doubled, [0.01, 10.0], solution)
    found = fit(problem_of(doubled), [0.01]).weights[0, 0]
    assert np.abs(found[:, :4] - found[:, 4:]).max() <= ROOM * np.abs(found).max()
    halved = solve(problem_of(case), case.held_out, [0.005, 5.0])  # two halves have half of the square of the whole
    assert np.abs(solution.decisions - halved.decisions).max() <= ROOM * max(1.0, np.abs(halved.decisions).max())


def test_constant_columns_have_no_weight() -> None:
    case = draw(5, 50, 4, 2, 3)
    constant = Case(np.hstack([case.x, np.full((50, 2), 7.0)]), case.codes, 2, case.held_out)
    solution = solve(problem_of(constant), case.held_out, [1e-6, 1.0])
    assert_solved(constant, [1e-6, 1.0], solution)
    assert not fit(problem_of(constant), [1.0]).weights[0, 0, :, 4:].any()


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("backend", [CPU, ARRAY], ids=["cpu", "array"])
def test_a_constant_embedding_knows_the_frequencies(classes: int, backend: Backend) -> None:
    case = draw(6, 60, 3, classes, 4)
    flat = Case(np.full((60, 3), -2.0), case.codes, classes, case.held_out)
    solution = solve(problem_of(flat, backend), flat.held_out, [1e-8, 1.0])
    assert (solution.status == CONVERGED).all()
    for fold, rows in enumerate(flat.held_out):
        logs = np.log(np.bincount(flat.codes[flat.training(fold)], minlength=classes))
        wanted = logs[1:] - logs[:1] if classes == 2 else logs - logs.mean()
        found = solution.decisions[fold, : len(rows)]
        assert np.abs(found - wanted).max() <= ROOM * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("classes", [2, 3])
def test_fewer_samples_than_features(classes: int) -> None:
    case = draw(7, 25, 60, classes, 3)
    alphas = [0.01, 1.0, 100.0]
    assert_solved(case, alphas, solve(problem_of(case), case.held_out, alphas))


@pytest.mark.parametrize("classes", [2, 3])
def test_strengths_of_any_size(classes: int) -> None:
    """1e8 leaves the intercepts only; 1e-8 is scikit-learn's unpenalised probe where that exists."""
    case = draw(8, 80, 4, classes, 3, noise=3.0)
    solution = solve(problem_of(case), case.held_out, [1e8, 1e-8])
    assert_solved(case, [1e8, 1e-8], solution)
    for fold in range(3):
        logs = np.log(np.bincount(case.codes[case.training(fold)]))
        wanted = logs[1:] - logs[:1] if classes == 2 else logs - logs.mean()
        reach = np.abs(case.x).max() * np.linalg.norm(case.x, axis=0).max() * np.sqrt(80) * 4 / 1e8  # |X'r| / alpha
        assert np.abs(decisions_of(solution, case, fold, 0) - wanted).max() <= reach + ROOM


@pytest.mark.parametrize("factor", [1e4, 1e-4])
@pytest.mark.parametrize("classes", [2, 3])
def test_scaled_features_and_strengths_make_the_same_decisions(factor: float, classes: int) -> None:
    case = draw(9, 50, 5, classes, 3, offset=2.0)
    alphas = [0.01, 1.0]
    wanted = solve(problem_of(case), case.held_out, alphas)
    scaled = Case(factor * case.x, case.codes, classes, case.held_out)
    found = solve(problem_of(scaled), case.held_out, [factor**2 * a for a in alphas])
    assert (found.status == CONVERGED).all()
    assert np.abs(found.decisions - wanted.decisions).max() <= ROOM * np.abs(wanted.decisions).max()


@pytest.mark.parametrize(("classes", "backend"), [(4, ARRAY), (3, CPU)], ids=["array", "cpu"])
def test_a_class_that_does_not_train_is_unknown(classes: int, backend: Backend) -> None:
    """As in scikit-learn; of three classes, one fold is left with two, of which it is a probe of two classes."""
    case = draw(10, 60, 4, classes, 4, noise=3.0)
    held_out = [*case.held_out[:3], np.union1d(case.held_out[3], np.flatnonzero(case.codes == 1))]
    lacking = Case(case.x, case.codes, classes, held_out)
    alphas = [0.1, 10.0]
    solution = solve(problem_of(lacking, backend), held_out, alphas)
    assert_solved(lacking, alphas, solution)
    found = fit(problem_of(lacking, backend), alphas, lacking.masks)
    for a, alpha in enumerate(alphas):
        decisions = decisions_of(solution, lacking, 3, a)
        assert (decisions[:, 1] == -np.inf).all()
        assert not np.isinf(np.delete(decisions, 1, axis=1)).any()
        sklearn = lacking.probe_sklearn(3, alpha)
        assert distance(decisions, sklearn.decisions(case.x[held_out[3]]), sklearn.decisions(case.x)) <= ROOM
        assert_gradient(lacking, 3, alpha, found, a)
        assert not found.weights[3, a, 1].any()


def test_folds_of_unequal_sizes_are_padded() -> None:
    case = draw(11, 60, 4, 3, 1)
    unequal = Case(case.x, case.codes, 3, [np.arange(3), np.arange(3, 4), np.arange(4, 24), np.arange(24, 60)])
    assert_solved(unequal, [1.0], solve(problem_of(unequal), unequal.held_out, [1.0]))


@pytest.mark.parametrize("backend", [CPU, ARRAY], ids=["cpu", "array"])
def test_only_what_is_wanted_is_solved(backend: Backend) -> None:
    case = draw(12, 50, 5, 3, 4)
    alphas = [0.1, 1.0, 10.0]
    whole = solve(problem_of(case, backend), case.held_out, alphas)
    wanted = np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]], dtype=bool)
    some = solve(problem_of(case, backend), case.held_out, alphas, wanted)
    assert (some.status[wanted] == CONVERGED).all()
    assert np.isnan(some.gradient[:, 1]).all()
    assert not some.decisions[:, :, 1].any()
    room = ROOM * np.abs(whole.decisions).max()
    for k, a in np.argwhere(wanted):
        assert np.abs(some.decisions[k, :, a] - whole.decisions[k, :, a]).max() <= room


@pytest.mark.parametrize(("classes", "backend"), [(3, ARRAY), (2, CPU)], ids=["array", "cpu"])
def test_strengths_together_in_any_order_equal_one_at_a_time(classes: int, backend: Backend) -> None:
    case = draw(13, 50, 5, classes, 3)
    alphas = [1.0, 1000.0, 0.01]
    problem = problem_of(case, backend)
    together = solve(problem, case.held_out, alphas)
    assert_solved(case, alphas, together)
    for a, alpha in enumerate(alphas):
        alone = solve(problem, case.held_out, [alpha]).decisions[:, :, 0]
        assert np.abs(together.decisions[:, :, a] - alone).max() <= 2 * ROOM * max(1.0, np.abs(alone).max())


def memory_for(case: Case, columns: int) -> float:
    """Bytes that hold so many columns at once, and no more."""
    n, d = case.x.shape
    outputs = 1 if case.n_classes == 2 else case.n_classes
    metric, column = 4.0 * n * (d + 1) + 8.0 * n * d + 24.0 * d * d, outputs * (120 * n + 40.0 * d)
    return 2 * (metric + (columns + 0.5) * column)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("columns", [1, 3])
def test_columns_in_batches_equal_all_at_once(columns: int, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    case = draw(14, 50, 5, classes, 7)
    alphas = [0.1, 10.0]
    wanted = solve(problem_of(case), case.held_out, alphas)
    sizes: list[int] = []
    path = importlib.import_module("fastprobe.probes.logistic.path")
    plain = path.newton

    def counting(problem, penalty, training, fold, *args, **options):
        sizes.append(len(fold))
        return plain(problem, penalty, training, fold, *args, **options)

    monkeypatch.setattr(path, "newton", counting)
    monkeypatch.setattr(CPU, "memory", lambda: memory_for(case, columns))
    found = solve(problem_of(case), case.held_out, alphas)
    assert max(sizes) == columns
    assert (found.status == CONVERGED).all()
    assert np.abs(found.decisions - wanted.decisions).max() <= 2 * ROOM * np.abs(wanted.decisions).max()


def test_no_room_for_a_single_column_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    case = draw(14, 50, 5, 3, 2)
    monkeypatch.setattr(CPU, "memory", lambda: memory_for(case, 0) / 2)
    with pytest.raises(DeviceError, match="50 samples x 5 features and 3 outputs"):
        solve(problem_of(case), case.held_out, [1.0])


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("stack", [3, 16])
def test_strengths_in_stacks_equal_one_after_another(stack: int, classes: int) -> None:
    case = draw(15, 60, 6, classes, 4)
    alphas = [100.0, 0.01, 1.0, 10.0, 1e-3]
    one, many = (ArrayBackend(np, device="numpy", budget=2**30) for _ in range(2))
    one.stack, many.stack = 1, stack
    wanted, found = (solve(problem_of(case, b), case.held_out, alphas) for b in (one, many))
    assert np.array_equal(found.status, wanted.status)
    assert np.abs(found.decisions - wanted.decisions).max() <= 2 * ROOM * np.abs(wanted.decisions).max()


@pytest.mark.parametrize("classes", [2, 3])
def test_a_column_that_does_not_converge_says_so(classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("fastprobe.probes.logistic.newton"), "MAX_STEPS", 3)
    case = draw(16, 50, 5, classes, 3, noise=0.0)
    solution = solve(problem_of(case), case.held_out, [1e8, 1e-8])
    assert (solution.status[:, 0] == CONVERGED).all()  # hardly more than intercepts
    assert (solution.status[:, 1] == LIMIT).all()
    assert (solution.error[:, 1] > ACCEPTED).all()
    assert (solution.gradient[:, 1] > 0).all()


def test_what_a_status_means() -> None:
    assert describe(CONVERGED) is None
    assert describe(LIMIT) == "Newton's method did not converge: take a larger alpha"
    assert describe(SINGLE_CLASS) == "training labels are of one class: take larger or stratified folds"


def test_all_rows_train_one_probe_by_default() -> None:
    case = draw(17, 40, 4, 3, 1)
    found = fit(problem_of(case), [1.0, 0.1])
    assert found.weights.shape == (1, 2, 3, 4)
    assert found.intercepts.shape == (1, 2, 3)
    whole = Case(case.x, case.codes, 3, [np.empty(0, dtype=np.int64)])
    for a, alpha in enumerate([1.0, 0.1]):
        wanted = whole.probe(0, alpha).decisions(case.x)
        assert distance(probe_of(found, 0, a).decisions(case.x), wanted, wanted) <= ROOM
        assert_gradient(whole, 0, alpha, found, a)
