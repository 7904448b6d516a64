"""The history of a run's leaderboard as a table: when it changed, by what, and who led."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from fastprobe.errors import InputError
from fastprobe.pool import Pool
from fastprobe.ranking import standings, weights_of
from fastprobe.runs.history import History
from fastprobe.views import ArrowViews

__all__ = ["Moment", "Timeline", "timeline"]

_SCHEMA = pa.schema(
    [
        ("at", pa.string()),
        ("submissions", pa.int64()),
        ("ranked", pa.int64()),
        ("leaders", pa.string()),
        ("mean_q", pa.float64()),
        ("added", pa.int64()),
        ("rescored", pa.int64()),
        ("gone", pa.int64()),
        ("tasks", pa.int64()),
        ("protocol", pa.string()),
        ("protocol_hash", pa.string()),
        ("version", pa.string()),
        ("problem", pa.string()),
    ]
)


@dataclass(frozen=True)
class Moment:
    """A state of a leaderboard.

    Attributes
    ----------
    at : datetime
        When it began.
    submissions, ranked, tasks : int or None
        How many; None if the scores could not be ranked together.
    leaders : tuple of str
        Those at place 1, by name.
    mean_q : float or None
        The best mean Q among them.
    added, rescored, gone : int
        Submissions that it changed, see :class:`fastprobe.runs.history.Change`.
    protocol, protocol_hash, version : str
        Of the scores; of fastprobe.
    problem : str or None
        Why the scores could not be ranked together.
    """

    at: datetime
    submissions: int | None
    ranked: int | None
    tasks: int | None
    leaders: tuple[str, ...]
    mean_q: float | None
    added: int
    rescored: int
    gone: int
    protocol: str
    protocol_hash: str
    version: str
    problem: str | None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), "at": self.at.isoformat(), "leaders": list(self.leaders)}


@dataclass(frozen=True)
class Timeline(ArrowViews):
    """The states of a leaderboard.

    Attributes
    ----------
    rank : str
        The rule that says who led.
    moments : tuple of Moment
        In order.
    """

    rank: str
    moments: tuple[Moment, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"rank", "states": [...]}``, a state with the fields of :class:`Moment`."""
        return {"rank": self.rank, "states": [moment.to_dict() for moment in self.moments]}

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one JSON document."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_arrow(self) -> pa.Table:
        """Return a row for each state, the leaders joined by ``"; "``."""
        rows = [{**moment.to_dict(), "leaders": "; ".join(moment.leaders)} for moment in self.moments]
        return pa.Table.from_pylist(rows, schema=_SCHEMA)


def timeline(run: Path, *, rank: str = "neuco") -> Timeline:
    """List the states that the leaderboard of a run was in.

    Every state is ranked: 10,000 submissions on six tasks take some tenths of a second each.

    Raises
    ------
    InputError
        If there is no such rule, or a part of the history is missing or damaged.
    """
    return Timeline(rank, tuple(_moments(History(run), rank)))


def _moments(history: History, rank: str) -> Iterator[Moment]:
    for state, change, pool in history.replay():
        unknown = isinstance(pool, InputError)
        known = Pool("", {}) if isinstance(pool, InputError) else pool
        found = standings(known.complete, weights_of(known.complete, known.tasks, rank=rank), rank=rank)
        leaders = {name: standing for name, standing in found.items() if standing.place == 1}
        yield Moment(
            at=state.at,
            submissions=None if unknown else len(known.scores),
            ranked=None if unknown else len(found),
            tasks=None if unknown else len(known.tasks),
            leaders=tuple(sorted(leaders)),
            mean_q=max((standing.mean_q for standing in leaders.values()), default=None),
            **asdict(change),
            protocol=state.protocol,
            protocol_hash=state.protocol_hash,
            version=state.version,
            problem=str(pool) if unknown else None,
        )
