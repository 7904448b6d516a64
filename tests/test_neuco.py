"""The replayed probe: equal to its slow twin, whatever is done beside it, and honest about what surprises."""

from __future__ import annotations

import json
import logging

import neuco_twin
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, r2_score

import fastprobe
from fastprobe.backend import get_backend
from fastprobe.engine import score_path, score_protocols
from fastprobe.errors import InputError
from fastprobe.probes.neuco import ReplayTask, make_draws, normalized, replay, standardized, stream, task_score
from fastprobe.probes.neuco.scoring import PLAIN, RAW, RESIDUAL_TINY, TOTAL_TINY, epoch_scores
from fastprobe.protocol import FoldSpec, Protocol, ReplaySpec

BACKEND = get_backend("cpu", threads=2)

TOLERANCE = 5e-5
"""Of fold scores, relative where their size is above 1: float32 sums in another order, over a few hundred steps."""


def problem(seed: int, n: int = 60, d: int = 9, *, scale: float = 1.0):
    """Features, and a regression and a classification task that share some of the rows."""
    rng = np.random.default_rng(seed)
    x = (scale * rng.standard_normal((n, d))).astype(np.float32)
    y = x[:, 0] + 0.5 * rng.standard_normal(n)
    tasks = [
        ReplayTask("area", "regression", np.arange(n), normalized(y.astype(np.float64))),
        ReplayTask("class", "classification", np.arange(n - 7)[::-1].copy(), (y[: n - 7] > 0).astype(np.float32)[::-1]),
    ]
    return x, tasks


def protocol_of(folds: int = 3, **options) -> Protocol:
    return Protocol(name="neuco", probe="neuco", folds=FoldSpec(n_folds=folds), replay=ReplaySpec(**options))


def twin_of(x, tasks, protocol: Protocol):
    spec = protocol.replay
    given_ = [(task.name, task.kind, task.rows, task.y) for task in tasks]
    return neuco_twin.run(
        x, given_, folds=protocol.folds.n_folds, epochs=spec.epochs, batch=spec.batch_size, lr=spec.learning_rate,
        store=spec.store_probes,
    )[0]  # fmt: skip


def off(found, wanted) -> float:
    found, wanted = np.asarray(found, dtype=float), np.asarray(wanted, dtype=float)
    return float((np.abs(found - wanted) / np.maximum(1, np.abs(wanted))).max())


