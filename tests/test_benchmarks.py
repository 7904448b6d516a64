from __future__ import annotations

import csv
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.binary import BinaryTask, Hyperplanes, flips, make_binary, relative_difference
from benchmarks.cases import closed_form, kernel, logistic, sweep
from benchmarks.cases import neuco as neuco_case
from benchmarks.cases.process import scores_in
from benchmarks.csv_reader import READERS, digest
from benchmarks.csv_reader import main as read_csv
from benchmarks.machine import available_cores, can_limit_cores, describe, on_cores
from benchmarks.measure import BenchmarkError, Contestant, Outcome, Timing, race, run_process
from benchmarks.peers import kernel_refits, our_sweeps, ours, reading, sklearn_logistic, sklearn_ridge, sklearn_sweep
from benchmarks.peers.neuco import NeucoCheckout, NeucoRun, run_drop_in, run_linear_probe
from benchmarks.problem import inner_splits, largest_difference, make_problem, q_score, restrict, splits
from benchmarks.report import CaseReport, Check, Row, disagreements, tabulate, to_markdown, write_report
from benchmarks.settings import Settings
from benchmarks.sizes import SizeSample
from benchmarks.workload import GROUPS, TASKS, Workload, make_submission, make_workload, write_files
from fastprobe.embeddings import Submission
from fastprobe.tasks import Benchmark, Task

SCALE = 0.02
MACHINE = {
    "date": "2026-01-01T00:00:00+00:00",
    "revision": "0123456789abcdef",
    "modified": True,
    "cpu": "A processor",
    "cores": 2,
    "memory_gib": 8.0,
    "system": "Linux x86_64",
    "python": "3.11.0",
    "versions": {"numpy": "2.0.0", "himalaya": None},
    "blas": [{"user_api": "blas", "internal_api": "openblas", "version": "0.3", "architecture": "X", "num_threads": 2}],
}


@pytest.fixture(scope="module")
def workload() -> Workload:
    return make_workload(SCALE)


def quiet(line: str) -> None:
    """Log nothing."""


# --- workload -------------------------------------------------------------------------------------------------------


def test_full_size_is_that_of_the_e2s_data() -> None:
    assert sum(GROUPS.values()) == 13260
    assert len(TASKS) == 11


def test_scaled_workload_has_every_group_and_task(workload: Workload) -> None:
    n, d = workload.submission.x.shape
    assert d == round(1024 * SCALE)
    assert workload.submission.x.dtype == np.float32
    assert workload.submission.x.flags.c_contiguous
    tasks = {task.name: task for task in workload.benchmark.tasks}
    assert list(tasks) == sorted(TASKS)
    assert len(tasks["nodata"].y) == n == len(workload.benchmark.labelled_ids)
    assert len(tasks["landcover_forest"].y) == round(4691 * SCALE)
    # The groups are disjoint, and their order is the order of the rows.
    firsts = ["landcover_forest", "biomass_mean", "crops", "heatisland_mean", "clouds"]
    assert [i for name in firsts for i in tasks[name].ids.tolist()] == workload.submission.ids.tolist()
    assert [task.name for task in tasks.values() if task.kind == "classification"] == ["ships"]
    assert set(tasks["ships"].y.tolist()) == {0.0, 1.0}


def test_workload_follows_from_its_seed(workload: Workload) -> None:
    again, other = make_workload(SCALE), make_workload(SCALE, seed=1)
    digests = [task.digest for task in workload.benchmark.tasks]
    assert again.submission.digest == workload.submission.digest
    assert [task.digest for task in again.benchmark.tasks] == digests
    assert other.submission.digest != workload.submission.digest
    assert not set(digests) & {task.digest for task in other.benchmark.tasks}


def test_other_submissions_have_the_same_samples_and_other_values(workload: Workload) -> None:
    first, second = make_submission(SCALE, index=0), make_submission(SCALE, index=1)
    assert first.digest == workload.submission.digest
    assert first.name != second.name
    assert np.array_equal(first.ids, second.ids)
    assert not np.isclose(first.x, second.x).all(axis=1).any()


def test_embeddings_predict_the_labels_and_noise_does_not_have_any() -> None:
    scores = _refits(make_workload(0.1))
    assert scores["nodata"].mean() > 0.3
    assert scores["random"].mean() < 0.05


def _refits(workload: Workload) -> dict[str, np.ndarray]:
    from benchmarks.peers.sklearn_ridge import fold_scores

    return dict(fold_scores(make_problem(restrict(workload, ["nodata", "random"]), 40), 100.0, measured=3))


def test_files_read_back_bit_for_bit(workload: Workload, tmp_path: Path) -> None:
    files = write_files(workload, tmp_path)
    with files.csv.open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["id", *map(str, range(workload.submission.x.shape[1]))]
    assert [row[0] for row in rows] == workload.submission.ids.tolist()
    assert np.array_equal(np.array([row[1:] for row in rows]).astype(np.float32), workload.submission.x)
    assert len(list(files.labels.iterdir())) == len(TASKS)
    for task in workload.benchmark.tasks:
        with (files.labels / f"{task.name}__{task.kind}.csv").open(newline="") as file:
            labels = list(csv.DictReader(file))
        assert [row["id"] for row in labels] == task.ids.tolist()
        assert [float(row["label"]) for row in labels] == task.y.tolist()


