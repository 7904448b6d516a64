"""What a sweep scores: the features of a submission, or of several joined, in one bit width."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend import Backend
from fastprobe.embeddings import Submission
from fastprobe.quantization import quantize
from fastprobe.sweeps.spec import Order, Width

__all__ = ["Matrix", "as_read", "in_width", "joined", "named", "principal"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_BLOCK = 2048  # rows whose float64 copies are in memory at once


@dataclass(frozen=True, eq=False)
class Matrix:
    """Features as they are stored, and what makes numbers of them.

    Attributes
    ----------
    name : str
        Of the submission, or of the joined ones with ``+`` between them.
    x : ndarray, shape (N, d)
        Stored numbers: values as they were read, or codes.
    offset, step : ndarray of float64, shape (d,)
        A value is ``offset + step * x``.
    item_bits : ndarray of int64, shape (d,)
        Bits of a stored number of every dimension.
    quantizer : str
    labelled : ndarray of int64
        Rows with a label in any task: they standardise.
    variance : float or None
        Square of the scale that standardises the values, for every size that of the whole embedding; None if the
        protocol does not standardise.
    digest_source : callable
        Returns :attr:`digest`, when it is computed.
    turned : bool
        Whether these are principal components of the embedding; then the scale is that of the embedding.
    """

    name: str
    x: NDArray[Any]
    offset: Floats
    step: Floats
    item_bits: Ints
    quantizer: str
    labelled: Ints
    variance: float | None
    digest_source: Callable[[], str]
    turned: bool = False

    @property
    def digest(self) -> str:
        """Hash of the submissions that it was made of."""
        return self.digest_source()

    @property
    def d(self) -> int:
        """Dimensions."""
        return len(self.item_bits)

    @property
    def bits(self) -> int | None:
        """Bits of a stored number; None if dimensions differ in them."""
        first = int(self.item_bits[0])
        return first if (self.item_bits == first).all() else None

    def column_moments(self, rows: Ints | None = None) -> tuple[Floats, Floats]:
        """Mean and variance (ddof 0) of the values of every dimension, over some rows or all; each of shape (d,)."""
        count = len(self.x) if rows is None else len(rows)

        def blocks() -> Any:
            for start in range(0, count, _BLOCK):
                part = slice(start, start + _BLOCK)
                yield self.x[part] if rows is None else self.x[rows[part]]

        mean = sum((block.sum(axis=0, dtype=np.float64) for block in blocks()), np.zeros(self.d)) / count
        squares = np.zeros(self.d)
        for block in blocks():
            centered = block - mean
            squares += np.einsum("ij,ij->j", centered, centered)
        return self.offset + self.step * mean, self.step**2 * squares / count

    def only(self, columns: Ints, name: str, digest_source: Callable[[], str]) -> Matrix:
        """Give the matrix of some of the dimensions; its features stay where they are, in those of all."""
        kept = {field: getattr(self, field)[columns] for field in ("offset", "step", "item_bits")}
        return replace(self, name=name, digest_source=digest_source, **kept)

    @property
    def scale(self) -> Floats | None:
        """Factors of the dimensions; None if they are all the same."""
        return None if (self.step == self.step[0]).all() else self.step

    @property
    def strength(self) -> float:
        """Factor that makes of a strength for standardised values one for ``x`` times :attr:`scale`."""
        variance = 1.0 if self.variance is None else self.variance
        if self.scale is not None:
            return variance
        unit = float(self.step[0]) or 1.0  # codes of a constant embedding are all 0, whatever the step
        return variance / unit**2

    def bytes_per_sample(self, order: Ints | None, sizes: Ints) -> Ints:
        """Bytes of the leading dimensions, rounded up."""
        bits = self.item_bits if order is None else self.item_bits[order]
        return -(-np.cumsum(bits)[sizes - 1] // 8)

    def permutation(self, order: Order, variances: Floats) -> Ints | None:
        """Dimensions in an order; None for the order that they have.

        Parameters
        ----------
        order : Order
        variances : ndarray, shape (d,)
            Of the values as they were read. The largest comes first, the first of equals.
        """
        if order.name == "variance":
            return np.argsort(-variances, kind="stable")
        if order.name == "random":
            return np.random.default_rng(order.seed).permutation(self.d)
        return None


def as_read(
    submission: Submission, labelled: Ints, backend: Backend, digest_source: Callable[[], str], *, standardize: bool
) -> Matrix:
    """Give the features of a submission as they were read; `digest_source` returns its hash when that is computed."""
    x, d = submission.x, submission.x.shape[1]
    bits = np.full(d, 8 * x.dtype.itemsize)
    variance = _variance(backend, x, labelled) if standardize else None
    return Matrix(submission.name, x, np.zeros(d), np.ones(d), bits, "none", labelled, variance, digest_source)


def in_width(matrix: Matrix, width: Width, backend: Backend) -> Matrix:
    """Store the numbers of an embedding in a bit width; it is standardised by what is stored.

    Parameters
    ----------
    matrix : Matrix
        An embedding as it was read, or its principal components; those keep their scale.
    width : Width
    backend : Backend
    """
    if width.bits is None:
        return matrix
    quantized = quantize(matrix.x, width.bits, width.quantizer if width.quantizer != "none" else "uniform")
    d = matrix.d
    stored = replace(
        matrix,
        x=quantized.codes,
        offset=np.broadcast_to(np.asarray(quantized.offset, dtype=np.float64), (d,)),
        step=np.broadcast_to(np.asarray(quantized.step, dtype=np.float64), (d,)),
        item_bits=np.full(d, width.bits),
        quantizer=width.quantizer,
    )
    if matrix.variance is None or matrix.turned:
        return stored
    if stored.scale is None and (stored.offset == stored.offset[0]).all():
        variance = _variance(backend, stored.x, stored.labelled) * float(stored.step[0]) ** 2
        return replace(stored, variance=variance or 1.0)
    mean, spread = stored.column_moments(stored.labelled)
    return replace(stored, variance=float(spread.mean() + ((mean - mean.mean()) ** 2).mean()) or 1.0)


def _variance(backend: Backend, x: NDArray[Any], rows: Ints) -> float:
    """Square of what standardises; 1 for a constant embedding."""
    return backend.moments(backend.asarray(x), rows)[1] ** 2 or 1.0


def joined(matrices: Sequence[Matrix], rows: Sequence[Ints]) -> Matrix:
    """Join embeddings dimension by dimension, each divided by its own standard deviation if the protocol divides.

    Parameters
    ----------
    matrices : sequence of Matrix
        In one width.
    rows : sequence of ndarray of int64
        Of each, the rows of the samples that all have, in one order; they all have a label.
    """
    dtype = np.result_type(*(m.x.dtype for m in matrices))
    x = np.concatenate([m.x[r].astype(dtype, copy=False) for m, r in zip(matrices, rows, strict=True)], axis=1)
    each = [1.0 if m.variance is None else m.variance**0.5 for m in matrices]
    name, digest_source = named(matrices)
    quantizers = sorted({m.quantizer for m in matrices})
    return Matrix(
        name,
        x,
        np.concatenate([m.offset / s for m, s in zip(matrices, each, strict=True)]),
        np.concatenate([m.step / s for m, s in zip(matrices, each, strict=True)]),
        np.concatenate([m.item_bits for m in matrices]),
        "+".join(quantizers),
        np.arange(len(x)),
        None,
        digest_source,
    )


def named(matrices: Sequence[Matrix]) -> tuple[str, Callable[[], str]]:
    """Name of joined embeddings, and what returns their hash."""

    def digest() -> str:
        return hashlib.blake2b(" ".join(m.digest for m in matrices).encode(), digest_size=16).hexdigest()

    return "+".join(m.name for m in matrices), digest


def principal(matrix: Matrix, backend: Backend) -> Matrix:
    """Principal components of all rows of an embedding, largest first, in float64: no label is looked at.

    Their strengths are for the scale of the embedding itself, which a rotation about the mean does not change. Of every
    eigenvector the largest entry is positive: a quantiser's range is not the same for a component and its negative.
    """
    xp = backend.xp
    design = backend.design(backend.asarray(matrix.x), np.arange(len(matrix.x)))
    scale = backend.asarray(matrix.step)
    gram = backend.gram(design) * (scale[:, None] * scale)
    _, vectors = backend.eigh(gram)
    basis = xp.ascontiguousarray(vectors[:, ::-1])
    largest = basis[xp.abs(basis).argmax(axis=0), xp.arange(matrix.d)]
    turned = backend.project(design, scale[:, None] * xp.where(largest < 0, -basis, basis))
    x = np.ascontiguousarray(backend.to_numpy(turned))
    d = matrix.d
    return replace(matrix, x=x, offset=np.zeros(d), step=np.ones(d), turned=True)
