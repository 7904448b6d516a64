"""Work that is done ahead of who asks for it, in a thread of its own that nobody has to wait for."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, TypeVar

__all__ = ["Ahead", "yield_to_others"]

_NICE = 10  # of 19: a tenth of the share of those with 0, where all want to run

T = TypeVar("T")


class Ahead(Generic[T]):
    """An iterator whose next items are made in a thread of its own, before they are asked for.

    An error is raised when those made before it have been given. After :meth:`close` what has been made is still given,
    and then there is no more; what is being made at that moment is not waited for, and lost.

    Parameters
    ----------
    items : iterable
        Asked in that thread only.
    most : int
        How many items may wait.
    name : str
        Of the thread. It does not keep the process alive.
    yielding : bool
        Let other threads have the processor first: for work that is done in their pauses.
    """

    def __init__(self, items: Iterable[T], *, most: int, name: str, yielding: bool = False) -> None:
        self._most, self._yielding = most, yielding
        self._waiting: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: BaseException | None = None
        threading.Thread(target=self._make, args=(items,), name=name, daemon=True).start()

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._ended)
            if self._waiting:
                self._changed.notify_all()
                return self._waiting.popleft()
            error, self._error = self._error, None
        raise StopIteration if error is None else error

    def take(self, *, patience: float = 0.0) -> list[T]:
        """Return all items that wait, one at least; none when there are no more.

        Parameters
        ----------
        patience : float
            Seconds that the first may wait for others.
        """
        first = list(islice(self, 1))
        with self._changed:
            if first:
                self._changed.wait_for(lambda: self._ended or len(self._waiting) >= self._most, patience)
            found = [*first, *self._waiting] if first else []
            self._waiting.clear()
            self._changed.notify_all()
        return found

    def close(self) -> None:
        """Ask for nothing more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _make(self, items: Iterable[T]) -> None:
        error: BaseException | None = None
        if self._yielding:
            yield_to_others()
        try:
            coming = iter(items)
            while self._has_room():
                self._add(next(coming))  # which holds none of them
        except StopIteration:
            pass
        except BaseException as wrong:  # raised where it is asked for
            error = wrong
        with self._changed:
            if not self._ended:
                self._error, self._ended = error, True
            self._changed.notify_all()

    def _has_room(self) -> bool:
        """Wait until fewer than `most` are waiting; false if nothing more is asked for."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or len(self._waiting) < self._most)
            return not self._ended

    def _add(self, item: T) -> None:
        with self._changed:
            if not self._ended:
                self._waiting.append(item)
                self._changed.notify_all()


def yield_to_others() -> None:
    """Have the calling thread use the processor when other threads do not, where the system can tell threads apart.

    Reading and writing then fill the pauses of those who score instead of making some.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
