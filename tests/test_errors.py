"""Errors that are pickled and copied, as they are between processes, stay what they were."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Iterator

import pytest

import fastprobe.cli.failure
import fastprobe.compat.sklearn.errors  # noqa: F401  (both modules have errors of their own)
from fastprobe.errors import DeviceError, FastprobeError, InputError

FIELDS = {"where": "team.csv, row 17", "found": "'x'", "expected": "a number", "fix": "correct the row"}
MESSAGE = "team.csv, row 17: found 'x'; expected a number. To fix: correct the row."


def errors(of: type[FastprobeError] = FastprobeError) -> Iterator[type[FastprobeError]]:
    """Give all classes of errors of the package."""
    if of.__module__.startswith("fastprobe"):
        yield of
        for more in of.__subclasses__():
            yield from errors(more)


def example(of: type[FastprobeError]) -> FastprobeError:
    return of(**FIELDS) if issubclass(of, InputError) else of(MESSAGE)


ways = pytest.mark.parametrize(
    "again",
    [
        *(lambda e, p=p: pickle.loads(pickle.dumps(e, protocol=p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)),
        copy.copy,
        copy.deepcopy,
    ],
    ids=[*(f"pickle-{p}" for p in range(pickle.HIGHEST_PROTOCOL + 1)), "copy", "deepcopy"],
)


@ways
@pytest.mark.parametrize("of", sorted(set(errors()), key=lambda of: of.__qualname__), ids=lambda of: of.__name__)
def test_errors_survive(of: type[FastprobeError], again: Callable[[FastprobeError], FastprobeError]) -> None:
    error = example(of)
    error.add_note("while reading the second of two files")
    found = again(error)
    assert found is not error
    assert type(found) is of
    assert (str(found), found.args, found.exit_code) == (MESSAGE, (MESSAGE,), error.exit_code)
    assert found.__notes__ == ["while reading the second of two files"]
    assert vars(found) == vars(error)
    if issubclass(of, InputError):
        assert {name: getattr(found, name) for name in FIELDS} == FIELDS


def test_the_errors_that_are_tested() -> None:
    names = {of.__name__ for of in errors()}
    assert {"FastprobeError", "InputError", "DeviceError", "ParameterError", "MissingPackageError"} <= names


def test_a_copy_of_a_copy_is_caught_as_what_it_is() -> None:
    twice = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(DeviceError(**FIELDS)))))
    with pytest.raises(InputError) as caught:
        raise twice
    assert caught.value.fix == "correct the row"
