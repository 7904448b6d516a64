"""Lanes: threads that live as long as their backend, lent to whoever has sample groups to be worked on.

Several submissions borrow the same lanes at the same time, so that there are never more of them at work than the memory
was divided by. That cannot come to a standstill:

- Work in a lane never waits for what stands in the queue. A group that is made up of others is handed in when those are
  finished, by the thread of its submission, which is no lane and is the only one that waits for them. Locks are held
  only by work that is running, and that waits for nothing else meanwhile. So whatever lanes are busy with comes to an
  end, and what stands in the queue has its turn, whoever else stands there.
- A borrower waits for its own work only, never for that of others.

What passes from lane to lane (Gram matrices, to the group that is made up of others) passes through such a wait: it is
complete, on the device too, because work counts as finished only when the context of its lane is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from concurrent.futures import wait as wait_for
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

__all__ = ["Lanes", "as_finished"]

T = TypeVar("T")
R = TypeVar("R")


def as_finished(lanes: Executor, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Work on items in the lanes, in this order; give each result when it is there. An error cancels what waits."""
    pending = [lanes.submit(work, item) for item in items]
    try:
        for finished in as_completed(pending):
            yield finished.result()
    finally:
        for future in pending:
            future.cancel()


class Lanes(Executor):
    """One loan of lanes. When they are given back, all that was begun on this loan is finished.

    Parameters
    ----------
    threads : ThreadPoolExecutor
        They stay when this is shut down.
    lane : callable
        Gives the context in which each piece of work is done.
    """

    def __init__(
        self, threads: ThreadPoolExecutor, lane: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._threads, self._lane = threads, lane
        self._begun: list[Future[Any]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        def work() -> Any:
            with self._lane():
                return fn(*args, **kwargs)

        self._begun.append(self._threads.submit(work))
        return self._begun[-1]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        for future in self._begun if cancel_futures else ():
            future.cancel()
        if wait:
            wait_for(self._begun)
