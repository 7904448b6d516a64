"""The history of a run's leaderboard: what changed in the pool of scores, each time a run ended.

    RUN_DIR/history/00000001.parquet    the scores that were there at first
    RUN_DIR/history/00000002.parquet    those that came, and those that were gone, since then

What the pool was at any time is what the parts up to then come to.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import fastprobe
from fastprobe.errors import InputError
from fastprobe.pool import Pool
from fastprobe.runs.folder import RunFolder
from fastprobe.runs.history_parts import Noted, State, read_parts, write_part
from fastprobe.runs.journal import Journal
from fastprobe.runs.score_files import Key

__all__ = ["Change", "History", "is_noted", "note"]

_READ = ("q", "q_reason", "label_hash", "protocol_name")


@dataclass(frozen=True)
class Change:
    """Submissions that a state has changed.

    Attributes
    ----------
    added : int
        They had no scores before.
    rescored : int
        They had others, more or fewer.
    gone : int
        They have none any more.
    """

    added: int
    rescored: int
    gone: int


class History:
    """The states that the pool of a run was in.

    Parameters
    ----------
    run : Path
        Folder of the run.

    Attributes
    ----------
    states : tuple of State
        In order.

    Raises
    ------
    InputError
        If a part is missing or damaged.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._parts = read_parts(run / "history")
        self.states = tuple(part.state for part in self._parts)

    def scores(self, state: State) -> dict[Key, Noted]:
        """Return the scores of a state."""
        known: dict[Key, Noted] = {}
        for part in self._parts[: state.number]:
            part.replay(known)
        return known

    def pool(self, state: State) -> Pool:
        """Return the scores of a state as what is ranked.

        Raises
        ------
        InputError
            If they cannot be ranked together.
        """
        return _pool(self.scores(state), state)

    def replay(self) -> Iterator[tuple[State, Change, Pool | InputError]]:
        """Go through the states: what each has changed, and its pool, or why that cannot be ranked."""
        known: dict[Key, Noted] = {}
        before: set[str] = set()
        for part in self._parts:
            part.replay(known)
            touched, there = part.submissions, {key.submission for key in known}
            change = Change(len(touched - before), len(touched & before & there), len(touched - there))
            before = there
            yield part.state, change, _pool_or_error(known, part.state)

    def at(self, moment: datetime, *, where: str) -> State:
        """Return the state at a moment.

        Parameters
        ----------
        moment : datetime
            With a zone.
        where : str
            How errors name it.

        Raises
        ------
        InputError
            If that is before the first.
        """
        first = self.first(where=where)
        past = [state for state in self.states if state.at <= moment]
        if past:
            return past[-1]
        raise InputError(
            where,
            found=_local(moment),
            expected=f"a time from {_local(first.at)} on, when the history of {self._run} begins",
            fix=f"name a later time, or {where} first" if where == "--since" else "name a later time",
        )

    def first(self, *, where: str) -> State:
        """Return the first state.

        Raises
        ------
        InputError
            If there is none.
        """
        if self.states:
            return self.states[0]
        raise InputError(
            where,
            found=f"no history in {self._run}",
            expected="the folder of a run that has noted its scores",
            fix="run the same `fastprobe run` again: from then on there is one",
        )

    def before_last(self, *, where: str) -> State:
        """Return the state before the last change.

        Raises
        ------
        InputError
            If there are not two.
        """
        first = self.first(where=where)
        if len(self.states) > 1:
            return self.states[-2]
        raise InputError(
            where,
            found=f"a history of one state in {self._run}, since {_local(first.at)}",
            expected="two at least",
            fix="leave the option out: nothing has changed yet",
        )


def is_noted(folder: RunFolder) -> bool:
    """Whether nothing can have changed since the history was last written, as the times of its files tell."""
    finished = folder.path / "finished.jsonl"
    parts = sorted((folder.path / "history").glob("[!.]*.parquet"))
    if not finished.exists():
        return not parts
    return bool(parts) and parts[-1].stat().st_mtime_ns > finished.stat().st_mtime_ns


