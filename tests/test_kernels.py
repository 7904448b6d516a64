"""Every kernel equals its NumPy twin, however its work is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastprobe.backend import get_backend
from fastprobe.kernels import cpu, reference

DTYPES = [np.float64, np.float32, np.int8, np.uint8]


def draw(n: int, d: int, sets: int, dtype, seed: int):
    rng = np.random.default_rng(seed)
    x = (
        rng.integers(0, 100, (n, d)).astype(dtype)
        if np.issubdtype(dtype, np.integer)
        else rng.standard_normal((n, d)).astype(dtype)
    )
    rows = [np.sort(rng.permutation(n)[: rng.integers(1, n + 1)]) for _ in range(sets)]
    return x, x.mean(axis=0, dtype=np.float64), get_backend("cpu").row_sets(rows, n), rng


def test_every_kernel_has_a_twin() -> None:
    assert set(cpu.__all__) <= set(reference.__all__)


@given(
    n=st.integers(1, 600), d=st.integers(1, 600), sets=st.integers(1, 6), c=st.integers(1, 4),
    dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99), cut=st.floats(0, 1),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_set_kernels(n: int, d: int, sets: int, c: int, dtype, seed: int, cut: float) -> None:
    x, mean, index, rng = draw(n, d, sets, dtype, seed)
    by_row = (index.start, index.set_of, index.slot_of)
    scale = np.abs(x.astype(np.float64) - mean).max() + 1

    v = rng.standard_normal((sets, index.width, c)) * index.mask[:, :, None]
    wanted = np.ones((sets, c, d))
    reference.set_adjoint(x, mean, index.rows, index.sizes, v, wanted)
    found = np.ones((sets, c, d))
    edge = int(cut * n)
    for lo, hi in ((0, edge), (edge, n)):
        cpu.set_adjoint(x, mean, *by_row, v, found, lo, hi)
    assert np.abs(found - wanted).max() <= 4 * n * np.finfo(np.float64).eps * scale * np.abs(v).max()

    u = rng.standard_normal((sets, c, d))
    wanted = np.ones((sets, index.width, c))
    reference.set_forward(x, mean, index.rows, index.sizes, u, wanted)
    found = np.ones((sets, index.width, c))
    for lo, hi in ((0, edge), (edge, n)):
        cpu.set_forward(x, mean, *by_row, u, found, lo, hi)
    assert np.abs(found - wanted).max() <= 4 * d * np.finfo(np.float64).eps * scale * np.abs(u).max()

    start = rng.standard_normal(wanted.shape) * index.mask[:, :, None]
    wanted_w, wanted_out = start.copy(), np.ones((sets, c, d))
    reference.set_hat(x, mean, index.rows, index.sizes, u, wanted_w, wanted_out)
    found_w, found_out = start.copy(), np.ones((sets, c, d))
    for lo, hi in ((0, edge), (edge, n)):
        cpu.set_hat(x, mean, *by_row, u, found_w, found_out, lo, hi)
    bound = 4 * d * np.finfo(np.float64).eps * scale * np.abs(u).max()
    assert np.abs(found_w - wanted_w).max() <= bound
    rounding = 4 * n * np.finfo(np.float64).eps * scale * np.abs(wanted_w).max()
    assert np.abs(found_out - wanted_out).max() <= n * scale * bound + rounding


@pytest.mark.parametrize("dtype", DTYPES)
def test_center_rows(dtype) -> None:
    x, mean, _, rng = draw(50, 7, 1, dtype, seed=1)
    rows = rng.integers(0, 50, 30)
    wanted, found = np.empty((30, 7)), np.empty((30, 7))
    reference.center_rows(x, rows, mean, wanted)
    for lo, hi in ((0, 11), (11, 30)):
        cpu.center_rows(x, rows, mean, found, lo, hi)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("columns", [1, 3, 8])
def test_backend_products_do_not_depend_on_threads(threads: int, columns: int) -> None:
    """Also across the width from which the backend multiplies matrices instead."""
    x, _, index, rng = draw(500, 700, 5, np.float32, seed=2)
    backend, one = get_backend("cpu", threads=threads), get_backend("cpu", threads=1)
    design = backend.design(x, np.arange(500))
    v = rng.standard_normal((5, index.width, columns)) * index.mask[:, :, None]
    assert np.array_equal(backend.set_adjoint(design, index, v), one.set_adjoint(design, index, v))
    u = rng.standard_normal((5, columns, 700))
    forward = backend.set_forward(design, index, u)
    assert np.array_equal(forward, one.set_forward(design, index, u))
    assert (forward[~index.mask] == 0).all()
    wanted = np.zeros_like(forward)
    reference.set_forward(x, design.mean, index.rows, index.sizes, u, wanted)
    assert np.abs(forward - wanted).max() < 1e-10


@given(count=st.lists(st.integers(1, 1500), min_size=1, max_size=4), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_mt19937(count: list[int], seed: int) -> None:
    _, key, position, *_ = np.random.RandomState(seed).get_state(legacy=True)
    state = np.append(key, position).astype(np.uint32)
    twin = state.copy()
    for size in count:
        found, wanted = np.empty(size, np.uint32), np.empty(size, np.uint32)
        cpu.mt19937(state, found)
        reference.mt19937(twin, wanted)
        assert (found == wanted).all()


@given(n=st.integers(1, 300), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_randperm(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 2**32, n, dtype=np.uint32)
    values = rng.integers(0, 1000, n).astype(np.int32)
    found, wanted = np.empty(n, np.int32), np.empty(n, np.int32)
    cpu.randperm(words, values, found)
    reference.randperm(words, values, wanted)
    assert (found == wanted).all()
    assert (np.sort(found) == np.sort(values)).all()


@given(
    n=st.integers(1, 80), d=st.integers(1, 70), epochs=st.integers(1, 3), batch=st.integers(1, 90),
    rate=st.sampled_from([1e-4, 1e-2, 0.5]), logistic=st.booleans(), keep=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_train_linear(n, d, epochs, batch, rate, logistic, keep, seed) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n + 3, d)).astype(np.float32)
    rows = rng.integers(0, n + 3, n)
    y = (rng.random(n) > 0.5).astype(np.float32)
    order = np.stack([rng.permutation(n) for _ in range(epochs)]).astype(np.int32)
    weights = np.zeros((2, epochs + 1, d + 1), np.float32)
    weights[:, 0] = rng.uniform(-1, 1, d + 1) / np.sqrt(d)
    fitted = np.zeros((2, *(order.shape if keep else (0, 0))), np.float32)
    exact, exactly_fitted = weights[0].astype(np.float64), fitted[0].astype(np.float64)
    reference.train_linear(x.astype(np.float64), rows, y, order, batch, rate, logistic, exact, exactly_fitted)
    for kernels, w, f in zip((cpu, reference), weights, fitted, strict=True):
        kernels.train_linear(x, rows, y, order, batch, rate, logistic, w, f)
    # Both are off the same steps in float64, by the order of their float32 sums; neither by much more than the other.
    for (found, twin), truth in ((weights, exact), (fitted, exactly_fitted)):
        room = 10 * np.linalg.norm(twin - truth) + 1e-6 * np.linalg.norm(truth)
        assert np.linalg.norm(found - truth) <= room


@given(n=st.integers(1, 60), d=st.integers(1, 70), k=st.integers(1, 4), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_predict_linear(n: int, d: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d)).astype(np.float32)
    rows, weights = rng.integers(0, n, n), rng.standard_normal((k, d + 1)).astype(np.float32)
    found, wanted = np.empty((k, n), np.float32), np.empty((k, n), np.float32)
    cpu.predict_linear(x, rows, weights, found)
    reference.predict_linear(x, rows, weights, wanted)
    size = np.abs(x[rows].astype(np.float64)) @ np.abs(weights[:, :-1].T).astype(np.float64) + np.abs(weights[:, -1])
    assert (np.abs(found - wanted) <= 2 * (d + 1) * np.finfo(np.float32).eps * size.T).all()
