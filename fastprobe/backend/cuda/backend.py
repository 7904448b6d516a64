"""The operations of a GPU.

Most are those of :class:`~fastprobe.backend.array.ArrayBackend`, by CuPy; what is here goes to cuBLAS and cuSOLVER, or
to kernels of ours. Everything is float64, but for the replay of NeuCo-Bench, which is float32 by definition, and what
the route *mixed* and the logistic probes ask for in float32, which goes to CuPy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.base import Array, Design, RowSets, relative_error
from fastprobe.backend.cuda.dense import Dense, Libraries
from fastprobe.backend.cuda.spread import collect, pays, spread
from fastprobe.backend.rates import CONSUMER, H100
from fastprobe.kernels import gpu as kernels
from fastprobe.kernels.gpu import Launch

__all__ = ["CudaBackend", "Device"]

_MOST = 8  # submissions at the same time: more find no idle lane


class Device(Protocol):
    """What the operations need to know of a GPU; :class:`fastprobe.backend.cuda.gpu.Gpu` is one."""

    name: str
    limit: int
    """Bytes that arrays may take up."""
    shared_bytes: int
    """Most shared memory of a block."""
    fast_float64: bool
    """Whether the chip computes in float64 at half the speed of float32 or more."""

    def session(self) -> AbstractContextManager[None]:
        """Make the device and its memory current in the calling thread."""

    def apart(self) -> AbstractContextManager[None]:
        """Do that in a thread that works on a stream of its own; what was begun in it is finished at the end."""

    def lane_pool(self) -> AbstractContextManager[Executor]:
        """Lend threads that have a stream each; what was begun in them is finished when they are given back."""

    def holds(self, a: Any) -> bool:
        """Whether an array is one of the device."""

    def take_over(self, a: Array) -> Array:
        """Use an array of the device, when it is computed."""

    def upload(self, a: Any) -> Array:
        """Copy an array of the host to the device."""

    def download(self, a: Array) -> NDArray[Any]:
        """Copy an array to the host, when it is computed."""

    def prefetch(self, a: NDArray[Any]) -> None:
        """Begin to copy an array that :meth:`upload` will be asked for."""

    def keep(self, a: NDArray[Any]) -> Array:
        """Copy an array of the host that never changes, once for as long as it lives."""


class CudaBackend(ArrayBackend):
    """Operations on a GPU; see :class:`fastprobe.backend.base.Backend`.

    Parameters
    ----------
    xp : namespace
        CuPy.
    gpu : Device
    libraries : Libraries
    launch : Launch
    lanes : int
        Threads that work at the same time.
    """

    precision = "float64"

    def __init__(self, xp: Any, gpu: Device, libraries: Libraries, launch: Launch, *, lanes: int) -> None:
        super().__init__(xp, device=gpu.name, budget=gpu.limit, lanes=lanes)
        self._gpu, self._launch, self._dense = gpu, launch, Dense(xp, libraries)
        self.rates = H100 if gpu.fast_float64 else CONSUMER
        self._max_press = kernels.max_block_press(gpu.shared_bytes)

    @contextmanager
    def session(self, *, apart: bool = False) -> Iterator[None]:
        with super().session(), self._gpu.apart() if apart else self._gpu.session():
            yield

    def in_flight(self, nbytes: int, d: int) -> int:
        # Half of the budget is for batches, a quarter for what the routes keep while they work in a lane, and one for
        # what submissions keep: features, their groups' copies of rows, and the Gram matrices of groups that are put
        # together to larger ones (E2S has six). The submission that is copied ahead of its turn comes on top.
        room = self.budget // 4 - nbytes
        return max(1, min(_MOST, room // (2 * nbytes + 8 * 8 * d * d)))

    def lane_pool(self) -> AbstractContextManager[Executor]:
        return self._gpu.lane_pool()

    def prefetch(self, x: NDArray[Any]) -> None:
        self._gpu.prefetch(x)

    def asarray(self, a: Any) -> Array:
        return self._gpu.take_over(a) if self._gpu.holds(a) else self._gpu.upload(a)

    def to_numpy(self, a: Array) -> NDArray[Any]:
        return self._gpu.download(a) if self._gpu.holds(a) else np.asarray(a)

    def centered(self, design: Design) -> Array:
        return self._by_rows(design, lambda part: self._centered(design, part), design.shape[1])

    def gram(self, design: Design) -> Array:
        n, d = design.shape
        total = self.xp.zeros((d, d))  # of which only the lower triangle is written
        self.for_chunks(lambda part: self._dense.add_gram(self._centered(design, part), total), n, 8 * d)
        return total

    def weighted_gram(self, design: Design, weights: Array) -> Array:
        (n, d), columns = design.shape, weights.shape[1]
        total = self.xp.zeros((columns, d, d))  # of which only the lower triangles are written

        def work(part: slice) -> None:
            roots = self.xp.sqrt(self.xp.ascontiguousarray(weights[part].T))
            rows = roots[:, :, None] * self._centered(design, part)
            for weighted, gram in zip(rows, total, strict=True):
                self._dense.add_gram(weighted, gram)

        self.for_chunks(work, n, 8 * d * (columns + 1))
        return total

    def adjoint(self, design: Design, y: Array) -> Array:
        n, d = design.shape
        total = self.xp.zeros((y.shape[1], d))

        def work(part: slice) -> None:
            nonlocal total
            total += self.xp.matmul(y[part].T, self._centered(design, part))

        self.for_chunks(work, n, 8 * d)
        return total

    def project(self, design: Design, basis: Array) -> Array:
        def work(part: slice) -> Array:
            return self.xp.matmul(self._centered(design, part), basis)

        return self._by_rows(design, work, basis.shape[1])

    def whiten(self, design: Design, lower: Array) -> Array:
        def work(part: slice) -> Array:
            rows = self._centered(design, part)
            self._dense.solve_lower(lower, rows)
            return rows

        return self._by_rows(design, work, design.shape[1])

    def set_adjoint(self, design: Design, sets: RowSets, v: Array) -> Array:
        if not pays(sets, len(design.x), v.shape[2]):
            return super().set_adjoint(design, sets, v)
        w = spread(self.xp, sets, v, len(design.x))
        return self.adjoint(design, w.reshape(len(w), -1)).reshape(len(sets), v.shape[2], -1)

    def set_forward(self, design: Design, sets: RowSets, u: Array) -> Array:
        if not pays(sets, len(design.x), u.shape[1]):
            return super().set_forward(design, sets, u)
        w = self.forward(design, u.reshape(-1, design.shape[1]))
        return collect(self.xp, sets, w.reshape(len(w), len(sets), -1))

    def set_hat(self, design: Design, sets: RowSets, u: Array, v: Array, n: int) -> tuple[Array, Array]:
        if not pays(sets, len(design.x), u.shape[1]):
            return super().set_hat(design, sets, u, v, n)
        xp, flat = self.xp, u.reshape(-1, design.shape[1])
        members = spread(xp, sets, sets.mask[:, :, None] * 1.0, len(design.x))
        base = spread(xp, sets, (v - v.sum(axis=1, keepdims=True) / n) * sets.mask[:, :, None], len(design.x))
        applied, total = xp.empty_like(base), xp.zeros(flat.shape)

        def work(part: slice) -> None:
            nonlocal total
            rows = self._centered(design, part)
            image = xp.matmul(rows, flat.T).reshape(base[part].shape)
            applied[part] = base[part] - image * members[part]
            total += xp.matmul(applied[part].reshape(len(rows), -1).T, rows)

        self.for_chunks(work, len(design.x), 8 * design.shape[1] + 24 * len(flat))
        return collect(xp, sets, applied), total.reshape(u.shape)

    def take_centered(self, design: Design, sets: RowSets, chunk: slice) -> Array:
        return self._gathered(design, sets.rows[chunk], sets.mask[chunk])

    def cholesky(self, a: Array) -> tuple[Array, Array]:
        return super().cholesky(a) if a.dtype == self.xp.float32 else self._dense.cholesky(a)

    def solve_triangular(self, lower: Array, rows: Array, *, transpose: bool = False) -> Array:
        out = self.xp.array(rows, dtype=self.xp.float64, order="C")
        self._dense.solve_lower(lower, out, transpose=transpose)
        return out

    def cho_solve(self, lower: Array, b: Array) -> Array:
        out = self.xp.array(b, dtype=self.xp.float64, order="C")
        self._dense.solve_lower(lower, out)
        self._dense.solve_lower(lower, out, transpose=True)
        return out

    def eigh(self, a: Array) -> tuple[Array, Array]:
        values, vectors, info = self._dense.eigh(a)
        if int(info):
            raise np.linalg.LinAlgError(f"syevd did not converge for a matrix of {len(a)} rows (info {int(info)})")
        return values, vectors

    def update_gram(self, total: Array, rows: Array, sign: float) -> None:
        self._dense.update_gram(self.xp.ascontiguousarray(rows), total, sign)

    def prefix_scan(self, features: Array, z: Array, mean: Array, y: Array, sizes: NDArray[np.int64]) -> Array:
        sse = self.xp.empty((*mean.shape, features.shape[2]))
        self._prefixes(kernels.prefix_scan, (features, z, mean, y), sizes, sse)
        return sse

    def prefix_confusion(self, features: Array, z: Array, mean: Array, y: Array, sizes: NDArray[np.int64]) -> Array:
        counts = self.xp.empty((*mean.shape, 3, features.shape[2]), dtype=self.xp.int32)
        self._prefixes(kernels.prefix_confusion, (features, z, mean, y), sizes, counts)
        return counts

    def block_press(
        self, features: Array, scale: Array | None, sets: RowSets, chunk: slice, residuals: Array
    ) -> tuple[Array, Array, Array]:
        xp, n, mask = self.xp, len(features), sets.mask[chunk]
        held, target = (xp.ascontiguousarray(self.take(a, sets, chunk)) for a in (features, residuals))
        if scale is not None:
            held *= xp.sqrt(scale)
        diagonal = xp.arange(sets.width)
        blocks = xp.where(mask[:, :, None] & mask[:, None, :], -1.0 / n, 0.0)
        blocks[:, diagonal, diagonal] += 1.0
        self._dense.subtract_outer(held, blocks)
        if sets.width > self._max_press:
            return self._factorise(blocks, target)
        v, count = xp.empty_like(target), len(target)
        ok, error = xp.empty(count, dtype=xp.bool_), xp.empty(count)
        kernels.block_press(self._launch, blocks, self.asarray(sets.sizes[chunk]), target, v, ok, error)
        return v, ok, error

    def logistic_step(
        self, eta: Array, y: Array, training: Array, task: Array, fold: Array
    ) -> tuple[Array, Array, Array]:
        xp, (eta, y, training) = self.xp, map(self.xp.ascontiguousarray, (eta, y, training))
        residual, curvature, loss = xp.empty(eta.shape), xp.empty(eta.shape), xp.empty(eta.shape[1])
        kernels.logistic_step(self._launch, eta, y, training, task, fold, residual, curvature, loss, empty=self._empty)
        return residual, curvature, loss

    def softmax_step(self, eta: Array, codes: Array, training: Array, fold: Array) -> tuple[Array, Array, Array]:
        xp, (eta, training) = self.xp, map(self.xp.ascontiguousarray, (eta, training))
        residual, shares, loss = xp.empty(eta.shape), xp.empty(eta.shape), xp.empty((eta.shape[1], eta.shape[3]))
        kernels.softmax_step(self._launch, eta, codes, training, fold, residual, shares, loss, empty=self._empty)
        return residual, shares, loss

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
        xp, (count, epochs, _) = self.xp, order.shape
        weights = xp.empty((count, epochs + 1, initial.shape[1]), dtype=xp.float32)
        weights[:, 0] = self.asarray(initial)
        fitted = xp.empty(order.shape if keep_fitted else (count, 0, 0), dtype=xp.float32)
        kernels.train_linear(
            self._launch, x, self.asarray(rows), self.asarray(y), self._gpu.keep(order), batch_size, learning_rate,
            logistic, weights, fitted, empty=self._empty,
        )  # fmt: skip
        return weights[:, 1:], fitted if keep_fitted else None

    def predict_linear(self, x: Array, rows: NDArray[np.int64], weights: Array) -> Array:
        out = self.xp.empty((len(rows), weights.shape[1], rows.shape[1]), dtype=self.xp.float32)
        weights = self.xp.ascontiguousarray(weights)
        kernels.predict_linear(self._launch, x, self.asarray(rows), weights, out)
        return out

    def _prefixes(
        self, launcher: Callable[..., None], problem: tuple[Array, ...], sizes: NDArray[np.int64], out: Array
    ) -> None:
        held = map(self.xp.ascontiguousarray, problem)
        launcher(self._launch, *held, self.asarray(sizes), out, empty=self._empty)

    def _factorise(self, blocks: Array, target: Array) -> tuple[Array, Array, Array]:
        """Solve the blocks that are too large for the shared memory of a multiprocessor."""
        lower, ok = self.cholesky(blocks.copy())
        v = self.xp.ascontiguousarray(self.cho_solve(lower, target.swapaxes(1, 2)).swapaxes(1, 2))
        upper = self.xp.matmul(blocks, v)
        return v, ok, relative_error(self.xp, upper - target, target)

    def _centered(self, design: Design, part: slice) -> Array:
        """Centred float64 rows of a design, new memory."""
        rows = self.xp.arange(part.start, part.stop)
        return self._gathered(design, rows, self.xp.ones(len(rows), dtype=self.xp.bool_))

    def _gathered(self, design: Design, rows: Array, mask: Array) -> Array:
        out = self.xp.empty((*rows.shape, design.shape[1]))
        kernels.standardize_gather(self._launch, design.x, rows, mask, design.mean, None, out)
        return out

    def _empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self.xp.empty(shape, dtype=dtype)
