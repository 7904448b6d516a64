from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import kendalltau, spearmanr
from score_rows import PROTOCOL, regression_row

from fastprobe.agreement import Agreement, Move, compare_protocols
from fastprobe.concordance import kendall_tau, spearman_rho
from fastprobe.engine import score_protocols
from fastprobe.errors import InputError
from fastprobe.ranking import leaderboard
from fastprobe.results import Scores
from fastprobe.tasks import Benchmark

Qs = Mapping[str, Mapping[str, float | None]]


def scores_of(name: str, qs: Qs, **changes: object) -> Scores:
    """A score table of a made-up protocol: Q by submission and task."""
    rows = [
        regression_row(submission, task, q, protocol_name=name, protocol_hash=f"hash of {name}", **changes)
        for submission, of_tasks in qs.items()
        for task, q in of_tasks.items()
    ]
    return Scores(rows, {**PROTOCOL.to_dict(), "name": name, "hash": f"hash of {name}"})


def agreement_of(*qs: Qs, rank: str = "neuco") -> Agreement:
    return compare_protocols([scores_of(name, q) for name, q in zip("abc", qs, strict=False)], rank=rank)


# --- rank correlations -----------------------------------------------------------------------------------------------


def counted_tau(x: list[float], y: list[float]) -> float:
    """Tau-b by its definition, pair by pair."""
    concordant = discordant = tied_x = tied_y = 0
    for i in range(len(x)):
        for j in range(i):
            product = (x[i] - x[j]) * (y[i] - y[j])
            concordant += product > 0
            discordant += product < 0
            tied_x += x[i] == x[j]
            tied_y += y[i] == y[j]
    pairs = len(x) * (len(x) - 1) / 2
    return (concordant - discordant) / math.sqrt((pairs - tied_x) * (pairs - tied_y))


some_q = st.sampled_from([-40.0, -3.5, 0.0, 1.25, 10.0, 10.5, 30.0, 77.75])
pairs_of_lists = st.integers(2, 12).flatmap(
    lambda n: st.tuples(st.lists(some_q, min_size=n, max_size=n), st.lists(some_q, min_size=n, max_size=n))
)


@settings(max_examples=100, deadline=None)
@given(lists=pairs_of_lists)
def test_correlations_are_those_of_scipy_and_of_the_definition(lists):
    x, y = lists
    assume(len(set(x)) > 1 and len(set(y)) > 1)
    assert kendall_tau(x, y) == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)
    assert kendall_tau(x, y) == pytest.approx(counted_tau(x, y), abs=1e-12)
    assert spearman_rho(x, y) == pytest.approx(np.corrcoef(*map(rankdata_by_counting, lists))[0, 1], abs=1e-12)
    if len(x) > 2:  # for two, SciPy divides by zero on the way to a p-value
        assert spearman_rho(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def rankdata_by_counting(values: list[float]) -> list[float]:
    return [sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values]


def test_a_long_list_with_ties():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 200, 1500)
    y = x + rng.integers(0, 150, 1500)
    assert kendall_tau(x, y) == pytest.approx(kendalltau(x, y).statistic, abs=1e-14)
    assert spearman_rho(x, y) == pytest.approx(spearmanr(x, y).statistic, abs=1e-14)


@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=40))
def test_the_same_order_is_exactly_one_and_the_opposite_minus_one(values):
    assume(len(set(values)) > 1)
    for correlation in (kendall_tau, spearman_rho):
        assert correlation(values, values) == 1.0
        assert correlation(values, [-v for v in values]) == -1.0


@pytest.mark.parametrize("correlation", [kendall_tau, spearman_rho])
@pytest.mark.parametrize("values", [[], [3.0], [2.0, 2.0, 2.0]])
def test_no_correlation_of_too_little(correlation, values):
    assert correlation(values, list(range(len(values)))) is None
    assert correlation(list(range(len(values))), values) is None


# --- protocols -------------------------------------------------------------------------------------------------------


@st.composite
def two_tables(draw: st.DrawFn) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    submissions = [f"s{i}" for i in range(draw(st.integers(1, 6)))]
    tasks = [f"t{i}" for i in range(draw(st.integers(1, 4)))]
    first, second = ({name: {task: draw(some_q) for task in tasks} for name in submissions} for _ in range(2))
    return first, second


