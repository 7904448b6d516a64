from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.__main__ import _chosen
from benchmarks.cases import CASES
from benchmarks.cases.bulk import kills, memory, preflight, throughput, workers
from benchmarks.cases.bulk.amounts import N_TASKS, Amounts, Goals
from benchmarks.cases.bulk.data import BulkData, Submissions
from benchmarks.cases.bulk.processes import (
    WatchedRun,
    cpu_seconds,
    draw_moment,
    peak_bytes,
    worker_processes,
)
from benchmarks.cases.bulk.rows import Differences, fold_scores_on_disk, rows_in, rows_on_disk
from benchmarks.measure import BenchmarkError
from benchmarks.report import disagreements
from benchmarks.settings import Settings
from fastprobe.embeddings import Submission

SMALL = Amounts(n=60, d=8, block=4, blocks=2, kills=3, worker_kills=2, tiny=12)


def quiet(line: str) -> None:
    """Log nothing."""


def settings_in(folder: Path, scale: float = 0.01) -> Settings:
    return Settings(
        scale=scale, repeat=1, budget=60.0, threads=2, peers=frozenset(), peer_folds=1, n_folds=3, cache=folder,
        neuco=None, log=quiet,
    )  # fmt: skip


# --- amounts and goals ----------------------------------------------------------------------------------------------


def test_full_size_is_what_the_goals_were_set_for() -> None:
    full = Amounts.of(1)
    assert full == Amounts(n=2000, d=256, block=100, blocks=10, kills=50, worker_kills=20, tiny=10_000)
    assert full.submissions == 1000
    assert full.matrix_bytes == 2000 * 256 * 4
    assert Amounts.of(1e-3).blocks == 2


def test_goals_are_told_and_counted_at_full_size_only() -> None:
    goals = Goals(1.0)
    assert goals.at_least(0.9, 0.85, "{:.0%}".format) == " (at least 85%: kept)"
    assert [check.agrees for check in goals.checks()] == [True]
    assert goals.at_most(3.1, 3.0, "{:g} s".format) == " (at most 3 s: missed)"
    (check,) = goals.checks()
    assert (check.difference, check.agrees) == (1.0, False)
    small = Goals(0.1)
    assert small.at_least(0.1, 0.85, str) == ""
    assert small.checks() == ()


def test_a_figure_that_is_no_number_keeps_no_goal() -> None:
    goals = Goals(1.0)
    goals.at_least(float("nan"), 0.85, str)
    goals.at_most(float("nan"), 3.0, str)
    assert goals.checks()[0].difference == 2.0


# --- data -----------------------------------------------------------------------------------------------------------


def test_submissions_differ_and_follow_from_their_shape(tmp_path: Path) -> None:
    made, again = Submissions.in_cache(tmp_path, 40, 8), Submissions.in_cache(tmp_path, 40, 8)
    assert made.folder == again.folder
    assert made.folder != Submissions.in_cache(tmp_path, 40, 9).folder
    assert np.array_equal(made.x(11), again.x(11))
    assert made.x(0).dtype == np.float32
    assert len({made.x(index).tobytes() for index in range(100)}) == 100


def test_blocks_are_files_that_are_written_once(tmp_path: Path) -> None:
    data = BulkData(SMALL, tmp_path)
    first, second = data.blocks(2)
    assert [path.stem for path in sorted(second.iterdir())] == [f"team-{i:05d}" for i in range(4, 8)]
    path = first / "team-00001.npz"
    submission = Submission.read(path)
    assert np.array_equal(submission.x, data.big.x(1))
    stamp = path.stat().st_mtime_ns
    assert BulkData(SMALL, tmp_path).blocks(1) == [first]
    assert path.stat().st_mtime_ns == stamp


def test_labels_are_regressions_and_one_classification_of_all_samples(tmp_path: Path) -> None:
    benchmark = BulkData(SMALL, tmp_path).big.benchmark
    assert [task.kind for task in benchmark.tasks] == ["regression"] * (N_TASKS - 1) + ["classification"]
    assert {len(task.ids) for task in benchmark.tasks} == {SMALL.n}
    assert benchmark.tasks[-1].y.mean() == pytest.approx(0.5)


def test_the_tiny_ones_are_the_same_in_a_store(tmp_path: Path) -> None:
    from fastprobe.runs import find_items

    data = BulkData(SMALL, tmp_path)
    files, stored = find_items([data.tiny_files()]), find_items([data.tiny_store()])
    assert [item.name for item in files] == [item.name for item in stored]
    assert [item.read().digest for item in files] == [item.digest for item in stored]


