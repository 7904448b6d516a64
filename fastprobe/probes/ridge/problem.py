"""One ridge problem: the features and labels of a sample group, and what its folds share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from fastprobe.backend.base import Array, Backend, Design

__all__ = ["HeldOut", "RidgeProblem", "Spectrum"]


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Features in which the hat matrix is diagonal for every strength: ``H = 1/n 11' + F diag(1 / (w + alpha)) F'``.

    Attributes
    ----------
    features : array, shape (n, r)
        ``F = Xc Q`` of the eigendecomposition ``Xc'Xc = Q diag(w) Q'``.
    values : array, shape (r,)
        Eigenvalues w, not negative.
    """

    features: Array
    values: Array


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out residuals ``y - prediction`` of models that never saw the rows of their set.

    Attributes
    ----------
    residuals : array, shape (K, m, A, t)
        Set, slot, strength, task; zero in padded slots.
    error : array, shape (K, A)
        Relative float64 residual of the solve, the largest over tasks; NaN where a factorisation failed.
    iterations : int
        Iterations of an iterative route; 0 for a direct one.
    """

    residuals: Array
    error: Array
    iterations: int = 0


class RidgeProblem:
    """Ridge regression on centred features, with what every set of left-out rows can share.

    Parameters
    ----------
    backend : Backend
    design : Design
        Raw features, shape (n, d). Strengths refer to these: divide the features by s and a strength alpha becomes
        ``alpha s^2`` here.
    y : array, shape (n, t)
        Labels of t tasks.
    gram_source : callable, optional
        Returns the lower triangle of ``Xc'Xc``, shape (d, d), where that can be had for less than the product; called
        when it is needed.
    """

    def __init__(
        self, backend: Backend, design: Design, y: Array, gram_source: Callable[[], Array] | None = None
    ) -> None:
        self.backend = backend
        self.design = design
        self.labels = y
        self.y = y - y.mean(axis=0)
        self._gram_source = gram_source or (lambda: backend.gram(design))
        self._factors: dict[float, tuple[Array, bool]] = {}

    @property
    def n(self) -> int:
        """Samples."""
        return self.design.shape[0]

    @property
    def d(self) -> int:
        """Features."""
        return self.design.shape[1]

    @property
    def t(self) -> int:
        """Tasks."""
        return self.y.shape[1]

    @cached_property
    def gram(self) -> Array:
        """``Xc'Xc``, shape (d, d), lower triangle."""
        return self._gram_source()

    @property
    def has_gram(self) -> bool:
        """Whether the Gram matrix was needed so far."""
        return "gram" in self.__dict__

    @cached_property
    def cross(self) -> Array:
        """``y'Xc``, shape (t, d)."""
        return self.backend.adjoint(self.design, self.y)

    def factor(self, alpha: float) -> tuple[Array, bool]:
        """Return the lower Cholesky factor of ``Xc'Xc + alpha I`` and whether it could be computed."""
        if alpha not in self._factors:
            penalised = self.gram.copy()
            diagonal = self.backend.xp.arange(self.d)
            penalised[diagonal, diagonal] += alpha
            lower, ok = self.backend.cholesky(penalised)
            self._factors[alpha] = lower, bool(ok)
        return self._factors[alpha]

    def residuals(self, alpha: float) -> Array:
        """Residuals of the fit on all rows, shape (n, t), by the Cholesky factor."""
        coefficients = self.backend.cho_solve(self.factor(alpha)[0], self.cross)
        return self.y - self.backend.forward(self.design, coefficients)

    @cached_property
    def spectrum(self) -> Spectrum:
        """Eigenvalues of the Gram matrix, and the features in the basis of its eigenvectors."""
        values, basis = self.backend.eigh(self.gram)
        return Spectrum(self.backend.project(self.design, basis), self.backend.xp.maximum(values, 0.0))

    @cached_property
    def kernel_scale(self) -> float:
        """Mean eigenvalue of the kernel matrix, ``tr(Xc Xc') / n``; 1 if all features are constant."""
        return float(self.backend.xp.trace(self.kernel)) / self.n or 1.0

    @cached_property
    def kernel(self) -> Array:
        """``Xc Xc'``, shape (n, n)."""
        centered = self.backend.centered(self.design)
        return self.backend.xp.matmul(centered, centered.T)