def test_text_of_a_value_is_as_short_as_it_can_be(workload: Workload, tmp_path: Path) -> None:
    line = write_files(workload, tmp_path).csv.read_text().splitlines()[1]
    for text, value in zip(line.split(",")[1:], workload.submission.x[0], strict=True):
        digits = text.lstrip("-").split("e")[0].replace(".", "").strip("0")
        shortest = np.format_float_scientific(value, unique=True).lstrip("-").split("e")[0].replace(".", "").strip("0")
        assert digits == shortest


def test_files_are_reused_and_files_of_another_workload_are_not(workload: Workload, tmp_path: Path) -> None:
    files = write_files(workload, tmp_path)
    written = files.csv.stat().st_mtime_ns
    assert write_files(workload, tmp_path) == files
    assert files.csv.stat().st_mtime_ns == written
    fewer = restrict(workload, ["crops", "ships"])
    write_files(fewer, tmp_path)
    assert sorted(path.name for path in files.labels.iterdir()) == [
        "crops__regression.csv",
        "ships__classification.csv",
    ]


def test_files_that_an_interrupted_run_left_are_written_again(workload: Workload, tmp_path: Path) -> None:
    files = write_files(workload, tmp_path)
    whole = files.csv.read_bytes()
    files.csv.write_bytes(whole[:100])
    (tmp_path / "complete.json").unlink()
    write_files(workload, tmp_path)
    assert files.csv.read_bytes() == whole


