"""Who moved between two leaderboards, and why.

Between the board then and the board now stand counterfactual ones, in each of which one thing more is as it is now:

1. ``departed``: who is not ranked any more is taken out; the weights of the tasks stay;
2. ``rescored``: who was scored anew, for another embedding or other labels, has the new Q;
3. ``added``: who was not ranked then is put in;
4. ``weights``: the tasks have the weights of now.

What a submission moves from one board to the next is the share of that cause. So the shares sum to the whole move, to
the last bit. Another order would share out otherwise: this one asks what the weights did last, when all Q are as now.

If tasks were added or dropped between the two, these boards are made of the tasks in common, with weights of their own;
the steps from the board then to the first of them, and from the last of them to the board now, are of the cause
``tasks``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fastprobe.errors import InputError
from fastprobe.moves import CAUSES, Move
from fastprobe.pool import Pool, PoolScore
from fastprobe.ranking import Standing, Table, standings, weights_of
from fastprobe.views import ArrowViews

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Movements", "compare"]

_NAMED = 3  # submissions that a summary names


@dataclass(frozen=True)
class Movements(ArrowViews):
    """What moved between two leaderboards.

    Attributes
    ----------
    rank : str
        The rule.
    before, now : datetime or None
        When the boards were so; None for one that is.
    weights_before, weights : mapping of str to float
        Weight of every task then and now.
    moves : tuple of Move
        In the order of the board now, then those who are ranked no more, in the order of the board then. Submissions
        that are on neither are left out.
    """

    rank: str
    before: datetime | None
    now: datetime | None
    weights_before: Mapping[str, float]
    weights: Mapping[str, float]
    moves: tuple[Move, ...]

    @property
    def entered(self) -> list[Move]:
        """Those who are ranked now, and were not then."""
        return [move for move in self.moves if move.before is None]

    @property
    def left(self) -> list[Move]:
        """Those who were ranked then, and are not now."""
        return [move for move in self.moves if move.now is None]

    @property
    def moved(self) -> list[Move]:
        """Those who have another place."""
        return [move for move in self.moves if move.change]

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks of either board, sorted."""
        return tuple(sorted({*self.weights_before, *self.weights}))

    @property
    def summary(self) -> str:
        """Who came, who went, and how many moved, in a sentence without its full stop."""
        return "; ".join(self._summary()) or "no place changed"

    def _summary(self) -> Iterator[str]:
        if self.entered:
            yield _told_entered(self.entered)
        if self.left:
            names = _listed([move.submission for move in self.left])
            yield f"{names} {'is' if len(self.left) == 1 else 'are'} not ranked any more"
        if self.moved:
            only = sum(1 for move in self.moved if {cause for cause, n in move.places.items() if n} == {"weights"})
            others = f" other{'s' * (len(self.moved) > 1)}" if self.entered or self.left else ""
            how = f", {only} of them by the weights alone" if only else ""
            yield f"{len(self.moved)}{others} moved{how}"

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"rank", "before", "now", "summary", "weights": {task: {"before", "now"}}, "rows": [...]}``."""
        return {
            "rank": self.rank,
            "before": self.before.isoformat() if self.before else None,
            "now": self.now.isoformat() if self.now else None,
            "summary": self.summary,
            "weights": {
                task: {"before": self.weights_before.get(task), "now": self.weights.get(task)} for task in self.tasks
            },
            "rows": [move.to_dict() for move in self.moves],
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one JSON document."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_arrow(self) -> pa.Table:
        """Return a row for each submission, with a column of places for each cause.

        The columns are place_before, place, submission, ``by_<cause>`` for each of :data:`CAUSES`, mean_q_before,
        mean_q, weighted_rank_before, weighted_rank, scored_anew and why.
        """
        import pyarrow as pa

        types = {
            "place_before": pa.int64(),
            "place": pa.int64(),
            "submission": pa.string(),
            **{f"by_{cause}": pa.int64() for cause in CAUSES},
            **dict.fromkeys(("mean_q_before", "mean_q", "weighted_rank_before", "weighted_rank"), pa.float64()),
            "scored_anew": pa.bool_(),
            "why": pa.string(),
        }
        return pa.Table.from_pylist([_flat(move) for move in self.moves], schema=pa.schema(list(types.items())))


def compare(before: Pool, now: Pool, *, rank: str = "neuco") -> Movements:
    """Say who moved between two pools, and why; see :mod:`fastprobe.movement`.

    Parameters
    ----------
    before, now : Pool
    rank : {"neuco", "mean", "uniform"}
        The rule, see :mod:`fastprobe.ranking`.

    Returns
    -------
    Movements

    Raises
    ------
    InputError
        If there is no such rule, the protocols differ, or there is no task in common.
    """
    _require_comparable(before, now)
    old, new = before.complete, now.complete
    old_weights = weights_of(old, before.tasks, rank=rank)
    new_weights = weights_of(new, now.tasks, rank=rank)
    boards = [standings(old, old_weights, rank=rank), standings(new, new_weights, rank=rank)]
    if any(name in new for name in old):
        common = [task for task in now.tasks if task in before.tasks]
        boards[1:1] = _between(_only(old, common), _only(new, common), common, rank)
    first, last = boards[0], boards[-1]
    names = [
        *sorted(new, key=lambda n: (last[n].place, -last[n].mean_q, n)),
        *sorted(old.keys() - new.keys(), key=lambda n: (first[n].place, -first[n].mean_q, n)),
    ]
    moves = (
        Move(
            name,
            first.get(name),
            last.get(name),
            tuple(board[name] for board in boards) if name in old and name in new else (),
            _scored_anew(before.scores.get(name, {}), now.scores.get(name, {})),
            _note(name, before, now),
        )
        for name in names
    )
    return Movements(rank, before.at, now.at, old_weights, new_weights, tuple(moves))


def _between(old: Table, new: Table, tasks: Sequence[str], rank: str) -> Iterator[dict[str, Standing]]:
    """Yield the boards between two whose tasks are the same: the first and the last of them are those two."""
    old_weights, new_weights = (weights_of(table, tasks, rank=rank) for table in (old, new))
    yield standings(old, old_weights, rank=rank)
    yield standings({name: row for name, row in old.items() if name in new}, old_weights, rank=rank)
    yield standings({name: row for name, row in new.items() if name in old}, old_weights, rank=rank)
    yield standings(new, old_weights, rank=rank)
    yield standings(new, new_weights, rank=rank)


def _only(table: Table, tasks: Sequence[str]) -> Table:
    return {name: {task: row[task] for task in tasks} for name, row in table.items()}


def _require_comparable(before: Pool, now: Pool) -> None:
    if not (before.scores and now.scores):
        return
    if before.protocol != now.protocol:
        raise InputError(
            "the board now",
            found=f"scores of the protocol with hash {now.protocol}",
            expected=f"the protocol of the board then (hash {before.protocol}): others have another scale",
            fix="compare states of one protocol; fastprobe leaderboard RUN_DIR --history lists them",
        )
    if not set(before.tasks) & set(now.tasks):
        raise InputError(
            "the board now",
            found=f"the tasks {', '.join(now.tasks)}",
            expected=f"one at least of the board then: {', '.join(before.tasks)}",
            fix="compare states with a task in common",
        )


def _scored_anew(before: Mapping[str, PoolScore], now: Mapping[str, PoolScore]) -> bool:
    return any(before[task] != now[task] for task in before.keys() & now.keys())


def _note(name: str, before: Pool, now: Pool) -> str:
    """Why a submission is on one of the boards only."""
    if name not in before.scores:
        return "new"
    if name not in now.scores:
        return "gone"
    for pool, tense in ((before, "was"), (now, "is")):
        if name not in pool.complete:
            why = "; ".join(f"{task}: {reason}" for task, reason in pool.missing(name).items())
            return f"{tense} incomplete ({why})"
    return ""


def _told_entered(entered: Sequence[Move]) -> str:
    placed = [(move.submission, move.now.place) for move in entered if move.now is not None]
    if len(placed) > _NAMED:
        return f"{len(placed)} are new, the best of them {placed[0][0]} at place {placed[0][1]}"
    return ", ".join(f"{name} is new at place {place}" for name, place in placed)


def _listed(names: Sequence[str]) -> str:
    if len(names) > _NAMED:
        return str(len(names))
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _flat(move: Move) -> dict[str, Any]:
    row: dict[str, Any] = {"submission": move.submission, "scored_anew": move.scored_anew, "why": move.why}
    row |= {f"by_{cause}": places for cause, places in move.places.items()}
    for standing, ending in ((move.before, "_before"), (move.now, "")):
        if standing is not None:
            row |= {f"{name}{ending}": value for name, value in standing._asdict().items()}
    return row