@given(
    seed=st.integers(0, 99), n=st.integers(20, 90), d=st.integers(1, 40), epochs=st.integers(1, 4),
    batch=st.sampled_from([1, 3, 16, 64, 1000]), rate=st.sampled_from([1e-4, 1e-3, 1e-2, 0.3]), folds=st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_replay_equals_its_twin(seed, n, d, epochs, batch, rate, folds) -> None:
    x, tasks = problem(seed, n, d)
    protocol = protocol_of(folds, epochs=epochs, batch_size=batch, learning_rate=rate)
    twin = twin_of(x, tasks, protocol)
    for result in replay(BACKEND, x, tasks, protocol, curves=True):
        wanted = twin[result.task.name]
        assert off(result.history, [fold.history for fold in wanted]) < TOLERANCE
        assert off(result.scores, [fold.score for fold in wanted]) < TOLERANCE
        assert off(result.curves.train_loss, [fold.train_loss for fold in wanted]) < TOLERANCE
        assert off(result.curves.val_loss, [fold.val_loss for fold in wanted]) < TOLERANCE
        orders = [fold.orders[best] for fold, best in zip(wanted, result.best, strict=True)]
        assert result.curves.trained.tolist() == orders
        record = score_record(result, protocol)
        q = fastprobe.q_score([fold.score for fold in wanted])
        assert abs(record.q - q.q) <= 1e-4 * max(1, abs(q.q))


def score_record(result, protocol):
    return task_score(
        result, protocol=protocol, submission="s", embedding_hash="e", label_hash="l", device="cpu"
    )  # fmt: skip


def results_of(x, tasks, protocol, backend=BACKEND, **options):
    return {result.task.name: result for result in replay(backend, x, tasks, protocol, **options)}


@pytest.mark.parametrize("threads", [1, 3])
def test_results_do_not_depend_on_threads(threads: int) -> None:
    x, tasks = problem(1)
    found = results_of(x, tasks, protocol_of(5), get_backend("cpu", threads=threads))
    for name, wanted in results_of(x, tasks, protocol_of(5)).items():
        assert (found[name].weights == wanted.weights).all()
        assert (found[name].history == wanted.history).all()


def test_results_do_not_depend_on_the_size_of_pieces(monkeypatch) -> None:
    x, tasks = problem(2)
    whole = results_of(x, tasks, protocol_of(5), curves=True)
    monkeypatch.setattr(stream, "_CHUNK", 1)
    for name, found in results_of(x, tasks, protocol_of(5), curves=True).items():
        for field in ("weights", "history", "best", "predictions", "rules"):
            assert (getattr(found, field) == getattr(whole[name], field)).all()
        for field in ("train_loss", "val_loss", "trained", "fitted"):
            assert (getattr(found.curves, field) == getattr(whole[name].curves, field)).all()


def test_a_row_may_serve_several_samples() -> None:
    x, (task, _) = problem(3)
    twice = ReplayTask("a", "regression", np.repeat(task.rows, 2), np.repeat(task.y, 2))
    spread = ReplayTask("a", "regression", np.arange(2 * len(x)), np.repeat(task.y, 2))
    found = results_of(x, [twice], protocol_of())["a"]
    assert (found.weights == results_of(np.repeat(x, 2, axis=0), [spread], protocol_of())["a"].weights).all()


def test_the_stored_probe_is_trained_on_all_rows_in_their_order() -> None:
    x, tasks = problem(4)
    protocol = protocol_of(2, epochs=3, batch_size=16, store_probes=True)
    results = results_of(x, tasks, protocol)
    draws = make_draws([(task.name, len(task.y)) for task in tasks], protocol, x.shape[1])
    for task in tasks:
        weights = np.empty((4, x.shape[1] + 1), dtype=np.float32)
        weights[0] = draws[task.name].refit_initial()
        order = np.tile(np.arange(len(task.y), dtype=np.int32), (3, 1))
        fitted = np.empty((0, 0), dtype=np.float32)
        logistic = task.kind == "classification"
        fastprobe_twin().train_linear(x, task.rows, task.y, order, 16, 1e-3, logistic, weights, fitted)
        assert off(results[task.name].refit, weights[-1]) < 1e-5
    twin = twin_of(x, tasks, protocol)
    assert off(results["class"].scores, [fold.score for fold in twin["class"]]) < TOLERANCE
    assert results_of(x, tasks, protocol_of(2, epochs=3))["area"].refit is None


def fastprobe_twin():
    from fastprobe.kernels import reference

    return reference


# --- metrics ---------------------------------------------------------------------------------------------------------


def one_epoch(outputs, labels, kind):
    scores = epoch_scores(np.float32(outputs)[None, None], np.float32(labels)[None], kind)
    return scores.values[0, 0], scores.rules[0, 0]


@given(seed=st.integers(0, 999), m=st.integers(2, 40))
@settings(max_examples=50, deadline=None)
def test_metrics_are_those_of_scikit_learn_where_no_convention_applies(seed: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    y, z = rng.random(m), rng.standard_normal(m) * 3
    y[0], y[1] = 0.0, 1.0  # a total sum of squares of at least a half
    value, rule = one_epoch(z, y, "regression")
    assert rule == PLAIN
    # tss is a difference of float32 numbers of the size of m, each off by half a unit in the last place
    room = 4 * np.finfo(np.float32).eps * m / float(((y - y.mean()) ** 2).sum())
    assert abs(value - r2_score(np.float32(y), np.float32(z))) <= room * max(1, abs(value - 1))
    z[0] = -1.0  # outside [0, 1]: logits
    value, rule = one_epoch(z, y > 0.5, "classification")
    assert rule == PLAIN
    assert value == np.float32(f1_score(y > 0.5, z > 0, zero_division=0))


@pytest.mark.parametrize(
    ("outputs", "labels", "kind", "value", "rule"),
    [
        ([0.5, 0.5001], [0.5, 0.5], "regression", 1.0, RESIDUAL_TINY),
        ([0.5, 0.6], [0.5, 0.5], "regression", 0.0, TOTAL_TINY),
        ([np.nan, 0.6], [0.5, 0.5], "regression", 0.0, TOTAL_TINY),
        ([np.nan, 0.6], [0.1, 0.5], "regression", np.nan, PLAIN),
        ([1e30, 0.6], [0.1, 0.5], "regression", -np.inf, PLAIN),
        ([0.4, 0.6], [1, 1], "classification", np.float32(2 / 3), RAW),
        ([0.4, 1.1], [1, 1], "classification", 1.0, PLAIN),
        ([0.0, 1.0], [0, 1], "classification", 1.0, RAW),
        ([-1.0, -2.0], [0, 0], "classification", 0.0, PLAIN),
        ([-1e-9, -2.0], [1, 1], "classification", 0.0, PLAIN),
        ([1e-9, -2.0], [1, 1], "classification", 0.0, PLAIN),  # its sigmoid rounds to 0.5 in float32
        ([np.nan, -2.0], [1, 1], "classification", 0.0, PLAIN),
    ],
)
def test_conventions_of_torchmetrics(outputs, labels, kind, value, rule) -> None:
    found = one_epoch(outputs, labels, kind)
    assert (found[0] == value or (np.isnan(found[0]) and np.isnan(value)), found[1]) == (True, rule)


# --- preparation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("embedding_dim", [None, 12])
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1000.0, 1.0), (3.0, 0.0)])
def test_standardisation_is_that_of_a_column_major_array(embedding_dim, mean, std) -> None:
    rng = np.random.default_rng(0)
    x = (mean + std * rng.standard_normal((501, 7))).astype(np.float32)
    columns = np.asfortranarray(np.pad(x, ((0, 0), (0, (embedding_dim or 7) - 7))))
    sigma = columns.std()
    wanted = (columns - columns.mean()) / (sigma if sigma != 0 else 1)
    found, scaling = standardized(x, embedding_dim=embedding_dim)
    assert found.flags.c_contiguous
    assert (found == wanted).all()
    assert (scaling.mean, scaling.std) == (columns.mean(), sigma if sigma != 0 else 1)
    padded, scaling = standardized(x, embedding_dim=embedding_dim, standardize=False)
    assert (padded == np.ascontiguousarray(np.pad(x, ((0, 0), (0, (embedding_dim or 7) - 7))))).all()
    assert (scaling.mean, scaling.std) == (0, 1)