# --- rows -----------------------------------------------------------------------------------------------------------


def table(**values: list[float]) -> pa.Table:
    names = list(values)
    return pa.table({"submission": names, "task": ["t"] * len(names), "fold_scores": list(values.values())})


def test_differences_are_counted() -> None:
    wanted = rows_in([table(a=[0.1], b=[0.2])])
    assert Differences.between(wanted, wanted) == Differences()
    assert Differences.between(rows_in([table(b=[0.2]), table(a=[0.1])]), wanted) == Differences()
    assert Differences.between(rows_in([table(a=[0.1])]), wanted) == Differences(missing=1)
    assert Differences.between(rows_in([table(a=[0.1], b=[0.2]), table(b=[0.2])]), wanted) == Differences(surplus=1)
    assert Differences.between(rows_in([table(a=[0.1], b=[0.2], c=[0.3])]), wanted) == Differences(surplus=1)
    last_bit = float(np.nextafter(0.2, 1))
    assert Differences.between(rows_in([table(a=[0.1], b=[last_bit])]), wanted) == Differences(other=1)
    assert Differences.between(rows_in([table(a=[-0.0], b=[0.2])]), rows_in([table(a=[0.0], b=[0.2])])).other == 1
    nan = rows_in([table(a=[float("nan")])])
    assert Differences.between(nan, rows_in([table(a=[float("nan")])])) == Differences()


def test_differences_add_up_and_make_a_check_fail() -> None:
    assert Differences(1, 2, 3) + Differences(1, 0, 1) == Differences(2, 2, 4)
    assert Differences().check("scores").agrees
    check = Differences(1, 2, 3).check("the scores of a from those of b")
    assert not check.agrees
    assert check.difference == 6
    assert "1 missing, 2 too many, 3 other" in check.what


