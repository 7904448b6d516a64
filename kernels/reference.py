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
    "block_press",
    "center_rows",
    "fold_metrics",
    "logistic_step",
    "mt19937",
    "predict_linear",
    "prefix_confusion",
    "prefix_scan",
    "randperm",
    "set_adjoint",
    "set_forward",
    "set_hat",
    "softmax_step",
    "standardize_gather",
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


def standardize_gather(
    x: NDArray[Any],
    rows: Ints,
    mask: NDArray[np.bool_],
    mean: Floats,
    scale: Floats | None,
    out: NDArray[np.floating[Any]],
) -> None:
    """Gather, centre and scale: ``out[...] = (x[rows[...]] - mean) * scale``, in float64; 0 where the mask is not set.

    Parameters
    ----------
    x : ndarray of float64, float32, float16, int8 or uint8, shape (n, d)
    rows : ndarray of int64, shape (...)
        Any value where `mask` is not set.
    mask : ndarray of bool, shape (...)
    mean : ndarray of float64, shape (d,)
    scale : ndarray of float64, shape (d,), or None
        None stands for ones.
    out : ndarray of float64 or float32, shape (..., d)
        Rounded once.
    """
    out[...] = 0
    out[mask] = (x[rows[mask]].astype(np.float64) - mean) * (1.0 if scale is None else scale)


def block_press(blocks: Floats, sizes: Ints, rhs: Floats, v: Floats, ok: NDArray[np.bool_], error: Floats) -> None:
    """Solve ``blocks[k] v[k] = rhs[k]`` by Cholesky factorisation for every set, and check the solution.

    Parameters
    ----------
    blocks : ndarray of float64, shape (K, m, m)
        Symmetric, ``I - H_SS`` of every set in the leading ``sizes[k]`` rows and columns, of which both triangles are
        read; the rest is ignored.
    sizes : ndarray of int64, shape (K,)
    rhs : ndarray of float64, shape (K, m, t)
    v : ndarray of float64, shape (K, m, t)
        NaN where the factorisation failed, 0 in padded slots.
    ok : ndarray of bool, shape (K,)
        Whether every pivot was positive and finite.
    error : ndarray of float64, shape (K,)
        ``|blocks[k] v[k] - rhs[k]| / |rhs[k]|``, the largest over the t columns; 0 where both vanish, NaN where the
        factorisation failed.
    """
    tiny = np.finfo(np.float64).tiny
    for k, size in enumerate(sizes):
        block, target = blocks[k, :size, :size], rhs[k, :size]
        v[k], v[k, :size], ok[k], error[k] = 0, np.nan, False, np.nan
        try:
            lower = np.linalg.cholesky(block)
        except np.linalg.LinAlgError:
            continue
        if not np.isfinite(lower).all():
            continue
        v[k, :size] = np.linalg.solve(lower.T, np.linalg.solve(lower, target))
        missed = np.linalg.norm(block @ v[k, :size] - target, axis=0)
        scale = np.maximum(np.linalg.norm(target, axis=0), tiny)
        ok[k], error[k] = True, np.where(missed == 0, 0.0, missed / scale).max(initial=0.0)


def fold_metrics(y: Floats, rows: Ints, sizes: Ints, residuals: Floats, out: Floats) -> None:
    """Reduce held-out residuals to what R2 and F1 are made of; see :func:`fastprobe.metrics.fold_statistics`.

    Parameters
    ----------
    y : ndarray of float64, shape (n, t)
        Labels; -1 and +1 for classification.
    rows : ndarray of int64, shape (K, m)
        Held-out rows.
    sizes : ndarray of int64, shape (K,)
    residuals : ndarray of float64, shape (K, m, c)
        ``y - prediction``; column q is of task ``q mod t``.
    out : ndarray of float64, shape (7, K, c)
        Mean label, sum of squares about it (exactly 0 for constant labels), sum of squared residuals; true positives,
        false positives, false negatives, true negatives at threshold 0. NaN, 0, 0, ... for an empty set.
    """
    tasks = np.arange(residuals.shape[2]) % y.shape[1]
    for k, size in enumerate(sizes):
        labels, rest = y[rows[k, :size]][:, tasks], residuals[k, :size]
        out[0, k] = labels.mean(axis=0) if size else np.nan
        out[1, k] = np.where((labels == labels[:1]).all(axis=0), 0.0, ((labels - out[0, k]) ** 2).sum(axis=0))
        out[2, k] = (rest**2).sum(axis=0)
        truth, guess = labels > 0, labels - rest > 0
        for field, cell in enumerate((truth & guess, ~truth & guess, truth & ~guess, ~truth & ~guess), 3):
            out[field, k] = cell.sum(axis=0)


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


def prefix_scan(features: Floats, z: Floats, mean: Floats, y: Floats, sizes: Ints, sse: Floats) -> None:
    """Squared error of the held-out rows for every number s of leading features.

    The prediction of row i is ``mean + sum(features[k, i, j] z[k, j], j < s)``. With ``L L'`` the Gram matrix of the
    training rows of fold k, features ``L^-1 x`` and coefficients ``z = L^-1 X'y``, that is the prediction of the ridge
    probe on the first s features.

    Parameters
    ----------
    features : ndarray of float64, shape (K, m, d)
    z : ndarray of float64, shape (K, d, t)
    mean : ndarray of float64, shape (K, t)
    y : ndarray of float64, shape (K, m, t)
    sizes : ndarray of int64, shape (K,)
        Rows of each fold; what follows them is padding.
    sse : ndarray of float64, shape (K, t, d)
    """
    for k, size in enumerate(sizes):
        for task in range(y.shape[2]):
            errors = _prefixes(features[k, :size], z[k, :, task], mean[k, task]) - y[k, :size, task, None]
            sse[k, task] = (errors * errors).sum(axis=0)


