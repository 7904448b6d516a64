"""What the logistic probes ask of a backend: every backend gives what obvious NumPy gives, within rounding."""

from __future__ import annotations

import shutil
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from softmax_problems import assert_softmax_alike, draw_softmax
from strict_namespace import Namespace

from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.cuda.presence import find_gpus
from fastprobe.kernels import reference

EPS, EPS32 = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)

BACKENDS = ["cpu", "one thread", "array", "array in pieces", "array row by row", "stand-in", "stand-in in pieces"]
everywhere = pytest.mark.parametrize("where", [*BACKENDS, pytest.param("cuda", marks=pytest.mark.gpu)])
some = settings(max_examples=10, deadline=None)


@cache
def backend_of(where: str) -> Any:
    if where in ("cpu", "one thread"):
        return get_backend("cpu", threads=3 if where == "cpu" else 1)
    if where.startswith("array"):
        budget = {"array": 2**40, "array in pieces": 100_000, "array row by row": 1}[where]
        return ArrayBackend(Namespace(), device="strict", budget=budget)
    if where == "cuda":
        found = find_gpus()
        if not found.count:
            pytest.skip(found.reason)
        return get_backend("cuda")
    if shutil.which("g++") is None:
        pytest.skip("the host build of the kernels needs g++")
    from cuda_standin import make_backend

    return make_backend(limit=1 << 30 if where == "stand-in" else 1 << 16)


def call(where: str, name: str, *arguments: Any, **options: Any) -> Any:
    """Run an operation with all arrays on the device; returns its results on the host."""
    backend = backend_of(where)
    with backend.session():
        placed = [backend.asarray(a) if isinstance(a, np.ndarray) else a for a in arguments]
        found = getattr(backend, name)(*placed, **options)
        return [backend.to_numpy(a) for a in found] if isinstance(found, tuple) else backend.to_numpy(found)


@everywhere
@given(
    n=st.sampled_from([1, 2, 40, 700]), d=st.integers(1, 40), columns=st.integers(1, 5),
    dtype=st.sampled_from([np.float64, np.float32, np.int8]), seed=st.integers(0, 99),
)  # fmt: skip
@some
def test_weighted_gram(where: str, n: int, d: int, columns: int, dtype: Any, seed: int) -> None:
    rng, n = np.random.default_rng(seed), min(n, 60) if "stand-in" in where else n  # fibers are slow
    x, weights = (5 * rng.standard_normal((n, d)) + 3).astype(dtype), rng.random((n, columns))
    weights[rng.random(weights.shape) < 0.2] = 0.0
    backend = backend_of(where)
    with backend.session():
        design = backend.design(backend.asarray(x), np.arange(n))
        found = backend.to_numpy(backend.weighted_gram(design, backend.asarray(weights)))
        centered = x - backend.to_numpy(design.mean)
    assert found.shape == (columns, d, d)
    for gram, weight in zip(found, weights.T, strict=True):
        wanted, size = ((a.T * weight) @ a for a in (centered, np.abs(centered)))
        # n products of four rounded numbers, and their sum
        assert (np.abs(np.tril(gram - wanted)) <= 2 * (n + 5) * EPS * size).all()


