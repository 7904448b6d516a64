"""The engine: exact on real data against scikit-learn, by any route and batch; records, failures, memory."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import f1_score, r2_score
from sklearn.model_selection import ShuffleSplit

from fastprobe import Benchmark, FoldSpec, InputError, Protocol, Submission, Task, score, score_arrays
from fastprobe.engine import score_path
from fastprobe.planner import ROUTE_NAMES
from fastprobe.protocol import ALPHA_GRID

REAL = [
    ("presto", "trained"),
    ("presto", "untrained"),
    ("presto", "rawbands"),
    ("alphaearth", "alphaearth"),
]
ALPHAS = [0.01, 1.0, 100.0, 1e4]


@cache
def load(folder: Path, name: str) -> tuple[Submission, Benchmark]:
    return Submission.read(folder / "submissions" / f"{name}.npz"), Benchmark.from_folder(folder / "labels")


@cache
def refits(folder: Path, name: str, alpha: float, n_folds: int) -> dict[str, list[float]]:
    """Score the first folds of every task by float64 refits of scikit-learn's Ridge."""
    submission, benchmark = load(folder, name)
    row_of = {sample: row for row, sample in enumerate(submission.ids.tolist())}
    x = submission.x.astype(np.float64)
    labelled = x[[row_of[i] for i in benchmark.labelled_ids.tolist()]]
    x = (x - labelled.mean()) / labelled.std()
    scores: dict[str, list[float]] = {}
    assert len({tuple(task.ids) for task in benchmark.tasks}) == 1  # one multi-output fit serves all tasks
    rows = np.array([row_of[i] for i in benchmark.tasks[0].ids.tolist()])
    y = np.stack([2 * t.y - 1 if t.kind == "classification" else t.y for t in benchmark.tasks], axis=1)
    splits = ShuffleSplit(40, test_size=0.1, random_state=42).split(rows)
    for train, test in [split for split, _ in zip(splits, range(n_folds), strict=False)]:
        predicted = Ridge(alpha=alpha).fit(x[rows[train]], y[train]).predict(x[rows[test]])
        for j, task in enumerate(benchmark.tasks):
            truth = y[test, j]
            value = (
                r2_score(truth, predicted[:, j])
                if task.kind == "regression"
                else f1_score(truth > 0, predicted[:, j] > 0)
            )
            scores.setdefault(task.name, []).append(value)
    return scores


def assert_exact(folder: Path, name: str, alpha: float, n_folds: int, **options) -> None:
    """Fold scores within 1e-9, and Q within 1e-7 where all folds are refitted: what the project promises."""
    submission, benchmark = load(folder, name)
    wanted = refits(folder, name, alpha, n_folds)
    for row in score([submission], benchmark, protocol="ridge", alpha=alpha, device="cpu", **options).rows:
        assert row.n_failed == 0
        assert row.n_refactorised == 0
        refit = np.array(wanted[row.task])
        assert np.abs(np.array(row.fold_scores[:n_folds]) - refit).max() < 1e-9, row.task
        if n_folds == 40:
            q = 2 * refit.mean() / (refit.std() + 0.02)
            assert abs(row.q - q) < 1e-7, row.task


@pytest.mark.parametrize("alpha", [0.01, 100.0])
@pytest.mark.parametrize(("dataset", "name"), REAL)
def test_exact_on_real_data(data: Path, dataset: str, name: str, alpha: float) -> None:
    """All folds where refits are cheap; other folds of the wide embeddings, and strengths, are in the slow test."""
    assert_exact(data / dataset, name, alpha, n_folds=40 if name in ("rawbands", "alphaearth") else 4)


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTE_NAMES)
@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("dataset", "name"), REAL)
def test_exact_on_real_data_all_folds_all_routes(data: Path, dataset: str, name: str, alpha: float, route: str) -> None:
    assert_exact(data / dataset, name, alpha, n_folds=40, route=route)


