"""What the kernel probe will need of the memory, said before anything is computed."""

from __future__ import annotations

import math

from fastprobe.errors import InputError

__all__ = ["exact_bytes", "nystroem_bytes", "require_memory"]

_MATRICES = 4  # of n x n: the kernel, its factor, the inverse, and what a GPU takes to make that


def exact_bytes(n: int, d: int) -> int:
    """Bytes that n points of d dimensions need with the kernel matrix of all of them."""
    return 8 * (_MATRICES * n * n + 2 * n * d)


def nystroem_bytes(n: int, d: int, landmarks: int) -> int:
    """Bytes that n points of d dimensions need with Nyström features of so many landmarks."""
    m = min(landmarks, n)
    return 8 * (6 * m * m + 2 * n * m + 2 * n * d)


def require_memory(where: str, *, n: int, d: int, landmarks: int | None, available: float) -> None:
    """Refuse what would not fit.

    Parameters
    ----------
    where : str
        Which submission and tasks, for the message.
    n, d : int
        Points and their dimensions.
    landmarks : int or None
        Of Nyström features; None for the kernel matrix of all points.
    available : float
        Bytes that may be used.

    Raises
    ------
    InputError
        If the memory needed is more; it names a number of landmarks that fits.
    """
    needed = exact_bytes(n, d) if landmarks is None else nystroem_bytes(n, d, landmarks)
    if needed <= available:
        return
    fitting = _fitting_landmarks(n, d, available)
    what = f"a kernel matrix of {n} x {n} samples" if landmarks is None else f"{landmarks} landmarks for {n} samples"
    advice = f"use --landmarks {fitting} (Nyström features), or " if fitting else ""
    raise InputError(
        where,
        found=f"{available:.0f} bytes of memory ({available / 2**30:.1f} GiB) for {what}",
        expected=f"at least {needed} bytes ({needed / 2**30:.1f} GiB)",
        fix=f"{advice}use a machine with more memory",
    )


def _fitting_landmarks(n: int, d: int, available: float) -> int:
    """The most landmarks that fit, rounded down to two digits; half of the points at most; 0 if none fit."""
    room = available / 8 - 2 * n * d
    most = min(n // 2, int((math.sqrt(n * n + 6 * max(room, 0.0)) - n) / 6))
    unit = 10 ** max(0, len(str(most)) - 2)
    return most // unit * unit
