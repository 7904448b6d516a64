"""Folders that appear whole, under a name that nobody has."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

from fastprobe.errors import InputError
from fastprobe.files import write_text

__all__ = ["publish", "staging", "write_stamped"]


@contextmanager
def staging(parent: Path, name: str) -> Iterator[Path]:
    """Yield an empty hidden folder in `parent`, which is made if need be.

    Whatever is left in it at the end is removed, and so are the folders that were made and are still empty.

    Raises
    ------
    InputError
        If nothing can be written there.
    """
    missing = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    temporary = parent / f".{name}.{secrets.token_hex(4)}.tmp"
    try:
        try:
            temporary.mkdir(parents=True)
        except OSError as error:
            raise InputError(
                "--output_dir",
                found=f"{str(parent)!r}, where no folder can be made ({error.strerror})",
                expected="a folder that can be written to",
                fix="correct the path or its permissions, or name another folder",
            ) from None
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in missing:
            with suppress(OSError):
                folder.rmdir()


def publish(temporary: Path, name: str, now: datetime, finish: Callable[[str], None]) -> Path:
    """Rename a folder to ``<name>_<time>`` beside it, with the first second from `now` on that is free.

    Parameters
    ----------
    temporary : Path
    name : str
    now : datetime
    finish : callable
        Called with the name that the folder is about to get, to write it into the folder's files.
    """
    for stamp in _stamps(now):
        target = temporary.with_name(f"{name}_{stamp}")
        if target.exists():
            continue
        finish(target.name)
        try:
            return temporary.rename(target)
        except OSError:
            if not target.exists():
                raise
    raise AssertionError("seconds do not end")


def write_stamped(folder: Path, name: str, now: datetime, text: str) -> Path:
    """Write ``<name>_<time>.csv`` into a folder, which is made if need be; with the first second that is free."""
    folder.mkdir(parents=True, exist_ok=True)
    for stamp in _stamps(now):
        path = folder / f"{name}_{stamp}.csv"
        try:
            path.open("x").close()  # the name is taken from here on
        except FileExistsError:
            continue
        try:
            write_text(path, text)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path
    raise AssertionError("seconds do not end")


def _stamps(now: datetime) -> Iterator[str]:
    return ((now + timedelta(seconds=seconds)).strftime("%Y%m%d_%H%M%S") for seconds in count())