@pytest.mark.parametrize("alpha", [0.01, 100.0])
def test_routes_agree_on_real_data(data: Path, alpha: float) -> None:
    submission, benchmark = load(data / "presto", "trained")
    benchmark = benchmark.select(["slope", "dw_trees"])
    by_route = [
        score([submission], benchmark, protocol="ridge", alpha=alpha, folds=6, route=route) for route in ROUTE_NAMES
    ]
    for scores, route in zip(by_route, ROUTE_NAMES, strict=True):
        for row, wanted in zip(scores.rows, by_route[0].rows, strict=True):
            assert row.route == route
            assert np.abs(np.array(row.fold_scores) - np.array(wanted.fold_scores)).max() < 1e-9
            assert abs(row.q - wanted.q) < 1e-7


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "name"), [("presto", "trained"), ("alphaearth", "alphaearth")])
def test_path_on_real_data_equals_single_strengths(data: Path, dataset: str, name: str) -> None:
    """Also where the products of the path are done in float32, and the condition number is 1e8."""
    submission, benchmark = load(data / dataset, name)
    benchmark = benchmark.select(["latitude", *[t.name for t in benchmark.tasks if t.kind == "classification"][:1]])
    for route in ("direct", "iterate"):
        path = score_path([submission], benchmark, protocol="ridge", alphas=ALPHAS, folds=6, route=route)
        for alpha, scores in zip(ALPHAS, path, strict=True):
            single = score([submission], benchmark, protocol="ridge", alpha=alpha, folds=6, route="downdate")
            for row, wanted in zip(scores.rows, single.rows, strict=True):
                assert row.n_refactorised == 0
                assert np.abs(np.array(row.fold_scores) - np.array(wanted.fold_scores)).max() < 1e-9, (route, alpha)
                assert abs(row.q - wanted.q) < 1e-7