@pytest.mark.parametrize("rank", ["neuco", "mean", "uniform"])
@settings(max_examples=40, deadline=None)
@given(tables=two_tables())
def test_agrees_with_scipy_on_tasks_and_places(rank, tables):
    first, second = tables
    agreement = agreement_of(first, second, rank=rank)
    (pair,) = agreement.pairs
    assert (pair.reference, pair.other, pair.n) == ("a", "b", len(first))
    for task in pair.tasks:
        x, y = ([table[name][task.task] for name in first] for table in tables)
        same_tau(task.tau, task.reason, x, y)
        gaps = {name: second[name][task.task] - first[name][task.task] for name in first}
        assert abs(task.q_difference) == max(map(abs, gaps.values()))
        assert gaps[task.q_submission] == task.q_difference
        assert task.n == len(first)
    boards = [leaderboard(scores_of("any", table), rank=rank) for table in tables]
    places = [{row.submission: row.place for row in board.rows} for board in boards]
    same_tau(pair.tau, pair.reason, *([of[name] for name in first] for of in places))
    moved = {name: places[0][name] - places[1][name] for name in first if places[0][name] != places[1][name]}
    assert {move.submission: move.shift for move in pair.moves} == moved
    assert [abs(move.shift) for move in pair.moves] == sorted(map(abs, moved.values()), reverse=True)
    for standing in agreement.submissions:
        assert standing.place == {"a": places[0][standing.submission], "b": places[1][standing.submission]}
        assert standing.missing == {}
    assert [s.place["a"] for s in agreement.submissions] == sorted(places[0].values())


def same_tau(tau: float | None, reason: str | None, x: list[float], y: list[float]) -> None:
    if len(x) < 2 or len(set(x)) == 1 or len(set(y)) == 1:
        assert tau is None
        assert reason
    else:
        assert tau == pytest.approx(kendalltau(x, y).statistic, abs=1e-12)
        assert reason is None


@settings(max_examples=30, deadline=None)
@given(tables=two_tables())
def test_the_other_way_round_shifts_and_differences_change_sign(tables):
    there, back = agreement_of(*tables).pairs[0], agreement_of(*reversed(tables)).pairs[0]
    assert (there.tau, there.rho) == (back.tau, back.rho)
    assert {m.submission: m.shift for m in there.moves} == {m.submission: -m.shift for m in back.moves}
    for a, b in zip(there.tasks, back.tasks, strict=True):
        assert (a.tau, a.rho, a.q_submission) == (b.tau, b.rho, b.q_submission)
        assert a.q_difference == -b.q_difference


@settings(max_examples=30, deadline=None)
@given(tables=two_tables(), data=st.data())
def test_the_order_of_the_other_table_changes_nothing(tables, data):
    first, second = tables
    names = data.draw(st.permutations(list(second)))
    shuffled = agreement_of(first, {name: second[name] for name in names})
    assert shuffled.pairs == agreement_of(first, second).pairs
    assert shuffled.submissions == agreement_of(first, second).submissions


FAST = {"x": {"t": 30.0, "u": 3.0}, "y": {"t": 20.0, "u": 2.0}, "z": {"t": 10.0, "u": 1.0}}
SLOW = {"x": {"t": 11.0, "u": 3.0}, "y": {"t": 22.0, "u": 2.0}, "z": {"t": 9.0, "u": 1.0}}


def test_who_moves_and_by_how_much():
    agreement = agreement_of(SLOW, FAST)
    (pair,) = agreement.pairs
    assert [(s.submission, s.place) for s in agreement.submissions] == [
        ("y", {"a": 1, "b": 2}),
        ("x", {"a": 2, "b": 1}),
        ("z", {"a": 3, "b": 3}),
    ]
    assert agreement.submissions[0].mean_q == {"a": 12.0, "b": 11.0}
    assert pair.moves == (Move("y", 1, 2, -1), Move("x", 2, 1, 1))
    assert pair.tau == pytest.approx(1 / 3)
    assert pair.summary == "tau 0.33 over 3 submissions; 2 change place, by at most 1"
    t, u = pair.tasks
    assert (t.task, t.q_difference, t.q_submission) == ("t", 19.0, "x")
    assert (u.tau, u.rho, u.q_difference) == (1.0, 1.0, 0.0)


def test_the_same_order_everywhere():
    pair = agreement_of(FAST, FAST).pairs[0]
    assert (pair.tau, pair.rho, pair.moves) == (1.0, 1.0, ())
    assert pair.summary == "tau 1.00 over 3 submissions; none changes place"


def test_change_of_the_fold_scores_is_the_mean_over_the_submissions():
    def shifted(name: str, means: tuple[float | None, ...]) -> Scores:
        tables = [
            scores_of(name, {s: {"t": 1.0 + i}}, mean=m) for i, (s, m) in enumerate(zip("xyz", means, strict=True))
        ]
        return Scores([row for table in tables for row in table], tables[0].protocol)

    pair = compare_protocols([shifted("a", (0.5, 0.25, None)), shifted("b", (0.75, 1.0, 0.5))]).pairs[0]
    assert pair.tasks[0].score_difference == 0.5


