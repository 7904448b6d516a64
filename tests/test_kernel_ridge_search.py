"""Kernel and strength are those of a naive nested loop; Nyström features; memory; the specification."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import scipy.linalg
from kernel_refits import problem_of, refit_scipy, tolerance, values
from problems import EPS, Problem
from problems import refit_scipy as refit_ridge
from strict_namespace import Namespace

from fastprobe import FoldSpec, Protocol
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.errors import InputError
from fastprobe.folds import make_folds
from fastprobe.kernel_spec import KernelSpec
from fastprobe.planner import ROUTE_NAMES
from fastprobe.probes.inner import InnerPlan, plan_inner
from fastprobe.probes.kernel import Best, Frame, Kernel, Landmarks, Search, drawn_rows, solve
from fastprobe.probes.kernel.memory import exact_bytes, nystroem_bytes, require_memory
from fastprobe.probes.kernel.search import Trial
from fastprobe.probes.kernel.validation import Validation

BACKEND = get_backend("cpu", threads=2)
KERNELS = (Kernel("rbf", 0.02), Kernel("rbf", 0.2), Kernel("polynomial", 0.2, 2, 1.0))
GRID = [10.0**e for e in range(-2, 4)]
COLUMNS = [slice(0, 1), slice(1, 4), slice(4, 5)]
"""Of three tasks, the second of which has three columns."""


@pytest.fixture(scope="module", autouse=True)
def single_blas_thread():
    """Threads that wait for small matrices by spinning would take most of the time."""
    with BACKEND.session():
        yield


def strict(budget: int = 300_000) -> ArrayBackend:
    return ArrayBackend(Namespace(), device="strict", budget=budget)


def draw(n: int, d: int = 4, folds: int = 6, scheme: str = "shuffle"):
    rng = np.random.default_rng(n)
    x = rng.standard_normal((n, d))
    y = np.stack([np.sin(2 * x[:, 0]), x[:, 1] ** 2, x[:, 0] * x[:, 1], x[:, 2], np.abs(x[:, 3])], axis=1)
    y += 0.3 * rng.standard_normal(y.shape)
    spec = FoldSpec(scheme, n_folds=folds)  # type: ignore[arg-type]
    held_out = make_folds(spec, np.arange(n).astype(str), y[:, 0], "regression").held_out
    return x, y, held_out


def search_on(backend, x, y, kernels=KERNELS, alphas=GRID) -> Search:
    design = backend.design(backend.asarray(x), np.arange(len(x)))
    points = Frame.of("polynomial", design).points(backend, design)
    return Search(backend, points, backend.asarray(y), kernels, alphas)


def best_of(search: Search, trials, folds: int) -> Best:
    best = Best(search.backend, folds, COLUMNS)
    for trial in trials:
        best.offer(trial)
    return best


def naive_losses(residuals_of, plan: InnerPlan, folds: int, y) -> np.ndarray:
    """Mean squared validation error (K, kernels, A, columns), every set, kernel and strength refitted."""
    total, count = np.zeros((folds, len(KERNELS), len(GRID), y.shape[1])), np.zeros(folds)
    for p, left_out in enumerate(plan.left_out):
        squares = np.array([[residuals_of(kernel, left_out, alpha) ** 2 for alpha in GRID] for kernel in KERNELS])
        for fold, _, rows in (served for served in plan.validate if served[1] == p):
            count[fold] += len(rows)
            total[fold] += squares[:, :, np.searchsorted(left_out, rows)].sum(axis=2)
    return total / count[:, None, None, None]


def assert_chosen(best: Best, backend, losses: np.ndarray, residuals_of, held_out, room: float) -> None:
    residuals = backend.to_numpy(best.residuals)
    for j, columns in enumerate(COLUMNS):
        of_task = losses[..., columns].sum(axis=3)
        assert np.abs(best.loss[:, j] - of_task.min(axis=(1, 2))).max() < room
        for fold, held in enumerate(held_out):
            k, a = np.unravel_index(of_task[fold].argmin(), of_task[fold].shape)
            assert (best.kernel[fold, j], best.alpha[fold, j]) == (k, a)
            wanted = residuals_of(KERNELS[k], held, GRID[a])[:, columns]
            assert np.abs(residuals[fold, : len(held), columns] - wanted).max() < room
    assert len(np.unique(best.kernel)) > 1  # there was something to choose
    assert len(np.unique(best.alpha)) > 1


@cache
def nested(scheme: str, folds: int):
    """A problem of 60 rows, its inner validation, the refit, and the losses of refitting everything."""
    x, y, held_out = draw(60, folds=folds, scheme=scheme)
    plan = plan_inner(held_out, 60, 4, seed=42)
    matrices = {kernel: values(kernel, x, x) for kernel in KERNELS}

    def residuals_of(kernel, rows, alpha):
        return refit_scipy(matrices[kernel], y, rows, alpha)

    room = 4 * max(tolerance(m, GRID[0]) for m in matrices.values()) * np.abs(y).max() ** 2
    return x, y, held_out, plan, residuals_of, naive_losses(residuals_of, plan, folds, y), room


@cache
def nested_on_features(count: int):
    """The same by refits of ridge on Nyström features."""
    x, y, held_out = draw(60)
    plan, rows = plan_inner(held_out, 60, 4, seed=42), drawn_rows(60, count, seed=5)
    points = search_on(BACKEND, x, y).points
    features = {kernel: Landmarks.of(BACKEND, kernel, points, rows).features(BACKEND, points) for kernel in KERNELS}

    def residuals_of(kernel, left_out, alpha):
        return refit_ridge(features[kernel], y, left_out, alpha)

    cases = (Problem("features", f, y, list(plan.left_out), GRID[0]) for f in features.values())
    room = 4 * max(case.tolerance_of("mixed") for case in cases) * np.abs(y).max() ** 2
    return x, y, held_out, plan, rows, residuals_of, naive_losses(residuals_of, plan, 6, y), room


@pytest.mark.parametrize("backend", [BACKEND, strict(), strict(2**40)], ids=["cpu", "strict", "strict-large"])
@pytest.mark.parametrize(("scheme", "folds"), [("shuffle", 6), ("kfold", 3), ("shuffle", 1)])
def test_choice_equals_nested_refits(backend, scheme: str, folds: int) -> None:
    x, y, held_out, plan, residuals_of, losses, room = nested(scheme, folds)
    search = search_on(backend, x, y)
    best = best_of(search, search.exact(backend.row_sets(held_out, 60), plan), folds)
    assert_chosen(best, backend, losses, residuals_of, held_out, room)


def trial(kernel: int, alpha: int, loss, error=0.0) -> Trial:
    return Trial(
        kernel, alpha, np.full((2, 5), loss), np.full((2, 3, 5), 10.0 * kernel + alpha), np.full(2, error),
        np.zeros(2, dtype=bool),
    )  # fmt: skip


def test_ties_take_the_largest_strength_and_then_the_first_kernel() -> None:
    best = Best(BACKEND, 2, COLUMNS)
    for kernel in (0, 1):
        for alpha in (0, 1, 2):
            best.offer(trial(kernel, alpha, 3.0 if alpha < 2 else 4.0))
    assert (best.alpha == 1).all()
    assert (best.kernel == 0).all()
    assert (best.residuals == 1.0).all()
    best.offer(trial(2, 2, 3.0))
    assert (best.kernel == 2).all()


def test_failed_trials_are_taken_only_where_all_failed() -> None:
    best = Best(BACKEND, 2, COLUMNS)
    best.offer(trial(0, 0, 5.0))
    best.offer(replace(trial(0, 1, 1.0), error=np.array([np.nan, 1e-3])))
    assert (best.alpha == 0).all()
    best = Best(BACKEND, 2, COLUMNS)
    best.offer(replace(trial(0, 0, np.nan), error=np.array([np.nan, np.nan])))
    best.offer(replace(trial(0, 1, 1.0), error=np.array([np.nan, 0.0])))
    assert np.isnan(best.error[0]).all()
    assert (best.error[1] == 0).all()


def test_validation_is_infinite_where_a_solve_failed() -> None:
    held_out = draw(60)[2]
    plan = plan_inner(held_out, 60, 4, seed=42)
    validation = Validation(BACKEND, plan, 60, 6)
    error = np.zeros(len(plan.left_out))
    error[3] = 1e-3
    residuals = np.full((len(error), validation.sets.width, 2), 2.0)
    residuals[3] = np.nan
    served = {fold for fold, p, _ in plan.validate if p == 3}
    found = validation.mean_squares(residuals, error)
    assert {k for k in range(6) if np.isinf(found[k]).all()} == served
    assert all((found[k] == 4.0).all() for k in range(6) if k not in served)


# Nyström features


@pytest.mark.parametrize("backend", [BACKEND, strict(), strict(2**40)], ids=["cpu", "strict", "strict-large"])
@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_features_have_the_inner_products_of_the_landmarks(backend, kernel: Kernel) -> None:
    x, y, _ = draw(300)
    _, points = problem_of(backend, kernel, x, y)
    rows = drawn_rows(300, 25, seed=1)
    features = backend.to_numpy(Landmarks.of(backend, kernel, points, rows).features(backend, points))
    across, among = values(kernel, x, x[rows]), values(kernel, x[rows], x[rows])
    wanted = across @ scipy.linalg.pinvh(among, rtol=1e-12) @ across.T
    spread = np.linalg.cond(among) if kernel.kernel == "rbf" else 1e12  # of the eigenvalues that are kept
    assert np.abs(features @ features.T - wanted).max() <= 100 * EPS * min(spread, 1e12) * np.abs(wanted).max()
    if kernel.kernel == "polynomial":
        assert features.shape == (300, 15)  # monomials of degree 2 at most in 4 dimensions: the rank


def test_landmarks_are_drawn_without_labels_and_are_all_rows_at_most() -> None:
    assert drawn_rows(50, 10, 3).tolist() == sorted(np.random.RandomState(3).permutation(50)[:10].tolist())
    assert drawn_rows(50, 80, 3).tolist() == list(range(50))


@pytest.mark.parametrize("backend", [BACKEND, strict(2**40)], ids=["cpu", "strict"])
@pytest.mark.parametrize("route", ROUTE_NAMES)
def test_landmark_choice_equals_nested_refits_on_the_features(backend, route: str) -> None:
    x, y, held_out, plan, rows, residuals_of, losses, room = nested_on_features(12)
    search = search_on(backend, x, y)
    best = best_of(search, search.nystroem(rows, held_out, route, plan, route), len(held_out))
    assert_chosen(best, backend, losses, residuals_of, held_out, room)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_all_rows_as_landmarks_are_the_exact_kernel(kernel: Kernel) -> None:
    """But for eigenvalues below 1e-12 of the largest, L, which are dropped.

    With a kernel K + D in place of K, predictions ``K_SR (K_RR + alpha I)^-1 y`` move by no more than
    ``|D| / alpha (1 + |K_SR (K_RR + alpha I)^-1|) |y|``, where the last norm is at most ``sqrt(L / alpha) / 2``.
    """
    n = 120
    x, y, held_out = draw(n)
    problem, points = problem_of(BACKEND, kernel, x, y)
    alphas = [0.1, 10.0]
    exact = solve(problem, held_out, alphas)
    search = Search(BACKEND, points, y, (kernel,), alphas)
    largest = np.linalg.norm(values(kernel, x, x), 2)
    for found in search.nystroem(np.arange(n), held_out, "downdate", None, ""):
        ratio = largest / alphas[found.alpha]
        bound = (1e-12 + 100 * EPS) * ratio * (1 + np.sqrt(ratio) / 2) * np.linalg.norm(y, axis=0).max()
        assert found.loss is None
        assert np.abs(found.residuals - exact.residuals[:, :, found.alpha]).max() <= bound


def test_overflow_is_an_error_for_landmarks_too() -> None:
    x, y, _ = draw(60)
    _, points = problem_of(BACKEND, KERNELS[0], x, y)
    with pytest.raises(InputError, match="lower gamma"):
        Landmarks.of(BACKEND, Kernel("polynomial", 1e200, 3, 1.0), points, np.arange(9))


# Memory


@pytest.mark.parametrize(("n", "d", "gib"), [(4691, 1024, 0.5), (20_000, 1024, 8.0), (13_260, 64, 2.0)])
def test_too_large_a_matrix_is_refused_with_landmarks_that_fit(n: int, d: int, gib: float) -> None:
    available = gib * 2**30
    with pytest.raises(InputError) as caught:
        require_memory("submission 'a', task 'b'", n=n, d=d, landmarks=None, available=available)
    message = str(caught.value)
    assert "submission 'a', task 'b'" in message
    assert str(exact_bytes(n, d)) in message
    assert str(int(available)) in message
    landmarks = int(re.search(r"--landmarks (\d+)", message)[1])  # type: ignore[index]
    require_memory("", n=n, d=d, landmarks=landmarks, available=available)
    tenth_more = int(1.1 * landmarks) + 1
    assert landmarks == n // 2 // 100 * 100 or nystroem_bytes(n, d, tenth_more) > available


def test_what_fits_is_not_refused_and_what_cannot_fit_gets_no_false_advice() -> None:
    require_memory("", n=20_000, d=1024, landmarks=None, available=exact_bytes(20_000, 1024))
    with pytest.raises(InputError) as caught:
        require_memory("", n=20_000, d=1024, landmarks=None, available=1e6)
    assert "--landmarks" not in str(caught.value)
    with pytest.raises(InputError, match="5000 landmarks"):
        require_memory("", n=20_000, d=1024, landmarks=5000, available=1e9)


def test_more_landmarks_than_rows_cost_what_the_rows_cost() -> None:
    assert nystroem_bytes(100, 5, 10_000) == nystroem_bytes(100, 5, 100)


# The specification


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kernel": "linear"}, "kernel.kernel"),
        ({"gamma": 0.0}, "kernel.gamma"),
        ({"gamma": "auto"}, "kernel.gamma"),
        ({"gamma": ()}, "kernel.gamma"),
        ({"gamma": (1.0, 1)}, "kernel.gamma"),
        ({"gamma": float("inf")}, "kernel.gamma"),
        ({"gamma": True}, "kernel.gamma"),
        ({"degree": 3}, "kernel.degree"),
        ({"coef0": 0.0}, "kernel.coef0"),
        ({"kernel": "polynomial", "degree": 0}, "kernel.degree"),
        ({"kernel": "polynomial", "degree": 2.0}, "kernel.degree"),
        ({"kernel": "polynomial", "degree": (2, 101)}, "kernel.degree"),
        ({"kernel": "polynomial", "coef0": -1.0}, "kernel.coef0"),
        ({"landmarks": 0}, "kernel.landmarks"),
        ({"landmarks": 10.0}, "kernel.landmarks"),
        ({"seed": -1}, "kernel.seed"),
    ],
)
def test_wrong_specifications_name_the_field(fields, field: str) -> None:
    with pytest.raises(InputError) as caught:
        KernelSpec(**fields)
    assert caught.value.where == field


def test_only_what_decides_a_score_is_in_the_hash() -> None:
    def hash_of(**fields) -> str:
        return Protocol(name="kernel", probe="kernel", alpha=1.0, kernel=KernelSpec(**fields)).hash

    assert hash_of() == hash_of(gamma="median")
    assert hash_of(gamma=1) == hash_of(gamma=1.0, seed=7)  # nothing is drawn
    assert hash_of() != hash_of(seed=7)
    assert hash_of(gamma=1.0, landmarks=10) != hash_of(gamma=1.0, landmarks=10, seed=7)
    assert hash_of(gamma=(1.0, 2.0)) == hash_of(gamma=[1.0, 2.0])
    assert hash_of(kernel="polynomial", degree=2) != hash_of(kernel="polynomial", degree=3)


@pytest.mark.parametrize(
    "spec",
    [KernelSpec(), KernelSpec("polynomial", gamma=(0.5, 1.0), degree=3, coef0=0.0, landmarks=100, seed=1)],
    ids=["rbf", "polynomial"],
)
def test_protocol_files_keep_the_specification(tmp_path, spec: KernelSpec) -> None:
    protocol = Protocol(name="kernel", probe="kernel", alpha="auto", kernel=spec)
    path = tmp_path / "protocol.toml"
    path.write_text(protocol.to_toml(), encoding="utf-8")
    assert Protocol.from_toml(path) == protocol
