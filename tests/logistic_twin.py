"""Logistic probes one at a time, slow and obvious: what the batched ones are held to, and scikit-learn's beside it.

The twin is Newton's method with the whole Hessian in float64. It comes down from strong penalties to the one that is
asked for, so that it needs no line search to speak of, separable classes or not, and ends when a step no longer moves
any decision value by more than 1e-12 of the largest (at least 1), or rounding, divided by a weak penalty, moves them.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray
from scipy.special import expit, log_softmax, softmax

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
EPS = float(np.finfo(np.float64).eps)
SKLEARN_TOLERANCE = 1e-10


@dataclass(frozen=True, eq=False)
class Probe:
    """Decision values of features x are ``x @ weights.T + intercepts``; one output for two classes, else M.

    A class that did not train has weights of zero and the intercept minus infinity, as scikit-learn's probe, which does
    not know of it. Of two classes left out of more, the log odds stand half by half with both.
    """

    weights: Floats
    intercepts: Floats

    def decisions(self, x: NDArray) -> Floats:
        """Decision values, shape (rows, outputs)."""
        return x.astype(np.float64) @ self.weights.T + self.intercepts


def refit(x: NDArray, codes: Ints, n_classes: int, alpha: float) -> Probe | None:
    """Fit a probe to all rows given; None if they are of one class."""
    known, own = np.unique(codes, return_inverse=True)
    if len(known) < 2:
        return None
    x = x.astype(np.float64)
    mean = x.mean(axis=0)
    found = _newton(np.column_stack([x - mean, np.ones(len(x))]), own, len(known), alpha)
    weights = found[:, :-1]
    return spread(weights, found[:, -1] - weights @ mean, known, n_classes)


def fit_sklearn(x: NDArray, codes: Ints, n_classes: int, alpha: float, start: Probe | None = None) -> Probe | None:
    """Fit a probe by scikit-learn, as far as it gets: it searches by values of the objective, where rounding ends it.

    It may start near the optimum, which there is only one of.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    known = np.unique(codes)
    if len(known) < 2:
        return None
    x = x.astype(np.float64)
    mean = x.mean(axis=0)
    model = LogisticRegression(C=1 / alpha, solver="newton-cholesky", tol=1e-13, max_iter=1000, warm_start=True)
    if start is not None:
        model.coef_, model.intercept_ = start.weights.copy(), start.decisions(mean[None])[0]
    with warnings.catch_warnings():
        # Where rounding ends its line search; who calls this looks whether that is near enough.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", scipy.linalg.LinAlgWarning)
        model.fit(x - mean, codes)
    return spread(model.coef_, model.intercept_ - model.coef_ @ mean, known, n_classes)


def refit_sklearn(x: NDArray, codes: Ints, n_classes: int, alpha: float, start: Probe | None = None) -> Probe | None:
    """Fit a probe by scikit-learn, and check that its gradient has vanished, at least to SKLEARN_TOLERANCE."""
    probe = fit_sklearn(x, codes, n_classes, alpha, start)
    if probe is not None:
        features, own, place = centred(x, codes, n_classes, probe)
        gradient, size = gradient_and_size(features, own, place, alpha)
        assert (np.abs(gradient) <= SKLEARN_TOLERANCE * len(x) + 100 * EPS * size).all()  # it is one of mean losses
    return probe


def sklearn_gap(x: NDArray, codes: Ints, n_classes: int, alpha: float, probe: Probe, everywhere: NDArray) -> float:
    """How far a probe of scikit-learn is from the optimum, in decision values of `everywhere`, as :func:`distance`.

    Its Newton step says so, up to what the Hessian changes on the way: that of a row, by a factor of at most
    ``exp(2 s)`` where its decision values move by s. Where they move by a tenth, what the step misses is less than the
    step itself.
    """
    features, own, place = centred(x, codes, n_classes, probe)
    step = newton_step(features, own, place, alpha)
    away = np.column_stack([everywhere - x.mean(axis=0, dtype=np.float64), np.ones(len(everywhere))])
    moved = np.abs(away @ step.T).max()
    assert moved <= 0.1
    decisions = probe.decisions(everywhere)
    return 2 * moved / max(1.0, np.abs(decisions[np.isfinite(decisions)]).max())