@pytest.mark.parametrize("reader", READERS)
def test_readers_return_the_matrix_that_was_written(
    reader: str, workload: Workload, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if reader == "pandas":
        pytest.importorskip("pandas")
    read_csv(reader, str(write_files(workload, tmp_path).csv))
    found = json.loads(capsys.readouterr().out)
    assert found["digest"] == digest(workload.submission.x)
    assert found["shape"] == list(workload.submission.x.shape)
    assert found["seconds"] > 0


# --- problem --------------------------------------------------------------------------------------------------------


def test_tasks_with_the_same_samples_are_one_group(workload: Workload) -> None:
    problem = make_problem(workload, 40)
    names = sorted(group.names for group in problem.groups)
    assert names == [
        ("biomass_mean", "biomass_std", "ships"),
        ("clouds", "random"),
        ("crops",),
        ("heatisland_mean", "heatisland_std"),
        ("landcover_agriculture", "landcover_forest"),
        ("nodata",),
    ]
    ships = next(group for group in problem.groups if "ships" in group.names)
    assert ships.is_class == (False, False, True)
    assert set(ships.y[:, 2].tolist()) == {-1.0, 1.0}


def test_first_folds_are_those_of_the_full_run() -> None:
    for (train, test), (all_train, all_test) in zip(splits(50, 40, 3), splits(50, 40), strict=False):
        assert np.array_equal(train, all_train)
        assert np.array_equal(test, all_test)
    assert len(splits(50, 40, 3)) == 3


def test_difference_is_taken_over_common_folds_and_sees_nan() -> None:
    long, short = {"a": np.array([1.0, 2.0, 9.0])}, {"a": np.array([1.0, 2.5])}
    assert largest_difference(long, short) == 0.5
    assert np.isnan(largest_difference({"a": np.array([1.0, np.nan])}, short))
    with pytest.raises(ValueError, match="cannot be compared"):
        largest_difference(long, {"b": short["a"]})


def test_difference_from_a_large_reference_can_be_relative() -> None:
    scores, reference = {"a": np.array([0.5, -5.0])}, {"a": np.array([0.51, -4.0])}
    assert largest_difference(scores, reference) == 1.0
    assert largest_difference(scores, reference, relative_above=1.0) == 0.25
    assert largest_difference({"a": scores["a"][:1]}, reference, relative_above=1.0) == pytest.approx(0.01)
    assert largest_difference({"a": np.array([0.01])}, {"a": np.array([0.0])}, relative_above=0.0) == 0.01


# --- timing ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_contestants_take_turns_and_stop_at_their_budget() -> None:
    order: list[str] = []

    def contestant(name: str, **more: object) -> Contestant:
        def run() -> Outcome:
            order.append(name)
            return Outcome(seconds=2.0)

        return replace(Contestant(name, run), **more)

    entered = [contestant("a", scale=10.0), contestant("b", once=True), contestant("c", warm_up=True)]
    absent = contestant("d", missing="not installed (pip install d)")
    timings = race([*entered, absent], repeat=2, budget=60.0, log=quiet)
    assert order == ["c", "a", "b", "c", "a", "c"]
    assert timings["a"].seconds == (20.0, 20.0)
    assert timings["b"].seconds == (2.0,)
    assert timings["c"].cold_seconds == 2.0
    assert "d" not in timings
    order.clear()
    race([entered[0]], repeat=5, budget=0.0, log=quiet)
    assert order == ["a"]


def test_failure_names_the_contestant() -> None:
    def fail() -> Outcome:
        raise BenchmarkError("it broke")

    with pytest.raises(BenchmarkError, match="peer: it broke"):
        race([Contestant("peer", fail)], repeat=1, budget=1.0, log=quiet)


def test_peak_memory_of_a_process_is_its_own_and_not_that_of_the_benchmark() -> None:
    ballast = np.ones(40_000_000)
    small = run_process([sys.executable, "-I", "-S", "-c", "print('done')"], threads=1)
    large = run_process([sys.executable, "-I", "-S", "-c", "x = bytearray(b'x') * 200_000_000"], threads=1)
    assert small.stdout == "done\n"
    assert small.peak_bytes < 100e6 < ballast.nbytes
    assert 200e6 < large.peak_bytes < 300e6


@pytest.mark.skipif(not can_limit_cores(), reason="this system cannot keep a process on some of its cores")
def test_cores_are_limited_here_and_in_processes_and_given_back() -> None:
    count = [sys.executable, "-I", "-c", "import os; print(len(os.sched_getaffinity(0)))"]
    before = os.sched_getaffinity(0)
    with on_cores(1):
        assert available_cores() == 1
        assert subprocess.run(count, capture_output=True, text=True, check=True).stdout == "1\n"
    with on_cores(len(before) + 1):
        assert os.sched_getaffinity(0) == before
    assert os.sched_getaffinity(0) == before


def test_process_that_fails_says_why() -> None:
    with pytest.raises(BenchmarkError, match=r"exit status 3(?s:.*)last words"):
        run_process([sys.executable, "-c", "import sys; print('last words', file=sys.stderr); sys.exit(3)"], threads=1)


def test_scores_are_read_from_the_json_document() -> None:
    rows = [
        {"submission": "a", "task": "t", "fold_scores": [0.5, None]},
        {"submission": "b", "task": "t", "fold_scores": [0.25, 1.0]},
    ]
    found = scores_in(json.dumps({"scores": rows}))
    assert np.array_equal(found["a"]["t"], [0.5, np.nan], equal_nan=True)
    assert found["b"]["t"].tolist() == [0.25, 1.0]
    with pytest.raises(BenchmarkError, match="not the JSON document"):
        scores_in("Scores of team: 0.5")


# --- replay of NeuCo-Bench ------------------------------------------------------------------------------------------

MAIN = """
import json, sys
from pathlib import Path

options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
config = json.loads(Path(options["--config"]).read_text())
answer = json.loads(Path(__file__).with_name("answer.json").read_text())
run = Path(options["--output_dir"]) / "results" / (options["--method_name"] + "_20260101_000000")
for task, scores in answer["scores"].items():
    (run / task).mkdir(parents=True)
    shown = {"q_t": scores[: config["k_folds"]]} if config["output_fold_results"] else {}
    (run / task / f"{task}_result.json").write_text(json.dumps(shown))
mean = {task: sum(scores) / len(scores) for task, scores in answer["scores"].items()}
(run / "results_summary.json").write_text(json.dumps({"task_q_scores": answer["q"], "task_acc_scores": mean}))
"""
"""Stands in for NeuCo-Bench's main.py: the same options and files, answers from a file."""

FOLDS = 3


def checkout(folder: Path, scores: dict[str, np.ndarray], q: dict[str, float]) -> NeucoCheckout:
    (folder / "benchmark").mkdir(parents=True)
    (folder / "benchmark" / "main.py").write_text(MAIN)
    answer = {"scores": {task: values.tolist() for task, values in scores.items()}, "q": q}
    (folder / "benchmark" / "answer.json").write_text(json.dumps(answer))
    return NeucoCheckout(folder, Path(sys.executable))


@pytest.fixture(scope="module")
def replayed(workload: Workload) -> ours.Replayed:
    (found,) = ours.replay([workload.submission], workload.benchmark, FOLDS)
    return found


def test_neuco_bench_is_run_and_its_files_are_read(workload: Workload, tmp_path: Path) -> None:
    files = write_files(workload, tmp_path / "files")
    scores, q = {"a": np.array([0.5, -1.5]), "b": np.array([0.25, -np.inf])}, {"a": -10.0, "b": 2.5}
    peer = checkout(tmp_path / "neuco", scores, q)
    found = run_linear_probe(peer, files, n_folds=2, threads=1)
    assert {task: values.tolist() for task, values in found.scores.items()} == {"a": [0.5, -1.5], "b": [0.25, -np.inf]}
    assert found.q == q
    assert found.mean == {"a": -0.5, "b": -np.inf}
    assert found.process.seconds > 0
    with pytest.raises(BenchmarkError, match=r"no benchmark/main\.py"):
        run_linear_probe(replace(peer, folder=tmp_path), files, n_folds=2, threads=1)


@pytest.mark.slow
def test_drop_in_answers_as_in_memory(workload: Workload, replayed: ours.Replayed, tmp_path: Path) -> None:
    found = run_drop_in(write_files(workload, tmp_path), n_folds=FOLDS, threads=1)
    assert list(found.q) == sorted(TASKS)
    assert all(values.shape == (FOLDS,) for values in found.scores.values())
    assert largest_difference(found.scores, replayed.scores, relative_above=1.0) < 1e-6
    assert found.q == pytest.approx(replayed.q, rel=1e-6)
    assert found.process.peak_bytes > 50e6


def test_submissions_in_one_call_answer_as_alone(workload: Workload, replayed: ours.Replayed) -> None:
    other = make_submission(SCALE, index=1)
    second, first = ours.replay([other, workload.submission], workload.benchmark, FOLDS)
    assert largest_difference(first.scores, replayed.scores) == 0
    assert first.q == replayed.q
    assert largest_difference(second.scores, replayed.scores) > 0.01


def test_work_is_that_of_the_full_size() -> None:
    ids = np.array([f"{i:05d}" for i in range(sum(GROUPS.values()))])
    tasks = [
        Task.from_arrays(name, "regression", part, np.arange(len(part)))
        for name, group in TASKS.items()
        for part in [ids[: GROUPS[group]] if group else ids]
    ]
    submission = Submission.from_arrays("one column", ids, np.zeros((len(ids), 1), np.float32))
    work = neuco_case.work_of(Workload(submission, Benchmark.from_tasks(tasks), 1.0, 0), 40)
    assert work.steps == 40 * 10 * (2 * 66 + 3 * 34 + 48 + 2 * 24 + 2 * 17 + 187)
    assert 1024 * work.training_bytes == pytest.approx(57.3e9, rel=2e-3)
    assert work.held_out_bytes == 40 * 4 * sum(ceil(len(task.y) / 10) for task in tasks)


def test_floor_reads_the_training_rows_of_every_epoch(workload: Workload) -> None:
    pieces = reading.rows_of_draws(workload, FOLDS)
    assert len(pieces) == FOLDS * len(TASKS)
    row = workload.submission.x[0].nbytes
    assert sum(map(len, pieces)) * row == neuco_case.work_of(workload, FOLDS).training_bytes
    for task, rows in zip(np.repeat(np.array(workload.benchmark.tasks, dtype=object), FOLDS), pieces, strict=True):
        known, counts = np.unique(rows, return_counts=True)
        assert set(counts.tolist()) == {10}
        assert len(known) == len(task.y) - ceil(len(task.y) / 10)
        assert set(workload.submission.ids[known].tolist()) <= set(task.ids.tolist())
        first, second = rows.reshape(10, -1)[:2].tolist()
        assert first != second


def test_rows_in_order_begin_again_at_the_end() -> None:
    assert np.concatenate(reading.rows_in_order(5, 13, 2)).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1, 2]
    assert [len(piece) for piece in reading.rows_in_order(5, 13, 2)] == [3, 2, 3, 2, 2, 1]