def test_labels_are_mapped_to_0_and_1() -> None:
    assert normalized(np.array([2.0, 3.0, 6.0])).tolist() == [0.0, 0.25, 1.0]
    assert np.isnan(normalized(np.array([2.0, 2.0]))).all()


@pytest.mark.parametrize(
    ("kind", "y", "said"),
    [
        ("regression", np.zeros(10, np.float32), "at least 11"),
        ("classification", np.array([0, 1, 0.5], np.float32), "the label 0.5"),
        ("classification", np.full(3, np.nan, np.float32), "labels that are all the same"),
    ],
)
def test_labels_that_neuco_bench_cannot_score(kind, y, said) -> None:
    with pytest.raises(InputError, match=said):
        ReplayTask("a", kind, np.arange(len(y)), y)


# --- through the engine ----------------------------------------------------------------------------------------------


def bench_and_submission(n: int = 80, d: int = 6, seed: int = 0):
    rng = np.random.default_rng(seed)
    ids = [f"s{i:03d}" for i in range(n)]
    x = rng.standard_normal((n, d)).astype(np.float32)
    tasks = [
        fastprobe.Task.from_arrays("area", "regression", ids, x[:, 0] + 0.3 * rng.standard_normal(n)),
        fastprobe.Task.from_arrays("boats", "classification", ids[5:], (x[5:, 1] > 0).astype(float)),
        fastprobe.Task.from_arrays("crops", "regression", ids[::-1], (x[:, 2] + rng.standard_normal(n))[::-1]),
    ]
    return fastprobe.Benchmark.from_tasks(tasks), fastprobe.Submission.from_arrays("s", ids, x)


