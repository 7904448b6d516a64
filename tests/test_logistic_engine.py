"""Records of logistic probes hold what scikit-learn says of the same folds."""

from __future__ import annotations

import importlib
import logging
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from logistic_twin import Case, draw, probabilities
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, f1_score, log_loss, roc_auc_score

import fastprobe
from fastprobe import Benchmark, FoldSpec, InputError, Protocol, Submission, Task
from fastprobe.engine import score_path
from fastprobe.folds import make_folds
from fastprobe.probes.logistic.newton import ACCEPTED
from fastprobe.results import TaskScore

N, D, FOLDS = 150, 6, 5
IDS = np.array([f"s{i:03d}" for i in range(N)])
LARGEST = 50.0
"""No decision value of these problems is above it."""


@cache
def problem(classes: int) -> tuple[NDArray, NDArray]:
    case = draw(41, N, D, classes, 1, noise=4.0, scale=3.0, offset=5.0)
    return case.x, case.codes


@cache
def oracle(classes: int, alpha: float) -> dict[str, list[float]]:
    """Metrics of every fold, by scikit-learn."""
    x, codes = problem(classes)
    scaled = (x - x.mean()) / x.std()
    held_out = make_folds(FoldSpec(n_folds=FOLDS), IDS, codes.astype(float), "classification").held_out
    case, found = Case(scaled, codes, classes, list(held_out)), {"f1": [], "auc": [], "precision": [], "loss": []}
    for k, rows in enumerate(held_out):
        decisions, truth = case.probe_sklearn(k, alpha).decisions(scaled[rows]), codes[rows]
        assert np.abs(decisions).max() < LARGEST
        p = probabilities(decisions)
        if classes == 2:
            guess, ranked, options = decisions[:, 0] > 0, decisions[:, 0], {}
            found["f1"].append(f1_score(truth, guess))
            found["precision"].append(average_precision_score(truth, ranked))
        else:
            guess, ranked, options = p.argmax(axis=1), p, {"multi_class": "ovr"}
            found["f1"].append(f1_score(truth, guess, average="macro", labels=np.union1d(truth, guess)))
            each = [average_precision_score(truth == c, p[:, c]) for c in range(classes)]
            found["precision"].append(np.mean(each))
        found["auc"].append(roc_auc_score(truth, ranked, **options))
        found["loss"].append(log_loss(truth, p[:, 0] if classes == 2 else p, labels=range(classes)))
    return found


def q_of(scores: list[float]) -> float:
    return 100 * 0.02 * np.mean(scores) / (np.std(scores) + 0.02)


def assert_record(row: TaskScore, classes: int, alpha: float) -> None:
    wanted = oracle(classes, alpha)
    assert row.fold_scores == pytest.approx(wanted["f1"], abs=1e-14)
    assert row.q == pytest.approx(q_of(wanted["f1"]), rel=1e-12)
    assert row.fold_roc_auc == pytest.approx(wanted["auc"], abs=1e-12)
    assert row.fold_average_precision == pytest.approx(wanted["precision"], abs=1e-12)
    # A loss has the slope 1 by each of two decision values.
    assert row.fold_log_loss == pytest.approx(wanted["loss"], abs=4 * ACCEPTED * LARGEST)
    assert row.metric == ("f1" if classes == 2 else "macro_f1")
    assert row.fold_alphas == (alpha,) * FOLDS
    assert (row.route, row.dtype, row.n_failed, row.n_refactorised) == ("newton", "float64", 0, 0)
    assert row.iterations > 0
    assert len(row.fold_gradient_norms) == len(row.fold_residuals) == FOLDS
    assert 0 < max(row.fold_gradient_norms) < 1e-4
    assert 0 <= min(row.fold_residuals) <= max(row.fold_residuals) == row.residual <= ACCEPTED
    assert row.fold_kernels == ()


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", ["logistic", "closed-form"])
def test_score(name: str, classes: int) -> None:
    x, codes = problem(classes)
    task = Task.from_arrays("ships", "classification", IDS, codes)
    scores = fastprobe.score(
        [Submission("team", IDS, x)], Benchmark.from_tasks([task]), protocol=name, alpha=3.0, folds=FOLDS, device="cpu"
    )
    assert_record(scores.rows[0], classes, 3.0)
    assert scores.rows[0].protocol_name == name
    assert scores.rows[0].notes == (() if classes == 2 else task.notes)


