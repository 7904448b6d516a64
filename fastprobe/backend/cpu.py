"""The CPU backend: NumPy, SciPy's BLAS and LAPACK, and Numba kernels for what they lack.

Parallel work is cut here, not in the BLAS: folds, row blocks and right-hand sides are shared out to a pool of threads,
each of which calls single-threaded BLAS. Small factorisations gain more from being done side by side than from threads
within; and the idle threads of a BLAS wait by spinning, which starves everybody else (NumPy and SciPy load one each).
"""

from __future__ import annotations

import itertools
import math
import os
import platform
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack
from threadpoolctl import ThreadpoolController

from fastprobe.backend.base import Array, Design, RowSets, relative_error
from fastprobe.backend.lapack import (
    cholesky_lower,
    eigh_lower,
    gram_lower,
    inverse_lower,
    inverse_root_lower,
    product_lower,
    solve_lower,
    symmetric_product,
)
from fastprobe.backend.rates import CPU, Rates
from fastprobe.kernels import cpu

__all__ = ["CpuBackend"]

_BLOCK = 512  # feature rows that a thread centres at once: 4 MB at 1024 dimensions
_PANEL = 256  # columns per step of a block substitution
_BLOCK32 = 400  # float32 feature rows that a thread multiplies twice, the second time from a cache
_NOTHING = np.float32(1e-25)
_WIDE = 6  # columns per set from which a matrix product per set beats reading every row once for all sets
_PARTS = 8  # into which rows are cut where every part has a sum of its own
_LITTLE = 2e7  # floating point operations that are done sooner than a thread begins with them
_PER_LOSS = 60.0  # of those in a loss and its derivatives
_PER_PREFIX = 5.0  # of those in a prediction by some of the features and its part of a score
_LARGE = 1500  # size of a single matrix from which the BLAS's own threads pay

T = TypeVar("T")


