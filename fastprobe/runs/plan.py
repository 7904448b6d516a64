"""The plan of a run: what is pending, found out without reading a submission."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from fastprobe.errors import InputError
from fastprobe.runs.folder import Failure, KnownInput, RunFolder
from fastprobe.runs.inputs import Item
from fastprobe.runs.score_files import Key
from fastprobe.runs.terms import Terms

__all__ = ["Overwrite", "Plan", "Unit", "look_at", "plan_run"]

Overwrite = Literal["never", "missing", "always"]


@dataclass(frozen=True, eq=False)
class Unit:
    """A submission and the tasks that it has to be scored on.

    Attributes
    ----------
    item : Item
    fingerprint : str
        Of the item when the plan was made.
    digest : str or None
        Hash of the embedding, if that is known without reading it.
    tasks : tuple of str
        Tasks whose scores are missing; all that may be, where the hash is not known.
    there : frozenset of Key
        Scores of the submission that are there and up to date, if only its content still is what they were made of.
    before : Failure or None
        How it failed the last time.
    """

    item: Item
    fingerprint: str
    digest: str | None
    tasks: tuple[str, ...]
    there: frozenset[Key]
    before: Failure | None


@dataclass(frozen=True, eq=False)
class Plan:
    """What a run has to do.

    Attributes
    ----------
    pending : tuple of Unit
    finished : tuple of str
        Submissions all of whose scores are there.
    failed : tuple of Failure
        Submissions that failed before, and neither they nor the terms have changed: they are not tried again unless
        asked for.
    stale : tuple of Key
        Scores that are out of date.
    """

    pending: tuple[Unit, ...]
    finished: tuple[str, ...]
    failed: tuple[Failure, ...]
    stale: tuple[Key, ...]

    @property
    def n_scores(self) -> int:
        """Scores that are missing; at most, if submissions have changed whose content may be the same."""
        return sum(len(unit.tasks) for unit in self.pending)


def plan_run(
    items: Sequence[Item], terms: Terms, folder: RunFolder, *, overwrite: Overwrite = "missing",
    retry_failed: bool = False,
) -> Plan:  # fmt: skip
    """Find out what a run has to do. Nothing is read but the journals, and nothing is changed.

    Parameters
    ----------
    items : sequence of Item
    terms : Terms
    folder : RunFolder
    overwrite : {"missing", "never", "always"}
        ``missing`` scores what is not there or out of date; ``never`` only what is not there; ``always`` everything.
    retry_failed : bool
        Only the submissions that failed before, whether or not they have changed.

    Raises
    ------
    InputError
        If scores of another protocol are there, and this would not replace all of them.
    """
    if overwrite == "never" or retry_failed:
        _require_one_protocol(terms, folder, "--retry-failed" if retry_failed else "--overwrite never")
    tasks, inputs, failures = frozenset(terms.tasks), folder.known_inputs(), folder.failures()
    outdated = frozenset() if overwrite == "never" else frozenset(k for k in folder.scores if not terms.admits(k))
    pending, finished, failed, stale = [], [], [], set[Key]()
    for item in items:
        before = failures.get(item.name)
        if retry_failed and before is None:
            continue
        fingerprint = look_at(item)
        digest = item.digest or _known(inputs.get(item.name), fingerprint)
        there = folder.scores.of(item.name)
        right = _right(there, digest, outdated, tasks, overwrite)
        covered = {key.task for key in right}
        wanted = terms.together([task for task in terms.tasks if task not in covered])
        tried = before is not None and (before.fingerprint, before.terms) == (fingerprint, terms.digest)
        if before is not None and tried and not retry_failed and overwrite != "always":
            failed.append(before)
        elif wanted:
            kept = () if overwrite == "always" else (key for key in there if key not in outdated)
            pending.append(Unit(item, fingerprint, digest, wanted, frozenset(kept), before))
        else:
            finished.append(item.name)
        if digest is not None or overwrite == "always":  # or it is to be seen when it is read
            stale.update(key for key in there if key not in right)
    if not retry_failed:
        stale |= outdated
    return Plan(tuple(pending), tuple(finished), tuple(failed), tuple(sorted(stale)))


def _right(
    there: list[Key], digest: str | None, outdated: Collection[Key], tasks: Collection[str], overwrite: Overwrite
) -> set[Key]:
    """Scores of a submission that are not to be computed again; none if its content is not known."""
    if overwrite == "never":
        return set(there)
    if overwrite == "always":
        return {key for key in there if key.task not in tasks and key not in outdated}
    if digest is None:
        return set()
    return {key for key in there if key.embedding == digest and key not in outdated}


def look_at(item: Item) -> str:
    """Fingerprint of an item; empty if it is not there, which is told when its turn comes."""
    with suppress(InputError):
        return item.fingerprint()
    return ""


def _known(seen: KnownInput | None, fingerprint: str) -> str | None:
    """The hash of a submission that looks as it did when it was read."""
    return seen.digest if seen is not None and fingerprint and seen.fingerprint == fingerprint else None


def _require_one_protocol(terms: Terms, folder: RunFolder, option: str) -> None:
    others = sorted({key.protocol for key in folder.scores} - {terms.protocol.hash})
    if others:
        raise InputError(
            option,
            found=f"scores in {folder.path} of another protocol (hash {others[0]})",
            expected=f"scores of {terms.protocol.name} (hash {terms.protocol.hash}) only",
            fix="name another --out, or leave the option out: then they are replaced",
        )
