"""Kernel ridge with the kernel matrix of all rows: every fold equals a refit from scratch."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_refits import problem_of, refit_scipy, refit_sklearn, tolerance, values
from problems import EPS
from strict_namespace import Namespace

from fastprobe import Benchmark, FoldSpec, Submission
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.errors import InputError
from fastprobe.folds import make_folds
from fastprobe.kernel_spec import KernelSpec
from fastprobe.probes.kernel import Frame, Kernel, KernelFit, KernelProblem, candidates, exact, solve
from fastprobe.probes.kernel.candidates import median_distance
from fastprobe.probes.ridge.dual import scaled_inverse
from fastprobe.probes.ridge.solve import TOLERANCE

BACKEND = get_backend("cpu", threads=2)

KERNELS = [
    Kernel("rbf", 0.02),
    Kernel("rbf", 3.0),
    Kernel("rbf", 1e-6),
    Kernel("polynomial", 0.1, 1, 0.0),
    Kernel("polynomial", 0.1, 2, 1.0),
    Kernel("polynomial", 0.05, 3, 0.5),
    Kernel("polynomial", 2.0, 5, 1.0),
]
ALPHAS = [1e-2, 1.0, 100.0, 1e6]


@pytest.fixture(scope="module", autouse=True)
def single_blas_thread():
    """Threads that wait for small matrices by spinning would take most of the time."""
    with BACKEND.session():
        yield


def strict(budget: int = 300_000) -> ArrayBackend:
    return ArrayBackend(Namespace(), device="strict", budget=budget)


def draw(n: int, d: int, t: int, folds: int = 5, share: float = 0.15, seed: int = 0):
    """Features, labels, and held-out rows of several sizes."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)) + rng.standard_normal(d)
    y = np.tanh(x @ rng.standard_normal((d, t))) + 0.3 * rng.standard_normal((n, t)) + 5.0
    held_out = [np.sort(rng.permutation(n)[: max(1, int(share * n) - k % 3)]) for k in range(folds)]
    return x, y, held_out


def assert_equal_refits(solution, x, y, held_out, kernel, alphas, refits) -> None:
    """Only what rounding may decide may fail, and what has not failed is right."""
    matrix = values(kernel, x, x)
    for a, alpha in enumerate(alphas):
        if tolerance(matrix, alpha) < TOLERANCE:
            assert not solution.failed[:, a].any()
        bound = tolerance(matrix, alpha) * np.abs(y - y.mean(axis=0)).max()
        if tolerance(matrix, alpha) > 1e-3:
            continue  # the refits know no digit for sure
        for k, held in enumerate(held_out):
            if not solution.failed[k, a]:
                for refit in refits:
                    found = solution.residuals[k, : len(held), a]
                    assert np.abs(found - refit(matrix, y, held, alpha)).max() <= bound
            assert (solution.residuals[k, len(held) :, a] == 0).all()


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_values_are_those_of_scikit_learn(kernel: Kernel) -> None:
    x, _, _ = draw(300, 7, 1)  # more than one block of rows
    design = BACKEND.design(x, np.arange(300))
    points = Frame.of(kernel.kernel, design).points(BACKEND, design)
    wanted = values(kernel, x, x)
    size = (np.abs(points.rows) @ np.abs(points.rows).T + kernel.coef0).max()  # terms of the sum that is rounded
    relative = 10 * EPS * (1 + kernel.gamma * size) * kernel.degree
    assert np.abs(kernel(np, points, points[40:90]) - wanted[:, 40:90]).max() <= relative * np.abs(wanted).max()


def test_points_are_the_standardised_embedding() -> None:
    x, _, _ = draw(50, 4, 1)
    design = BACKEND.design(x, np.arange(50))
    mean, std = x.mean(), x.std()
    standardised = (x - mean) / std
    polynomial = Frame.of("polynomial", design, mean=mean, variance=std**2).points(BACKEND, design)
    assert np.allclose(polynomial.rows, standardised, rtol=0, atol=1e-14)
    rbf = Frame.of("rbf", design, mean=mean, variance=std**2).points(BACKEND, design)
    assert np.allclose(rbf.rows, standardised - standardised.mean(axis=0), rtol=0, atol=1e-14)
    assert np.allclose(rbf.squares, (rbf.rows**2).sum(axis=1), rtol=1e-14)