def test_one_submission_has_no_correlation_and_says_why():
    pair = agreement_of({"x": {"t": 1.0}}, {"x": {"t": 2.0}}).pairs[0]
    assert (pair.tau, pair.rho, pair.reason) == (None, None, "fewer than two submissions")
    assert (pair.tasks[0].tau, pair.tasks[0].reason) == (None, "fewer than two submissions")
    assert pair.summary == "no tau over 1 submission (fewer than two submissions); none changes place"


def test_ties_everywhere_have_no_correlation_and_name_the_protocol():
    tied = {name: {"t": 0.0} for name in "xyz"}
    pair = agreement_of({name: {"t": q} for name, q in zip("xyz", (1.0, 2.0, 3.0), strict=True)}, tied).pairs[0]
    assert (pair.tasks[0].tau, pair.tasks[0].reason) == (None, "every Q is the same under b")
    assert (pair.tau, pair.reason) == (None, "every place is the same under b")
    assert pair.summary == ("no tau over 3 submissions (every place is the same under b); 2 change place, by at most 2")


def test_one_mover_is_put_in_the_singular():
    reference = {"x": {"t": 3.0}, "y": {"t": 2.0}}
    pair = agreement_of(reference, {"x": {"t": 3.0}, "y": {"t": 3.0}}).pairs[0]
    assert pair.summary.endswith("; 1 changes place, by at most 1")


def test_who_cannot_be_ranked_under_one_protocol_is_listed_and_moves_nobody():
    broken = {**FAST, "late": {"t": 99.0, "u": None}}
    whole = {**SLOW, "late": {"t": 99.0, "u": 99.0}}
    agreement, without = agreement_of(whole, broken), agreement_of(SLOW, FAST)
    assert agreement.submissions[:-1] == without.submissions
    assert agreement.pairs[0].moves == without.pairs[0].moves
    assert (agreement.pairs[0].tau, agreement.pairs[0].n) == (without.pairs[0].tau, 3)
    late = agreement.submissions[-1]
    assert late.submission == "late"
    assert late.place == {"a": None, "b": None}
    assert late.mean_q == {"a": 99.0, "b": None}
    assert late.missing == {"b": {"u": "2 of 3 folds failed, more than 30%"}}
    t, u = agreement.pairs[0].tasks
    assert (t.n, u.n) == (4, 3)


@pytest.mark.parametrize("q", [math.nan, -math.inf])
def test_a_q_that_is_no_number_is_none(q):
    agreement = agreement_of(FAST, {**FAST, "z": {"t": 10.0, "u": q}})
    assert agreement.submissions[-1].missing == {"b": {"u": "no Q"}}
    assert agreement.submissions[-1].mean_q["b"] is None
    assert agreement.pairs[0].tasks[1].n == 2
    assert json.loads(agreement.to_json())["agreement"]["submissions"][-1]["mean_q"] == {"a": 5.5, "b": None}
    assert agreement.to_arrow()["q_b"].to_pylist()[-1] is None


def test_nobody_is_ranked():
    nobody = {"x": {"t": None}, "y": {"t": None}}
    agreement = agreement_of(nobody, nobody)
    assert agreement.pairs[0].summary == "no tau over 0 submissions (fewer than two submissions); none changes place"
    task = agreement.pairs[0].tasks[0]
    assert (task.n, task.q_difference, task.q_submission) == (0, None, None)
    assert [s.missing.keys() for s in agreement.submissions] == [{"a", "b"}, {"a", "b"}]


def test_every_other_protocol_is_held_against_the_first():
    agreement = agreement_of(SLOW, FAST, SLOW)
    assert agreement.protocols == ("a", "b", "c")
    assert [(p.reference, p.other) for p in agreement.pairs] == [("a", "b"), ("a", "c")]
    assert agreement.pairs[0] == agreement_of(SLOW, FAST).pairs[0]
    assert agreement.pairs[1].moves == ()
    assert agreement.submissions[0].place == {"a": 1, "b": 2, "c": 1}


# --- tables that cannot be compared ----------------------------------------------------------------------------------


def refused(match: str, *tables: Scores, rank: str = "neuco") -> None:
    with pytest.raises(InputError, match=match):
        compare_protocols(tables, rank=rank)


def test_one_table_is_too_few():
    refused("tables: found 1; expected two or more", scores_of("a", FAST))


def test_an_unknown_rule():
    refused("'best'; expected one of neuco, mean, uniform", scores_of("a", FAST), scores_of("b", FAST), rank="best")


def test_two_protocols_of_one_name():
    refused("score table 1: found the protocol name 'a', as in score table 0", *[scores_of("a", FAST)] * 2)


def test_two_names_of_one_protocol():
    same = Scores(scores_of("a", FAST), {**PROTOCOL.to_dict(), "name": "b", "hash": "hash of a"})
    refused("score table 1: found the protocol hash 'hash of a'", scores_of("a", FAST), same)


