"""Every route gives the residuals of naive refits, by two oracles, for every kind of problem."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problems import PROBLEMS, Problem, make, refit_scipy, refit_sklearn

from fastprobe.backend import get_backend
from fastprobe.planner import ROUTE_NAMES
from fastprobe.probes.ridge import RidgeProblem, solve
from fastprobe.probes.ridge.cg import conjugate_gradients
from fastprobe.probes.ridge.grams import GramPart, merge
from fastprobe.probes.ridge.solve import ROUTES, TOLERANCE

BACKEND = get_backend("cpu", threads=2)


def problem_of(case: Problem) -> RidgeProblem:
    return RidgeProblem(BACKEND, BACKEND.design(case.x, np.arange(len(case.x))), case.y)


def largest_error(case: Problem, residuals: np.ndarray, refit) -> float:
    """Largest difference to the refits, relative to the size of the labels."""
    errors = []
    for k, held_out in enumerate(case.held_out):
        wanted = refit(case.x, case.y, held_out, case.alpha)
        errors.append(np.abs(residuals[k, : len(held_out)] - wanted).max())
        assert (residuals[k, len(held_out) :] == 0).all()
    return max(errors) / np.abs(case.y).max()


@pytest.mark.parametrize("route", ROUTE_NAMES)
@pytest.mark.parametrize("case", PROBLEMS, ids=lambda case: case.name)
@pytest.mark.parametrize("refit", [refit_scipy, refit_sklearn])
def test_route_equals_refits(case: Problem, route: str, refit) -> None:
    solution = solve(problem_of(case), case.held_out, [case.alpha], route)
    assert not solution.failed.any()
    assert not solution.refactorised.any()  # this route itself gave the answer
    assert largest_error(case, solution.residuals[:, :, 0], refit) < case.tolerance_of(route)


@pytest.mark.parametrize("route", ROUTE_NAMES)
@pytest.mark.parametrize("case", PROBLEMS, ids=lambda case: case.name)
def test_path_equals_single_strengths(case: Problem, route: str) -> None:
    alphas = [case.alpha, 7 * case.alpha, 1e4 * case.alpha]
    path = solve(problem_of(case), case.held_out, alphas, route)
    for a, alpha in enumerate(alphas):
        one = solve(problem_of(case), case.held_out, [alpha], route)
        assert (
            np.abs(path.residuals[:, :, a] - one.residuals[:, :, 0]).max()
            < case.tolerance_of(route) * np.abs(case.y).max()
        )


@given(
    n=st.integers(12, 60), d=st.integers(1, 70), t=st.integers(1, 8), folds=st.integers(1, 6),
    log_alpha=st.floats(-1, 4), share=st.floats(0.05, 0.6), route=st.sampled_from(ROUTE_NAMES),
)  # fmt: skip
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_shape_any_route(n, d, t, folds, log_alpha, share, route) -> None:
    case = make("drawn", n, d, t, alpha=10**log_alpha, folds=folds, share=share)
    solution = solve(problem_of(case), case.held_out, [case.alpha], route)
    assert not solution.failed.any()
    assert largest_error(case, solution.residuals[:, :, 0], refit_scipy) < case.tolerance_of(route)


@pytest.mark.parametrize("route", ROUTE_NAMES)
def test_tasks_alone_equal_tasks_together(route: str) -> None:
    case = next(c for c in PROBLEMS if c.name == "many-tasks")
    together = solve(problem_of(case), case.held_out, [case.alpha], route).residuals
    order = np.random.default_rng(0).permutation(case.y.shape[1])
    shuffled = Problem(case.name, case.x, case.y[:, order], case.held_out, case.alpha)
    assert np.abs(
        solve(problem_of(shuffled), case.held_out, [case.alpha], route).residuals - together[..., order]
    ).max() < case.tolerance_of(route)
    for j in range(case.y.shape[1]):
        alone = Problem(case.name, case.x, case.y[:, [j]], case.held_out, case.alpha)
        assert np.abs(
            solve(problem_of(alone), case.held_out, [case.alpha], route).residuals - together[..., [j]]
        ).max() < case.tolerance_of(route)


def test_constant_features_and_labels_are_no_error() -> None:
    case = make("constant", 50, 6, 2, alpha=1.0)
    case.x[:, 2] = 3.0
    case.y[:, 1] = 5.0
    for route in ROUTE_NAMES:
        solution = solve(problem_of(case), case.held_out, [case.alpha], route)
        assert not solution.failed.any()
        assert largest_error(case, solution.residuals[:, :, 0], refit_scipy) < case.tolerance_of(route)


def test_missed_tolerance_is_solved_again_and_recorded() -> None:
    """Leverages of 1 - 1e-13: the direct route subtracts them from 1 and cannot reach the tolerance."""
    case = make("interpolating", 40, 200, 1, alpha=1e-11)
    solution = solve(problem_of(case), case.held_out, [case.alpha], "direct")
    assert solution.refactorised.all()
    assert solution.refuge == "dual"
    assert not solution.failed.any()
    wanted = solve(problem_of(case), case.held_out, [case.alpha], "dual")
    assert not wanted.refactorised.any()
    assert np.array_equal(solution.residuals, wanted.residuals)


def test_unsolvable_fold_fails_with_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fold whose residual misses the tolerance on every route is reported, and only that fold."""
    case = PROBLEMS[0]

    def spoil(route):
        def spoiled(problem, sets, alphas):
            result = route(problem, sets, alphas)
            result.error[np.asarray(sets.rows)[:, 0] == case.held_out[1][0]] = 1e-3
            return result

        return spoiled

    for name in ("direct", "downdate"):
        monkeypatch.setitem(ROUTES, name, spoil(ROUTES[name]))  # type: ignore[arg-type]
    solution = solve(problem_of(case), case.held_out, [case.alpha], "direct")
    spoilt = [held[0] == case.held_out[1][0] for held in case.held_out]
    assert solution.failed[:, 0].tolist() == spoilt
    assert solution.error[1, 0] == 1e-3 > TOLERANCE


