"""Tasks of more than two classes by ridge: scikit-learn's classifier refitted fold by fold, and a naive choice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from problems import refit_scipy
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import confusion_matrix, f1_score
from strict_namespace import Namespace
from typer.testing import CliRunner

import fastprobe
from fastprobe import Benchmark, FoldSpec, InputError, Protocol, Submission, Task
from fastprobe.backend.array import ArrayBackend
from fastprobe.check import check
from fastprobe.cli import app
from fastprobe.folds import make_folds
from fastprobe.probes.inner import plan_inner
from fastprobe.protocol import ALPHA_GRID

N, D, FOLDS = 240, 16, 8
IDS = np.array([f"s{i:03d}" for i in range(N)])


def problem(seed: int = 0, classes: int = 4) -> tuple[NDArray, NDArray]:
    """Features, and classes of unlike sizes that can be told apart in part."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, D)) * (1 + np.arange(D)) ** -0.5
    z = x[:, 0] + x[:, 1] * x[:, 2] + 0.4 * rng.standard_normal(N)
    return x, np.digitize(z, np.quantile(z, np.linspace(0, 1, classes + 1)[1:-1] ** 1.3))


def benchmark(y: NDArray) -> Benchmark:
    """The classes beside a regression and two classes: columns of one group."""
    return Benchmark.from_tasks(
        [
            Task.from_arrays("area", "regression", IDS, y + np.arange(N) / N),
            Task.from_arrays("crops", "classification", IDS, 10 * y + 5),
            Task.from_arrays("ships", "classification", IDS, y == 1),
        ]
    )


def held_out(spec: FoldSpec, y: NDArray) -> tuple[NDArray, ...]:
    return make_folds(spec, IDS, y.astype(np.float64), "classification").held_out


def macro_f1(truth: NDArray, guess: NDArray) -> float:
    return float(f1_score(truth, guess, average="macro", labels=np.union1d(truth, guess)))


@pytest.mark.parametrize("scheme", ["shuffle", "stratified-kfold"])
@pytest.mark.parametrize("route", [None, "dual", "iterate"])
def test_fold_scores_are_those_of_scikit_learn(scheme: str, route: str | None) -> None:
    x, y = problem()
    protocol = Protocol(probe="ridge", alpha=30.0, folds=FoldSpec(scheme, n_folds=FOLDS))
    scores = fastprobe.score([Submission("team", IDS, x)], benchmark(y), protocol=protocol, route=route, device="cpu")
    row = scores.get("team", "crops")
    scaled = (x - x.mean()) / x.std()
    for k, rows in enumerate(held_out(protocol.folds, y)):
        train = np.delete(np.arange(N), rows)
        guess = RidgeClassifier(alpha=30.0).fit(scaled[train], y[train]).predict(scaled[rows])
        assert list(row.fold_stats.confusion[k]) == confusion_matrix(y[rows], guess, labels=range(4)).ravel().tolist()
        assert row.fold_scores[k] == pytest.approx(macro_f1(y[rows], guess), abs=1e-14)
    assert row.metric == "macro_f1"
    assert row.notes[0] == "the labels 5, 15, 25 and 35 became 0 to 3"
    assert row.fold_stats.tp == ()
    assert row.q == pytest.approx(100 * 0.02 * np.mean(row.fold_scores) / (np.std(row.fold_scores) + 0.02), rel=1e-12)


def test_the_other_tasks_of_the_group_have_the_scores_that_they_have_alone() -> None:
    x, y = problem()
    bench, sub = benchmark(y), Submission("team", IDS, x)
    together = fastprobe.score([sub], bench, protocol="ridge", folds=FOLDS, device="cpu")
    for name in bench.names:
        alone = fastprobe.score([sub], bench.select(name), protocol="ridge", folds=FOLDS, device="cpu").rows[0]
        assert together.get("team", name).fold_scores == pytest.approx(alone.fold_scores, abs=1e-9)


