"""Conjugate gradients for many symmetric positive definite systems at once, each a column with its own step lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastprobe.backend.base import Array

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    xp: Any, apply: Callable[[Array], Array], target: Array, *, tol: float, max_iterations: int
) -> tuple[Array, int]:
    """Solve ``A_kc v_kc = target_kc`` for every set k and column c.

    Parameters
    ----------
    xp : namespace
    apply : callable
        Applies all operators at once: (K, m, c) -> (K, m, c), zero in padded slots.
    target : array, shape (K, m, c)
        Zero in padded slots.
    tol : float
        A column stops changing when the norm of its (recursive) residual is at most `tol` times that of its target.
    max_iterations : int

    Returns
    -------
    v : array, shape (K, m, c)
    iterations : int
        Applications of the operator; the caller checks the true residual.

    Notes
    -----
    Hestenes and Stiefel (1952). Finished columns are frozen by a step length of zero; the loop ends with the last one.
    """
    v = xp.zeros_like(target)
    rest = target.copy()
    direction = target.copy()
    energy = (rest * rest).sum(axis=1)
    goal = tol * tol * energy
    for iteration in range(max_iterations):
        active = energy > goal
        if not bool(active.any()):
            return v, iteration
        image = apply(direction)
        curvature = (direction * image).sum(axis=1)
        active &= curvature > 0
        step = xp.where(active, energy / xp.where(active, curvature, 1.0), 0.0)[:, None]
        v += step * direction
        rest -= step * image
        renewed = (rest * rest).sum(axis=1)
        ratio = xp.where(active, renewed / xp.where(active, energy, 1.0), 0.0)[:, None]
        energy = xp.where(active, renewed, 0.0)
        direction *= ratio
        direction += rest
    return v, max_iterations
