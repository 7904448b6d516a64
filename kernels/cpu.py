"""CPU kernels, compiled by Numba on first use and cached on disk. Twins: :mod:`fastprobe.kernels.reference`.

All release the GIL, so that the backend can run them side by side in threads.

Kernels of the ridge routes work on a range of feature rows (``lo``, ``hi``). Ranges of :func:`center_rows` and
:func:`set_forward` write different elements; those of :func:`set_adjoint` and :func:`set_hat` add to all elements of
``out``, so each range needs one of its own. The set kernels read each feature row once for all the sets that contain
it. A tile of the row is centred in a small buffer and then used for every (set, column) pair, while the matching tile
of the sets' vectors stays in the second-level cache. Indices come by row (``start``, ``set_of``, ``slot_of``:
compressed rows), because the features are much larger than everything else and are streamed once.

Kernels of the replay work on one fold, whose steps depend on each other. A step needs the outputs of its rows before
their gradient, but the gradient of a row needs no other row: four rows at a time are read, multiplied by the weights,
and added to the gradient while they are in the first-level cache.

Kernels of the sweep work on a range of folds, which is theirs alone. Predictions of four rows at a time run along the
columns: four sums that wait for nothing but themselves, over rows that stay in the first-level cache for all tasks.

The kernels of the logistic probes work on a range of feature rows and add to the losses of all columns, so each range
needs losses of its own.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np

__all__ = [
    "center_rows",
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
    "train_linear",
]

TILE = 1024
ROWS = 128
_FAST = {"reassoc", "contract", "nsz"}  # sums may be vectorised; NaN and infinity keep their meaning

_compile: Any = numba.njit(nogil=True, cache=True, fastmath=_FAST)
_exact: Any = numba.njit(nogil=True, cache=True)
# Division by zero gives infinity, as in NumPy; the check for it would keep loops from being vectorised.
_float32: Any = numba.njit(nogil=True, cache=True, fastmath=_FAST, error_model="numpy")
# Vectorised, but every operation is done as it is written: sums that round on purpose depend on it.
_vector: Any = numba.njit(nogil=True, cache=True, fastmath={"contract", "nsz"}, error_model="numpy")

_N, _M = 624, 397  # size of the state of MT19937, and the distance of its recurrence
_UPPER, _LOWER, _MATRIX = np.uint32(0x80000000), np.uint32(0x7FFFFFFF), np.uint32(0x9908B0DF)

_BETA1, _BETA2, _DECAY, _EPS = 0.9, 0.999, 0.01, np.float32(1e-8)  # of torch's AdamW
_LARGEST = 708.0  # exp(-708) is about the smallest normal number; nothing below it changes a result
_LOG2_E, _LN2_HIGH, _LN2_LOW = math.log2(math.e), 6.93147180369123816490e-01, 1.90821492927058770002e-10
_SHIFT = 1.5 * 2.0**52  # added to a number, leaves the nearest integer in its last bits
_SHIFT_BITS = int(np.float64(_SHIFT).view(np.int64))
_EXP = tuple(1.0 / math.factorial(i) for i in range(13, -1, -1))  # to 4e-18 within +-ln(2) / 2
_ARTANH = tuple(1.0 / (2 * i + 1) for i in range(16, -1, -1))  # of artanh(u) / u by u^2; to 2e-17 within 1/3
_ZERO, _ONE, _TWO = np.float32(0), np.float32(1), np.float32(2)


@_compile
def center_rows(x, rows, mean, out, lo, hi):  # type: ignore[no-untyped-def]
    """Gather rows ``lo`` to ``hi`` and subtract the column means."""
    for i in range(lo, hi):
        source, target = x[rows[i]], out[i]
        for j in range(source.size):
            target[j] = source[j] - mean[j]


@_compile
def set_adjoint(x, mean, start, set_of, slot_of, v, out, lo, hi):  # type: ignore[no-untyped-def]
    """Add ``v[k].T @ (x[rows[k]] - mean)`` to ``out[k]``, feature rows ``lo`` to ``hi`` only."""
    d, c = x.shape[1], v.shape[2]
    buffer = np.empty(TILE)
    for block in range(lo, hi, ROWS):
        for left in range(0, d, TILE):
            right = min(d, left + TILE)
            width = right - left
            center = mean[left:right]
            for i in range(block, min(hi, block + ROWS)):
                if start[i] == start[i + 1]:
                    continue
                row = x[i, left:right]
                for j in range(width):
                    buffer[j] = row[j] - center[j]
                for e in range(start[i], start[i + 1]):
                    k = set_of[e]
                    for q in range(c):
                        weight = v[k, slot_of[e], q]
                        target = out[k, q, left:right]
                        for j in range(width):
                            target[j] += weight * buffer[j]


@_compile
def set_forward(x, mean, start, set_of, slot_of, u, out, lo, hi):  # type: ignore[no-untyped-def]
    """Add ``(x[rows[k]] - mean) @ u[k].T`` to ``out[k]``, feature rows ``lo`` to ``hi`` only."""
    d, c = x.shape[1], u.shape[1]
    buffer = np.empty(TILE)
    for block in range(lo, hi, ROWS):
        for left in range(0, d, TILE):
            right = min(d, left + TILE)
            width = right - left
            center = mean[left:right]
            for i in range(block, min(hi, block + ROWS)):
                if start[i] == start[i + 1]:
                    continue
                row = x[i, left:right]
                for j in range(width):
                    buffer[j] = row[j] - center[j]
                for e in range(start[i], start[i + 1]):
                    k = set_of[e]
                    for q in range(c):
                        vector = u[k, q, left:right]
                        total = 0.0
                        for j in range(width):
                            total += buffer[j] * vector[j]
                        out[k, slot_of[e], q] += total


@_compile
def set_hat(x, mean, start, set_of, slot_of, u, w, out, lo, hi):  # type: ignore[no-untyped-def]
    """Both at once: :func:`set_forward` subtracted from ``w``, then :func:`set_adjoint` of that ``w``."""
    d, c = x.shape[1], u.shape[1]
    buffer = np.empty(d)
    for i in range(lo, hi):
        if start[i] == start[i + 1]:
            continue
        row = x[i]
        for j in range(d):
            buffer[j] = row[j] - mean[j]
        for e in range(start[i], start[i + 1]):
            k = set_of[e]
            for q in range(c):
                vector = u[k, q]
                total = 0.0
                for j in range(d):
                    total += buffer[j] * vector[j]
                weight = w[k, slot_of[e], q] - total
                w[k, slot_of[e], q] = weight
                target = out[k, q]
                for j in range(d):
                    target[j] += weight * buffer[j]


@_exact
def _mix(state, i, near, far):  # type: ignore[no-untyped-def]
    y = (state[i] & _UPPER) | (state[near] & _LOWER)
    return state[far] ^ (y >> np.uint32(1)) ^ ((y & np.uint32(1)) * _MATRIX)


@_exact
def _twist(state):  # type: ignore[no-untyped-def]
    for i in range(_N - _M):
        state[i] = _mix(state, i, i + 1, i + _M)
    for i in range(_N - _M, _N - 1):
        state[i] = _mix(state, i, i + 1, i + _M - _N)
    state[_N - 1] = _mix(state, _N - 1, 0, _M - 1)


@_exact
def mt19937(state, out):  # type: ignore[no-untyped-def]
    """Draw the next ``out.size`` words of MT19937 and move the state on."""
    drawn, position = 0, int(state[_N])
    while drawn < out.size:
        if position == _N:
            _twist(state)
            position = 0
        count = min(_N - position, out.size - drawn)
        for i in range(count):
            y = state[position + i]
            y ^= y >> np.uint32(11)
            y ^= (y << np.uint32(7)) & np.uint32(0x9D2C5680)
            y ^= (y << np.uint32(15)) & np.uint32(0xEFC60000)
            out[drawn + i] = y ^ (y >> np.uint32(18))
        drawn += count
        position += count
    state[_N] = position


@_exact
def randperm(words, values, out):  # type: ignore[no-untyped-def]
    """Shuffle ``values`` into ``out`` as ``torch.randperm`` shuffles 0, 1, ... with these words."""
    n = out.size
    for i in range(n):
        out[i] = values[i]
    for i in range(n - 1):
        j = i + np.int64(words[i] % np.uint32(n - i))
        kept = out[i]
        out[i] = out[j]
        out[j] = kept


@_float32
def _dot4(x, w, a, b, c, e):  # type: ignore[no-untyped-def]
    xa, xb, xc, xe = x[a], x[b], x[c], x[e]
    ya, yb, yc, ye = _ZERO, _ZERO, _ZERO, _ZERO
    for j in range(x.shape[1]):
        wj = w[j]
        ya += xa[j] * wj
        yb += xb[j] * wj
        yc += xc[j] * wj
        ye += xe[j] * wj
    bias = w[x.shape[1]]
    return ya + bias, yb + bias, yc + bias, ye + bias


@_float32
def _add4(x, g, a, b, c, e, ra, rb, rc, re):  # type: ignore[no-untyped-def]
    xa, xb, xc, xe = x[a], x[b], x[c], x[e]
    for j in range(x.shape[1]):
        g[j] += ra * xa[j] + rb * xb[j] + rc * xc[j] + re * xe[j]
    g[x.shape[1]] += ra + rb + rc + re


@_float32
def _slope(output, label, logistic):  # type: ignore[no-untyped-def]
    if logistic:
        return _ONE / (_ONE + np.exp(-output)) - label
    return _TWO * (output - label)


@_float32
def _adamw(w, g, m, v, step, learning_rate):  # type: ignore[no-untyped-def]
    rate = np.float32(learning_rate / (1.0 - _BETA1**step))
    root = np.float32(math.sqrt(1.0 - _BETA2**step))
    shrink = np.float32(1.0 - learning_rate * _DECAY)
    new1, old2, new2 = np.float32(1.0 - _BETA1), np.float32(_BETA2), np.float32(1.0 - _BETA2)
    for j in range(w.size):
        m[j] += new1 * (g[j] - m[j])
        v[j] = v[j] * old2 + new2 * g[j] * g[j]
        w[j] = w[j] * shrink - rate * m[j] / (np.sqrt(v[j]) / root + _EPS)
        g[j] = _ZERO


@_float32
def train_linear(x, rows, y, order, batch_size, learning_rate, logistic, weights, fitted):  # type: ignore[no-untyped-def]
    """Train one fold: ``weights[e + 1]`` from ``weights[e]`` by one epoch of AdamW over ``order[e]``."""
    g, m, v = np.zeros_like(weights[0]), np.zeros_like(weights[0]), np.zeros_like(weights[0])
    w = weights[0].copy()
    step = 0
    for epoch in range(order.shape[0]):
        samples = order[epoch]
        for start in range(0, samples.size, batch_size):
            stop = min(samples.size, start + batch_size)
            share = np.float32(1.0 / (stop - start))
            for i in range(start, stop, 4):
                # beyond the end of a batch the last sample stands in, with a slope of 0
                a, b = samples[i], samples[min(i + 1, stop - 1)]
                c, e = samples[min(i + 2, stop - 1)], samples[min(i + 3, stop - 1)]
                ya, yb, yc, ye = _dot4(x, w, rows[a], rows[b], rows[c], rows[e])
                ra = share * _slope(ya, y[a], logistic)
                rb = share * _slope(yb, y[b], logistic) if i + 1 < stop else _ZERO
                rc = share * _slope(yc, y[c], logistic) if i + 2 < stop else _ZERO
                re = share * _slope(ye, y[e], logistic) if i + 3 < stop else _ZERO
                _add4(x, g, rows[a], rows[b], rows[c], rows[e], ra, rb, rc, re)
                if fitted.size:
                    fitted[epoch, min(i + 3, stop - 1)] = ye
                    fitted[epoch, min(i + 2, stop - 1)] = yc
                    fitted[epoch, min(i + 1, stop - 1)] = yb
                    fitted[epoch, i] = ya
            step += 1
            _adamw(w, g, m, v, step, learning_rate)
        weights[epoch + 1] = w


@_float32
def predict_linear(x, rows, weights, out):  # type: ignore[no-untyped-def]
    """Outputs of some rows for several weight vectors: every row is read once."""
    n = rows.size
    for i in range(0, n, 4):
        b, c, e = min(i + 1, n - 1), min(i + 2, n - 1), min(i + 3, n - 1)
        for k in range(weights.shape[0]):
            ya, yb, yc, ye = _dot4(x, weights[k], rows[i], rows[b], rows[c], rows[e])
            out[k, i], out[k, b], out[k, c], out[k, e] = ya, yb, yc, ye


@_compile
def _add_squares(xa, xb, xc, xe, z, a, b, c, e, out):  # type: ignore[no-untyped-def]
    for j in range(z.size):
        zj = z[j]
        a += xa[j] * zj
        b += xb[j] * zj
        c += xc[j] * zj
        e += xe[j] * zj
        out[j] += (a * a + b * b) + (c * c + e * e)


@_compile
def prefix_scan(features, z, mean, y, sizes, sse, lo, hi):  # type: ignore[no-untyped-def]
    """Squared errors for every number of leading features, folds ``lo`` to ``hi`` only."""
    none = np.zeros(z.shape[1])
    for k in range(lo, hi):
        x, by_task, error = features[k], z[k].T.copy(), mean[k] - y[k]
        sse[k] = 0.0
        whole = sizes[k] // 4 * 4
        for i in range(0, whole, 4):
            for t in range(error.shape[1]):
                a, b, c, e = error[i, t], error[i + 1, t], error[i + 2, t], error[i + 3, t]
                _add_squares(x[i], x[i + 1], x[i + 2], x[i + 3], by_task[t], a, b, c, e, sse[k, t])
        for i in range(whole, sizes[k]):
            for t in range(error.shape[1]):
                _add_squares(x[i], none, none, none, by_task[t], error[i, t], 0.0, 0.0, 0.0, sse[k, t])


@_compile
def _add_positives(xa, xb, xc, xe, z, a, b, c, e, ta, tb, tc, te, right, guesses):  # type: ignore[no-untyped-def]
    for j in range(z.size):
        zj = z[j]
        a += xa[j] * zj
        b += xb[j] * zj
        c += xc[j] * zj
        e += xe[j] * zj
        ga, gb, gc, ge = np.int32(a > 0), np.int32(b > 0), np.int32(c > 0), np.int32(e > 0)
        right[j] += (ga & ta) + (gb & tb) + (gc & tc) + (ge & te)
        guesses[j] += ga + gb + gc + ge


@_compile
def prefix_confusion(features, z, mean, y, sizes, counts, lo, hi):  # type: ignore[no-untyped-def]
    """True and false positives and false negatives for every number of leading features, folds ``lo`` to ``hi``."""
    none, no = np.zeros(z.shape[1]), np.int32(0)
    for k in range(lo, hi):
        x, by_task, truth = features[k], z[k].T.copy(), (y[k] > 0).astype(np.int32)
        right, guesses, missed = counts[k, :, 0], counts[k, :, 1], counts[k, :, 2]
        counts[k] = 0
        whole = sizes[k] // 4 * 4
        for i in range(0, whole, 4):
            for t in range(truth.shape[1]):
                a, b, c, e = truth[i, t], truth[i + 1, t], truth[i + 2, t], truth[i + 3, t]
                first = mean[k, t]
                _add_positives(
                    x[i], x[i + 1], x[i + 2], x[i + 3], by_task[t], first, first, first, first, a, b, c, e,
                    right[t], guesses[t],
                )  # fmt: skip
        for i in range(whole, sizes[k]):
            for t in range(truth.shape[1]):
                _add_positives(
                    x[i], none, none, none, by_task[t], mean[k, t], 0.0, 0.0, 0.0, truth[i, t], no, no, no,
                    right[t], guesses[t],
                )  # fmt: skip
        for t in range(truth.shape[1]):
            missed[t] = truth[: sizes[k], t].sum() - right[t]
            guesses[t] -= right[t]


# Horner's rule, written out: a loop over coefficients within the loop over columns would not be vectorised.
@_vector
def _exp_near_0(x):  # type: ignore[no-untyped-def]
    c = _EXP
    total = ((c[0] * x + c[1]) * x + c[2]) * x + c[3]
    total = (((total * x + c[4]) * x + c[5]) * x + c[6]) * x + c[7]
    total = (((total * x + c[8]) * x + c[9]) * x + c[10]) * x + c[11]
    return (total * x + c[12]) * x + c[13]


@_vector
def _artanh_by_root(x):  # type: ignore[no-untyped-def]
    c = _ARTANH
    total = ((c[0] * x + c[1]) * x + c[2]) * x + c[3]
    total = (((total * x + c[4]) * x + c[5]) * x + c[6]) * x + c[7]
    total = (((total * x + c[8]) * x + c[9]) * x + c[10]) * x + c[11]
    total = (((total * x + c[12]) * x + c[13]) * x + c[14]) * x + c[15]
    return total * x + c[16]


@_vector
def _split(x, power, bits, exponent):  # type: ignore[no-untyped-def]
    """Find the power of two nearest to exp(x), for x of -708 to 0, and its exponent. `bits` are those of `power`."""
    for c in range(x.size):
        power[c] = _SHIFT + x[c] * _LOG2_E
        exponent[c] = power[c] - _SHIFT
    for c in range(x.size):
        bits[c] = (bits[c] - _SHIFT_BITS + 1023) << 52


@_vector
def _scaled_exp(x, power, exponent):  # type: ignore[no-untyped-def]
    return power * _exp_near_0(x - exponent * _LN2_HIGH - exponent * _LN2_LOW)


@_vector
def _logistic_row(eta, y, inside, residual, curvature, loss, x, power, exponent):  # type: ignore[no-untyped-def]
    # exp(-|eta|) = 2^exponent exp(rest), without calls, so that all of it runs on vectors.
    for c in range(eta.size):
        size = abs(eta[c])
        x[c] = -(_LARGEST if size > _LARGEST else size)
    _split(x, power, power.view(np.int64), exponent)
    for c in range(eta.size):
        value, label = eta[c], y[c]
        e = _scaled_exp(x[c], power[c], exponent[c])
        share = 1.0 / (1.0 + e)
        u = e / (2.0 + e)  # log(1 + e) = 2 artanh(e / (2 + e))
        log_loss = 2.0 * u * _artanh_by_root(u * u) + ((value if value > 0 else 0.0) - label * value)
        p, q = (e * share, share) if value < 0 else (share, e * share)
        residual[c] = p * (1.0 - label) - q * label if inside[c] > 0 else 0.0
        curvature[c] = e * share * share if inside[c] > 0 else 0.0
        loss[c] += log_loss if inside[c] > 0 else 0.0


@_vector
def logistic_step(eta, y, training, task, fold, residual, curvature, loss, lo, hi):  # type: ignore[no-untyped-def]
    """Residuals and curvature weights of rows ``lo`` to ``hi``; their losses are added to those of the columns."""
    columns = eta.shape[1]
    label, inside = np.empty(columns), np.empty(columns)
    x, power, exponent = np.empty(columns), np.empty(columns), np.empty(columns)
    for i in range(lo, hi):
        for c in range(columns):
            label[c], inside[c] = y[i, task[c]], training[i, fold[c]]
        _logistic_row(eta[i], label, inside, residual[i], curvature[i], loss, x, power, exponent)


@_vector
def _greatest(eta, top, first):  # type: ignore[no-untyped-def]
    for c in range(top.size):
        top[c], first[c] = eta[0, c], 0.0
    for k in range(1, eta.shape[0]):
        for c in range(top.size):
            first[c] = k if eta[k, c] > top[c] else first[c]
            top[c] = eta[k, c] if eta[k, c] > top[c] else top[c]


@_vector
def _exp_below(eta, top, out, x, power, exponent):  # type: ignore[no-untyped-def]
    columns = top.size
    for k in range(eta.shape[0]):
        for c in range(columns):
            size = top[c] - eta[k, c]
            x[k * columns + c] = -(_LARGEST if size > _LARGEST else size)
    _split(x, power, power.view(np.int64), exponent)
    for c in range(x.size):
        out[c] = _scaled_exp(x[c], power[c], exponent[c])


@_vector
def _add_log_sums(others, top, own, inside, loss, x, power, exponent):  # type: ignore[no-untyped-def]
    # log(1 + others) = exponent log(2) + log(1 + x), the power of two taken out of the bits so that x is 0 to 1.
    bits = power.view(np.int64)
    for c in range(others.size):
        power[c] = 1.0 + others[c]
    for c in range(others.size):
        high = (bits[c] >> 52) - 1023
        exponent[c], bits[c] = high, (1023 - high) << 52
    for c in range(others.size):
        x[c] = others[c] * power[c] + (power[c] - 1.0)
    for c in range(others.size):
        u = x[c] / (2.0 + x[c])
        log = (exponent[c] * _LN2_LOW + 2.0 * u * _artanh_by_root(u * u)) + exponent[c] * _LN2_HIGH
        loss[c] += log + (top[c] - own[c]) if inside[c] > 0 else 0.0


@_vector
def _softmax_row(eta, code, inside, residual, shares, loss, top, first, others, x, power, exponent):  # type: ignore[no-untyped-def]
    classes, columns = eta.shape
    _greatest(eta, top, first)
    _exp_below(eta, top, shares.reshape(x.size), x, power, exponent)
    others[:] = 0.0
    for k in range(classes):
        for c in range(columns):  # all but the greatest: their sum has digits that are lost in 1 + others
            others[c] += 0.0 if first[c] == k else shares[k, c]
    _add_log_sums(others, top, eta[code], inside, loss, x, power, exponent)
    for c in range(columns):
        x[c] = inside[c] / (1.0 + others[c])
    for k in range(classes):
        for c in range(columns):
            shares[k, c] *= x[c]
            residual[k, c] = shares[k, c]
    for c in range(columns):
        residual[code, c] = -others[c] * x[c] if first[c] == code else residual[code, c] - inside[c]


@_vector
def softmax_step(eta, codes, training, fold, residual, shares, loss, lo, hi):  # type: ignore[no-untyped-def]
    """Residuals and shares of rows ``lo`` to ``hi``; their losses are added to those of the problems and columns."""
    classes, columns = eta.shape[2:]
    inside, top, first, others = np.empty(columns), np.empty(columns), np.empty(columns), np.empty(columns)
    x, power, exponent = np.empty(classes * columns), np.empty(classes * columns), np.empty(classes * columns)
    for i in range(lo, hi):
        for c in range(columns):
            inside[c] = training[i, fold[c]]
        for b in range(eta.shape[1]):
            _softmax_row(
                eta[i, b], codes[i], inside, residual[i, b], shares[i, b], loss[b],
                top, first, others, x, power, exponent,
            )  # fmt: skip
