"""Test problems as data, and the slow, obvious answers that the fast paths are held to.

Every problem says how ill-conditioned it is, and tolerances are derived from that, not chosen to pass: a float64 solve
of a system with condition number c has a relative error of about ``c * eps``, eps = 2.2e-16, times a small factor for
sums over rows. Held-out scores are quadratic in the residuals, which adds no more than a factor of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

Floats = NDArray[np.float64]
EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Problem:
    """A ridge problem: features (n, d), labels (n, t), held-out rows per fold."""

    name: str
    x: NDArray
    y: Floats
    held_out: list[NDArray[np.int64]]
    alpha: float

    @property
    def centered(self) -> Floats:
        """Features about their means."""
        return self.x.astype(np.float64) - self.x.mean(axis=0, dtype=np.float64)

    @property
    def tolerance(self) -> float:
        """Bound on the error of a held-out residual relative to the labels: condition number times rounding."""
        return 100 * EPS * (1 + np.linalg.norm(self.centered, 2) ** 2 / self.alpha)

    @property
    def amplification(self) -> float:
        """Largest 1 / eigenvalue of ``I - H_SS``: by how much a residual of that system may be less than its error."""
        inner = np.linalg.solve(self.centered.T @ self.centered + self.alpha * np.eye(self.x.shape[1]), self.centered.T)
        rest = np.eye(len(self.x)) - 1 / len(self.x) - self.centered @ inner
        return max(1 / np.linalg.eigvalsh(rest[np.ix_(s, s)])[0] for s in self.held_out)

    def tolerance_of(self, route: str) -> float:
        """Bound for a route.

        Those that iterate stop at a relative residual of 1e-11 per column: of sqrt(m) rows for ``iterate``; of whitened
        normal equations for ``mixed``, whose right-hand side is no longer than the labels of all rows.
        """
        if route not in ("iterate", "mixed"):
            return self.tolerance
        rows = len(self.x) if route == "mixed" else max(map(len, self.held_out))
        return self.tolerance + 1e-11 * np.sqrt(rows) * self.amplification


def make(name: str, n: int, d: int, t: int, *, alpha: float, folds: int = 5, share: float = 0.1, **kind) -> Problem:
    """Draw a problem; `kind` may ask for a rank, an offset, a decay of scales, a dtype."""
    rng = np.random.default_rng(abs(hash((n, d, t))) % 2**32)
    rank = kind.get("rank", d)
    x = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) / np.sqrt(rank)
    x *= (1.0 + np.arange(d)) ** -kind.get("decay", 0.0)
    x += kind.get("offset", 0.0)
    y = np.tanh(x @ rng.standard_normal((d, t))) + 0.5 * rng.standard_normal((n, t))
    dtype = kind.get("dtype", np.float64)
    x = np.round(20 * x).clip(-128, 127).astype(dtype) if np.issubdtype(dtype, np.integer) else x.astype(dtype)
    held_out = [np.sort(rng.permutation(n)[: max(1, int(share * n) - k % 3)]) for k in range(folds)]
    return Problem(name, x, y, held_out, alpha)


PROBLEMS = [
    make("tall", 400, 30, 2, alpha=1.0),
    make("one-task", 300, 20, 1, alpha=10.0),
    make("many-tasks", 300, 20, 9, alpha=10.0),
    make("square", 120, 110, 2, alpha=1.0),
    make("wide", 60, 150, 2, alpha=1.0),
    make("rank-deficient", 200, 60, 2, alpha=0.1, rank=20),
    make("offset", 300, 25, 2, alpha=1.0, offset=50.0),
    make("decaying", 300, 40, 1, alpha=0.01, decay=2.0),
    make("float32", 300, 40, 2, alpha=1.0, dtype=np.float32),
    make("float16", 300, 40, 2, alpha=1.0, dtype=np.float16),
    make("int8", 300, 40, 2, alpha=100.0, dtype=np.int8),
    make("large-folds", 200, 30, 2, alpha=1.0, share=0.5),
    make("one-feature", 100, 1, 1, alpha=1.0),
]


def refit_scipy(x: NDArray, y: Floats, held_out: NDArray[np.int64], alpha: float) -> Floats:
    """Held-out residuals of a refit: least squares on rows of features below which sqrt(alpha) I is stacked."""
    train = np.setdiff1d(np.arange(len(x)), held_out)
    x = x.astype(np.float64)
    x_mean, y_mean = x[train].mean(axis=0), y[train].mean(axis=0)
    stacked = np.vstack([x[train] - x_mean, np.sqrt(alpha) * np.eye(x.shape[1])])
    target = np.vstack([y[train] - y_mean, np.zeros((x.shape[1], y.shape[1]))])
    weights = scipy.linalg.lstsq(stacked, target, lapack_driver="gelsy")[0]
    return y[held_out] - (x[held_out] - x_mean) @ weights - y_mean


def refit_sklearn(x: NDArray, y: Floats, held_out: NDArray[np.int64], alpha: float) -> Floats:
    """Held-out residuals of a refit by scikit-learn."""
    from sklearn.linear_model import Ridge

    train = np.setdiff1d(np.arange(len(x)), held_out)
    x = x.astype(np.float64)
    model = Ridge(alpha=alpha, solver="svd").fit(x[train], y[train])
    return y[held_out] - model.predict(x[held_out]).reshape(len(held_out), -1)