@pytest.mark.parametrize("classes", [2, 3])
def test_score_arrays(classes: int) -> None:
    x, codes = problem(classes)
    found = fastprobe.score_arrays(x, codes, kind="classification", alpha=3.0, folds=FOLDS, device="cpu")
    assert_record(found.record, classes, 3.0)
    assert found.q == found.record.q


@pytest.mark.parametrize("classes", [2, 3])
def test_score_path(classes: int) -> None:
    x, codes = problem(classes)
    benchmark = Benchmark.from_tasks([Task.from_arrays("ships", "classification", IDS, codes)])
    alphas = [0.3, 300.0, 3.0]
    path = score_path(
        [Submission("team", IDS, x)],
        benchmark,
        protocol=Protocol(probe="logistic", folds=FoldSpec(n_folds=FOLDS)),
        alphas=alphas,
        device="cpu",
    )
    for alpha, scores in zip(alphas, path, strict=True):
        assert_record(scores.rows[0], classes, alpha)
        assert scores.protocol["alpha"] == alpha


def test_regression_goes_to_ridge_or_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    x, codes = problem(2)
    area = Task.from_arrays("area", "regression", IDS, x[:, 0] + codes)
    ships = Task.from_arrays("ships", "classification", IDS, codes)
    both, sub = Benchmark.from_tasks([area, ships]), Submission("team", IDS, x)
    options = {"folds": FOLDS, "device": "cpu"}
    closed = fastprobe.score([sub], both, **options)
    assert [row.route == "newton" for row in closed.rows] == [False, True]
    ridge = fastprobe.score([sub], both, protocol="ridge", alpha="auto", **options)
    assert closed.rows[0].fold_scores == pytest.approx(ridge.rows[0].fold_scores, abs=1e-9)
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        logistic = fastprobe.score([sub], both, protocol="logistic", **options)
    assert [row.task for row in logistic.rows] == ["ships"]
    assert logistic.rows[0].fold_scores == closed.rows[1].fold_scores
    assert "leaves out the regression tasks area" in caplog.text
    with pytest.raises(InputError):
        fastprobe.score([sub], Benchmark.from_tasks([area]), protocol="logistic", **options)


def test_labels_of_two_values_become_classes_with_a_note() -> None:
    x, codes = problem(2)
    options = {"kind": "classification", "protocol": "logistic", "alpha": 1.0, "folds": FOLDS, "device": "cpu"}
    plain = fastprobe.score_arrays(x, codes, **options).record
    mapped = fastprobe.score_arrays(x, np.where(codes == 1, 7.0, -1.0), **options).record
    assert mapped.fold_scores == plain.fold_scores
    assert plain.notes == ()
    assert len(mapped.notes) == 1
    assert "-1" in mapped.notes[0]
    assert "7" in mapped.notes[0]


def test_three_values_are_three_classes() -> None:
    x, codes = problem(3)
    values = np.array([1.0, 2.5, 9.0])[codes]
    record = fastprobe.score_arrays(x, values, kind="classification", alpha=1.0, folds=FOLDS, device="cpu").record
    assert record.metric == "macro_f1"
    assert len(record.fold_stats.confusion[0]) == 9