def fold_scores(scores, task: str) -> np.ndarray:
    return np.array(scores.get(scores.submissions[0], task).fold_scores, dtype=float)


def test_score_equals_the_twin() -> None:
    bench, sub = bench_and_submission()
    protocol = protocol_of(4)
    scores = fastprobe.score([sub], bench, protocol=protocol)
    x, _ = standardized(sub.x)
    rows = {i: k for k, i in enumerate(sub.ids.tolist())}
    tasks = [
        ReplayTask(task.name, task.kind, np.array([rows[i] for i in task.ids.tolist()]), normalized(task.y))
        for task in bench.tasks
    ]
    for name, folds in twin_of(x, tasks, protocol).items():
        assert off(fold_scores(scores, name), [fold.score for fold in folds]) < TOLERANCE
        row = scores.get("s", name)
        assert row.fold_epochs == tuple(1 + int(np.argmax(fold.history)) for fold in folds)
        assert (row.route, row.dtype, row.n_folds, row.iterations) == ("replay", "float32", 4, 20)


def test_only_labelled_rows_standardise() -> None:
    bench, sub = bench_and_submission()
    stray = fastprobe.Submission.from_arrays(
        "s", ["stray", *sub.ids.tolist()], np.vstack([np.full((1, 6), 1e6, np.float32), sub.x])
    )
    with_stray = fastprobe.score([stray], bench, protocol=protocol_of(2))
    plain = fastprobe.score([sub], bench, protocol=protocol_of(2))
    for name in bench.names:
        assert (fold_scores(with_stray, name) == fold_scores(plain, name)).all()


def test_tasks_left_out_change_the_later_ones_and_a_note_says_so() -> None:
    bench, sub = bench_and_submission()
    whole = fastprobe.score([sub], bench, protocol=protocol_of(3))
    part = fastprobe.score([sub], bench.select(["area", "crops"]), protocol=protocol_of(3))
    assert (fold_scores(part, "area") == fold_scores(whole, "area")).all()
    assert (fold_scores(part, "crops") != fold_scores(whole, "crops")).any()
    assert any("boats" in note for note in part.get("s", "crops").notes)
    assert not any("boats" in note for note in whole.get("s", "crops").notes)
    assert part.protocol["hash"] != whole.protocol["hash"]


def test_a_listed_stream_replays_a_task_at_its_place() -> None:
    bench, sub = bench_and_submission()
    whole = fastprobe.score([sub], bench, protocol=protocol_of(3))
    listed = protocol_of(3).bound_to([(task.name, len(task.y)) for task in bench.tasks])
    alone = fastprobe.score([sub], bench.select(["crops"]), protocol=listed)
    assert (fold_scores(alone, "crops") == fold_scores(whole, "crops")).all()
    assert alone.protocol["hash"] == whole.protocol["hash"]
    with pytest.raises(InputError, match="no task 'crops'"):
        fastprobe.score([sub], bench, protocol=protocol_of(3).bound_to([("area", 80), ("boats", 75)]))
    with pytest.raises(InputError, match="81 samples"):
        fastprobe.score([sub], bench.select(["area"]), protocol=protocol_of(3).bound_to([("area", 81)]))


