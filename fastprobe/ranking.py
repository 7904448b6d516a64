"""Leaderboards: submissions ranked by their Q-scores.

Three rules, all with the places of ties that competitions use (two at place 1, the next at place 3):

``neuco``
    The rule of NeuCo-Bench. Submissions are ranked in every task; the ranks are added up with the weight of the task,
    which is the standard deviation (ddof 1) of its Q over the submissions, divided by the sum of these. With one
    submission, or where no task tells the submissions apart (every standard deviation 0: NeuCo-Bench divides 0 by 0
    there), all tasks weigh the same.
``uniform``
    The same, with the same weight for every task.
``mean``
    By mean Q, the highest first; ``weighted_rank`` is the place.

Sums are exact before they are rounded, so neither the order of the tasks nor that of the submissions can break a tie.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import mul
from typing import TYPE_CHECKING, Any, NamedTuple

from fastprobe.errors import InputError
from fastprobe.pool import Pool
from fastprobe.views import ArrowViews

if TYPE_CHECKING:
    import pyarrow as pa

    from fastprobe.results import Scores

__all__ = [
    "RANKS",
    "Incomplete",
    "Leaderboard",
    "LeaderboardRow",
    "Standing",
    "leaderboard",
    "rank_pool",
    "standings",
    "weights_of",
]

Table = Mapping[str, Mapping[str, float]]
"""Q by submission and task."""
Rows = Sequence[Mapping[str, float]]


class Standing(NamedTuple):
    """Where a submission stands.

    Attributes
    ----------
    place : int
        1 is best; tied submissions share the better place.
    mean_q : float
        Mean Q over all tasks.
    weighted_rank : float
        Weighted mean of the ranks in the tasks, 1 is best (the place, for the rule ``mean``).
    """

    place: int
    mean_q: float
    weighted_rank: float


@dataclass(frozen=True)
class LeaderboardRow:
    """One ranked submission.

    Attributes
    ----------
    place : int
        1 is best; tied submissions share the better place.
    submission : str
    mean_q : float
        Mean Q over all tasks.
    weighted_rank : float
        Weighted mean of the ranks in the tasks, 1 is best (the place, for the rule ``mean``).
    q : mapping of str to float
        Q of every task.
    """

    place: int
    submission: str
    mean_q: float
    weighted_rank: float
    q: Mapping[str, float]


@dataclass(frozen=True)
class Incomplete:
    """A submission that cannot be ranked: the tasks without a Q, and why."""

    submission: str
    missing: Mapping[str, str]


@dataclass(frozen=True)
class Leaderboard(ArrowViews):
    """A ranking.

    Attributes
    ----------
    rank : str
        The rule.
    weights : mapping of str to float
        Weight of every task; they sum to 1.
    rows : tuple of LeaderboardRow
        Best first; ties by mean Q, then by name.
    incomplete : tuple of Incomplete
        Submissions that lack the Q of some task, by name. They take no part in ranks and weights.
    """

    rank: str
    weights: Mapping[str, float]
    rows: tuple[LeaderboardRow, ...]
    incomplete: tuple[Incomplete, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return ``{"rank", "weights", "rows": [...], "incomplete": [{"submission", "missing", "reasons"}, ...]}``."""
        return {
            "rank": self.rank,
            "weights": dict(self.weights),
            "rows": [asdict(row) for row in self.rows],
            "incomplete": [
                {"submission": i.submission, "missing": list(i.missing), "reasons": dict(i.missing)}
                for i in self.incomplete
            ],
        }

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one JSON document."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_arrow(self) -> pa.Table:
        """Return a table with the columns place, submission, mean_q, weighted_rank, ``q_<task>`` of each task, missing.

        Submissions that are not ranked stand at the end, with ``missing`` as ``task: reason`` joined by ``"; "`` and
        nulls for what they lack.
        """
        import pyarrow as pa

        columns: dict[str, list[Any]] = {name: [] for name in ("place", "submission", "mean_q", "weighted_rank")}
        columns |= {f"q_{task}": [] for task in self.weights}
        columns["missing"] = []
        for row in self.rows:
            flat = {**asdict(row), **{f"q_{task}": q for task, q in row.q.items()}}
            for name, values in columns.items():
                values.append(flat.get(name))
        for left_out in self.incomplete:
            missing = "; ".join(f"{task}: {reason}" for task, reason in left_out.missing.items())
            flat = {"submission": left_out.submission, "missing": missing}
            for name, values in columns.items():
                values.append(flat.get(name))
        types = {"place": pa.int64(), "submission": pa.string(), "missing": pa.string()}
        return pa.table({name: pa.array(v, types.get(name, pa.float64())) for name, v in columns.items()})


