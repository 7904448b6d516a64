"""NumPy twins of the kernels: the same names, signatures and results, slow and obvious.

The tests hold every kernel, on every device, to its twin here. Shapes: ``n`` rows, ``d`` features, ``K`` row sets of at
most ``m`` rows, ``c`` columns per set. A pair (row, slot) of set ``k`` says that row ``rows[k, slot]`` of the features
is entry ``slot`` of that set; sets are padded with slots beyond ``sizes[k]``, which are ignored and never written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "center_rows",
    "mt19937",
    "predict_linear",
    "randperm",
    "set_adjoint",
    "set_forward",
    "set_hat",
    "train_linear",
]

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Words = NDArray[np.uint32]


def center_rows(x: NDArray[Any], rows: Ints, mean: Floats, out: Floats) -> None:
    """Gather rows and subtract the column means: ``out[i] = x[rows[i]] - mean``.

    Parameters
    ----------
    x : ndarray of a real dtype, shape (n, d)
    rows : ndarray of int64, shape (r,)
    mean : ndarray of float64, shape (d,)
    out : ndarray of float64, shape (r, d)
    """
    out[:] = x[rows].astype(np.float64) - mean


def set_adjoint(x: NDArray[Any], mean: Floats, rows: Ints, sizes: Ints, v: Floats, out: Floats) -> None:
    """Add the centred features of each set, weighted by `v`: ``out[k] += v[k].T @ (x[rows[k]] - mean)``.

    Parameters
    ----------
    x : ndarray of a real dtype, shape (n, d)
    mean : ndarray of float64, shape (d,)
    rows : ndarray of int64, shape (K, m)
    sizes : ndarray of int64, shape (K,)
    v : ndarray of float64, shape (K, m, c)
    out : ndarray of float64, shape (K, c, d)
    """
    for k, size in enumerate(sizes):
        out[k] += v[k, :size].T @ (x[rows[k, :size]].astype(np.float64) - mean)


def set_forward(x: NDArray[Any], mean: Floats, rows: Ints, sizes: Ints, u: Floats, out: Floats) -> None:
    """Apply the centred features of each set: ``out[k] += (x[rows[k]] - mean) @ u[k].T``.

    Parameters
    ----------
    x : ndarray of a real dtype, shape (n, d)
    mean : ndarray of float64, shape (d,)
    rows : ndarray of int64, shape (K, m)
    sizes : ndarray of int64, shape (K,)
    u : ndarray of float64, shape (K, c, d)
    out : ndarray of float64, shape (K, m, c)
    """
    for k, size in enumerate(sizes):
        out[k, :size] += (x[rows[k, :size]].astype(np.float64) - mean) @ u[k].T


def set_hat(x: NDArray[Any], mean: Floats, rows: Ints, sizes: Ints, u: Floats, w: Floats, out: Floats) -> None:
    """Both at once: ``w[k] -= (x[rows[k]] - mean) @ u[k].T``, then ``out[k] += w[k].T @ (x[rows[k]] - mean)``.

    Parameters
    ----------
    x : ndarray of a real dtype, shape (n, d)
    mean : ndarray of float64, shape (d,)
    rows : ndarray of int64, shape (K, m)
    sizes : ndarray of int64, shape (K,)
    u : ndarray of float64, shape (K, c, d)
    w : ndarray of float64, shape (K, m, c)
    out : ndarray of float64, shape (K, c, d)
    """
    set_forward(x, mean, rows, sizes, -u, w)
    set_adjoint(x, mean, rows, sizes, w, out)


def mt19937(state: Words, out: Words) -> None:
    """Draw the next words of MT19937 (Matsumoto and Nishimura 1998) and move the state on.

    Parameters
    ----------
    state : ndarray of uint32, shape (625,)
        The 624 words of the generator, and the position of the next one among them.
    out : ndarray of uint32, shape (count,)
    """
    generator = np.random.RandomState()
    generator.set_state(("MT19937", state[:624], int(state[624]), 0, 0.0))
    out[:] = generator.randint(0, 2**32, size=out.size, dtype=np.uint32)
    _, key, position, *_ = generator.get_state(legacy=True)
    state[:624], state[624] = key, position


def randperm(words: Words, values: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    """Shuffle as ``torch.randperm`` does on the CPU: swap entry i with entry ``i + words[i] mod (n - i)``.

    Parameters
    ----------
    words : ndarray of uint32, shape (at least n - 1,)
    values : ndarray of int32, shape (n,)
        What is shuffled; 0, 1, ..., n - 1 give the permutation itself.
    out : ndarray of int32, shape (n,)
    """
    shuffled = values.tolist()
    for i in range(len(shuffled) - 1):
        j = i + int(words[i]) % (len(shuffled) - i)
        shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
    out[:] = shuffled


def train_linear(
    x: Singles,
    rows: Ints,
    y: Singles,
    order: NDArray[np.int32],
    batch_size: int,
    learning_rate: float,
    logistic: bool,
    weights: Singles,
    fitted: Singles,
) -> None:
    """Train a linear probe by AdamW (Loshchilov and Hutter 2019, as ``torch.optim.AdamW``), epoch after epoch.

    Minimises the mean over a batch of ``(w'x + b - y)^2``, or of the logistic loss of ``w'x + b`` for labels 0 and 1.
    Betas 0.9 and 0.999, eps 1e-8, weight decay 0.01 on weights and bias. All arithmetic in float32.

    Parameters
    ----------
    x : ndarray of float32, shape (n, d)
    rows : ndarray of int64, shape (s,)
        Row of `x` of every sample.
    y : ndarray of float32, shape (s,)
    order : ndarray of int32, shape (E, m)
        Samples in the order in which every epoch visits them.
    batch_size : int
        The last batch of an epoch may be smaller.
    learning_rate : float
    logistic : bool
    weights : ndarray of float32, shape (E + 1, d + 1)
        The first row holds the initial weights, bias last; row e + 1 receives those after epoch e.
    fitted : ndarray of float32, shape (E, m) or (0, 0)
        Receives the output of every sample at the time of its step.
    """
    w = weights[0].copy()
    m, v = np.zeros_like(w), np.zeros_like(w)
    step = 0
    for epoch, samples in enumerate(order):
        for start in range(0, len(samples), batch_size):
            batch = samples[start : start + batch_size]
            features, labels = x[rows[batch]], y[batch]
            output = features @ w[:-1] + w[-1]
            if fitted.size:
                fitted[epoch, start : start + len(batch)] = output
            with np.errstate(over="ignore"):  # exp of a large number is infinity, and 1 / infinity is 0
                slope = 1 / (1 + np.exp(-output)) - labels if logistic else 2 * (output - labels)
            slope *= np.float32(1 / len(batch))
            g = np.append(slope @ features, slope.sum())
            step += 1
            m += np.float32(1 - 0.9) * (g - m)
            v[:] = np.float32(0.999) * v + np.float32(1 - 0.999) * g * g
            w *= np.float32(1 - learning_rate * 0.01)
            denominator = np.sqrt(v) / np.float32(np.sqrt(1 - 0.999**step)) + np.float32(1e-8)
            w -= np.float32(learning_rate / (1 - 0.9**step)) * m / denominator
        weights[epoch + 1] = w


def predict_linear(x: Singles, rows: Ints, weights: Singles, out: Singles) -> None:
    """Outputs of some rows for several weight vectors: ``out[k] = x[rows] @ weights[k, :-1] + weights[k, -1]``.

    Parameters
    ----------
    x : ndarray of float32, shape (n, d)
    rows : ndarray of int64, shape (m,)
    weights : ndarray of float32, shape (k, d + 1)
        Bias last.
    out : ndarray of float32, shape (k, m)
    """
    out[:] = weights[:, :-1] @ x[rows].T + weights[:, -1:]
