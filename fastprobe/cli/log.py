"""What the library logs, shown on standard error while a command runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["remarks"]


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        from fastprobe.cli.failure import printable

        return printable(super().format(record))


@contextmanager
def remarks(*, quiet: bool) -> Iterator[None]:
    """Show the library's log, one line each: from INFO, or from WARNING if `quiet`."""
    log = logging.getLogger("fastprobe")
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable())
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.WARNING if quiet else logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