@everywhere
@given(
    d=st.integers(1, 90), c=st.integers(1, 30), lead=st.sampled_from([(), (1,), (4,), (2, 3)]),
    transpose=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@some
def test_solve_triangular(where: str, d: int, c: int, lead: tuple[int, ...], transpose: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((*lead, d, 2 * d))
    lower = np.linalg.cholesky(root @ root.swapaxes(-1, -2) / d + np.eye(d))
    rows = rng.standard_normal((*lead, c, d))
    kept = rows.copy()
    found = call(where, "solve_triangular", np.where(np.tri(d, dtype=bool), lower, np.nan), rows, transpose=transpose)
    assert found.dtype == np.float64
    assert found.shape == rows.shape
    assert np.array_equal(rows, kept)
    # Row by row L z = b, or L' z = b. Some backends invert diagonal blocks: see fastprobe.backend.triangular.
    matrix = lower if transpose else lower.swapaxes(-1, -2)
    size = np.abs(found) @ np.abs(matrix) + np.abs(rows)
    condition = np.linalg.cond(lower).max()
    assert np.abs(found @ matrix - rows).max() <= 8 * d * EPS * condition * size.max()


@everywhere
@given(
    n=st.integers(1, 150), columns=st.integers(1, 30), tasks=st.integers(1, 3), folds=st.integers(1, 4),
    seed=st.integers(0, 99),
)  # fmt: skip
@some
def test_logistic_step(where: str, n: int, columns: int, tasks: int, folds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    eta = rng.standard_normal((n, columns)) * 10.0 ** rng.integers(-3, 4, columns)
    eta.flat[rng.integers(0, eta.size, 5)] = [0.0, 1e-300, -1e5, 1e5, -708.5]
    y, training = rng.choice([0.0, 1.0], (n, tasks)), rng.random((n, folds)) < 0.8
    task, fold = rng.integers(0, tasks, columns), rng.integers(0, folds, columns)
    wanted = [np.empty(eta.shape), np.empty(eta.shape), np.empty(columns)]
    reference.logistic_step(eta, y, training, task, fold, *wanted)
    found = call(where, "logistic_step", eta, y, training, task, fold)
    for mine, twin in zip(found[:2], wanted[:2], strict=True):
        assert np.abs(mine - twin).max() <= 4 * EPS
        assert (mine[~training[:, fold]] == 0).all()
    assert found[2].shape == (columns,)
    assert (np.abs(found[2] - wanted[2]) <= (n + 4) * EPS * (np.abs(eta) + 1).sum(axis=0)).all()


@everywhere
@given(
    n=st.integers(1, 150), problems=st.integers(1, 3), classes=st.integers(2, 5), columns=st.integers(1, 12),
    folds=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
@some
def test_softmax_step(
    where: str, n: int, problems: int, classes: int, columns: int, folds: int, seed: int
) -> None:  # fmt: skip
    problem, wanted = draw_softmax(np.random.default_rng(seed), n, problems, classes, columns, folds)
    reference.softmax_step(*problem, *wanted)
    found = call(where, "softmax_step", *problem)
    assert [a.shape for a in found] == [a.shape for a in wanted]
    assert_softmax_alike(problem, found, wanted)


@everywhere
def test_steps_take_views(where: str) -> None:
    """Predictors that do not lie row by row, as products of stacks leave them."""
    rng, backend = np.random.default_rng(0), backend_of(where)
    problem, wanted = draw_softmax(rng, 30, 2, 3, 5, 2)
    reference.softmax_step(*problem, *wanted)
    eta, codes, training, fold = problem
    binary = (codes > 0)[:, None].astype(float), training, np.zeros(5, np.int64), fold
    twin = [np.empty((30, 5)), np.empty((30, 5)), np.empty(5)]
    reference.logistic_step(eta[:, 0, 0], *binary, *twin)
    with backend.session():
        here = backend.asarray(eta.transpose(3, 1, 2, 0).copy())
        turned = here.swapaxes(0, 3)
        found = backend.softmax_step(turned, *map(backend.asarray, (codes, training, fold)))
        assert_softmax_alike(problem, [backend.to_numpy(a) for a in found], wanted)
        found = backend.logistic_step(turned[:, 0, 0], *map(backend.asarray, binary))
        for mine, its, terms in zip(found, twin, (1, 1, 30 * (np.abs(eta).max() + 1)), strict=True):
            assert np.abs(backend.to_numpy(mine) - its).max() <= 34 * EPS * terms


@everywhere
@given(
    count=st.integers(1, 3), classes=st.integers(1, 3), n=st.sampled_from([1, 7, 60, 900]), r=st.integers(1, 40),
    columns=st.integers(1, 12), coupled=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@some
def test_curvature_product(
    where: str, count: int, classes: int, n: int, r: int, columns: int, coupled: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((count, n, r)).astype(np.float32)
    v = rng.standard_normal((count, r, classes, columns)).astype(np.float32)
    weights = rng.standard_normal((count, n, classes, columns)).astype(np.float32)
    shares = rng.random(weights.shape).astype(np.float32) if coupled else None
    found = call(where, "curvature_product", features, weights, shares, v)
    assert found.dtype == np.float32
    assert found.shape == v.shape
    exact = [None if a is None else a.astype(np.float64) for a in (features, weights, shares, v)]
    wanted = product(*exact)
    # Two sums of products in float32, and up to M + 4 roundings between them, of terms of this size:
    size = product(*(None if a is None else np.abs(a) for a in exact))
    assert (np.abs(found - wanted) <= (n + r + classes + 6) * EPS32 * size).all()


def product(features: np.ndarray, weights: np.ndarray, shares: np.ndarray | None, v: np.ndarray) -> np.ndarray:
    image = np.einsum("anr,armk->anmk", features, v)
    turned = weights * image
    if shares is not None:
        turned += shares * (shares * image).sum(axis=2, keepdims=True)
    return np.einsum("anr,anmk->armk", features, turned)


def test_denormal_numbers_count_as_nothing() -> None:
    """Arithmetic with them takes 50 times as long; and what is of a usual size beside them stays as it is."""
    rng = np.random.default_rng(3)
    features = rng.standard_normal((1, 30, 8)).astype(np.float32)
    v = rng.standard_normal((1, 8, 1, 4)).astype(np.float32)
    weights = rng.random((1, 30, 1, 4)).astype(np.float32)
    weights[:, :, :, 1:] = 1e-40
    found = call("cpu", "curvature_product", features, weights, None, v)
    assert (found[..., 1:] == 0).all()
    weights[:, :, :, 1:] = 0.0
    assert np.array_equal(found, call("cpu", "curvature_product", features, weights, None, v))
    assert np.abs(found[..., 0]).min() > 0


def test_the_curvature_of_a_softmax_is_its_second_derivative() -> None:
    """With weights -p the product is that of the Hessian, with the sign turned: against differences of gradients."""
    rng, (n, classes, r, columns) = np.random.default_rng(1), (50, 3, 4, 2)
    x = rng.standard_normal((n, r))
    w, v = rng.standard_normal((2, r, classes, columns))
    codes, training, fold = rng.integers(0, classes, n), np.ones((n, 1), bool), np.zeros(columns, np.int64)

    def step(at: np.ndarray) -> list[np.ndarray]:
        return call("cpu", "softmax_step", np.einsum("nr,rmk->nmk", x, at)[:, None], codes, training, fold)

    ahead, behind = (np.einsum("nr,nmk->rmk", x, step(w + h * v)[0][:, 0]) for h in (1e-5, -1e-5))
    shares = step(w)[1][:, 0].astype(np.float32)[None]
    found = call("cpu", "curvature_product", *(a.astype(np.float32) for a in (x[None], -shares)), shares,
                 v[None].astype(np.float32))  # fmt: skip
    np.testing.assert_allclose(-found[0], (ahead - behind) / 2e-5, rtol=0, atol=n * r * 20 * EPS32)


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    rng = np.random.default_rng(2)
    single = rng.standard_normal((2, 2000, 30)).astype(np.float32)
    weights, shares = rng.random((2, 2, 2000, 3, 7)).astype(np.float32)
    v = rng.standard_normal((2, 30, 3, 7)).astype(np.float32)
    problem, _ = draw_softmax(rng, 500, 2, 3, 8, 3)
    eta, codes, training, fold = problem
    binary = eta[:, 0, 0].copy(), (codes > 0)[:, None].astype(float), training, np.zeros(8, np.int64), fold
    for name, arguments in (
        ("curvature_product", (single, weights, shares, v)),
        ("curvature_product", (single[:1], weights[:1, :, :1], None, v[:1, :, :1])),
        ("softmax_step", problem),
        ("logistic_step", binary),
    ):
        one, more = (call(where, name, *arguments) for where in ("one thread", "cpu"))
        assert all(np.array_equal(a, b) for a, b in zip(one, more, strict=True)), name
