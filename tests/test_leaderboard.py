from __future__ import annotations

import csv
import io
import json
import math
import time
from fractions import Fraction

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from score_rows import regression_row, table

from fastprobe.errors import InputError
from fastprobe.pool import Pool
from fastprobe.ranking import Leaderboard, leaderboard, rank_pool, standings
from fastprobe.results import Scores


def board_of(qs: dict[str, dict[str, float | None]], rank: str = "neuco") -> Leaderboard:
    return leaderboard(table(*(regression_row(s, t, q) for s, row in qs.items() for t, q in row.items())), rank=rank)


def oracle(qs: dict[str, dict[str, float]], rank: str) -> pd.DataFrame:
    """The rules written down once more with pandas and SciPy; sums are rounded so that they cannot break a tie."""
    frame = pd.DataFrame(qs).T
    ranks = frame.rank(axis=0, method="min", ascending=False)
    spread = frame.std(axis=0, ddof=1)
    if rank == "uniform" or len(frame) == 1 or spread.sum() == 0:
        spread[:] = 1.0
    weights = spread / spread.sum()
    out = pd.DataFrame({"mean_q": frame.mean(axis=1), "weighted_rank": (ranks * weights).sum(axis=1)})
    if rank == "mean":
        out["weighted_rank"] = rankdata(-out["mean_q"].round(9), method="min")
    out["place"] = rankdata(out["weighted_rank"].round(9), method="min").astype(int)
    return out


some_q = st.sampled_from([-40.0, -3.5, 0.0, 1.25, 10.0, 10.1, 30.0, 77.7])


@st.composite
def tables(draw: st.DrawFn) -> dict[str, dict[str, float]]:
    tasks = [f"t{i}" for i in range(draw(st.integers(1, 5)))]
    return {f"s{i}": {task: draw(some_q) for task in tasks} for i in range(draw(st.integers(1, 6)))}


@pytest.mark.parametrize("rank", ["neuco", "mean", "uniform"])
@settings(max_examples=40, deadline=None)
@given(qs=tables())
def test_agrees_with_the_rules_written_with_pandas(rank, qs):
    expected = oracle(qs, rank)
    board = board_of(qs, rank)
    assert not board.incomplete
    assert {row.submission for row in board.rows} == set(qs)
    for row in board.rows:
        assert row.place == expected.place[row.submission]
        assert row.mean_q == pytest.approx(expected.mean_q[row.submission], rel=1e-12, abs=1e-12)
        assert row.weighted_rank == pytest.approx(expected.weighted_rank[row.submission], rel=1e-12)
        assert dict(row.q) == qs[row.submission]
    assert [row.place for row in board.rows] == sorted(row.place for row in board.rows)
    assert math.fsum(board.weights.values()) == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(qs=tables(), data=st.data())
def test_the_order_of_submissions_and_tasks_changes_nothing(qs, data):
    names = data.draw(st.permutations(list(qs)))
    tasks = data.draw(st.permutations(list(next(iter(qs.values())))))
    shuffled = {name: {task: qs[name][task] for task in tasks} for name in names}
    assert board_of(shuffled) == board_of(qs)


def test_weights_are_the_spread_of_q():
    board = board_of({"a": {"x": 30.0, "y": 1.0}, "b": {"x": 10.0, "y": 2.0}, "c": {"x": 20.0, "y": 3.0}})
    assert board.weights == pytest.approx({"x": 10 / 11, "y": 1 / 11})
    assert [(row.place, row.submission) for row in board.rows] == [(1, "a"), (2, "c"), (3, "b")]
    assert board.rows[0].weighted_rank == pytest.approx(10 / 11 + 3 / 11)


