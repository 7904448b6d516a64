"""The array backend gives what the CPU backend gives, on arrays that refuse all that a GPU's would refuse."""

from __future__ import annotations

import inspect
import logging
import weakref
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from problems import EPS, PROBLEMS, Problem, make, refit_scipy
from strict_namespace import FUNCTIONS, LINALG, METHODS, Namespace, StrictArray

from fastprobe import Benchmark, FoldSpec, Protocol, Submission, Task
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.base import Backend, RowSets
from fastprobe.errors import DeviceError
from fastprobe.folds import make_folds
from fastprobe.kernels import reference
from fastprobe.metrics import fold_statistics
from fastprobe.planner import ROUTE_NAMES
from fastprobe.probes.inner import plan_inner
from fastprobe.probes.neuco import ReplayTask, replay
from fastprobe.probes.ridge import RidgeProblem, solve
from fastprobe.probes.ridge.select import select
from fastprobe.results import TaskScore
from fastprobe.specs import ReplaySpec
from fastprobe.units import Located, locate, make_scorer

CPU = get_backend("cpu", threads=2)

DTYPES = [np.float64, np.float32, np.float16, np.int8]
BUDGETS = [1, 100_000, 2**40]
"""Bytes: one matrix or row at a time, a few, all at once."""

NEUCO = 5e-5
"""Of fold scores, relative where their size is above 1: float32 sums in another order, over a few hundred steps."""


def strict(budget: int = 300_000, lanes: int = 1, xp: Namespace | None = None) -> ArrayBackend:
    return ArrayBackend(Namespace() if xp is None else xp, device="strict", budget=budget, lanes=lanes)


@pytest.fixture(scope="module", autouse=True)
def single_blas_thread():
    """Threads that wait for small matrices by spinning would take most of the time."""
    with CPU.session():
        yield


# The strict namespace itself


@pytest.mark.parametrize(
    "mistake",
    [
        lambda xp, device, host: device + host,
        lambda xp, device, host: host * device,
        lambda xp, device, host: device == host,
        lambda xp, device, host: device.__iadd__(host),
        lambda xp, device, host: np.add(host, device, out=host),
        lambda xp, device, host: np.sqrt(device),
        lambda xp, device, host: np.asarray(device),
        lambda xp, device, host: np.concatenate([device, device]),
        lambda xp, device, host: device[np.array([0, 1])],
        lambda xp, device, host: device[[0, 1]],
        lambda xp, device, host: device.__setitem__(0, host[0]),
        lambda xp, device, host: host.__setitem__(0, device[0]),
        lambda xp, device, host: host[xp.asarray([0])],
        lambda xp, device, host: xp.sqrt(host),
        lambda xp, device, host: xp.stack([device, host]),
        lambda xp, device, host: xp.where(device > 0),
        lambda xp, device, host: xp.take(device, 0, axis=0, mode="clip"),
        lambda xp, device, host: device.sum(where=device > 0),
        lambda xp, device, host: range(device[0, 0].astype(int)),
        lambda xp, device, host: xp.add.reduceat(device, [0]),
        lambda xp, device, host: device.flat,
        lambda xp, device, host: xp.errstate(all="ignore"),
        lambda xp, device, host: xp.asarray(np.array(["text"])),
        lambda xp, device, host: xp.zeros(3, dtype=object),
    ],
)
def test_strict_arrays_refuse_what_cupy_refuses(mistake) -> None:
    xp, host = Namespace(), np.ones((2, 3))
    with pytest.raises((TypeError, AttributeError, ValueError)):
        mistake(xp, xp.asarray(host), host)


def test_strict_arrays_count_what_waits_for_the_device() -> None:
    xp = Namespace()
    a = xp.asarray(np.arange(6.0))
    assert float((np.float64(2) * a + 1).sum()) == 36
    assert bool((a < 6).all())
    assert a[a > 3].tolist() == [4, 5]
    assert a.get().shape == (6,)
    assert xp.syncs == {"float": 1, "bool": 1, "mask": 1, "tolist": 1, "get": 1}
    assert xp.uploads == 1


