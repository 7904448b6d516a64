"""What comes of units is kept: scores on the disk, failures and inputs in the journals, and whoever listens is told."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from fastprobe.runs.folder import Failure, KnownInput, RunFolder
from fastprobe.runs.pipeline import STAGES, Outcome
from fastprobe.runs.plan import Overwrite, Unit, look_at
from fastprobe.runs.score_files import Key
from fastprobe.runs.terms import Terms

__all__ = ["Done", "Event", "Keeper"]

Event = Callable[[Mapping[str, Any]], None]
"""Called with what has happened, in any thread, but one at a time:

- ``{"event": "begun", "pending", "scores", "finished", "failed", "out_of_date"}``, the plan in numbers;
- ``{"event": "scored", "submission", "scores", "read_s", "copy_s", "solve_s", "write_s"}`` when they are on the disk;
- ``{"event": "recognised", ...}`` with the same fields, when all scores of a changed file were there;
- ``{"event": "failed", "submission", "error", ...}`` with the same seconds;
- ``{"event": "worker_lost", "submissions"}``, which are scored again elsewhere;
- ``{"event": "ended", "scored", "finished", "failed", "seconds"}``.

With workers, what happens to a submission has a field ``worker``, the address.
"""


@dataclass(frozen=True, eq=False)
class Done:
    """A unit and what came of it.

    Attributes
    ----------
    unit : Unit
    outcome : Outcome
    worker : str
        Address of the worker; empty in this process.
    """

    unit: Unit
    outcome: Outcome
    worker: str = ""


class Keeper:
    """Keeps what comes of units; to be used in one thread.

    Parameters
    ----------
    terms : Terms
    folder : RunFolder
        Held by this process.
    overwrite : {"missing", "never", "always"}
    event : callable
        See :data:`Event`.
    """

    def __init__(self, terms: Terms, folder: RunFolder, overwrite: Overwrite, event: Event) -> None:
        self._terms, self._folder, self._overwrite, self._event = terms, folder, overwrite, event
        self.seconds = dict.fromkeys((*STAGES, "write"), 0.0)
        self.scored = self.recognised = 0
        self.failed: list[Failure] = []

    def keep(self, done: Sequence[Done]) -> None:
        """Write what came of units: the scores of all in one file.

        Raises
        ------
        WriteError
            If the folder cannot be written to.
        """
        began = time.perf_counter()
        with self._folder.writing():
            for each in done:
                if each.outcome.error is not None:
                    self._keep_failure(each)
            self._keep_scores([each for each in done if each.outcome.error is None])
        share = (time.perf_counter() - began) / max(1, len(done))
        for each in done:
            self._tell(each, {**each.outcome.seconds, "write": share})

    def _keep_failure(self, done: Done) -> None:
        unit, item, error = done.unit, done.unit.item, done.outcome.error
        assert error is not None
        fingerprint = unit.fingerprint if look_at(item) else ""  # or it would count as tried when it is there again
        failure = self._folder.note_failure(item.name, item.place, fingerprint, self._terms.digest, error, unit.before)
        self.failed.append(failure)

    def _keep_scores(self, done: Sequence[Done]) -> None:
        folder, terms = self._folder, self._terms
        if tables := [each.outcome.scores for each in done if each.outcome.scores is not None]:
            folder.scores.drop([key for each in done for key in self._replaced(each)])
            made = [(each.unit.item.name, each.outcome) for each in done]
            keys = [terms.key(name, outcome.digest, task) for name, outcome in made for task in outcome.tasks]
            folder.scores.put(pa.concat_tables(tables).combine_chunks(), keys)
        inputs = {}
        for each in done:
            unit, item = each.unit, each.unit.item
            inputs[item.name] = KnownInput(unit.fingerprint, each.outcome.digest, item.source, item.lenient)
        folder.note_inputs(inputs)
        for each in done:
            if each.unit.before is not None:
                folder.forget_failure(each.unit.item.name)

    def _replaced(self, done: Done) -> list[Key]:
        """Scores that those of a unit take the place of."""
        tasks, digest = set(done.outcome.tasks), done.outcome.digest
        if not tasks:
            return []
        there = self._folder.scores.of(done.unit.item.name)
        return [k for k in there if k.task in tasks or (k.embedding != digest and self._overwrite != "never")]

    def _tell(self, done: Done, seconds: Mapping[str, float]) -> None:
        outcome = done.outcome
        what: dict[str, Any] = {"event": "failed", "error": str(outcome.error)}
        if outcome.error is None:
            self.scored += bool(outcome.tasks)
            self.recognised += not outcome.tasks
            what = {"event": "scored" if outcome.tasks else "recognised", "scores": len(outcome.tasks)}
        for stage, spent in seconds.items():
            self.seconds[stage] += spent
        where = {"worker": done.worker} if done.worker else {}
        rounded = {f"{stage}_s": round(spent, 6) for stage, spent in seconds.items()}
        self._event({**what, "submission": done.unit.item.name, **where, **rounded})