def test_conjugate_gradients_columns_are_independent() -> None:
    rng = np.random.default_rng(5)
    root = rng.standard_normal((3, 20, 20))
    matrices = root @ root.swapaxes(1, 2) / 20 + np.eye(20)
    target = rng.standard_normal((3, 20, 4)) * [1.0, 1e-8, 1e8, 0.0]
    fold = rng.standard_normal((7, 20))  # any linear image of the columns may be carried along

    companion = (fold @ target).swapaxes(1, 2)
    rounding = 100 * np.finfo(np.float64).eps * np.abs(companion).max(axis=(0, 2))  # per column, of its first size

    widths = []

    def apply(v, carried, live):
        widths.append(len(live))
        assert (np.abs(carried - (fold @ v).swapaxes(1, 2)).max(axis=(0, 2)) <= rounding[live]).all()
        return matrices @ v, (fold @ matrices @ v).swapaxes(1, 2)

    v, iterations = conjugate_gradients(np, apply, target, companion, tol=1e-13, max_iterations=60)
    assert 5 < iterations < 60
    assert (v[..., 3] == 0).all()
    assert max(widths) == 3  # the zero column leaves at once
    wanted = np.linalg.solve(matrices, target)
    assert (np.abs(v - wanted).max(axis=(0, 1))[:3] < 1e-11 * np.abs(wanted).max(axis=(0, 1))[:3]).all()


def test_gram_of_parts_equals_gram_of_all() -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((90, 7)) + np.repeat([0.0, 10.0, -5.0], 30)[:, None]
    whole = BACKEND.design(x, np.arange(90))
    parts = []
    for rows in (np.arange(30), np.arange(30, 60)):
        design = BACKEND.design(x, rows)
        parts.append(GramPart(30, design.mean, BACKEND.gram(design)))
    merged = merge(BACKEND, whole, parts, BACKEND.design(x, np.arange(60, 90)))
    centered = x - x.mean(axis=0)
    assert np.abs(np.tril(merged - centered.T @ centered)).max() < 1e-11