def centred(
    x: NDArray, codes: Ints, n_classes: int, probe: Probe, mean: Floats | None = None
) -> tuple[Floats, Ints, Floats]:
    """Features (n, d + 1), the numbers of the classes that train among themselves, and the probe of those.

    Features are less their mean, or another, and end with ones.
    """
    known, own = np.unique(codes, return_inverse=True)
    mean = x.mean(axis=0, dtype=np.float64) if mean is None else mean
    place = np.column_stack([probe.weights, probe.intercepts + probe.weights @ mean])
    if len(known) < n_classes:
        place = place[known] if len(known) > 2 else place[known[1:]] - place[known[:1]]
    return np.column_stack([x.astype(np.float64) - mean, np.ones(len(x))]), own, place


def spread(weights: Floats, intercepts: Floats, known: Ints, n_classes: int) -> Probe:
    """Give the outputs of a probe of some classes their places among those of all."""
    if len(known) == n_classes:
        return Probe(weights, intercepts)
    if len(known) == 2:
        weights, intercepts = np.array([[-0.5], [0.5]]) * weights, np.array([-0.5, 0.5]) * intercepts
    whole, constants = np.zeros((n_classes, weights.shape[1])), np.full(n_classes, -np.inf)
    whole[known], constants[known] = weights, intercepts
    return Probe(whole, constants)


def objective(features: Floats, own: Ints, found: Floats, alpha: float) -> float:
    """Sum of log losses and penalty, for weights (outputs, d + 1) of features (n, d + 1) that end with ones."""
    losses = log_losses(features @ found.T, own)
    return float(losses.sum() + alpha / 2 * (found[:, :-1] ** 2).sum())


def log_losses(eta: Floats, own: Ints) -> Floats:
    """Log losses of decision values (n, outputs), for class numbers (n,)."""
    if eta.shape[1] == 1:
        return np.logaddexp(0.0, np.where(own == 1, -eta[:, 0], eta[:, 0]))
    return -log_softmax(eta, axis=1)[np.arange(len(own)), own]