def prefix_confusion(
    features: Floats, z: Floats, mean: Floats, y: Floats, sizes: Ints, counts: NDArray[np.int32]
) -> None:
    """True positives, false positives and false negatives for every number of leading features.

    A prediction, as in :func:`prefix_scan`, is positive above 0; so is a label.

    Parameters
    ----------
    features : ndarray of float64, shape (K, m, d)
    z : ndarray of float64, shape (K, d, t)
    mean : ndarray of float64, shape (K, t)
    y : ndarray of float64, shape (K, m, t)
    sizes : ndarray of int64, shape (K,)
    counts : ndarray of int32, shape (K, t, 3, d)
    """
    for k, size in enumerate(sizes):
        for task in range(y.shape[2]):
            guess = _prefixes(features[k, :size], z[k, :, task], mean[k, task]) > 0
            truth = y[k, :size, task, None] > 0
            counts[k, task] = [(cell).sum(axis=0) for cell in (guess & truth, guess & ~truth, ~guess & truth)]


def _prefixes(features: Floats, z: Floats, mean: np.float64) -> Floats:
    return mean + np.cumsum(features * z, axis=1)


def logistic_step(
    eta: Floats,
    y: Floats,
    training: NDArray[np.bool_],
    task: Ints,
    fold: Ints,
    residual: Floats,
    curvature: Floats,
    loss: Floats,
) -> None:
    """Residuals, curvature weights and losses of logistic probes, all columns (fold, task, strength) at once.

    With ``p = 1 / (1 + exp(-eta))``, for the training rows of a column ``residual = p - y`` and
    ``curvature = p (1 - p)``; 0 for the others. ``loss`` is the sum of ``log(1 + exp(eta)) - y eta`` over training
    rows. So the gradient of a column is ``X' residual``, and its Hessian ``X' diag(curvature) X``, without penalty.

    Parameters
    ----------
    eta : ndarray of float64, shape (n, C)
        Linear predictors.
    y : ndarray of float64, shape (n, t)
        Labels, 0 or 1; anything between is a probability.
    training : ndarray of bool, shape (n, K)
        Rows that train each fold.
    task, fold : ndarray of int64, shape (C,)
        Of every column.
    residual, curvature : ndarray of float64, shape (n, C)
    loss : ndarray of float64, shape (C,)
        Like the residuals accurate relative to itself, also where a label is predicted with near certainty.
    """
    inside, labels = training[:, fold], y[:, task]
    e = np.exp(-np.abs(eta))
    p, q = np.where(eta < 0, e, 1.0) / (1.0 + e), np.where(eta < 0, 1.0, e) / (1.0 + e)
    residual[:] = np.where(inside, p * (1.0 - labels) - q * labels, 0.0)
    curvature[:] = np.where(inside, e / (1.0 + e) ** 2, 0.0)
    loss[:] = np.where(inside, np.log1p(e) + (np.maximum(eta, 0.0) - labels * eta), 0.0).sum(axis=0)


def softmax_step(
    eta: Floats,
    codes: Ints,
    training: NDArray[np.bool_],
    fold: Ints,
    residual: Floats,
    shares: Floats,
    loss: Floats,
) -> None:
    """Residuals, shares and losses of multinomial logistic probes, all problems and columns at once.

    With p the softmax over the M classes, for the training rows of a column ``residual = p - onehot`` and
    ``shares = p``; 0 for the others. ``loss`` is the sum of ``log(sum(exp(eta))) - eta[code]`` over training rows. So
    the gradient by the weights of a class is ``X' residual``, and the Hessian between two classes
    ``X' diag(p_j [j = k] - p_j p_k) X``, without penalty.

    Parameters
    ----------
    eta : ndarray of float64, shape (n, B, M, C)
        Linear predictors of B problems, M classes and C columns.
    codes : ndarray of int64, shape (n,)
        Class numbers, 0 to M - 1.
    training : ndarray of bool, shape (n, F)
        Rows that train each fold.
    fold : ndarray of int64, shape (C,)
        Of every column.
    residual, shares : ndarray of float64, shape (n, B, M, C)
    loss : ndarray of float64, shape (B, C)
        Like the residuals accurate relative to itself, also where one class takes nearly all.
    """
    inside = training[:, None, fold]
    truth = (codes[:, None] == np.arange(eta.shape[2]))[:, None, :, None]
    top = eta.max(axis=2)
    e = np.exp(eta - top[:, :, None])
    np.put_along_axis(rest := e.copy(), eta.argmax(axis=2)[:, :, None], 0.0, axis=2)
    others = rest.sum(axis=2)
    p = e / (1.0 + others)[:, :, None]
    right = truth & (eta.argmax(axis=2)[:, :, None] == np.arange(eta.shape[2])[:, None])
    missing = np.where(right, -(others / (1.0 + others))[:, :, None], p - truth)
    residual[:] = np.where(inside[:, :, None], missing, 0.0)
    shares[:] = np.where(inside[:, :, None], p, 0.0)
    own = np.take_along_axis(eta, codes[:, None, None, None], axis=2)[:, :, 0]
    loss[:] = np.where(inside, np.log1p(others) + (top - own), 0.0).sum(axis=0)
