"""A progress bar that only long jobs see."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING

from fastprobe.cli.failure import printable

if TYPE_CHECKING:
    from rich.progress import Progress

__all__ = ["DelayedBar"]


class DelayedBar:
    """A bar on standard error that appears when the work has lasted for `delay` seconds.

    Nothing is shown if standard error is not a terminal. Call it with the name of the submission, the units done and
    the units in all.

    Parameters
    ----------
    quiet : bool
        Never show the bar.
    delay : float
        Seconds.
    """

    def __init__(self, *, quiet: bool = False, delay: float = 2.0) -> None:
        self._quiet = quiet
        self._lock = threading.Lock()
        self._timer = threading.Timer(delay, self._show)
        self._timer.daemon = True
        self._bar: Progress | None = None
        self._state: tuple[str, int, int | None] = ("reading", 0, None)

    def __enter__(self) -> DelayedBar:
        if not self._quiet:
            self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._timer.cancel()
        with self._lock:
            self._quiet = True
            if self._bar is not None:
                self._bar.stop()

    def __call__(self, name: str, done: int, total: int) -> None:
        """Take note of how far the work is."""
        with self._lock:
            self._state = (printable(name), done, total)
            self._refresh()

    def _show(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        with self._lock:
            if self._quiet or not console.is_terminal:
                return
            columns = (
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.description}", markup=False),
            )
            self._bar = Progress(*columns, console=console, transient=True)
            self._bar.add_task("", total=None)
            self._bar.start()
            self._refresh()

    def _refresh(self) -> None:
        if self._bar is not None:
            name, done, total = self._state
            self._bar.update(self._bar.task_ids[0], description=name, completed=done, total=total)