def note(folder: RunFolder, *, reread: bool = False, at: datetime | None = None) -> bool:
    """Add to the history of a run what has changed since the state that it knows.

    Nothing is written if the scores are the same, and no file of scores is read then. Otherwise those with new scores
    are, but only what is ranked by. A folder that still holds scores of two protocols, because a crash came between, is
    in no state to be noted: the next run drops those of one.

    Parameters
    ----------
    folder : RunFolder
        Held by the caller.
    reread : bool
        Look also at scores whose keys are known: after ``--overwrite always``, which may have computed them on another
        device.
    at : datetime, optional
        When the scores were so, with a zone. If not given, it is when the last of the new ones was written; now, if
        there are none and others are gone.

    Returns
    -------
    bool
        Whether something had changed.

    Raises
    ------
    OSError
        If it cannot be written.
    InputError
        If a part of the history, or a file of scores, is damaged.
    """
    there = set(folder.scores)
    protocols = {key.protocol for key in there}
    if len(protocols) > 1:
        return False
    history = History(folder.path)
    last = history.states[-1] if history.states else None
    known = history.scores(last) if last is not None else {}
    gone = known.keys() - there
    found = _Found.of(folder, there if reread else there - known.keys())
    new = {key: noted for key, noted in found.scores.items() if known.get(key) != noted}
    if not (new or gone):
        return False
    moment = at or found.written or datetime.now(UTC)
    state = State(
        number=len(history.states) + 1,
        at=_by_the_second(moment if last is None else max(moment, last.at)),
        protocol=found.protocol or (last.protocol if last is not None else ""),
        protocol_hash=next(iter(protocols), ""),
        version=fastprobe.__version__,
    )
    write_part(folder.path / "history", state, new, gone)
    return True


@dataclass(frozen=True)
class _Found:
    """Scores that were read.

    Attributes
    ----------
    scores : dict of Key to Noted
    protocol : str
        Its name; empty if nothing was read.
    written : datetime or None
        When the last of their files was.
    """

    scores: dict[Key, Noted]
    protocol: str
    written: datetime | None

    @classmethod
    def of(cls, folder: RunFolder, wanted: set[Key]) -> _Found:
        """Read scores from the files that the journal of the run says they are in."""
        scores: dict[Key, Noted] = {}
        protocol, written = "", 0.0
        told = Journal(folder.path / "finished.jsonl", "file").read() if wanted else {}
        for path in (folder.path / "scores" / name for name in told):
            keys = [Key._make(key) for key in told[path.name]["keys"]]
            if wanted.isdisjoint(keys) or not path.exists():
                continue
            columns = _columns(path, len(keys))
            noted = map(Noted._make, zip(columns["label_hash"], columns["q"], columns["q_reason"], strict=True))
            scores |= {key: what for key, what in zip(keys, noted, strict=True) if key in wanted}
            protocol, written = columns["protocol_name"][0], max(written, path.stat().st_mtime)
        return cls(scores, protocol, datetime.fromtimestamp(written, UTC) if written else None)


def _columns(path: Path, rows: int) -> dict[str, list[Any]]:
    """Columns of a file of scores."""
    try:
        table = pq.ParquetFile(path).read(columns=list(_READ)).select(_READ)
    except (OSError, KeyError, pa.ArrowException) as error:
        found = str(error)
    else:
        if table.num_rows == rows:
            return {name: table[name].to_pylist() for name in _READ}
        found = f"{table.num_rows} rows instead of {rows}"
    raise InputError(
        str(path),
        found=f"not the scores of a run ({found})",
        expected="a file that fastprobe run wrote",
        fix="take it out of the folder; what it held is scored again",
    )


def _pool(known: dict[Key, Noted], state: State) -> Pool:
    rows = (
        (key.submission, key.task, noted.q, noted.reason, key.embedding, noted.labels, key.protocol)
        for key, noted in known.items()
    )
    return Pool.of(rows, at=state.at)


def _pool_or_error(known: dict[Key, Noted], state: State) -> Pool | InputError:
    try:
        return _pool(known, state)
    except InputError as error:
        return error


def _by_the_second(moment: datetime) -> datetime:
    """In UTC; cut off, so that the state is there at the time that is shown for it."""
    return moment.astimezone(UTC).replace(microsecond=0)


def _local(moment: datetime) -> str:
    return moment.astimezone().isoformat(timespec="seconds")