def test_the_strength_is_chosen_for_the_task_as_a_whole() -> None:
    """The least squared error over all columns, by a nested loop of refits."""
    x, y = problem(seed=3)
    protocol = Protocol(probe="ridge", alpha="auto", folds=FoldSpec(n_folds=FOLDS))
    row = fastprobe.score([Submission("team", IDS, x)], benchmark(y), protocol=protocol, device="cpu").get(
        "team", "crops"
    )
    scaled, signs = (x - x.mean()) / x.std(), np.where(y[:, None] == np.arange(4), 1.0, -1.0)
    folds = held_out(protocol.folds, y)
    plan = plan_inner(folds, N, protocol.inner_folds, protocol.folds.seed)
    errors = np.zeros((FOLDS, len(ALPHA_GRID), 4))
    for fold, left_out, rows in plan.validate:
        outside = plan.left_out[left_out]
        for a, alpha in enumerate(ALPHA_GRID):
            residuals = refit_scipy(scaled, signs, outside, alpha)[np.searchsorted(outside, rows)]
            errors[fold, a] += (residuals**2).sum(axis=0)
    wanted = np.array(ALPHA_GRID)[errors.sum(axis=2).argmin(axis=1)]
    assert row.fold_alphas == tuple(wanted)
    assert (
        np.array(ALPHA_GRID)[errors.argmin(axis=1)] != wanted[:, None]
    ).any()  # columns alone would choose otherwise
    for k, rows in enumerate(folds):
        guess = (signs[rows] - refit_scipy(scaled, signs, rows, wanted[k])).argmax(axis=1)
        assert row.fold_scores[k] == pytest.approx(macro_f1(y[rows], guess), abs=1e-14)


@pytest.mark.parametrize("alpha", [10.0, "auto"])
def test_a_device_gives_the_same(alpha: float | str) -> None:
    x, y = problem()
    options = {"protocol": "ridge", "alpha": alpha, "folds": FOLDS}
    wanted = fastprobe.score_arrays(x, y, kind="classification", device="cpu", **options).record
    device = ArrayBackend(Namespace(), device="strict", budget=300_000)
    found = fastprobe.score_arrays(x, y, kind="classification", device=device, **options).record
    assert found.fold_stats == wanted.fold_stats
    assert found.fold_scores == wanted.fold_scores
    assert found.fold_alphas == wanted.fold_alphas


def test_folds_that_say_nothing_and_folds_that_lack_a_class(tmp_path: Path) -> None:
    """Trained without a class is no reason to fail; trained on one class is, and so is tested on one class."""
    x, _ = problem()
    sides = ["eval" if i < 12 else "dev" for i in range(N)]
    split = tmp_path / "split.csv"
    split.write_text("id,split\n" + "".join(f"{i},{side}\n" for i, side in zip(IDS, sides, strict=True)))
    protocol = Protocol(probe="ridge", folds=FoldSpec("fixed", file=str(split)))
    test, train = np.arange(N) < 12, np.arange(N) >= 12

    def reason(labels: NDArray) -> tuple[float | None, str | None]:
        bench = Benchmark.from_tasks([Task.from_arrays("crops", "classification", IDS, labels)])
        (row,) = fastprobe.score([Submission("team", IDS, x)], bench, protocol=protocol, device="cpu").rows
        return row.fold_scores[0], row.fold_reasons[0]

    score, why = reason(np.where(test, np.arange(N) % 3, np.arange(N) % 2))
    assert why is None
    assert score < 0.5  # class 2 is never found
    assert reason(np.where(test, 1, np.arange(N) % 3)) == (None, "held-out labels are of one class")
    assert reason(np.where(train, 1, np.arange(N) % 3)) == (None, "training labels are of one class")


