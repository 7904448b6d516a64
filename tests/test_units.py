"""Sample groups and the probes of their tasks: who scores what, what is shared, what is left out."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pytest
from problems import make

from fastprobe import Benchmark, FoldSpec, InputError, Protocol, Submission, Task, score, score_protocols
from fastprobe.backend import get_backend
from fastprobe.engine import score_path
from fastprobe.folds import make_folds
from fastprobe.planner import ROUTE_NAMES
from fastprobe.probes.ridge import RidgeProblem, solve

BACKEND = get_backend("cpu", threads=2)
N = 120
IDS = np.array([f"s{i:03d}" for i in range(N)])


@pytest.fixture(scope="module")
def submission() -> Submission:
    return Submission("team", IDS, np.random.default_rng(0).standard_normal((N, 5)) + 2.0)


@pytest.fixture(scope="module")
def benchmark(submission: Submission) -> Benchmark:
    """Two halves with both kinds of tasks each, and a regression and three classes on all samples."""
    rng = np.random.default_rng(1)
    target = submission.x @ rng.standard_normal(5) + rng.standard_normal(N)
    tasks = []
    for name, rows in (("low", np.arange(N // 2)), ("high", np.arange(N // 2, N))):
        tasks += [
            Task(f"{name}_regression", "regression", IDS[rows], target[rows]),
            Task.from_arrays(f"{name}_cls", "classification", IDS[rows].tolist(), target[rows] > np.median(target)),
        ]
    tasks.append(Task("all_regression", "regression", IDS, -target))
    thirds = np.digitize(target, np.quantile(target, [1 / 3, 2 / 3]))
    tasks.append(Task.from_arrays("all_cls", "classification", IDS.tolist(), thirds))
    return Benchmark.from_tasks(tasks)


def test_closed_form_is_ridge_for_regression_and_logistic_for_classification(
    submission: Submission, benchmark: Benchmark
) -> None:
    closed, ridge, logistic = score_protocols(
        [submission],
        benchmark,
        protocols=[
            Protocol.named(name).with_options(alpha="auto", folds=4) for name in ("closed-form", "ridge", "logistic")
        ],
        device=BACKEND,
    )
    assert [row.task for row in closed.rows] == [task.name for task in benchmark.tasks]
    assert [row.task for row in logistic.rows] == [t.name for t in benchmark.tasks if t.kind == "classification"]
    for row in closed.rows:
        same = (ridge if row.kind == "regression" else logistic).get("team", row.task)
        assert same is not None
        assert row.fold_scores == pytest.approx(same.fold_scores, abs=1e-9)
        assert (row.fold_alphas, row.route, row.metric) == (same.fold_alphas, same.route, same.metric)
        assert (row.protocol_name, row.protocol_hash) == ("closed-form", closed.protocol["hash"])
    assert {row.metric for row in closed.rows} == {"r2", "f1", "macro_f1"}


def test_logistic_leaves_out_regression_and_says_so_in_one_line(
    submission: Submission, benchmark: Benchmark, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        scores = score([submission], benchmark, protocol="logistic", alpha=1.0, folds=4)
    assert {row.kind for row in scores.rows} == {"classification"}
    (line,) = [record.getMessage() for record in caplog.records if "leaves out" in record.getMessage()]
    assert line.endswith("all_regression, high_regression, low_regression")


def test_what_is_left_out_asks_nothing_of_a_submission(submission: Submission, benchmark: Benchmark) -> None:
    half = Submission("half", IDS[: N // 2], submission.x[: N // 2])
    tasks = benchmark.select(["low_cls", "all_regression"])
    (row,) = score([half], tasks, protocol="logistic", alpha=1.0, folds=4).rows
    assert (row.task, row.n_samples) == ("low_cls", N // 2)
    with pytest.raises(InputError, match="no embedding for 60 of 120"):
        score([half], tasks, alpha=1.0, folds=4)


def test_logistic_without_a_classification_is_an_error(submission: Submission, benchmark: Benchmark) -> None:
    with pytest.raises(InputError, match="no classification among the 1 tasks"):
        score([submission], benchmark.select(["all_regression"]), protocol="logistic")


def test_a_route_needs_a_task_that_ridge_scores(submission: Submission, benchmark: Benchmark) -> None:
    with pytest.raises(InputError, match="which has none for these tasks"):
        score([submission], benchmark.select(["all_cls"]), route="direct")
    for route in ("direct", "dual"):
        rows = score([submission], benchmark, alpha=1.0, folds=3, route=route).rows
        assert {row.route for row in rows if row.kind == "regression"} == {route}


@pytest.mark.parametrize("protocol", ["closed-form", "ridge", "logistic", "kernel"])
def test_a_path_is_each_of_its_strengths(submission: Submission, benchmark: Benchmark, protocol: str) -> None:
    alphas, options = [0.1, 30.0], {"protocol": protocol, "folds": 4, "device": BACKEND}
    for alpha, scores in zip(alphas, score_path([submission], benchmark, alphas=alphas, **options), strict=True):
        single = score([submission], benchmark, alpha=alpha, **options)
        assert scores.protocol == single.protocol
        for row, wanted in zip(scores.rows, single.rows, strict=True):
            assert row.fold_scores == pytest.approx(wanted.fold_scores, abs=1e-9)
            assert (row.fold_alphas, row.fold_kernels) == ((alpha,) * 4, wanted.fold_kernels)
            assert row.protocol_hash == wanted.protocol_hash


class CountingGrams:
    """The CPU, with a note of how many rows went into every Gram matrix."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def __getattr__(self, name: str):
        return getattr(BACKEND, name)

    def gram(self, design):
        self.rows.append(design.shape[0])
        return BACKEND.gram(design)


