"""From the text of an option to its value, or to an error in the form that all errors have."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from enum import StrEnum
from typing import Any, TypeVar

from fastprobe.errors import InputError

__all__ = [
    "Device",
    "Format",
    "Kernel",
    "PcaRows",
    "Rank",
    "ReportFormat",
    "Route",
    "a_number",
    "a_strength",
    "a_whole_number",
    "as_options",
    "each_of",
    "names",
    "one_of",
    "sizes_of",
    "strengths_of",
    "words_of",
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


class PcaRows(StrEnum):
    """Rows whose principal components a sweep takes."""

    TRAIN = "train"
    ALL = "all"


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


def words_of(option: str, example: str) -> Callable[[str], list[str]]:
    """Return the parser of a list of words with commas between them; they are checked where they are used."""

    def parse(text: str) -> list[str]:
        found = [word.strip() for word in text.split(",")]
        if "" in found:
            raise _not(option, text, "words with commas between them", example)
        return found

    return parse


def each_of(option: str, number: type[int] | type[float], example: str) -> Callable[[str], list[Any]]:
    """Return the parser of a list of numbers; their range is checked where it is used."""
    expected = "whole numbers" if number is int else "numbers"

    def parse(text: str) -> list[Any]:
        try:
            return [number(part) for part in text.split(",")]
        except ValueError:
            raise _not(option, text, f"{expected} with commas between them", example) from None

    return parse


def sizes_of(text: str) -> list[Any] | str:
    """Parse ``--sizes``."""
    return text if text == "all" else each_of("--sizes", int, "8,64,512, or --sizes all")(text)


def strengths_of(text: str) -> list[Any]:
    """Parse ``--alphas``: ``LO:HI:N`` for N strengths, evenly on a logarithmic scale with both ends, or a list."""
    if ":" not in text:
        return each_of("--alphas", float, "1,10,100")(text)
    lo, hi, count = 0.0, 0.0, 0
    try:
        first, last, number = text.split(":")
        lo, hi, count = float(first), float(last), int(number)
    except ValueError:
        pass
    if not (0 < lo < hi < math.inf and 2 <= count <= 1000):
        raise _not("--alphas", text, "LO:HI:N with 0 < LO < HI and N from 2 to 1000, or a list", "0.01:1e6:9")
    step = math.log10(hi / lo) / (count - 1)
    return [lo, *(lo * 10.0 ** (i * step) for i in range(1, count - 1)), hi]


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


def _not(option: str, text: str, expected: str, example: float | str) -> InputError:
    return InputError(option, found=repr(text), expected=expected, fix=f"write for example {option} {example}")
