"""Units are handed out to workers in batches, and what comes of them is brought together.

A worker that dies takes with it the batch that it was working on. The units of that batch are tried again each on its
own, and one that loses its worker again, when nothing else of the run is under way: so a unit that kills workers is
told from its neighbours, and set aside when it has done so three times.
"""

from __future__ import annotations

import logging
import math
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from fastprobe import __version__
from fastprobe.backend import Backend
from fastprobe.cluster.spec import ClusterSpec
from fastprobe.cluster.start import Crew, crew
from fastprobe.errors import FastprobeError, InputError
from fastprobe.runs.ahead import Ahead
from fastprobe.runs.keep import Done, Event
from fastprobe.runs.pipeline import STAGES, Outcome
from fastprobe.runs.plan import Overwrite, Unit
from fastprobe.runs.terms import Terms

__all__ = ["ClusterSource", "on_cluster"]

_log = logging.getLogger(__name__)

_LOSSES = 3  # workers that a unit may take down
_BATCH_SECONDS = 1.0  # of work in a batch: long beside what Dask takes to hand it out
_MOST = 64  # units in a batch
_PER_WORKER = 2  # batches under way: one that is worked on, one that waits
_FAREWELL = 1.0  # seconds that the scheduler has to answer in when a run ends
_UNWRITTEN = 16  # batches that wait to be written
_LOOK = 1.0  # seconds after which the number of workers is looked at again
_ALONE = 30  # such looks without a worker, after which that is said


@contextmanager
def on_cluster(
    spec: ClusterSpec, units: Sequence[Unit], terms: Terms, device: str | Backend, overwrite: Overwrite, event: Event,
    *, lenient: bool,
) -> Iterator[ClusterSource]:  # fmt: skip
    """Have workers score units.

    Parameters
    ----------
    spec : ClusterSpec
    units : sequence of Unit
    terms : Terms
    device : str
        Of each worker; ``auto`` is the CPU for workers of this machine.
    overwrite : {"missing", "never", "always"}
    event : callable
        Told of workers that are lost.
    lenient : bool

    Yields
    ------
    ClusterSource

    Raises
    ------
    InputError, DeviceError
        If there are no such workers, or they cannot score.
    """
    if not isinstance(device, str):
        raise InputError(
            "device", found="a backend, with workers that are other processes", expected="the name of a device",
            fix="pass 'cpu', 'cuda' or 'auto'",
        )  # fmt: skip
    from fastprobe.cluster.worker import Probing

    with crew(spec, device) as workers:
        name = f"fastprobe-{uuid.uuid4().hex}"
        probing = Probing(name, terms, workers.device, workers.threads, overwrite, lenient=lenient)
        try:
            workers.client.register_plugin(probing, name=name)
        except Exception as error:  # whatever a worker, or the scheduler, raises when it loads it
            raise InputError(
                "--scheduler", found=f"workers that cannot be set up ({type(error).__name__}: {error})",
                expected=f"fastprobe {__version__} with Python {'.'.join(map(str, sys.version_info[:2]))} on each",
                fix="install fastprobe there as it is here",
            ) from error  # fmt: skip
        source = ClusterSource(workers, name, units, event)
        try:
            yield source
        finally:
            source.close()
            if workers.cluster is None:
                source.leave()


