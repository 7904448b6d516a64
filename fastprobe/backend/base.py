"""The interface between probes and devices.

A probe asks its backend for arrays, linear algebra and the two products with row sets; everything elementwise goes
through ``backend.xp``, the array namespace of the device (NumPy here, CuPy on a GPU). Nothing in a probe names a
device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.rates import Rates

__all__ = ["Array", "Backend", "Design", "RowSets", "relative_error"]

Array = Any
"""An array of the backend's device (``numpy.ndarray`` on the CPU)."""


@dataclass(frozen=True, eq=False)
class Design:
    """Features of one sample group, kept as they were read; every operation centres them on the fly.

    Attributes
    ----------
    x : array of a real dtype, shape (n, d)
        C-contiguous.
    mean : array of float64, shape (d,)
        Column means of `x`.
    """

    x: Array
    mean: Array

    @property
    def shape(self) -> tuple[int, int]:
        """``(n, d)``."""
        return self.x.shape


@dataclass(frozen=True, eq=False)
class RowSets:
    """K sets of rows on a device, padded to the largest.

    Attributes
    ----------
    rows : array of int64, shape (K, m)
        Row numbers; 0 beyond the size of a set.
    mask : array of bool, shape (K, m)
        True where `rows` holds a member.
    sizes : ndarray of int64, shape (K,)
        On the host.
    start, set_of, slot_of : arrays of int64, shapes (n + 1,), (sum of sizes,), (sum of sizes,)
        The same by row: row i is in the sets ``set_of[start[i]:start[i + 1]]``, in those slots.
    """

    rows: Array
    mask: Array
    sizes: NDArray[np.int64]
    start: Array
    set_of: Array
    slot_of: Array

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def width(self) -> int:
        """Size m of the largest set."""
        return int(self.sizes.max())