@pytest.mark.parametrize("kernel", KERNELS, ids=str)
def test_held_out_residuals_equal_both_refits(kernel: Kernel) -> None:
    x, y, held_out = draw(150, 6, 2)
    problem, _ = problem_of(BACKEND, kernel, x, y)
    solution = solve(problem, held_out, ALPHAS)
    assert not solution.failed[:, -1].any()
    assert_equal_refits(solution, x, y, held_out, kernel, ALPHAS, (refit_sklearn, refit_scipy))


@given(
    n=st.integers(8, 70), d=st.integers(1, 80), t=st.integers(1, 5), folds=st.integers(1, 5),
    share=st.floats(0.05, 0.7), rbf=st.booleans(), log_gamma=st.floats(-4, 1), degree=st.integers(1, 4),
    coef0=st.floats(0, 3), log_alpha=st.floats(-3, 5),
)  # fmt: skip
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_kernel_any_shape(n, d, t, folds, share, rbf, log_gamma, degree, coef0, log_alpha) -> None:
    x, y, held_out = draw(n, d, t, folds, share, seed=n * d)
    kernel = Kernel("rbf", 10**log_gamma) if rbf else Kernel("polynomial", 10**log_gamma, degree, coef0)
    problem, _ = problem_of(BACKEND, kernel, x, y)
    solution = solve(problem, held_out, [10**log_alpha])
    assert_equal_refits(solution, x, y, held_out, kernel, [10**log_alpha], (refit_scipy,))


@pytest.mark.parametrize("kernel", [KERNELS[0], KERNELS[5]], ids=str)
def test_the_bordered_inverse_knows_the_kernel_about_its_means_only(kernel: Kernel) -> None:
    """The block A of the bordered inverse of K as it is, of 40 rows, and that of the route: the same."""
    x, y, _ = draw(40, 5, 1)
    matrix = values(kernel, x, x)
    bordered = np.ones((41, 41))
    bordered[:-1, :-1] = matrix + 0.5 * np.eye(40)
    bordered[-1, -1] = 0.0
    problem, _ = problem_of(BACKEND, kernel, x, y)
    assert np.abs(problem.kernel.sum(axis=0)).max() <= 40 * EPS * np.abs(matrix).max() * 40
    found = scaled_inverse(problem, 0.5)
    assert np.abs(found / 0.5 - np.linalg.inv(bordered)[:-1, :-1]).max() <= tolerance(matrix, 0.5) / 0.5


@pytest.mark.parametrize("budget", [1, 300_000, 2**40])
@pytest.mark.parametrize("kernel", [KERNELS[0], KERNELS[5]], ids=str)
def test_strict_namespace_gives_the_same(kernel: Kernel, budget: int) -> None:
    x, y, held_out = draw(300, 6, 2)
    backend = strict(budget)
    problem, _ = problem_of(backend, kernel, x, y)
    found = solve(problem, held_out, [0.1, 10.0])
    wanted = solve(problem_of(BACKEND, kernel, x, y)[0], held_out, [0.1, 10.0])
    bound = 2 * tolerance(values(kernel, x, x), 0.1) * np.abs(y).max()
    assert np.abs(backend.to_numpy(found.residuals) - wanted.residuals).max() <= bound
    assert not found.failed.any()


@pytest.mark.parametrize("kernel", [KERNELS[0], KERNELS[4]], ids=str)
def test_the_fit_to_all_rows_predicts_as_scikit_learn(kernel: Kernel) -> None:
    x, y, _ = draw(120, 5, 2)
    problem, points = problem_of(BACKEND, kernel, x, y)
    fit = KernelFit(problem, 0.5)
    assert fit.ok
    assert fit.error < 1e-12
    new = np.random.default_rng(1).standard_normal((9, 5))
    design = BACKEND.design(x, np.arange(120))
    others = Frame.of(kernel.kernel, design).points(BACKEND, BACKEND.design(new, np.arange(9)))
    predicted = kernel(np, others, points) @ fit.coefficients + fit.intercept
    stacked, labels = np.vstack([x, new]), np.vstack([y, np.zeros((9, 2))])
    wanted = -refit_sklearn(values(kernel, stacked, stacked), labels, np.arange(120, 129), 0.5)
    assert np.abs(predicted - wanted).max() <= tolerance(values(kernel, x, x), 0.5) * np.abs(y).max()


