"""What is wrong with the use of an estimator, in the words of fastprobe and as the exceptions of scikit-learn."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastprobe.errors import InputError

__all__ = ["MissingPackageError", "ParameterError", "require", "require_count", "require_strength"]


class ParameterError(InputError, ValueError):
    """A parameter or the data of an estimator are wrong: an InputError that scikit-learn takes for a ValueError."""


class MissingPackageError(InputError, ImportError):
    """A package that the estimators need is not installed, or is too old."""


def require(holds: bool, where: str, found: object, expected: str) -> None:
    """Raise ParameterError about a parameter unless a condition holds."""
    if not holds:
        raise ParameterError(where, found=repr(found), expected=expected, fix=f"correct {where}")


def require_strength(where: str, value: Any) -> None:
    """Raise ParameterError unless a value is a finite number above 0."""
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    require(number and 0 < value < math.inf, where, value, "a number above 0")


def require_count(where: str, value: Any, least: int) -> None:
    """Raise ParameterError unless a value is a whole number that is not below `least`."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    require(whole and value >= least, where, value, f"a whole number, at least {least}")
