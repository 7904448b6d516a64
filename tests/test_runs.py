"""Bulk runs: what is scored, what is not scored again, and what is left when something goes wrong."""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
import threading
import time
import weakref
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import ShuffleSplit
from small_runs import IDS, RIDGE, TASKS, Case, N, embedding, in_memory, make_benchmark, write_submission

import fastprobe
from fastprobe.backend import get_backend
from fastprobe.errors import DeviceError, InputError
from fastprobe.protocol import FoldSpec, Protocol, ReplaySpec
from fastprobe.runs import BusyError, KnownInput, RunFolder, Terms, WriteError, find_items, plan_run, score_files
from fastprobe.runs.ahead import Ahead
from fastprobe.runs.inputs import FileItem
from fastprobe.runs.journal import Journal
from fastprobe.runs.scoring import UnitScorer
from fastprobe.store import Store, ingest


@pytest.fixture
def case(tmp_path: Path) -> Case:
    case = Case(tmp_path)
    case.write("a", "b", "c")
    return case


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the submissions that are read from files."""
    names: list[str] = []
    read = FileItem.read

    def counted(item: FileItem) -> fastprobe.Submission:
        names.append(item.name)
        return read(item)

    monkeypatch.setattr(FileItem, "read", counted)
    return names


def paths(case: Case) -> list[Path]:
    return sorted(case.submissions.glob("*.npz"))


# --- the scores ------------------------------------------------------------------------------------------------------


def test_the_scores_are_those_of_the_engine(case: Case) -> None:
    report = case.run()
    assert (report.scored, report.finished, report.failed) == (3, 0, ())
    assert case.happened("scored") == dict.fromkeys("abc", 3)
    assert case.rows() == in_memory(paths(case))
    assert len(case.rows()) == 9


def test_the_scores_are_those_of_refits(case: Case) -> None:
    case.run()
    y = next(task for task in make_benchmark().tasks if task.name == "height").y
    x = embedding(sum(b"a")).astype(np.float64)
    x = (x - x.mean()) / x.std()
    refits = []
    for train, test in ShuffleSplit(3, test_size=0.1, random_state=42).split(x):
        refits.append(r2_score(y[test], Ridge(alpha=3.0).fit(x[train], y[train]).predict(x[test])))
    row = case.rows()[0]
    # 27 rows and 3 columns with a penalty of 3: a condition number below 100, so about 1e-13 in the residuals.
    np.testing.assert_allclose(row["fold_scores"], refits, rtol=0, atol=1e-11)
    assert row["q"] == pytest.approx(100 * 0.02 * np.mean(refits) / (np.std(refits) + 0.02), abs=1e-8)


def test_a_finished_run_reads_nothing(case: Case, reads: list[str]) -> None:
    case.run()
    before = case.rows()
    reads.clear()
    report = case.run()
    assert (report.scored, report.finished, reads) == (0, 3, [])
    assert case.rows() == before


def test_one_more_submission_costs_one_more(case: Case, reads: list[str]) -> None:
    case.run()
    case.write("d")
    reads.clear()
    assert case.run().scored == 1
    assert reads == ["d"]
    assert case.rows() == in_memory(paths(case))


def test_a_place_that_is_named_otherwise_is_the_same_place(case: Case, reads: list[str], monkeypatch) -> None:
    case.run()
    reads.clear()
    monkeypatch.chdir(case.folder)
    case.run(items=find_items(["submissions"]))
    assert reads == []


def test_the_same_content_under_a_new_time_stamp_is_recognised(case: Case, reads: list[str]) -> None:
    case.run()
    before = case.rows()
    os.utime(case.submissions / "b.npz", ns=(1, 1))
    reads.clear()
    report = case.run()
    assert (report.scored, report.finished, reads) == (0, 3, ["b"])
    assert case.happened("recognised") == {"b": 0}
    assert case.rows() == before
    reads.clear()
    case.run()
    assert reads == []


def test_other_content_under_the_same_name_is_scored_and_the_old_scores_are_dropped(case: Case) -> None:
    case.run()
    write_submission(case.submissions, "b", seed=99)
    assert case.run().scored == 1
    assert case.happened("scored") == {"b": 3}
    assert case.rows() == in_memory(paths(case))


def test_a_broken_file_in_the_place_of_a_good_one_leaves_the_scores(case: Case) -> None:
    case.run()
    before = case.rows()
    (case.submissions / "b.npz").write_bytes(b"nonsense")
    assert [failure.name for failure in case.run().failed] == ["b"]
    assert case.rows() == before


def test_scores_of_submissions_that_are_not_named_stay(case: Case) -> None:
    case.run()
    before = case.rows()
    (case.submissions / "b.npz").unlink()
    report = case.run()
    assert (report.scored, report.finished) == (0, 2)
    assert case.rows() == before


def test_content_that_changes_between_plan_and_reading_is_scored_as_it_was_read(case: Case, monkeypatch) -> None:
    case.run()
    changed = make_benchmark({"height": 0, "ships": 0, "width": 1})
    read = FileItem.read

    def late(item: FileItem) -> fastprobe.Submission:
        if item.name == "b":
            write_submission(case.submissions, "b", seed=99)
        return read(item)

    with monkeypatch.context() as patch:
        patch.setattr(FileItem, "read", late)
        case.run(changed)
    assert case.happened("scored") == {"a": 1, "b": 3, "c": 1}
    same(case.rows(), in_memory(paths(case), changed))
    assert case.run(changed).finished == 3


# --- labels and protocols --------------------------------------------------------------------------------------------


def same(rows: list[dict], expected: list[dict]) -> None:
    """Hold rows to others that were scored in other company: sums over tasks of a group may round otherwise."""
    assert [(r["submission"], r["task"], r["label_hash"]) for r in rows] == [
        (r["submission"], r["task"], r["label_hash"]) for r in expected
    ]
    for row, other in zip(rows, expected, strict=True):
        scores, others = (np.array(r["fold_scores"], dtype=float) for r in (row, other))  # NaN where there is none
        np.testing.assert_allclose(scores, others, rtol=0, atol=1e-11)
        assert row["q"] == pytest.approx(other["q"], abs=1e-8)


def test_changed_labels_of_one_task_cost_that_task(case: Case) -> None:
    case.run()
    others = [row for row in case.rows() if row["task"] != "width"]
    changed = make_benchmark({"height": 0, "ships": 0, "width": 1})
    assert case.run(changed).scored == 3
    assert case.happened("scored") == dict.fromkeys("abc", 1)
    assert [row for row in case.rows() if row["task"] != "width"] == others
    same(case.rows(), in_memory(paths(case), changed))


def test_a_new_task_costs_that_task(case: Case) -> None:
    case.run()
    more = make_benchmark(dict.fromkeys([*TASKS, "age"], 0))
    case.run(more)
    assert case.happened("scored") == dict.fromkeys("abc", 1)
    same(case.rows(), in_memory(paths(case), more))


def test_other_labelled_ids_cost_everything_because_they_standardise(case: Case) -> None:
    extra = fastprobe.Task.from_arrays("short", "regression", IDS[:-5], embedding(0)[:-5, 1])
    bench = make_benchmark()
    fewer = fastprobe.Benchmark.from_tasks([extra])
    case.run(fewer)
    case.run(fastprobe.Benchmark.from_tasks([extra, *bench.tasks]))
    assert case.happened("scored") == dict.fromkeys("abc", 4)


def test_a_task_that_is_not_there_any_more_takes_its_scores_along(case: Case) -> None:
    case.run()
    fewer = make_benchmark({"height": 0, "ships": 0})
    report = case.run(fewer)
    assert (report.scored, report.finished) == (0, 3)
    assert {row["task"] for row in case.rows()} == {"height", "ships"}


def test_tasks_that_are_left_out_by_name_keep_their_scores(case: Case) -> None:
    case.run()
    before = case.rows()
    report = case.run(make_benchmark().select(["height"]))
    assert (report.scored, report.finished) == (0, 3)
    assert case.rows() == before


def test_labels_that_change_are_out_of_date_for_submissions_that_are_not_named_too(case: Case) -> None:
    case.run()
    (case.submissions / "b.npz").unlink()
    changed = make_benchmark({"height": 0, "ships": 0, "width": 1})
    case.run(changed)
    widths = [row["submission"] for row in case.rows() if row["task"] == "width"]
    assert widths == ["a", "c"]
    fastprobe.leaderboard(fastprobe.Scores.read(case.out))  # which refuses to rank labels of two kinds


def test_another_protocol_replaces_all(case: Case, caplog: pytest.LogCaptureFixture) -> None:
    case.run()
    other = Protocol(name="other", probe="ridge", alpha=5.0, folds=FoldSpec(n_folds=3))
    assert case.run(protocol=other).scored == 3
    assert case.rows() == in_memory(paths(case), protocol=other)
    assert "9 scores in" in caplog.text


@pytest.mark.parametrize("options", [{"overwrite": "never"}, {"retry_failed": True}])
def test_protocols_are_not_mixed(case: Case, options: dict[str, Any]) -> None:
    case.run()
    before = case.rows()
    other = Protocol(name="other", probe="ridge", alpha=5.0, folds=FoldSpec(n_folds=3))
    with pytest.raises(InputError, match="another protocol"):
        case.run(protocol=other, **options)
    assert case.rows() == before


def test_neuco_scores_all_tasks_again_because_they_share_a_stream(case: Case) -> None:
    neuco = Protocol(
        name="neuco", probe="neuco", alpha=None, standardize=True, folds=FoldSpec(n_folds=2),
        replay=ReplaySpec(epochs=2),
    )  # fmt: skip
    case.run(protocol=neuco)
    assert case.rows() == in_memory(paths(case), protocol=neuco)
    for bench in (
        make_benchmark(dict.fromkeys([*TASKS, "age"], 0)),
        make_benchmark({"age": 0, "height": 0, "ships": 0, "width": 1}),
    ):
        case.run(bench, protocol=neuco)
        assert case.happened("scored") == dict.fromkeys("abc", 4)
        assert case.rows() == in_memory(paths(case), bench, neuco)
    assert case.run(bench, protocol=neuco).scored == 0


def test_what_is_wrong_with_the_terms_is_no_failure_of_submissions(case: Case) -> None:
    folds = Protocol(name="many", probe="ridge", alpha=1.0, folds=FoldSpec(scheme="kfold", n_folds=N + 1))
    with pytest.raises(InputError, match="fold"):
        case.run(protocol=folds)
    assert RunFolder(case.out).failures() == {}


def test_lenient_runs_leave_out_samples(case: Case) -> None:
    write_submission(case.submissions, "short", seed=4, ids=IDS[:-4])
    assert [failure.name for failure in case.run().failed] == ["short"]
    assert case.run(lenient=True).scored == 1
    row = next(row for row in case.rows() if row["submission"] == "short")
    assert row["repairs"] == {"samples_without_embedding_dropped": 4}
    assert row["n_samples"] == N - 4


# --- overwrite -------------------------------------------------------------------------------------------------------


def test_never_leaves_what_is_there_and_adds_what_is_missing(case: Case) -> None:
    case.run()
    before = case.rows()
    write_submission(case.submissions, "b", seed=99)
    changed = make_benchmark({"age": 0, "height": 0, "ships": 0, "width": 1})
    case.run(changed, overwrite="never")
    assert case.happened("scored") == dict.fromkeys("abc", 1)
    assert [row for row in case.rows() if row["task"] != "age"] == before
    case.run(changed)
    assert case.happened("scored") == {"a": 1, "b": 3, "c": 1}  # the age of b is of its new content
    same(case.rows(), in_memory(paths(case), changed))


def test_always_scores_everything(case: Case) -> None:
    case.run()
    before = case.rows()
    assert case.run(overwrite="always").scored == 3
    assert case.happened("scored") == dict.fromkeys("abc", 3)
    assert case.rows() == before


def test_always_leaves_tasks_that_were_left_out_by_name(case: Case) -> None:
    case.run()
    before = case.rows()
    case.run(make_benchmark().select(["height"]), overwrite="always")
    assert case.happened("scored") == dict.fromkeys("abc", 1)
    same(case.rows(), before)


def test_always_tries_what_failed(case: Case, reads: list[str]) -> None:
    (case.submissions / "broken.npz").write_bytes(b"nonsense")
    case.run()
    reads.clear()
    assert case.run(overwrite="always").failed[0].attempts == 2
    assert reads == ["a", "b", "broken", "c"]


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_broken_submission_is_recorded_and_not_tried_again_until_it_changes(case: Case, reads: list[str]) -> None:
    broken = case.submissions / "broken.npz"
    broken.write_bytes(b"nonsense")
    (failure,) = case.run().failed
    assert (failure.name, failure.place, failure.attempts) == ("broken", str(broken), 1)
    assert str(broken) in failure.error
    assert case.rows() == in_memory([p for p in paths(case) if p != broken])
    reads.clear()
    assert case.run().failed == (failure,)
    assert reads == []
    assert case.run(retry_failed=True).failed[0].attempts == 2
    assert reads == ["broken"]
    write_submission(case.submissions, "broken", seed=7)
    report = case.run()
    assert (report.scored, report.failed) == (1, ())
    assert RunFolder(case.out).failures() == {}


def test_retrying_touches_nothing_else(case: Case) -> None:
    (case.submissions / "broken.npz").write_bytes(b"nonsense")
    case.run()
    before = case.rows()
    case.write("new")
    write_submission(case.submissions, "a", seed=99)
    report = case.run(retry_failed=True)
    assert (report.scored, len(report.failed)) == (0, 1)
    assert case.rows() == before


def test_a_failure_for_want_of_samples_is_tried_again_with_other_labels(case: Case) -> None:
    write_submission(case.submissions, "short", seed=4, ids=IDS[:-4])
    assert len(case.run().failed) == 1
    fewer = fastprobe.Benchmark.from_tasks(
        [fastprobe.Task.from_arrays("height", "regression", IDS[:-4], embedding(0)[:-4, 0])]
    )
    assert case.run(fewer).failed == ()


def test_a_submission_that_vanishes_is_recorded_and_scored_when_it_is_back(case: Case) -> None:
    items = find_items([case.submissions])
    there, away = case.submissions / "b.npz", case.folder / "b.npz"
    there.rename(away)
    (failure,) = case.run(items=items).failed
    assert failure.name == "b"
    assert "nothing there" in failure.error
    away.rename(there)  # with the time stamp that it had
    assert case.run().scored == 1


def test_a_submission_that_vanishes_while_it_is_read_is_scored_when_it_is_back(case: Case, monkeypatch) -> None:
    there, away = case.submissions / "b.npz", case.folder / "b.npz"
    read = FileItem.read

    def late(item: FileItem) -> fastprobe.Submission:
        if item.name == "b":
            there.rename(away)
        return read(item)

    with monkeypatch.context() as patch:
        patch.setattr(FileItem, "read", late)
        assert len(case.run().failed) == 1
    away.rename(there)
    assert case.run().scored == 1


@pytest.mark.parametrize("error", [ValueError("odd"), MemoryError(), OSError(errno.EIO, "bad sector")])
def test_errors_that_nobody_foresaw_are_recorded_too(case: Case, monkeypatch, error: Exception) -> None:
    read = FileItem.read

    def fails(item: FileItem) -> fastprobe.Submission:
        if item.name == "b":
            raise error
        return read(item)

    monkeypatch.setattr(FileItem, "read", fails)
    report = case.run()
    assert (report.scored, len(report.failed)) == (2, 1)
    assert str(case.submissions / "b.npz") in report.failed[0].error


@pytest.mark.parametrize(
    ("error", "ends"),
    [
        (ValueError("odd"), False),
        (DeviceError("cuda:0", found="too little memory", expected="more", fix="wait"), False),
        (RuntimeError("illegal memory access"), True),
    ],
)
def test_a_device_that_fails_ends_the_run_and_a_submission_that_fails_does_not(
    case: Case, monkeypatch, error: Exception, ends: bool
) -> None:
    score = UnitScorer.score

    def fails(self: UnitScorer, submission: fastprobe.Submission, *args: Any, **options: Any) -> Any:
        if submission.name == "b":
            raise error
        return score(self, submission, *args, **options)

    monkeypatch.setattr(UnitScorer, "score", fails)
    if ends:
        with pytest.raises(RuntimeError, match="illegal"):
            case.run()
        assert {row["submission"] for row in case.rows()} == {"a"}
        assert RunFolder(case.out).failures() == {}
    else:
        assert [failure.name for failure in case.run().failed] == ["b"]


# --- crashes, full disks, and who else is there ----------------------------------------------------------------------


@pytest.fixture
def one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file for each submission."""
    monkeypatch.setattr(Ahead, "take", lambda self, **_: list(islice(self, 1)))