def test_rank_order_and_mean_order_can_differ():
    qs = {"steady": {"x": 11.0, "y": 11.0, "z": 11.0}, "bold": {"x": 10.0, "y": 10.0, "z": 40.0}}
    assert [row.submission for row in board_of(qs, "uniform").rows] == ["steady", "bold"]
    assert [row.submission for row in board_of(qs, "mean").rows] == ["bold", "steady"]


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.floats(0, 1) | st.sampled_from([0.1, 1 / 3, 5e-324]), min_size=1, max_size=6),
    data=st.data(),
)
def test_weighted_ranks_are_sums_of_fractions_rounded_once(weights, data):
    names = [f"t{j}" for j in range(len(weights))]
    q = st.floats(-100, 100, allow_nan=False)
    qs = {f"s{i}": {name: data.draw(q) for name in names} for i in range(data.draw(st.integers(1, 5)))}
    found = standings(qs, dict(zip(names, weights, strict=True)), rank="uniform")
    ranks = pd.DataFrame(qs).T.rank(method="min", ascending=False).astype(int)
    for submission, standing in found.items():
        exact = sum(Fraction(w) * int(ranks[t][submission]) for t, w in zip(names, weights, strict=True))
        assert standing.weighted_rank == float(exact)


def test_a_pool_gives_the_leaderboard_of_its_scores():
    qs = {"a": {"x": 1.0, "y": 5.0}, "b": {"x": 2.0, "y": None}, "c": {"y": 3.0}, "d": {"x": 0.5, "y": 7.0}}
    scores = table(*(regression_row(s, t, q) for s, row in qs.items() for t, q in row.items()))
    pool = Pool.from_arrow(scores.pool())
    assert rank_pool(pool) == leaderboard(scores)
    assert pool.tasks == ("x", "y")
    assert pool.complete == {"a": qs["a"], "d": qs["d"]}
    assert pool.protocol == scores.rows[0].protocol_hash


@pytest.mark.parametrize("q", [math.nan, math.inf])
def test_a_q_that_is_no_number_is_none(q):
    pool = Pool.of([("a", "x", q, "nothing held out", "e", "l", "p"), ("b", "x", 1.0, None, "e", "l", "p")])
    assert pool.missing("a") == {"x": "nothing held out"}
    assert [row.submission for row in rank_pool(pool).rows] == ["b"]


