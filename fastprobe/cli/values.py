"""From the text of an option to its value, or to an error in the form that all errors have."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import TypeVar

from fastprobe.errors import InputError

__all__ = [
    "Device",
    "Format",
    "Kernel",
    "Rank",
    "ReportFormat",
    "Route",
    "a_number",
    "a_strength",
    "a_whole_number",
    "as_options",
    "names",
    "one_of",
]

Choice = TypeVar("Choice", bound=StrEnum)


class Device(StrEnum):
    """Where to compute; ``cuda:N`` is one of several GPUs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"

    @classmethod
    def _missing_(cls, value: object) -> Device | None:
        if not isinstance(value, str) or not re.fullmatch(r"cuda:\d{1,3}", value):
            return None
        member = str.__new__(cls, value)
        member._name_, member._value_ = value, value
        return member


class Route(StrEnum):
    """How ridge folds are solved."""

    AUTO = "auto"
    DIRECT = "direct"
    DOWNDATE = "downdate"
    ITERATE = "iterate"
    DUAL = "dual"
    MIXED = "mixed"


class Kernel(StrEnum):
    """The kernel of the protocol ``kernel``."""

    RBF = "rbf"
    POLYNOMIAL = "polynomial"


class Rank(StrEnum):
    """The rule of a leaderboard."""

    NEUCO = "neuco"
    MEAN = "mean"
    UNIFORM = "uniform"


class Format(StrEnum):
    """How a table of results is shown."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


class ReportFormat(StrEnum):
    """How a report is shown that is not a table of results."""

    TABLE = "table"
    JSON = "json"


def one_of(option: str, choices: type[Choice]) -> Callable[[str], Choice]:
    """Return the parser of an option that takes one of a few words."""

    def parse(text: str) -> Choice:
        try:
            return choices(text)
        except ValueError:
            words = ", ".join(choices)
            raise InputError(
                option,
                found=repr(text),
                expected=f"one of {words}",
                fix=f"choose one of them, for example {option} {next(iter(choices))}",
            ) from None

    return parse


def a_whole_number(option: str, example: int) -> Callable[[str], int]:
    """Return the parser of an option that takes a whole number; its range is checked where it is used."""

    def parse(text: str) -> int:
        try:
            return int(text)
        except ValueError:
            raise _not(option, text, "a whole number", example) from None

    return parse


def a_number(option: str, example: float) -> Callable[[str], float]:
    """Return the parser of an option that takes a number; its range is checked where it is used."""

    def parse(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise _not(option, text, "a number", example) from None

    return parse


def a_strength(text: str) -> float | str:
    """Parse ``--alpha``."""
    try:
        return text if text == "auto" else float(text)
    except ValueError:
        raise _not("--alpha", text, "a finite number above 0, or auto", 100) from None


def names(text: str) -> list[str]:
    """Parse ``--tasks``, a list of names with commas between them.

    Raises
    ------
    InputError
        If a name is empty or stands there twice.
    """
    found = [name.strip() for name in text.split(",")]
    if "" in found or len(set(found)) < len(found):
        raise InputError(
            "--tasks",
            found=repr(text),
            expected="names of tasks, each once, separated by commas",
            fix="write for example --tasks crops,clouds",
        )
    return found


@contextmanager
def as_options(option_of: Mapping[str, str]) -> Iterator[None]:
    """Let errors about some places of the library name the options that these come from."""
    try:
        yield
    except InputError as error:
        if error.where not in option_of:
            raise
        option = option_of[error.where]
        fix = f"correct {option}" if error.fix == f"correct {error.where}" else error.fix
        raise InputError(option, found=error.found, expected=error.expected, fix=fix) from None


def _not(option: str, text: str, expected: str, example: float) -> InputError:
    return InputError(option, found=repr(text), expected=expected, fix=f"write for example {option} {example}")
