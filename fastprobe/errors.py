"""Errors that a user can act on.

Every error raised on purpose derives from :class:`FastprobeError` and carries the exit status of the command line.
An :class:`InputError` says where the trouble is, what was found, what was expected and what to do about it; it is
raised where data enters (readers, options, protocol files), so that the floors above never validate again.
"""

from __future__ import annotations

from functools import partial
from typing import Any

__all__ = ["DeviceError", "FastprobeError", "InputError"]


class FastprobeError(Exception):
    """Base class of every error raised on purpose.

    Attributes
    ----------
    exit_code : int
        Exit status of the command line when this error ends it.
    """

    exit_code = 1


class InputError(FastprobeError):
    """The input or the options are wrong.

    Parameters
    ----------
    where : str
        The file and, where known, the row, column or field (``"team.csv, row 17, column '3'"``); for an option, its
        name. Rows of text files are counted as an editor counts lines: the header is line 1.
    found : str
        What stands there.
    expected : str
        What should stand there.
    fix : str
        What to do about it, as an imperative sentence without the final full stop.
    """

    exit_code = 2

    def __init__(self, where: str, *, found: str, expected: str, fix: str) -> None:
        self.where, self.found, self.expected, self.fix = where, found, expected, fix
        super().__init__(f"{where}: found {found}; expected {expected}. To fix: {fix}.")

    def __reduce__(self) -> tuple[Any, ...]:
        # An exception is rebuilt from its arguments by position, which here would be the message alone.
        again = partial(type(self), self.where, found=self.found, expected=self.expected, fix=self.fix)
        return again, (), self.__dict__


class DeviceError(InputError):
    """A device was asked for that this machine, or this installation, does not have."""
