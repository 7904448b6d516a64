"""Launchers of the CUDA kernels: grid, block and shared memory of each, and its arguments in order.

A launcher has the name and the array arguments of its twin in :mod:`fastprobe.kernels.reference`, after a first
argument `launch` that runs one kernel of one source file of ``kernels/cuda``. What runs it is not known here: CuPy on a
device, the compiler's host build in the tests.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

__all__ = [
    "Empty",
    "Launch",
    "block_press",
    "fold_metrics",
    "logistic_step",
    "max_block_press",
    "predict_linear",
    "prefix_confusion",
    "prefix_scan",
    "softmax_step",
    "standardize_gather",
    "train_linear",
]

Array = Any
"""An array of the device."""

_REPLAY = ((1, 1), (2, 1), (4, 1), (8, 1), (8, 2), (8, 4))
"""Quads per lane and warps per team of the replay kernels, which hold up to 128 x quads x team features. The last needs
82 KB of shared memory; every device since 8.0 has 99 KB for a block."""

_GATHER_THREADS, _GATHER_ROWS = 256, 4  # threads of a block, and rows that each works on at a time
_PRESS_THREADS = 256
_PRESS_SMALL = 128  # sets up to which shared memory has room for many right-hand sides side by side
_FOLD_THREADS = 256
_MAX_GRID_Y = 65535


class Launch(Protocol):
    """Runs one kernel on the current device and stream."""

    def __call__(
        self, source: str, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...],
        shared: int = 0,
    ) -> None:  # fmt: skip
        """Run `kernel` of ``kernels/cuda/<source>``.

        Parameters
        ----------
        source : str
            Name of the ``.cu`` file.
        kernel : str
            Name of the ``extern "C"`` entry point.
        grid, block : tuple of int
            Up to three extents each.
        args : tuple
            C-contiguous arrays of the device, and NumPy scalars of the exact C type, in the order of the parameters.
        shared : int
            Bytes of dynamic shared memory.
        """


class Empty(Protocol):
    """Allocates an array of the device."""

    def __call__(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Give an array of any content, as ``numpy.empty`` does."""