class CpuBackend:
    """Operations on the CPU; see :class:`fastprobe.backend.base.Backend`.

    Parameters
    ----------
    threads : int
        Threads that share the work.
    """

    xp: Any = np
    rates: Rates = CPU
    stack = 1

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self.lanes = min(2, self.threads)
        self.device = f"cpu ({platform.machine()}, {self.threads} threads)"
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="fastprobe")
        self._local = threading.local()
        self._lending = threading.Lock()
        self._blas = ThreadpoolController().select(user_api="blas")
        cpu.center_rows(
            np.zeros((1, 1), np.float32), np.zeros(1, np.int64), np.zeros(1), np.zeros((1, 1)), 0, 1
        )  # load

    @contextmanager
    def session(self, *, apart: bool = False) -> Iterator[None]:
        with self._blas.limit(limits=1):
            yield

    def lane_pool(self) -> AbstractContextManager[Executor]:
        return ThreadPoolExecutor(self.lanes, thread_name_prefix="fastprobe-lane")

    def in_flight(self, nbytes: int, d: int) -> int:
        return 1  # one submission keeps all threads busy

    def prefetch(self, x: NDArray[Any]) -> None:
        """Do nothing: the features are where they are worked on."""

    def memory(self) -> float:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2  # half of the machine's

    def asarray(self, a: Any) -> Array:
        return np.asarray(a)

    def to_numpy(self, a: Array) -> NDArray[Any]:
        return np.asarray(a)

    def moments(self, x: Array, rows: NDArray[np.int64]) -> tuple[float, float]:
        size = len(rows) * x.shape[1]
        whole = len(rows) == len(x)
        blocks = _cut(len(rows), _BLOCK)

        def block(part: slice) -> Array:
            return x[part] if whole else x[rows[part]]

        def squares(part: slice) -> float:
            centered = block(part).astype(np.float64)
            centered -= mean
            return float(np.vdot(centered, centered))

        mean = sum(self._map(lambda part: float(block(part).sum(dtype=np.float64)), blocks)) / size
        return mean, (sum(self._map(squares, blocks)) / size) ** 0.5

    def design(self, x: Array, rows: NDArray[np.int64]) -> Design:
        whole = len(rows) == len(x) and bool((rows == np.arange(len(x))).all())
        group = np.ascontiguousarray(x if whole else x[rows])
        if group.dtype == np.float16:  # half precision has no arithmetic on CPUs; float32 holds every value of it
            group = group.astype(np.float32)
        sums = self._map(lambda part: group[part].sum(axis=0, dtype=np.float64), _cut(len(group), _BLOCK))
        return Design(x=group, mean=sum(sums) / len(group))

    def row_sets(self, sets: Sequence[NDArray[np.int64]], n: int) -> RowSets:
        sizes = np.array([len(s) for s in sets], dtype=np.int64)
        mask = np.arange(sizes.max()) < sizes[:, None]
        rows = np.zeros(mask.shape, dtype=np.int64)
        members = np.concatenate(sets)
        rows[mask] = members
        set_of, slot_of = np.nonzero(mask)
        by_row = np.argsort(members, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(members, minlength=n))])
        return RowSets(rows, mask, sizes, start, set_of[by_row], slot_of[by_row])

    def centered(self, design: Design) -> Array:
        out = np.empty(design.shape)
        self._map(lambda part: self._center(design, part, out[part]), _cut(design.shape[0], _BLOCK))
        return out

    def gram(self, design: Design) -> Array:
        n, d = design.shape

        def part_gram(rows: slice) -> Array:
            total = np.zeros((d, d))
            for part in _cut(rows.stop, _BLOCK, rows.start):
                gram_lower(self._center(design, part), total)
            return total

        total, *others = self._map(part_gram, _cut(n, -(-n // self.threads)))
        for other in others:
            total += other
        return total

    def weighted_gram(self, design: Design, weights: Array) -> Array:
        (n, d), columns = design.shape, weights.shape[1]
        out = np.zeros((columns, d, d))

        def part_gram(item: tuple[slice, int]) -> Array:
            rows, column = item
            total = np.zeros((d, d)) if rows.start else out[column]
            for part in _cut(rows.stop, _BLOCK, rows.start):
                block = self._center(design, part)
                block *= np.sqrt(weights[part, column, None])
                gram_lower(block, total)
            return total

        cuts = -(-self.threads // max(1, columns))  # rows are cut only if there are fewer columns than threads
        items = list(itertools.product(_cut(n, -(-n // cuts)), range(columns)))
        for (rows, column), total in zip(items, self._map(part_gram, items), strict=True):
            if rows.start:
                out[column] += total
        return out

    def adjoint(self, design: Design, y: Array) -> Array:
        n, d = design.shape
        products = self._map(
            lambda part: y[part].T @ self._center(design, part), _cut(n, _BLOCK), 2.0 * n * d * y.shape[1]
        )
        return sum(products)

    def forward(self, design: Design, w: Array) -> Array:
        return self.project(design, w.T)

    def project(self, design: Design, basis: Array) -> Array:
        out = np.empty((design.shape[0], basis.shape[1]))
        self._map(
            lambda part: np.matmul(self._center(design, part), basis, out=out[part]),
            _cut(design.shape[0], _BLOCK),
            2.0 * design.shape[0] * basis.size,
        )
        return out

    def whiten(self, design: Design, lower: Array) -> Array:
        # Block substitution from the right. Only matrix products touch the features: they run at twice the speed of the
        # triangular solve of OpenBLAS, and the small diagonal blocks are well enough conditioned to be inverted.
        n, d = design.shape
        panels = _cut(d, _PANEL)
        inverses = [np.triu(lapack.dtrtri(lower[p, p].T, lower=0)[0]) for p in panels]
        out = np.empty((n, d))

        def substitute(rows: slice) -> None:
            block, target = self._center(design, rows), out[rows]
            for p, inverse in zip(panels, inverses, strict=True):
                if p.start:
                    block[:, p] -= target[:, : p.start] @ lower[p, : p.start].T
                np.matmul(block[:, p], inverse, out=target[:, p])

        self._map(substitute, _cut(n, _BLOCK))
        return out

    def set_adjoint(self, design: Design, sets: RowSets, v: Array) -> Array:
        n, d = design.shape
        out = np.zeros((len(sets), v.shape[2], d))
        if v.shape[2] >= _WIDE:

            def product(k: int) -> None:
                size = sets.sizes[k]
                np.matmul(v[k, :size].T, self._center(design, sets.rows[k, :size]), out=out[k])

            self._map(product, range(len(sets)))
            return out
        v = np.ascontiguousarray(v)
        by_row = sets.start, sets.set_of, sets.slot_of
        parts = _cut(
            n, max(_BLOCK, -(-n // _PARTS))
        )  # a fixed number of sums: the same result for any number of threads

        def part_sum(part: slice) -> Array:
            total = np.zeros_like(out)
            cpu.set_adjoint(design.x, design.mean, *by_row, v, total, part.start, part.stop)
            return total

        for total in self._map(part_sum, parts):
            out += total
        return out

    def set_forward(self, design: Design, sets: RowSets, u: Array) -> Array:
        n = design.shape[0]
        out = np.zeros((len(sets), sets.width, u.shape[1]))
        if u.shape[1] >= _WIDE:

            def product(k: int) -> None:
                size = sets.sizes[k]
                np.matmul(self._center(design, sets.rows[k, :size]), u[k].T, out=out[k, :size])

            self._map(product, range(len(sets)))
            return out
        u = np.ascontiguousarray(u)
        by_row = sets.start, sets.set_of, sets.slot_of
        self._map(
            lambda part: cpu.set_forward(design.x, design.mean, *by_row, u, out, part.start, part.stop),
            _cut(n, -(-n // self.threads)),
        )
        return out

    def set_hat(self, design: Design, sets: RowSets, u: Array, v: Array, n: int) -> tuple[Array, Array]:
        base = (v - v.sum(axis=1, keepdims=True) / n) * sets.mask[:, :, None]
        if u.shape[1] >= _WIDE:
            applied = base - self.set_forward(design, sets, u)
            return applied, self.set_adjoint(design, sets, applied)
        u = np.ascontiguousarray(u)
        by_row = sets.start, sets.set_of, sets.slot_of
        rows = design.shape[0]

        def part_sum(part: slice) -> Array:
            total = np.zeros(u.shape)
            cpu.set_hat(design.x, design.mean, *by_row, u, base, total, part.start, part.stop)
            return total

        return base, sum(self._map(part_sum, _cut(rows, max(_BLOCK, -(-rows // _PARTS)))))

    def take_centered(self, design: Design, sets: RowSets, chunk: slice) -> Array:
        out = np.zeros((len(sets.sizes[chunk]), sets.width, design.shape[1]))
        for target, rows, size in zip(out, sets.rows[chunk], sets.sizes[chunk], strict=True):
            self._center(design, rows[:size], target[:size])
        return out

    def take(self, a: Array, sets: RowSets, chunk: slice) -> Array:
        taken = a[sets.rows[chunk]]
        padded = ~sets.mask[chunk]
        if padded.any():
            taken[padded] = 0.0
        return taken

    def for_chunks(self, work: Callable[[slice], None], count: int, bytes_each: int) -> None:
        self._map(lambda k: work(slice(k, k + 1)), range(count))  # one matrix at a time for each thread

    def cholesky(self, a: Array) -> tuple[Array, Array]:
        matrices = np.ascontiguousarray(a).reshape(-1, *a.shape[-2:])
        factorise = _cholesky_single if a.dtype == np.float32 else cholesky_lower
        with self._wide(matrices.shape[-1] if len(matrices) == 1 else 0):
            ok = [factorise(matrix) for matrix in matrices]
        return matrices.reshape(a.shape), np.array(ok).reshape(a.shape[:-2])

    def inverse_root(self, a: Array) -> tuple[Array, Array]:
        matrices = np.ascontiguousarray(a).reshape(-1, *a.shape[-2:])
        ok = np.empty(len(matrices), dtype=bool)
        for i, matrix in enumerate(matrices):
            ok[i] = cholesky_lower(matrix) and inverse_root_lower(matrix)
            if ok[i]:
                np.multiply(matrix, _below(len(matrix)), out=matrix)
            else:
                matrix[:] = np.eye(len(matrix))
        return matrices.reshape(a.shape), ok.reshape(a.shape[:-2])

    def block_press(
        self, features: Array, scale: Array | None, sets: RowSets, chunk: slice, residuals: Array
    ) -> tuple[Array, Array, Array]:
        count, (n, r) = len(sets.sizes[chunk]), features.shape
        v = np.zeros((count, sets.width, residuals.shape[1]))
        ok, error = np.empty(count, dtype=bool), np.empty(count)
        for i, (rows, size) in enumerate(zip(sets.rows[chunk], sets.sizes[chunk], strict=True)):
            gathered = self._scratch("gathered", size, r)
            np.take(features, rows[:size], axis=0, out=gathered, mode="clip")  # clip: without a hidden buffer
            if scale is not None:
                gathered *= np.sqrt(scale)
            block = self._scratch("block", size, size)
            block.fill(-1.0 / n)
            block[np.diag_indices(size)] += 1.0
            product_lower(gathered, block, alpha=-1.0)
            ok[i] = cholesky_lower(block)
            target = residuals[rows[:size]].T
            found = target.copy()
            solve_lower(block, found)
            solve_lower(block, found, transpose=True)
            rest = found - found.sum(axis=1, keepdims=True) / n - (found @ gathered) @ gathered.T - target
            error[i] = relative_error(np, rest.T[None], target.T[None])[0]
            v[i, :size] = found.T
        return v, ok, error

    def solve_triangular(self, lower: Array, rows: Array, *, transpose: bool = False) -> Array:
        return self._substitute(lower, rows, (transpose,))

    def cho_solve(self, lower: Array, b: Array) -> Array:
        return self._substitute(lower, b, (False, True))

    def cho_inverse(self, lower: Array) -> Array:
        with self._wide(len(lower)):
            inverse_lower(lower)

        def mirror(rows: slice) -> None:
            for columns in _cut(rows.start, _PANEL):
                lower[columns, rows] = lower[rows, columns].T
            block = lower[rows, rows]
            block[:] = np.tril(block) + np.tril(block, -1).T

        self._map(mirror, _cut(len(lower), _PANEL))
        return lower

    def eigh(self, a: Array) -> tuple[Array, Array]:
        vectors = np.array(a, dtype=np.float64, order="C")
        with self._wide(len(a)):
            values = eigh_lower(vectors)
        return values, vectors.T

    def update_gram(self, total: Array, rows: Array, sign: float) -> None:
        def update(item: tuple[Array, Array]) -> None:
            gram_lower(item[1], item[0], alpha=sign)

        flops = 1.0 * rows.size * rows.shape[2]
        self._map(update, list(zip(total, np.ascontiguousarray(rows), strict=True)), flops)

    def symmetric_product(self, lower: Array, rows: Array) -> Array:
        lower, rows = np.ascontiguousarray(lower), np.ascontiguousarray(rows)
        out = np.empty(rows.shape)

        def product(k: int) -> None:
            symmetric_product(lower[k], rows[k], out[k])

        self._map(product, range(len(out)), 2.0 * rows.size * rows.shape[2])
        return out

    def prefix_scan(self, features: Array, z: Array, mean: Array, y: Array, sizes: NDArray[np.int64]) -> Array:
        sse = np.empty((*mean.shape, features.shape[2]))
        self._by_fold(cpu.prefix_scan, (features, z, mean, y, sizes), sse)
        return sse

    def prefix_confusion(self, features: Array, z: Array, mean: Array, y: Array, sizes: NDArray[np.int64]) -> Array:
        counts = np.empty((*mean.shape, 3, features.shape[2]), dtype=np.int32)
        self._by_fold(cpu.prefix_confusion, (features, z, mean, y, sizes), counts)
        return counts

    def logistic_step(
        self, eta: Array, y: Array, training: Array, task: Array, fold: Array
    ) -> tuple[Array, Array, Array]:
        eta, y, training = map(np.ascontiguousarray, (eta, y, training))
        residual, curvature = np.empty(eta.shape), np.empty(eta.shape)

        def part_loss(rows: slice) -> Array:
            loss = np.zeros(eta.shape[1])
            cpu.logistic_step(eta, y, training, task, fold, residual, curvature, loss, rows.start, rows.stop)
            return loss

        losses = self._map(part_loss, _cut(len(eta), -(-len(eta) // _PARTS)), _PER_LOSS * eta.size)
        return residual, curvature, sum(losses)

    def softmax_step(self, eta: Array, codes: Array, training: Array, fold: Array) -> tuple[Array, Array, Array]:
        eta, training = map(np.ascontiguousarray, (eta, training))
        residual, shares = np.empty(eta.shape), np.empty(eta.shape)

        def part_loss(rows: slice) -> Array:
            loss = np.zeros((eta.shape[1], eta.shape[3]))
            cpu.softmax_step(eta, codes, training, fold, residual, shares, loss, rows.start, rows.stop)
            return loss

        losses = self._map(part_loss, _cut(len(eta), -(-len(eta) // _PARTS)), _PER_LOSS * eta.size)
        return residual, shares, sum(losses)

    def curvature_product(self, features: Array, weights: Array, shares: Array | None, v: Array) -> Array:
        (count, n, r), width = features.shape, math.prod(v.shape[2:])
        flat = np.ascontiguousarray(v).reshape(count, r, width)
        flops = 4.0 * features.size * width
        # Sums of a number of parts that depends on the work only: the same result for any number of threads.
        parts = _cut(n, n if flops < _LITTLE else -(-n // -(-_PARTS // count)))
        out = np.empty(flat.shape, dtype=np.float32)
        others = self._scratch("others", len(parts) - 1, *flat.shape, dtype=np.float32)

        def image_of(a: int, rows: slice) -> Array:
            shape = rows.stop - rows.start, *v.shape[2:]
            image = self._scratch("image", *shape, dtype=np.float32)
            np.matmul(features[a, rows], flat[a], out=image.reshape(-1, width))
            if shares is None:
                image *= weights[a, rows]
            else:
                coupled = self._scratch("coupled", *shape, dtype=np.float32)
                np.multiply(shares[a, rows], image, out=coupled)
                np.multiply(shares[a, rows], coupled.sum(axis=1, keepdims=True), out=coupled)
                image *= weights[a, rows]
                image += coupled
            image += _NOTHING  # what vanishes beside it becomes 0: products of denormal numbers take 50 times as long
            image -= _NOTHING
            return image.reshape(-1, width)

        def add_part(item: tuple[int, int]) -> None:
            part, a = item
            rows, total = parts[part], others[part - 1, a] if part else out[a]
            step = self._scratch("step", r, width, dtype=np.float32)
            for block in _cut(rows.stop, _even(rows.stop - rows.start, _BLOCK32), rows.start):
                first = block.start == rows.start
                np.matmul(features[a, block].T, image_of(a, block), out=total if first else step)
                if not first:
                    total += step

        self._map(add_part, list(itertools.product(range(len(parts)), range(count))), flops)
        for other in others:
            out += other
        return out.reshape(v.shape)

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
        count, epochs, _ = order.shape
        weights = np.empty((count, epochs + 1, initial.shape[1]), dtype=np.float32)
        weights[:, 0] = initial
        fitted = np.empty(order.shape if keep_fitted else (count, 0, 0), dtype=np.float32)
        self._map(
            lambda k: cpu.train_linear(
                x, rows, y, order[k], batch_size, learning_rate, logistic, weights[k], fitted[k]
            ),
            range(count),
        )
        return weights[:, 1:], fitted if keep_fitted else None

    def predict_linear(self, x: Array, rows: NDArray[np.int64], weights: Array) -> Array:
        out = np.empty((len(rows), weights.shape[1], rows.shape[1]), dtype=np.float32)
        self._map(lambda k: cpu.predict_linear(x, rows[k], weights[k], out[k]), range(len(rows)))
        return out

    @contextmanager
    def _wide(self, size: int) -> Iterator[None]:
        """Lend the BLAS all threads for one large matrix; one at a time, because the setting is that of the process."""
        if size < _LARGE or getattr(self._local, "busy", False):
            yield
            return
        with self._lending, self._blas.limit(limits=self.threads):
            yield

    def _center(self, design: Design, rows: slice | NDArray[np.int64], out: Array | None = None) -> Array:
        """Centred float64 rows; without `out` in memory that the next call of this thread overwrites."""
        if isinstance(rows, slice):
            rows = np.arange(rows.start, rows.stop)
        if out is None:
            out = self._scratch("centered", len(rows), design.shape[1])
        cpu.center_rows(design.x, rows, design.mean, out, 0, len(rows))
        return out

    def _substitute(self, lower: Array, rows: Array, transposed: Sequence[bool]) -> Array:
        """Solve with L (False) and L' (True), one after the other, for every row."""
        out = np.array(rows, dtype=np.float64, order="C")
        c, d = out.shape[-2:]
        factors = lower.reshape(-1, d, d)
        cuts = -(-self.threads // max(1, len(factors)))  # rows are cut only if there are fewer factors than threads
        parts = _cut(c, max(8, -(-c // cuts)))

        def solve(item: tuple[Array, Array]) -> None:
            factor, part = item
            for transpose in transposed:
                solve_lower(factor, part, transpose=transpose)

        stack = zip(factors, out.reshape(-1, c, d), strict=True)
        flops = float(len(transposed) * d * out.size)
        self._map(solve, [(factor, block[part]) for factor, block in stack for part in parts], flops)
        return out

    def _by_fold(self, kernel: Callable[..., None], problem: tuple[Array, ...], out: Array) -> None:
        """Run a kernel of the sweep fold by fold."""
        problem = tuple(map(np.ascontiguousarray, problem))
        flops = _PER_PREFIX * problem[0].size * out.shape[1]
        self._map(lambda k: kernel(*problem, out, k, k + 1), range(len(out)), flops)

    def _scratch(self, name: str, *shape: int, dtype: Any = np.float64) -> Array:
        """Memory of this thread, under a name, used again: touching fresh memory costs as much as the work on it."""
        kept: dict[str, Array] = self._local.__dict__.setdefault("scratch", {})
        size = math.prod(shape)
        if name not in kept or kept[name].size < size:
            kept[name] = np.empty(size, dtype=dtype)
        return kept[name][:size].reshape(shape)

    def _map(self, work: Callable[[Any], T], parts: Sequence[Any], flops: float = math.inf) -> list[T]:
        """Do all parts, in the threads of the pool; within one of those threads, or if it is little, one by one."""
        if len(parts) == 1 or self.threads == 1 or flops < _LITTLE or getattr(self._local, "busy", False):
            return [work(part) for part in parts]

        def busy(part: Any) -> T:
            self._local.busy = True
            try:
                return work(part)
            finally:
                self._local.busy = False

        return list(self._pool.map(busy, parts))


@cache
def _below(size: int) -> NDArray[np.float64]:
    """Ones on the diagonal and below."""
    return np.tri(size)


def _cholesky_single(a: NDArray[np.float32]) -> bool:
    """Replace the lower triangle of a C-contiguous matrix by its factor, as :func:`cholesky_lower` does."""
    return bool(lapack.spotrf(a.T, lower=0, clean=0, overwrite_a=1)[1] == 0)


def _cut(stop: int, step: int, start: int = 0) -> list[slice]:
    return [slice(lo, min(stop, lo + step)) for lo in range(start, stop, max(1, step))]


def _even(count: int, most: int) -> int:
    """Size of the parts, as equal as can be, into which `count` things are cut."""
    return -(-count // -(-count // most)) if count else most