def test_strict_functions_are_those_of_cupy() -> None:
    cupy = pytest.importorskip("cupy", reason="compares signatures with CuPy, which is not installed")
    for table, owner in ((FUNCTIONS, cupy), (LINALG, cupy.linalg)):
        for name, arguments in table.items():
            function = getattr(owner, name)
            if isinstance(function, cupy.ufunc) or name == "matmul":
                continue  # of a ufunc only the operands are used
            names = [a.split("=")[0].strip() for a in arguments.split(",") if a.strip() != "*"]
            assert names == list(inspect.signature(function).parameters), name
    for name, arguments in METHODS.items():
        first_line = getattr(cupy.ndarray, name).__doc__.splitlines()[0]
        for argument in arguments.split(","):
            assert argument.split("=")[0].strip() in first_line, name


# Operations


def test_every_operation_of_the_interface_is_there() -> None:
    operations = {name: f for name, f in vars(Backend).items() if inspect.isfunction(f) and not name.startswith("_")}
    assert len(operations) > 20
    for name, operation in operations.items():
        for backend in (ArrayBackend, type(CPU)):
            assert list(inspect.signature(getattr(backend, name)).parameters) == list(
                inspect.signature(operation).parameters
            ), name


def draw(n: int, d: int, folds: int, dtype, seed: int, *, padded: bool = True):
    rng = np.random.default_rng(seed)
    x = (10 * rng.standard_normal((n, d)) + 3).astype(dtype)
    size = int(rng.integers(1, n + 1))
    sets = [np.sort(rng.permutation(n)[: rng.integers(1, n + 1) if padded else size]) for _ in range(folds)]
    return x, sets, rng


shapes = given(
    n=st.integers(1, 60), d=st.integers(1, 150), c=st.integers(1, 8), folds=st.integers(1, 5), padded=st.booleans(),
    dtype=st.sampled_from(DTYPES), budget=st.sampled_from(BUDGETS), seed=st.integers(0, 99),
)  # fmt: skip


