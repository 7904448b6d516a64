"""The CUDA backend on a stand-in for a GPU: the same answers as the CPU's."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from cuda_standin import make_backend
from parity import EXACT, NEUCO, REPLAYED, SCORES, assert_same, assert_solved_alike, small, solved
from problems import PROBLEMS, Problem

from fastprobe import DeviceError, Protocol, score
from fastprobe.backend import get_backend
from fastprobe.backend.cuda.foreign import fingerprint, first_not_finite
from fastprobe.backend.cuda.spread import pays
from fastprobe.engine import score_path
from fastprobe.planner import ROUTE_NAMES

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the host build of the kernels needs g++")

CPU = get_backend("cpu", threads=1)
SOME = [p for p in PROBLEMS if p.name in ("tall", "square", "wide", "offset", "float16", "int8")]


def positive(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Symmetric matrices with eigenvalues from 1 to about 5, and NaN above the diagonal: nobody may read that."""
    a = rng.standard_normal((*shape, shape[-1])) / np.sqrt(shape[-1])
    a = a @ a.swapaxes(-1, -2) + np.eye(shape[-1])
    return np.where(np.tri(shape[-1], dtype=bool), a, np.nan)


def full(a: np.ndarray) -> np.ndarray:
    lower = np.tril(a)
    return lower + np.tril(lower, -1).swapaxes(-1, -2)


@pytest.mark.parametrize("shape", [(1,), (7,), (1, 5), (4, 6), (2, 3, 5)])
def test_cholesky_reads_and_writes_lower_triangles(shape: tuple[int, ...]) -> None:
    backend = make_backend()
    a = positive(np.random.default_rng(0), *shape)
    lower, ok = backend.cholesky(backend.asarray(a))
    assert ok.shape == a.shape[:-2]
    assert backend.to_numpy(ok).all()
    assert np.allclose(np.tril(backend.to_numpy(lower)), np.linalg.cholesky(full(a)), rtol=0, atol=EXACT)


def test_cholesky_tells_which_matrices_failed() -> None:
    backend = make_backend()
    a = positive(np.random.default_rng(1), 5, 4)
    a[1, 2, 2] = -1.0
    a[3, 3, 0] = np.nan  # which the libraries may let pass
    lower, ok = backend.cholesky(backend.asarray(a))
    assert backend.to_numpy(ok).tolist() == [True, False, True, False, True]
    for k in (0, 2, 4):
        assert np.allclose(np.tril(backend.to_numpy(lower)[k]), np.linalg.cholesky(full(a[k])), rtol=0, atol=EXACT)


def test_large_matrices_are_factorised_one_by_one() -> None:
    backend = make_backend()
    library = backend._dense._libraries
    for count, d, wanted in ((1, 3, ["potrf"]), (2, 3, ["potrf_batched"]), (2, 400, ["potrf", "potrf"])):
        library.calls.clear()
        _, ok = backend.cholesky(backend.asarray(positive(np.random.default_rng(2), count, d)))
        assert backend.to_numpy(ok).all()
        assert library.calls == wanted


@pytest.mark.parametrize("lead", [(), (1,), (3,)])
@pytest.mark.parametrize("transposed", [False, True])
def test_solves(lead: tuple[int, ...], transposed: bool) -> None:
    backend, rng = make_backend(), np.random.default_rng(3)
    lower = np.linalg.cholesky(full(positive(rng, *lead, 6)))
    b = rng.standard_normal((*lead, 6, 4) if transposed else (*lead, 4, 6))
    rows = b.swapaxes(-1, -2) if transposed else b
    on_device = backend.asarray(b).swapaxes(-1, -2) if transposed else backend.asarray(b)
    poisoned = backend.asarray(np.where(np.tri(6, dtype=bool), lower, np.nan))
    for found, matrix in (
        (backend.solve_triangular(poisoned, on_device), lower),
        (backend.solve_triangular(poisoned, on_device, transpose=True), lower.swapaxes(-1, -2)),
        (backend.cho_solve(poisoned, on_device), lower @ lower.swapaxes(-1, -2)),
    ):
        wanted = np.linalg.solve(matrix, rows.swapaxes(-1, -2)).swapaxes(-1, -2)
        assert np.allclose(backend.to_numpy(found), wanted, rtol=EXACT, atol=EXACT)
    assert (backend.to_numpy(on_device) == rows).all()  # what is given stays as it is


def test_inverse_and_eigenvectors_read_the_lower_triangle() -> None:
    backend = make_backend()
    a = positive(np.random.default_rng(4), 9)
    lower, _ = backend.cholesky(backend.asarray(a))
    assert np.allclose(backend.to_numpy(backend.cho_inverse(lower)), np.linalg.inv(full(a)), rtol=0, atol=EXACT)
    values, vectors = map(backend.to_numpy, backend.eigh(backend.asarray(a)))
    assert (np.diff(values) >= 0).all()
    assert np.allclose(vectors * values @ vectors.T, full(a), rtol=0, atol=EXACT)