def make_benchmark(seed: int = 0, n: int = 200, d: int = 6) -> tuple[Submission, Benchmark]:
    """Three disjoint sample groups of two kinds, and a task on all samples in another order."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"s{i:03d}" for i in range(n)])
    x = rng.standard_normal((n, d)) + 3.0
    target = x @ rng.standard_normal(d)
    parts = np.split(rng.permutation(n), [n // 2, 3 * n // 4])
    tasks = []
    for p, rows in enumerate(parts):
        y = target[rows] + rng.standard_normal(len(rows))
        tasks += [
            Task(f"p{p}_regression", "regression", ids[rows], y),
            Task(f"p{p}_cls", "classification", ids[rows], (y > np.median(y)).astype(float)),
        ]
    everything = rng.permutation(n)
    tasks.append(Task("all", "regression", ids[everything], target[everything] + rng.standard_normal(n)))
    return Submission("team", ids, x), Benchmark.from_tasks(tasks)


def test_tasks_alone_equal_tasks_together() -> None:
    """Also the task whose Gram matrix is merged from those of the groups that tile its samples."""
    submission, benchmark = make_benchmark()
    together = {row.task: row for row in score([submission], benchmark, protocol="ridge", folds=10).rows}
    assert len(together) == 7
    for task in benchmark.tasks:
        reduced = Benchmark(tasks=(task,), labelled_ids=benchmark.labelled_ids)
        (alone,) = score([submission], reduced, protocol="ridge", folds=10).rows
        assert np.abs(np.array(alone.fold_scores) - np.array(together[task.name].fold_scores)).max() < 1e-9
        assert alone.embedding_hash == together[task.name].embedding_hash


def test_standardisation_uses_rows_with_a_label_in_any_task() -> None:
    """A strength means the same whichever tasks are selected, and rows without labels do not count."""
    submission, benchmark = make_benchmark()
    selected = benchmark.select(["p0_regression"])
    reference = score([submission], benchmark, protocol="ridge", alpha=5.0).rows
    (row,) = score([submission], selected, protocol="ridge", alpha=5.0).rows
    assert row.fold_scores == pytest.approx(next(r for r in reference if r.task == row.task).fold_scores, abs=1e-9)
    extra = Submission(
        "team", [*submission.ids.tolist(), "unlabelled"], np.vstack([submission.x, np.full((1, 6), 1e6)])
    )
    (row,) = score([extra], selected, protocol="ridge", alpha=5.0).rows
    assert row.fold_scores == pytest.approx(next(r for r in reference if r.task == row.task).fold_scores, abs=1e-9)


def test_scale_and_shift_of_the_embedding_do_not_matter() -> None:
    submission, benchmark = make_benchmark()
    moved = Submission("moved", submission.ids, 1e3 * submission.x - 40.0)
    for a, b in zip(
        score([submission], benchmark, protocol="ridge").rows,
        score([moved], benchmark, protocol="ridge").rows,
        strict=True,
    ):
        assert a.fold_scores == pytest.approx(b.fold_scores, abs=1e-9)
    raw = replace(Protocol.named("ridge"), standardize=False)
    for a, b in zip(
        score([submission], benchmark, protocol=raw).rows, score([moved], benchmark, protocol=raw).rows, strict=True
    ):
        assert a.fold_scores != pytest.approx(b.fold_scores, abs=1e-3)


def test_path_equals_single_strengths() -> None:
    submission, benchmark = make_benchmark()
    alphas = [0.1, 10.0, 1000.0]
    for alpha, scores in zip(alphas, score_path([submission], benchmark, protocol="ridge", alphas=alphas), strict=True):
        single = score([submission], benchmark, protocol="ridge", alpha=alpha)
        assert scores.protocol == single.protocol
        for row, wanted in zip(scores.rows, single.rows, strict=True):
            assert row.fold_scores == pytest.approx(wanted.fold_scores, abs=1e-9)
            assert row.fold_alphas == (alpha,) * 40
            assert row.protocol_hash == wanted.protocol_hash


def test_auto_scores_are_those_of_the_strengths_it_chose() -> None:
    submission, benchmark = make_benchmark()
    chosen = score([submission], benchmark, protocol="ridge", alpha="auto", folds=8)
    by_alpha = {
        s.protocol["alpha"]: s
        for s in score_path([submission], benchmark, protocol="ridge", alphas=ALPHA_GRID, folds=8)
    }
    strengths = set()
    for j, row in enumerate(chosen.rows):
        strengths |= set(row.fold_alphas)
        for k, alpha in enumerate(row.fold_alphas):
            assert row.fold_scores[k] == pytest.approx(by_alpha[alpha].rows[j].fold_scores[k], abs=1e-9)
    assert len(strengths) > 1


def test_record_says_what_was_done() -> None:
    submission, benchmark = make_benchmark()
    row = score([submission], benchmark, protocol="ridge", route="iterate").rows[-1]
    assert (row.submission, row.metric, row.kind) == ("team", "r2", "regression")
    assert (row.route, row.n_folds, row.n_features, row.dtype) == ("iterate", 40, 6, "float64")
    assert 0 < row.iterations < 100
    assert 0 < row.residual < 1e-10
    assert row.protocol_hash == Protocol.named("ridge").hash
    assert row.embedding_hash == submission.digest
    assert row.label_hash == next(t for t in benchmark.tasks if t.name == row.task).digest
    assert row.device.startswith("cpu")
    stats = row.fold_stats
    assert row.fold_scores[0] == 1 - stats.sse[0] / stats.tss[0]


def test_refactorised_folds_are_recorded_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((40, 200)), rng.standard_normal(40)
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        record = score_arrays(x, y, protocol="ridge", alpha=1e-11, folds=5, route="direct").record
    assert record.n_refactorised == 5
    assert "solved by dual" in record.notes[0]
    assert record.notes[0] in caplog.text
    wanted = score_arrays(x, y, protocol="ridge", alpha=1e-11, folds=5, route="dual").record
    assert record.fold_scores == wanted.fold_scores


def test_constant_held_out_labels_fail_with_a_reason() -> None:
    """A rare class: folds without a positive, or whose training rows have none, have no score."""
    rng = np.random.default_rng(4)
    x = rng.standard_normal((60, 5))
    y = np.zeros(60)
    y[:6] = 1
    result = score_arrays(x, y, kind="classification", protocol="ridge")
    folds = ShuffleSplit(40, test_size=0.1, random_state=42).split(x)
    constant = [len(set(y[test])) == 1 for _, test in folds]
    assert 0.3 * 40 < sum(constant) < 40
    assert np.isnan(result.fold_scores).tolist() == constant
    assert result.q is None
    assert result.record.n_failed == sum(constant)
    assert "more than 30%" in result.record.q_reason
    assert {r for r in result.record.fold_reasons if r} == {"held-out labels are of one class"}


def test_training_rows_of_one_class_fail_with_a_reason(tmp_path: Path) -> None:
    ids = [f"s{i}" for i in range(20)]
    split = tmp_path / "split.csv"
    split.write_text("id,split\n" + "".join(f"s{i},{'eval' if i < 6 else 'dev'}\n" for i in range(20)))
    task = Task("t", "classification", ids, np.array([1.0, 1, 0, 0, 1, 0] + [0.0] * 14))
    protocol = Protocol(probe="ridge", folds=FoldSpec("fixed", file=str(split)))
    x = np.random.default_rng(0).standard_normal((20, 3))
    (row,) = score([Submission("a", ids, x)], Benchmark.from_tasks([task]), protocol=protocol).rows
    assert row.fold_reasons == ("training labels are of one class",)
    assert (row.mean, row.q) == (None, None)


def test_more_features_than_samples() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((30, 100)), rng.standard_normal(30)
    result = score_arrays(x, y, protocol="ridge", alpha=1.0, folds=10)
    assert result.record.route == "dual"
    for k, (train, test) in enumerate(ShuffleSplit(10, test_size=0.1, random_state=42).split(x)):
        scaled = (x - x.mean()) / x.std()
        model = Ridge(alpha=1.0).fit(scaled[train], y[train])
        assert abs(result.fold_scores[k] - r2_score(y[test], model.predict(scaled[test]))) < 1e-9


def test_constant_embedding_scores_the_mean() -> None:
    result = score_arrays(np.full((50, 4), 7.0), np.random.default_rng(6).standard_normal(50), folds=5)
    assert (result.fold_scores <= 0).all()
    assert (result.fold_scores > -1).all()


def test_submissions_are_read_when_their_turn_comes(tmp_path: Path) -> None:
    """One embedding at a time: the first is scored before the second is asked for, and let go after."""
    import weakref

    submission, benchmark = make_benchmark()
    alive: list[weakref.ref] = []

    def stream():
        for name in ("a", "b", "c"):
            assert sum(ref() is not None for ref in alive) <= 1
            x = submission.x.copy()
            alive.append(weakref.ref(x))
            yield Submission(name, submission.ids, x)
            del x

    scores = score(stream(), benchmark, folds=3)
    assert {row.submission for row in scores.rows} == {"a", "b", "c"}


def test_progress_counts_every_unit() -> None:
    submission, benchmark = make_benchmark()
    other = Submission("other", submission.ids, submission.x)
    seen: list[tuple[str, int, int]] = []
    score([submission, other], benchmark, folds=3, progress=lambda *event: seen.append(event))
    assert seen == [("team" if i <= 4 else "other", i, 8) for i in range(1, 9)]


def test_missing_samples_are_an_error_or_counted() -> None:
    submission, benchmark = make_benchmark()
    lacking = Submission("team", submission.ids[:-1], submission.x[:-1])
    with pytest.raises(InputError, match=r"no embedding for 1 of .* labelled samples, first 's199'"):
        score([lacking], benchmark)
    rows = score([lacking], benchmark, folds=5, lenient=True).rows
    dropped = {row.task for row in rows if row.repairs.get("samples_without_embedding_dropped") == 1}
    assert "all" in dropped
    assert len(dropped) == 3  # a regression and a classification task, and the task on all samples
    assert all(
        row.n_samples == len(t.ids) - (row.task in dropped) for row, t in zip(rows, benchmark.tasks, strict=True)
    )


def test_wrong_options_fail_before_anything_is_read() -> None:
    _, benchmark = make_benchmark()
    for options in (
        {"route": "fast"},
        {"device": "tpu"},
        {"device": "cuda"},
        {"protocol": "best"},
        {"protocol": "neuco", "alpha": 1.0},
        {"protocol": "logistic", "route": "direct"},
        {"alpha": -1.0},
        {"folds": 0},
    ):
        with pytest.raises(InputError):
            score(["does-not-exist.csv"], benchmark, **options)  # type: ignore[arg-type]
    submission, _ = make_benchmark()
    with pytest.raises(InputError, match="two with the name 'team'"):
        score([submission, submission], benchmark, folds=2)
    with pytest.raises(InputError, match="distinct"):
        score_path([submission], benchmark, alphas=[1.0, 1.0])


def test_score_arrays_checks_shapes_and_values() -> None:
    x, y = np.ones((10, 2)), np.arange(10.0)
    for bad_x, bad_y in ((x[:5], y), (x[0], y), (x, np.ones((10, 1))), (x * np.nan, y)):
        with pytest.raises(InputError):
            score_arrays(bad_x, bad_y, folds=2)
    with pytest.raises(InputError, match="sample id"):
        score_arrays(x, y, protocol=Protocol(folds=FoldSpec("group-shuffle", file="groups.csv")))
