"""The CPU backend: NumPy, the BLAS and LAPACK that SciPy brings, and Numba kernels for what they lack."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, eigh, lapack

from fastprobe.backend.base import Array, Design, RowSets

__all__ = ["CpuBackend"]

_BLOCK = 2048  # feature rows that are centred at once: 16 MB at 1024 dimensions, enough to keep BLAS busy
_PANEL = 256  # columns per step of a block substitution
_WIDE = 6  # columns per set from which a matrix product per set beats reading every row once for all sets


class CpuBackend:
    """Operations on the CPU; see :class:`fastprobe.backend.base.Backend`.

    Parameters
    ----------
    threads : int
        Threads of the kernels of fastprobe. The BLAS keeps its own setting.
    """

    xp: Any = np

    def __init__(self, threads: int) -> None:
        self.threads = max(1, threads)
        self.device = f"cpu ({platform.machine()}, {self.threads} threads)"
        self._pool = ThreadPoolExecutor(self.threads, thread_name_prefix="fastprobe")

    def asarray(self, a: Any) -> Array:
        return np.asarray(a)

    def to_numpy(self, a: Array) -> NDArray[Any]:
        return np.asarray(a)

    def moments(self, x: Array, rows: NDArray[np.int64]) -> tuple[float, float]:
        size = len(rows) * x.shape[1]
        mean = sum(float(part.sum(dtype=np.float64)) for part in _row_blocks(x, rows)) / size
        sse = 0.0
        for part in _row_blocks(x, rows):
            centered = part.astype(np.float64)
            centered -= mean
            sse += float(np.vdot(centered, centered))
        return mean, (sse / size) ** 0.5

    def design(self, x: Array, rows: NDArray[np.int64]) -> Design:
        whole = len(rows) == len(x) and bool((rows == np.arange(len(x))).all())
        group = np.ascontiguousarray(x if whole else x[rows])
        if group.dtype == np.float16:  # half precision has no arithmetic on CPUs; float32 holds every value of it
            group = group.astype(np.float32)
        return Design(x=group, mean=group.mean(axis=0, dtype=np.float64))

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
        return np.concatenate([block for _, block in self._blocks(design)])

    def gram(self, design: Design) -> Array:
        d = design.shape[1]
        total = np.zeros((d, d), order="F")
        for _, block in self._blocks(design):
            total = blas.dsyrk(1.0, block.T, beta=1.0, c=total, lower=1, overwrite_c=1)
        total += np.tril(total, -1).T
        return total.T  # symmetric: the transpose is the same matrix in row order

    def adjoint(self, design: Design, y: Array) -> Array:
        total = np.zeros((y.shape[1], design.shape[1]))
        for rows, block in self._blocks(design):
            total += y[rows].T @ block
        return total

    def forward(self, design: Design, w: Array) -> Array:
        return self.project(design, w.T)

    def project(self, design: Design, basis: Array) -> Array:
        out = np.empty((design.shape[0], basis.shape[1]))
        for rows, block in self._blocks(design):
            np.matmul(block, basis, out=out[rows])
        return out

    def whiten(self, design: Design, lower: Array) -> Array:
        # Block substitution from the right. Only matrix products touch the features: they run at twice the speed of the
        # triangular solve of OpenBLAS, and the small diagonal blocks are well enough conditioned to be inverted.
        d = design.shape[1]
        cuts = [slice(lo, min(d, lo + _PANEL)) for lo in range(0, d, _PANEL)]
        inverses = [np.triu(lapack.dtrtri(lower[c, c].T, lower=0)[0]) for c in cuts]
        out = np.empty(design.shape)
        for rows, block in self._blocks(design):
            target = out[rows]
            for c, inverse in zip(cuts, inverses, strict=True):
                if c.start:
                    block[:, c] -= target[:, : c.start] @ lower[c, : c.start].T
                np.matmul(block[:, c], inverse, out=target[:, c])
        return out

    def set_adjoint(self, design: Design, sets: RowSets, v: Array) -> Array:
        from fastprobe.kernels import cpu

        out = np.zeros((len(sets), v.shape[2], design.shape[1]))
        if v.shape[2] >= _WIDE:
            for k, block in self._set_blocks(design, sets):
                np.matmul(v[k, : len(block)].T, block, out=out[k])
            return out
        v = np.ascontiguousarray(v)
        self._share(
            design.shape[1],
            lambda lo, hi: cpu.set_adjoint(
                design.x, design.mean, sets.start, sets.set_of, sets.slot_of, v, out, lo, hi
            ),
            align=cpu.TILE,
        )
        return out

    def set_forward(self, design: Design, sets: RowSets, u: Array) -> Array:
        from fastprobe.kernels import cpu

        out = np.zeros((len(sets), sets.width, u.shape[1]))
        if u.shape[1] >= _WIDE:
            for k, block in self._set_blocks(design, sets):
                np.matmul(block, u[k].T, out=out[k, : len(block)])
            return out
        u = np.ascontiguousarray(u)
        self._share(
            design.shape[0],
            lambda lo, hi: cpu.set_forward(
                design.x, design.mean, sets.start, sets.set_of, sets.slot_of, u, out, lo, hi
            ),
        )
        return out

    def take_centered(self, design: Design, sets: RowSets, chunk: slice) -> Array:
        out = np.zeros((len(sets.sizes[chunk]), sets.width, design.shape[1]))
        for target, rows, size in zip(out, sets.rows[chunk], sets.sizes[chunk], strict=True):
            target[:size] = self._center(design, rows[:size])
        return out

    def take(self, a: Array, sets: RowSets, chunk: slice) -> Array:
        taken = a[sets.rows[chunk]]
        padded = ~sets.mask[chunk]
        if padded.any():
            taken[padded] = 0.0
        return taken

    def chunks(self, count: int, bytes_each: int) -> Iterator[slice]:
        for k in range(count):  # one at a time: BLAS threads one matrix, and it stays in cache
            yield slice(k, k + 1)

    def cholesky(self, a: Array) -> tuple[Array, Array]:
        matrices = np.ascontiguousarray(a).reshape(-1, *a.shape[-2:])
        ok = np.empty(len(matrices), dtype=bool)
        for i, matrix in enumerate(matrices):
            # the upper triangle in LAPACK's column order is the lower one here; the factor takes the matrix's place
            _, info = lapack.dpotrf(matrix.T, lower=0, clean=0, overwrite_a=1)
            ok[i] = info == 0
        return matrices.reshape(a.shape), ok.reshape(a.shape[:-2])

    def block_press(self, features: Array, mask: Array, n: int, target: Array) -> tuple[Array, Array]:
        v = np.zeros_like(target)
        ok = np.empty(len(features), dtype=bool)
        for i, (f, size) in enumerate(zip(features, mask.sum(axis=1), strict=True)):
            block = np.full((size, size), -1.0 / n, order="F")
            block[np.diag_indices(size)] += 1.0
            block = blas.dsyrk(-1.0, f[:size].T, trans=1, beta=1.0, c=block, overwrite_c=1, lower=0)
            upper, info = lapack.dpotrf(block, lower=0, clean=0, overwrite_a=1)
            ok[i] = info == 0
            half = blas.dtrsm(1.0, upper, target[i, :size], lower=0, trans_a=1)
            v[i, :size] = blas.dtrsm(1.0, upper, half, lower=0, overwrite_b=1)
        return v, ok

    def cho_solve(self, lower: Array, b: Array) -> Array:
        factors = lower.reshape(-1, *lower.shape[-2:])
        out = np.array(b, dtype=np.float64, order="C").reshape(len(factors), -1, b.shape[-1])
        for factor, rows in zip(factors, out, strict=True):
            half = blas.dtrsm(1.0, factor.T, rows.T, lower=0, trans_a=1, overwrite_b=1)
            rows[:] = blas.dtrsm(1.0, factor.T, half, lower=0, trans_a=0, overwrite_b=1).T
        return out.reshape(b.shape)

    def cho_inverse(self, lower: Array) -> Array:
        upper, _ = lapack.dpotri(lower.T, lower=0)
        return np.triu(upper) + np.triu(upper, 1).T

    def eigh(self, a: Array) -> tuple[Array, Array]:
        return eigh(a, driver="evd", check_finite=False)

    def _blocks(self, design: Design) -> Iterator[tuple[slice, Array]]:
        """Centred float64 rows, a block at a time."""
        n = design.shape[0]
        for lo in range(0, n, _BLOCK):
            rows = slice(lo, min(n, lo + _BLOCK))
            yield rows, self._center(design, np.arange(rows.start, rows.stop))

    def _set_blocks(self, design: Design, sets: RowSets) -> Iterator[tuple[int, Array]]:
        for k, size in enumerate(sets.sizes):
            yield k, self._center(design, sets.rows[k, :size])

    def _center(self, design: Design, rows: NDArray[np.int64]) -> Array:
        from fastprobe.kernels import cpu

        out = np.empty((len(rows), design.shape[1]))
        self._share(len(rows), lambda lo, hi: cpu.center_rows(design.x, rows, design.mean, out, lo, hi))
        return out

    def _share(self, count: int, work: Callable[[int, int], None], align: int = 1) -> None:
        """Run ``work(lo, hi)`` over 0..count, a part in each thread, cut at multiples of `align`."""
        step = -(-count // self.threads)
        step = -(-step // align) * align
        parts = [(lo, min(count, lo + step)) for lo in range(0, count, step)]
        if len(parts) == 1:
            work(*parts[0])
            return
        for done in [self._pool.submit(work, lo, hi) for lo, hi in parts]:
            done.result()


def _row_blocks(x: Array, rows: NDArray[np.int64]) -> Iterator[Array]:
    whole = len(rows) == len(x) and bool((rows == np.arange(len(x))).all())
    for lo in range(0, len(rows), _BLOCK):
        yield x[lo : lo + _BLOCK] if whole else x[rows[lo : lo + _BLOCK]]
