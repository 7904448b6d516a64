"""The CPU kernels of the sweep and the logistic probes equal their twins, and compute what they are meant to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve_triangular
from scipy.special import logsumexp
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import confusion_matrix
from softmax_problems import assert_softmax_alike, draw_softmax

from fastprobe.kernels import cpu, reference

EPS = float(np.finfo(np.float64).eps)


def draw_prefixes(rng: np.random.Generator, sets: int, m: int, d: int, tasks: int, whole: bool) -> tuple:
    """Held-out rows; in whole numbers all sums are exact."""

    def numbers(*shape: int) -> np.ndarray:
        return rng.integers(-3, 4, shape).astype(np.float64) if whole else rng.standard_normal(shape)

    sizes = rng.integers(1, m + 1, sets)
    features, y = numbers(sets, m, d), numbers(sets, m, tasks)
    for k, size in enumerate(sizes):
        features[k, size:], y[k, size:] = np.nan, np.nan
    return features, numbers(sets, d, tasks), numbers(sets, tasks), y, sizes


shapes = given(
    sets=st.integers(1, 4), m=st.integers(1, 30), d=st.integers(1, 70), tasks=st.integers(1, 3),
    cut=st.integers(0, 4), seed=st.integers(0, 99),
)  # fmt: skip


@shapes
@settings(max_examples=30, deadline=None)
def test_prefixes_of_whole_numbers(sets: int, m: int, d: int, tasks: int, cut: int, seed: int) -> None:
    """To the last bit, and predictions of exactly 0 count as negative."""
    problem = draw_prefixes(np.random.default_rng(seed), sets, m, d, tasks, whole=True)
    for name, found in (("prefix_scan", np.full((sets, tasks, d), np.nan)),
                        ("prefix_confusion", np.full((sets, tasks, 3, d), -1, np.int32))):  # fmt: skip
        wanted = found.copy()
        getattr(reference, name)(*problem, wanted)
        edge = min(cut, sets)
        for lo, hi in ((0, edge), (edge, sets)):
            getattr(cpu, name)(*problem, found, lo, hi)
        assert np.array_equal(found, wanted)


@shapes
@settings(max_examples=30, deadline=None)
def test_prefix_scan(sets: int, m: int, d: int, tasks: int, cut: int, seed: int) -> None:
    problem = draw_prefixes(np.random.default_rng(seed), sets, m, d, tasks, whole=False)
    wanted, found = np.empty((sets, tasks, d)), np.full((sets, tasks, d), np.nan)
    reference.prefix_scan(*problem, wanted)
    cpu.prefix_scan(*problem, found, 0, sets)
    features, z, mean, y, sizes = problem
    for k, size in enumerate(sizes):
        for t in range(tasks):
            terms = np.cumsum(np.abs(features[k, :size] * z[k, :, t]), axis=1) + np.abs(mean[k, t])
            terms += np.abs(y[k, :size, t, None])
            assert (np.abs(found[k, t] - wanted[k, t]) <= 4 * (d + m) * EPS * (terms * terms).sum(axis=0)).all()


@pytest.mark.parametrize("kernels", [cpu, reference], ids=["cpu", "reference"])
def test_prefixes_are_probes_on_the_first_features(kernels) -> None:
    """One factorisation scores every size as a fit on that many features does."""
    rng = np.random.default_rng(0)
    n, m, d, alpha = 60, 15, 20, 3.0
    x = rng.standard_normal((n, d)) @ rng.standard_normal((d, d))
    y = np.sign(x @ rng.standard_normal(d) + 5 * rng.standard_normal(n))
    train, held_out = slice(m, n), slice(0, m)
    center, mean_y = x[train].mean(axis=0), y[train].mean()
    centered = x[train] - center
    lower = np.linalg.cholesky(centered.T @ centered + alpha * np.eye(d))
    z = solve_triangular(lower, centered.T @ (y[train] - mean_y), lower=True)
    features = solve_triangular(lower, (x[held_out] - center).T, lower=True).T

    problem = (features[None], z[None, :, None], np.array([[mean_y]]), y[None, held_out, None], np.array([m]))
    fold = () if kernels is reference else (0, 1)
    sse, counts = np.empty((1, 1, d)), np.empty((1, 1, 3, d), np.int32)
    kernels.prefix_scan(*map(np.ascontiguousarray, problem), sse, *fold)
    kernels.prefix_confusion(*map(np.ascontiguousarray, problem), counts, *fold)
    for size in range(1, d + 1):
        predicted = Ridge(alpha).fit(x[train, :size], y[train]).predict(x[held_out, :size])
        assert sse[0, 0, size - 1] == pytest.approx(((predicted - y[held_out]) ** 2).sum(), rel=1e-9)
        ((_, fp), (fn, tp)) = confusion_matrix(y[held_out] > 0, predicted > 0)
        assert counts[0, 0, :, size - 1].tolist() == [tp, fp, fn]


@given(
    n=st.integers(1, 60), columns=st.integers(1, 30), tasks=st.integers(1, 3), folds=st.integers(1, 4),
    cut=st.floats(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_logistic_step(n: int, columns: int, tasks: int, folds: int, cut: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    eta = rng.standard_normal((n, columns)) * 10.0 ** rng.integers(-3, 4, columns)
    eta.flat[rng.integers(0, eta.size, 6)] = [0.0, 1e-300, -1e5, 1e5, -708.5, 707.9]
    y, training = rng.choice([0.0, 1.0, 0.25], (n, tasks)), rng.random((n, folds)) < 0.8
    task, fold = rng.integers(0, tasks, columns), rng.integers(0, folds, columns)
    found = [np.full(eta.shape, np.nan), np.full(eta.shape, np.nan), np.zeros(columns)]
    wanted = [np.full(a.shape, np.nan) for a in found]
    reference.logistic_step(eta, y, training, task, fold, *wanted)
    edge = int(cut * n)
    for lo, hi in ((0, edge), (edge, n)):
        cpu.logistic_step(eta, y, training, task, fold, *found, lo, hi)
    for mine, twin in zip(found[:2], wanted[:2], strict=True):
        assert np.abs(mine - twin).max() <= 4 * EPS
        assert (mine[~training[:, fold]] == 0).all()
    assert (np.abs(found[2] - wanted[2]) <= (n + 4) * EPS * (np.abs(eta) + 1).sum(axis=0)).all()


def test_logistic_terms_are_accurate_where_they_are_small() -> None:
    """Relative to themselves, over all sizes of the linear predictor."""
    eta = np.linspace(-700, 700, 20_001)[:, None]
    shape, index = eta.shape, np.zeros(1, np.int64)
    all_rows, labels = np.ones(shape, bool), np.zeros(shape)
    found, wanted = ([np.empty(shape), np.empty(shape), np.zeros(1)] for _ in range(2))
    cpu.logistic_step(eta, labels, all_rows, index, index, *found, 0, len(eta))
    reference.logistic_step(eta, labels, all_rows, index, index, *wanted)
    for mine, twin in zip(found, wanted, strict=True):
        # a dozen roundings on either side; none of them grows with the size of the predictor
        np.testing.assert_allclose(mine, twin, rtol=16 * EPS)
    one_by_one = np.zeros(len(eta))
    cpu.logistic_step(
        eta.T.copy(), labels[:1], all_rows[:1], np.zeros(len(eta), np.int64), np.zeros(len(eta), np.int64),
        np.empty(eta.T.shape), np.empty(eta.T.shape), one_by_one, 0, 1,
    )  # fmt: skip
    np.testing.assert_allclose(one_by_one, np.logaddexp(0, eta[:, 0]), rtol=16 * EPS)


@pytest.mark.parametrize("kernels", [cpu, reference], ids=["cpu", "reference"])
def test_newton_steps_lead_to_the_optimum_of_scikit_learn(kernels) -> None:
    """Two folds and two tasks at once, columns (fold, task), unpenalised intercept."""
    rng = np.random.default_rng(3)
    n, d = 80, 4
    x = np.column_stack([rng.standard_normal((n, d)), np.ones(n)])
    y = (x[:, :2] + rng.standard_normal((n, 2)) > 0).astype(np.float64)
    training = np.arange(n)[:, None] % 2 == np.arange(2)
    task, fold = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
    penalty, w = np.diag([1.0] * d + [0.0]), np.zeros((d + 1, 4))
    residual, curvature, loss = np.empty((n, 4)), np.empty((n, 4)), np.empty(4)
    rows = () if kernels is reference else (0, n)
    for _ in range(12):
        loss[:] = 0
        kernels.logistic_step(x @ w, y, training, task, fold, residual, curvature, loss, *rows)
        for c in range(4):
            hessian = x.T @ (curvature[:, c, None] * x) + penalty
            w[:, c] -= np.linalg.solve(hessian, x.T @ residual[:, c] + penalty @ w[:, c])
    for c in range(4):
        picked = training[:, fold[c]]
        model = LogisticRegression(C=1.0, tol=1e-12, solver="newton-cholesky").fit(x[picked, :d], y[picked, task[c]])
        np.testing.assert_allclose(w[:, c], [*model.coef_[0], *model.intercept_], rtol=1e-8)
        assert loss[c] == pytest.approx(-model.predict_log_proba(x[picked, :d])[
            np.arange(picked.sum()), y[picked, task[c]].astype(int)].sum(), rel=1e-8)  # fmt: skip


@given(
    n=st.integers(1, 60), problems=st.integers(1, 3), classes=st.integers(2, 6), columns=st.integers(1, 30),
    folds=st.integers(1, 4), cut=st.floats(0, 1), seed=st.integers(0, 99),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_softmax_step(
    n: int, problems: int, classes: int, columns: int, folds: int, cut: float, seed: int
) -> None:  # fmt: skip
    problem, found = draw_softmax(np.random.default_rng(seed), n, problems, classes, columns, folds)
    wanted = [a.copy() for a in found]
    reference.softmax_step(*problem, *wanted)
    found[2][:] = 0.0
    edge = int(cut * n)
    for lo, hi in ((0, edge), (edge, n)):
        cpu.softmax_step(*problem, *found, lo, hi)
    assert_softmax_alike(problem, found, wanted)


@pytest.mark.parametrize("kernels", [cpu, reference], ids=["cpu", "reference"])
@pytest.mark.parametrize("classes", [2, 3, 4, 5, 9])
def test_softmax_losses_are_accurate_where_they_are_small(kernels, classes: int) -> None:
    """Relative to themselves, over all distances of the right class from the others."""
    lead = np.linspace(0, 700, 10_001)
    eta = np.zeros((1, 1, classes, len(lead)))
    eta[0, 0, 1] = lead
    written = [np.empty(eta.shape), np.empty(eta.shape), np.zeros((1, len(lead)))]
    rows = () if kernels is reference else (0, 1)
    training, fold = np.ones((1, 1), bool), np.zeros(len(lead), np.int64)
    kernels.softmax_step(eta, np.array([1]), training, fold, *written, *rows)
    np.testing.assert_allclose(written[2][0], np.log1p((classes - 1) * np.exp(-lead)), rtol=16 * EPS)


@pytest.mark.parametrize("kernels", [cpu, reference], ids=["cpu", "reference"])
def test_softmax_terms_are_those_of_scikit_learn(kernels) -> None:
    """At the optimum of each fold the gradient vanishes, and the loss is that of its probabilities."""
    rng = np.random.default_rng(4)
    n, d, classes, alpha = 120, 4, 3, 2.0
    x = rng.standard_normal((n, d))
    codes = (x[:, :classes] + rng.standard_normal((n, classes))).argmax(axis=1)
    training = np.arange(n)[:, None] % 2 == np.arange(2)
    models = [
        LogisticRegression(C=1 / alpha, tol=1e-12, max_iter=1000, solver="newton-cg").fit(x[rows], codes[rows])
        for rows in training.T
    ]
    eta = np.stack([model.decision_function(x) for model in models], axis=-1)[:, None]
    residual, shares, loss = np.empty(eta.shape), np.empty(eta.shape), np.zeros((1, 2))
    kernels.softmax_step(
        eta, codes, training, np.arange(2), residual, shares, loss, *(() if kernels is reference else (0, n))
    )
    for k, model in enumerate(models):
        rows = training[:, k]
        gradient = residual[:, 0, :, k].T @ x + alpha * model.coef_
        assert np.abs(gradient).max() <= 1e-7  # as far as scikit-learn goes
        np.testing.assert_allclose(shares[rows, 0, :, k], model.predict_proba(x[rows]), rtol=0, atol=8 * EPS)
        picked = eta[rows, 0, :, k]
        assert loss[0, k] == pytest.approx(
            (logsumexp(picked, axis=1) - picked[np.arange(rows.sum()), codes[rows]]).sum(), rel=1e-13
        )
