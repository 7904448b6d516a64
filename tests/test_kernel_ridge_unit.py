"""The protocol ``kernel`` from submission to record: scores of naive refits, choices, failures, memory."""

from __future__ import annotations

import logging
from functools import cache

import numpy as np
import pytest
from kernel_refits import refit_sklearn, tolerance, values
from sklearn.metrics import average_precision_score, f1_score, r2_score, roc_auc_score
from strict_namespace import Namespace

from fastprobe import Benchmark, FoldSpec, InputError, Protocol, Submission, Task, score
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.engine import score_path
from fastprobe.folds import make_folds
from fastprobe.kernel_spec import KernelSpec
from fastprobe.probes.kernel import Kernel
from fastprobe.results import Scores, TaskScore
from fastprobe.units import work as work_module

CPU = get_backend("cpu", threads=2)
RBF, POLYNOMIAL = KernelSpec(gamma=0.3), KernelSpec("polynomial", gamma=0.2, degree=3)


def strict(budget: int = 2**26, lanes: int = 2) -> ArrayBackend:
    return ArrayBackend(Namespace(), device="strict", budget=budget, lanes=lanes)


def protocol(spec: KernelSpec, alpha: float | str = 0.5) -> Protocol:
    grid, folds = (0.1, 1.0, 10.0), FoldSpec(n_folds=5)
    return Protocol(name="kernel", probe="kernel", alpha=alpha, alpha_grid=grid, kernel=spec, folds=folds)  # type: ignore[arg-type]


@cache
def small() -> tuple[Submission, Benchmark]:
    """90 samples with a task of every kind, and a second group of 60 of them in another order."""
    rng = np.random.default_rng(7)
    ids = np.array([f"s{i:03d}" for i in range(100)])
    x = rng.standard_normal((100, 5)) + 0.5
    noise = 0.2 * rng.standard_normal((100, 4))
    curve, ring = np.sin(2 * x[:, 0]) + noise[:, 0], (x[:, 0] ** 2 + x[:, 1] ** 2 + noise[:, 1] > 2).astype(float)
    three = np.digitize(x[:, 2] + noise[:, 2], [0.0, 1.0]).astype(float)
    tasks = [
        Task.from_arrays("curve", "regression", ids[:90], curve[:90]),
        Task.from_arrays("ring", "classification", ids[:90], ring[:90]),
        Task.from_arrays("three", "classification", ids[:90], three[:90]),
        Task.from_arrays("other", "regression", ids[80:20:-1], noise[80:20:-1, 3]),
        Task.from_arrays("rare", "classification", ids[80:20:-1], (np.arange(60) == 3).astype(float)),
    ]
    return Submission("team", ids, x), Benchmark.from_tasks(tasks)


def row(scores: Scores, task: str) -> TaskScore:
    found = scores.get("team", task)
    assert found is not None
    return found


def naive_predictions(task: Task, kernel: Kernel, alpha: float) -> list[tuple[np.ndarray, np.ndarray]]:
    """Held-out rows and decision values (m, columns) of every fold, by scikit-learn on the standardised embedding."""
    submission, benchmark = small()
    of_id = {sample: x for sample, x in zip(submission.ids.tolist(), submission.x, strict=True)}
    labelled = np.stack([of_id[sample] for sample in benchmark.labelled_ids.tolist()])
    x = (np.stack([of_id[sample] for sample in task.ids.tolist()]) - labelled.mean()) / labelled.std()
    y = task.y[:, None]
    if task.kind == "classification":
        y = 2.0 * (y == np.arange(3)) - 1.0 if task.n_classes == 3 else 2.0 * y - 1.0
    matrix = values(kernel, x, x)
    held_out = make_folds(FoldSpec(n_folds=5), task.ids, task.y, task.kind).held_out
    return [(held, y[held] - refit_sklearn(matrix, y, held, alpha)) for held in held_out]