def gradient_and_size(features: Floats, own: Ints, found: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Gradient of the objective (outputs, d + 1), and the sizes that its rounding errors are relative to.

    A residual has the error of its decision value, which is a sum, less where it is flat, and its own.
    """
    eta = features @ found.T
    p, residual = probabilities(eta), residuals(eta, own)
    weights = found.copy()
    weights[:, -1] = 0.0
    slack = p * (1 - p) * (np.abs(features) @ np.abs(found).T) + np.abs(residual) * (2 + np.abs(eta))
    return residual.T @ features + alpha * weights, slack.T @ np.abs(features) + alpha * np.abs(weights)


def probabilities(eta: Floats) -> Floats:
    """Sigmoid of one output, softmax of several."""
    return expit(eta) if eta.shape[1] == 1 else softmax(eta, axis=1)


def residuals(eta: Floats, own: Ints) -> Floats:
    """Probabilities less the truth, without cancellation where they are close to it."""
    if eta.shape[1] == 1:
        return np.where(own == 1, -expit(-eta[:, 0]), expit(eta[:, 0]))[:, None]
    p, row = softmax(eta, axis=1), np.arange(len(own))
    p[row, own] = 0.0
    p[row, own] = -p.sum(axis=1)
    return p


def newton_step(features: Floats, own: Ints, found: Floats, alpha: float) -> Floats:
    """Step of Newton's method (outputs, d + 1), by the whole Hessian."""
    p = probabilities(features @ found.T)
    outputs, width = found.shape
    penalty = np.zeros((width, width))
    penalty[:-1, :-1] = alpha * np.eye(width - 1)
    hessian = np.zeros((outputs, width, outputs, width))
    for i in range(outputs):
        for j in range(outputs):
            second = p[:, i] * ((i == j) - p[:, j])
            hessian[i, :, j] = features.T @ (second[:, None] * features) + (i == j) * penalty
            if outputs > 1:  # softmax does not see a constant that all intercepts have in common: keep it as it is
                hessian[i, -1, j, -1] += (p * (1 - p)).sum()
    gradient, _ = gradient_and_size(features, own, found, alpha)
    size = outputs * width
    step = scipy.linalg.solve(hessian.reshape(size, size), -gradient.reshape(size), assume_a="pos").reshape(found.shape)
    # What the classes have in common is penalised only: nothing at the optimum, and rounding divided by alpha here.
    return step if outputs == 1 else step - step.mean(axis=0)


def _newton(features: Floats, own: Ints, n_classes: int, alpha: float) -> Floats:
    found = np.zeros((1 if n_classes == 2 else n_classes, features.shape[1]))
    strength = max(alpha, float((features**2).sum()))
    while True:
        last = strength <= alpha
        found = _converged(features, own, found, strength, 1e-12 if last else 1e-2)
        if last:
            return found
        strength = max(alpha, strength / 10)


def _converged(features: Floats, own: Ints, found: Floats, alpha: float, tolerance: float) -> Floats:
    last = np.inf
    for _ in range(100):
        step = newton_step(features, own, found, alpha)
        before = objective(features, own, found, alpha)
        while objective(features, own, found + step, alpha) > before + 1e-13 * abs(before):
            step = step / 2
        found = found + step
        moved = np.abs(features @ step.T).max() / max(1.0, np.abs(features @ found.T).max())
        if moved <= tolerance or (last / 2 < moved <= 1e-8):  # rounding, which weak penalties let grow
            return found
        last = moved
    raise AssertionError("the twin did not converge")


@dataclass(frozen=True, eq=False)
class Case:
    """Features (n, d), class numbers (n,), and held-out rows per fold."""

    x: NDArray
    codes: Ints
    n_classes: int
    held_out: list[Ints]

    def training(self, fold: int) -> Ints:
        """Rows that train a fold."""
        return np.setdiff1d(np.arange(len(self.x)), self.held_out[fold])

    @property
    def masks(self) -> NDArray[np.bool_]:
        """Training rows of all folds, shape (n, folds)."""
        return np.stack(
            [np.isin(np.arange(len(self.x)), rows, invert=True) for rows in self.held_out], axis=1
        )  # fmt: skip

    def probe(self, fold: int, alpha: float) -> Probe | None:
        """Refit a fold by the twin."""
        rows = self.training(fold)
        return refit(self.x[rows], self.codes[rows], self.n_classes, alpha)

    def probe_sklearn(self, fold: int, alpha: float) -> Probe | None:
        """Refit a fold by scikit-learn."""
        rows = self.training(fold)
        return refit_sklearn(self.x[rows], self.codes[rows], self.n_classes, alpha)


def draw(
    seed: int,
    n: int,
    d: int,
    classes: int,
    folds: int,
    *,
    noise: float = 1.0,
    scale: float = 1.0,
    offset: float = 0.0,
    share: float = 0.2,
    dtype: type = np.float64,
) -> Case:
    """Draw a case: linear scores of the classes and Gumbel noise, and folds of unequal sizes that overlap."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, d))
    codes = (x @ rng.standard_normal((d, classes)) + noise * rng.gumbel(size=(n, classes))).argmax(axis=1)
    x = scale * x + offset
    x = np.round(20 * x).clip(-128, 127).astype(dtype) if np.issubdtype(dtype, np.integer) else x.astype(dtype)
    held_out = [np.sort(rng.permutation(n)[: max(1, int(share * n) - k % 3)]) for k in range(folds)]
    return Case(x, codes, classes, held_out)


def distance(found: Floats, wanted: Floats, all_rows: Floats) -> float:
    """Largest difference of decision values, relative to the largest of the probe on all rows (at least 1).

    Classes that did not train must have minus infinity in both.
    """
    finite = np.isfinite(wanted)
    assert np.array_equal(found[~finite], wanted[~finite])
    largest = max(1.0, np.abs(all_rows[np.isfinite(all_rows)]).max())
    return float(np.abs(found[finite] - wanted[finite]).max() / largest)
