"""Who moved between two leaderboards: each cause alone, all together, and the boards in between by pandas."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from fastprobe.errors import InputError
from fastprobe.movement import Movements, compare
from fastprobe.moves import CAUSES, Move
from fastprobe.pool import Pool
from fastprobe.ranking import rank_pool

Qs = Mapping[str, Mapping[str, float | None]]


def pool_of(qs: Qs, *, anew: tuple[str, ...] = (), protocol: str = "p", at: datetime | None = None) -> Pool:
    """A pool; the embeddings of some submissions are other ones."""
    return Pool.of(
        (
            (name, task, q, None if q is not None else "all folds failed", f"{name}{name in anew}", task, protocol)
            for name, row in qs.items()
            for task, q in row.items()
        ),
        at=at,
    )


def of(moves: Movements, name: str) -> Move:
    (found,) = (move for move in moves.moves if move.submission == name)
    return found


def places(moves: Movements, name: str) -> dict[str, int]:
    """Shares that are not 0."""
    return {cause: n for cause, n in of(moves, name).places.items() if n}


BEFORE: dict[str, dict[str, float | None]] = {
    "a": {"x": 30.0, "y": 10.0},
    "b": {"x": 20.0, "y": 20.0},
    "c": {"x": 10.0, "y": 15.0},
}

# --- each cause alone ------------------------------------------------------------------------------------------------


def test_nothing_changed():
    moves = compare(pool_of(BEFORE), pool_of(BEFORE))
    assert [(m.submission, m.change, m.why) for m in moves.moves] == [("a", 0, ""), ("b", 0, ""), ("c", 0, "")]
    assert moves.weights == moves.weights_before
    assert moves.summary == "no place changed"


def test_a_submission_that_left():
    qs = {"a": {"x": 3.0}, "b": {"x": 2.0}, "c": {"x": 1.0}}
    moves = compare(pool_of(qs), pool_of({"b": qs["b"], "c": qs["c"]}))
    assert [(m.submission, m.change) for m in moves.moves] == [("b", -1), ("c", -1), ("a", 0)]
    assert places(moves, "b") == places(moves, "c") == {"departed": -1}
    assert of(moves, "c").why == "up 1 by those who left"
    assert (of(moves, "a").now, of(moves, "a").why, of(moves, "a").places) == (None, "gone", {})
    assert moves.summary == "a is not ranked any more; 2 others moved"


def test_a_submission_that_was_scored_anew():
    qs = {"a": {"x": 3.0}, "b": {"x": 2.0}, "c": {"x": 1.0}}
    moves = compare(pool_of(qs), pool_of({**qs, "c": {"x": 9.0}}, anew=("c",)))
    assert places(moves, "c") == {"rescored": -2}
    assert places(moves, "a") == places(moves, "b") == {"rescored": 1}
    assert of(moves, "c").why == "up 2 by new scores (its own among them)"
    assert of(moves, "a").why == "down 1 by new scores of others"
    assert of(moves, "c").shares["rescored"].mean_q == 8
    assert moves.summary == "3 moved"


def test_scored_anew_and_in_the_same_place():
    moves = compare(pool_of({"a": {"x": 3.0}}), pool_of({"a": {"x": 3.0}}, anew=("a",)))
    assert of(moves, "a").why == "scored anew"
    assert of(moves, "a").scored_anew


def test_a_submission_that_is_new():
    qs = {"a": {"x": 3.0}, "c": {"x": 1.0}}
    moves = compare(pool_of(qs), pool_of({**qs, "b": {"x": 2.0}}))
    assert places(moves, "a") == {}
    assert places(moves, "c") == {"added": 1}
    assert of(moves, "c").why == "down 1 by new submissions"
    assert (of(moves, "b").before, of(moves, "b").why) == (None, "new")
    assert moves.summary == "b is new at place 2; 1 other moved"


def test_weights_alone_exchange_two():
    # The new one is last in both tasks, so it moves nobody; but now y tells the submissions apart much better than x.
    qs = {"a": {"x": 30.0, "y": 10.0}, "b": {"x": 20.0, "y": 12.0}}
    before, now = pool_of(qs), pool_of({**qs, "late": {"x": 9.0, "y": -500.0}})
    moves = compare(before, now)
    assert (places(moves, "a"), places(moves, "b")) == ({"weights": 1}, {"weights": -1})
    assert of(moves, "b").why == "up 1 by the weights"
    assert moves.weights_before["x"] > 0.8
    assert moves.weights["x"] < 0.1
    assert moves.summary == "late is new at place 3; 2 others moved, 2 of them by the weights alone"
    assert not compare(before, now, rank="uniform").moved


def test_causes_may_cancel_each_other():
    qs = {"a": {"x": 5.0}, "b": {"x": 4.0}, "c": {"x": 3.0}}
    moves = compare(pool_of(qs), pool_of({"b": qs["b"], "c": qs["c"], "d": {"x": 9.0}}))
    assert places(moves, "b") == {"departed": -1, "added": 1}
    assert of(moves, "b").change == 0
    assert of(moves, "b").why == "up 1 by those who left, down 1 by new submissions"
    assert moves.summary == "d is new at place 1; a is not ranked any more"


def test_a_new_task():
    now = {name: {**row, "z": z} for (name, row), z in zip(BEFORE.items(), (1.0, 2.0, 90.0), strict=True)}
    moves = compare(pool_of(BEFORE), pool_of(now))
    assert places(moves, "c") == {"tasks": -2}
    assert places(moves, "a")["tasks"] > 0
    assert of(moves, "c").why == "up 2 by the tasks"
    assert not of(moves, "c").scored_anew
    assert moves.to_dict()["weights"]["z"]["before"] is None
    by_mean = of(compare(pool_of(BEFORE), pool_of(now), rank="mean"), "c")
    assert {cause for cause, share in by_mean.shares.items() if share.mean_q or share.place} == {"tasks"}
    back = compare(pool_of(now), pool_of(BEFORE))
    assert places(back, "c") == {"tasks": 2}
    assert back.to_dict()["weights"]["z"]["now"] is None


# --- who is ranked at one of the times only --------------------------------------------------------------------------


def test_incomplete_submissions_come_and_go_as_others_do():
    before = {"a": {"x": 3.0, "y": 1.0}, "late": {"x": 2.0}, "lost": {"x": 1.0, "y": 3.0}}
    now = {"a": {"x": 3.0, "y": 1.0}, "late": {"x": 2.0, "y": 2.0}, "lost": {"x": 1.0, "y": None}}
    moves = compare(pool_of(before), pool_of(now))
    assert of(moves, "late").why == "was incomplete (y: not scored)"
    assert of(moves, "lost").why == "is incomplete (y: all folds failed)"
    assert [move.submission for move in moves.entered] == ["late"]
    assert [move.submission for move in moves.left] == ["lost"]


def test_incomplete_at_both_times_is_on_neither_board():
    qs = {"a": {"x": 3.0, "y": 1.0}, "half": {"x": 2.0}}
    assert [move.submission for move in compare(pool_of(qs), pool_of(qs)).moves] == ["a"]


def test_from_and_to_a_board_of_nobody():
    nobody = pool_of({})
    came, went = compare(nobody, pool_of(BEFORE)), compare(pool_of(BEFORE), nobody)
    assert [move.why for move in came.moves] == ["new"] * 3
    assert [move.submission for move in went.left] == ["a", "b", "c"]
    assert went.summary == "a, b and c are not ranked any more"
    assert compare(nobody, nobody).moves == ()


def test_many_are_counted():
    many = {f"s{i}": {"x": float(i)} for i in range(5)}
    assert compare(pool_of({}), pool_of(many)).summary == "5 are new, the best of them s4 at place 1"
    assert compare(pool_of(many), pool_of({"s9": {"x": 1.0}})).summary == (
        "s9 is new at place 1; 5 are not ranked any more"
    )


# --- any change ------------------------------------------------------------------------------------------------------

some_q = st.sampled_from([-40.0, -3.5, 0.0, 1.25, 10.0, 10.1, 30.0, 77.7, None])


@st.composite
def states(draw: st.DrawFn, *, tasks: tuple[str, ...] | None = None) -> tuple[Qs, tuple[str, ...]]:
    """Scores of some submissions, and those of them that have another embedding."""
    chosen = tasks or draw(st.sets(st.sampled_from("xyz"), min_size=1).map(sorted))
    names = draw(st.sets(st.sampled_from("abcdef")))
    anew = draw(st.sets(st.sampled_from("abcdef")))
    return {name: {task: draw(some_q) for task in chosen} for name in sorted(names)}, tuple(anew)


@pytest.mark.parametrize("rank", ["neuco", "mean", "uniform"])
@settings(max_examples=40, deadline=None)
@given(old=states(), new=states())
def test_shares_sum_to_the_whole_move_exactly(rank, old, new):
    before, now = pool_of(old[0]), pool_of(new[0], anew=new[1])
    if before.tasks and now.tasks and not set(before.tasks) & set(now.tasks):
        with pytest.raises(InputError, match="a task in common"):
            compare(before, now, rank=rank)
        return
    then, today = ({row.submission: row for row in rank_pool(pool, rank=rank).rows} for pool in (before, now))
    moves = compare(before, now, rank=rank)
    assert [m.submission for m in moves.moves if m.now] == list(today)
    assert [m.submission for m in moves.left] == [name for name in then if name not in today]
    for move in moves.moves:
        a, b = then.get(move.submission), today.get(move.submission)
        assert (move.before is None, move.now is None) == (a is None, b is None)
        if a is None or b is None:
            assert move.shares == {}
            assert move.why
            continue
        shares = move.shares.values()
        assert tuple(move.shares) == CAUSES
        assert sum(share.place for share in shares) == b.place - a.place == move.change
        for field in ("mean_q", "weighted_rank"):
            whole = Fraction(getattr(b, field)) - Fraction(getattr(a, field))
            assert sum(getattr(share, field) for share in shares) == whole


def naive_places(frame: pd.DataFrame, weights: pd.Series, rank: str) -> pd.Series:
    """Places on a board with these weights, by pandas; sums are rounded so that they cannot break a tie."""
    if rank == "mean":
        total = -frame.mean(axis=1)
    else:
        total = (frame.rank(axis=0, method="min", ascending=False) * weights).sum(axis=1)
    return pd.Series(rankdata(total.round(9), method="min").astype(int), index=frame.index)


def naive_weights(frame: pd.DataFrame, rank: str) -> pd.Series:
    spread = frame.std(axis=0, ddof=1)
    if rank != "neuco" or len(frame) == 1 or spread.sum() == 0:
        spread[:] = 1.0
    return spread / spread.sum()


@pytest.mark.parametrize("rank", ["neuco", "mean", "uniform"])
@settings(max_examples=25, deadline=None)
@given(old=states(tasks=("x", "y", "z")), new=states(tasks=("x", "y", "z")))
def test_the_boards_in_between_are_those_that_pandas_makes(rank, old, new):
    before, now = (pd.DataFrame(qs, dtype=float).T.dropna() for qs in (old[0], new[0]))
    stay = before.index.intersection(now.index)
    moves = compare(pool_of(old[0]), pool_of(new[0], anew=new[1]), rank=rank)
    if not len(stay):
        assert not any(move.path for move in moves.moves)
        return
    w, v = naive_weights(before, rank), naive_weights(now, rank)
    boards = [(before, w), (before.loc[stay], w), (now.loc[stay], w), (now, w), (now, v)]
    steps = [naive_places(frame, weights, rank) for frame, weights in boards]
    for name in stay:
        shares = [int(b[name] - a[name]) for a, b in pairwise(steps)]
        assert of(moves, name).places == dict(zip(CAUSES, [*shares, 0], strict=True))


# --- what is refused, and how it is written --------------------------------------------------------------------------


def test_other_protocols_are_refused():
    with pytest.raises(InputError, match=r"protocol with hash q; expected the protocol of the board then \(hash p\)"):
        compare(pool_of(BEFORE), pool_of(BEFORE, protocol="q"))


def test_tasks_of_which_none_is_common_are_refused():
    with pytest.raises(InputError, match="the tasks y; expected one at least of the board then: x"):
        compare(pool_of({"a": {"x": 1.0}}), pool_of({"a": {"y": 1.0}}))


def test_an_unknown_rule():
    with pytest.raises(InputError, match="'best'; expected one of neuco, mean, uniform"):
        compare(pool_of(BEFORE), pool_of(BEFORE), rank="best")


def test_json_arrow_and_csv():
    at = datetime(2026, 11, 20, 10, tzinfo=UTC)
    now = {"b": {"x": 20.0, "y": 20.0}, "c": {"x": 10.0, "y": 15.0}, "d": {"x": 15.0, "y": 30.0}}
    moves = compare(pool_of(BEFORE, at=at), pool_of(now))
    document = json.loads(moves.to_json())
    assert (document["rank"], document["before"], document["now"]) == ("neuco", "2026-11-20T10:00:00+00:00", None)
    assert document["summary"] == moves.summary
    assert set(document["weights"]) == {"x", "y"}
    assert [row["submission"] for row in document["rows"]] == ["d", "b", "c", "a"]
    rows = {row["submission"]: row for row in document["rows"]}
    assert rows["d"]["before"] is None
    assert rows["a"]["shares"] == {}
    assert rows["c"]["now"].keys() == {"place", "mean_q", "weighted_rank"}
    assert rows["c"]["shares"].keys() == {
        cause for cause, share in of(moves, "c").shares.items() if any(vars(share).values())
    }
    assert rows["c"]["shares"]["departed"] == {
        "place": -1,
        "mean_q": 0.0,
        "weighted_rank": rows["c"]["shares"]["departed"]["weighted_rank"],
    }
    arrow = moves.to_arrow()
    for flat in arrow.to_pylist():
        row = rows[flat["submission"]]
        assert flat["place"] == (row["now"] and row["now"]["place"])
        assert flat["place_before"] == (row["before"] and row["before"]["place"])
        ranked_twice = row["before"] and row["now"]
        told = [row["shares"].get(cause, {"place": 0})["place"] if ranked_twice else None for cause in CAUSES]
        assert [flat[f"by_{cause}"] for cause in CAUSES] == told
        assert flat["why"] == row["why"]
    assert moves.to_csv_text().splitlines()[0] == ",".join(arrow.column_names)
