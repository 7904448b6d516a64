from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_inputs import write_csv, write_inputs
from typer.testing import CliRunner

from fastprobe.check import Report, check, check_files
from fastprobe.cli import app
from fastprobe.embeddings import Submission
from fastprobe.folds import make_folds
from fastprobe.kernel_spec import KernelSpec
from fastprobe.protocol import FoldSpec, Protocol
from fastprobe.specs import ReplaySpec
from fastprobe.tasks import Benchmark, Task

N, D = 50, 4
IDS = [f"s{i:02d}" for i in range(N)]
X = np.random.default_rng(1).normal(size=(N, D))
Y = X[:, 0] + 0.1 * np.arange(N)


def report_of(
    x: np.ndarray = X, ids: list[str] = IDS, protocol: Protocol | None = None, **labels: np.ndarray
) -> Report:
    """Check values against tasks; a name that ends in _cls is a classification task."""
    kinds = {name: "classification" if name.endswith("_cls") else "regression" for name in labels}
    tasks = [
        Task.from_arrays(name, kinds[name], IDS, y) for name, y in (labels or {"height": Y}).items() if name in kinds
    ]
    tasks = tasks or [Task.from_arrays("height", "regression", IDS, Y)]
    return check(Submission.from_arrays("team", ids, x), Benchmark.from_tasks(tasks), protocol)


def found(report: Report, level: str) -> dict[str, str]:
    return {
        finding.code: f"{finding.where}: {finding.message}" for finding in report.findings if finding.level == level
    }


def test_good_input_has_no_error_and_no_warning():
    report = report_of()
    assert report.ok
    assert {finding.level for finding in report.findings} == {"info"}
    assert found(report, "info")["size"] == "team: 50 samples x 4 dimensions, float64, 0.0 MiB"
    assert "MiB to score the largest task (50 samples, route" in found(report, "info")["memory"]


def test_missing_and_unlabelled_ids():
    report = report_of(ids=[*IDS[:48], "extra", "other"])
    assert not report.ok
    assert found(report, "error")["missing-ids"] == "task height: 2 of 50 samples have no embedding: s48, s49"
    assert found(report, "info")["unlabelled"] == "team: 2 of 50 samples have no label in any task: extra, other"


def test_ids_of_another_kind_are_shown():
    message = found(report_of(ids=[i.upper() for i in IDS]), "error")["missing-ids"]
    assert message.endswith(
        "50 of 50 samples have no embedding: s00, s01, s02, ...; ids of the submission look like S00, S01, S02, ..."
    )


def test_constant_embedding():
    report = report_of(np.full((N, D), 2.5))
    assert found(report, "warning") == {"constant-embedding": "team: every value is 2.5"}
    assert report.ok


def test_constant_and_repeated_columns_and_rows():
    x = X.copy()
    x[:, 1] = 7.0
    x[:, 3] = x[:, 0]
    x[9] = x[4]
    report = report_of(x)
    assert found(report, "warning")["constant-columns"] == "team: 1 of 4 columns are constant: 1"
    assert found(report, "warning")["duplicate-columns"] == "team: 1 of 4 columns repeat an earlier one: 3"
    assert found(report, "info")["duplicate-rows"] == "team: 1 of 50 rows repeat the values of an earlier one: s09"
    assert found(report, "info")["rank"].startswith("team: only about 2 of 4 directions")


def test_dynamic_range():
    message = found(report_of(X * np.array([1.0, 1.0, 1e6, 1.0])), "warning")["dynamic-range"]
    assert "the standard deviations of the columns range from" in message


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8"])
def test_narrow_types_are_remarked_on(dtype):
    report = report_of((np.abs(X) * 20).astype(dtype))
    assert found(report, "info")["dtype"] == f"team: {dtype} values are used as they are, widened without loss"


def test_few_samples_for_many_dimensions():
    report = report_of(np.random.default_rng(0).normal(size=(N, 80)))
    assert found(report, "info")["few-samples"] == "task height: 50 samples for 80 dimensions: the penalty decides much"


def test_constant_labels():
    report = report_of(height=np.full(N, 3.0))
    assert found(report, "error")["constant-labels"] == "task height: all 50 labels are 3"


def test_missing_labels_are_counted():
    y = Y.copy()
    y[:7] = np.nan
    assert found(report_of(height=y), "info")["missing-labels"] == "task height: 7 rows have no label and are left out"


def test_folds_without_a_class():
    rare = np.zeros(N)
    rare[:2] = 1
    report = report_of(ships_cls=rare)
    assert (
        "folds have no score: held-out labels are of one class (30), training labels are of one class (2); more than"
        in found(report, "error")["constant-folds"]
    )
    assert found(report, "info")["classes"] == "task ships_cls: 2 positive and 48 negative samples"