class Backend(Protocol):
    """Operations on one device.

    Everything is float64 unless said otherwise; batches are leading axes. Vectors of features are *rows*, so that the
    coefficients of t tasks have the shape (t, d).
    """

    xp: Any
    """Array namespace for elementwise work, reductions and matmul."""
    device: str
    """``cpu`` or ``cuda:N``, with the name of the device."""
    lanes: int
    """Sample groups that are best worked on at the same time."""
    stack: int
    """Problems of one size that are best solved in lockstep, as a stack of matrices."""
    rates: Rates
    """How fast it does each kind of work, for the planner."""

    def session(self, *, apart: bool = False) -> AbstractContextManager[None]:
        """Set the device up for a run of work: on the CPU, one BLAS thread for each thread of the pool.

        If the memory of the device runs out, DeviceError. `apart` in a thread that is not the caller's, and works
        beside others: a GPU gives it a stream of its own.
        """

    def lane_pool(self) -> AbstractContextManager[Executor]:
        """Threads for the lanes. When the future of a piece of work is done, the device has done it too.

        Work in a lane must not wait for work that is still to be begun in one: see :mod:`fastprobe.backend.lanes`.
        """

    def in_flight(self, nbytes: int, d: int) -> int:
        """Submissions with features of `nbytes` in d dimensions that are best scored at the same time, 1 or more.

        As many as the memory is expected to hold; if it does not, the engine goes on with fewer.
        """

    def prefetch(self, x: NDArray[Any]) -> None:
        """Begin to bring features to the device, which :meth:`asarray` will be asked for; from any thread."""

    def memory(self) -> float:
        """Bytes that the routes may use, all lanes together, beside the features."""

    def asarray(self, a: Any) -> Array:
        """Bring an array to the device, without a copy if it is there."""

    def to_numpy(self, a: Array) -> NDArray[Any]:
        """Bring an array to the host."""

    def moments(self, x: Array, rows: NDArray[np.int64]) -> tuple[float, float]:
        """Mean and standard deviation (ddof 0) over all entries of the given rows, accumulated in float64."""

    def design(self, x: Array, rows: NDArray[np.int64]) -> Design:
        """Gather the rows of a sample group; a view if they are all of `x` in order."""

    def row_sets(self, sets: Sequence[NDArray[np.int64]], n: int) -> RowSets:
        """Index sets of rows of an (n, d) design."""

    def centered(self, design: Design) -> Array:
        """``Xc = x - mean``, shape (n, d), float64."""

    def gram(self, design: Design) -> Array:
        """``Xc' Xc``, shape (d, d)."""

    def weighted_gram(self, design: Design, weights: Array) -> Array:
        """``Xc' diag(weights[:, j]) Xc`` for every column j, shape (s, d, d) for weights of shape (n, s), none below 0.

        Only the lower triangles are meaningful.
        """

    def adjoint(self, design: Design, y: Array) -> Array:
        """``y' Xc``, shape (t, d) for y of shape (n, t)."""

    def forward(self, design: Design, w: Array) -> Array:
        """``Xc w'``, shape (n, t) for w of shape (t, d)."""

    def project(self, design: Design, basis: Array) -> Array:
        """``Xc basis`` for a basis of shape (d, r), shape (n, r)."""

    def whiten(self, design: Design, lower: Array) -> Array:
        """``Xc L'^-1``, shape (n, d): with ``L L' = Xc'Xc + alpha I`` its row products are the hat matrix of ridge."""

    def set_adjoint(self, design: Design, sets: RowSets, v: Array) -> Array:
        """``v[k]' Xc[S_k]`` for every set, shape (K, c, d) for v of shape (K, m, c); v is zero in padded slots."""

    def set_hat(self, design: Design, sets: RowSets, u: Array, v: Array, n: int) -> tuple[Array, Array]:
        """One step of the hat matrix of every set, with the features read once.

        Returns ``w[k] = v[k] - 11'v[k] / n - Xc[S_k] u[k]'`` (K, m, c), zero in padded slots, and ``w[k]' Xc[S_k]``
        (K, c, d), for u of shape (K, c, d) and v of shape (K, m, c): what :meth:`set_forward` and
        :meth:`set_adjoint` give one after the other.
        """

    def set_forward(self, design: Design, sets: RowSets, u: Array) -> Array:
        """``Xc[S_k] u[k]'`` for every set, shape (K, m, c) for u of shape (K, c, d); zero in padded slots."""

    def take_centered(self, design: Design, sets: RowSets, chunk: slice) -> Array:
        """Centred features ``Xc[S_k]`` of the sets of a chunk, shape (k, m, d); zero in padded slots."""

    def take(self, a: Array, sets: RowSets, chunk: slice) -> Array:
        """Rows ``a[S_k]`` of the sets of a chunk, shape (k, m, columns); zero in padded slots."""

    def for_chunks(self, work: Callable[[slice], None], count: int, bytes_each: int) -> None:
        """Cut `count` independent matrices into the batches that the device does at once, and work on each.

        `bytes_each` is what the work needs at its peak for each matrix of a batch, its temporaries included. Work on a
        batch may be begun again from the start, with fewer matrices, if the device runs out of memory: it only writes
        what belongs to its batch.
        """

    def cholesky(self, a: Array) -> tuple[Array, Array]:
        """Lower factors of symmetric matrices (..., d, d), and a mask (...) of those that succeeded.

        Overwrites `a` where that saves a copy; only the lower triangle is read and only that of the result is
        meaningful. A float32 matrix is factorised in float32; the mask of that is not to be relied on alone.
        """

    def inverse_root(self, a: Array) -> tuple[Array, Array]:
        """Inverses of the lower factors of small symmetric matrices (..., b, b), and a mask (...) of those that exist.

        ``L^-1`` with ``L L' = a``, zero above the diagonal. Overwrites `a` where that saves a copy; only the lower
        triangle is read. What is given for a matrix that is not positive definite is finite, and means nothing.
        """

    def block_press(
        self, features: Array, scale: Array | None, sets: RowSets, chunk: slice, residuals: Array
    ) -> tuple[Array, Array, Array]:
        """Solve ``(I - H_SS) v = e_S`` by Cholesky factorisation for every set S of a chunk, and check it.

        ``H = 1/n 11' + F diag(scale) F'`` for features F of shape (n, r), a scale of shape (r,) or None for ones, and
        residuals e of shape (n, t). Returns v of shape (k, m, t), zero in padded slots; a mask (k,) of the sets whose
        matrix was positive definite; and the relative residual of the solve (k,), the largest over the t columns.
        """

    def solve_triangular(self, lower: Array, rows: Array, *, transpose: bool = False) -> Array:
        """Solve ``L z = b``, or ``L' z = b``, for every row b of `rows`, which stays as it is.

        Factors (..., d, d), of which the lower triangles are read; rows (..., c, d), same leading axes.
        """

    def cho_solve(self, lower: Array, b: Array) -> Array:
        """Solve ``L L' z = b`` for every row of `b`: factors (..., d, d), rows (..., c, d), same leading axes."""

    def cho_inverse(self, lower: Array) -> Array:
        """``(L L')^-1`` of one factor, which it overwrites where that saves a copy."""

    def eigh(self, a: Array) -> tuple[Array, Array]:
        """Eigenvalues (ascending) and eigenvectors of one symmetric matrix, of which the lower triangle is read.

        Eigenvectors are the columns of a (d, d) array. LinAlgError if the computation does not converge.
        """

    def update_gram(self, total: Array, rows: Array, sign: float) -> None:
        """``total[k] += sign rows[k]' rows[k]`` in place, for contiguous total of shape (k, d, d), rows (k, m, d).

        Only the lower triangles are meaningful. Rows of zeros, such as padded slots, change nothing.
        """

    def symmetric_product(self, lower: Array, rows: Array) -> Array:
        """``rows[k] S[k]``, shape (k, c, d), for symmetric S (k, d, d), of which the lower triangles are read."""

    def prefix_scan(self, features: Array, z: Array, mean: Array, y: Array, sizes: NDArray[np.int64]) -> Array:
        """Squared errors (k, t, d) of ``mean + sum(features[:, :, j] z[:, j], j < s)`` for s = 1 to d.

        For features (k, m, d), z (k, d, t), mean (k, t) and labels y (k, m, t), of which each of the k folds has
        ``sizes[k]`` rows, and anything in the slots beyond; see :func:`fastprobe.kernels.reference.prefix_scan`.
        """

    def prefix_confusion(self, features: Array, z: Array, mean: Array, y: Array, sizes: NDArray[np.int64]) -> Array:
        """True positives, false positives and false negatives of the same predictions, (k, t, 3, d) of int32.

        A prediction is positive above 0, and so is a label; see
        :func:`fastprobe.kernels.reference.prefix_confusion`.
        """

    def logistic_step(
        self, eta: Array, y: Array, training: Array, task: Array, fold: Array
    ) -> tuple[Array, Array, Array]:
        """Residuals (n, C), curvature weights (n, C) and losses (C,) of logistic probes, all columns at once.

        For linear predictors eta of shape (n, C), labels y (n, t) of 0 and 1, training rows (n, F) of bool, and the
        task and fold (C,) of int64 of every column; see :func:`fastprobe.kernels.reference.logistic_step`.
        """

    def softmax_step(self, eta: Array, codes: Array, training: Array, fold: Array) -> tuple[Array, Array, Array]:
        """Residuals and shares (n, B, M, C) and losses (B, C) of multinomial logistic probes, all columns at once.

        For linear predictors eta of shape (n, B, M, C), the class numbers (n,) of int64 of the rows, training rows
        (n, F) of bool, and the fold (C,) of int64 of every column; see
        :func:`fastprobe.kernels.reference.softmax_step`.
        """

    def curvature_product(self, features: Array, weights: Array, shares: Array | None, v: Array) -> Array:
        """``T' (E u)`` for u = T v and a stack of A problems; with shares, ``T' (E u + p sum(p u))``.

        Float32 throughout: features T of shape (A, n, r), which the M outputs of a problem have in common, weights E
        (A, n, M, K), shares p (A, n, M, K) or None, and v (A, r, M, K); result (A, r, M, K). The sum is over the M
        outputs, which the shares couple: with E = -p it is the product with the Hessian ``diag(p) - p p'`` of a
        softmax, its sign turned. What is below 1e-32 before the last product may count as 0.
        """

    def train_linear(
        self,
        x: Array,
        rows: NDArray[np.int64],
        y: NDArray[np.float32],
        order: NDArray[np.int32],
        initial: NDArray[np.float32],
        *,
        batch_size: int,
        learning_rate: float,
        logistic: bool,
        keep_fitted: bool = False,
    ) -> tuple[Array, Array | None]:
        """Train K linear probes by AdamW in float32; see :func:`fastprobe.kernels.reference.train_linear`.

        For x of shape (n, d) and float32, rows and y of shape (s,), order of shape (K, E, m) and initial weights of
        shape (K, d + 1): the weights after every epoch, (K, E, d + 1); and the output of every sample at the time of
        its step, (K, E, m), if they are to be kept. The result of a probe does not depend on what is done beside it.
        """

    def predict_linear(self, x: Array, rows: NDArray[np.int64], weights: Array) -> Array:
        """Outputs ``x[rows[k]] w + bias`` of every weight vector, (K, E, m), for rows (K, m), weights (K, E, d + 1)."""


def relative_error(xp: Any, rest: Array, target: Array) -> Array:
    """``|rest| / |target|`` per set, the largest over tasks, for arrays of shape (k, m, t); 0 where both vanish."""
    size = xp.sqrt((rest * rest).sum(axis=1))
    scale = xp.sqrt((target * target).sum(axis=1))
    return xp.where(size == 0, 0.0, size / xp.where(scale > 0, scale, xp.finfo(xp.float64).tiny)).max(axis=1)
