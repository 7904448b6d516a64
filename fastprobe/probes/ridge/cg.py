"""Conjugate gradients for many symmetric positive definite systems at once, each a column with its own step lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastprobe.backend.base import Array

__all__ = ["conjugate_gradients"]


def conjugate_gradients(
    xp: Any,
    apply: Callable[[Array, Array, Array], tuple[Array, Array]],
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
        Applies all operators at once: a direction (K, m, c') and its companion to the image of the direction, zero in
        padded slots, and the companion of the image. Its third argument says which c' of the c columns are left.
    target : array, shape (K, m, c)
        Zero in padded slots.
    companion : array, shape (K, c, r)
        A linear image of the target that the operator can make use of. It is carried along by the same recurrences, so
        that an operator ``A = I - B C`` whose companion is ``C v`` reads its data once per step, not once for B and
        once for C. With r = 0 there is none.
    tol : float
        A column is finished when the norm of its (recursive) residual is at most `tol` times that of its target.
    max_iterations : int

    Returns
    -------
    v : array, shape (K, m, c)
    iterations : int
        Applications of the operator; the caller checks the true residual.

    Notes
    -----
    Hestenes and Stiefel (1952). A column that is finished in some of the sets is frozen there by a step length of zero;
    one that is finished in all of them leaves the batch.
    """
    solution = xp.zeros_like(target)
    live = xp.arange(target.shape[2])
    v = xp.zeros_like(target)
    rest, rest_companion = target.copy(), companion
    direction, direction_companion = target.copy(), companion
    energy = (rest * rest).sum(axis=1)
    goal = tol * tol * energy
    for iteration in range(max_iterations):
        active = energy > goal
        unfinished = active.any(axis=0).tolist()  # the one thing in a step that waits for the device
        if not all(unfinished):
            solution[:, :, live] = v
            if not any(unfinished):
                return solution, iteration
            left = xp.asarray([column for column, is_left in enumerate(unfinished) if is_left])
            v, rest, direction = v[:, :, left], rest[:, :, left], direction[:, :, left]
            rest_companion, direction_companion = rest_companion[:, left], direction_companion[:, left]
            energy, goal, active, live = energy[:, left], goal[:, left], active[:, left], live[left]
        image, image_companion = apply(direction, direction_companion, live)
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
    solution[:, :, live] = v
    return solution, max_iterations
