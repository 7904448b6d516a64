from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_rows import classification_row, multi_class_row, regression_row, table

from fastprobe.errors import InputError
from fastprobe.results import SCHEMA, FoldStats, Scores
from fastprobe.rows import SINCE_MULTI_CLASS


@pytest.fixture
def scores() -> Scores:
    return table(
        regression_row("b", "height", 10.0),
        classification_row("b", "ships", 30.0),
        regression_row("a", "height", 1.0),
        classification_row("a", "ships", None),
    )


@pytest.fixture
def three_classes() -> Scores:
    return table(multi_class_row(), regression_row())


def same(a: Scores, b: Scores) -> None:
    """Compare the rows as text, for NaN is not equal to itself."""
    assert repr(a.rows) == repr(b.rows)
    assert a.to_arrow().schema.equals(b.to_arrow().schema, check_metadata=True)
    assert dict(a.protocol) == dict(b.protocol)


def test_arrow_has_the_columns_of_the_schema_and_comes_back(scores):
    arrow = scores.to_arrow()
    assert arrow.schema.equals(SCHEMA)
    assert arrow.num_rows == 4
    assert arrow.column("q").null_count == 1
    assert json.loads(arrow.schema.metadata[b"fastprobe.protocol"])["hash"] == scores.protocol["hash"]
    same(Scores.from_arrow(arrow), scores)


def test_columns_of_classes_and_probabilities_come_back(three_classes, tmp_path):
    arrow = three_classes.to_arrow()
    assert arrow.column("fold_confusion")[0].as_py()[1] == [4, 1, 0, 1, 4, 0, 0, 0, 0]
    assert arrow.column("fold_confusion")[1].as_py() == []
    same(Scores.from_arrow(arrow), three_classes)
    three_classes.to_parquet(tmp_path / "s.parquet")
    same(Scores.read(tmp_path / "s.parquet"), three_classes)
    (tmp_path / "s.json").write_text(three_classes.to_json())
    first, second = Scores.read(tmp_path / "s.json")
    assert math.isnan(first.fold_log_loss[2])  # JSON knows no infinity
    same(table(replace(first, fold_log_loss=(0.9, 1.1, math.inf)), second), three_classes)


@pytest.mark.parametrize("lacking", [SINCE_MULTI_CLASS, SINCE_MULTI_CLASS[:1]])
def test_files_of_earlier_versions_are_read_with_empty_columns(scores, lacking, tmp_path):
    pq.write_table(scores.to_arrow().drop_columns(list(lacking)), tmp_path / "s.parquet")
    same(Scores.read(tmp_path / "s.parquet"), scores)
    document = json.loads(scores.to_json())
    for record in document["scores"]:
        for name in lacking:
            assert record.pop(name) == []
    (tmp_path / "s.json").write_text(json.dumps(document))
    same(Scores.read(tmp_path / "s.json"), scores)


def test_an_empty_table_comes_back():
    same(Scores.from_arrow(table().to_arrow()), table())
    assert table().to_dict()["scores"] == []


def test_parquet_comes_back_and_leaves_no_other_file(scores, tmp_path):
    scores.to_parquet(tmp_path / "s.parquet")
    same(Scores.read_parquet(tmp_path / "s.parquet"), scores)
    same(Scores.read(tmp_path / "s.parquet"), scores)
    assert [p.name for p in tmp_path.iterdir()] == ["s.parquet"]


def test_the_documentation_names_every_list():
    text = (Path(__file__).resolve().parents[1] / "docs" / "formats.md").read_text()
    documented = {name for line in text.splitlines() if line.startswith("| `fold_") for name in line.split("`")[1::2]}
    assert {name for name in SCHEMA.names if name.startswith("fold_")} == {n for n in documented if n in SCHEMA.names}