@pytest.mark.parametrize("backend", [CPU, strict()], ids=["cpu", "strict"])
@pytest.mark.parametrize("spec", [RBF, POLYNOMIAL], ids=["rbf", "polynomial"])
def test_fold_scores_are_those_of_refits(backend, spec: KernelSpec) -> None:
    submission, benchmark = small()
    scores = score([submission], benchmark, protocol=protocol(spec), device=backend)
    kernel = Kernel("rbf", 0.3) if spec is RBF else Kernel("polynomial", 0.2, 3, 1.0)
    for task in benchmark.tasks:
        found = row(scores, task.name)
        assert (found.route, found.dtype) == ("dual", "float64")
        assert found.fold_kernels == (str(kernel),) * 5
        assert found.fold_alphas == (0.5,) * 5
        assert max(found.fold_residuals) < 1e-12
        for k, (held, decisions) in enumerate(naive_predictions(task, kernel, 0.5)):
            truth = task.y[held]
            if task.kind == "regression":
                assert found.fold_scores[k] == pytest.approx(r2_score(truth, decisions[:, 0]), abs=1e-10)
                assert found.fold_roc_auc == ()
            elif len(np.unique(truth)) < 2:
                assert found.fold_scores[k] is None
                assert found.fold_reasons[k] == "held-out labels are of one class"
            elif task.n_classes == 2:
                assert found.fold_scores[k] == f1_score(truth, decisions[:, 0] > 0, zero_division=0)
                assert found.fold_roc_auc[k] == roc_auc_score(truth, decisions[:, 0])
                assert found.fold_average_precision[k] == pytest.approx(
                    average_precision_score(truth, decisions[:, 0]), abs=1e-12
                )
            else:
                guess = decisions.argmax(axis=1)
                there = np.union1d(truth, guess)
                assert found.metric == "macro_f1"
                assert found.fold_scores[k] == pytest.approx(
                    f1_score(truth, guess, average="macro", labels=there), abs=1e-12
                )


@pytest.mark.parametrize("landmarks", [None, 30])
def test_strict_namespace_gives_the_same_records(landmarks: int | None) -> None:
    submission, benchmark = small()
    asked = protocol(KernelSpec(landmarks=landmarks), "auto")
    wanted = score([submission], benchmark, protocol=asked, device=CPU)
    found = score([submission], benchmark, protocol=asked, device=strict())
    for task in benchmark.tasks:
        ours, theirs = row(found, task.name), row(wanted, task.name)
        assert ours.fold_kernels == theirs.fold_kernels
        assert ours.fold_alphas == theirs.fold_alphas
        assert ours.route == theirs.route
        assert ours.notes == theirs.notes
        for a, b in zip(ours.fold_scores, theirs.fold_scores, strict=True):
            assert (a is None) == (b is None)
            assert a is None or a == pytest.approx(b, abs=1e-9)


def test_auto_chooses_by_task_and_fold_and_what_is_chosen_gives_the_score() -> None:
    submission, benchmark = small()
    scores = score([submission], benchmark, protocol=protocol(KernelSpec(gamma=(0.05, 0.3)), "auto"), device=CPU)
    task = next(task for task in benchmark.tasks if task.name == "curve")
    found = row(scores, "curve")
    assert len(set(found.fold_kernels)) > 1
    for k in range(5):
        gamma = float(found.fold_kernels[k].removeprefix("rbf gamma="))
        held, decisions = naive_predictions(task, Kernel("rbf", gamma), found.fold_alphas[k])[k]
        assert found.fold_scores[k] == pytest.approx(r2_score(task.y[held], decisions[:, 0]), abs=1e-9)
    assert row(scores, "other").fold_alphas != found.fold_alphas


def test_several_strengths_are_those_of_one_after_the_other() -> None:
    submission, benchmark = small()
    spec = KernelSpec(gamma=(0.05, 0.3))
    alphas = [100.0, 0.1, 1.0]
    path = score_path([submission], benchmark, alphas=alphas, protocol=protocol(spec), device=CPU)
    for alpha, found in zip(alphas, path, strict=True):
        alone = score([submission], benchmark, protocol=protocol(spec, alpha), device=CPU)
        for task in benchmark.tasks:
            assert row(found, task.name).fold_scores == row(alone, task.name).fold_scores
            assert row(found, task.name).fold_kernels == row(alone, task.name).fold_kernels
            assert row(found, task.name).protocol_hash == row(alone, task.name).protocol_hash
    assert len({kernel for found in path for kernel in row(found, "curve").fold_kernels}) == 2


