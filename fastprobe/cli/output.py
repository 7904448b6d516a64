"""Where results go: the screen, a file, or both."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from fastprobe.cli.failure import printable
from fastprobe.cli.values import Format, ReportFormat
from fastprobe.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

__all__ = ["Output", "note", "print_report"]


_SUFFIXES = {".json": Format.JSON, ".csv": Format.CSV, ".parquet": Format.PARQUET, ".txt": Format.TABLE}
_FILE_WIDTH = 100


class View(Protocol):
    """A result with the views that files need."""

    def to_json(self) -> str: ...
    def to_csv_text(self) -> str: ...
    def to_parquet(self, path: str | Path) -> None: ...


class Layout(Protocol):
    """The table view of a result for a screen of some width."""

    def __call__(self, width: int) -> Iterable[RenderableType]: ...


@dataclass(frozen=True)
class Output:
    """What to print and what to write, checked before any work is done.

    Attributes
    ----------
    screen : Format or None
        What to print on standard output; None for nothing.
    file : Path or None
    file_format : Format or None
    quiet : bool
    """

    screen: Format | None
    file: Path | None
    file_format: Format | None
    quiet: bool

    @classmethod
    def plan(cls, wanted: Format | None, out: Path | None, *, quiet: bool) -> Output:
        """Decide from ``--format`` and ``--out``.

        ``json`` is always printed. ``csv`` is printed if there is no file, ``parquet`` never. Otherwise the table is
        printed, except with ``--quiet`` and a file. The file takes the format of its suffix, and if that is none of
        ours, that of ``--format``.

        Raises
        ------
        InputError
            If the two contradict each other, or the file cannot be written.
        """
        if out is None:
            if wanted is Format.PARQUET:
                raise InputError(
                    "--format",
                    found="parquet without --out",
                    expected="a file for it: Parquet is not text",
                    fix="add --out scores.parquet, or use --format csv",
                )
            return cls(wanted or Format.TABLE, None, None, quiet)
        of_suffix = _SUFFIXES.get(out.suffix.lower())
        if of_suffix is None and wanted is None:
            raise InputError(
                "--out",
                found=f"{str(out)!r}, a name that says no format",
                expected=f"a name that ends in {', '.join(_SUFFIXES)}",
                fix="change the name, or add --format",
            )
        if of_suffix is not None and wanted in (Format.CSV, Format.PARQUET) and wanted is not of_suffix:
            raise InputError(
                "--out",
                found=f"{str(out)!r} with --format {wanted}",
                expected=f"a name that ends in .{wanted}",
                fix="change the name or leave --format out",
            )
        _require_writable(out)
        screen = Format.JSON if wanted is Format.JSON else None if quiet else Format.TABLE
        return cls(screen, out, of_suffix or wanted, quiet)

    def emit(self, view: View, layout: Layout) -> None:
        """Write the file, then print; a file appears whole or not at all."""
        if self.file is not None:
            _write(self.file, self.file_format, view, layout)
        if self.screen is Format.JSON:
            _print(view.to_json() + "\n")
        elif self.screen is Format.CSV:
            _print(view.to_csv_text())
        elif self.screen is Format.TABLE:
            _print_table(layout)
        if self.file is not None and not self.quiet:
            note(f"wrote {self.file}")


def note(text: str) -> None:
    """Print a remark on standard error."""
    print(printable(text), file=sys.stderr)


def print_report(wanted: ReportFormat, json_text: str, layout: Layout) -> None:
    """Print a report as JSON or for people."""
    if wanted is ReportFormat.JSON:
        _print(json_text + "\n")
    else:
        _print_table(layout)


def _require_writable(out: Path) -> None:
    found = None
    if out.is_dir():
        found, fix = f"{str(out)!r}, a folder", "name a file in it"
    elif not out.parent.is_dir():
        found, fix = f"{str(out)!r} in a folder that does not exist", f"make the folder {out.parent} first"
    if found is not None:
        raise InputError("--out", found=found, expected="a file in an existing folder", fix=fix)


def _write(path: Path, format_: Format | None, view: View, layout: Layout) -> None:
    from fastprobe.files import write_text

    if format_ is Format.PARQUET:
        view.to_parquet(path)
    elif format_ is Format.CSV:
        write_text(path, view.to_csv_text())
    elif format_ is Format.JSON:
        write_text(path, view.to_json() + "\n")
    else:
        write_text(path, _text_of(layout))


def _text_of(layout: Layout) -> str:
    from rich.console import Console

    text = io.StringIO()
    _draw(Console(file=text, width=_FILE_WIDTH, color_system=None, force_terminal=False), layout)
    return text.getvalue()


def _print_table(layout: Layout) -> None:
    from rich.console import Console

    _draw(Console(), layout)


def _draw(console: Console, layout: Layout) -> None:
    for part in layout(console.width):
        console.print(part)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
