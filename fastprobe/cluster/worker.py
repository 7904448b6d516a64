"""What happens on a worker: it is set up once, and then scores batch after batch."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import get_worker
from distributed.diagnostics.plugin import WorkerPlugin

import fastprobe
from fastprobe.backend import get_backend
from fastprobe.errors import InputError
from fastprobe.runs.inputs import FileItem, Item, StoreItem
from fastprobe.runs.pipeline import Outcome, Pipeline
from fastprobe.runs.plan import Overwrite, Unit
from fastprobe.runs.score_files import Key
from fastprobe.runs.scoring import UnitScorer
from fastprobe.runs.terms import Terms
from fastprobe.store import Store

__all__ = ["Probing", "UnitTicket", "score_batch"]


@dataclass(frozen=True)
class UnitTicket:
    """A unit on its way to a worker: its submission by place and name, so that no store is sent along.

    Attributes
    ----------
    name, source : str
        See :class:`fastprobe.runs.inputs.Item`.
    stored : bool
        Whether `source` is a store.
    lenient : bool
    digest, tasks, there
        See :class:`fastprobe.runs.plan.Unit`.
    """

    name: str
    source: str
    stored: bool
    lenient: bool
    digest: str | None
    tasks: tuple[str, ...]
    there: frozenset[Key]

    @classmethod
    def of(cls, unit: Unit) -> UnitTicket:
        """Return the ticket of a unit."""
        item = unit.item
        stored = isinstance(item, StoreItem)
        return cls(item.name, item.source, stored, item.lenient, unit.digest, unit.tasks, unit.there)


class Probing(WorkerPlugin):
    """What a worker needs to score: sent to it once, also to one that joins later or takes the place of a lost one.

    Folds and draws, the device and the stores are made and opened by the first batch.

    Parameters
    ----------
    name : str
        Unlike that of any other run.
    terms : Terms
    device : str
    threads : int or None
        Threads that a worker may use; those that Dask gives it by default.
    overwrite : {"missing", "never", "always"}
    lenient : bool
    """

    def __init__(
        self, name: str, terms: Terms, device: str, threads: int | None, overwrite: Overwrite, *, lenient: bool
    ) -> None:
        self.name = name
        self._terms, self._device, self._threads = terms, device, threads
        self._overwrite, self._lenient = overwrite, lenient
        self._version = fastprobe.__version__

    def setup(self, worker: Any) -> None:
        """Called by Dask when the worker has it."""
        self._threads = self._threads or worker.state.nthreads
        self._busy = threading.Lock()
        self._scorer: UnitScorer | None = None
        self._stores: dict[str, Store] = {}

    def score(self, tickets: Sequence[UnitTicket]) -> list[Outcome]:
        """Score a batch, the next submission being read meanwhile; one batch at a time, with all threads.

        Raises
        ------
        InputError, DeviceError
            If the worker cannot score at all.
        """
        with self._busy:
            if self._scorer is None:
                self._scorer = self._set_up()
            units = [self._unit(ticket) for ticket in tickets]
            with closing(Pipeline(units, self._scorer, self._overwrite, most=len(units))) as pipeline:
                return [outcome for outcomes in iter(pipeline.take, []) for outcome in outcomes]

    def _set_up(self) -> UnitScorer:
        if fastprobe.__version__ != self._version:
            raise InputError(
                "--scheduler", found=f"fastprobe {fastprobe.__version__} on {socket.gethostname()}",
                expected=f"{self._version}, as here", fix="install the same version on all workers",
            )  # fmt: skip
        backend = get_backend(self._device, threads=self._threads)
        return UnitScorer(backend, self._terms, lenient=self._lenient)

    def _unit(self, ticket: UnitTicket) -> Unit:
        return Unit(self._item(ticket), "", ticket.digest, ticket.tasks, ticket.there, None)

    def _item(self, ticket: UnitTicket) -> Item:
        if not ticket.stored:
            return FileItem(ticket.name, Path(ticket.source), ticket.lenient)
        store = self._stores.get(ticket.source)
        if store is None or ticket.name not in store:  # it may have been added meanwhile
            store = self._stores[ticket.source] = Store.open(ticket.source)
        return StoreItem(store.entry(ticket.name), store)


def score_batch(name: str, tickets: Sequence[UnitTicket]) -> tuple[str, list[Outcome]]:
    """Score a batch on the worker that this is called on.

    Parameters
    ----------
    name : str
        Of the :class:`Probing` that the worker has.
    tickets : sequence of UnitTicket

    Returns
    -------
    str
        Address of the worker.
    list of Outcome
        In the order of the tickets.
    """
    worker = get_worker()
    probing = worker.plugins[name]
    assert isinstance(probing, Probing)
    return worker.address, probing.score(tickets)