def leaderboard(scores: Scores, *, rank: str = "neuco") -> Leaderboard:
    """Rank the submissions of a score table.

    Parameters
    ----------
    scores : Scores
        Of one protocol. Its tasks are the tasks of the leaderboard: whoever lacks one of them is not ranked.
    rank : {"neuco", "mean", "uniform"}
        The rule, see :mod:`fastprobe.ranking`.

    Returns
    -------
    Leaderboard

    Raises
    ------
    InputError
        If there is no such rule, or the scores were made by different protocols or on different labels.
    """
    return rank_pool(Pool.from_arrow(scores.pool()), rank=rank)


def rank_pool(pool: Pool, *, rank: str = "neuco") -> Leaderboard:
    """Rank the submissions of a pool; see :func:`leaderboard`.

    Raises
    ------
    InputError
        If there is no such rule.
    """
    weights = weights_of(pool.complete, pool.tasks, rank=rank)
    found = standings(pool.complete, weights, rank=rank)
    rows = (LeaderboardRow(s.place, name, s.mean_q, s.weighted_rank, pool.complete[name]) for name, s in found.items())
    left_out = sorted(name for name in pool.scores if name not in pool.complete)
    incomplete = tuple(Incomplete(name, pool.missing(name)) for name in left_out)
    return Leaderboard(rank, weights, tuple(sorted(rows, key=lambda r: (r.place, -r.mean_q, r.submission))), incomplete)


def weights_of(table: Table, tasks: Sequence[str], *, rank: str) -> dict[str, float]:
    """Weights of the tasks by a rule.

    Parameters
    ----------
    table : mapping of str to mapping of str to float
        Finite Q of every task, by submission.
    tasks : sequence of str
    rank : {"neuco", "mean", "uniform"}

    Returns
    -------
    dict of str to float
        They sum to 1.

    Raises
    ------
    InputError
        If there is no such rule.
    """
    if rank not in RANKS:
        raise InputError("rank", found=repr(rank), expected=f"one of {', '.join(RANKS)}", fix="correct the name")
    return RANKS[rank](list(table.values()), tasks)


def standings(table: Table, weights: Mapping[str, float], *, rank: str) -> dict[str, Standing]:
    """Say where submissions stand if the tasks have these weights.

    Parameters
    ----------
    table : mapping of str to mapping of str to float
        Finite Q by submission; of tasks that have a weight, and of no others.
    weights : mapping of str to float
        Finite; by task. For the rule ``mean`` their values do not matter.
    rank : {"neuco", "mean", "uniform"}

    Returns
    -------
    dict of str to Standing
        By submission, in their order.
    """
    names, rows = list(table), list(table.values())
    means = [math.fsum(row.values()) / len(row) for row in rows]
    if rank == "mean":
        total = [float(r) for r in _min_ranks([-m for m in means])]
    else:
        ranks = [_min_ranks([-row[task] for row in rows]) for task in weights]
        total = _exact_sums(ranks, list(weights.values()))
    return dict(zip(names, map(Standing, _min_ranks(total), means, total), strict=True))


def _equal_weights(rows: Rows, tasks: Sequence[str]) -> dict[str, float]:
    return {task: 1 / len(tasks) for task in tasks}


def _spread_weights(rows: Rows, tasks: Sequence[str]) -> dict[str, float]:
    """Weights proportional to the standard deviation (ddof 1) of Q over the submissions, as in NeuCo-Bench."""
    if len(rows) < 2:
        return _equal_weights(rows, tasks)
    spread = {task: _std([row[task] for row in rows]) for task in tasks}
    total = math.fsum(spread.values())
    return {task: s / total for task, s in spread.items()} if total > 0 else _equal_weights(rows, tasks)


def _std(values: Sequence[float]) -> float:
    if min(values) == max(values):  # the mean of equal values may be off by a rounding; their spread may not
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def _min_ranks(keys: Sequence[float]) -> list[int]:
    """Return 1 + the number of smaller keys, for each key (``scipy.stats.rankdata`` with ``method="min"``)."""
    import numpy as np

    values = np.asarray(keys, dtype=np.float64)
    ranks: list[int] = (np.searchsorted(np.sort(values), values) + 1).tolist()
    return ranks


def _exact_sums(ranks: Sequence[Sequence[int]], weights: Sequence[float]) -> list[float]:
    """Sum rank times weight over the tasks, rounded once: over one denominator, which is a power of 2."""
    ratios = [weight.as_integer_ratio() for weight in weights]
    denominator = max((below for _, below in ratios), default=1)
    whole = [above * (denominator // below) for above, below in ratios]
    return [sum(map(mul, whole, of_one)) / denominator for of_one in zip(*ranks, strict=True)]


RANKS: dict[str, Callable[[Rows, Sequence[str]], dict[str, float]]] = {
    "neuco": _spread_weights,
    "mean": _equal_weights,
    "uniform": _equal_weights,
}
"""Rules by name: the weights of the tasks."""
