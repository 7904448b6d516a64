"""How errors look on the command line, and the exit status that each gives: the one place that decides either.

0 done; 2 the input or the options are wrong; 130 interrupted; 1 anything else. (`run` ends with 3, `verify` with 4, for
what they have found.) What nobody foresaw passes through with
its traceback, and Python ends with 1.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from fastprobe.errors import FastprobeError, InputError

__all__ = ["GuardedGroup", "printable"]

# Wrong usage as typer sees it. Older versions of typer take this class from click, newer ones bring their own.
UsageError: Any = typer.BadParameter.__base__


class _InterruptedError(FastprobeError):
    exit_code = 130


class GuardedGroup(TyperGroup):
    """A group of commands that turns errors into a message on standard error and an exit status."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command line; exit in the standalone mode, return the exit status otherwise."""
        standalone = options.get("standalone_mode", True)
        try:
            status = super().main(*args, **{**options, "standalone_mode": False}) or 0
        except FastprobeError as error:
            status = _fail(error.exit_code, _lines(error))
        except UsageError as error:
            status = _fail(error.exit_code, _usage_lines(error))
        except MemoryError:
            status = _fail(1, ["out of memory", "  to fix    score fewer submissions in one call, or use more memory"])
        except OSError as error:
            if error.errno == errno.EPIPE or error.errno is None:
                raise
            status = _fail(1, [f"{error.filename or 'reading or writing'}: {error.strerror}"])
        if standalone:
            sys.exit(status)
        return status

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen command; see to it that an interrupt is told from a failure."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise _InterruptedError("interrupted") from None


def printable(text: object) -> str:
    """Return `text` with what would move the cursor or colour the screen written as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def _lines(error: FastprobeError) -> list[str]:
    if not isinstance(error, InputError):
        return [str(error)]
    parts = (("found", error.found), ("expected", error.expected), ("to fix", error.fix))
    return [error.where, *(f"  {name:<9} {text}" for name, text in parts)]


def _usage_lines(error: Any) -> list[str]:
    command = error.ctx.command_path if error.ctx is not None else "fastprobe"
    return [error.format_message(), f"  {'to fix':<9} see {command} --help"]


def _fail(status: int, lines: list[str]) -> int:
    from rich.console import Console
    from rich.text import Text

    first, *rest = map(printable, lines)
    message = Text.assemble(("error: ", "bold red"), (first, "bold"), *(f"\n{line}" for line in rest))
    Console(stderr=True).print(message, soft_wrap=True)
    return status