@pytest.mark.parametrize("problem", SOME, ids=lambda p: p.name)
@pytest.mark.parametrize("limit", [1 << 30, 1 << 16], ids=["one piece", "many pieces"])
def test_products_equal_those_of_the_cpu(problem: Problem, limit: int) -> None:
    backend, rng, (n, d) = make_backend(limit=limit), np.random.default_rng(5), problem.x.shape
    rows = np.arange(n)[::-1].copy()
    theirs, ours = CPU.design(problem.x, rows), backend.design(backend.asarray(problem.x), rows)
    y, w = rng.standard_normal((n, 2)), rng.standard_normal((3, d))
    lower = np.linalg.cholesky(np.eye(d) + 0.1 * full(CPU.gram(theirs)) / n)
    held, held_here = CPU.row_sets(problem.held_out, n), backend.row_sets(problem.held_out, n)
    u = rng.standard_normal((len(held), 2, d))
    v = np.where(held.mask[:, :, None], rng.standard_normal((len(held), held.width, 2)), 0.0)
    every = slice(0, len(held))
    here = backend.asarray
    for found, wanted in (
        (backend.centered(ours), CPU.centered(theirs)),
        (backend.adjoint(ours, here(y)), CPU.adjoint(theirs, y)),
        (backend.forward(ours, here(w)), CPU.forward(theirs, w)),
        (backend.whiten(ours, here(lower)), CPU.whiten(theirs, lower)),
        (backend.take_centered(ours, held_here, every), CPU.take_centered(theirs, held, every)),
        (backend.set_forward(ours, held_here, here(u)), CPU.set_forward(theirs, held, u)),
        (backend.set_adjoint(ours, held_here, here(v)), CPU.set_adjoint(theirs, held, v)),
        *zip(backend.set_hat(ours, held_here, here(u), here(v), n), CPU.set_hat(theirs, held, u, v, n), strict=True),
    ):
        size = max(1.0, np.abs(wanted).max())
        assert np.abs(backend.to_numpy(found) - wanted).max() <= 100 * EXACT * size
    gram = CPU.gram(theirs)
    assert np.abs(np.tril(backend.to_numpy(backend.gram(ours)) - gram)).max() <= 100 * EXACT * np.abs(gram).max()


@pytest.mark.parametrize("shared_bytes", [232_448, 8_000], ids=["our kernel", "the libraries"])
@pytest.mark.parametrize("scaled", [False, True])
def test_block_press_equals_that_of_the_cpu(shared_bytes: int, scaled: bool) -> None:
    backend, rng = make_backend(shared_bytes=shared_bytes), np.random.default_rng(6)
    n, r = 150, 12
    features, residuals = 0.05 * rng.standard_normal((n, r)), rng.standard_normal((n, 2))
    features[7] = 2.0  # a leverage above 1: a set that holds this row cannot be solved
    scale = rng.uniform(0.5, 1.0, r) if scaled else None
    sets = [np.array([0, 3, 5]), np.array([7, 9]), rng.permutation(np.arange(8, n))[:60]]
    ours, theirs = backend.row_sets(sets, n), CPU.row_sets(sets, n)
    here = backend.asarray
    found = backend.block_press(
        here(features), scale if scale is None else here(scale), ours, slice(0, 3), here(residuals)
    )
    v, ok, error = map(backend.to_numpy, found)
    wanted, wanted_ok, _ = CPU.block_press(features, scale, theirs, slice(0, 3), residuals)
    assert ok.tolist() == wanted_ok.tolist() == [True, False, True]
    assert np.allclose(v[ok], wanted[ok], rtol=0, atol=1e-11)
    assert (error[ok] < EXACT).all()
    used = backend._dense._libraries.calls
    assert ("potrf_batched" in used) == (shared_bytes < 232_448)


@pytest.mark.parametrize("problem", SOME, ids=lambda p: p.name)
@pytest.mark.parametrize("route", ROUTE_NAMES)
def test_routes_equal_those_of_the_cpu(problem: Problem, route: str) -> None:
    assert_solved_alike(make_backend(limit=1 << 22), CPU, problem, route)


@pytest.mark.parametrize("route", [None, *ROUTE_NAMES])
def test_scores_equal_those_of_the_cpu(route: str | None) -> None:
    submission, benchmark = small()
    options = {"protocol": "ridge", "folds": 4, "alpha": 3.0, "route": route}
    found = score([submission], benchmark, device=make_backend(), **options)
    assert_same(found, score([submission], benchmark, device=CPU, **options), SCORES)
    assert {row.device for row in found.rows} == {"cuda:0 (stand-in)"}
    assert any(row.n_failed for row in found.rows)  # the rare class