def test_rows_on_the_disk_are_read_file_by_file(tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    for name in ("one", "two"):
        pq.write_table(table(a=[0.5, 0.25]), tmp_path / "scores" / f"{name}.parquet")
    rows = rows_on_disk(tmp_path)
    assert Differences.between(rows, rows_in([table(a=[0.5, 0.25])])) == Differences(surplus=1)
    assert fold_scores_on_disk(tmp_path)["a, t"].tolist() == [0.5, 0.25]


# --- processes ------------------------------------------------------------------------------------------------------


def test_moments_are_spread_over_what_is_left() -> None:
    chance = random.Random(0)
    for pending in (0, 1, 2, 17, 200):
        for left in (1, 2, 50):
            drawn = {draw_moment(chance, pending, left) for _ in range(100)}
            assert drawn <= set(range(max(1, pending)))
    drawn = [draw_moment(chance, 200, 49) for _ in range(2000)]
    assert np.mean(drawn) == pytest.approx(200 / 50, rel=0.1)


SLEEPER = """
import json, multiprocessing, sys, time
def wait(): time.sleep(60)
if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=wait, daemon=True)
    child.start()
    for event in ({"event": "begun", "pending": 2}, {"event": "scored", "submission": "a"}):
        sys.stderr.write(json.dumps(event) + "\\n")
    sys.stderr.write("words of somebody else\\n{broken\\n")
    sys.stderr.flush()
    if sys.argv[1] == "wait":
        time.sleep(60)
    child.kill()
    if sys.argv[1] == "hang":
        time.sleep(60)
    sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def sleeper(tmp_path: Path) -> Callable[..., WatchedRun]:
    path = tmp_path / "sleeper.py"
    path.write_text(SLEEPER)
    return lambda how, **options: WatchedRun([sys.executable, str(path), how], **options)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="this system has no /proc")
def test_a_run_is_watched_and_its_workers_are_found(sleeper: Callable[..., WatchedRun]) -> None:
    with sleeper("wait") as process:
        events = process.events()
        assert next(events)["event"] == "begun"
        assert 0 < process.start_seconds < 60
        (worker,) = worker_processes(process.pid)  # and not the resource tracker
        assert worker not in (process.pid, os.getpid())
        assert peak_bytes(worker) > 1e6
        assert cpu_seconds(process.pid) > 0
        os.kill(worker, signal.SIGKILL)
        process.kill()
        assert not process.end()
    assert process.told == ["a"]
    assert (peak_bytes(process.pid), cpu_seconds(process.pid)) == (0, 0.0)


def test_a_run_that_hangs_is_ended(sleeper: Callable[..., WatchedRun]) -> None:
    with sleeper("hang", limit=1.0) as process, pytest.raises(BenchmarkError, match="1 submissions and did not end"):
        process.end()


def test_a_run_that_fails_says_why(sleeper: Callable[..., WatchedRun]) -> None:
    with sleeper("3") as process, pytest.raises(BenchmarkError, match=r"(?s)exit status 3 .*words of somebody else"):
        process.end()
    assert process.told == ["a"]


# --- cases ----------------------------------------------------------------------------------------------------------


def test_cases_are_chosen_by_patterns() -> None:
    bulk = ["bulk", "bulk-memory", "bulk-kills", "bulk-workers", "bulk-preflight"]
    assert _chosen(["bulk*", "read", "bulk-kills"]) == [*bulk, "read"]
    assert _chosen([]) == list(CASES)
    assert _chosen(["rigde"]) == []


@pytest.mark.slow  # a benchmark, with processes
def test_runs_give_what_the_engine_gives_in_memory(tmp_path: Path) -> None:
    found = throughput.run(settings_in(tmp_path))
    assert disagreements(found) == []
    assert len(found.checks) == 3
    assert [row.contestant for row in found.rows] == [
        "fastprobe, in memory, ridge", "run, .npz files, ridge", "run, store, ridge",
        "fastprobe, in memory, closed-form", "run, .npz files, closed-form",
    ]  # fmt: skip
    ratios = found.facts["ridge"]["run, .npz files"]["ratios"]
    assert len(ratios) == 2
    assert found.rows[1].ratio == pytest.approx(np.median(ratios))
    one = found.facts["a_submission"]
    assert one["npz_bytes"] > one["matrix_bytes"] == 60 * 8 * 4
    assert one["store_bytes"] > one["matrix_bytes"]
    assert min(one["score_bytes"], one["journal_bytes"], one["journal_s"]) > 0
    assert not list(tmp_path.glob("bulk-*/run*"))  # nothing is left but the submissions
    assert "kept" not in " ".join(found.findings)


@pytest.mark.slow  # a benchmark, with processes
def test_killed_runs_are_counted_and_compared(tmp_path: Path) -> None:
    found = kills.run(settings_in(tmp_path))
    assert disagreements(found) == []
    alone, killed = found.facts["left alone"], found.facts["killed"]
    assert [(life["killed"], life["begun"], life["lost"]) for life in alone] == [(False, 12, 0)]
    assert sum(life["killed"] for life in killed) == 4
    assert sum(life["told"] for life in killed) >= 12 - 4
    repeated = sum(life["begun"] for life in killed) - 12
    assert 0 <= repeated <= sum(life["lost"] for life in killed)
    assert found.rows[1].columns["repeated"] == str(repeated)


@pytest.mark.slow  # a benchmark, with processes
def test_memory_is_that_of_processes(tmp_path: Path) -> None:
    found = memory.run(settings_in(tmp_path))
    assert disagreements(found) == []
    assert [row.contestant for row in found.rows] == ["6 submissions", "12 submissions"]
    assert all(min(row.peak_bytes) > 50e6 for row in found.rows)


@pytest.mark.slow  # a benchmark, with processes
def test_nothing_is_pending_in_the_end(tmp_path: Path) -> None:
    found = preflight.run(settings_in(tmp_path))
    assert disagreements(found) == []
    assert [row.contestant for row in found.rows][3:] == [
        "plan_run, store", "fastprobe run --dry-run, store", "fastprobe run, store"
    ]  # fmt: skip


@pytest.mark.slow  # a benchmark, with processes
def test_workers_are_compared_and_killed(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    found = workers.run(settings_in(tmp_path))
    assert disagreements(found) == []
    rows = {row.contestant: row for row in found.rows}
    assert list(rows) == ["threads, no Dask", "1 worker", "2 workers", "3 workers", "3 workers, killed"]
    for name, count in (("threads, no Dask", 0), ("1 worker", 1), ("2 workers", 2), ("3 workers", 3)):
        (run,) = found.facts[name]
        assert len(run["worker_peaks"]) == count
        assert run["kills"] == 0
    assert found.facts["3 workers, killed"][0]["kills"] == 2