def test_gram_matrices_of_parts_make_that_of_the_whole(submission: Submission, benchmark: Benchmark) -> None:
    """Where ridge needed those of all parts; a part that only other probes worked on has none to give."""
    backend = CountingGrams()
    options = {"alpha": 1.0, "folds": 4, "route": "downdate", "device": backend}
    found = {row.task: row for row in score([submission], benchmark, **options).rows}
    assert sorted(backend.rows) == [N // 2, N // 2]
    backend.rows.clear()
    names = ["low_cls", "low_regression", "high_cls", "all_regression"]
    rows = score([submission], benchmark.select(names), **options).rows
    assert sorted(backend.rows) == [N // 2, N]
    for row in rows:
        assert row.fold_scores == pytest.approx(found[row.task].fold_scores, abs=1e-9)


def test_units_are_the_sample_groups(submission: Submission, benchmark: Benchmark) -> None:
    """However many probes work on a group."""
    seen: list[tuple[str, int, int]] = []
    score([submission], benchmark, alpha=1.0, folds=3, progress=lambda *event: seen.append(event))
    assert seen == [("team", i, 3) for i in (1, 2, 3)]


def test_the_first_reason_of_a_fold_is_kept() -> None:
    """A solve that failed is named before labels that allow no score."""
    y = np.zeros(40)
    y[:3] = 1
    rare = Task("rare", "classification", IDS[:40], y, classes=(0.0, 1.0))
    x = np.random.default_rng(2).standard_normal((40, 3))
    for protocol in ("closed-form", "ridge", "kernel"):
        (row,) = score(
            [Submission("a", IDS[:40], x)], Benchmark.from_tasks([rare]), protocol=protocol, alpha=1.0, folds=12
        ).rows
        empty = [not y[rows].any() for rows in make_folds(FoldSpec(n_folds=12), rare.ids, y, "classification").held_out]
        assert [reason is not None for reason in row.fold_reasons] == empty
        assert {reason for reason in row.fold_reasons if reason} == {"held-out labels are of one class"}
        assert [value is None for value in row.fold_scores] == empty


@pytest.mark.parametrize("route", ROUTE_NAMES)
def test_threads_that_lanes_share_ask_no_problem_for_what_it_computes(route: str) -> None:
    """It would be computed by these very threads, while one lane keeps all others waiting for it."""
    drawn = make("small", 60, 8, 2, alpha=1.0, folds=6)

    class Watched(RidgeProblem):
        def __getattribute__(self, name: str):
            if name in ("gram", "cross", "spectrum", "kernel", "kernel_scale", "kernel_spectrum"):
                assert threading.current_thread() is threading.main_thread(), name
            return super().__getattribute__(name)

    with BACKEND.session():
        for alphas in ([1.0], [0.1, 1.0]):
            problem = Watched(BACKEND, BACKEND.design(drawn.x, np.arange(60)), drawn.y)
            assert not solve(problem, drawn.held_out, alphas, route).failed.any()