@pytest.mark.parametrize("fewer", [{"x": FAST["x"], "y": FAST["y"]}, {**FAST, "z": {"t": 10.0}}])
def test_other_submissions_or_tasks(fewer):
    refused(r"score table 1: .*'z', task 't|u' only in score table 0", scores_of("a", FAST), scores_of("b", fewer))
    refused(r"score table 1: .*'z', task 't|u' only in score table 1", scores_of("a", fewer), scores_of("b", FAST))


@pytest.mark.parametrize(("field", "what"), [("embedding_hash", "embedding"), ("label_hash", "labels")])
def test_other_embeddings_or_labels(field, what):
    refused(
        f"score table 1, submission 'x', task 't': found {what} with the hash other; expected the {what} of",
        scores_of("a", FAST),
        scores_of("b", FAST, **{field: "other"}),
    )


# --- views -----------------------------------------------------------------------------------------------------------


def test_json_has_the_promised_shape():
    document = json.loads(agreement_of(SLOW, FAST).to_json())
    assert list(document) == ["protocols", "scores", "agreement"]
    assert [p["name"] for p in document["protocols"]] == ["a", "b"]
    assert document["scores"] == {"a": scores_of("a", SLOW).to_dict(), "b": scores_of("b", FAST).to_dict()}
    agreement = document["agreement"]
    assert (agreement["rank"], agreement["reference"]) == ("neuco", "a")
    assert agreement["submissions"][0] == {
        "submission": "y",
        "place": {"a": 1, "b": 2},
        "mean_q": {"a": 12.0, "b": 11.0},
        "missing": {},
    }
    (pair,) = agreement["pairs"]
    assert pair["moves"][0] == {"submission": "y", "reference_place": 1, "place": 2, "shift": -1}
    assert set(pair) == {"reference", "other", "n", "tau", "rho", "reason", "moves", "tasks", "summary"}
    assert pair["tasks"][1] == {
        "task": "u",
        "n": 3,
        "tau": 1.0,
        "rho": 1.0,
        "reason": None,
        "q_difference": 0.0,
        "q_submission": "x",
        "score_difference": 0.0,
    }


def test_csv_and_parquet(tmp_path):
    agreement = agreement_of({**SLOW, "late": {"t": 1.0, "u": None}}, {**FAST, "late": {"t": 2.0, "u": 5.0}})
    lines = list(csv.DictReader(io.StringIO(agreement.to_csv_text())))
    of_protocols = [f"{what}_{p}" for p in "ab" for what in ("q", "mean", "std", "place", "reason")]
    assert list(lines[0]) == ["submission", "task", "metric", *of_protocols]
    assert list(lines[0].values()) == ["y", "t", "r2", "22.0", "0.5", "0.06", "1", "", "20.0", "0.5", "0.06", "2", ""]
    assert [(line["submission"], line["task"]) for line in lines[-2:]] == [("late", "t"), ("late", "u")]
    assert (lines[-1]["q_a"], lines[-1]["place_a"], lines[-1]["place_b"]) == ("", "", "")
    assert lines[-1]["reason_a"] == "2 of 3 folds failed, more than 30%"
    agreement.to_csv(tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == agreement.to_csv_text()
    agreement.to_parquet(tmp_path / "a.parquet")
    assert pq.read_table(tmp_path / "a.parquet").equals(agreement.to_arrow())


# --- real data -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_ridge_against_published_scores_of_real_submissions(data):
    """Correlations of a real comparison, worked out once more from what NeuCo-Bench itself answered."""
    names = ("trained", "untrained", "rawbands")
    published = {
        name: json.loads((data.parent / "golden" / f"neuco_presto_{name}.json").read_text())["tasks"] for name in names
    }
    paths = [data / "presto" / "submissions" / f"{name}.npz" for name in names]
    benchmark = Benchmark.from_folder(data / "presto" / "labels")
    neuco, ridge = score_protocols(paths, benchmark, protocols=["neuco", "ridge"])
    (pair,) = compare_protocols([neuco, ridge]).pairs
    assert [task.task for task in pair.tasks] == sorted(published["trained"])
    for task in pair.tasks:
        theirs = [published[name][task.task]["q_stat"] for name in names]
        ours = [ridge.q(name, task.task) for name in names]
        assert task.tau == pytest.approx(kendalltau(theirs, ours).statistic, abs=1e-12)
        assert task.rho == pytest.approx(spearmanr(theirs, ours).statistic, abs=1e-12)
        gaps = {name: b - a for name, a, b in zip(names, theirs, ours, strict=True)}
        assert task.q_difference == pytest.approx(max(gaps.values(), key=abs), rel=1e-3)
        scores = [ridge.get(n, task.task).mean - published[n][task.task]["mean_score"] for n in names]
        assert task.score_difference == pytest.approx(sum(scores) / 3, abs=5e-5)
    assert (pair.n, pair.tau, pair.moves) == (3, 1.0, ())