def test_independent_scores_do_not_depend_on_other_tasks() -> None:
    bench, sub = bench_and_submission()
    protocol = Protocol.named("neuco-independent").with_options(folds=3)
    whole = fastprobe.score([sub], bench, protocol=protocol)
    for name in bench.names:
        alone = fastprobe.score([sub], bench.select([name]), protocol=protocol)
        assert (fold_scores(alone, name) == fold_scores(whole, name)).all()
        assert alone.protocol["hash"] == whole.protocol["hash"] == protocol.hash
    first = fastprobe.score([sub], bench, protocol=protocol_of(3))
    assert (fold_scores(first, "area") == fold_scores(whole, "area")).all()
    assert (fold_scores(first, "crops") != fold_scores(whole, "crops")).any()


def test_submissions_of_different_sizes_in_one_call() -> None:
    bench, sub = bench_and_submission()
    narrow = fastprobe.Submission.from_arrays("narrow", sub.ids, sub.x[:, :3])
    together = fastprobe.score([sub, narrow, renamed(sub)], bench, protocol=protocol_of(2))
    for one in (sub, narrow):
        alone = fastprobe.score([one], bench, protocol=protocol_of(2))
        for name in bench.names:
            assert together.get(one.name, name).fold_scores == alone.get(one.name, name).fold_scores
    assert together.get("again", "crops").fold_scores == together.get("s", "crops").fold_scores


def renamed(sub: fastprobe.Submission) -> fastprobe.Submission:
    return fastprobe.Submission.from_arrays("again", sub.ids, sub.x)


def test_missing_samples_shift_the_draws_and_a_note_says_so() -> None:
    bench, sub = bench_and_submission()
    fewer = fastprobe.Submission.from_arrays("s", sub.ids[1:], sub.x[1:])
    with pytest.raises(InputError, match="lenient"):
        fastprobe.score([fewer], bench, protocol=protocol_of(2))
    scores = fastprobe.score([fewer], bench, protocol=protocol_of(2), lenient=True)
    row = scores.get("s", "area")
    assert row.n_samples == 79
    assert row.repairs == {"samples_without_embedding_dropped": 1}
    assert any("not comparable" in note for note in row.notes)


def test_padding_in_the_protocol() -> None:
    bench, sub = bench_and_submission()
    padded = fastprobe.Submission.from_arrays("s", sub.ids, np.pad(sub.x, ((0, 0), (0, 4))))
    found = fastprobe.score([sub], bench, protocol=protocol_of(2, embedding_dim=10))
    wanted = fastprobe.score([padded], bench, protocol=protocol_of(2))
    for name in bench.names:
        assert found.get("s", name).fold_scores == wanted.get("s", name).fold_scores
    with pytest.raises(InputError, match="at most 5"):
        fastprobe.score([sub], bench, protocol=protocol_of(2, embedding_dim=5))


def test_a_task_whose_metric_is_undefined_has_no_q(caplog) -> None:
    _, sub = bench_and_submission()
    flat = fastprobe.Task.from_arrays("flat", "regression", sub.ids, np.full(80, 7.0))
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        scores = fastprobe.score([sub], fastprobe.Benchmark.from_tasks([flat]), protocol=protocol_of(3))
    row = scores.get("s", "flat")
    assert row.fold_scores == (None, None, None)
    assert (row.q, row.n_failed, row.fold_epochs) == (None, 3, (0, 0, 0))
    assert "NaN after every epoch" in row.fold_reasons[0]
    assert "flat" in caplog.text
    json.loads(scores.to_json())
    assert fastprobe.Scores.from_arrow(scores.to_arrow()).get("s", "flat").fold_epochs == (0, 0, 0)


