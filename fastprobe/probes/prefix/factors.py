"""From the moments of training rows to features whose running sums predict: by Cholesky, eigenvectors, QR or SVD."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from fastprobe.backend.base import Array, Backend, relative_error
from fastprobe.probes.prefix.problem import Moments

__all__ = ["Factored", "by_cholesky", "by_components", "by_qr", "by_singular_values"]


@dataclass(frozen=True, eq=False)
class Factored:
    """Predicted rows and labels in a basis in which every number of leading features is a running sum.

    Attributes
    ----------
    features : array, shape (k, m, d)
        Of the rows to predict.
    z : array, shape (k, d, t)
        The prediction of a row by s features is ``y_mean + sum(features[j] z[j], j < s)``.
    error : array, shape (k,)
        Relative float64 residual of the fit on all features, the largest over label columns; NaN where the
        factorisation failed.
    """

    features: Array
    z: Array
    error: Array


Factorise = Callable[[Backend, Moments, Array, Sequence[float]], Iterator[Factored]]
"""Gives the factored rows (k, m, d) for every strength, in order."""


def by_cholesky(backend: Backend, moments: Moments, rows: Array, alphas: Sequence[float]) -> Iterator[Factored]:
    """Leading features: ``L^-1 x`` of the Cholesky factor of ``G + alpha I``."""
    xp, m, d = backend.xp, rows.shape[1], rows.shape[2]
    diagonal, both = xp.arange(d), xp.concatenate([rows, moments.cross], axis=1)
    for alpha in alphas:
        penalised = moments.gram.copy()
        penalised[:, diagonal, diagonal] += alpha
        lower, ok = backend.cholesky(penalised)
        white = backend.solve_triangular(lower, both)
        weights = backend.solve_triangular(lower, white[:, m:], transpose=True)
        error = xp.where(ok, _residual(backend, moments, weights, alpha), xp.nan)
        yield Factored(white[:, :m], xp.ascontiguousarray(white[:, m:].swapaxes(1, 2)), error)


def by_components(backend: Backend, moments: Moments, rows: Array, alphas: Sequence[float]) -> Iterator[Factored]:
    """Leading principal components of the training rows: ``x Q`` of the eigenvectors of G, largest first."""
    xp = backend.xp
    pairs = [backend.eigh(gram) for gram in moments.gram]
    values = xp.maximum(xp.stack([v[::-1] for v, _ in pairs]), 0.0)
    basis = xp.ascontiguousarray(xp.stack([q[:, ::-1] for _, q in pairs]))
    yield from _in_basis(backend, moments, rows, alphas, values, basis)


def by_qr(
    backend: Backend, moments: Moments, rows: Array, alphas: Sequence[float], training: Array
) -> Iterator[Factored]:
    """Do what :func:`by_cholesky` does without a Gram matrix, whose rounding is that of the squared condition number.

    ``R'R = G + alpha I`` of the QR decomposition of the training rows on top of ``sqrt(alpha) I``, for one fit.
    """
    xp, m, d = backend.xp, rows.shape[1], rows.shape[2]
    both = xp.concatenate([rows, moments.cross], axis=1)
    for alpha in alphas:
        upper = xp.linalg.qr(xp.concatenate([training[0], xp.sqrt(alpha) * xp.eye(d)]), mode="r")
        lower = xp.ascontiguousarray(upper.T)[None]
        white = backend.solve_triangular(lower, both)
        weights = backend.solve_triangular(lower, white[:, m:], transpose=True)
        error = _residual_of_rows(backend, training, moments, weights, alpha)
        yield Factored(white[:, :m], xp.ascontiguousarray(white[:, m:].swapaxes(1, 2)), error)


def by_singular_values(
    backend: Backend, moments: Moments, rows: Array, alphas: Sequence[float], training: Array
) -> Iterator[Factored]:
    """Do what :func:`by_components` does without a Gram matrix, for one fit."""
    xp, d = backend.xp, rows.shape[2]
    _, roots, basis = xp.linalg.svd(training[0], full_matrices=len(training[0]) < d)
    values = xp.zeros(d)
    values[: len(roots)] = roots * roots
    yield from _in_basis(backend, moments, rows, alphas, values[None], xp.ascontiguousarray(basis.T)[None])


def _in_basis(
    backend: Backend, moments: Moments, rows: Array, alphas: Sequence[float], values: Array, basis: Array
) -> Iterator[Factored]:
    xp = backend.xp
    features, cross = xp.matmul(rows, basis), xp.matmul(moments.cross, basis)
    for alpha in alphas:
        z = cross / (values + alpha)[:, None]
        error = _residual(backend, moments, xp.matmul(z, basis.swapaxes(1, 2)), alpha)
        yield Factored(features, xp.ascontiguousarray(z.swapaxes(1, 2)), error)


def _residual(backend: Backend, moments: Moments, weights: Array, alpha: float) -> Array:
    rest = backend.symmetric_product(moments.gram, weights) + alpha * weights - moments.cross
    return relative_error(backend.xp, rest.swapaxes(1, 2), moments.cross.swapaxes(1, 2))


def _residual_of_rows(backend: Backend, training: Array, moments: Moments, weights: Array, alpha: float) -> Array:
    """As :func:`_residual`, by products with the training rows."""
    xp = backend.xp
    rest = xp.matmul(xp.matmul(weights, training.swapaxes(1, 2)), training) + alpha * weights - moments.cross
    return relative_error(xp, rest.swapaxes(1, 2), moments.cross.swapaxes(1, 2))