def full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_ends_the_run_and_spoils_nothing(case: Case, one_by_one: None, monkeypatch) -> None:
    write = pq.write_table

    def second_fails(table: Any, path: Path, **options: Any) -> None:
        write(table, path, **options)
        if paths_of(case):
            full()

    with monkeypatch.context() as patch:
        patch.setattr(pq, "write_table", second_fails)
        with pytest.raises(WriteError, match=r"No space left.*kept") as caught:
            case.run()
    assert caught.value.exit_code == 1
    assert [row["submission"] for row in case.rows()] == ["a"] * 3
    assert not list((case.out / "scores").glob(".*"))
    assert case.run().scored == 2
    assert case.rows() == in_memory(paths(case))


def test_a_journal_that_cannot_be_written_ends_the_run_and_spoils_nothing(case: Case, one_by_one, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Journal, "put", full)
        with pytest.raises(WriteError, match="No space left"):
            case.run()
    assert [row["submission"] for row in case.rows()] == ["a"] * 3
    assert case.run().scored == 2
    assert case.rows() == in_memory(paths(case))


def test_a_folder_that_cannot_be_made_is_wrong(case: Case) -> None:
    case.out.write_text("a file")
    with pytest.raises(InputError, match="--out"):
        case.run()


def test_two_runs_at_once_are_refused_and_told_of_each_other(case: Case) -> None:
    with RunFolder(case.out).locked(), pytest.raises(BusyError, match=f"process {os.getpid()} on "):
        case.run()
    assert case.run().scored == 3