def test_folds_of_one_class_fail_with_a_reason_and_leave_the_others_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Groups are folds; all positive samples are in one of them, with some that are not."""
    x, _ = problem(2)
    groups = np.arange(N) // 30
    codes = (np.arange(N) < 12).astype(float)
    table = tmp_path / "groups.csv"
    table.write_text("id,group\n" + "".join(f"{i},g{g}\n" for i, g in zip(IDS, groups, strict=True)))
    protocol = Protocol(probe="logistic", alpha=1.0, folds=FoldSpec("group-kfold", n_folds=5, file=str(table)))
    benchmark = Benchmark.from_tasks([Task.from_arrays("ships", "classification", IDS, codes)])
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        (row,) = fastprobe.score([Submission("team", IDS, x)], benchmark, protocol=protocol, device="cpu").rows
    lonely = [k for k, why in enumerate(row.fold_reasons) if why and why.startswith("training")]
    assert len(lonely) == 1
    assert row.fold_reasons[lonely[0]] == "training labels are of one class: take larger or stratified folds"
    assert row.fold_scores == (None,) * 5  # the other folds hold out no positive sample
    assert row.n_failed == 5
    assert row.q is None
    assert "1 folds have training labels of one class and no score" in row.notes
    assert "team, ships: 1 folds have training labels of one class" in caplog.text
    for values in (row.fold_gradient_norms, row.fold_residuals, row.fold_log_loss):
        assert np.isnan(values).tolist() == [k in lonely for k in range(5)]
    assert np.isnan([row.fold_roc_auc[lonely[0]], row.fold_average_precision[lonely[0]]]).all()


def test_a_class_that_no_training_row_has_is_no_failure() -> None:
    """It is never predicted, and the metrics of probabilities are undefined."""
    x, codes = problem(2)
    held_out = make_folds(FoldSpec(n_folds=FOLDS), IDS, codes.astype(float), "classification").held_out
    codes = codes.copy()
    codes[held_out[2][:1]] = 2
    once = [k for k, rows in enumerate(held_out) if (codes[rows] == 2).any()]
    record = fastprobe.score_arrays(x, codes, kind="classification", alpha=1.0, folds=FOLDS, device="cpu").record
    assert record.n_failed == 0
    scaled = (x - x.mean()) / x.std()
    for k, rows in enumerate(held_out):
        probe = Case(scaled, codes, 3, list(held_out)).probe_sklearn(k, 1.0)
        guess = probe.decisions(scaled[rows]).argmax(axis=1)
        wanted = f1_score(codes[rows], guess, average="macro", labels=np.union1d(codes[rows], guess))
        assert record.fold_scores[k] == pytest.approx(wanted, abs=1e-14)
        assert np.isnan(record.fold_log_loss[k]) == (k in once)
    assert once


def test_a_fold_that_does_not_converge_fails_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(importlib.import_module("fastprobe.probes.logistic.newton"), "MAX_STEPS", 1)
    x, _ = problem(2)
    codes = (x[:, 0] > np.median(x[:, 0])).astype(float)  # separable: far to go
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        record = fastprobe.score_arrays(
            x, codes, kind="classification", protocol="logistic", alpha=1e-6, folds=FOLDS, device="cpu"
        ).record
    assert record.fold_reasons == ("Newton's method did not converge: take a larger alpha",) * FOLDS
    assert record.n_failed == FOLDS
    assert record.q is None
    assert record.notes == (
        "5 folds were not brought to the optimum by float32 directions and went on alone, in float64",
        "5 folds did not converge and have no score",
    )
    assert all(note in caplog.text for note in record.notes)
    assert record.n_refactorised == FOLDS
    assert np.isnan([*record.fold_roc_auc, *record.fold_log_loss]).all()
    assert min(record.fold_gradient_norms) > 0
    assert min(record.fold_residuals) > ACCEPTED


def test_the_scale_of_an_embedding_does_not_matter() -> None:
    x, codes = problem(3)
    options = {"kind": "classification", "alpha": 3.0, "folds": FOLDS, "device": "cpu"}
    wanted = fastprobe.score_arrays(x, codes, **options).record
    moved = fastprobe.score_arrays(1e4 * x - 40.0, codes, **options).record
    assert moved.fold_stats == wanted.fold_stats
    assert moved.fold_log_loss == pytest.approx(wanted.fold_log_loss, abs=4 * ACCEPTED * LARGEST)
