"""Agreement of protocols: how far a fast score orders submissions as a published one does.

The same submissions on the same tasks, scored under two or more protocols. The first protocol is the reference, and
every other one is held against it: by the rank correlation of Q in each task, and by who changes place in the ranking.
Places are given to the submissions that can be ranked under *every* protocol, so that one that drops out of one ranking
does not move the others in it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from fastprobe.concordance import kendall_tau, spearman_rho
from fastprobe.errors import InputError
from fastprobe.ranking import leaderboard
from fastprobe.results import Scores
from fastprobe.views import ArrowViews

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Agreement",
    "Move",
    "PairAgreement",
    "Standing",
    "TaskAgreement",
    "compare_protocols",
]


@dataclass(frozen=True)
class Standing:
    """Where one submission stands under each protocol.

    Attributes
    ----------
    submission : str
    place : mapping of str to (int or None)
        Place by protocol, among the submissions that every protocol ranks; None everywhere if it is not one of them.
    mean_q : mapping of str to (float or None)
        Mean Q over all tasks, by protocol.
    missing : mapping of str to mapping of str to str
        By protocol and task, why there is no Q; empty if the submission is ranked.
    """

    submission: str
    place: Mapping[str, int | None]
    mean_q: Mapping[str, float | None]
    missing: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True)
class TaskAgreement:
    """How two protocols agree on one task.

    Attributes
    ----------
    task : str
    n : int
        Submissions with a Q under both.
    tau, rho : float or None
        Rank correlations of Q over these.
    reason : str or None
        Why there is no correlation.
    q_difference : float or None
        The difference of Q (other less reference) that is largest in size.
    q_submission : str or None
        The submission where it occurs.
    score_difference : float or None
        Mean fold score (R2 or F1) under the other protocol less that under the reference, mean over the submissions
        that have one under both.
    """

    task: str
    n: int
    tau: float | None
    rho: float | None
    reason: str | None
    q_difference: float | None
    q_submission: str | None
    score_difference: float | None


@dataclass(frozen=True)
class Move:
    """A submission that changes place.

    Attributes
    ----------
    submission : str
    reference_place, place : int
        Under the reference, and under the other protocol.
    shift : int
        ``reference_place - place``: above 0 if the other protocol puts it higher.
    """

    submission: str
    reference_place: int
    place: int
    shift: int


@dataclass(frozen=True)
class PairAgreement:
    """How one protocol agrees with the reference.

    Attributes
    ----------
    reference, other : str
        Names of the protocols.
    n : int
        Ranked submissions.
    tau, rho : float or None
        Rank correlations of their places.
    reason : str or None
        Why there is no correlation.
    moves : tuple of Move
        Who changes place, the largest shifts first, then by place under the reference.
    tasks : tuple of TaskAgreement
        Sorted by name.
    """

    reference: str
    other: str
    n: int
    tau: float | None
    rho: float | None
    reason: str | None
    moves: tuple[Move, ...]
    tasks: tuple[TaskAgreement, ...]

    @property
    def summary(self) -> str:
        """The agreement in one line, as ``tau 0.93 over 6 submissions; 2 change place, by at most 1``."""
        over = f"{self.n} submission{'s' * (self.n != 1)}"
        tau = f"no tau over {over} ({self.reason})" if self.tau is None else f"tau {self.tau:.2f} over {over}"
        if not self.moves:
            return f"{tau}; none changes place"
        changes = f"{len(self.moves)} change{'s' * (len(self.moves) == 1)} place"
        return f"{tau}; {changes}, by at most {abs(self.moves[0].shift)}"


@dataclass(frozen=True)
class Agreement(ArrowViews):
    """Scores of several protocols, and how much these agree.

    Attributes
    ----------
    rank : str
        The rule that gave the places, see :mod:`fastprobe.ranking`.
    tables : tuple of Scores
        One per protocol, the reference first.
    submissions : tuple of Standing
        The ranked ones by their place under the reference, then the others by name.
    pairs : tuple of PairAgreement
        The reference with every other protocol.
    """

    rank: str
    tables: tuple[Scores, ...] = field(repr=False)
    submissions: tuple[Standing, ...]
    pairs: tuple[PairAgreement, ...]

    @property
    def protocols(self) -> tuple[str, ...]:
        """Names of the protocols, the reference first."""
        return tuple(_name(table) for table in self.tables)

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"protocols": [...], "scores": {protocol: score document}, "agreement": {...}}``.

        ``agreement`` is ``{"rank", "reference", "submissions": [...], "pairs": [...]}`` with the fields of
        :class:`Standing` and :class:`PairAgreement`, and the ``summary`` of each pair.
        """
        return {
            "protocols": [dict(table.protocol) for table in self.tables],
            "scores": {name: table.to_dict() for name, table in zip(self.protocols, self.tables, strict=True)},
            "agreement": {
                "rank": self.rank,
                "reference": self.protocols[0],
                "submissions": [asdict(standing) for standing in self.submissions],
                "pairs": [{**asdict(pair), "summary": pair.summary} for pair in self.pairs],
            },
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one JSON document."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_arrow(self) -> pa.Table:
        """Return a table with a row for each submission and task.

        Its columns are submission, task, metric, and for each protocol ``q_<protocol>``, ``mean_<protocol>``,
        ``std_<protocol>`` (of the fold scores), ``place_<protocol>`` (of the submission) and ``reason_<protocol>`` (why
        there is no Q). Rows come in the order of :attr:`submissions`, then by task; what is missing is null.
        """
        import pyarrow as pa

        fields = [pa.field(name, pa.string()) for name in ("submission", "task", "metric")]
        for name in self.protocols:
            fields += [pa.field(f"{what}_{name}", pa.float64()) for what in ("q", "mean", "std")]
            fields += [pa.field(f"place_{name}", pa.int64()), pa.field(f"reason_{name}", pa.string())]
        return pa.Table.from_pylist([*self._records()], schema=pa.schema(fields))

    def _records(self) -> list[dict[str, Any]]:
        records = []
        for standing in self.submissions:
            for task in self.tables[0].tasks:
                record: dict[str, Any] = {"submission": standing.submission, "task": task}
                for name, table in zip(self.protocols, self.tables, strict=True):
                    row = table.get(standing.submission, task)
                    if row is not None:
                        record["metric"] = row.metric
                        record |= {f"{what}_{name}": _finite(getattr(row, what)) for what in ("q", "mean", "std")}
                    record[f"place_{name}"] = standing.place[name]
                    record[f"reason_{name}"] = standing.missing.get(name, {}).get(task)
                records.append(record)
        return records


def compare_protocols(tables: Sequence[Scores], *, rank: str = "neuco") -> Agreement:
    """Compare the scores that several protocols gave to the same submissions.

    Parameters
    ----------
    tables : sequence of Scores
        One per protocol, the reference first, all of the same submissions and tasks; two at least.
    rank : {"neuco", "mean", "uniform"}
        The rule that gives the places, see :mod:`fastprobe.ranking`.

    Returns
    -------
    Agreement

    Raises
    ------
    InputError
        If there is no such rule, fewer than two tables are given, two share a protocol or its name, or they are not of
        the same submissions, tasks, embeddings and labels.
    """
    _require_same(tables)
    named = {_name(table): table for table in tables}
    missing: dict[str, dict[str, Mapping[str, str]]] = {}
    for name, table in named.items():
        for left_out in leaderboard(table, rank=rank).incomplete:
            missing.setdefault(left_out.submission, {})[name] = left_out.missing
    boards = {name: leaderboard(_without(table, missing), rank=rank) for name, table in named.items()}
    places = {name: {row.submission: row.place for row in board.rows} for name, board in boards.items()}
    reference, *others = named
    standings = [
        Standing(
            submission,
            {name: places[name].get(submission) for name in named},
            {name: _finite(table.mean_q(submission)) for name, table in named.items()},
            missing.get(submission, {}),
        )
        for submission in (*places[reference], *sorted(missing))
    ]
    pairs = [
        PairAgreement(
            reference,
            other,
            *_on_places(places[reference], places[other], (reference, other)),
            tuple(_on_task(named[reference], named[other], task) for task in tables[0].tasks),
        )
        for other in others
    ]
    return Agreement(rank, tuple(tables), tuple(standings), tuple(pairs))


def _without(table: Scores, submissions: Collection[str]) -> Scores:
    return Scores([row for row in table if row.submission not in submissions], table.protocol)


def _name(table: Scores) -> str:
    return str(table.protocol.get("name"))


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _correlations(
    x: Sequence[float], y: Sequence[float], what: str, names: tuple[str, str]
) -> tuple[float | None, float | None, str | None]:
    """Return tau, rho, and why there are none."""
    if len(x) < 2:
        return None, None, "fewer than two submissions"
    for values, name in zip((x, y), names, strict=True):
        if min(values) == max(values):
            return None, None, f"every {what} is the same under {name}"
    return kendall_tau(x, y), spearman_rho(x, y), None


def _on_places(
    before: Mapping[str, int], after: Mapping[str, int], names: tuple[str, str]
) -> tuple[int, float | None, float | None, str | None, tuple[Move, ...]]:
    """Return n, tau, rho, reason and moves of a :class:`PairAgreement`."""
    moves = [Move(name, place, after[name], place - after[name]) for name, place in before.items()]
    correlations = _correlations([m.reference_place for m in moves], [m.place for m in moves], "place", names)
    movers = sorted((m for m in moves if m.shift), key=lambda m: (-abs(m.shift), m.reference_place, m.submission))
    return len(moves), *correlations, tuple(movers)


def _on_task(reference: Scores, other: Scores, task: str) -> TaskAgreement:
    q: dict[str, tuple[float, float]] = {}
    shifts = []
    for submission in reference.submissions:
        before, after = reference.get(submission, task), other.get(submission, task)
        if before is None or after is None:
            continue
        if (a := _finite(before.q)) is not None and (b := _finite(after.q)) is not None:
            q[submission] = a, b
        if (a := _finite(before.mean)) is not None and (b := _finite(after.mean)) is not None:
            shifts.append(b - a)
    x, y = [a for a, _ in q.values()], [b for _, b in q.values()]
    tau, rho, reason = _correlations(x, y, "Q", (_name(reference), _name(other)))
    furthest = max(q, key=lambda name: abs(q[name][1] - q[name][0]), default=None)
    return TaskAgreement(
        task=task,
        n=len(q),
        tau=tau,
        rho=rho,
        reason=reason,
        q_difference=None if furthest is None else q[furthest][1] - q[furthest][0],
        q_submission=furthest,
        score_difference=math.fsum(shifts) / len(shifts) if shifts else None,
    )


def _require_same(tables: Sequence[Scores]) -> None:
    """Raise InputError unless these are scores of different protocols on the same embeddings and labels."""
    if len(tables) < 2:
        raise InputError("tables", found=f"{len(tables)}", expected="two or more", fix="give one for each protocol")
    first = tables[0]
    seen: dict[str, int] = {}
    for i, table in enumerate(tables):
        where = f"score table {i}"
        for what in ("name", "hash"):
            value = str(table.protocol.get(what))
            if (before := seen.setdefault(f"{what} {value}", i)) != i:
                raise InputError(
                    where,
                    found=f"the protocol {what} {value!r}, as in score table {before}",
                    expected="a protocol and a name of its own for each table",
                    fix="compare different protocols under different names",
                )
        _require_same_rows(where, table, first)


def _require_same_rows(where: str, table: Scores, first: Scores) -> None:
    mine = {(row.submission, row.task): row for row in table}
    theirs = {(row.submission, row.task): row for row in first}
    if unpaired := sorted(mine.keys() ^ theirs.keys()):
        submission, task = unpaired[0]
        has = where if unpaired[0] in mine else "score table 0"
        raise InputError(
            where,
            found=f"submission {submission!r}, task {task!r} only in {has}",
            expected="the same submissions and tasks in all tables",
            fix="score the same submissions on the same tasks under every protocol",
        )
    for key, row in mine.items():
        for what, digest, expected in (
            ("embedding", row.embedding_hash, theirs[key].embedding_hash),
            ("labels", row.label_hash, theirs[key].label_hash),
        ):
            if digest != expected:
                raise InputError(
                    f"{where}, submission {row.submission!r}, task {row.task!r}",
                    found=f"{what} with the hash {digest}",
                    expected=f"the {what} of score table 0, with the hash {expected}",
                    fix="score the same files under every protocol",
                )
