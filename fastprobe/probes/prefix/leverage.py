"""Fits that leave few rows out, from the one fit on all rows.

Let ``L L' = Xc'Xc + alpha I`` for all n rows, ``U = L^-1 Xc_S'`` the whitened rows of a left-out set S, and ``z = L^-1
Xc'y``. The Gram matrix without S is ``L (I - U U') L'`` (but for the means), so that the factor of the fit without S is
``L M`` with ``M M' = I - U U'``. M is the identity less a matrix of low rank, and with ``W = (I - U_a'U_a)^-1`` of the
features a before a panel b of features

    M_bb M_bb' = I - U_b W U_b'
    T_b = M_bb^-1 U_b W                      features of the left-out rows, L_S^-1 x
    z_b = M_bb^-1 (z_b - U_b (y_S - p))      p: the predictions of the left-out rows by the features before
    W  += T_b' T_b,   p += T_b' z_b

The unpenalised intercept is one more feature before all others, with the whitened value ``1 / sqrt(n)``: it starts W at
``I + 11' / n_R`` and p at the mean label of the n_R rows that train. For m rows left out of n a fit costs 4 m^2 d
operations instead of the 2 m d^2 + d^3 / 3 of a factorisation, and all of them are matrix products.

Source: the Sherman-Morrison-Woodbury identity; with all features at once it is the block PRESS of
design/algorithms.md, 2.
"""

from __future__ import annotations

from dataclasses import dataclass

from fastprobe.backend.base import Array, Design, RowSets, relative_error
from fastprobe.planner import Rates
from fastprobe.probes.prefix.factors import Factored
from fastprobe.probes.prefix.problem import PrefixProblem

__all__ = ["Whitened", "keeps", "leave_out", "pays", "whiten"]

_PANEL = 64  # features that are factorised at once


@dataclass(frozen=True, eq=False)
class Whitened:
    """The fit on all rows.

    Attributes
    ----------
    lower : array, shape (d, d)
        L, of which the lower triangle is read.
    features : array, shape (n, d), or None
        ``Xc L'^-1``; None where they are made for the rows of a set when those are asked for.
    z : array, shape (t, d)
        ``L^-1 Xc'y``.
    """

    lower: Array
    features: Array | None
    z: Array


def keeps(design: Design) -> bool:
    """Whether the whitened features of all rows are kept: not of codes of a byte, to have no float copy of them all."""
    return design.x.dtype.itemsize > 1


def pays(n: int, d: int, m: int, sets: int, rates: Rates, *, kept: bool = True) -> bool:
    """Whether leaving m of n rows out costs less than factorising the Gram matrices of the others, for all sets.

    `kept` says whether the rows of all sets are whitened once, rather than those of every set for itself.
    """
    whiten = d * d / rates.trsm
    once = n * d * d / rates.gemm + d**3 / 3 / rates.potrf + (n * whiten if kept else 0.0)
    each = 4 * d * m * (m + _PANEL) / rates.gemm + (0.0 if kept else m * whiten)
    factorise = m * d * d / rates.gemm + m * d * d / rates.trsm + d**3 / 3 / rates.potrf
    return once + sets * each < sets * factorise


def whiten(problem: PrefixProblem, alpha: float) -> Whitened | None:
    """Fit all rows; None if the Gram matrix is not positive definite."""
    backend, (gram, cross) = problem.backend, problem.total
    penalised, diagonal = gram.copy(), backend.xp.arange(problem.d)
    penalised[diagonal, diagonal] += alpha
    lower, ok = backend.cholesky(penalised)
    if not bool(ok):
        return None
    z = backend.solve_triangular(lower, cross)
    if problem.scale is not None:
        lower = lower / problem.scale[:, None]  # L^-1 (D x) is (D^-1 L)^-1 x
    features = backend.whiten(problem.design, lower) if keeps(problem.design) else None
    return Whitened(lower, features, z)


def _rows(problem: PrefixProblem, fitted: Whitened, sets: RowSets, chunk: slice) -> Array:
    """Whitened rows of the sets of a chunk, (k, m, d); zero in padded slots."""
    if fitted.features is not None:
        return problem.backend.take(fitted.features, sets, chunk)
    xp, numbers, mask = problem.backend.xp, sets.rows[chunk], sets.mask[chunk]
    some = Design(xp.ascontiguousarray(problem.design.x[numbers.reshape(-1)]), problem.design.mean)
    rows = problem.backend.whiten(some, fitted.lower).reshape(*numbers.shape, problem.d)
    return xp.where(mask[:, :, None], rows, 0.0)


def leave_out(problem: PrefixProblem, fitted: Whitened, sets: RowSets, chunk: slice) -> tuple[Factored, Array]:
    """Leave out the sets of a chunk: their factored rows, and the mean labels (k, t) of the rows that train."""
    backend, xp, n, d = problem.backend, problem.backend.xp, problem.n, problem.d
    rows, y = _rows(problem, fitted, sets, chunk), backend.take(problem.y_centered, sets, chunk)
    inside = sets.mask[chunk][:, :, None] * 1.0
    n_train = n - inside.sum(axis=1, keepdims=True)
    mean = -y.sum(axis=1, keepdims=True) / n_train
    k, m, _ = rows.shape
    weights = inside * (inside.swapaxes(1, 2) / n_train)
    slots = xp.arange(m)
    weights[:, slots, slots] += 1.0
    predicted = mean * inside
    features, z = xp.empty((k, m, d)), xp.empty((k, d, y.shape[2]))
    usable = xp.ones(k, dtype=xp.bool_)
    ones = xp.eye(min(d, _PANEL))
    for start in range(0, d, _PANEL):
        stop = min(d, start + _PANEL)
        panel = rows[:, :, start:stop]
        turned = panel.swapaxes(1, 2)
        image = xp.matmul(weights, panel)
        # The blocks are small, and well conditioned wherever the fit is: products are far faster than substitutions.
        root, ok = backend.inverse_root(ones[: stop - start, : stop - start] - xp.matmul(turned, image))
        usable &= ok
        inverse = root.swapaxes(1, 2)
        rest = fitted.z[:, start:stop] - xp.matmul((y - predicted).swapaxes(1, 2), panel)
        new, of_labels = xp.matmul(image, inverse), xp.matmul(rest, inverse).swapaxes(1, 2)
        features[:, :, start:stop], z[:, start:stop] = new, of_labels
        weights += xp.matmul(new, new.swapaxes(1, 2))
        predicted += xp.matmul(new, of_labels)
    left = (y - predicted) * inside
    fitted_rest = (y - xp.matmul(rows, fitted.z.T)) * inside
    image = xp.matmul(rows, xp.matmul(rows.swapaxes(1, 2), left))
    check = left - left.sum(axis=1, keepdims=True) / n * inside - image - fitted_rest
    error = xp.where(usable, relative_error(xp, check, fitted_rest), xp.nan)
    return Factored(features, z, error), mean[:, 0] + problem.y_mean
