"""The backend of a device by array operations alone: NumPy's, or CuPy's on a GPU.

Everything is done in stacks, as many matrices at once as a budget of memory allows, because a GPU is slow to start a
piece of work and fast to do it. Host and device never mix by accident: what comes from the host goes through
:meth:`ArrayBackend.asarray`, what goes there through :meth:`ArrayBackend.to_numpy`, and nothing else waits for the
device.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend import adamw
from fastprobe.backend.base import Array, Design, RowSets, relative_error
from fastprobe.backend.lanes import Lanes
from fastprobe.backend.rates import CPU, Rates
from fastprobe.backend.triangular import solve_lower
from fastprobe.errors import DeviceError

__all__ = ["ArrayBackend"]

_log = logging.getLogger(__name__)


class ArrayBackend:
    """Operations on the device of an array namespace; see :class:`fastprobe.backend.base.Backend`.

    A namespace whose Cholesky factorisation does not raise :class:`numpy.linalg.LinAlgError` (CuPy's) needs a subclass
    with its own :meth:`cholesky`. A subclass may also bring a faster :meth:`solve_triangular`, which the other solves
    are made of.

    Parameters
    ----------
    xp : namespace
        NumPy, CuPy, or alike.
    device : str
        Name for the records.
    budget : int
        Bytes of device memory for the work of all lanes together, beside the features.
    lanes : int
        Threads that work at the same time, for all submissions together.
    in_flight : int
        Submissions that are scored at the same time.
    """

    out_of_memory: tuple[type[BaseException], ...] = (MemoryError,)
    """What the namespace raises when the device has no memory left; CuPy's error derives from MemoryError."""

    stack = 16
    rates: Rates = CPU

    def __init__(self, xp: Any, *, device: str, budget: int, lanes: int = 1, in_flight: int = 1) -> None:
        self.xp = xp
        self.device = device
        self.budget = budget
        self.lanes = lanes
        self._in_flight = in_flight
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix="fastprobe-lane")

    @contextmanager
    def session(self, *, apart: bool = False) -> Iterator[None]:
        try:
            yield
        except self.out_of_memory as error:  # for what cannot be cut into batches
            raise DeviceError(
                f"memory of {self.device}",
                found=" ".join(str(error).split()).rstrip(".") or "no room",
                expected="more free memory beside what is in use",
                fix="end other programs on the device, or use --device cpu",
            ) from error

    def in_flight(self, nbytes: int, d: int) -> int:
        return self._in_flight

    def lane_pool(self) -> AbstractContextManager[Executor]:
        return Lanes(self._threads)

    def prefetch(self, x: NDArray[Any]) -> None:
        """Do nothing: what the namespace holds, it holds at once."""

    def memory(self) -> float:
        return float(self.budget)

    def asarray(self, a: Any) -> Array:
        return self.xp.asarray(a)

    def to_numpy(self, a: Array) -> NDArray[Any]:
        return a if isinstance(a, np.ndarray) else a.get()

    def moments(self, x: Array, rows: NDArray[np.int64]) -> tuple[float, float]:
        xp, size, whole = self.xp, len(rows) * x.shape[1], len(rows) == len(x)
        mean, variance = xp.zeros(()), xp.zeros(())

        def taken(part: slice) -> Array:
            return x[part] if whole else x[self.asarray(rows[part])]

        def add_mean(part: slice) -> None:
            nonlocal mean
            mean += taken(part).sum(dtype=xp.float64) / size

        def add_variance(part: slice) -> None:
            nonlocal variance
            centered = taken(part) - mean
            variance += (centered * centered).sum() / size

        for work in (add_mean, add_variance):
            self.for_chunks(work, len(rows), 24 * x.shape[1])
        found = self.to_numpy(xp.stack([mean, variance]))
        return float(found[0]), float(found[1]) ** 0.5

    def design(self, x: Array, rows: NDArray[np.int64]) -> Design:
        whole = len(rows) == len(x) and bool((rows == np.arange(len(x))).all())
        group = self.xp.ascontiguousarray(x if whole else x[self.asarray(rows)])
        return Design(x=group, mean=group.sum(axis=0, dtype=self.xp.float64) / len(group))

    def row_sets(self, sets: Sequence[NDArray[np.int64]], n: int) -> RowSets:
        xp, sizes = self.xp, np.array([len(s) for s in sets], dtype=np.int64)
        packed = self.asarray(np.concatenate([sizes, *sets]))  # one copy to the device
        size, members = packed[: len(sets)], packed[len(sets) :]
        stop = xp.cumsum(size)
        first = stop - size
        slot = xp.arange(int(sizes.max()))
        mask = slot < size[:, None]
        rows = xp.where(mask, members[xp.where(mask, first[:, None] + slot, 0)], 0)
        by_row = xp.argsort(members, kind="stable")
        start = xp.searchsorted(members[by_row], xp.arange(n + 1))
        set_of = xp.searchsorted(stop, by_row, side="right")
        return RowSets(rows, mask, sizes, start, set_of, by_row - first[set_of])

    def centered(self, design: Design) -> Array:
        return self._by_rows(design, lambda part: design.x[part] - design.mean, design.shape[1])

    def gram(self, design: Design) -> Array:
        n, d = design.shape
        total = self.xp.zeros((d, d))

        def work(part: slice) -> None:
            nonlocal total
            rows = design.x[part] - design.mean
            total += self.xp.matmul(rows.T, rows)

        self.for_chunks(work, n, 8 * d)
        return total

    def weighted_gram(self, design: Design, weights: Array) -> Array:
        (n, d), columns = design.shape, weights.shape[1]
        total = self.xp.zeros((columns, d, d))

        def work(part: slice) -> None:
            nonlocal total
            rows = design.x[part] - design.mean
            weighted = weights[part].T[:, :, None] * rows
            total += self.xp.matmul(weighted.swapaxes(1, 2), rows)

        self.for_chunks(work, n, 8 * d * (columns + 2))
        return total

    def adjoint(self, design: Design, y: Array) -> Array:
        n, d = design.shape
        total = self.xp.zeros((y.shape[1], d))

        def work(part: slice) -> None:
            nonlocal total
            total += self.xp.matmul(y[part].T, design.x[part] - design.mean)

        self.for_chunks(work, n, 8 * d)
        return total

    def forward(self, design: Design, w: Array) -> Array:
        return self.project(design, w.T)

    def project(self, design: Design, basis: Array) -> Array:
        return self._by_rows(design, lambda part: self.xp.matmul(design.x[part] - design.mean, basis), basis.shape[1])

    def whiten(self, design: Design, lower: Array) -> Array:
        return self._by_rows(
            design, lambda part: self.solve_triangular(lower, design.x[part] - design.mean), design.shape[1]
        )

    def set_adjoint(self, design: Design, sets: RowSets, v: Array) -> Array:
        d, out = design.shape[1], self.xp.empty((len(sets), v.shape[2], design.shape[1]))

        def work(chunk: slice) -> None:
            held = self.take_centered(design, sets, chunk)
            out[chunk] = self.xp.matmul(v[chunk].swapaxes(1, 2), held)

        self.for_chunks(work, len(sets), 24 * sets.width * d)
        return out

    def set_hat(self, design: Design, sets: RowSets, u: Array, v: Array, n: int) -> tuple[Array, Array]:
        d, out = design.shape[1], self.xp.empty(u.shape)
        applied = self.xp.empty(v.shape)

        def work(chunk: slice) -> None:
            held, part = self.take_centered(design, sets, chunk), v[chunk]
            w = self._masked(part - part.sum(axis=1, keepdims=True) / n, sets, chunk)
            w -= self.xp.matmul(held, u[chunk].swapaxes(1, 2))
            applied[chunk] = w
            out[chunk] = self.xp.matmul(w.swapaxes(1, 2), held)

        self.for_chunks(work, len(sets), 24 * sets.width * d)
        return applied, out

    def set_forward(self, design: Design, sets: RowSets, u: Array) -> Array:
        d, out = design.shape[1], self.xp.empty((len(sets), sets.width, u.shape[1]))

        def work(chunk: slice) -> None:
            held = self.take_centered(design, sets, chunk)
            out[chunk] = self.xp.matmul(held, u[chunk].swapaxes(1, 2))

        self.for_chunks(work, len(sets), 24 * sets.width * d)
        return out

    def take_centered(self, design: Design, sets: RowSets, chunk: slice) -> Array:
        return self._masked(design.x[sets.rows[chunk]] - design.mean, sets, chunk)

    def take(self, a: Array, sets: RowSets, chunk: slice) -> Array:
        return self._masked(a[sets.rows[chunk]], sets, chunk)

    def for_chunks(self, work: Callable[[slice], None], count: int, bytes_each: int) -> None:
        # Half of what a lane may use: the other half is for what the routes keep from batch to batch. Work that adds to
        # a sum does so last and in place, so that it can be begun again like any other.
        fitting = max(1, self.budget // (2 * self.lanes * max(1, bytes_each)))
        size = -(-count // -(-count // fitting))  # batches of one size, as far as possible
        start = 0
        while start < count:
            stop = min(count, start + size)
            if self._fits(work, slice(start, stop)):
                start = stop
                continue
            if stop - start == 1:
                raise DeviceError(
                    f"memory of {self.device}",
                    found=f"no room for {bytes_each / 2**20:.1f} MiB, the least that this problem can be cut into",
                    expected="that much free memory beside what is in use",
                    fix="end other programs on the device, or use --device cpu",
                )
            size = -(-(stop - start) // 2)
            _log.warning("%s: out of memory with batches of %d; going on with %d", self.device, stop - start, size)

    def _fits(self, work: Callable[[slice], None], chunk: slice) -> bool:
        """Work on a batch; False if memory ran out. What it had allocated is free again: the error is not kept."""
        try:
            work(chunk)
        except self.out_of_memory:
            return False
        return True

    def cholesky(self, a: Array) -> tuple[Array, Array]:
        """Lower factors and a mask of success; the factor of a matrix that is not positive definite is the identity."""
        xp, diagonal = self.xp, self.xp.arange(a.shape[-1])
        try:
            lower = xp.linalg.cholesky(a)
        except np.linalg.LinAlgError:
            if a.ndim == 2:
                return xp.eye(len(a)), xp.zeros((), dtype=xp.bool_)
        else:  # NaN is no failure to LAPACK, but wherever it stood, it has reached the end of the diagonal
            return lower, xp.isfinite(lower[..., diagonal, diagonal]).all(axis=-1)
        factors, ok = xp.empty(a.shape), xp.empty(a.shape[:-2], dtype=xp.bool_)
        for k in range(len(a)):
            factors[k], ok[k] = self.cholesky(a[k])
        return factors, ok

    def inverse_root(self, a: Array) -> tuple[Array, Array]:
        lower, ok = self.cholesky(a)
        lower = self.xp.where(ok[..., None, None], lower, self.xp.eye(a.shape[-1]))
        columns = self.solve_triangular(lower, self.xp.zeros(a.shape) + self.xp.eye(a.shape[-1]))
        return self.xp.tril(columns.swapaxes(-1, -2)), ok

    def solve_triangular(self, lower: Array, rows: Array, *, transpose: bool = False) -> Array:
        return solve_lower(self.xp, lower, rows, transpose=transpose)

    def cho_solve(self, lower: Array, b: Array) -> Array:
        return self.solve_triangular(lower, self.solve_triangular(lower, b), transpose=True)

    def cho_inverse(self, lower: Array) -> Array:
        root = self.solve_triangular(lower, self.xp.eye(len(lower)))
        return self.xp.matmul(root, root.T)

    def eigh(self, a: Array) -> tuple[Array, Array]:
        return self.xp.linalg.eigh(a)

    def update_gram(self, total: Array, rows: Array, sign: float) -> None:
        total += self.xp.matmul((sign * rows).swapaxes(1, 2), rows)

    def symmetric_product(self, lower: Array, rows: Array) -> Array:
        xp = self.xp
        # The rows are turned instead of the matrices: namespaces copy what they cannot multiply as it lies.
        above = xp.matmul(xp.tril(lower, -1), rows.swapaxes(1, 2)).swapaxes(1, 2)
        return xp.matmul(rows, xp.tril(lower)) + above

    def prefix_scan(self, features: Array, z: Array, mean: Array, y: Array, sizes: NDArray[np.int64]) -> Array:
        xp, sse = self.xp, self.xp.zeros((*mean.shape, features.shape[2]))

        def add(predictions: Array, labels: Array, inside: Array) -> None:
            nonlocal sse
            errors = xp.where(inside, predictions - labels, 0.0)
            sse += (errors * errors).sum(axis=1)

        self._each_prefix(add, features, z, mean, y, sizes)
        return sse

    def prefix_confusion(self, features: Array, z: Array, mean: Array, y: Array, sizes: NDArray[np.int64]) -> Array:
        xp, counts = self.xp, self.xp.zeros((*mean.shape, 3, features.shape[2]), dtype=self.xp.int32)

        def add(predictions: Array, labels: Array, inside: Array) -> None:
            nonlocal counts
            guess, truth = inside & (predictions > 0), inside & (labels > 0)
            cells = guess & truth, guess & ~truth, ~guess & truth
            counts += xp.stack([cell.sum(axis=1, dtype=xp.int32) for cell in cells], axis=2)

        self._each_prefix(add, features, z, mean, y, sizes)
        return counts

    def block_press(
        self, features: Array, scale: Array | None, sets: RowSets, chunk: slice, residuals: Array
    ) -> tuple[Array, Array, Array]:
        xp, n = self.xp, len(features)
        taken, target = self.take(features, sets, chunk), self.take(residuals, sets, chunk)
        if scale is not None:
            taken *= xp.sqrt(scale)
        mask, diagonal = sets.mask[chunk], xp.arange(sets.width)
        block = xp.matmul(taken, taken.swapaxes(1, 2))
        block += (mask[:, :, None] & mask[:, None, :]) / n
        block *= -1.0
        block[:, diagonal, diagonal] += 1.0
        lower, ok = self.cholesky(block)
        v = self._masked(self.cho_solve(lower, target.swapaxes(1, 2)).swapaxes(1, 2), sets, chunk)
        fitted = xp.matmul(taken, xp.matmul(taken.swapaxes(1, 2), v))
        rest = v - target - fitted - v.sum(axis=1, keepdims=True) / n * mask[:, :, None]
        return v, ok, relative_error(xp, rest, target)

    def logistic_step(
        self, eta: Array, y: Array, training: Array, task: Array, fold: Array
    ) -> tuple[Array, Array, Array]:
        xp, (n, columns) = self.xp, eta.shape
        residual, curvature, loss = xp.empty(eta.shape), xp.empty(eta.shape), xp.zeros(columns)

        def work(part: slice) -> None:
            nonlocal loss
            inside, labels, value = training[part][:, fold], y[part][:, task], eta[part]
            e = xp.exp(-abs(value))
            p, q = xp.where(value < 0, e, 1.0) / (1.0 + e), xp.where(value < 0, 1.0, e) / (1.0 + e)
            residual[part] = xp.where(inside, p * (1.0 - labels) - q * labels, 0.0)
            curvature[part] = xp.where(inside, e / (1.0 + e) ** 2, 0.0)
            losses = xp.log1p(e) + (xp.maximum(value, 0.0) - labels * value)
            loss += xp.where(inside, losses, 0.0).sum(axis=0)

        self.for_chunks(work, n, 8 * 8 * columns)
        return residual, curvature, loss

    def softmax_step(self, eta: Array, codes: Array, training: Array, fold: Array) -> tuple[Array, Array, Array]:
        xp, (n, problems, classes, columns) = self.xp, eta.shape
        residual, shares, loss = xp.empty(eta.shape), xp.empty(eta.shape), xp.zeros((problems, columns))
        numbers = xp.arange(classes)[:, None]

        def work(part: slice) -> None:
            nonlocal loss
            inside, value = training[part][:, None, fold], eta[part]
            truth = codes[part, None, None, None] == numbers
            top = value.max(axis=2, keepdims=True)
            e = xp.exp(value - top)
            first = value.argmax(axis=2)[:, :, None] == numbers
            others = xp.where(first, 0.0, e).sum(axis=2)
            p = e / (1.0 + others)[:, :, None]
            missing = xp.where(truth & first, -(others / (1.0 + others))[:, :, None], p - truth)
            residual[part] = xp.where(inside[:, :, None], missing, 0.0)
            shares[part] = xp.where(inside[:, :, None], p, 0.0)
            missed = xp.where(truth, top - value, 0.0).sum(axis=2)
            loss += xp.where(inside, xp.log1p(others) + missed, 0.0).sum(axis=0)

        self.for_chunks(work, n, 8 * 8 * problems * classes * columns)
        return residual, shares, loss

    def curvature_product(self, features: Array, weights: Array, shares: Array | None, v: Array) -> Array:
        xp, (count, n, r), outputs = self.xp, features.shape, v.shape[2:]
        flat = v.reshape(count, r, -1)
        total = xp.zeros((count, flat.shape[2], r), dtype=xp.float32)

        def work(part: slice) -> None:
            nonlocal total
            rows = features[:, part]
            image = xp.matmul(rows, flat).reshape(count, -1, *outputs)
            scaled = weights[:, part] * image
            if shares is not None:
                p = shares[:, part]
                scaled += p * (p * image).sum(axis=2, keepdims=True)
            # The image is turned instead of the features: namespaces copy what they cannot multiply as it lies.
            total += xp.matmul(scaled.reshape(count, -1, flat.shape[2]).swapaxes(1, 2), rows)

        self.for_chunks(work, n, 4 * count * (r + 4 * flat.shape[2]))
        return xp.ascontiguousarray(total.swapaxes(1, 2)).reshape(v.shape)

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
        xp, (count, epochs, m), width = self.xp, order.shape, initial.shape[1]
        rows, y = self.asarray(rows), self.asarray(y)
        weights = xp.empty((count, epochs + 1, width), dtype=xp.float32)
        weights[:, 0] = self.asarray(initial)
        fitted = xp.empty(order.shape, dtype=xp.float32) if keep_fitted else None

        def work(chunk: slice) -> None:
            adamw.train_linear(
                xp,
                x,
                rows,
                y,
                self.asarray(order[chunk]),
                weights[chunk],
                None if fitted is None else fitted[chunk],
                batch_size=batch_size,
                learning_rate=learning_rate,
                logistic=logistic,
            )

        self.for_chunks(work, count, 4 * (epochs * m + (2 * min(batch_size, m) + 8) * width))
        return weights[:, 1:], fitted

    def predict_linear(self, x: Array, rows: NDArray[np.int64], weights: Array) -> Array:
        (count, m), epochs, width = rows.shape, weights.shape[1], weights.shape[2]
        out = self.xp.empty((count, epochs, m), dtype=self.xp.float32)

        def work(chunk: slice) -> None:
            out[chunk] = adamw.predict_linear(self.xp, x, self.asarray(rows[chunk]), weights[chunk])

        self.for_chunks(work, count, 4 * m * (width + 2 + 2 * epochs))
        return out

    def _each_prefix(
        self,
        add: Callable[[Array, Array, Array], None],
        features: Array,
        z: Array,
        mean: Array,
        y: Array,
        sizes: NDArray[np.int64],
    ) -> None:
        """Call `add` on block after block of rows, with what all numbers of leading features predict for them.

        Predictions (k, rows, t, d), labels (k, rows, t, 1), and a mask (k, rows, 1, 1) of what is no padding.
        """
        xp, (count, m, d), tasks = self.xp, features.shape, y.shape[2]
        coefficients, start = z.swapaxes(1, 2)[:, None], mean[:, None, :, None]
        inside = xp.arange(m) < self.asarray(sizes)[:, None]

        def work(part: slice) -> None:
            predictions = xp.cumsum(features[:, part, None] * coefficients, axis=3)
            predictions += start
            add(predictions, y[:, part, :, None], inside[:, part, None, None])

        self.for_chunks(work, m, 3 * 8 * count * tasks * d)

    def _by_rows(self, design: Design, work: Callable[[slice], Array], columns: int) -> Array:
        """Fill an array (n, columns) block by block of the rows of a design."""
        n, d = design.shape
        out = self.xp.empty((n, columns))

        def fill(part: slice) -> None:
            out[part] = work(part)

        self.for_chunks(fill, n, 8 * (d + columns))
        return out

    def _masked(self, a: Array, sets: RowSets, chunk: slice) -> Array:
        """Write zero into the padded slots of an array (k, m, columns), if there are any."""
        if (sets.sizes[chunk] == sets.width).all():
            return a
        return self.xp.where(sets.mask[chunk][:, :, None], a, 0.0)