def test_samples_without_an_embedding_do_not_renumber_the_classes() -> None:
    """Leniently, all samples of the first class are left out: the other classes keep their numbers."""
    x, y = problem()
    task = Task.from_arrays("crops", "classification", IDS, y)
    sub = Submission("team", IDS[y > 0], x[y > 0])
    scores = fastprobe.score(
        [sub], Benchmark.from_tasks([task]), protocol="ridge", folds=FOLDS, lenient=True, device="cpu"
    )
    confusion = np.array(scores.rows[0].fold_stats.confusion).reshape(FOLDS, 4, 4)
    assert confusion.sum(axis=(1, 2)).tolist() == list(scores.rows[0].fold_stats.n)
    assert not confusion[:, 0].any()


@pytest.mark.parametrize("protocol", ["neuco", "neuco-independent"])
def test_neuco_bench_knows_two_classes(protocol: str) -> None:
    x, y = problem()
    bench = benchmark(y)
    with pytest.raises(InputError, match="task 'crops': found 4 classes; expected two") as caught:
        fastprobe.score([Submission("team", IDS, x)], bench, protocol=protocol)
    assert "--protocol closed-form or ridge" in caught.value.fix
    (error,) = [
        f for f in check(Submission("team", IDS, x), bench, Protocol.named(protocol)).findings if f.level == "error"
    ]
    assert error.where == "task crops"


def test_the_command_line_says_macro_f1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem()
    np.savez(tmp_path / "team.npz", id=IDS, x=x)
    labels = tmp_path / "labels"
    labels.mkdir()
    rows = "".join(f"{i},{10 * label + 5}\n" for i, label in zip(IDS, y, strict=True))
    (labels / "crops__cls.csv").write_text("id,label\n" + rows)
    monkeypatch.chdir(tmp_path)
    command = ["score", "team.npz", "--labels", "labels", "--protocol", "ridge", "--folds", "8", "--device", "cpu"]
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0, shown.output
    assert "macro F1" in shown.stdout
    assert "the labels 5, 15, 25 and 35 became 0 to 3" in shown.stdout
    (score,) = json.loads(CliRunner().invoke(app, [*command, "--format", "json"]).stdout)["scores"]
    assert score["metric"] == "macro_f1"
    wanted = fastprobe.score_arrays(x, y, kind="classification", protocol="ridge", folds=8, device="cpu")
    assert score["fold_scores"] == pytest.approx(wanted.fold_scores, abs=1e-14)
    assert [sum(counts) for counts in score["fold_confusion"]] == score["fold_n"]


def test_real_embeddings(data: Path) -> None:
    """Bands of latitude, from embeddings of real pixels, by scikit-learn's classifier refitted fold by fold."""
    (task,) = Benchmark.from_folder(data / "presto" / "labels", tasks=["latitude"]).tasks
    sub = Submission.read(data / "presto" / "submissions" / "trained.npz")
    bands = np.digitize(task.y, np.quantile(task.y, [0.1, 0.3, 0.6, 0.9]))
    bench = Benchmark.from_tasks([Task.from_arrays("bands", "classification", task.ids, bands)])
    (row,) = fastprobe.score([sub], bench, protocol="ridge", folds=5, device="cpu").rows
    row_of = {sample: i for i, sample in enumerate(sub.ids.tolist())}
    x = sub.x[[row_of[sample] for sample in task.ids.tolist()]].astype(np.float64)
    x = (x - x.mean()) / x.std()
    for k, rows in enumerate(make_folds(FoldSpec(n_folds=5), task.ids, task.y, "regression").held_out):
        train = np.delete(np.arange(len(x)), rows)
        guess = RidgeClassifier(alpha=100.0, solver="cholesky").fit(x[train], bands[train]).predict(x[rows])
        confusion = confusion_matrix(bands[rows], guess, labels=range(5))
        assert confusion.ravel().tolist() == list(row.fold_stats.confusion[k])
        assert row.fold_scores[k] == pytest.approx(macro_f1(bands[rows], guess), abs=1e-14)