class ClusterSource:
    """Outcomes of units that workers score, in the order in which they come.

    Parameters
    ----------
    workers : Crew
    name : str
        Of the plugin that the workers have.
    units : sequence of Unit
    event : callable
    """

    def __init__(self, workers: Crew, name: str, units: Sequence[Unit], event: Event) -> None:
        self._crew, self._client, self._name, self._event = workers, workers.client, name, event
        self._address = workers.client.scheduler.address
        self._waiting = deque(units)
        self._lost_once: deque[Unit] = deque()  # tried on their own
        self._lost_twice: deque[Unit] = deque()  # tried when nothing else is under way
        self._flying: dict[Any, list[Unit]] = {}
        self._landed: SimpleQueue[Any] = SimpleQueue()
        self._losses: Counter[Unit] = Counter()
        self._seconds = math.inf  # that a unit takes
        self._workers, self._looked = 0, -math.inf
        self._closed = False
        self._done = Ahead(self._work(), most=_UNWRITTEN, name="fastprobe-driver")

    def take(self) -> list[Done]:
        """Wait for outcomes, and return those that there are; none after the last.

        Raises
        ------
        FastprobeError, RuntimeError
            If a worker cannot score at all, or the scheduler is gone.
        """
        return list(chain.from_iterable(self._done.take()))

    def close(self) -> None:
        """Begin nothing more, and wait for nothing; what is done can still be taken."""
        self._closed = True
        self._done.close()

    def leave(self) -> None:
        """Have the workers forget the run, if they can be reached at once."""
        farewell = Thread(target=self._leave, name="fastprobe-farewell", daemon=True)
        farewell.start()
        farewell.join(_FAREWELL)

    def _leave(self) -> None:
        try:
            self._client.cancel(list(self._flying), force=True)
            self._client.unregister_worker_plugin(self._name)
        except Exception as error:  # the scheduler is gone, or the run was interrupted; nothing depends on it
            _log.debug("%s: %s", self._address, error)

    def _work(self) -> Iterator[list[Done]]:
        """Hand out batches, and give what comes of them, until nothing is left."""
        while not self._closed:
            self._hand_out()
            if not self._flying:
                return
            future = self._next()
            units = self._flying.pop(future, None)
            if units is not None:
                yield from self._result(future, units)

    def _hand_out(self) -> None:
        workers = self._count()
        room = _PER_WORKER * max(1, workers)
        while len(self._flying) < room and (self._waiting or self._lost_once):
            if self._waiting:
                share = math.ceil(len(self._waiting) / (_PER_WORKER * max(1, workers)))
                most = 1 if self._seconds == math.inf else int(_BATCH_SECONDS / self._seconds)
                self._begin([self._waiting.popleft() for _ in range(max(1, min(share, most, _MOST)))])
            else:
                self._begin([self._lost_once.popleft()])
        if not self._flying and self._lost_twice:
            self._begin([self._lost_twice.popleft()])

    def _begin(self, units: list[Unit]) -> None:
        from fastprobe.cluster.worker import UnitTicket, score_batch

        tickets = [UnitTicket.of(unit) for unit in units]
        key = f"{self._name}-{uuid.uuid4().hex}"
        future = self._client.submit(score_batch, self._name, tickets, pure=False, key=key)
        self._flying[future] = units
        future.add_done_callback(self._landed.put)

    def _next(self) -> Any:
        """Wait for a batch that has come back; None if nothing more is wanted."""
        looks = 0
        while not self._closed:
            try:
                return self._landed.get(timeout=_LOOK)
            except Empty:
                self._hand_out()  # there may be more workers than there were
                looks = 0 if self._workers else looks + 1
                if looks == _ALONE:
                    _log.warning("no worker on %s since %d seconds; waiting", self._address, _ALONE * _LOOK)
        return None

    def _count(self) -> int:
        """Return the number of workers, looked at once in a while."""
        now = time.monotonic()
        if now - self._looked >= _LOOK:
            self._workers, self._looked = len(self._client.scheduler_info(n_workers=-1)["workers"]), now
            self._crew.refill(self._workers)
        return self._workers

    def _result(self, future: Any, units: list[Unit]) -> Iterator[list[Done]]:
        from distributed import KilledWorker
        from distributed.client import FutureCancelledError

        try:
            worker, outcomes = future.result()
        except KilledWorker as lost:
            aside = self._lose(units, lost.last_worker.address)
            if aside:
                yield aside
        except FutureCancelledError:
            if not self._closed:
                raise FastprobeError(
                    f"{self._address}: the scheduler is gone. What is finished is kept; the same command goes on from "
                    "there."
                ) from None
        else:
            took = sum(outcome.seconds["solve"] for outcome in outcomes) / len(outcomes)
            self._seconds = took if self._seconds == math.inf else (self._seconds + took) / 2
            yield [Done(unit, outcome, worker) for unit, outcome in zip(units, outcomes, strict=True)]

    def _lose(self, units: list[Unit], worker: str) -> list[Done]:
        """Have units that lost their worker tried again; return those that are set aside."""
        self._event({"event": "worker_lost", "worker": worker, "submissions": [unit.item.name for unit in units]})
        _log.warning("worker %s was lost; %d submissions that it had are scored again", worker, len(units))
        aside = []
        for unit in units:
            self._losses[unit] += 1
            if self._losses[unit] == 1:
                self._lost_once.append(unit)
            elif self._losses[unit] < _LOSSES:
                self._lost_twice.append(unit)
            else:
                aside.append(Done(unit, _set_aside(unit), worker))
        return aside


def _set_aside(unit: Unit) -> Outcome:
    error = FastprobeError(
        f"{unit.item.place}: {_LOSSES} workers died while they scored it. Score it alone to see why: memory may have "
        "run out. --retry-failed tries it again."
    )
    return Outcome("", (), None, error, dict.fromkeys(STAGES, 0.0))