def test_classes_that_folds_lack():
    crops = np.where(np.arange(N) < 3, 9, np.arange(N) % 2)  # three samples of class 9
    report = report_of(crops_cls=crops)
    assert found(report, "info")["classes"] == "task crops_cls: 3 classes of 3 to 24 samples"
    assert found(report, "info")["labels"] == "task crops_cls: the labels 0, 1 and 9 became 0 to 2"
    warnings = found(report, "warning")
    task = Task.from_arrays("crops_cls", "classification", IDS, crops)
    held_out = [crops[rows] for rows in make_folds(FoldSpec(), task.ids, task.y, task.kind).held_out]
    lacking = sum(set(labels) != {0, 1, 9} for labels in held_out)
    assert warnings["missing-class"].startswith(f"task crops_cls: {lacking} of 40 folds hold out no sample of class ")
    assert "class 9" in warnings["missing-class"]
    assert "untrained-class" not in warnings
    assert found(report, "info")["rare-class"].startswith("task crops_cls: some fold holds out 1 samples of its rarest")


def test_a_class_that_some_fold_cannot_be_trained_on(tmp_path):
    crops = np.where(np.arange(N) == 7, 9, np.arange(N) % 2)
    split = tmp_path / "split.csv"
    write_csv(split, "id,split", ((i, "eval" if i < "s10" else "dev") for i in IDS))
    report = report_of(crops_cls=crops, protocol=Protocol(folds=FoldSpec("fixed", file=str(split))))
    expected = "task crops_cls: 1 of 1 folds train on no sample of class 9: they cannot find it"
    assert found(report, "warning") == {"untrained-class": expected}


def test_stratified_folds_need_members_of_every_class():
    crops = np.where(np.arange(N) < 2, 9, np.arange(N) % 2)
    report = report_of(crops_cls=crops, protocol=Protocol(folds=FoldSpec("stratified-kfold", n_folds=5)))
    assert "a class with 2 samples; expected at least 5 in every class" in found(report, "error")["folds"]


def test_some_folds_without_a_class_are_a_warning():
    some = (np.arange(N) % 4 == 0).astype(float)
    warning = found(report_of(ships_cls=some), "warning")["constant-folds"]
    assert "of 40 folds have no score: held-out labels are of one class" in warning
    assert "no Q" not in warning


def test_folds_are_those_of_the_protocol():
    some = (np.arange(N) % 4 == 0).astype(float)
    stratified = Protocol(folds=FoldSpec(scheme="stratified-shuffle", test_size=0.2))
    assert "constant-folds" not in found(report_of(ships_cls=some, protocol=stratified), "warning")


def test_folds_that_cannot_be_made():
    report = report_of(protocol=Protocol(folds=FoldSpec(scheme="kfold", n_folds=51)))
    assert "50 samples; expected at least as many as folds (51)" in found(report, "error")["folds"]


def test_the_number_of_failing_folds_is_that_of_the_scores():
    from fastprobe.engine import score

    some = (np.arange(N) % 4 == 0).astype(float)
    task = Task.from_arrays("ships_cls", "classification", IDS, some)
    submission, benchmark = Submission.from_arrays("team", IDS, X), Benchmark.from_tasks([task])
    (row,) = score([submission], benchmark)
    (finding,) = (f for f in check(submission, benchmark).findings if f.code == "constant-folds")
    assert row.n_failed > 0
    assert finding.message.startswith(f"{row.n_failed} of {row.n_folds} folds")


@pytest.mark.parametrize(
    ("protocol", "what"),
    [
        (Protocol(), "50 samples, route"),
        (Protocol(probe="logistic"), "50 samples, logistic"),
        (Protocol(probe="kernel"), "50 samples, kernel matrix"),
        (Protocol(probe="kernel", kernel=KernelSpec(landmarks=20)), "50 samples, 20 landmarks"),
    ],
)
def test_memory_is_that_of_the_probe(protocol, what):
    crops = np.arange(N) % 3
    report = report_of(crops_cls=crops, height=Y, protocol=protocol)
    assert f"MiB to score the largest task ({what}" in found(report, "info")["memory"]


def test_regression_is_not_for_logistic():
    logistic = Protocol(probe="logistic")
    report = report_of(crops_cls=np.arange(N) % 3, height=Y, protocol=logistic)
    assert report.ok
    assert found(report, "info")["left-out"] == "benchmark: the protocol logistic does not score regression: height"
    assert "task height" not in {finding.where for finding in report.findings}
    alone = report_of(protocol=logistic)
    assert list(found(alone, "error")) == ["left-out"]


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_inputs(tmp_path)


def spoil(folder: Path) -> Path:
    """Write b.csv with a cell that is NaN, one that is no number and one line twice."""
    lines = (folder / "b.csv").read_text().splitlines()
    lines[3] = lines[3].rpartition(",")[0] + ",nan"
    lines[5] = lines[5].rpartition(",")[0] + ",high"
    (folder / "spoilt.csv").write_text("\n".join([*lines, lines[7]]) + "\n")
    return folder / "spoilt.csv"


