"""What the sweep over leading features asks of a backend: every backend gives what obvious NumPy gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import confusion_matrix
from test_kernels_sweep import draw_prefixes
from test_logistic_operations import EPS, backend_of, call, everywhere, some

from fastprobe.backend import get_backend
from fastprobe.kernels import reference

prefixes = given(
    sets=st.integers(1, 4), m=st.integers(1, 30), d=st.sampled_from([1, 2, 17, 70]), tasks=st.integers(1, 12),
    seed=st.integers(0, 99),
)  # fmt: skip
SCANS = {"prefix_scan": ((), np.float64), "prefix_confusion": ((3,), np.int32)}
"""What an operation gives for every fold, task and number of features."""


def twin(name: str, problem: tuple) -> np.ndarray:
    (sets, _, d), tasks, (fields, dtype) = problem[0].shape, problem[3].shape[2], SCANS[name]
    out = np.empty((sets, tasks, *fields, d), dtype)
    getattr(reference, name)(*problem, out)
    return out


def scan(where: str, name: str, problem: tuple) -> np.ndarray:
    """Run an operation; sizes stay on the host."""
    backend = backend_of(where)
    with backend.session():
        return backend.to_numpy(getattr(backend, name)(*map(backend.asarray, problem[:4]), problem[4]))


def symmetric(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Symmetric matrices, and what is given of them: NaN above the diagonal."""
    a = rng.standard_normal((*shape, shape[-1]))
    a = a + a.swapaxes(-1, -2)
    return a, np.where(np.tri(shape[-1], dtype=bool), a, np.nan)


@everywhere
@prefixes
@some
def test_scans_of_whole_numbers(where: str, sets: int, m: int, d: int, tasks: int, seed: int) -> None:
    """To the last bit: padding counts for nothing, and predictions of exactly 0 are negative."""
    problem = draw_prefixes(np.random.default_rng(seed), sets, m, d, tasks, whole=True)
    for name, (_, dtype) in SCANS.items():
        found = scan(where, name, problem)
        assert found.dtype == dtype
        assert np.array_equal(found, twin(name, problem))


@everywhere
@prefixes
@some
def test_scans(where: str, sets: int, m: int, d: int, tasks: int, seed: int) -> None:
    problem = draw_prefixes(np.random.default_rng(seed), sets, m, d, tasks, whole=False)
    features, z, mean, y, sizes = problem
    sse, counts = (scan(where, name, problem) for name in SCANS)
    errors, flips = np.abs(sse - twin("prefix_scan", problem)), np.abs(counts - twin("prefix_confusion", problem))
    for k, size in enumerate(sizes):
        terms = features[k, :size, None] * z[k].T
        predicted = np.cumsum(terms, axis=2) + mean[k, :, None]
        scale = np.cumsum(np.abs(terms), axis=2) + np.abs(mean[k, :, None])
        # sums of up to d products and a mean, less a label; and of m squares
        bound = 4 * (d + m) * EPS * ((scale + np.abs(y[k, :size, :, None])) ** 2).sum(axis=0)
        assert (errors[k] <= bound).all()
        undecided = (np.abs(predicted) <= 2 * (d + 2) * EPS * scale).sum(axis=0)
        assert (flips[k] <= undecided[:, None]).all()


@everywhere
def test_scans_take_views(where: str) -> None:
    """Coefficients and labels of some tasks, and features that are part of an array."""
    backend, rng = backend_of(where), np.random.default_rng(1)
    features, z, mean, y, sizes = draw_prefixes(rng, 3, 12, 9, 4, whole=True)
    part = features[:, :, 2:], z[:, 2:, 1:3], mean[:, 1:3], y[:, :, 1:3], sizes
    with backend.session():
        rows, turned, means, labels = map(backend.asarray, (features, z.swapaxes(1, 2).copy(), mean, y))
        for name in SCANS:
            views = rows[:, :, 2:], turned.swapaxes(1, 2)[:, 2:, 1:3], means[:, 1:3], labels[:, :, 1:3]
            found = backend.to_numpy(getattr(backend, name)(*views, sizes))
            assert np.array_equal(found, twin(name, part))