def test_parquet_is_plain_for_other_programs(scores, tmp_path):
    pandas = pytest.importorskip("pandas")
    scores.to_parquet(tmp_path / "s.parquet")
    frame = pandas.read_parquet(tmp_path / "s.parquet")
    assert list(frame.columns) == SCHEMA.names
    assert frame["fold_scores"][0].tolist() == [0.4375, 0.5, 0.5625]


def test_a_folder_of_parts_is_read_in_order_and_hidden_files_are_passed_over(scores, tmp_path):
    parts = tmp_path / "run" / "scores"
    parts.mkdir(parents=True)
    table(*scores.rows[:2]).to_parquet(parts / "0.parquet")
    table(*scores.rows[2:]).to_parquet(parts / "1.parquet")
    (parts / ".2.parquet").write_text("a part that is being written")
    same(Scores.read(tmp_path / "run"), scores)
    same(Scores.read(parts), scores)


def test_json_comes_back(scores, tmp_path):
    (tmp_path / "s.json").write_text(scores.to_json())
    same(Scores.read(tmp_path / "s.json"), scores)


def test_json_has_the_promised_shape_and_no_nan(scores):
    document = json.loads(scores.to_json(), parse_constant=lambda name: pytest.fail(f"{name} in JSON"))
    assert list(document) == ["protocol", "scores", "mean_q"]
    assert {"name", "hash"} <= set(document["protocol"])
    assert document["mean_q"] == {"b": 20.0, "a": None}
    first = document["scores"][0]
    promised = [
        "submission",
        "task",
        "kind",
        "metric",
        "n_samples",
        "n_features",
        "n_folds",
        "n_failed",
        "mean",
        "std",
        "q",
    ]
    assert list(first)[: len(promised)] == promised
    assert first["fold_scores"] == [0.4375, 0.5, 0.5625]
    failed = document["scores"][3]
    assert failed["q"] is None
    assert failed["q_reason"] == "2 of 3 folds failed, more than 30%"
    assert failed["fold_scores"] == [0.8, None, 0.0]
    assert failed["residual"] is None
    assert failed["fold_residuals"] == [1e-14, None, 1e-14]
    assert failed["repairs"] == {"nan_to_zero": 3, "duplicate_ids_dropped": 1}
    assert failed["notes"] == ["labels 1 and 2 became 0 and 1", "another note"]


def test_nan_scores_become_missing_in_every_view():
    row = regression_row(q=math.nan, mean=math.nan, std=math.nan, fold_scores=(math.nan, 0.5, 0.5))
    record = json.loads(table(row).to_json())["scores"][0]
    assert [record[k] for k in ("q", "mean", "std")] == [None, None, None]
    assert record["fold_scores"] == [None, 0.5, 0.5]
    assert table(row).to_arrow().column("fold_scores")[0].as_py() == [None, 0.5, 0.5]


def test_csv_is_a_row_per_score_with_a_column_per_fold(scores, tmp_path):
    scores.to_csv(tmp_path / "s.csv")
    lines = list(csv.DictReader(io.StringIO((tmp_path / "s.csv").read_text())))
    assert [(line["submission"], line["task"]) for line in lines] == [
        ("b", "height"), ("b", "ships"), ("a", "height"), ("a", "ships"),
    ]  # fmt: skip
    assert [lines[3][f"fold_{k}"] for k in range(3)] == ["0.8", "", "0.0"]
    assert lines[3]["q"] == ""
    assert lines[3]["residual"] == ""
    assert lines[3]["notes"] == "labels 1 and 2 became 0 and 1; another note"
    assert lines[3]["repairs"] == "nan_to_zero=3; duplicate_ids_dropped=1"
    assert "fold_3" not in lines[0]
    assert (tmp_path / "s.csv").read_bytes().count(b"\r") == 0


def test_lookups(scores):
    assert len(scores) == 4
    assert [row.q for row in scores] == [10.0, 30.0, 1.0, None]
    assert scores.submissions == ("b", "a")
    assert scores.tasks == ("height", "ships")
    assert scores.q("b", "height") == 10.0
    assert scores.q("a", "ships") is None
    assert scores.mean_qs() == {"b": 20.0, "a": None}