def test_a_journal_that_was_cut_anywhere_in_its_last_line_can_be_read_and_goes_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl", "name")
    journal.put("a", value=[1, "two"])
    whole = len((tmp_path / "j.jsonl").read_bytes())
    journal.put("b", value=["\u2028", {}])
    text = (tmp_path / "j.jsonl").read_bytes()
    for cut in range(whole, len(text)):
        (tmp_path / "j.jsonl").write_bytes(text[:cut])
        there = {"a", "b"} if cut == len(text) - 1 else {"a"}  # the line end alone is missing
        assert set(journal.read()) == there
        journal.put("c", value=3)
        assert journal.read().keys() == there | {"c"}
        assert journal.read()["c"] == {"value": 3}


def test_damage_in_a_journal_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"name": "a", "v": 1}\n\0\0\0\n[1]\n{"v": 2}\n{"name": 3}\n\xff\xfe\n{"name": "b", "v": 2}\n')
    assert Journal(path, "name").read() == {"a": {"v": 1}, "b": {"v": 2}}


def test_a_journal_is_shortened_when_most_of_it_is_superseded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.jsonl", "name")
    for i in range(200):
        journal.put(f"n{i % 3}", value=i)
    journal.put("n0")
    before = journal.read()
    journal.shorten()
    assert journal.read() == before == {"n1": {"value": 199}, "n2": {"value": 197}}
    assert len((tmp_path / "j.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("journal", ["finished.jsonl", "inputs.jsonl", "failures.jsonl"])
def test_a_run_goes_on_whatever_is_left_of_a_journal(case: Case, journal: str) -> None:
    (case.submissions / "broken.npz").write_bytes(b"nonsense")
    case.run()
    before, path = case.rows(), case.out / journal
    text = path.read_bytes()
    for kept in (text[:-1], text[:-40], text[: len(text) // 2], b"", None):
        path.unlink() if kept is None else path.write_bytes(kept)
        report = case.run()
        assert (report.scored, report.finished, len(report.failed)) == (0, 3, 1)
        assert case.rows() == before


def test_scores_that_no_journal_speaks_of_are_there_at_every_cut(case: Case) -> None:
    case.run()
    keys, path = set(RunFolder(case.out).scores), case.out / "finished.jsonl"
    assert len(keys) == 9
    text = path.read_bytes()
    for cut in range(len(text) - text[:-1].count(b"\n"), len(text)):
        path.write_bytes(text[:cut])
        assert set(RunFolder(case.out).scores) == keys


def test_half_written_files_are_removed_by_a_run_and_by_nobody_else(case: Case) -> None:
    case.run()
    debris = [case.out / "scores" / ".x.parquet.1.tmp", case.out / ".inputs.jsonl.1.tmp"]
    for path in debris:
        path.write_bytes(b"half")
    plan_run(find_items([case.submissions]), Terms.of(make_benchmark(), RIDGE), RunFolder(case.out))
    assert all(path.exists() for path in debris)
    assert case.run().finished == 3
    assert not any(path.exists() for path in debris)


def test_a_stranger_among_the_scores_is_an_error_that_names_it(case: Case) -> None:
    case.run()
    pq.write_table(
        pq.read_table(paths_of(case)[0]).select(["q"]).replace_schema_metadata(), case.out / "scores/x.parquet"
    )
    with pytest.raises(InputError, match=r"x\.parquet"):
        case.run()


def paths_of(case: Case) -> list[Path]:
    return sorted((case.out / "scores").glob("*.parquet"))


# --- files of scores -------------------------------------------------------------------------------------------------


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch, one_by_one: None) -> None:
    """Put files together early."""
    monkeypatch.setattr(score_files, "_MANY", 4)
    monkeypatch.setattr(score_files, "_FULL", 12)


def test_small_files_are_put_together_and_stay_small_enough(case: Case, small_files: None) -> None:
    case.write(*"defghij")
    case.run()
    sizes = [pq.ParquetFile(path).metadata.num_rows for path in paths_of(case)]
    assert sum(sizes) == 30
    assert max(sizes) <= 12
    assert len(sizes) < 4
    assert case.rows() == in_memory(paths(case))
    assert case.run().finished == 10
    write_submission(case.submissions, "e", seed=99)  # from the middle of a file
    assert case.run().scored == 1
    assert case.rows() == in_memory(paths(case))


@pytest.mark.parametrize("moment", [0, 2])
def test_a_crash_while_files_are_put_together_leaves_every_score_once(case: Case, small_files, monkeypatch, moment):
    case.write(*"defgh")
    left = iter(range(moment))
    remove = score_files.ScoreFiles._remove

    def crash(self: score_files.ScoreFiles, name: str) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt
        remove(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(score_files.ScoreFiles, "_remove", crash)
        with pytest.raises(KeyboardInterrupt):
            case.run()
    assert len(case.rows()) > 24
    write_submission(case.submissions, "b", seed=99)
    changed = make_benchmark({"height": 0, "ships": 0, "width": 1})
    case.run(changed)
    same(case.rows(), in_memory(paths(case), changed))


def test_the_plan_of_a_finished_run_opens_the_journals_and_nothing_else(case: Case, monkeypatch) -> None:
    bench, folder = make_benchmark(), RunFolder(case.out)
    terms = Terms.of(bench, RIDGE)
    case.write(*(f"x{i}" for i in range(40)))
    items = find_items([case.submissions])
    row = in_memory(paths(case)[:1])[0]
    scores = fastprobe.Scores.from_dict({"protocol": terms.protocol.to_dict(), "scores": [row]})
    with folder.locked():
        for item in items:
            folder.scores.put(scores.to_arrow(), [terms.key(item.name, "digest", "height")])
            folder.note_inputs({item.name: KnownInput(item.fingerprint(), "digest", item.source)})
    opened: list[str] = []
    counting = [True]
    sys.addaudithook(lambda event, args: opened.append(str(args[0])) if event == "open" and counting else None)
    monkeypatch.setattr(pq, "ParquetFile", lambda path: pytest.fail(f"{path} was opened"))
    plan = plan_run(items, Terms.of(bench.select(["height"]), RIDGE), RunFolder(case.out))
    counting.clear()
    assert (len(plan.finished), plan.pending) == (43, ())
    assert sorted(Path(name).name for name in opened if name.startswith(str(case.folder))) == [
        "finished.jsonl",
        "inputs.jsonl",
    ]


# --- what is scored at a time ----------------------------------------------------------------------------------------


def test_no_more_submissions_are_held_than_wait_for_their_turn(case: Case, monkeypatch) -> None:
    case.write(*(f"x{i}" for i in range(20)))
    alive: weakref.WeakSet[fastprobe.Submission] = weakref.WeakSet()
    most = [0]
    read, score = FileItem.read, UnitScorer.score

    def counted(item: FileItem) -> fastprobe.Submission:
        submission = read(item)
        alive.add(submission)
        return submission

    def watched(self: UnitScorer, *args: Any, **options: Any) -> Any:
        time.sleep(0.005)  # the reader is ahead as far as it may
        most[0] = max(most[0], len(alive))
        return score(self, *args, **options)

    monkeypatch.setattr(FileItem, "read", counted)
    monkeypatch.setattr(UnitScorer, "score", watched)
    gc.collect()
    assert case.run().scored == 23
    assert most[0] == 3  # the one that is scored, and two that were read ahead


def test_an_interrupt_ends_a_run_at_once_and_what_is_finished_is_kept(case: Case, monkeypatch) -> None:
    stuck, go_on = threading.Event(), threading.Event()
    sent: list[float] = []
    score = UnitScorer.score

    def endless(self: UnitScorer, submission: fastprobe.Submission, *args: Any, **options: Any) -> Any:
        if submission.name == "c":
            stuck.set()
            go_on.wait(30)  # as deaf as compiled code
        return score(self, submission, *args, **options)

    def interrupt() -> None:
        stuck.wait(10)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(UnitScorer, "score", endless)
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        case.run()
    assert time.monotonic() - sent[0] < 2
    go_on.set()
    assert [row["submission"] for row in case.rows()] == ["a"] * 3 + ["b"] * 3
    monkeypatch.setattr(UnitScorer, "score", score)
    assert case.run().scored == 1
    assert case.rows() == in_memory(paths(case))


def test_ahead_makes_no_more_than_asked_and_tells_errors_in_their_turn() -> None:
    made: list[int] = []

    def items() -> Any:
        for i in range(4):
            made.append(i)
            yield i
        raise ValueError("the end")

    ahead = Ahead(items(), most=2, name="test")
    deadline = time.monotonic() + 5
    while len(made) < 2 and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)
    assert made == [0, 1]
    found = [next(ahead) for _ in range(4)]
    assert found == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="the end"):
        next(ahead)
    with pytest.raises(StopIteration):
        next(ahead)


def test_ahead_gives_what_was_made_when_it_is_closed_and_waits_for_nothing() -> None:
    held = threading.Event()

    def items() -> Any:
        yield 1
        held.wait(10)
        yield 2

    ahead = Ahead(items(), most=2, name="test")
    assert next(iter(ahead)) == 1
    ahead.close()
    assert list(ahead) == []
    held.set()


def test_several_submissions_at_a_time_give_the_same_scores(case: Case, monkeypatch) -> None:
    case.write(*"defgh")
    (case.submissions / "d.npz").write_bytes(b"nonsense")
    backend = get_backend("cpu")
    monkeypatch.setattr(type(backend), "in_flight", lambda self, nbytes, d: 3)
    report = case.run(device=backend)
    assert (report.scored, len(report.failed)) == (7, 1)
    monkeypatch.undo()
    assert case.rows() == in_memory([path for path in paths(case) if path.stem != "d"])


@pytest.mark.parametrize("too_large", [{"a"}, {"c"}, {"a", "b", "c"}])
def test_what_the_device_has_no_memory_for_is_recorded_whatever_else_is_in_flight(
    case: Case, monkeypatch, too_large: set[str]
) -> None:
    backend, score = get_backend("cpu"), UnitScorer.score

    def short_of_memory(self: Any, submission: Any, tasks: Any, **options: Any) -> Any:
        if submission.name in too_large:
            raise DeviceError("the device", found="no room", expected="room", fix="end something")
        return score(self, submission, tasks, **options)

    monkeypatch.setattr(type(backend), "in_flight", lambda self, nbytes, d: 3)
    monkeypatch.setattr(UnitScorer, "score", short_of_memory)
    report = case.run(device=backend)
    assert {failure.name for failure in report.failed} == too_large
    assert report.scored == 3 - len(too_large)


# --- where submissions come from -------------------------------------------------------------------------------------


def test_a_matrix_and_its_id_file_are_one_submission(case: Case, reads: list[str]) -> None:
    np.save(case.submissions / "m.npy", embedding(5))
    ids = case.submissions / "m.ids.csv"
    ids.write_text("\n".join(IDS))
    assert [item.name for item in find_items([case.submissions])] == ["a", "b", "c", "m"]
    assert [item.name for item in find_items(sorted(case.submissions.iterdir()))] == ["a", "b", "c", "m"]
    assert case.run().scored == 4
    ids.write_text("\n".join(IDS[::-1]))  # of the same size
    os.utime(ids, ns=(5, 5))
    reads.clear()
    case.run()
    assert reads == ["m"]
    assert case.happened("scored") == {"m": 3}


@pytest.mark.parametrize(
    ("names", "message"),
    [(["nowhere"], "nothing there"), (["a.npz", "other/a.npz"], "'a'"), (["empty"], "without submissions")],
)
def test_places_that_make_no_sense_are_wrong(case: Case, names: list[str], message: str) -> None:
    (case.submissions / "other").mkdir()
    (case.submissions / "empty").mkdir()
    write_submission(case.submissions / "other", "a", seed=1)
    with pytest.raises(InputError, match=message):
        find_items([case.submissions / name for name in names])


def test_a_name_that_no_table_can_hold_is_recorded(case: Case) -> None:
    try:
        (case.submissions / "b.npz").rename(case.submissions / os.fsdecode(b"\xff.npz"))
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    report = case.run()
    assert (report.scored, [failure.name for failure in report.failed]) == (2, ["\udcff"])
    assert "rename" in report.failed[0].error


def test_a_store_gives_the_same_scores_and_is_recognised_without_reading(case: Case, monkeypatch) -> None:
    store = Store.create(case.folder / "s.zarr")
    ingest(paths(case), store)
    items = find_items([case.folder / "s.zarr"])
    assert [item.name for item in items] == ["a", "b", "c"]
    assert case.run(items=items).scored == 3
    assert case.rows() == in_memory(paths(case))
    monkeypatch.setattr(Store, "read", lambda self, name: pytest.fail(f"{name} was read"))
    assert case.run(items=items).finished == 3
    (case.out / "inputs.jsonl").unlink()
    assert case.run(items=items).finished == 3


def test_a_run_of_files_goes_on_from_a_store_of_them(case: Case, monkeypatch) -> None:
    case.run()
    ingest(paths(case), Store.create(case.folder / "s.zarr"))
    monkeypatch.setattr(Store, "read", lambda self, name: pytest.fail(f"{name} was read"))
    assert case.run(items=find_items([case.folder / "s.zarr"])).finished == 3


def test_names_of_stores_and_files_must_differ(case: Case) -> None:
    ingest(paths(case)[:1], Store.create(case.folder / "s.zarr"))
    with pytest.raises(InputError, match="the name 'a'"):
        find_items([case.folder / "s.zarr", case.submissions])
    Store.create(case.folder / "empty.zarr")
    with pytest.raises(InputError, match="without submissions"):
        find_items([case.folder / "empty.zarr"])


def test_a_zarr_array_is_one_submission_and_notices_a_change_inside(case: Case, reads: list[str]) -> None:
    zarr = pytest.importorskip("zarr")
    array = zarr.create_array(case.submissions / "z.zarr", data=embedding(8), compressors=None)
    (case.submissions / "z.ids.txt").write_text("\n".join(IDS))
    assert case.run().scored == 4
    reads.clear()
    case.run()
    assert reads == []
    array[0, 0] = 5.0  # in a file of the same size
    case.run()
    assert reads == ["z"]
    assert case.happened("scored") == {"z": 3}


# --- everything at once ----------------------------------------------------------------------------------------------

NAMES = st.sampled_from("abcd")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), NAMES, st.integers(0, 2)),
        st.tuples(st.just("touch"), NAMES, st.integers(1, 1000)),
        st.tuples(st.just("break"), NAMES, st.just(0)),
        st.tuples(st.just("labels"), st.sampled_from(TASKS), st.integers(0, 2)),
        st.tuples(st.just("forget"), st.sampled_from(["finished", "inputs", "failures"]), st.integers(0, 400)),
        st.tuples(st.just("run"), st.just(""), st.just(0)),
    ),
    max_size=8,
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_whatever_has_happened_the_scores_are_those_of_a_new_run(steps, tmp_path_factory) -> None:
    case = Case(tmp_path_factory.mktemp("any"))
    labels = dict.fromkeys(TASKS, 0)
    case.write("a", "b")
    for what, name, value in [("run", "", 0), *steps, ("run", "", 0)]:
        path = case.submissions / f"{name}.npz"
        if what == "write":
            write_submission(case.submissions, name, seed=value)
        elif what == "touch" and path.exists():
            os.utime(path, ns=(value, value))
        elif what == "break":
            path.write_bytes(b"nonsense")
        elif what == "labels":
            labels[name] = value
        elif what == "forget" and (journal := case.out / f"{name}.jsonl").exists():
            journal.write_bytes(journal.read_bytes()[:value])
        elif what == "run":
            report = case.run(make_benchmark(labels))
    broken = {p.stem for p in paths(case) if p.read_bytes() == b"nonsense"}
    good = [p for p in paths(case) if p.stem not in broken]
    assert {failure.name for failure in report.failed} == broken
    rows = [row for row in case.rows() if row["submission"] not in broken]
    same(rows, in_memory(good, make_benchmark(labels)) if good else [])
    again = case.run(make_benchmark(labels))
    assert (again.scored, again.finished) == (0, len(good))