@everywhere
@given(
    count=st.integers(1, 4), m=st.sampled_from([1, 2, 30, 90]), d=st.integers(1, 40),
    sign=st.sampled_from([1.0, -1.0]), seed=st.integers(0, 99),
)  # fmt: skip
@some
def test_update_gram(where: str, count: int, m: int, d: int, sign: float, seed: int) -> None:
    rng, backend = np.random.default_rng(seed), backend_of(where)
    before, given_lower = symmetric(rng, count, d)
    rows = rng.standard_normal((count, m, d))
    rows[:, m // 2 + 1 :] = 0.0  # padded slots
    with backend.session():
        total, placed = backend.asarray(given_lower.copy()), backend.asarray(rows)
        assert backend.update_gram(total, placed, sign) is None
        found, kept = backend.to_numpy(total), backend.to_numpy(placed)
    assert np.array_equal(kept, rows)
    wanted = before + sign * rows.swapaxes(1, 2) @ rows
    size = np.abs(before) + np.abs(rows).swapaxes(1, 2) @ np.abs(rows)
    inside = np.tri(d, dtype=bool)
    # m products of two numbers, and their sum
    assert (np.abs(found - wanted) <= 2 * (m + 2) * EPS * size)[:, inside].all()


@everywhere
@given(count=st.integers(1, 4), c=st.integers(1, 12), d=st.integers(1, 90), seed=st.integers(0, 99))
@some
def test_symmetric_product(where: str, count: int, c: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole, lower = symmetric(rng, count, d)
    rows = rng.standard_normal((count, c, d))
    kept = rows.copy()
    found = call(where, "symmetric_product", lower, rows)
    assert found.shape == rows.shape
    assert np.array_equal(rows, kept)
    assert (np.abs(found - rows @ whole) <= 2 * (d + 1) * EPS * (np.abs(rows) @ np.abs(whole))).all()


@everywhere
@given(d=st.sampled_from([1, 2, 25, 26, 70]), rank=st.sampled_from([1, 5, 200]), seed=st.integers(0, 99))
@some
def test_eigh(where: str, d: int, rank: int, seed: int) -> None:
    """Eigenvalues of any sign, and many that are 0."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((d, min(rank, d)))
    whole = (root * rng.standard_normal(root.shape[1])) @ root.T
    given_lower = np.where(np.tri(d, dtype=bool), whole, np.nan)
    kept = given_lower.copy()
    values, vectors = call(where, "eigh", given_lower)
    assert np.array_equal(given_lower, kept, equal_nan=True)
    bound = 50 * d * EPS  # what LAPACK's own tests allow of residuals and orthogonality: TESTING/sep.in
    norm = np.linalg.norm(whole, 2)
    assert np.abs(values - np.linalg.eigvalsh(whole)).max() <= bound * norm
    assert (np.diff(values) >= 0).all()
    assert np.linalg.norm(vectors.T @ vectors - np.eye(d), 2) <= bound
    assert np.linalg.norm(whole @ vectors - vectors * values, 2) <= bound * norm


def test_an_eigendecomposition_that_fails_is_an_error() -> None:
    a = np.eye(6) + 0.1
    a[3, 1] = np.nan
    with pytest.raises(np.linalg.LinAlgError, match="6 rows"):
        call("cpu", "eigh", a)


@everywhere
def test_together_they_score_probes_on_the_first_features(where: str) -> None:
    """All sizes of every fold from one Gram matrix, as scikit-learn's fits on that many features score."""
    rng, backend = np.random.default_rng(0), backend_of(where)
    n, d, alpha = 60, 9, 2.0
    x = rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + 3.0
    y = np.sign(x[:, :2] - 3.0 + rng.standard_normal((n, 2)))
    held_out = [np.sort(rng.permutation(n)[:size]) for size in (12, 9, 12)]
    sizes = np.array([12, 9, 12])
    with backend.session():
        design, labels = backend.design(backend.asarray(x), np.arange(n)), backend.asarray(y - y.mean(axis=0))
        sets = backend.row_sets(held_out, n)
        rows, truth = backend.take_centered(design, sets, slice(0, 3)), backend.take(labels, sets, slice(0, 3))
        left = backend.asarray((n - sizes)[:, None, None] * 1.0)
        gram = backend.xp.zeros((3, d, d)) + backend.gram(design)
        backend.update_gram(gram, rows, -1.0)
        backend.update_gram(gram, rows.sum(axis=1, keepdims=True) / backend.xp.sqrt(left), -1.0)
        sums, label_sums = rows.sum(axis=1, keepdims=True), truth.sum(axis=1, keepdims=True)
        cross = backend.adjoint(design, labels) - backend.xp.matmul(truth.swapaxes(1, 2), rows)
        cross -= label_sums.swapaxes(1, 2) * sums / left
        gram += alpha * backend.xp.eye(d)
        lower, ok = backend.cholesky(gram.copy())
        features = backend.solve_triangular(lower, rows + sums / left)
        z = backend.solve_triangular(lower, cross)
        weights = backend.solve_triangular(lower, z, transpose=True)
        rest = backend.to_numpy(backend.symmetric_product(gram, weights) - cross)
        scale = backend.to_numpy(backend.xp.sqrt((weights * weights).sum(axis=2).max()))
        mean = (backend.asarray(y.mean(axis=0)) - label_sums / left)[:, 0]
        problem = features, z.swapaxes(1, 2), mean, truth + backend.asarray(y.mean(axis=0)), sizes
        sse, counts = (backend.to_numpy(getattr(backend, name)(*problem)) for name in SCANS)
        assert backend.to_numpy(ok).all()
    # Solves with a factor, some by inverses of its diagonal blocks: its condition is at most the root of that of G.
    spectrum = np.linalg.eigvalsh((n - 1) * np.cov(x.T)) + alpha
    condition = np.sqrt(spectrum[-1] / alpha)
    assert np.abs(rest).max() <= 8 * d * EPS * condition * spectrum[-1] * scale
    for k, rows_out in enumerate(held_out):
        train = np.setdiff1d(np.arange(n), rows_out)
        for t in range(2):
            for size in range(1, d + 1):
                predicted = Ridge(alpha).fit(x[train, :size], y[train, t]).predict(x[rows_out, :size])
                assert sse[k, t, size - 1] == pytest.approx(((predicted - y[rows_out, t]) ** 2).sum(), rel=1e-9)
                ((_, fp), (fn, tp)) = confusion_matrix(y[rows_out, t] > 0, predicted > 0)
                assert counts[k, t, :, size - 1].tolist() == [tp, fp, fn]


def on_the_cpu(threads: int) -> list[Any]:
    """Results of work that is enough for all threads of a pool."""
    backend, rng = get_backend("cpu", threads=threads), np.random.default_rng(2)
    problem = draw_prefixes(rng, 4, 200, 500, 12, whole=False)
    rows, grams = rng.standard_normal((4, 60, 400)), symmetric(rng, 4, 400)[0]
    vectors: list[Any] = [None] * 4
    total = grams.copy()

    def decompose(chunk: slice) -> None:
        vectors[chunk] = [backend.eigh(gram) for gram in grams[chunk]]

    with backend.session():
        backend.update_gram(total, rows, -1.0)
        backend.for_chunks(decompose, 4, 0)
        scans = [getattr(backend, name)(*problem) for name in SCANS]
        product = backend.symmetric_product(grams, rows)
    return [np.tril(total), product, *scans, *(a for pair in vectors for a in pair)]


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    one, more = on_the_cpu(1), on_the_cpu(3)
    assert all(np.array_equal(a, b) for a, b in zip(one, more, strict=True))


@pytest.mark.parametrize("size", [1, 5, 64])
@everywhere
def test_the_inverse_root_is_that_of_the_cholesky_factor(where: str, size: int) -> None:
    rng = np.random.default_rng(size)
    root = rng.normal(size=(3, size, size + 2))
    a = root @ root.swapaxes(1, 2) + 0.1 * np.eye(size)
    a[1] -= 2.0 * np.trace(a[1]) * np.eye(size)  # not positive definite
    found, ok = call(where, "inverse_root", a.copy())
    assert ok.tolist() == [True, False, True]
    assert np.isfinite(found).all()
    for k in (0, 2):
        assert (np.triu(found[k], 1) == 0.0).all()
        bound = 10 * size * EPS * np.linalg.cond(a[k])
        np.testing.assert_allclose(found[k] @ a[k] @ found[k].T, np.eye(size), atol=bound)