def test_a_submission_without_a_row_for_some_task_has_no_mean_q():
    scores = table(regression_row("a", "height"), regression_row("b", "height"), regression_row("b", "width"))
    assert scores.q("a", "width") is None
    assert scores.mean_qs() == {"a": None, "b": 12.5}


@pytest.mark.parametrize(("submission", "task", "known"), [("c", "height", "b, a"), ("a", "depth", "height, ships")])
def test_unknown_names_are_key_errors_that_name_the_known_ones(scores, submission, task, known):
    with pytest.raises(KeyError, match=f"known: {known}"):
        scores.q(submission, task)


def test_mean_q_of_an_unknown_submission(scores):
    with pytest.raises(KeyError, match="no submission 'c'"):
        scores.mean_q("c")


def test_metrics_from_sufficient_statistics():
    assert regression_row().fold_stats.mse == (0.9, 0.4, 0.7)
    assert regression_row().fold_stats.accuracy == regression_row().fold_stats.precision == ()
    stats = classification_row().fold_stats
    assert stats.accuracy == (0.8, 1.0, 0.8)
    assert stats.precision == (0.8, None, None)
    assert stats.recall == (0.8, None, 0.0)
    assert stats.mse == ()
    assert FoldStats(n=(10, 0), sse=(math.nan, 0.0)).mse == (None, None)


def test_metrics_of_many_classes():
    """Row 2: of three classes one is neither there nor predicted, and counts nowhere."""
    stats = multi_class_row().fold_stats
    assert stats.accuracy == (0.8, 0.8, 0.4)
    assert stats.balanced_accuracy == pytest.approx(((3 / 4 + 1 + 2 / 3) / 3, 0.8, (1 / 3 + 1 / 3 + 1 / 2) / 3))
    assert stats.precision == pytest.approx(((3 / 4 + 3 / 4 + 1) / 3, 0.8, (1 / 3 + 1 / 3 + 1 / 2) / 3))
    assert stats.recall == pytest.approx(stats.balanced_accuracy)
    assert stats.mse == ()
    assert classification_row().fold_stats.balanced_accuracy == (0.8, 1.0, 0.5)
    assert regression_row().fold_stats.balanced_accuracy == ()


def test_a_class_that_is_predicted_and_not_there_lowers_recall_not_balanced_accuracy():
    stats = FoldStats(n=(4,), confusion=((1, 0, 1, 0, 2, 0, 0, 0, 0),))
    assert stats.balanced_accuracy == (0.75,)
    assert stats.recall == (0.5,)  # the mean of 1/2, 1 and 0
    assert stats.precision == (2 / 3,)  # of 1, 1 and 0
    assert FoldStats(n=(0,), confusion=((0,) * 9,)).recall == (None,)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_metrics_agree_with_scikit_learn(pairs):
    metrics = pytest.importorskip("sklearn.metrics")
    truth, guess = zip(*pairs, strict=True)
    tn, fp, fn, tp = metrics.confusion_matrix(truth, guess, labels=[False, True]).ravel().tolist()
    stats = FoldStats(n=(len(pairs),), tp=(tp,), fp=(fp,), fn=(fn,), tn=(tn,))
    assert stats.accuracy == (pytest.approx(metrics.accuracy_score(truth, guess)),)
    assert (stats.precision[0] or 0.0) == pytest.approx(metrics.precision_score(truth, guess, zero_division=0))
    assert (stats.recall[0] or 0.0) == pytest.approx(metrics.recall_score(truth, guess, zero_division=0))


def test_concat_puts_tables_together(scores):
    same(Scores.concat([table(*scores.rows[:1]), table(*scores.rows[1:])]), scores)
    assert len(Scores.concat([])) == 0