def test_everything_wrong_with_a_file_is_reported_in_one_go(folder):
    report = check_files(spoil(folder), folder / "labels")
    errors = [f for f in report.findings if f.level == "error"]
    assert not report.ok
    assert report.submission == "spoilt"
    assert [f.code for f in errors] == ["submission-refused", "repairs", "repairs", "repairs"]
    assert "spoilt.csv" in errors[0].where
    assert {f.message for f in errors[1:]} == {"nan to zero: 1", "non numeric to zero: 1", "duplicate ids dropped: 1"}


def test_labels_that_lenient_reading_mends(folder):
    path = folder / "labels" / "height__regression.csv"
    path.write_text(path.read_text() + "s000,9.5\n")
    report = check_files(folder / "a.npz", folder / "labels")
    assert "height__regression.csv" in found(report, "error")["labels-refused"]
    assert found(report, "info")["labels"] == "task height: 1 rows with an id that has a label already were dropped"


def run(folder: Path, line: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(folder)
    return CliRunner().invoke(app, line.split())


def test_the_command_says_ready(folder, monkeypatch):
    done = run(folder, "check a.npz --labels labels", monkeypatch)
    assert done.exit_code == 0
    assert "a: ready to be scored" in done.stdout


def test_the_command_ends_with_2_if_there_is_an_error(folder, monkeypatch):
    spoil(folder)
    done = run(folder, "check spoilt.csv --labels labels --format json", monkeypatch)
    assert done.exit_code == 2
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert set(document["findings"][0]) == {"level", "code", "where", "message", "fix"}
    assert [f["level"] for f in document["findings"]] == sorted(
        (f["level"] for f in document["findings"]), key=["error", "warning", "info"].index
    )
    done = run(folder, "check spoilt.csv --labels labels", monkeypatch)
    assert done.exit_code == 2
    assert "spoilt: not ready (4 error" in done.stdout


def test_the_command_takes_options_of_the_folds(folder, monkeypatch):
    write_csv(folder / "one.csv", "id,group", ((f"s{i:03d}", "only") for i in range(60)))
    done = run(folder, "check a.npz --labels labels --groups one.csv --format json", monkeypatch)
    errors = [f for f in json.loads(done.stdout)["findings"] if f["level"] == "error"]
    assert done.exit_code == 2
    assert {f["code"] for f in errors} == {"folds"}
    assert "at least 2 groups" in errors[0]["message"]


@pytest.mark.parametrize(("name", "remark"), [("presto/trained", "rank"), ("alphaearth/alphaearth", "duplicate-rows")])
def test_real_submissions_are_ready(data, name, remark):
    benchmark, submission = name.split("/")
    report = check_files(data / benchmark / "submissions" / f"{submission}.npz", data / benchmark / "labels")
    assert report.ok, [f for f in report.findings if f.level == "error"]
    assert remark in found(report, "info")


# --- protocol neuco --------------------------------------------------------------------------------------------------


def test_neuco_names_what_it_refuses_and_scores_by_convention() -> None:
    rng = np.random.default_rng(0)
    ids = [f"s{i}" for i in range(40)]
    submission = Submission.from_arrays("s", ids, rng.standard_normal((40, 5)).astype(np.float32))
    one_differs = np.zeros(40)
    one_differs[7] = 1.0
    bench = Benchmark.from_tasks(
        [
            Task.from_arrays("few", "regression", ids[:10], rng.random(10)),
            Task.from_arrays("flat", "regression", ids, one_differs),
            Task.from_arrays("fine", "regression", ids, rng.random(40)),
        ]
    )
    protocol = Protocol.named("neuco")
    found = [(f.level, f.code, f.where) for f in check(submission, bench, protocol).findings]
    assert ("error", "labels", "task few") in found
    assert ("warning", "constant-folds", "task flat") in found
    assert not [f for f in found if f[2] == "task fine" and f[0] != "info"]
    (memory,) = [f.message for f in check(submission, bench, protocol).findings if f.code == "memory"]
    assert f"{(10 + 40 + 40) * 40 * 10:,}" in memory
    crops = Benchmark.from_tasks([Task.from_arrays("crops", "classification", ids, np.arange(40) % 3)])
    (refused,) = [f for f in check(submission, crops, protocol).findings if f.level == "error"]
    assert (refused.where, refused.message[:15]) == ("task crops", "found 3 classes")
    assert "--protocol closed-form or ridge" in refused.fix
    narrow = replace(protocol, replay=ReplaySpec(embedding_dim=4))
    assert ("error", "embedding-dim", "s") in [
        (f.level, f.code, f.where) for f in check(submission, bench, narrow).findings
    ]