def train_linear(
    launch: Launch,
    x: Array,
    rows: Array,
    y: Array,
    order: Array,
    batch_size: int,
    learning_rate: float,
    logistic: bool,
    weights: Array,
    fitted: Array,
    *,
    empty: Empty,
) -> None:
    """Train K folds at once: the twin with a leading fold axis on `order`, `weights` and `fitted`.

    Parameters
    ----------
    launch : Launch
    x : array of float32, shape (n, d)
    rows : array of int64, shape (s,)
    y : array of float32, shape (s,)
    order : array of int32, shape (K, E, m)
    batch_size : int
    learning_rate : float
    logistic : bool
    weights : array of float32, shape (K, E + 1, d + 1)
    fitted : array of float32, shape (K, E, m), or empty
    empty : Empty
        For the two scalars of every step, and beyond 4096 features for the state of every fold.
    """
    (count, epochs, samples), d = order.shape, x.shape[1]
    batch = min(batch_size, samples)
    steps = epochs * -(-samples // batch)
    rate, root = empty((steps,), np.float32), empty((steps,), np.float32)
    launch(
        "adamw_replay.cu", "adamw_scalars", (-(-steps // 128),), (128,),
        (np.float64(learning_rate), np.int32(steps), rate, root),
    )  # fmt: skip
    args = (
        x, rows, y, order, rate, root, weights, fitted, np.int32(d), np.int32(epochs), np.int32(samples),
        np.int32(batch), np.float32(1.0 - learning_rate * 0.01), np.bool_(logistic), np.bool_(fitted.size > 0),
    )  # fmt: skip
    for quads, team in _REPLAY:
        width = 128 * quads * team
        if d <= width:
            shared = 4 * ((3 + 8 // team) * (width + 4) + 32)
            launch("adamw_replay.cu", f"adamw_replay_{quads}x{team}", (count,), (256,), args, shared)
            return
    state = empty((count, 4, d + 1), np.float32)
    launch("adamw_replay.cu", "adamw_replay_wide", (count,), (256,), (*args, state))


def predict_linear(launch: Launch, x: Array, rows: Array, weights: Array, out: Array) -> None:
    """Outputs of K folds at once: the twin with a leading fold axis on `rows`, `weights` and `out`.

    Parameters
    ----------
    launch : Launch
    x : array of float32, shape (n, d)
    rows : array of int64, shape (K, m)
    weights : array of float32, shape (K, E, d + 1)
    out : array of float32, shape (K, E, m)
    """
    count, epochs, samples = out.shape
    launch(
        "predict_linear.cu", "predict_linear", (-(-samples // 32), -(-epochs // 16), count), (256,),
        (x, rows, weights, out, np.int32(x.shape[1]), np.int32(epochs), np.int32(samples)),
    )  # fmt: skip


def standardize_gather(
    launch: Launch, x: Array, rows: Array, mask: Array, mean: Array, scale: Array | None, out: Array
) -> None:
    """Gather, centre and scale rows in one pass: the twin."""
    d, count = x.shape[1], rows.size
    if not out.size:
        return
    columns = -(-d // (16 // out.dtype.itemsize))
    across = min(_GATHER_THREADS, -(-columns // 32) * 32)
    down = _GATHER_THREADS // across
    grid = -(-columns // across), min(-(-count // (down * _GATHER_ROWS)), _MAX_GRID_Y)
    args = (
        x, rows, mask, mean, mean if scale is None else scale, np.bool_(scale is not None), np.int64(count),
        np.int32(d), out,
    )  # fmt: skip
    kernel = f"standardize_gather_{x.dtype.name}_{out.dtype.name}"
    launch("standardize_gather.cu", kernel, grid, (across, down), args)


def block_press(launch: Launch, blocks: Array, sizes: Array, rhs: Array, v: Array, ok: Array, error: Array) -> None:
    """Factorise, solve and check in shared memory: the twin, for m up to :func:`max_block_press`."""
    count, m, t = rhs.shape
    if m > _PRESS_THREADS:
        raise ValueError(f"sets of {m} rows; block_press holds at most {_PRESS_THREADS}, see max_block_press")
    if not count:
        return
    threads, together = _press_threads(m), min(t, _press_columns(m))
    args = blocks, sizes, rhs, np.int32(m), np.int32(t), np.int32(together), v, ok, error
    launch("block_press.cu", "block_press", (count,), (threads,), args, _press_bytes(m, together))


def max_block_press(shared_bytes: int) -> int:
    """Largest m of :func:`block_press` for the shared memory that a block can have on a device.

    Parameters
    ----------
    shared_bytes : int
        ``sharedMemPerBlockOptin``: 232,448 on Hopper (m = 238), 166,912 on A100 (m = 201), 101,376 on consumer cards
        (m = 156).
    """
    return max(m for m in range(_PRESS_THREADS + 1) if _press_bytes(m, _press_columns(m)) <= shared_bytes)


def _press_threads(m: int) -> int:
    return min(_PRESS_THREADS, max(64, -(-m // 32) * 32))


def _press_columns(m: int) -> int:
    """Right-hand sides that are solved side by side, if there are as many; two let sets of 166 share a Hopper SM."""
    return 8 if m <= _PRESS_SMALL else 2


def _press_bytes(m: int, together: int) -> int:
    """Bytes of a packed lower triangle, the right-hand sides, and two sums per right-hand side and warp."""
    return 8 * (m * (m + 1) // 2 + together * (m + 2 * (_press_threads(m) // 32)))


def fold_metrics(launch: Launch, y: Array, rows: Array, sizes: Array, residuals: Array, out: Array) -> None:
    """Reduce held-out residuals of all folds and columns: the twin."""
    count, m, columns = residuals.shape
    if not out.size:
        return
    grid = count, -(-columns // _FOLD_THREADS)
    args = y, rows, sizes, residuals, np.int32(m), np.int32(columns), np.int32(y.shape[1]), out
    launch("fold_metrics.cu", "fold_metrics", grid, (_FOLD_THREADS,), args)


def prefix_scan(
    launch: Launch, features: Array, z: Array, mean: Array, y: Array, sizes: Array, sse: Array, *, empty: Empty
) -> None:
    """Run the twin's computation on the device; `empty` gives room for one number per held-out row and task."""
    _prefixes(launch, "prefix_scan", features, z, mean, y, sizes, sse, empty)


def prefix_confusion(
    launch: Launch, features: Array, z: Array, mean: Array, y: Array, sizes: Array, counts: Array, *, empty: Empty
) -> None:
    """Run the twin's computation on the device; `empty` gives room for one number per held-out row and task."""
    _prefixes(launch, "prefix_confusion", features, z, mean, y, sizes, counts, empty)


def _prefixes(
    launch: Launch, kernel: str, features: Array, z: Array, mean: Array, y: Array, sizes: Array, out: Array,
    empty: Empty,
) -> None:  # fmt: skip
    (count, m, d), tasks = features.shape, y.shape[2]
    carry = empty((count, tasks, m), np.float64)
    launch(
        "prefix_scan.cu", kernel, (tasks, count), (256,),
        (features, z, mean, y, sizes, carry, out, np.int32(m), np.int32(d), np.int32(tasks)),
    )  # fmt: skip


def logistic_step(
    launch: Launch,
    eta: Array,
    y: Array,
    training: Array,
    task: Array,
    fold: Array,
    residual: Array,
    curvature: Array,
    loss: Array,
    *,
    empty: Empty,
) -> None:
    """Run the twin's computation on the device; `empty` gives room for a loss per column and 64 rows."""
    n, columns = eta.shape
    parts = -(-n // 64)
    losses = empty((parts, columns), np.float64)
    launch(
        "logistic_step.cu", "logistic_step", (parts, -(-columns // 32)), (256,),
        (eta, y, training, task, fold, residual, curvature, losses, np.int64(n), np.int32(columns),
         np.int32(y.shape[1]), np.int32(training.shape[1])),
    )  # fmt: skip
    _add_losses(launch, losses, loss)


def softmax_step(
    launch: Launch,
    eta: Array,
    codes: Array,
    training: Array,
    fold: Array,
    residual: Array,
    shares: Array,
    loss: Array,
    *,
    empty: Empty,
) -> None:
    """Run the twin's computation on the device; `empty` gives room for a loss per problem, column and 64 rows."""
    n, problems, classes, columns = eta.shape
    parts = -(-n // 64)
    losses = empty((parts, problems * columns), np.float64)
    launch(
        "softmax_step.cu", "softmax_step", (parts, -(-problems * columns // 32)), (256,),
        (eta, codes, training, fold, residual, shares, losses, np.int64(n), np.int32(problems), np.int32(classes),
         np.int32(columns), np.int32(training.shape[1])),
    )  # fmt: skip
    _add_losses(launch, losses, loss)


def _add_losses(launch: Launch, losses: Array, loss: Array) -> None:
    """Add partial losses (parts, columns) up, in their order."""
    parts, columns = losses.shape
    launch(
        "logistic_step.cu", "logistic_loss", (-(-columns // 256),), (256,),
        (losses, loss, np.int32(parts), np.int32(columns)),
    )  # fmt: skip