def test_nothing_is_validated_where_there_is_nothing_to_choose(monkeypatch: pytest.MonkeyPatch) -> None:
    submission, benchmark = small()

    def refuse(*args):
        raise AssertionError("an inner validation was planned")

    monkeypatch.setattr(work_module, "plan_inner", refuse)
    for landmarks in (None, 20):
        spec = KernelSpec(gamma=0.3, landmarks=landmarks)
        assert row(score([submission], benchmark, protocol=protocol(spec), device=CPU), "curve").n_failed == 0
    with pytest.raises(AssertionError, match="planned"):
        score([submission], benchmark, protocol=protocol(KernelSpec(gamma=(0.1, 0.3))), device=CPU)


def test_tasks_alone_get_the_scores_that_they_get_together() -> None:
    """With the tasks of the other samples left in, which take part in the standardisation."""
    submission, benchmark = small()
    asked = protocol(KernelSpec(gamma=(0.05, 0.3)), "auto")
    together = score([submission], benchmark, protocol=asked, device=CPU)
    tasks = {task.name: task for task in benchmark.tasks}
    for name in ("curve", "three"):
        alone = Benchmark.from_tasks([tasks[name], tasks["other"]])
        found = score([submission], alone, protocol=asked, device=CPU)
        assert row(found, name).fold_kernels == row(together, name).fold_kernels
        assert row(found, name).fold_scores == pytest.approx(row(together, name).fold_scores, abs=1e-12)


def test_landmarks_are_in_the_record_and_all_rows_at_most() -> None:
    submission, benchmark = small()
    scores = score([submission], benchmark, protocol=protocol(KernelSpec(gamma=0.3, landmarks=70)), device=CPU)
    assert row(scores, "curve").notes == ("Nyström features of 70 landmarks",)
    assert row(scores, "other").notes == ("Nyström features of 60 landmarks",)
    assert row(scores, "curve").route.startswith("nystroem+")
    exact = score([submission], benchmark, protocol=protocol(KernelSpec(gamma=0.3)), device=CPU)
    matrix = values(Kernel("rbf", 0.3), submission.x, submission.x)
    assert row(scores, "other").fold_scores == pytest.approx(
        row(exact, "other").fold_scores, abs=10 * tolerance(matrix, 0.5) + 1e-9
    )


def test_hopeless_strength_fails_with_reason_and_remedy() -> None:
    submission, benchmark = small()
    spec = KernelSpec("polynomial", gamma=1.0, degree=1, coef0=0.0)
    found = row(score([submission], benchmark, protocol=protocol(spec, 1e-20), device=CPU), "curve")
    assert found.n_failed == 5
    assert found.q is None
    for reason in found.fold_reasons:
        assert reason is not None
        assert "raise alpha" in reason
        assert "above 1e-10" in reason or "no Cholesky factor" in reason


def test_memory_is_asked_for_before_anything_is_computed() -> None:
    submission, benchmark = small()
    backend = strict(budget=100_000, lanes=1)  # the group of 60, a part of that of 90, comes first
    with pytest.raises(InputError) as caught:
        score([submission], benchmark, protocol=protocol(RBF), device=backend)
    message = str(caught.value)
    assert "submission 'team'" in message
    assert "tasks 'other', 'rare'" in message
    assert "--landmarks" in message
    landmarks = int(message.split("--landmarks ")[1].split(" ")[0])
    fitting = KernelSpec(gamma=0.3, landmarks=landmarks)
    assert row(score([submission], benchmark, protocol=protocol(fitting), device=backend), "curve").n_failed == 0


def test_solves_by_another_route_are_noted(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Leverages of 1 to 13 digits: the direct route misses the tolerance, and says so in the record."""
    submission, benchmark = small()
    monkeypatch.setattr("fastprobe.planner.ROUTE_NAMES", ("direct",))
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        spec = KernelSpec(gamma=1.0, landmarks=90)
        found = row(score([submission], benchmark, protocol=protocol(spec, 1e-9), device=CPU), "curve")
    assert found.n_refactorised == 5
    assert found.notes[-1] == "5 folds missed the tolerance and were solved by another route"
    assert "solved by another route" in caplog.text