def test_reading_adds_up_every_value() -> None:
    x = np.random.default_rng(0).integers(-9, 9, (30, 7)).astype(np.float32)
    pieces = [np.array([3, 3, 29], np.int32), np.array([0], np.int32), np.array([], np.int32)]
    assert reading.read(x, pieces, 2) == sum(x[rows].sum() for rows in pieces)


@pytest.mark.slow  # a benchmark, its peers included
def test_case_compares_with_neuco_bench(
    workload: Workload, replayed: ours.Replayed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def settings(neuco: NeucoCheckout | None) -> Settings:
        peers = frozenset({"neuco", "floor"})
        found = Settings(SCALE, 1, 60.0, 1, peers, 2, FOLDS, tmp_path / "cache", neuco, log=quiet)
        found.__dict__["workload"] = workload
        return found

    drop_in: Callable[..., NeucoRun] = lambda files, **more: NeucoRun(  # noqa: E731
        run_process([sys.executable, "-I", "-S", "-c", ""], threads=1), replayed.scores, replayed.q, {}
    )
    monkeypatch.setattr(neuco_case, "run_drop_in", drop_in)
    monkeypatch.setattr(neuco_case, "_STREAM_BYTES", 1 << 20)
    alone = neuco_case.run(settings(None))
    assert disagreements(alone) == []
    assert [row.difference for row in alone.rows[:3]] == [None, 0.0, 0.0]
    assert "--neuco-python" in next(row.note for row in alone.rows if row.contestant.startswith("NeuCo-Bench"))
    assert len(alone.checks) == 2
    assert not any("NeuCo-Bench took" in line for line in alone.findings)

    off = {task: values + (1e-3 if task == "crops" else 0.0) for task, values in replayed.scores.items()}
    peer = checkout(tmp_path / "off", off, {task: q * (1 + 3e-4) for task, q in replayed.q.items()})
    beside = neuco_case.run(settings(peer))
    assert [row.agrees for row in beside.rows] == [False, False, False, True, True, True]
    assert [check.agrees for check in beside.checks] == [False] * 3
    assert [check.difference for check in beside.checks] == pytest.approx([3e-4] * 3, rel=1e-3)
    assert any(line.startswith("measured in this run: NeuCo-Bench took") for line in beside.findings)
    assert beside.facts["work"]["steps"] == neuco_case.work_of(workload, FOLDS).steps


# --- logistic probes and kernel ridge --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ships() -> BinaryTask:
    return make_binary(make_problem(restrict(make_workload(0.05), ["ships"]), FOLDS).prepared(), "ships")


def test_gradient_is_that_of_the_objective(ships: BinaryTask) -> None:
    rng = np.random.default_rng(0)
    weights, intercept, alpha = rng.standard_normal(ships.x.shape[1]) / 9, 0.3, 2.0
    train, test = ships.folds[0]

    def objective(v: np.ndarray) -> float:
        margin = np.where(ships.truth[train], 1.0, -1.0) * (ships.x[train] @ v[1:] + v[0])
        return float(np.log1p(np.exp(-margin)).sum() + alpha / 2 * (v[1:] ** 2).sum())

    at, step = np.append(intercept, weights), 1e-5 * np.eye(len(weights) + 1)
    slopes = [(objective(at + e) - objective(at - e)) / 2e-5 for e in step]
    found = Hyperplanes(weights[None], np.array([intercept]))
    # a central difference over 1e-5 of an objective of about 100: rounding of 1e-14 / 1e-5 a slope, curvature less
    assert ships.gradient_norms(found, alpha) == pytest.approx([np.linalg.norm(slopes)], rel=1e-6)
    assert ships.decisions(found)[0] == pytest.approx(ships.x[test] @ weights + intercept)
    assert len(found) == 1


def test_decisions_are_compared_by_fold() -> None:
    reference = np.array([[10.0, -1.0], [0.1, -0.5]])
    found = reference + np.array([[0.5, 0.0], [-0.2, 0.0]])
    assert relative_difference(found, reference) == pytest.approx(0.2)  # 0.5 of 10, and 0.2 where at least 1 counts
    assert flips(found, reference) == 1
    assert flips(reference, reference) == 0


def test_hyperplanes_are_scikit_learn_s(ships: BinaryTask) -> None:
    for c in logistic.COSTS:
        mine, theirs = ours.hyperplanes(ships, 1 / c), sklearn_logistic.exact(ships, c, FOLDS)
        assert len(mine) == FOLDS
        difference = relative_difference(ships.decisions(mine), ships.decisions(theirs))
        assert difference < logistic.TOLERANCE_OF_DECISIONS
        assert len(mine.first(2)) == 2


def test_tolerance_is_tightened_as_far_as_it_helps(ships: BinaryTask) -> None:
    def norms(tol: float) -> np.ndarray:
        return ships.gradient_norms(sklearn_logistic.refit(ships, 1.0, "lbfgs", tol, 2), 1.0)

    goals = norms(1e-6)
    found = sklearn_logistic.tightened(ships, 1.0, "lbfgs", goals)
    assert found == 1e-6
    assert (norms(1e-4) > goals).any()
    out_of_reach = sklearn_logistic.tightened(ships, 1.0, "lbfgs", np.zeros(2))
    assert out_of_reach < 1e-6
    assert norms(out_of_reach / 100).max() > norms(out_of_reach).max() / 2


def test_inner_splits_keep_held_out_samples_apart() -> None:
    folds = splits(60, 5)
    found = list(inner_splits(folds, 0))
    blocks = zip((4, 1, 3, 2), found, strict=True)
    assert all(set(validation) <= set(folds[k][1]) for k, (_, validation) in blocks)
    for inner, validation in found:
        assert not set(inner) & set(validation)
        assert not (set(inner) | set(validation)) & set(folds[0][1])
        assert len(inner) + len(validation) <= len(folds[0][0])


@pytest.fixture(scope="module")
def landcover() -> kernel_refits.Lifted:
    problem = make_problem(restrict(make_workload(0.02), kernel.TASKS), FOLDS)
    return kernel_refits.make_kernels(problem.prepared())


def test_kernel_refits_agree(landcover: kernel_refits.Lifted) -> None:
    alphas = (0.01, 1.0, 100.0)
    # a kernel with eigenvalues of at most n = 94 and strengths from 0.01 on: a condition number of 1e4
    by_scipy = kernel_refits.by_scipy(landcover, alphas, FOLDS)
    assert {scores.shape for scores in by_scipy.values()} == {(len(alphas), FOLDS)}
    assert largest_difference(kernel_refits.by_sklearn(landcover, alphas, FOLDS), by_scipy) < 1e-10
    assert largest_difference(ours.kernel_path_scores(landcover.problem, alphas), by_scipy) < 1e-10


def test_landmarks_are_those_of_fastprobe_and_all_of_them_are_the_kernel(landcover: kernel_refits.Lifted) -> None:
    alphas, n = (0.1, 10.0), len(landcover.matrices[0])
    some, every = (kernel_refits.make_nystroem(landcover.problem, count) for count in (20, n))
    found = kernel_refits.by_sklearn_nystroem(some, alphas, FOLDS)
    assert largest_difference(ours.kernel_path_scores(landcover.problem, alphas, 20), found) < 1e-9
    exact = kernel_refits.by_scipy(landcover, alphas, FOLDS)
    assert largest_difference(kernel_refits.by_sklearn_nystroem(every, alphas, FOLDS), exact) < 1e-9
    assert largest_difference(found, exact) > 1e-3


def small_settings(workload: Workload, folder: Path) -> Settings:
    found = Settings(SCALE, 1, 60.0, 1, frozenset({"sklearn"}), 2, FOLDS, folder, None, log=quiet)
    found.__dict__["workload"] = workload
    return found


@pytest.mark.slow  # a benchmark, its peers included
def test_logistic_case_compares_and_counts(workload: Workload, tmp_path: Path) -> None:
    found = logistic.run(small_settings(workload, tmp_path))
    assert disagreements(found) == []
    rows = {row.contestant: row for row in found.rows}
    assert len(rows) == 3 + 3 + 6
    for c in ("1", "0.01", "100"):
        mine, theirs = rows[f"fastprobe, C = {c}"], rows[f"scikit-learn lbfgs, C = {c}"]
        assert mine.columns.keys() == theirs.columns.keys() == {"gradient norm", "F1 flips", "Q of these folds"}
        assert mine.median_seconds is not None
        assert theirs.median_seconds is not None
        assert theirs.ratio == pytest.approx(theirs.median_seconds / mine.median_seconds)
        assert theirs.scale == FOLDS / 2
    assert len(found.facts["gradient_norms"]["1"]) == FOLDS
    assert not any("aim" in line for line in found.findings), "goals were set for the full size"
    lines = to_markdown(found, MACHINE, {}).splitlines()
    header = next(line for line in lines if line.startswith("| contestant"))
    assert header.endswith("| largest difference | gradient norm | F1 flips | Q of these folds | note |")


@pytest.mark.slow  # a benchmark, its peers included
def test_kernel_case_agrees(workload: Workload, tmp_path: Path) -> None:
    found = kernel.run(small_settings(workload, tmp_path))
    assert disagreements(found) == []
    assert [row.difference is None for row in found.rows] == [False, True, False, True, False, True]


@pytest.mark.slow  # a benchmark, its peers included
def test_closed_form_case_agrees_with_nested_loops(workload: Workload, tmp_path: Path) -> None:
    found = closed_form.run(small_settings(workload, tmp_path))
    assert disagreements(found) == []
    assert [row.difference is None for row in found.rows] == [False, False, False, True]
    assert found.rows[1].median_peak_bytes is not None


def test_q_is_that_of_the_score_table(workload: Workload) -> None:
    answer = ours.solve(restrict(workload, ["ships"]), 1.0, FOLDS, protocol="logistic")
    assert answer.records["ships"].q == pytest.approx(q_score(answer.scores["ships"]))
    assert answer.routes == {"ships": "newton"}


# --- sweeps ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def biomass(workload: Workload) -> Workload:
    return sweep.alone(workload, sweep.TASKS)


def test_sizes_of_a_sample_stand_for_all() -> None:
    sample = SizeSample.spread(1024, 8)
    assert sample.sizes.tolist() == [1, 147, 293, 439, 586, 732, 878, 1024]
    assert sample.weights.sum() == pytest.approx(1024)
    assert sample.total(3.0 + 0.5 * sample.sizes) == pytest.approx(sum(3.0 + 0.5 * s for s in range(1, 1025)))
    for power, excess in ((2, 1 / (2 * 7**2)), (3, 1 / 7**2)):  # as its documentation says
        exact = sum(float(s) ** power for s in range(1, 1025))
        assert sample.total(sample.sizes.astype(float) ** power) / exact - 1 == pytest.approx(excess, rel=0.02)
    every = SizeSample.spread(5, 8)
    assert every.sizes.tolist() == [1, 2, 3, 4, 5]
    assert every.total([1.0, 2.0, 3.0, 4.0, 5.0]) == 15.0
    assert every.share == 1.0


def test_tasks_alone_have_no_other_samples(workload: Workload, biomass: Workload) -> None:
    (group,) = make_problem(biomass, FOLDS).groups
    assert group.names == sweep.TASKS
    assert np.array_equal(group.rows, np.arange(len(biomass.submission.ids)))
    whole = dict(zip(workload.submission.ids.tolist(), workload.submission.x, strict=True))
    assert np.array_equal(biomass.submission.x, [whole[i] for i in biomass.submission.ids.tolist()])
    assert np.array_equal(biomass.benchmark.labelled_ids, biomass.submission.ids)


@pytest.mark.slow
def test_leading_dimensions_are_scored_as_in_a_sweep(biomass: Workload) -> None:
    sizes = np.array([1, 7, 20])
    found = our_sweeps.scores_in(our_sweeps.sweep(biomass, FOLDS, sizes=sizes.tolist(), alpha=3.0), sizes)
    for s, size in enumerate(sizes.tolist()):
        part = our_sweeps.leading(biomass, size, 3.0)
        assert part.workload.submission.x.shape == (len(biomass.submission.ids), size)
        # float64, condition number at most 1 + n d / alpha = 330: a rounding error of 1e-13 with room for sums
        assert largest_difference(part.scores(FOLDS), {name: v[s] for name, v in found.items()}) < 1e-12


def test_scores_are_taken_out_of_the_table_by_size_and_value(biomass: Workload) -> None:
    table = our_sweeps.sweep(biomass, FOLDS, sizes="all", alphas=[1.0, 10.0, 100.0])
    found = our_sweeps.scores_in(table, np.array([2, 20]), "alpha", (100.0, 1.0))
    assert found.keys() == set(sweep.TASKS)
    for name, scores in found.items():
        assert scores.shape == (2, 2, FOLDS)
        for a, alpha in enumerate((100.0, 1.0)):
            for s, size in enumerate((2, 20)):
                (row,) = table.select(task=name, alpha=alpha, size=size)
                assert scores[a, s].tolist() == row["fold_scores"]


def test_refits_of_all_dimensions_are_those_of_the_ridge_case(biomass: Workload) -> None:
    problem = make_problem(biomass, FOLDS).prepared()
    d = problem.x.shape[1]
    found = sklearn_sweep.refit(problem, 3.0, [5, d], FOLDS)
    wanted = sklearn_ridge.fold_scores(problem, 3.0)
    last = {name: by_size[-1] for name, by_size in found.scores.items()}
    assert largest_difference(last, wanted) < 1e-12
    assert largest_difference({name: by_size[0] for name, by_size in found.scores.items()}, wanted) > 1e-3
    # a rotation of all dimensions changes nothing
    turned = sklearn_sweep.refit(problem, 3.0, [d], FOLDS, components=True).scores
    assert largest_difference({name: by_size[0] for name, by_size in turned.items()}, wanted) < 1e-12
    assert found.seconds.shape == (2,)
    assert (found.seconds > 0).all()


@pytest.mark.slow  # a benchmark, its peers included
def test_sweep_case_agrees_and_scales_up(workload: Workload, tmp_path: Path) -> None:
    found = sweep.run(small_settings(workload, tmp_path))
    assert disagreements(found) == []
    rows = {row.contestant: row for row in found.rows}
    assert [row.difference is None for row in found.rows] == [False] * 9 + [True]
    d = workload.submission.x.shape[1]
    singly, refits = rows["fastprobe, size after size"], rows["scikit-learn, size after size"]
    assert singly.scale == d / sweep.SAMPLED
    assert refits.scale == d / sweep.SAMPLED * FOLDS / 2
    for row, share in ((singly, 1.0), (refits, FOLDS / 2)):
        by_size = found.facts[row.contestant]["seconds_by_size"]
        assert list(by_size) == found.facts["sizes"]
        assert row.seconds[-1] == pytest.approx(share * np.dot(found.facts["weights"], list(by_size.values())))
    counts = {name: found.facts[name]["rows"] for name in rows if name in found.facts and name.startswith("fastprobe,")
              and "rows" in found.facts[name]}  # fmt: skip
    per_size = {"fastprobe, all sizes": 2, "fastprobe, all sizes, 10 strengths": 20, "fastprobe, all sizes, auto": 2,
                "fastprobe, all sizes, principal components": 2, "fastprobe, all sizes, 6 bit widths": 12,
                "fastprobe, all sizes, 5 fractions": 10, "fastprobe, all sizes, all 11 tasks": 11}  # fmt: skip
    assert counts == {name: count * d for name, count in per_size.items()}
    assert not any("kept" in line or "missed" in line for line in found.findings), "goals were set for the full size"


def test_goals_of_the_sweep_are_told() -> None:
    assert sweep._goal(4.9, full=True, at_most=5) == " (at most 5: kept)"
    assert sweep._goal(5.1, full=True, at_most=5) == " (at most 5: missed)"
    assert sweep._goal(99.0, full=True, at_least=100) == " (at least 100: missed)"
    assert sweep._goal(101.0, full=True, at_least=100) == " (at least 100: kept)"
    assert sweep._goal(1.0, full=False, at_least=100) == ""


# --- report ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def report() -> CaseReport:
    def nothing() -> Outcome:
        return Outcome()

    contestants = [
        Contestant("ours", nothing, tolerance=1e-8),
        Contestant("peer", nothing, scale=10.0, note="measured on 4 of 40 folds", tolerance=1e-8),
        Contestant("rough", nothing),
        Contestant("absent", nothing, missing="not installed (pip install absent)"),
    ]
    exact = {"task": np.array([0.5, 0.25])}
    timings = {
        "ours": Timing((1.0, 3.0, 2.0), scores=exact, peak_bytes=(2**20, 3 * 2**20)),
        "peer": Timing((40.0,), scores={"task": np.array([0.5, 0.25 + 1e-6])}),
        "rough": Timing((8.0,), scores={"task": np.array([0.5, 0.26])}),
    }
    rows = tabulate(contestants, timings, baseline="ours", references=dict.fromkeys(timings, exact))
    return CaseReport("case", "A case", "What it measures.", "ours", rows, ("ours is faster",), {"more": [1, 2]})


def test_rows_have_medians_ratios_and_differences(report: CaseReport) -> None:
    ours, peer, rough, absent = report.rows
    assert (ours.median_seconds, ours.ratio, ours.difference) == (2.0, 1.0, 0.0)
    assert ours.median_peak_bytes == 2 * 2**20
    assert (peer.ratio, peer.scale) == (20.0, 10.0)
    assert peer.difference == pytest.approx(1e-6, rel=1e-6)
    assert rough.agrees
    assert absent == Row("absent", note="not installed (pip install absent)")


def test_a_contestant_may_have_a_baseline_of_its_own() -> None:
    contestants = [Contestant(name, Outcome) for name in ("ours", "theirs", "slow")]
    timings = {"ours": Timing((1.0,)), "theirs": Timing((4.0,)), "slow": Timing((8.0,))}
    rows = tabulate(contestants, timings, baseline="ours", references={}, baselines={"slow": "theirs"})
    assert [row.ratio for row in rows] == [1.0, 4.0, 2.0]


def test_more_columns_stand_before_the_note(report: CaseReport) -> None:
    ours, peer, *_ = report.rows
    more = replace(report, rows=(ours, replace(peer, columns={"norm": "1e-9"})))
    lines = [line for line in to_markdown(more, MACHINE, {}).splitlines() if line.startswith("|")]
    assert lines[0].endswith("| largest difference | norm | note |")
    assert lines[1].endswith("|---:|---:|---|")
    assert lines[2].endswith("| 0.0e+00 |  |  |")
    assert "| 1e-9 | measured on" in lines[3]


def test_only_expected_agreement_can_fail(report: CaseReport) -> None:
    (line,) = disagreements(report)
    assert line.startswith("case: peer is 1e-06 off its reference")


def test_nan_never_agrees(report: CaseReport) -> None:
    lost = replace(report, rows=(Row("ours", difference=float("nan"), tolerance=1e-8),))
    assert len(disagreements(lost)) == 1


def test_checks_are_told_and_can_fail(report: CaseReport) -> None:
    checks = (Check("Q", 2e-6, 1e-4), Check("weights", 0.5, 1e-4), Check("lost", float("nan"), 1e-4))
    checked = replace(report, checks=checks)
    assert disagreements(checked)[1:] == [
        "case: largest difference of weights: 5.0e-01, more than 1e-04",
        "case: largest difference of lost: nan, more than 1e-04",
    ]
    lines = to_markdown(checked, MACHINE, {}).splitlines()
    assert "- largest difference of Q: 2.0e-06, within 1e-04" in lines
    assert "- largest difference of weights: 5.0e-01, more than 1e-04 **DISAGREES**" in lines


def test_markdown_shows_every_contestant(report: CaseReport) -> None:
    text = to_markdown(report, MACHINE, {"scale": 1.0})
    lines = text.splitlines()
    header = next(line for line in lines if line.startswith("| contestant"))
    rows = {line.split(" | ")[0].strip("| "): line for line in lines if line.startswith("| ") and line != header}
    assert list(rows) == ["ours", "peer", "rough", "absent"]
    assert all(line.count("|") == header.count("|") for line in rows.values())
    assert "| 2.00 | 1.00 to 3.00 | 3 | 1 | 2 | 0.0e+00 |" in rows["ours"]
    assert "≈ 40.00" in rows["peer"]
    assert "Baseline: ours. A time with ≈" in text
    assert "**DISAGREES**" in rows["peer"]
    assert "DISAGREES" not in rows["rough"]
    assert "pip install absent" in rows["absent"]
    assert "- ours is faster" in lines
    assert "himalaya" not in text
    assert "0123456789ab with changes" in text


def test_columns_without_a_value_are_left_out(report: CaseReport) -> None:
    text = to_markdown(replace(report, rows=(Row("ours", (1.0,), 1.0, 1.0),)), MACHINE, {})
    assert "| contestant | seconds (median) | runs | times baseline |" in text
    assert "≈" not in text


def test_report_is_written_whole(report: CaseReport, tmp_path: Path) -> None:
    lost = replace(report, rows=(*report.rows, Row("lost", difference=float("nan"))))
    write_report(lost, MACHINE, {"scale": 1.0}, tmp_path / "results" / "case")
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["case.json", "case.md"]
    document = json.loads((tmp_path / "results" / "case.json").read_text())
    assert document["machine"] == MACHINE
    assert document["case"]["rows"][0]["seconds"] == [1.0, 3.0, 2.0]
    assert document["case"]["rows"][-1]["difference"] == "NaN"
    assert document["case"]["facts"] == {"more": [1, 2]}
    assert (tmp_path / "results" / "case.md").read_text() == to_markdown(lost, MACHINE, {"scale": 1.0})


def test_machine_is_described_without_its_name_and_folders() -> None:
    machine = describe()
    text = json.dumps(machine)
    assert not re.search(rf"\b{re.escape(platform.node())}\b", text)
    assert str(Path(sys.prefix)) not in text
    assert str(Path(__file__).parents[1]) not in text
    assert machine["versions"]["numpy"] == np.__version__
    assert machine["blas"]


# --- command line ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["rigde"], "no case 'rigde'; there are ridge, path"),
        (["--neuco", "checkout"], "--neuco and --neuco-python go together"),
        (["--peers", "sklern"], "'sklern' is none of sklearn"),
        (["--repeat", "0"], "0 is less than 1"),
    ],
)
def test_wrong_options_are_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