def test_a_pool_is_read_as_scores_are(tmp_path):
    folder = tmp_path / "run" / "scores"
    folder.mkdir(parents=True)
    a, b = regression_row("a", "x", 1.0), regression_row("b", "x", 2.0)
    table(a).to_parquet(folder / "a.parquet")
    table(b, a).to_parquet(folder / "b.parquet")  # a for the second time, as after a crash
    table(a, b).to_parquet(tmp_path / "one.parquet")
    (tmp_path / "one.json").write_text(table(a, b).to_json())
    expected = Pool.from_arrow(table(a, b).pool())
    for path in (tmp_path / "run", folder, tmp_path / "one.parquet", tmp_path / "one.json"):
        assert Pool.read(path) == expected
    table(regression_row("a", "x", 1.0, embedding_hash="other")).to_parquet(folder / "c.parquet")
    with pytest.raises(InputError, match="two scores with different embedding hash"):
        Pool.read(tmp_path / "run")
    (folder / "c.parquet").write_bytes((folder / "b.parquet").read_bytes()[:-9])
    with pytest.raises(InputError, match=r"c\.parquet"):
        Pool.read(tmp_path / "run")
    with pytest.raises(InputError, match="nowhere"):
        Pool.read(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("column", "values"), [("q", pa.array(["high"])), ("task", pa.array([None], pa.string())), ("label_hash", None)]
)
def test_a_folder_of_other_parquet_files_is_no_pool(tmp_path, column, values):
    arrow = table(regression_row()).to_arrow()
    at = arrow.column_names.index(column)
    arrow = arrow.remove_column(at) if values is None else arrow.set_column(at, column, values)
    (tmp_path / "scores").mkdir()
    pq.write_table(arrow, tmp_path / "scores" / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet"):
        Pool.read(tmp_path)


@pytest.mark.slow
def test_ten_thousand_submissions_on_six_tasks_are_ranked_in_two_seconds():
    q = np.random.default_rng(0).normal(30, 10, (10_000, 6)).tolist()
    pool = Pool.of(
        (f"s{i}", f"t{j}", value, None, "e", "l", "p") for i, row in enumerate(q) for j, value in enumerate(row)
    )
    began = time.perf_counter()
    board = rank_pool(pool)
    assert time.perf_counter() - began < 2  # 0.3 s where this was written
    assert len(board.rows) == 10_000


def test_ties_share_the_better_place_and_the_next_is_passed_over():
    board = board_of({"a": {"x": 5.0}, "b": {"x": 7.0}, "c": {"x": 7.0}, "d": {"x": 1.0}})
    assert [(row.place, row.submission) for row in board.rows] == [(1, "b"), (1, "c"), (3, "a"), (4, "d")]


def test_rounding_cannot_break_a_tie():
    cycle = [0.1, 0.2, 0.3, 0.7]
    qs = {f"s{i}": {f"t{j}": cycle[(i + j) % 4] for j in range(4)} for i in range(4)}
    assert {row.place for row in board_of(qs).rows} == {1}
    assert len({row.weighted_rank for row in board_of(qs).rows}) == 1


@pytest.mark.parametrize("qs", [{"a": {"x": 1.0, "y": 2.0}}, {"a": {"x": 0.1, "y": 0.7}, "b": {"x": 0.1, "y": 0.7}}])
def test_one_submission_or_equal_submissions_weigh_tasks_equally(qs):
    board = board_of(qs)
    assert board.weights == {"x": 0.5, "y": 0.5}
    assert {row.place for row in board.rows} == {1}
    assert np.isfinite([row.weighted_rank for row in board.rows]).all()


def test_incomplete_submissions_are_listed_with_reasons_and_move_nobody():
    complete = {"a": {"x": 1.0, "y": 5.0}, "b": {"x": 2.0, "y": 3.0}}
    board = board_of({**complete, "no-q": {"x": 99.0, "y": None}, "missing": {"y": 99.0}})
    assert board.rows == board_of(complete).rows
    assert board.weights == board_of(complete).weights
    assert [(i.submission, dict(i.missing)) for i in board.incomplete] == [
        ("missing", {"x": "not scored"}),
        ("no-q", {"y": "2 of 3 folds failed, more than 30%"}),
    ]


def test_nobody_complete():
    board = board_of({"a": {"x": 1.0}, "b": {"y": 1.0}})
    assert board.rows == ()
    assert [i.submission for i in board.incomplete] == ["a", "b"]


def test_no_scores_at_all():
    assert leaderboard(table()).to_dict() == {"rank": "neuco", "weights": {}, "rows": [], "incomplete": []}


def test_json_has_the_promised_shape():
    document = json.loads(board_of({"a": {"x": 1.0, "y": 5.0}, "b": {"x": 2.0}}).to_json())
    assert document["rank"] == "neuco"
    assert document["rows"] == [
        {"place": 1, "submission": "a", "mean_q": 3.0, "weighted_rank": 1.0, "q": {"x": 1.0, "y": 5.0}}
    ]
    assert document["incomplete"] == [{"submission": "b", "missing": ["y"], "reasons": {"y": "not scored"}}]


def test_csv_and_parquet(tmp_path):
    board = board_of({"a": {"x": 1.0, "y": 5.0}, "b": {"x": 2.0}})
    lines = list(csv.DictReader(io.StringIO(board.to_csv_text())))
    assert list(lines[0]) == ["place", "submission", "mean_q", "weighted_rank", "q_x", "q_y", "missing"]
    assert list(lines[0].values()) == ["1", "a", "3.0", "1.0", "1.0", "5.0", ""]
    assert lines[1]["place"] == ""
    assert lines[1]["missing"] == "y: not scored"
    board.to_csv(tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text() == board.to_csv_text()
    board.to_parquet(tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet").equals(board.to_arrow())


def test_an_unknown_rule():
    with pytest.raises(InputError, match="'best'; expected one of neuco, mean, uniform"):
        board_of({"a": {"x": 1.0}}, "best")


def test_scores_on_other_labels_are_refused():
    scores = table(regression_row("a"), regression_row("b", label_hash="others"))
    with pytest.raises(
        InputError, match=r"submission 'b': .*labels of the task 'height' \(hash others\).*submission 'a'"
    ):
        leaderboard(scores)


def test_scores_of_other_protocols_are_refused():
    scores = Scores([regression_row("a"), regression_row("b", protocol_hash="others")], {"hash": "x"})
    with pytest.raises(InputError, match=r"submission 'b': .*another protocol \(hash others\)"):
        leaderboard(scores)