def test_notes_on_the_epoch_and_on_raw_outputs() -> None:
    rng = np.random.default_rng(5)
    ids = [f"s{i}" for i in range(60)]
    # features so small that outputs stay near the bias, which begins inside [0, 1] in some folds
    sub = fastprobe.Submission.from_arrays("s", ids, (1e-3 * rng.standard_normal((60, 4))).astype(np.float32))
    task = fastprobe.Task.from_arrays("boats", "classification", ids, np.arange(60) % 2)
    protocol = Protocol(
        name="neuco", probe="neuco", standardize=False, folds=FoldSpec(n_folds=20), replay=ReplaySpec(epochs=3)
    )
    row = fastprobe.score([sub], fastprobe.Benchmark.from_tasks([task]), protocol=protocol).rows[0]
    x, tasks = sub.x, [ReplayTask("boats", "classification", np.arange(60), np.float32(np.arange(60) % 2))]
    (result,) = replay(BACKEND, x, tasks, protocol)
    raw = sum(not ((p < 0) | (p > 1)).any() for p in result.predictions)
    assert 0 < raw < 20
    assert any(note.endswith(f"in {raw} of 20 folds") and "raw outputs" in note for note in row.notes)


def test_a_note_says_where_the_epoch_was_chosen() -> None:
    bench, sub = bench_and_submission()
    protocol = protocol_of(20, epochs=5, learning_rate=0.2)
    row = fastprobe.score([sub], bench.select(["area"]), protocol=protocol).rows[0]
    task = ReplayTask("area", "regression", np.arange(80), normalized(bench.tasks[0].y))
    (result,) = replay(BACKEND, standardized(sub.x)[0], [task], protocol)
    early = int((result.history.max(axis=1) > result.history[:, -1]).sum())
    assert 0 < early < 20
    assert f"epoch chosen on the held-out rows: better than the last one in {early} of 20 folds" in row.notes


def test_a_note_says_where_r2_lost_digits() -> None:
    _, sub = bench_and_submission()
    far = fastprobe.Task.from_arrays("far", "regression", sub.ids, 5000 + sub.x[:, 0].astype(np.float64))
    near = fastprobe.Task.from_arrays("near", "regression", sub.ids, sub.x[:, 0].astype(np.float64))
    bench = fastprobe.Benchmark.from_tasks([far, near])
    scores = fastprobe.score([sub], bench, protocol=protocol_of(3, normalize_labels=False))
    assert any("labels far from zero" in note and "in 3 of 3 folds" in note for note in scores.get("s", "far").notes)
    assert not any("far from zero" in note for note in scores.get("s", "near").notes)
    normalised = fastprobe.score([sub], bench, protocol=protocol_of(3))
    assert not any("far from zero" in note for row in normalised for note in row.notes)


def test_several_protocols_in_one_pass() -> None:
    bench, sub = bench_and_submission()
    protocols = [protocol_of(3), Protocol.named("ridge").with_options(folds=3)]
    neuco, ridge = score_protocols([sub], bench, protocols=protocols)
    for found, protocol in zip((neuco, ridge), protocols, strict=True):
        alone = fastprobe.score([sub], bench, protocol=protocol)
        assert [row.fold_scores for row in found] == [row.fold_scores for row in alone]
        assert found.protocol == alone.protocol


def test_score_arrays() -> None:
    bench, sub = bench_and_submission()
    one = fastprobe.score_arrays(sub.x, bench.tasks[0].y, protocol=protocol_of(3))
    task = fastprobe.Benchmark.from_tasks([bench.tasks[0]])
    assert one.fold_scores.tolist() == list(fastprobe.score([sub], task, protocol=protocol_of(3)).rows[0].fold_scores)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alpha": 1.0}, "neuco has none"),
        ({"route": "direct"}, "which has none"),
    ],
)
def test_options_without_use_are_refused(options, said) -> None:
    bench, sub = bench_and_submission()
    with pytest.raises(InputError, match=said):
        fastprobe.score([sub], bench, protocol="neuco", **options)
    with pytest.raises(InputError, match="neuco has none"):
        score_path([sub], bench, protocol="neuco", alphas=[1.0, 2.0])
