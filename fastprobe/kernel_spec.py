"""Part of a protocol: the kernel of the probe ``kernel``, its parameters and its landmarks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastprobe.specs import expect, is_int, is_real, is_strength

__all__ = ["KERNELS", "KernelSpec"]

KERNELS: tuple[str, ...] = ("rbf", "polynomial")
"""Kernels that there are; the formulas are those of ``sklearn.metrics.pairwise``."""

_MOST = 100  # of degrees, and of values for one parameter: what is larger is a mistake


@dataclass(frozen=True)
class KernelSpec:
    """A kernel, and the parameters to choose from. Every combination of parameters is a candidate.

    Kernels are of the standardised embedding: one mean is subtracted and one standard deviation divided by.

    Attributes
    ----------
    kernel : {"rbf", "polynomial"}
        ``exp(-gamma |x - z|^2)``, or ``(gamma x'z + coef0)^degree``.
    gamma : float, tuple of float, or "median"
        Positive. ``median`` looks at the embedding, never at labels. For ``rbf`` it stands for three candidates: 0.25,
        1 and 4 divided by the median of the squared distances between rows of the sample group, of all pairs among at
        most 1000 rows drawn with `seed`. For ``polynomial`` it stands for 1 / d in d dimensions, at which the mean of
        ``gamma |x|^2`` is 1, as scikit-learn has it.
    degree : int or tuple of int
        Of ``polynomial``; at least 1.
    coef0 : float
        Of ``polynomial``; not negative.
    landmarks : int or None
        Nyström features of so many rows of the group, drawn with `seed` and without labels, instead of the kernel
        matrix of all rows. Groups with no more rows than that take all of theirs.
    seed : int
        Of the legacy MT19937 generator (``numpy.random.RandomState``).
    """

    kernel: Literal["rbf", "polynomial"] = "rbf"
    gamma: float | tuple[float, ...] | Literal["median"] = "median"
    degree: int | tuple[int, ...] = (2, 3)
    coef0: float = 1.0
    landmarks: int | None = None
    seed: int = 42

    def __post_init__(self) -> None:
        expect(self.kernel in KERNELS, "kernel.kernel", self.kernel, f"one of {', '.join(KERNELS)}")
        if self.gamma != "median":
            positive = "a finite number above 0, several (each once), or median"
            object.__setattr__(self, "gamma", _checked("gamma", self.gamma, is_strength, positive, float))
        whole = f"a whole number from 1 to {_MOST}, or several (each once)"
        object.__setattr__(self, "degree", _checked("degree", self.degree, _is_degree, whole, int))
        expect(
            is_real(self.coef0) and 0 <= self.coef0 < float("inf"),
            "kernel.coef0",
            self.coef0,
            "a finite number that is not negative",
        )
        object.__setattr__(self, "coef0", float(self.coef0))
        if self.kernel == "rbf":
            for name in ("degree", "coef0"):
                value, default = getattr(self, name), getattr(type(self), name)
                expect(value == default, f"kernel.{name}", value, "nothing: the kernel rbf does not use it")
        expect(
            self.landmarks is None or (is_int(self.landmarks) and 1 <= self.landmarks <= 2**31),
            "kernel.landmarks",
            self.landmarks,
            "a whole number of at least 1",
        )
        expect(
            is_int(self.seed) and 0 <= self.seed < 2**32,
            "kernel.seed",
            self.seed,
            "a whole number from 0 to 4294967295",
        )

    @property
    def draws(self) -> bool:
        """Whether rows are drawn, so that the seed decides something."""
        return self.landmarks is not None or (self.kernel == "rbf" and self.gamma == "median")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that decide a score, as JSON values."""
        decides: dict[str, Any] = {"kernel": self.kernel, "gamma": _listed(self.gamma)}
        if self.kernel == "polynomial":
            decides |= {"degree": _listed(self.degree), "coef0": self.coef0}
        if self.landmarks is not None:
            decides["landmarks"] = self.landmarks
        if self.draws:
            decides["seed"] = self.seed
        return decides


def _checked(name: str, value: object, holds: Callable[[object], bool], expected: str, make: type) -> Any:
    """Return a number, or a tuple of different numbers, of which each holds what is asked of it."""
    several = isinstance(value, (list, tuple))
    values = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    right = 0 < len(values) <= _MOST and all(map(holds, values))
    expect(right and len(set(values)) == len(values), f"kernel.{name}", value, expected)
    made = tuple(make(v) for v in values)
    return made if several else made[0]


def _is_degree(value: object) -> bool:
    return is_int(value) and 1 <= value <= _MOST  # type: ignore[operator]


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