def test_concat_refuses_another_protocol(scores):
    other = Scores([], {**scores.protocol, "hash": "0123"})
    with pytest.raises(InputError, match=r"hash 0123.*score table 0"):
        Scores.concat([scores, other])


def test_parts_of_two_protocols_are_refused_by_file_name(scores, tmp_path):
    scores.to_parquet(tmp_path / "a.parquet")
    Scores([], {**scores.protocol, "hash": "0123"}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(InputError, match=r"b\.parquet: found .*hash 0123.*a\.parquet"):
        Scores.read(tmp_path)


def test_of_equal_scores_the_last_is_kept():
    first, second = regression_row(version="0.1.0"), regression_row(version="0.2.0")
    scores = Scores.concat([table(first), table(second)])
    assert [row.version for row in scores] == ["0.2.0"]


@pytest.mark.parametrize("what", ["embedding_hash", "label_hash", "protocol_hash"])
def test_contradicting_scores_of_one_name_are_refused(what):
    other = replace(regression_row(), **{what: "another"})
    with pytest.raises(InputError, match=f"submission 'team', task 'height'.*{what.replace('_', ' ')}"):
        table(regression_row(), other)


def _without(scores: Scores, column: str) -> pa.Table:
    return scores.to_arrow().drop_columns([column])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.to_arrow().replace_schema_metadata(None), "no protocol in its metadata"),
        (lambda s: _without(s, "q_reason"), "no column 'q_reason'"),
        (lambda s: s.to_arrow().append_column("task", [["x"] * 4]), "no column 'task', or two of them"),
        (lambda s: s.to_arrow().set_column(0, "submission", pa.array([None] * 4, pa.string())), "submission"),
        (lambda s: s.to_arrow().set_column(10, "q", pa.array(["good"] * 4)), "good"),
    ],
)
def test_tables_that_are_not_scores(scores, tmp_path, spoil, message):
    spoiled = spoil(scores)
    with pytest.raises(InputError, match=message):
        Scores.from_arrow(spoiled)
    if len(set(spoiled.column_names)) == len(spoiled.column_names):
        pq.write_table(spoiled, tmp_path / "s.parquet")
        with pytest.raises(InputError, match=rf"s\.parquet: found .*{message}"):
            Scores.read(tmp_path / "s.parquet")


def test_further_columns_are_ignored(scores):
    same(Scores.from_arrow(scores.to_arrow().append_column("remark", [["x"] * 4])), scores)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[1]", "no object 'protocol'"),
        ('{"protocol": {}}', "no list 'scores'"),
        ('{"protocol": {}, "scores": [{"submission": "a"}]}', r"no field 'task' in scores\[0\]"),
    ],
)
def test_documents_that_are_not_scores(tmp_path, text, message):
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(InputError, match=rf"s\.json: found .*{message}"):
        Scores.read(tmp_path / "s.json")


@pytest.mark.parametrize(
    ("field", "value"), [("n_samples", "many"), ("task", None), ("fold_scores", 3), ("repairs", [1])]
)
def test_documents_with_a_wrong_value(scores, field, value):
    document = json.loads(scores.to_json())
    document["scores"][0][field] = value
    with pytest.raises(InputError, match="score document: found"):
        Scores.from_dict(document)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nothing", "nothing there"),
        (lambda p: p, "no Parquet file in this folder"),
        (lambda p: (p / "s.txt").write_text("x") and p / "s.txt", "'.txt'"),
        (lambda p: (p / "s.parquet").write_text("x") and p / "s.parquet", r"s\.parquet: found"),
        (lambda p: p / "nothing.parquet", r"nothing\.parquet: found"),
    ],
)
def test_places_without_scores(tmp_path, make, message):
    path: Path = make(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        Scores.read(path)
    assert "score --out" in caught.value.fix


def test_a_failed_write_leaves_the_old_file_and_no_other(scores, tmp_path, monkeypatch):
    path = tmp_path / "s.parquet"
    path.write_text("old")

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        scores.to_parquet(path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["s.parquet"]