@shapes
@settings(max_examples=40, deadline=None)
def test_products(n, d, c, folds, padded, dtype, budget, seed) -> None:
    """Sums of k products; the centred features that go into them have an error of n roundings themselves."""
    x, sets, rng = draw(n, d, folds, dtype, seed, padded=padded)
    backend, rows = strict(budget), rng.permutation(n)
    wanted_design, design = CPU.design(x, rows), backend.design(backend.asarray(x), rows)
    wanted_sets, found_sets = CPU.row_sets(sets, n), backend.row_sets(sets, n)
    size = np.abs(x.astype(float)).max() * 2 + 1

    def check(name: str, k: int, factor: float, *arguments) -> None:
        on_device = [
            found_sets if isinstance(a, RowSets) else backend.asarray(a) if isinstance(a, np.ndarray) else a
            for a in arguments
        ]
        found, wanted = getattr(backend, name)(design, *on_device), getattr(CPU, name)(wanted_design, *arguments)
        if name == "gram":
            found, wanted = backend.xp.tril(found), np.tril(wanted)
        for f, w in zip(found, wanted, strict=True) if isinstance(found, tuple) else [(found, wanted)]:
            assert f.dtype == np.float64
            assert f.shape == w.shape
            assert np.abs(f.get() - w).max() <= 4 * k * (n + k) * EPS * size * factor

    assert np.abs(design.mean.get() - wanted_design.mean).max() <= 2 * n * EPS * size
    y, w, basis = rng.standard_normal((n, c)), rng.standard_normal((c, d)), rng.standard_normal((d, c))
    u, v = rng.standard_normal((folds, c, d)), rng.standard_normal((folds, wanted_sets.width, c))
    v *= wanted_sets.mask[:, :, None]
    check("centered", 1, 1)
    check("gram", n, size)
    check("adjoint", n, np.abs(y).max(), y)
    check("forward", d, np.abs(w).max(), w)
    check("project", d, np.abs(basis).max(), basis)
    check("set_adjoint", n, np.abs(v).max(), wanted_sets, v)
    check("set_forward", d, np.abs(u).max(), wanted_sets, u)
    check("set_hat", n + d, n * d * size * np.abs(u).max() + np.abs(v).max(), wanted_sets, u, v, n)
    check("take_centered", 1, 1, wanted_sets, slice(0, folds))
    chunk = slice(folds // 2, folds)
    taken = backend.take(backend.asarray(y), found_sets, chunk)
    assert np.array_equal(taken.get(), CPU.take(y, wanted_sets, chunk))
    some = np.sort(rows[: max(1, n // 2)])
    for labelled in (np.arange(n), some):
        found, wanted = backend.moments(backend.asarray(x), labelled), CPU.moments(x, labelled)
        assert np.abs(np.subtract(found, wanted)).max() <= 4 * n * d * EPS * size


@shapes
@settings(max_examples=40, deadline=None)
def test_row_sets(n, d, c, folds, padded, dtype, budget, seed) -> None:
    _, sets, _ = draw(n, d, folds, dtype, seed, padded=padded)
    backend = strict(budget)
    found, wanted = backend.row_sets(sets, n), CPU.row_sets(sets, n)
    assert np.array_equal(found.sizes, wanted.sizes)
    for name in ("rows", "mask", "start", "set_of", "slot_of"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert isinstance(a, StrictArray)
        assert a.dtype == b.dtype
        assert np.array_equal(a.get(), b), name
    assert backend.xp.uploads == 1


@given(d=st.integers(1, 200), c=st.integers(1, 9), stack=st.integers(0, 4), seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_factorisations_and_solves(d, c, stack, seed) -> None:
    """One matrix, or a stack; upper triangles are not read."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((*[stack] * (stack > 0), d, 2 * d))
    a = root @ root.swapaxes(-1, -2) / d + np.eye(d)
    b = rng.standard_normal((*a.shape[:-2], c, d))
    backend, condition = strict(), np.linalg.cond(a).max()
    spoilt = np.where(np.tri(d, dtype=bool), a, np.nan)
    lower, ok = backend.cholesky(backend.asarray(spoilt))
    wanted = np.linalg.cholesky(a)
    assert ok.shape == a.shape[:-2]
    assert bool(ok.all())
    assert np.abs(np.tril(lower.get()) - wanted).max() <= 8 * d * EPS * condition * np.abs(wanted).max()
    lower = backend.asarray(np.where(np.tri(d, dtype=bool), lower.get(), np.nan))
    z = backend.cho_solve(lower, backend.asarray(b)).get()
    rest = np.abs(z @ a - b).max() / (np.abs(a).max() * np.abs(z).sum(axis=-1).max() + np.abs(b).max())
    assert rest <= 8 * d * EPS * np.sqrt(condition)  # diagonal blocks are inverted: see fastprobe.backend.triangular
    if stack:
        return
    inverse = backend.cho_inverse(lower).get()
    assert np.abs(inverse @ a - np.eye(d)).max() <= 8 * d * EPS * condition
    assert np.array_equal(inverse, inverse.T)
    values, vectors = (found.get() for found in backend.eigh(backend.asarray(spoilt)))
    assert np.abs(values - np.linalg.eigvalsh(a)).max() <= 8 * d * EPS * values.max()
    assert np.abs((vectors * values) @ vectors.T - a).max() <= 8 * d * EPS * values.max()
    assert np.abs(vectors.T @ vectors - np.eye(d)).max() <= 8 * d * EPS


@given(n=st.integers(2, 60), d=st.integers(1, 150), budget=st.sampled_from(BUDGETS), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_whiten(n, d, budget, seed) -> None:
    x, _, _ = draw(n, d, 1, np.float32, seed)
    centered = x - x.mean(axis=0, dtype=np.float64)
    lower = np.linalg.cholesky(centered.T @ centered + 10 * np.eye(d))
    backend = strict(budget)
    found = backend.whiten(backend.design(backend.asarray(x), np.arange(n)), backend.asarray(lower)).get()
    wanted = np.linalg.solve(lower, centered.T).T
    assert np.abs(found - wanted).max() <= 8 * (n + d) * EPS * np.linalg.cond(lower) * np.abs(wanted).max()


@pytest.mark.parametrize("bad", [set(), {1}, {0, 3}, {0, 1, 2, 3}])
@pytest.mark.parametrize("how", ["indefinite", "nan"])
def test_each_matrix_that_is_not_positive_definite_is_masked(bad: set[int], how: str) -> None:
    rng = np.random.default_rng(0)
    root = rng.standard_normal((4, 70, 90))
    a = root @ root.swapaxes(1, 2) + np.eye(70)
    for k in bad:
        a[k, 40, 40] = -1.0 if how == "indefinite" else np.nan
    backend = strict()
    lower, ok = backend.cholesky(backend.asarray(a))
    assert ok.tolist() == [k not in bad for k in range(4)]
    solved = backend.cho_solve(lower, backend.asarray(np.ones((4, 2, 70)))).get()
    assert np.isfinite(solved).all() == (how == "indefinite" or not bad)
    for k in range(4):
        alone, fine = backend.cholesky(backend.asarray(a[k]))
        assert bool(fine) == (k not in bad)
        assert np.array_equal(alone.get(), lower[k].get(), equal_nan=True)
        if k not in bad:
            assert np.array_equal(alone.get(), np.linalg.cholesky(a[k]))


@given(
    n=st.integers(4, 60), r=st.integers(1, 90), t=st.integers(1, 4), folds=st.integers(1, 5), scaled=st.booleans(),
    padded=st.booleans(), spoilt=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_block_press(n, r, t, folds, scaled, padded, spoilt, seed) -> None:
    """Features of a hat matrix with leverages below 1 / 2; or of none, where some blocks are not positive definite."""
    _, sets, rng = draw(n, 1, folds, np.float64, seed, padded=padded)
    sets = [s[: max(1, len(s) // 2)] for s in sets]
    features = rng.standard_normal((n, r))
    features -= features.mean(axis=0)
    features /= np.linalg.norm(features, 2) * (0.5 if spoilt else 1.5)
    scale = rng.uniform(0.2, 1, r) if scaled else None
    residuals = rng.standard_normal((n, t))
    backend, chunk = strict(), slice(folds // 3, folds)
    wanted_sets, found_sets = CPU.row_sets(sets, n), backend.row_sets(sets, n)
    wanted, wanted_ok, _ = CPU.block_press(features, scale, wanted_sets, chunk, residuals)
    v, ok, error = backend.block_press(
        backend.asarray(features), None if scale is None else backend.asarray(scale), found_sets, chunk,
        backend.asarray(residuals),
    )  # fmt: skip
    hat = 1 / n + (features if scale is None else features * scale) @ features.T
    least = np.array([np.linalg.eigvalsh((np.eye(n) - hat)[np.ix_(s, s)])[0] for s in sets[chunk]])
    sure = np.abs(least) > 1e-9
    assert np.array_equal(ok.get()[sure], wanted_ok[sure])
    assert np.array_equal(ok.get()[sure], least[sure] > 0)
    for i in np.flatnonzero(sure & (least > 0)):
        assert np.abs(v[i].get() - wanted[i]).max() <= 100 * n * EPS / least[i] ** 2 * np.abs(residuals).max()
        assert float(error[i]) <= 100 * n * EPS / least[i]
        assert (v[i].get()[len(sets[chunk][i]) :] == 0).all()


@given(
    n=st.integers(1, 80), d=st.integers(1, 70), epochs=st.integers(1, 3), batch=st.integers(1, 90),
    folds=st.integers(1, 4), rate=st.sampled_from([1e-4, 1e-2, 0.5]), logistic=st.booleans(), keep=st.booleans(),
    budget=st.sampled_from(BUDGETS), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_training(n, d, epochs, batch, folds, rate, logistic, keep, budget, seed) -> None:
    """Off the same steps in float64 by the order of float32 sums, and not by much more than the twin of one fold is."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n + 3, d)).astype(np.float32)
    rows = rng.integers(0, n + 3, n)
    y = (rng.random(n) > 0.5).astype(np.float32)
    order = np.array([[rng.permutation(n) for _ in range(epochs)] for _ in range(folds)], dtype=np.int32)
    initial = (rng.uniform(-1, 1, (folds, d + 1)) / np.sqrt(d)).astype(np.float32)
    options = {"batch_size": batch, "learning_rate": rate, "logistic": logistic, "keep_fitted": keep}
    backend = strict(budget)
    device_x = backend.asarray(x)
    weights, fitted = backend.train_linear(device_x, rows, y, order, initial, **options)
    assert (fitted is None) == (not keep)
    trained = {}
    for dtype in (np.float32, np.float64):
        all_weights, outputs = np.zeros((folds, epochs + 1, d + 1), dtype), np.zeros(order.shape, dtype)
        all_weights[:, 0] = initial
        for k in range(folds):
            features, labels = x.astype(dtype), y.astype(dtype)
            reference.train_linear(
                features, rows, labels, order[k], batch, rate, logistic, all_weights[k], outputs[k]
            )  # fmt: skip
        trained[dtype] = all_weights[:, 1:], outputs
    for found, twin, truth in zip((weights, fitted), trained[np.float32], trained[np.float64], strict=True):
        if found is not None:
            assert found.dtype == np.float32
            assert found.shape == truth.shape
            room = 10 * np.linalg.norm(twin - truth) + 1e-6 * np.linalg.norm(truth)
            assert np.linalg.norm(found.get() - truth) <= room
    held_out = rng.integers(0, n + 3, (folds, 5))
    outputs = backend.predict_linear(device_x, held_out, weights)
    assert outputs.dtype == np.float32
    w = weights.get().astype(float)
    wanted = w[:, :, :d] @ x[held_out].astype(float).swapaxes(1, 2) + w[:, :, d:]
    size = np.abs(w[:, :, :d]) @ np.abs(x[held_out]).swapaxes(1, 2) + np.abs(w[:, :, d:])
    assert (np.abs(outputs.get() - wanted) <= (d + 1) * np.finfo(np.float32).eps * size).all()


# Memory


def test_batches_fill_half_of_the_share_of_a_lane() -> None:
    for lanes, largest in ((1, 5), (2, 2)):
        seen: list[slice] = []
        strict(budget=1000, lanes=lanes).for_chunks(seen.append, 11, 100)
        assert [i for chunk in seen for i in range(chunk.start, chunk.stop)] == list(range(11))
        sizes = [chunk.stop - chunk.start for chunk in seen]
        assert max(sizes) <= largest
        assert max(sizes) - min(sizes) <= 1 or len(sizes) == -(-11 // max(sizes))
    assert strict(budget=1000).memory() == 1000


class Full(MemoryError):
    """What a device raises."""


def test_out_of_memory_halves_the_batch_and_lets_go_of_what_was_made(caplog: pytest.LogCaptureFixture) -> None:
    class Buffer:
        pass

    done, alive = [], []

    def work(chunk: slice) -> None:
        assert all(buffer() is None for buffer in alive)
        buffer = Buffer()
        alive.append(weakref.ref(buffer))
        if chunk.stop - chunk.start > 3:
            raise Full
        done.extend(range(chunk.start, chunk.stop))

    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        strict(budget=2**40).for_chunks(work, 17, 8)
    assert done == list(range(17))
    assert [r.getMessage() for r in caplog.records] == [
        "strict: out of memory with batches of 17; going on with 9",
        "strict: out of memory with batches of 9; going on with 5",
        "strict: out of memory with batches of 5; going on with 3",
    ]


def test_no_room_for_one_is_an_error_that_says_what_to_do() -> None:
    def work(chunk: slice) -> None:
        raise Full

    with pytest.raises(DeviceError, match=r"no room for 3\.0 MiB.*--device cpu"):
        strict().for_chunks(work, 4, 3 * 2**20)

    def wrong(chunk: slice) -> None:
        raise ValueError("not about memory")

    with pytest.raises(ValueError, match="not about memory"):
        strict().for_chunks(wrong, 4, 1)


class Small(Namespace):
    """A device without room for an array above a limit."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit

    def wrap(self, result):
        if isinstance(result, np.ndarray) and result.base is None and result.nbytes > self.limit:
            raise Full
        return super().wrap(result)


@pytest.mark.parametrize("alphas", [[1.0], [1.0, 10.0]], ids=["one", "path"])
@pytest.mark.parametrize("route", ROUTE_NAMES)
def test_every_route_goes_on_after_out_of_memory(route: str, alphas, caplog: pytest.LogCaptureFixture) -> None:
    case = make("folds", 150, 40, 2, alpha=1.0, folds=12, share=0.35)
    n, d, m = 150, 40, max(map(len, case.held_out))
    backend = strict(2**40, xp=Small(limit=8 * max(n * n if route == "dual" else n * d, 3 * m * max(m, d))))
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        solution = solve(problem_of(backend, case), case.held_out, alphas, route)
    assert "out of memory" in caplog.text
    assert not solution.refactorised.any()
    wanted = solve(problem_of(CPU, case), case.held_out, alphas, route)
    assert distance(solution.residuals, wanted.residuals, case) < case.tolerance_of(route)


# Ridge


def problem_of(backend: Backend, case: Problem) -> RidgeProblem:
    x = backend.asarray(case.x)
    return RidgeProblem(backend, backend.design(x, np.arange(len(case.x))), backend.asarray(case.y))


def distance(found: StrictArray, wanted: np.ndarray, case: Problem) -> float:
    """Largest difference of residuals, relative to the size of the labels."""
    return np.abs(found.get() - wanted).max() / np.abs(case.y).max()


@pytest.mark.parametrize("route", ROUTE_NAMES)
@pytest.mark.parametrize("case", PROBLEMS, ids=lambda case: case.name)
def test_route_equals_refits(case: Problem, route: str) -> None:
    solution = solve(problem_of(strict(), case), case.held_out, [case.alpha], route)
    assert isinstance(solution.residuals, StrictArray)
    assert not solution.failed.any()
    assert not solution.refactorised.any()
    wanted = np.zeros(solution.residuals.shape)
    for k, held_out in enumerate(case.held_out):
        wanted[k, : len(held_out), 0] = refit_scipy(case.x, case.y, held_out, case.alpha)
    assert distance(solution.residuals, wanted, case) < case.tolerance_of(route)


@pytest.mark.parametrize("route", ROUTE_NAMES)
@pytest.mark.parametrize("case", PROBLEMS, ids=lambda case: case.name)
def test_path_equals_the_cpu(case: Problem, route: str) -> None:
    alphas = [case.alpha, 7 * case.alpha, 1e4 * case.alpha]
    found = solve(problem_of(strict(), case), case.held_out, alphas, route)
    wanted = solve(problem_of(CPU, case), case.held_out, alphas, route)
    assert np.array_equal(found.refactorised, wanted.refactorised)
    assert distance(found.residuals, wanted.residuals, case) < 2 * case.tolerance_of(route)


@given(
    n=st.integers(12, 60), d=st.integers(1, 70), t=st.integers(1, 8), folds=st.integers(1, 6),
    log_alpha=st.floats(-1, 4), share=st.floats(0.05, 0.6), route=st.sampled_from(ROUTE_NAMES),
    budget=st.sampled_from(BUDGETS),
)  # fmt: skip
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_shape_any_route(n, d, t, folds, log_alpha, share, route, budget) -> None:
    case = make("drawn", n, d, t, alpha=10**log_alpha, folds=folds, share=share)
    found = solve(problem_of(strict(budget), case), case.held_out, [case.alpha], route)
    wanted = solve(problem_of(CPU, case), case.held_out, [case.alpha], route)
    assert not found.failed.any()
    assert distance(found.residuals, wanted.residuals, case) < 2 * case.tolerance_of(route)


def test_missed_tolerance_is_solved_again() -> None:
    """Leverages of 1 - 1e-13, which the direct route subtracts from 1."""
    case = make("interpolating", 40, 200, 1, alpha=1e-11)
    solution = solve(problem_of(strict(), case), case.held_out, [case.alpha], "direct")
    assert solution.refactorised.all()
    assert solution.refuge == "dual"
    assert not solution.failed.any()
    wanted = solve(problem_of(CPU, case), case.held_out, [case.alpha], "dual")
    assert distance(solution.residuals, wanted.residuals, case) < 1e-9


@cache
def nested(k: int) -> tuple[Problem, list[np.ndarray]]:
    case = make("nested", 120, 15, 3, alpha=1.0)
    spec = FoldSpec("shuffle", n_folds=k)
    return case, make_folds(spec, np.arange(120).astype(str), case.y[:, 0], "regression").held_out


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("route", ROUTE_NAMES)
@pytest.mark.parametrize("k", [8, 1])
def test_choice_of_strengths_equals_the_cpu(k: int, route: str, budget: int) -> None:
    """Also where training rows are cut into blocks of their own, for a single fold."""
    case, held_out = nested(k)
    grid, plan = [10.0**e for e in range(-2, 6)], plan_inner(held_out, 120, 4, seed=42)
    backend = strict(budget)
    found = select(problem_of(backend, case), plan, k, grid, route)
    wanted = select(problem_of(CPU, case), plan, k, grid, route)
    assert np.array_equal(found.chosen, wanted.chosen)
    assert np.abs(found.mse - wanted.mse).max() < 1e-9 * wanted.mse.max()


@given(seed=st.integers(0, 999), kind=st.sampled_from(["regression", "classification"]), constant=st.booleans())
@settings(max_examples=40, deadline=None)
def test_fold_statistics(seed: int, kind, constant: bool) -> None:
    _, sets, rng = draw(50, 1, 4, np.float64, seed)
    y = rng.standard_normal(50)
    if kind == "classification":
        y = np.where(y > 0, 1.0, -1.0)
    if constant:
        y[sets[0]] = 1.0
    backend, wanted_sets = strict(), CPU.row_sets(sets, 50)
    residuals = rng.standard_normal(wanted_sets.mask.shape) * wanted_sets.mask
    arrays = backend.asarray(y), backend.asarray(residuals)
    found = fold_statistics(backend, backend.row_sets(sets, 50), *arrays, kind)
    assert found == fold_statistics(CPU, wanted_sets, y, residuals, kind)
    assert backend.xp.syncs.total() == 1


# Submissions


@cache
def benchmark() -> tuple[Submission, Benchmark]:
    """Three disjoint sample groups with two tasks each, and a task on all samples, in another order."""
    rng = np.random.default_rng(0)
    n, d = 240, 12
    ids = np.array([f"s{i:03d}" for i in range(n)])
    x = (rng.standard_normal((n, d)) + 3.0).astype(np.float32)
    target = x @ rng.standard_normal(d)
    tasks = []
    for p, rows in enumerate(np.split(rng.permutation(n), [n // 2, 3 * n // 4])):
        y = target[rows] + rng.standard_normal(len(rows))
        positive = (y > np.median(y)).astype(float)
        tasks.append(Task(f"p{p}_regression", "regression", ids[rows], y))
        tasks.append(Task(f"p{p}_cls", "classification", ids[rows], positive))
    everything = rng.permutation(n)
    tasks.append(Task("all", "regression", ids[everything], target[everything] + rng.standard_normal(n)))
    return Submission("team", ids, x), Benchmark.from_tasks(tasks)


def scored(backend: Backend, protocols: list[Protocol], route: str | None = None) -> dict[tuple[str, str], TaskScore]:
    submission, tasks = benchmark()
    scorer = make_scorer(backend, tasks, protocols, route)
    located = Located(submission, tasks, locate(tasks, submission), {})
    found = {}
    with backend.session():
        for unit in scorer.run(located):
            for protocol, rows in zip(scorer.protocols, unit, strict=True):
                found |= {(protocol.hash, row.task): row for row in rows}
    return found


def assert_scores_equal(found: dict, wanted: dict, tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for key, row in wanted.items():
        scores, expected = np.array(found[key].fold_scores, dtype=float), np.array(row.fold_scores, dtype=float)
        solved = ~np.isnan(expected)
        assert solved.any()
        assert (np.abs(scores - expected)[solved] <= tolerance * np.maximum(1, np.abs(expected[solved]))).all(), key
        assert found[key].fold_reasons == row.fold_reasons
        assert found[key].fold_alphas == row.fold_alphas
        assert found[key].device == "strict"


RIDGE = Protocol.load("ridge").with_options(folds=8)


@pytest.mark.parametrize("budget", BUDGETS[1:])
@pytest.mark.parametrize("route", ROUTE_NAMES)
def test_ridge_scores_equal_the_cpu(route: str, budget: int) -> None:
    protocols = [RIDGE.with_options(alpha=10.0)]
    found = scored(strict(budget, lanes=2), protocols, route)
    assert_scores_equal(found, scored(CPU, protocols, route), 1e-9)
    assert {row.route for row in found.values()} == {route}


@pytest.mark.parametrize("alphas", [[0.1, 10.0, 1e3], ["auto"]], ids=["path", "auto"])
def test_ridge_paths_and_choices_equal_the_cpu(alphas) -> None:
    protocols = [RIDGE.with_options(alpha=alpha) for alpha in alphas]
    found = scored(strict(lanes=2), protocols)
    assert_scores_equal(found, scored(CPU, protocols), 1e-9)
    if alphas == ["auto"]:
        assert len({alpha for row in found.values() for alpha in row.fold_alphas}) > 1


def neuco_protocol(**options) -> Protocol:
    return Protocol(name="neuco", probe="neuco", folds=FoldSpec(n_folds=3), replay=ReplaySpec(epochs=4, **options))


@pytest.mark.parametrize("budget", BUDGETS)
def test_neuco_scores_equal_the_cpu(budget: int) -> None:
    protocols = [neuco_protocol(store_probes=True, batch_size=32, learning_rate=1e-2)]
    found, wanted = scored(strict(budget, lanes=2), protocols), scored(CPU, protocols)
    assert_scores_equal(found, wanted, NEUCO)
    assert max(max(row.fold_scores) for row in wanted.values()) > 0.5  # it learned something


def test_neuco_curves_equal_the_cpu() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((80, 9)).astype(np.float32)
    y = x[:, 0] + 0.3 * rng.standard_normal(80)
    tasks = [
        ReplayTask("a", "regression", np.arange(80), y.astype(np.float32)),
        ReplayTask("b", "classification", np.arange(60), (y[:60] > 0).astype(np.float32)),
    ]
    protocol = neuco_protocol()
    on_device = replay(strict(), x, tasks, protocol, curves=True)
    for found, wanted in zip(on_device, replay(CPU, x, tasks, protocol, curves=True), strict=True):
        assert np.array_equal(found.best, wanted.best)
        assert found.curves is not None
        assert wanted.curves is not None
        for name in ("train_loss", "val_loss", "fitted"):
            f, w = getattr(found.curves, name), getattr(wanted.curves, name)
            assert (np.abs(f - w) <= NEUCO * np.maximum(1, np.abs(w))).all(), name


@pytest.mark.parametrize(
    ("route", "alpha", "per_group"),
    [("direct", 10.0, 2), ("downdate", 10.0, 1), ("dual", 10.0, 3), ("downdate", "auto", 3), ("direct", "auto", 3)],
)
def test_the_host_seldom_waits_for_the_device(route: str, alpha, per_group: int) -> None:
    """Once for the scale of the submission, once per task for its statistics, and a few times per sample group."""
    backend = strict(2**40)
    scored(backend, [RIDGE.with_options(alpha=alpha)], route)
    assert backend.xp.syncs.total() == 1 + 4 * per_group + 7


def test_conjugate_gradients_wait_once_per_step() -> None:
    backend = strict(2**40)
    rows = scored(backend, [RIDGE.with_options(alpha=10.0)], "iterate").values()
    by_group = {row.n_samples: row.iterations for row in rows if row.task == "all" or row.task.endswith("cls")}
    steps = sum(row.iterations + 1 for row in rows if row.task == "all" or row.task.endswith("cls"))
    assert len(by_group) == 3
    assert backend.xp.syncs["tolist"] == steps
    assert backend.xp.syncs.total() == steps + 1 + 4 * 2 + 7
