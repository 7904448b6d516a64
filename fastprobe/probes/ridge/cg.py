"""Conjugate gradients for many symmetric positive definite systems at once, each a column with its own step lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastprobe.backend.base import Array

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    xp: Any,
    apply: Callable[[Array, Array], tuple[Array, Array]],
    target: Array,
    companion: Array,
    *,
    tol: float,
    max_iterations: int,
) -> tuple[Array, int]:
    """Solve ``A_kc v_kc = target_kc`` for every set k and column c.

    Parameters
    ----------
    xp : namespace
    apply : callable
        Applies all operators at once: a direction (K, m, c) and its companion to the image of the direction, zero in
        padded slots, and the companion of the image.
    target : array, shape (K, m, c)
        Zero in padded slots.
    companion : array, shape (K, c, r)
        A linear image of the target that the operator can make use of. It is carried along by the same recurrences, so
        that an operator ``A = I - B C`` whose companion is ``C v`` reads its data once per step, not once for B and
        once for C. With r = 0 there is none.
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
    rest, rest_companion = target.copy(), companion
    direction, direction_companion = target.copy(), companion
    energy = (rest * rest).sum(axis=1)
    goal = tol * tol * energy
    for iteration in range(max_iterations):
        active = energy > goal
        if not bool(active.any()):
            return v, iteration
        image, image_companion = apply(direction, direction_companion)
        curvature = (direction * image).sum(axis=1)
        active &= curvature > 0
        step = xp.where(active, energy / xp.where(active, curvature, 1.0), 0.0)
        v += step[:, None, :] * direction
        rest -= step[:, None, :] * image
        rest_companion = rest_companion - step[:, :, None] * image_companion
        renewed = (rest * rest).sum(axis=1)
        ratio = xp.where(active, renewed / xp.where(active, energy, 1.0), 0.0)
        energy = xp.where(active, renewed, 0.0)
        direction = rest + ratio[:, None, :] * direction
        direction_companion = rest_companion + ratio[:, :, None] * direction_companion
    return v, max_iterations