@pytest.mark.parametrize("probe", ["ridge", "closed-form"])
def test_paths_and_chosen_strengths_equal_those_of_the_cpu(probe: str) -> None:
    submission, benchmark = small()
    options = {"alphas": [0.1, 10.0], "protocol": probe, "folds": 4}
    ours, theirs = (score_path([submission], benchmark, device=b, **options) for b in (make_backend(), CPU))
    for found, wanted in zip(ours, theirs, strict=True):
        assert_same(found, wanted, SCORES)
    options = {"folds": 4, "protocol": Protocol(probe=probe, alpha="auto")}
    found = score([submission], benchmark, device=make_backend(limit=1 << 22), **options)
    assert_same(found, score([submission], benchmark, device=CPU, **options), SCORES)


def test_the_replay_equals_that_of_the_cpu() -> None:
    submission, benchmark = small()
    found = score([submission], benchmark, protocol=NEUCO, device=make_backend())
    assert_same(found, score([submission], benchmark, protocol=NEUCO, device=CPU), REPLAYED)


def test_a_batch_that_does_not_fit_is_halved_and_one_that_cannot_be_is_an_error(caplog) -> None:
    problem = PROBLEMS[0]
    backend = make_backend()
    wanted = backend.to_numpy(solved(backend, problem, "downdate", [1.0]).residuals)
    factorise, sizes = backend._dense.cholesky, []

    def tight(a):
        sizes.append(len(a))
        if len(a) > room:
            raise MemoryError
        return factorise(a)

    backend._dense.cholesky = tight
    room = 1
    assert (backend.to_numpy(solved(backend, problem, "downdate", [1.0]).residuals) == wanted).all()
    assert sizes == [5, 3, 2, 1, 1, 1, 1, 1]
    assert "going on with 1" in caplog.text
    room = 0
    with pytest.raises(DeviceError, match=r"no room for \d+\.\d MiB.*--device cpu"):
        solved(backend, problem, "downdate", [1.0])


def test_memory_that_runs_out_elsewhere_is_an_error_with_a_remedy() -> None:
    backend = make_backend()
    with (
        pytest.raises(DeviceError, match=r"Out of memory allocating 8 bytes; expected.*--device cpu"),
        backend.session(),
    ):
        raise MemoryError("Out of memory allocating 8 bytes.")


@pytest.mark.parametrize("columns", [1, 40])
def test_products_with_sets_by_either_way(columns: int) -> None:
    """Spread over all samples or gathered; sets overlap, differ in size, and one row is in none."""
    backend, rng, n, d = make_backend(limit=1 << 17), np.random.default_rng(9), 90, 5
    x = rng.standard_normal((n, d))
    ours, theirs = backend.design(backend.asarray(x), np.arange(n)), CPU.design(x, np.arange(n))
    held = [rng.permutation(np.arange(1, n))[:k] for k in (20, 7, 20, 1)]
    sets, here = CPU.row_sets(held, n), backend.row_sets(held, n)
    assert pays(sets, n, columns) == (columns == 1)
    u = rng.standard_normal((4, columns, d))
    v = np.where(sets.mask[:, :, None], rng.standard_normal((4, 20, columns)), 0.0)
    found = backend.set_hat(ours, here, backend.asarray(u), backend.asarray(v), n)
    for one, wanted in zip(map(backend.to_numpy, found), CPU.set_hat(theirs, sets, u, v, n), strict=True):
        assert np.abs(one - wanted).max() <= 100 * EXACT
    adjoint = backend.to_numpy(backend.set_adjoint(ours, here, backend.asarray(v)))
    assert np.abs(adjoint - CPU.set_adjoint(theirs, sets, v)).max() <= 100 * EXACT
    forward = backend.to_numpy(backend.set_forward(ours, here, backend.asarray(u)))
    assert np.abs(forward - CPU.set_forward(theirs, sets, u)).max() <= 100 * EXACT


def test_an_eigendecomposition_that_does_not_converge_is_an_error() -> None:
    backend = make_backend()
    library = backend._dense._libraries
    library.syevd = lambda uplo, n, a, lda: (a, backend.asarray(np.int32(2)))
    with pytest.raises(np.linalg.LinAlgError, match="info 2"):
        backend.eigh(backend.asarray(np.eye(3)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8, np.uint8])
def test_fingerprints_tell_matrices_apart(dtype) -> None:
    x = np.random.default_rng(8).integers(-100, 100, (40, 7)).astype(dtype)
    changed, swapped = x.copy(), x[::-1].copy()
    changed[39, 6] += dtype(1)
    prints = {fingerprint(np, a) for a in (x, changed, swapped, np.ascontiguousarray(x[:, ::-1]))}
    assert len(prints) == 4
    assert fingerprint(np, x.copy()) == fingerprint(np, x)
    assert len(fingerprint(np, x)) == 16


def test_the_first_value_that_is_not_finite() -> None:
    x = np.zeros((4, 3))
    assert first_not_finite(np, x) is None
    x[2, 1], x[3, 0] = np.inf, np.nan
    assert first_not_finite(np, x) == (2, 1)
