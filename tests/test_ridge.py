"""Every route gives the residuals of naive refits, by two oracles, for every kind of problem."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity import small
from problems import PROBLEMS, Problem, make, refit_scipy, refit_sklearn

from fastprobe import score
from fastprobe.backend import get_backend
from fastprobe.backend.cpu import CpuBackend
from fastprobe.planner import ROUTE_NAMES
from fastprobe.probes.ridge import RidgeProblem, mixed, solve
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


def spread_out(log_condition: float, alpha: float = 1.0) -> Problem:
    """Features whose Gram matrix, less its diagonal, is the worse conditioned the larger `log_condition`."""
    rng = np.random.default_rng(8)
    n, d = 300, 40
    turned = np.linalg.qr(rng.standard_normal((d, d)))[0]
    lengths = np.sqrt(alpha * 10 ** np.linspace(0, log_condition, d) / n)
    x = rng.standard_normal((n, d)) * lengths @ turned
    y = x @ rng.standard_normal((d, 2)) / np.sqrt((x * x).sum(axis=1).mean()) + rng.standard_normal((n, 2))
    return Problem("spread-out", x, y, [np.sort(rng.permutation(n)[:30]) for _ in range(4)], alpha)


@pytest.mark.parametrize(
    ("log_condition", "wide", "refactorised"), [(3, False, False), (8, True, False), (14, True, True)]
)
def test_mixed_takes_the_factor_that_the_condition_asks_for_and_says_so(
    log_condition: float, wide: bool, refactorised: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A float32 factor serves up to 1e6 or so, a float64 one rounded to float32 up to the square of that or so."""
    case = spread_out(log_condition)
    problem = problem_of(case)
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        solution = solve(problem, case.held_out, [case.alpha], "mixed")
    assert ("in float64" in caplog.text) == wide
    assert problem.has_gram == wide  # the float64 Gram matrix is computed for that only
    assert solution.refactorised.any() == refactorised
    assert not solution.failed.any()
    assert largest_error(case, solution.residuals[:, :, 0], refit_scipy) < case.tolerance_of("mixed")


@given(
    n=st.integers(12, 80), d=st.integers(1, 90), t=st.integers(1, 4), log_alpha=st.floats(-6, 4),
    decay=st.floats(0, 3), size=st.floats(-12, 12),
)  # fmt: skip
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_mixed_equals_the_float64_routes(n, d, t, log_alpha, decay, size) -> None:
    """Of features of any size, whose squares float32 need not hold, and of any condition."""
    case = make("drawn", n, d, t, alpha=10**log_alpha, folds=4, decay=decay)
    case = Problem(case.name, 10**size * case.x, case.y, case.held_out, 10 ** (2 * size) * case.alpha)
    found = solve(problem_of(case), case.held_out, [case.alpha], "mixed")
    assert not found.failed.any()
    for route in ("downdate", "dual"):
        wanted = solve(problem_of(case), case.held_out, [case.alpha], route)
        distance = np.abs(found.residuals - wanted.residuals).max() / np.abs(case.y).max()
        assert distance < case.tolerance_of("mixed") + case.tolerance_of(route)


def test_mixed_gives_the_same_in_batches_of_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    case = PROBLEMS[0]
    whole = solve(problem_of(case), case.held_out, [case.alpha], "mixed")
    monkeypatch.setattr(mixed, "_BATCH_BYTES", 2 * 8 * case.y.size)  # two sets at a time
    parts = solve(problem_of(case), case.held_out, [case.alpha], "mixed")
    assert np.abs(parts.residuals - whole.residuals).max() < case.tolerance_of("mixed") * np.abs(case.y).max()


def test_mixed_sees_a_float32_factor_that_is_none(monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    """A library that does not say that its factorisation broke down."""
    case = spread_out(14)

    class Silent(CpuBackend):
        def cholesky(self, a):
            lower, ok = super().cholesky(a)
            return lower, np.ones_like(ok) if a.dtype == np.float32 else ok

    backend = Silent(2)
    problem = RidgeProblem(backend, backend.design(case.x, np.arange(len(case.x))), case.y)
    solution = solve(problem, case.held_out, [case.alpha], "mixed")
    assert "no Cholesky factor in float32" in caplog.text
    assert not solution.failed.any()


def test_scores_say_their_precision_and_are_those_of_float64() -> None:
    submission, benchmark = small()
    options = {"protocol": "ridge", "folds": 4, "alpha": 3.0, "device": BACKEND}
    found = score([submission], benchmark, route="mixed", **options)
    wanted = score([submission], benchmark, route="downdate", **options)
    assert {row.dtype for row in found.rows} == {"float32+float64"}
    assert {row.dtype for row in wanted.rows} == {"float64"}
    for ours, theirs in zip(found.rows, wanted.rows, strict=True):
        assert ours.fold_scores == pytest.approx(theirs.fold_scores, abs=1e-9)


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