def test_constant_points_and_labels_are_no_error() -> None:
    x, y, held_out = draw(40, 3, 2)
    y[:, 1] = 5.0
    for features in (np.ones_like(x), x):
        problem, _ = problem_of(BACKEND, KERNELS[0], features, y)
        solution = solve(problem, held_out, [1.0])
        assert not solution.failed.any()
        assert np.abs(solution.residuals[..., 1]).max() < 1e-13
        assert_equal_refits(solution, features, y, held_out, KERNELS[0], [1.0], (refit_scipy,))


def test_kernel_of_huge_values_is_scaled() -> None:
    """Values of 1e24: strengths of that size are solved like any other."""
    x, y, held_out = draw(80, 5, 1)
    kernel = Kernel("polynomial", 1e3, 6, 1.0)
    matrix = values(kernel, x, x)
    alphas = [1e-3 * np.linalg.norm(matrix, 2), np.linalg.norm(matrix, 2)]
    solution = solve(problem_of(BACKEND, kernel, x, y)[0], held_out, alphas)
    assert matrix.max() > 1e24
    assert not solution.failed.any()
    assert_equal_refits(solution, x, y, held_out, kernel, alphas, (refit_scipy,))


def test_hopeless_condition_fails_with_its_error() -> None:
    """A strength of 1e-20 of the kernel's size is less than the rounding of it."""
    x, y, held_out = draw(80, 2, 1)
    problem, _ = problem_of(BACKEND, Kernel("polynomial", 1.0, 6, 1.0), x, y)
    solution = solve(problem, held_out, [1e-20 * problem.kernel_scale, problem.kernel_scale])
    assert solution.failed.tolist() == [[True, False]] * len(held_out)


@pytest.mark.parametrize("backend", [BACKEND, strict()], ids=["cpu", "strict"])
def test_wrong_inverse_is_seen_in_every_fold(monkeypatch: pytest.MonkeyPatch, backend) -> None:
    """An error of 1e-6 of the inverse that is as symmetric as itself, which the blocks alone cannot tell from right."""

    def spoilt(problem, alpha):
        inverse = scaled_inverse(problem, alpha)
        inverse += 1e-6 * backend.xp.matmul(inverse, inverse)
        return inverse

    x, y, held_out = draw(80, 5, 2)
    problem, _ = problem_of(backend, KERNELS[0], x, y)
    monkeypatch.setattr(exact, "scaled_inverse", spoilt)
    fit = KernelFit(problem, 1.0)
    sets = backend.row_sets(held_out, 80)
    assert (fit.leave_out(sets, check=False)[1] < TOLERANCE).all()
    assert (fit.leave_out(sets)[1] > 1e-8).all()
    assert fit.error > 1e-8


@pytest.mark.parametrize("backend", [BACKEND, strict()], ids=["cpu", "strict"])
def test_overflowing_kernel_is_an_error_with_a_remedy(backend) -> None:
    x, y, _ = draw(30, 4, 1)
    with pytest.raises(InputError, match="lower gamma"):
        problem_of(backend, Kernel("polynomial", 1e80, 9, 1.0), x, y)


def test_indefinite_matrix_fails_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, held_out = draw(30, 4, 1)
    problem, _ = problem_of(BACKEND, KERNELS[0], x, y)
    problem.kernel -= 10.0 * np.eye(30)
    solution = solve(problem, held_out, [1.0])
    assert solution.failed.all()
    assert np.isnan(solution.error).all()
    assert np.isnan(KernelFit(problem, 1.0).error)


def test_median_distance_is_label_free_seeded_and_of_distinct_points() -> None:
    x, _, _ = draw(60, 4, 1)
    design = BACKEND.design(x, np.arange(60))
    points = Frame.of("rbf", design).points(BACKEND, design)
    distances = ((x[:, None] - x) ** 2).sum(axis=2)[np.triu_indices(60, 1)]
    assert median_distance(BACKEND, points, seed=1) == pytest.approx(np.median(distances), rel=1e-12)
    copied = np.vstack([x[:3], np.repeat(x[:1], 40, axis=0)])
    design = BACKEND.design(copied, np.arange(43))
    apart = ((copied[:, None] - copied) ** 2).sum(axis=2)[np.triu_indices(43, 1)]
    points = Frame.of("rbf", design).points(BACKEND, design)
    assert median_distance(BACKEND, points, seed=1) == pytest.approx(np.median(apart[apart > 0]), rel=1e-12)
    design = BACKEND.design(np.ones((9, 3)), np.arange(9))
    assert median_distance(BACKEND, Frame.of("rbf", design).points(BACKEND, design), seed=1) == 1.0


