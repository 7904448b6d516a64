"""The entries of a part: what was found, what was left out and why, what failed; each saved as soon as it is there."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

__all__ = ["Entry", "Finding", "Ledger", "Missed", "Skipped"]

Status = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """What a piece of work found.

    Attributes
    ----------
    text : str
        For the summary, one line.
    values : mapping
        JSON-serialisable.
    """

    text: str
    values: Mapping[str, Any] = field(default_factory=dict)


F = TypeVar("F", bound=Finding)


@dataclass(frozen=True)
class Entry:
    """One line of a part.

    Attributes
    ----------
    status : {"ok", "failed", "skipped"}
    text : str
        The finding in a line, or why there is none.
    seconds : float
        Wall time of the work.
    values : mapping
    traceback : str or None
    """

    status: Status
    text: str
    seconds: float = 0.0
    values: Mapping[str, Any] = field(default_factory=dict)
    traceback: str | None = None


class Skipped(Exception):
    """Something optional is not here; the message says what."""


class Missed(Exception):
    """The work was done, and its result is wrong.

    Parameters
    ----------
    finding : Finding
    """

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.text)
        self.finding = finding


class Ledger:
    """Collects the entries of a part.

    Parameters
    ----------
    deadline : float
        On the clock of :func:`time.monotonic`; no work is begun after it.
    save : callable
        Given all entries by name after each new one.
    log : callable
        Given a line for each new one.
    """

    def __init__(
        self, deadline: float, save: Callable[[Mapping[str, Entry]], None], log: Callable[[str], None]
    ) -> None:
        self._deadline, self._save, self._log = deadline, save, log
        self.entries: dict[str, Entry] = {}

    @property
    def left(self) -> float:
        """Seconds before the deadline, at least 0."""
        return max(0.0, self._deadline - time.monotonic())

    def measure(self, name: str, work: Callable[[], F]) -> F | None:
        """Do a piece of work, and enter what came of it; None if that is nothing to go on with.

        Parameters
        ----------
        name : str
        work : callable
            Raises :class:`Skipped` if it cannot be done here, :class:`Missed` if its result is wrong. Any other error
            is entered with its traceback.
        """
        if not self.left:
            self.enter(name, Entry("skipped", "no time was left"))
            return None
        start = time.monotonic()
        try:
            found = work()
        except Skipped as reason:
            self.enter(name, Entry("skipped", str(reason)))
        except Missed as miss:
            spent = time.monotonic() - start
            self.enter(name, Entry("failed", miss.finding.text, spent, miss.finding.values))
        except Exception as error:
            self.fail(name, error, time.monotonic() - start)
        else:
            self.enter(name, Entry("ok", found.text, time.monotonic() - start, found.values))
            return found
        return None

    def fail(self, name: str, error: BaseException, seconds: float = 0.0) -> None:
        """Enter an error."""
        words = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        trace = "".join(traceback.format_exception(error))
        self.enter(name, Entry("failed", words[:300], seconds, traceback=trace[-4000:]))

    def enter(self, name: str, entry: Entry) -> None:
        """Keep an entry, save all, and log it."""
        self.entries[name] = entry
        self._save(self.entries)
        self._log(f"  {name}: {'' if entry.status == 'ok' else entry.status.upper() + ': '}{entry.text}")
