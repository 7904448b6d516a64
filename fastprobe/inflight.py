"""Several pieces of work at the same time, whose results come in order: fewer if the memory of a device runs out."""

from __future__ import annotations

import gc
import logging
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from fastprobe.errors import DeviceError

__all__ = ["in_order"]

_log = logging.getLogger(__name__)

_THREADS = 64  # more than are ever asked for; a pool begins one only when all that it has are busy

T = TypeVar("T")
R = TypeVar("R")


def in_order(
    items: Iterable[T], work: Callable[[T, bool], R], *, at_once: Callable[[T], int], most: int = sys.maxsize
) -> Iterator[R]:
    """Work on items, as many at the same time as each of them allows, and give the results in their order.

    Items are asked for in the calling thread, one at a time, and only when there is room for another. An item that
    allows no other beside it is worked on in the calling thread. An item is let go when it is done, even if its result
    waits for those before it.

    DeviceError of `work` in another thread means that the memory of the device did not suffice. What is running is
    waited for, and it is begun again, with half as many at the same time from then on; in the end in the calling
    thread, where it is an error as any other. Any other error, one of `items` among them, is raised when those before
    it have given their results; nothing new is begun meanwhile, and what is running is waited for.

    Parameters
    ----------
    items : iterable
    work : callable
        Called with an item, and whether this is not the calling thread, but another beside others.
    at_once : callable
        How many items may be worked on at the same time while a given one is, itself included.
    most : int
        How many at most.

    Yields
    ------
    object
        What `work` returned.
    """
    coming = iter(items)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="fastprobe-flight") as threads:
        flight = _Flight(work, threads, most)
        while True:
            yield from flight.finished()
            if flight.has_room():
                try:
                    item = next(coming)
                except StopIteration:
                    flight.close()
                except Exception as error:  # to be raised in its turn
                    flight.close(error)
                else:
                    flight.add(item, at_once(item))
                    del item
            elif flight.turns:
                flight.go_on()
            else:
                return


@dataclass(eq=False)
class _Turn(Generic[T, R]):
    """An item, until it is done; and what came of it.

    Attributes
    ----------
    item : object
        None when it is done.
    allows : int
        How many may be worked on at the same time while this one is.
    outcome : Future or None
        None before it is begun, or if it is to be begun again.
    company : int
        How many were worked on at the same time at most since it was begun, itself included.
    """

    item: T | None
    allows: int = 1
    outcome: Future[R] | None = None
    company: int = 1

    @property
    def running(self) -> bool:
        return self.outcome is not None and not self.outcome.done()

    @property
    def crowded(self) -> bool:
        """Whether memory ran out in a thread beside others, and might not in the calling one, alone."""
        return self._ended and self.item is not None and isinstance(self._error, DeviceError)

    @property
    def over(self) -> bool:
        """Whether there is a result, or an error that is to be raised."""
        return self._ended and not self.crowded

    @property
    def failed(self) -> bool:
        return self.over and self._error is not None

    @property
    def _ended(self) -> bool:
        return self.outcome is not None and self.outcome.done()

    @property
    def _error(self) -> BaseException | None:
        return None if self.outcome is None else self.outcome.exception()


class _Flight(Generic[T, R]):
    """The items that have been asked for and whose results have not been given, in order."""

    def __init__(self, work: Callable[[T, bool], R], threads: ThreadPoolExecutor, most: int) -> None:
        self.turns: deque[_Turn[T, R]] = deque()
        self._work, self._threads, self._most = work, threads, most
        self._closed = False

    def finished(self) -> Iterator[R]:
        """Give the results that are next, or raise the error that is."""
        while self.turns and self.turns[0].over:
            outcome = self.turns.popleft().outcome
            assert outcome is not None
            yield outcome.result()

    def has_room(self) -> bool:
        """Whether another item can be asked for: its own limit is not known before."""
        if self._closed or any(turn.outcome is None or turn.failed or turn.crowded for turn in self.turns):
            return False
        running = self._running()
        return len(running) < self._limit(running)

    def add(self, item: T, allows: int) -> None:
        """Take an item in."""
        self.turns.append(_Turn(item, allows))

    def close(self, error: BaseException | None = None) -> None:
        """Note that no item is to be asked for any more, and why, if that is to be raised."""
        self._closed = True
        if error is not None:
            last: _Turn[T, R] = _Turn(None, outcome=Future())
            assert last.outcome is not None
            last.outcome.set_exception(error)
            self.turns.append(last)

    def go_on(self) -> None:
        """Begin what is next, or wait for something that is running."""
        running = self._running()  # the others do not change any more, these may end at any time
        if any(turn.crowded for turn in self.turns):
            self._make_room()
        elif self.turns[0].over:
            return
        elif (turn := self._next()) is None or len(running) >= self._limit([*running, turn]):
            wait([other.outcome for other in running if other.outcome is not None], return_when=FIRST_COMPLETED)
        elif self._limit([turn]) == 1:
            self._begin_here(turn)
        else:
            self._begin(turn, running)

    def _running(self) -> list[_Turn[T, R]]:
        return [turn for turn in self.turns if turn.running]

    def _next(self) -> _Turn[T, R] | None:
        for turn in self.turns:
            if turn.outcome is None:
                return turn
            if turn.failed:  # nobody will ask for what comes after it
                return None
        return None

    def _limit(self, turns: list[_Turn[T, R]]) -> int:
        """How many may be worked on while these are; one if nothing is known."""
        return min([self._most, *(turn.allows for turn in turns)]) if turns else 1

    def _begin_here(self, turn: _Turn[T, R]) -> None:
        """Work in the calling thread: nothing is running and all before it is over, so an error is raised at once."""
        assert turn is self.turns[0]
        done: Future[R] = Future()
        done.set_result(self._done(turn, False))
        turn.outcome = done

    def _begin(self, turn: _Turn[T, R], running: list[_Turn[T, R]]) -> None:
        turn.company = len(running) + 1
        for other in running:
            other.company = max(other.company, turn.company)
        turn.outcome = self._threads.submit(self._done, turn, True)

    def _done(self, turn: _Turn[T, R], apart: bool) -> R:
        assert turn.item is not None
        result = self._work(turn.item, apart)
        turn.item = None
        return result

    def _make_room(self) -> None:
        """Wait for what is running, halve the number, and have those begun again for which memory did not suffice.

        One that had no company is begun again in the calling thread: whether it fails there is up to `work`.
        """
        wait([turn.outcome for turn in self._running() if turn.outcome is not None])
        crowded = [turn for turn in self.turns if turn.crowded]
        before = max(turn.company for turn in crowded)
        if before > 1:
            self._most = max(1, before // 2)
            _log.warning(
                "%s; going on with %d at the same time instead of %d", _shortage(crowded[0]), self._most, before
            )
        else:
            crowded[0].allows = 1
        for turn in crowded:
            turn.outcome = None
        gc.collect()  # an error and the frames it passed through hold one another, and what they have on the device


def _shortage(turn: _Turn[T, R]) -> str:
    assert turn.outcome is not None
    error = turn.outcome.exception()
    assert isinstance(error, DeviceError)
    return f"{error.where}: {error.found}"