def test_median_distance_of_many_points_is_that_of_a_sample() -> None:
    x, _, _ = draw(1500, 3, 1)
    design = BACKEND.design(x, np.arange(1500))
    points = Frame.of("rbf", design).points(BACKEND, design)
    rows = np.random.RandomState(7).permutation(1500)[:1000]
    sample = ((x[rows][:, None] - x[rows]) ** 2).sum(axis=2)[np.triu_indices(1000, 1)]
    assert median_distance(BACKEND, points, seed=7) == pytest.approx(np.median(sample), rel=1e-12)
    on_device = strict(2**40)
    design = on_device.design(on_device.asarray(x), np.arange(1500))
    there = Frame.of("rbf", design).points(on_device, design)
    assert median_distance(on_device, there, seed=7) == pytest.approx(np.median(sample), rel=1e-12)


def test_candidates_are_all_combinations() -> None:
    x, _, _ = draw(60, 4, 1)
    design = BACKEND.design(x, np.arange(60))
    points = Frame.of("rbf", design).points(BACKEND, design)
    median = median_distance(BACKEND, points, seed=42)
    found = candidates(KernelSpec(), BACKEND, points)
    assert [k.gamma for k in found] == [0.25 / median, 1 / median, 4 / median]
    assert candidates(KernelSpec(gamma=0.3), BACKEND, points) == (Kernel("rbf", 0.3),)
    assert [(k.degree, k.gamma, k.coef0) for k in candidates(KernelSpec("polynomial"), BACKEND, points)] == [
        (2, 0.25, 1.0),
        (3, 0.25, 1.0),
    ]
    several = KernelSpec("polynomial", gamma=(0.1, 1.0), degree=(3, 2), coef0=0.0)
    assert [(k.degree, k.gamma) for k in candidates(several, BACKEND, points)] == [
        (3, 0.1),
        (3, 1.0),
        (2, 0.1),
        (2, 1.0),
    ]
    assert str(Kernel("rbf", 0.0123456789)) == "rbf gamma=0.0123457"
    assert str(Kernel("polynomial", 0.5, 2, 1.0)) == "polynomial degree=2 gamma=0.5 coef0=1"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "submission", "names"),
    [("presto", "trained", ["slope", "temperature_2m"]), ("alphaearth", "alphaearth", ["S1_VH", "latitude"])],
)
def test_fold_scores_on_real_embeddings_equal_refits(data, folder, submission, names) -> None:
    """40 folds: R2 within 1e-8 of a refit by SciPy, and of every fourth by scikit-learn."""
    embedded = Submission.read(data / folder / "submissions" / f"{submission}.npz")
    tasks = {task.name: task for task in Benchmark.from_folder(data / folder / "labels").tasks}
    first, second = (tasks[name] for name in names)
    assert first.ids.tolist() == second.ids.tolist()
    row_of = {sample: i for i, sample in enumerate(embedded.ids.tolist())}
    rows = np.array([row_of[sample] for sample in first.ids.tolist()])
    y, x = np.stack([first.y, second.y], axis=1), embedded.x[rows].astype(np.float64)
    held_out = make_folds(FoldSpec(n_folds=40), first.ids, first.y, "regression").held_out
    design = BACKEND.design(embedded.x, rows)
    for spec in (KernelSpec(), KernelSpec("polynomial")):
        points = Frame.of(spec.kernel, design, mean=x.mean(), variance=x.var()).points(BACKEND, design)
        kernel = candidates(spec, BACKEND, points)[1]
        standardised = (x - x.mean()) / x.std()
        matrix = values(kernel, standardised, standardised)
        alphas = [0.01, 1.0, 100.0]
        solution = solve(KernelProblem(BACKEND, kernel, points, y), held_out, alphas)
        assert not solution.failed.any()
        for k, held in enumerate(held_out):
            total = ((y[held] - y[held].mean(axis=0)) ** 2).sum(axis=0)
            for a, alpha in enumerate(alphas):
                ours = 1 - (solution.residuals[k, : len(held), a] ** 2).sum(axis=0) / total
                for refit in (refit_scipy, refit_sklearn)[: 1 + (k % 4 == 0)]:
                    theirs = 1 - (refit(matrix, y, held, alpha) ** 2).sum(axis=0) / total
                    assert np.abs(ours - theirs).max() < 1e-8
