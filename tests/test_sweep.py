"""Sweeps: every row equals scikit-learn refits, and at full size the scorer; resuming; bad input."""

from __future__ import annotations

import itertools
import logging
import shutil
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA
from sweep_refits import FOLDS, SCORES, Refits, assert_rows, assert_summary, small_benchmark, submission

import fastprobe
from fastprobe import Benchmark, FoldSpec, InputError, Protocol, Submission, Sweep, Task
from fastprobe.backend import get_backend
from fastprobe.probes.prefix.leverage import pays
from fastprobe.sweeps import job

CPU = get_backend("cpu", threads=1)
IDS, X, BENCHMARK = small_benchmark()
RIDGE = Protocol(probe="ridge", folds=FOLDS)


def sweep(submissions: Any = None, benchmark: Benchmark = BENCHMARK, **options: Any) -> Sweep:
    submissions = [submission("team")] if submissions is None else submissions
    return fastprobe.sweep(submissions, benchmark, **{"protocol": RIDGE, "device": CPU, **options})


def refits(dtype: Any = np.float32, **changes: Any) -> Refits:
    """Refits of :func:`submission`."""
    values = submission("team", dtype).x.astype(np.float64)
    return Refits(**{"values": values, "ids": IDS, "benchmark": BENCHMARK, "protocol": RIDGE, **changes})


# --- The scorer, at full size -----------------------------------------------------------------------------------------


@cache
def assignment(kind: str) -> str:
    """Content of a file of groups, or of a split."""
    cells = [("eval" if i % 3 == 0 else "dev") if kind == "split" else f"g{i % 7}" for i in range(len(IDS))]
    return f"id,{kind}\n" + "".join(f"{i},{cell}\n" for i, cell in zip(IDS, cells, strict=True))


GRID = (0.1, 1.0, 10.0, 100.0)
PROTOCOLS = {
    "ridge": Protocol(probe="ridge", alpha=1.0, folds=FOLDS),
    "ridge 100": Protocol(probe="ridge", folds=FOLDS),
    "ridge auto": Protocol(probe="ridge", alpha="auto", folds=FOLDS),
    "closed-form": Protocol(alpha_grid=(1.0, 100.0), folds=FOLDS),
    "closed-form 3": Protocol(alpha=3.0, folds=FOLDS),
    "logistic": Protocol(probe="logistic", alpha=0.5, folds=FOLDS),
    "as read": Protocol(probe="ridge", alpha=7.0, standardize=False, folds=FOLDS),
    "as read, auto": Protocol(probe="ridge", alpha="auto", alpha_grid=GRID, standardize=False, folds=FOLDS),
    "stratified-shuffle": replace(RIDGE, folds=FoldSpec("stratified-shuffle", n_folds=4, test_size=0.25)),
    "stratified-kfold": replace(
        RIDGE, alpha="auto", alpha_grid=GRID[1:3], folds=FoldSpec("stratified-kfold", n_folds=3)
    ),
    "eps and failures": replace(RIDGE, eps=0.1, max_failed=0.0),
}


LONG = ("ridge 100", "closed-form 3", "as read, auto", "stratified-shuffle", "group-shuffle")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in LONG else [])
        for name in [*PROTOCOLS, "group-shuffle", "group-kfold", "fixed"]
    ],
)
def test_full_size_equals_the_scorer(name: str, tmp_path: Path) -> None:
    if name in PROTOCOLS:
        protocol = PROTOCOLS[name]
    else:
        file = tmp_path / "assigned.csv"
        file.write_text(assignment("split" if name == "fixed" else "group"))
        folds = FoldSpec(name, n_folds=1 if name == "fixed" else 3, file=str(file))  # type: ignore[arg-type]
        protocol = Protocol(probe="ridge", alpha="auto", alpha_grid=GRID, folds=folds)
    teams = [submission("team"), submission("codes", np.int8)][: 2 if name in ("ridge", "as read", "logistic") else 1]
    with_regressions = protocol.probe != "logistic"
    benchmark = BENCHMARK if with_regressions else BENCHMARK.select(["crops", "ships"])
    found = sweep(teams, benchmark, protocol=protocol)
    wanted = fastprobe.score(teams, benchmark, protocol=protocol, device=CPU)
    rows = {(row["submission"], row["task"]): row for row in found.rows}
    assert len(found) == len(rows) == len(wanted.rows) == len(teams) * len(benchmark.tasks)
    for other in wanted.rows:
        row = rows[other.submission, other.task]
        assert row["fold_scores"] == pytest.approx(other.fold_scores, abs=SCORES)
        assert row["q"] == pytest.approx(other.q, abs=1e-6)
        assert row["mean"] == pytest.approx(other.mean, abs=SCORES)
        assert row["std"] == pytest.approx(other.std, abs=SCORES)
        assert row["fold_alphas"] == (list(other.fold_alphas) if protocol.alpha == "auto" else [])
        assert row["alpha"] == (None if protocol.alpha == "auto" else protocol.alpha)
        assert row["probe"] == protocol.probe_for(other.kind)
        for ours, theirs in {"seed": None, "order": "given", "quantizer": "none", "fraction": 1.0}.items():
            assert row[ours] == theirs
        same = ("kind", "metric", "n_samples", "n_features", "n_folds", "n_failed", "device", "protocol_hash")
        for column in (*same, "embedding_hash", "label_hash"):
            assert row[column] == getattr(other, column), column
        assert row["size"] == row["n_features"] == 6
        assert row["notes"] == [note for note in other.notes if "optimum by float32" not in note]
        assert 0 < row["residual"] < 1e-6
        if protocol.eps == 0.02:
            assert_summary(row)
    assert found.protocol == protocol.to_dict()


def test_the_hash_of_a_row_is_that_of_the_protocol_at_its_strength() -> None:
    found = sweep(alphas=[3.0, 0.5])
    for row in found.rows:
        assert row["protocol_hash"] == RIDGE.with_options(alpha=row["alpha"]).hash
    assert {row["alpha"] for row in found.rows} == {0.5, 3.0}
    chosen = sweep(alphas=[3.0, 0.5], alpha="auto")
    wanted = Protocol(probe="ridge", alpha="auto", alpha_grid=(0.5, 3.0), folds=FOLDS)
    assert {row["protocol_hash"] for row in chosen.rows} == {wanted.hash}
    scores = fastprobe.score([submission("team")], BENCHMARK, protocol=wanted, device=CPU)
    for row, other in zip(chosen.rows, scores.rows, strict=True):
        assert row["fold_alphas"] == list(next(r for r in scores.rows if r.task == row["task"]).fold_alphas)
        assert other.protocol_hash == row["protocol_hash"]


# --- scikit-learn, at every size --------------------------------------------------------------------------------------


def test_sizes_and_strengths_in_every_order() -> None:
    found = sweep(sizes=[1, 3, 6], orders=["given", "variance", "pca", "random"], random_orders=2, alphas=[1.0, 100.0])
    assert_rows(found, refits())
    keys = {(r["task"], r["order"], r["seed"], r["size"], r["alpha"]) for r in found.rows}
    assert len(keys) == len(found) == 4 * 5 * 3 * 2
    assert {(r["order"], r["seed"]) for r in found.rows} == {
        ("given", None), ("variance", None), ("pca", None), ("random", 0), ("random", 1)
    }  # fmt: skip


def test_principal_components_of_all_rows() -> None:
    """Rows without a label among them; no label is looked at."""
    assert_rows(sweep(sizes=[2, 6], orders=["pca"], pca_rows="all", alphas=[1.0]), refits(pca_rows="all"))


def test_every_size_of_submissions_of_different_widths() -> None:
    narrow = Submission("narrow", IDS, X[:, :2])
    teams = [submission("team"), narrow]
    found = sweep(teams, sizes="all")
    assert [r["size"] for r in found.select(submission="team", task="ships").rows] == [1, 2, 3, 4, 5, 6]
    assert [r["size"] for r in found.select(submission="narrow", task="ships").rows] == [1, 2]
    assert_rows(found.select(submission="narrow"), refits(values=X[:, :2]))
    sizes, means = found.curve(submission="team", task="area")
    assert sizes.tolist() == [1, 2, 3, 4, 5, 6]
    assert means.tolist() == [r["mean"] for r in found.select(submission="team", task="area").rows]


@pytest.mark.parametrize("folds", [FoldSpec("kfold", n_folds=3), FoldSpec("stratified-shuffle", n_folds=3)])
def test_other_folds(folds: FoldSpec) -> None:
    protocol = replace(RIDGE, folds=folds)
    assert_rows(sweep(sizes=[2, 5], protocol=protocol), refits(protocol=protocol))


def test_features_as_they_were_read() -> None:
    protocol = replace(RIDGE, standardize=False)
    assert_rows(sweep(sizes=[2, 5], orders=["variance"], protocol=protocol), refits(protocol=protocol))


def test_more_dimensions_than_samples() -> None:
    rng = np.random.default_rng(0)
    wide = Submission("wide", IDS, rng.standard_normal((len(IDS), 130)))
    found = sweep([wide], BENCHMARK.select(["area", "crops"]), sizes=[1, 64, 65, 130], orders=["given", "pca"])
    # scikit-learn has no more components than training rows; beyond those, none has a part in a prediction
    beyond = refits(values=wide.x)
    assert_rows(found.select(order="given"), beyond)
    for row in found.select(order="pca").rows:
        assert row["fold_scores"] == pytest.approx(beyond.fold_scores({**row, "size": min(row["size"], 49)}), abs=1e-8)


# --- Bits -------------------------------------------------------------------------------------------------------------

STORED = [(32, "none"), *itertools.product((16, 8, 4, 2), ("uniform", "dimension")),
          (1, "sign"), (1, "uniform"), (1, "dimension")]  # fmt: skip


@cache
def stored() -> Sweep:
    return sweep(
        sizes=[3, 6], orders=["given", "variance"], bits=[32, 16, 8, 4, 2, 1],
        quantizers=["uniform", "dimension", "sign"], alphas=[5.0],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bits", "quantizer"),
    [pytest.param(*width, marks=[pytest.mark.slow] if width[0] in (16, 2) else []) for width in STORED],
)
def test_every_bit_width_equals_the_quantised_embedding(bits: int, quantizer: str) -> None:
    """By scikit-learn at some sizes, and by the scorer at the full one; the order is that of what was read."""
    rows = stored().select(bits=bits, quantizer=quantizer)
    assert len(rows) == 4 * 2 * 2
    read = submission("team").x
    values = fastprobe.quantize(read, bits, "uniform" if bits == 32 else quantizer).values()
    assert_rows(rows, refits(values=values, by_variance=read.astype(np.float64).var(axis=0)))
    scores = fastprobe.score([Submission("team", IDS, values)], BENCHMARK, protocol=RIDGE, alpha=5.0, device=CPU)
    for other in scores.rows:
        (row,) = rows.select(task=other.task, size=6, order="given").rows
        assert row["fold_scores"] == pytest.approx(other.fold_scores, abs=SCORES)
        assert row["q"] == pytest.approx(other.q, abs=1e-6)


def test_all_bit_widths_are_there() -> None:
    found = {(row["bits"], row["quantizer"]) for row in stored().rows}
    assert found == set(STORED)
    default = {(row["bits"], row["quantizer"]) for row in sweep(bits=[32, 8, 1]).rows}
    assert default == {(32, "none"), (8, "uniform"), (1, "sign")}


def test_bytes_are_those_of_the_leading_numbers_rounded_up() -> None:
    for row in stored().rows:
        assert row["bytes_per_sample"] == -(-row["size"] * row["bits"] // 8)
    for dtype, bits in ((np.float64, 64), (np.float32, 32), (np.float16, 16), (np.int8, 8), (np.uint8, 8)):
        (row,) = sweep([submission("team", dtype)], BENCHMARK.select(["area"]), sizes=[5]).rows
        assert (row["bits"], row["quantizer"], row["bytes_per_sample"]) == (bits, "none", -(-5 * bits // 8))


def test_bits_of_principal_components_of_all_rows() -> None:
    """They keep the scale of the embedding. A range for every component makes their signs indifferent."""
    labelled = np.isin(IDS, BENCHMARK.labelled_ids)
    read = submission("team").x.astype(np.float64)
    components = PCA(svd_solver="full").fit_transform((read - read[labelled].mean()) / read[labelled].std())
    found = sweep(sizes=[2, 6], orders=["pca"], pca_rows="all", bits=[8, 2], quantizers=["dimension"], alphas=[1.0])
    for bits in (8, 2):
        values = fastprobe.quantize(components, bits, "dimension").values()
        rows = found.select(bits=bits)
        given = Refits(values, IDS, BENCHMARK, RIDGE, standard=True)
        for row in rows.rows:
            assert row["fold_scores"] == pytest.approx(given.fold_scores({**row, "order": "given"}), abs=SCORES)


def test_ranges_of_one_width_at_different_places() -> None:
    """Steps are all the same, and still the codes are not the values: their scale is another."""
    rng = np.random.default_rng(1)
    x = np.stack([rng.permutation(len(IDS)) for _ in range(4)], axis=1) + np.array([0.0, 100.0, -300.0, 7.0])
    found = sweep([Submission("team", IDS, x)], bits=[8, 4], quantizers=["dimension"], alphas=[1.0])
    for bits in (8, 4):
        quantized = fastprobe.quantize(x, bits, "dimension")
        assert len(set(quantized.step.tolist())) == 1
        assert_rows(found.select(bits=bits), refits(values=quantized.values()))


@pytest.mark.parametrize("bits", [None, [32, 16, 8, 1]])
def test_constant_embeddings_and_dimensions(bits: list[int] | None) -> None:
    """The mean of the training labels is all that is left, in any width; a dimension without a range adds nothing."""
    area, same = BENCHMARK.select(["area"]), Submission("team", IDS, np.full((len(IDS), 3), 7.0))
    found = sweep([same], area, bits=bits, orders=["given", "pca"] if bits is None else ["given"])
    scores = fastprobe.score([same], area, protocol=RIDGE, device=CPU)
    for row in found.rows:
        assert row["fold_scores"] == pytest.approx(scores.rows[0].fold_scores, abs=1e-12)
        assert row["notes"] == []
    half = np.column_stack([X[:, :2], np.full(len(IDS), 3.0), X[:, 2]])
    flat = sweep([Submission("team", IDS, half)], area, bits=[8], quantizers=["dimension"], sizes="all")
    assert_rows(flat, refits(values=fastprobe.quantize(half, 8, "dimension").values(), benchmark=area))


class Counting:
    """A backend that counts the features that it is given, in bytes, and keeps what type they were."""

    def __init__(self, backend: Any) -> None:
        self._backend, self.given = backend, list[Any]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def asarray(self, a: Any) -> Any:
        if np.ndim(a) == 2 and a.shape[1] == 64:
            self.given.append(a.dtype)
        return self._backend.asarray(a)


@pytest.mark.parametrize("dtype", [np.uint8, pytest.param(np.int8, marks=pytest.mark.slow)])
def test_codes_are_scored_without_a_float_copy_of_all_of_them(dtype: Any) -> None:
    rng = np.random.default_rng(2)
    n, d = 20_000, 64
    x = rng.integers(0, 100, (n, d)).astype(dtype)
    ids = np.char.add("s", np.arange(n).astype(str))
    task = Task.from_arrays("area", "regression", ids, x[:, 0] + rng.standard_normal(n))
    one, benchmark = Submission("team", ids, x), Benchmark.from_tasks([task])
    backend: Any = Counting(CPU)
    folds = FoldSpec(n_folds=3, test_size=0.02)
    tracemalloc.start()
    try:
        fastprobe.sweep([one], benchmark, sizes="all", protocol=replace(RIDGE, folds=folds), device=backend)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * n * d
    assert set(backend.given) == {np.dtype(dtype)}


def test_codes_of_wide_embeddings_are_whitened_fold_by_fold() -> None:
    rng = np.random.default_rng(3)
    n, d, folds = 12_000, 256, FoldSpec(n_folds=40, test_size=0.004)
    x = rng.integers(0, 100, (n, d)).astype(np.uint8)
    assert pays(n, d, 48, 40, CPU.rates, kept=False)
    ids = np.char.add("s", np.arange(n).astype(str))
    task = Task.from_arrays("area", "regression", ids, x[:, :9].sum(axis=1) + 30 * rng.standard_normal(n))
    benchmark, protocol = Benchmark.from_tasks([task]), replace(RIDGE, folds=folds)
    one, same = Submission("team", ids, x), Submission("team", ids, x.astype(np.float64))
    tracemalloc.start()
    try:
        found = fastprobe.sweep([one], benchmark, sizes="all", protocol=protocol, device=CPU)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * n * d
    wanted = fastprobe.sweep([same], benchmark, sizes="all", protocol=protocol, device=CPU)
    for a, b in zip(found.rows, wanted.rows, strict=True):
        np.testing.assert_allclose(a["fold_scores"], b["fold_scores"], atol=1e-12)
        np.testing.assert_allclose(a["q"], b["q"], atol=1e-10)


# --- Learning curves --------------------------------------------------------------------------------------------------


def test_learning_curves() -> None:
    found = sweep(sizes=[2, 6], orders=["given", "pca"], fractions=[0.1, 0.4, 1.0], alphas=[1.0, 100.0])
    assert_rows(found, refits())
    assert {(row["task"], row["fraction"], row["n_train"]) for row in found.rows} == {
        *((task, *pair) for task in ("area", "crops", "ships") for pair in ((0.1, 5), (0.4, 20), (1.0, 49))),
        *(("width", *pair) for pair in ((0.1, 4), (0.4, 14), (1.0, 33))),
    }  # fmt: skip


def test_learning_curves_of_codes_with_ranges_of_their_own() -> None:
    found = sweep(sizes=[3], bits=[4], quantizers=["dimension"], fractions=[0.2, 0.7], alphas=[2.0])
    values = fastprobe.quantize(submission("team").x, 4, "dimension").values()
    assert_rows(found, refits(values=values))


# --- Strengths chosen inside the training rows ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("order", "fraction"),
    [("given", 1.0), ("given", 0.5), ("pca", 1.0), pytest.param("pca", 0.5, marks=pytest.mark.slow)],
)
def test_the_strength_of_every_size_is_that_of_a_naive_nested_choice(order: str, fraction: float) -> None:
    grid = (0.1, 3.0, 100.0, 1000.0)
    protocol = Protocol(probe="ridge", alpha="auto", alpha_grid=grid, folds=FOLDS)
    found = sweep(sizes=[1, 3, 6], orders=[order], fractions=[fraction], protocol=protocol)
    given = refits(protocol=protocol)
    assert_rows(found, given)
    for row in found.rows:
        assert row["fold_alphas"] == given.chosen(row, grid), (row["task"], row["size"])
    assert len({alpha for row in found.rows for alpha in row["fold_alphas"]}) > 1
    assert {row["alpha"] for row in found.rows} == {None}


@pytest.mark.parametrize("order", ["given", "pca"])
def test_no_row_left_to_choose_by_takes_the_largest_strength(order: str, tmp_path: Path) -> None:
    """Few rows are drawn, of one group, which must not be separated."""
    file = tmp_path / "groups.csv"
    file.write_text("id,group\n" + "".join(f"{i},g{k % 2}\n" for k, i in enumerate(IDS)))
    folds = FoldSpec("group-kfold", n_folds=2, file=str(file))
    found = sweep(protocol=Protocol(probe="ridge", alpha="auto", folds=folds), fractions=[0.2, 1.0], orders=[order])
    for row in found.rows:
        assert row["fold_alphas"] == [1e6, 1e6]
        fixed = sweep(
            protocol=Protocol(probe="ridge", alpha=1e6, folds=folds), fractions=[row["fraction"]], orders=[order]
        )
        assert row["fold_scores"] == pytest.approx(fixed.select(task=row["task"]).rows[0]["fold_scores"], abs=1e-12)


# --- Logistic probes --------------------------------------------------------------------------------------------------


def test_logistic_sizes_and_fractions() -> None:
    protocol = Protocol(probe="logistic", folds=FOLDS)
    classes = BENCHMARK.select(["crops", "ships"])
    found = sweep(
        None, classes, protocol=protocol, sizes=[4], orders=["given", "variance"], fractions=[0.5, 1.0],
        alphas=[0.3],
    )  # fmt: skip
    assert len(found) == 2 * 2 * 2
    assert_rows(found, refits(protocol=protocol, benchmark=classes))
    assert {row["probe"] for row in found.rows} == {"logistic"}
    assert max(row["residual"] for row in found.rows) < 1e-6


@pytest.mark.slow
def test_logistic_bits_and_principal_components_of_all_rows() -> None:
    protocol, classes = Protocol(probe="logistic", folds=FOLDS), BENCHMARK.select(["crops", "ships"])
    found = sweep(None, classes, protocol=protocol, sizes=[6], bits=[8, 1], alphas=[1.0])
    for bits, quantizer in ((8, "uniform"), (1, "sign")):
        values = fastprobe.quantize(submission("team").x, bits, quantizer).values()
        assert_rows(found.select(bits=bits), refits(values=values, protocol=protocol, benchmark=classes))
    turned = sweep(None, classes, protocol=protocol, sizes=[2], orders=["pca"], pca_rows="all", alphas=[1.0])
    assert_rows(turned, refits(protocol=protocol, benchmark=classes, pca_rows="all"))


def test_logistic_strengths_of_every_size_are_those_of_the_scorer() -> None:
    """Which standardises by what it is given: a cut embedding of another scale has strengths of another unit."""
    classes = BENCHMARK.select(["crops", "ships"])
    read = submission("team").x.astype(np.float64)
    labelled = np.isin(IDS, BENCHMARK.labelled_ids)
    whole = (read - read[labelled].mean()) / read[labelled].std()
    cut = Protocol(probe="logistic", alpha="auto", alpha_grid=GRID[1:], folds=FOLDS, standardize=False)
    found = sweep(None, classes, protocol=replace(cut, standardize=True), sizes=[2, 6])
    for size in (2, 6):
        scores = fastprobe.score([Submission("team", IDS, whole[:, :size])], classes, protocol=cut, device=CPU)
        for other in scores.rows:
            (row,) = found.select(task=other.task, size=size).rows
            assert row["fold_alphas"] == list(other.fold_alphas)
            assert row["fold_scores"] == pytest.approx(other.fold_scores, abs=1e-14)


def test_closed_form_takes_ridge_for_regressions_and_logistic_for_classes() -> None:
    protocol = Protocol(alpha=2.0, folds=FOLDS)
    found = sweep(sizes=[2], protocol=protocol, fractions=[0.6, 1.0])
    assert {(row["kind"], row["probe"]) for row in found.rows} == {
        ("regression", "ridge"), ("classification", "logistic")
    }  # fmt: skip
    assert_rows(found, refits(protocol=protocol))


# --- Joined submissions -----------------------------------------------------------------------------------------------


def teams() -> list[Submission]:
    """Three, of which one is of codes; rows are in different orders."""
    rng = np.random.default_rng(5)
    third = 10 * rng.standard_normal((len(IDS), 3)) + X[:, 3:]
    turned = np.arange(len(IDS))[::-1]
    return [
        submission("a"),
        Submission("b", IDS[turned], np.round(20 * X[turned, :2]).clip(-128, 127).astype(np.int8)),
        Submission("c", IDS, third),
    ]


def side_by_side(members: list[Submission], bits: int | None = None, **changes: Any) -> Refits:
    """The standardised parts, of the labelled samples that all have."""
    everywhere = np.isin(IDS, BENCHMARK.labelled_ids) & np.all([np.isin(IDS, one.ids) for one in members], axis=0)
    parts = []
    for one in members:
        values = one.x.astype(np.float64) if bits is None else fastprobe.quantize(one.x, bits).values()
        known = np.isin(one.ids, BENCHMARK.labelled_ids)
        place = {sample: i for i, sample in enumerate(one.ids.tolist())}
        rows = [place[sample] for sample in IDS[everywhere].tolist()]
        parts.append(((values - values[known].mean()) / values[known].std())[rows])
    return refits(**{"values": np.concatenate(parts, axis=1), "ids": IDS[everywhere], "standard": True, **changes})


SETS = {"a+b": (0, 1), "a+c": (0, 2), "b+c": (1, 2), "a+b+c": (0, 1, 2)}


def test_joined_submissions_are_their_standardised_parts_side_by_side() -> None:
    members, some = teams(), BENCHMARK.select(["area", "crops"])
    found = sweep(members, some, join=3, sizes="all", alphas=[3.0])
    assert [*dict.fromkeys(found.table["submission"].to_pylist())] == ["a", "b", "c", *SETS]
    for name, which in SETS.items():
        rows = found.select(submission=name)
        chosen = [members[i] for i in which]
        width = sum(one.x.shape[1] for one in chosen)
        assert [row["size"] for row in rows.select(task="area").rows] == list(range(1, width + 1))
        assert {row["n_features"] for row in rows.rows} == {width}
        assert_rows(rows.select(task="area"), side_by_side(chosen))
        full = {row["task"]: row for row in rows.select(size=width).rows}
        given = side_by_side(chosen)
        assert full["crops"]["fold_scores"] == pytest.approx(given.fold_scores(full["crops"]), abs=SCORES)
    assert len(found.select(submission="a")) == len(sweep(members[:1], some, sizes="all", alphas=[3.0]))


def test_joined_submissions_in_other_orders_and_with_fewer_labels() -> None:
    members = teams()
    found = sweep(
        members[1:], BENCHMARK.select(["width", "ships"]), join=2, sizes=[1, 2], fractions=[0.4, 1.0],
        orders=["variance", "pca", "random"], random_orders=1,
    ).select(submission="b+c")  # fmt: skip
    assert_rows(found, side_by_side(members[1:]))
    turned = sweep(members[1:], BENCHMARK.select(["area"]), join=2, sizes=[1, 2], orders=["pca"], pca_rows="all")
    assert_rows(turned.select(submission="b+c"), side_by_side(members[1:], pca_rows="all"))


def test_joined_bits_and_bytes() -> None:
    members = teams()
    found = sweep(members, BENCHMARK.select(["area"]), join=2, bits=[32, 4], sizes=[1, 2], alphas=[2.0])
    for row in found.rows:
        assert row["bytes_per_sample"] == -(-row["size"] * row["bits"] // 8)
    assert_rows(found.select(submission="a+c", bits=4), side_by_side([members[0], members[2]], bits=4))
    read = sweep(members, BENCHMARK.select(["area"]), join=2, sizes=[1, 2]).select(submission="a+b", size=2)
    (row,) = read.rows
    assert (row["bits"], row["bytes_per_sample"]) == (None, 8)  # 32-bit numbers before those of 8 bits
    whole = sweep([members[1], members[0]], BENCHMARK.select(["area"]), join=2, sizes="all").select(submission="b+a")
    assert whole.table["bytes_per_sample"].to_pylist() == [1, 2, 6, 10, 14, 18, 22, 26]


def test_joined_as_they_were_read() -> None:
    members = [teams()[0], teams()[2]]
    protocol = replace(RIDGE, standardize=False)
    found = sweep(members, BENCHMARK.select(["area"]), join=2, sizes=[1, 3], protocol=protocol)
    values = np.concatenate([one.x.astype(np.float64) for one in members], axis=1)
    assert_rows(found.select(submission="a+c"), refits(values=values, protocol=protocol))


# --- What cannot be scored --------------------------------------------------------------------------------------------


def test_folds_without_a_score_are_null_with_a_note(tmp_path: Path) -> None:
    """Held-out labels that are constant, training labels of one class; other folds and tasks go on."""
    n = len(IDS)
    groups = np.arange(n) // 18
    file = tmp_path / "groups.csv"
    file.write_text("id,group\n" + "".join(f"{i},g{g}\n" for i, g in zip(IDS, groups, strict=True)))
    protocol = replace(RIDGE, folds=FoldSpec("group-kfold", n_folds=4, file=str(file)))
    lonely = np.where(groups == 1, np.arange(n) % 2, 0.0)
    steps = np.where(groups < 2, 5.0, X[:, 0])
    benchmark = Benchmark.from_tasks(
        [
            Task.from_arrays("lonely", "classification", IDS, lonely),
            Task.from_arrays("steps", "regression", IDS, steps),
            Task.from_arrays("area", "regression", IDS, X[:, 1]),
        ]
    )
    found = sweep([submission("team")], benchmark, sizes=[1, 6], orders=["given", "pca"], protocol=protocol)
    scores = fastprobe.score([submission("team")], benchmark, protocol=protocol, device=CPU)
    notes = {
        "lonely": [
            "1 folds have training labels of one class",
            "3 folds have no score: held-out labels are of one class",
        ],
        "steps": ["2 folds have no score: held-out labels are constant"],
        "area": [],
    }
    for row in found.rows:
        other = scores.get("team", row["task"])
        assert [s is None for s in row["fold_scores"]] == [s is None for s in other.fold_scores]
        assert row["notes"] == notes[row["task"]]
        assert_summary(row)
    assert found.select(task="lonely").rows[0]["n_failed"] == 4
    assert found.select(task="steps").rows[0]["n_failed"] == 2
    logistic = sweep([submission("team")], benchmark.select(["lonely"]), protocol=replace(protocol, probe="logistic"))
    (row,) = logistic.rows
    assert (row["n_failed"], row["q"]) == (4, None)
    assert "1 fits have no score: training labels are of one class: take larger or stratified folds" in row["notes"]


def test_one_class_among_few_training_rows_fails_the_fold_of_that_fraction_only() -> None:
    rare = np.zeros(len(IDS))
    rare[::9] = 1.0
    benchmark = Benchmark.from_tasks([Task.from_arrays("rare", "classification", IDS, rare)])
    found = sweep(None, benchmark, fractions=[0.05, 1.0], sizes=[2, 6])
    assert_rows(found, refits(benchmark=benchmark))
    few, all_of_them = found.select(fraction=0.05).rows[0], found.select(fraction=1.0).rows[0]
    assert 0 < few["n_failed"] > all_of_them["n_failed"]
    assert any("training labels of one class" in note for note in few["notes"])
    assert not any("training labels" in note for note in all_of_them["notes"])


def test_samples_without_an_embedding_are_an_error_or_left_out() -> None:
    lacking = Submission("team", IDS[5:], submission("team").x[5:])
    gone = set(IDS[:5].tolist())
    with pytest.raises(InputError, match=r"no embedding for \d of \d+ labelled samples"):
        sweep([lacking])
    found = sweep([lacking], sizes=[2, 6], lenient=True)
    kept = [replace(t, ids=t.ids[mask], y=t.y[mask]) for t in BENCHMARK.tasks for mask in [~np.isin(t.ids, [*gone])]]
    assert any(len(a.ids) < len(b.ids) for a, b in zip(kept, BENCHMARK.tasks, strict=True))
    rest = Benchmark.from_tasks(kept)
    assert_rows(found, refits(values=lacking.x.astype(np.float64), ids=lacking.ids, benchmark=rest))
    scores = fastprobe.score([lacking], BENCHMARK, protocol=RIDGE, lenient=True, device=CPU)
    for row in found.select(size=6).rows:
        other = scores.get("team", row["task"])
        assert row["n_samples"] == other.n_samples
        assert row["fold_scores"] == pytest.approx(other.fold_scores, abs=SCORES)


def test_joined_submissions_are_compared_on_the_samples_that_all_of_them_have() -> None:
    a, _, c = teams()
    lacking = Submission("c", c.ids[5:], c.x[5:])
    with pytest.raises(InputError, match="no embedding for"):
        sweep([a, lacking], join=2)
    found = sweep([a, lacking], BENCHMARK.select(["area"]), join=2, sizes=[1, 3], lenient=True)
    area = BENCHMARK.select(["area"]).tasks[0]
    mask = ~np.isin(area.ids, IDS[:5])
    rest = Benchmark.from_tasks([replace(area, ids=area.ids[mask], y=area.y[mask])])
    assert_rows(found.select(submission="a+c"), side_by_side([a, lacking], benchmark=rest))


def test_regressions_are_left_out_of_a_logistic_sweep_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        found = sweep(protocol=Protocol(probe="logistic", alpha=1.0, folds=FOLDS))
    assert {row["task"] for row in found.rows} == {"crops", "ships"}
    assert "leaves out the regression tasks area, width" in caplog.text
    with pytest.raises(InputError):
        sweep(None, BENCHMARK.select(["area"]), protocol="logistic")


def test_what_became_of_classes_and_folds_is_noted() -> None:
    odd = Task.from_arrays("odd", "classification", IDS, np.where(X[:, 0] > 0, 7.0, -1.0))
    protocol = replace(RIDGE, folds=FoldSpec("stratified-shuffle", n_folds=3))
    found = sweep(None, Benchmark.from_tasks([odd, *BENCHMARK.select(["area"]).tasks]), protocol=protocol)
    notes = {row["task"]: row["notes"] for row in found.rows}
    assert notes == {"odd": list(odd.notes), "area": ["shuffle folds: stratified-shuffle needs classes"]}
    assert len(odd.notes) == 1


# --- Going on ---------------------------------------------------------------------------------------------------------


class Counted:
    """Counts the units that are fitted."""

    def __init__(self) -> None:
        self.units = 0

    def __call__(self, unit: Any) -> Iterator[Any]:
        self.units += 1
        return self._real(unit)

    _real = staticmethod(job.blocks_of)


@pytest.fixture
def fitted() -> Iterator[Counted]:
    counted = Counted()
    with patch.object(job, "blocks_of", counted):
        yield counted


OPTIONS: dict[str, Any] = {"sizes": [1, 6], "orders": ["given", "random"], "random_orders": 1}
UNITS = 2 * 2
"""Orders and sample groups of :data:`OPTIONS`."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Sweep]:
    """A folder with the units of :data:`OPTIONS`, and their table."""
    folder = tmp_path_factory.mktemp("finished") / "sweep"
    return folder, sweep(out=folder, **OPTIONS)


@pytest.fixture
def folder(tmp_path: Path, finished: tuple[Path, Sweep]) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(finished[0], tmp_path / "copy"))


def test_a_second_call_fits_nothing(tmp_path: Path, fitted: Counted, caplog: pytest.LogCaptureFixture) -> None:
    first = sweep(out=tmp_path / "new" / "sweep", **OPTIONS)
    assert fitted.units == UNITS
    with caplog.at_level(logging.INFO, logger="fastprobe"):
        second = sweep(out=tmp_path / "new" / "sweep", **OPTIONS)
    assert fitted.units == UNITS
    assert second.table.equals(first.table)
    assert f"{UNITS} of {UNITS} units were there already" in caplog.text
    assert sweep(**OPTIONS).table.equals(first.table)


@pytest.mark.parametrize("stop", [1, 3])
def test_an_interrupted_sweep_goes_on(tmp_path: Path, fitted: Counted, stop: int) -> None:
    def interrupt(name: str, done: int, total: int) -> None:
        if done == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sweep(out=tmp_path, progress=interrupt, **OPTIONS)
    assert fitted.units == stop
    assert len([*(tmp_path / "parts").glob("*.parquet")]) == stop
    assert not [path for path in (tmp_path / "parts").iterdir() if path.suffix != ".parquet"]
    found = sweep(out=tmp_path, **OPTIONS)
    assert fitted.units == UNITS
    assert found.table.equals(sweep(**OPTIONS).table)


def test_a_unit_that_was_not_finished_is_not_kept(tmp_path: Path) -> None:
    def stopped(unit: Any) -> Iterator[Any]:
        yield next(iter(real(unit)))
        raise KeyboardInterrupt

    real = job.blocks_of
    with patch.object(job, "blocks_of", stopped), pytest.raises(KeyboardInterrupt):
        sweep(out=tmp_path, **OPTIONS)
    assert not [*(tmp_path / "parts").iterdir()]


@pytest.mark.parametrize("damage", ["cut", "empty", "words", "other columns"])
def test_a_damaged_part_is_made_again(folder: Path, finished: tuple[Path, Sweep], fitted: Counted, damage: str) -> None:
    (part, *others) = sorted((folder / "parts").iterdir())
    assert len(others) == UNITS - 1
    content = part.read_bytes()
    if damage == "other columns":
        pq.write_table(pa.table({"task": ["a"]}), part)
    else:
        part.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "words": b"not a table"}[damage])
    assert sweep(out=folder, **OPTIONS).table.equals(finished[1].table)
    assert fitted.units == 1
    sweep(out=folder, **OPTIONS)
    assert fitted.units == 1


def changed_labels() -> Benchmark:
    area, *others = BENCHMARK.tasks
    return Benchmark.from_tasks([replace(area, y=area.y + np.eye(1, len(area.y))[0]), *others])


@pytest.mark.parametrize(
    ("change", "made"),
    [
        ({"sizes": [1, 5]}, UNITS),
        ({"alphas": [99.0]}, UNITS),
        ({"alpha": 99.0}, UNITS),
        ({"alpha": "auto", "alphas": [1.0, 9.0]}, UNITS),
        ({"fractions": [0.5]}, UNITS),
        ({"folds": 3}, UNITS),
        ({"protocol": replace(RIDGE, standardize=False)}, UNITS),
        ({"protocol": replace(RIDGE, eps=0.1)}, UNITS),
        ({"benchmark": "labels"}, UNITS // 2),  # the other sample group is as it was
        ({"submissions": [Submission("team", IDS, submission("team").x + np.float32(1))]}, UNITS),
        ({"submissions": [submission("other")]}, UNITS),
        ({"bits": [4]}, UNITS),
        ({"orders": ["given", "variance"]}, UNITS // 2),
        ({"random_orders": 2}, UNITS // 2),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_changed_is_made_anew(folder: Path, fitted: Counted, change: dict[str, Any], made: int) -> None:
    if "benchmark" in change:
        change = {"benchmark": changed_labels()}
    options = {**OPTIONS, **change}
    found = sweep(out=folder, **options)
    assert fitted.units == made
    assert found.table.equals(sweep(**options).table)


def test_labels_elsewhere_standardise_and_so_make_units_anew(tmp_path: Path, fitted: Counted) -> None:
    sweep(None, BENCHMARK.select(["area"]), out=tmp_path)
    more = Benchmark.from_tasks(
        [*BENCHMARK.select(["area"]).tasks, Task.from_arrays("extra", "regression", IDS, X[:, 0])]
    )
    found = sweep(None, more, out=tmp_path)
    assert fitted.units == 1 + 2
    assert_rows(found, refits(benchmark=more))


def test_progress_counts_every_unit(tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    sweep(teams(), join=2, sizes=[1], progress=lambda *event: seen.append(event), out=tmp_path)
    assert [(done, total) for _, done, total in seen] == [(i, 12) for i in range(1, 13)]
    assert [*dict.fromkeys(name for name, _, _ in seen)] == ["a", "b", "c", "a+b", "a+c", "b+c"]
    again: list[tuple[str, int, int]] = []
    sweep(teams(), join=2, sizes=[1], progress=lambda *event: again.append(event), out=tmp_path)
    assert again == seen


def test_files_and_submissions_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "team.npz"
    np.savez(path, id=IDS, x=submission("team").x)
    found = sweep([path, submission("other")], sizes=[3])
    assert (
        found.select(submission="team")
        .table["fold_scores"]
        .equals(found.select(submission="other").table["fold_scores"])
    )
    packed = tmp_path / "packed.npz"
    quantized = fastprobe.quantize(submission("team").x, 4)
    quantized.save(packed, IDS)
    assert_rows(sweep([packed], sizes=[3, 6]), refits(values=quantized.values()))


# --- Bad input --------------------------------------------------------------------------------------------------------

WRONG: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "beyond d": ({"sizes": [1, 7]}, "sizes", "7, and submission 'team' with 6 dimensions", "sizes from 1 to 6"),
    "size 0": ({"sizes": [0, 1]}, "sizes", "[0, 1]", "whole numbers of at least 1"),
    "size below 0": ({"sizes": [-1]}, "sizes", "[-1]", "whole numbers of at least 1"),
    "a size twice": ({"sizes": [2, 2]}, "sizes", "[2, 2]", "each once"),
    "unsorted": ({"sizes": [3, 1]}, "sizes", "[3, 1]", "ascending"),
    "no size": ({"sizes": []}, "sizes", "[]", "whole numbers of at least 1"),
    "half a size": ({"sizes": [1.5]}, "sizes", "[1.5]", "whole numbers"),
    "a truth as a size": ({"sizes": [True]}, "sizes", "[True]", "whole numbers"),
    "a word": ({"sizes": "some"}, "sizes", "'some'", "whole numbers, or all"),
    "words": ({"sizes": ["2"]}, "sizes", "['2']", "whole numbers"),
    "alpha 0": ({"alphas": [0.0, 1.0]}, "alphas", "[0.0, 1.0]", "above 0"),
    "alpha below 0": ({"alphas": [-1.0]}, "alphas", "[-1.0]", "above 0"),
    "alpha NaN": ({"alphas": [float("nan")]}, "alphas", "[nan]", "finite numbers above 0"),
    "alpha infinite": ({"alphas": [float("inf")]}, "alphas", "[inf]", "finite numbers above 0"),
    "an alpha twice": ({"alphas": [1.0, 1.0]}, "alphas", "[1.0, 1.0]", "each once"),
    "no alpha": ({"alphas": []}, "alphas", "[]", "finite numbers above 0"),
    "alpha beside alphas": ({"alphas": [1.0], "alpha": 2.0}, "alpha", "2.0 beside alphas", "one of them"),
    "alpha of words": ({"alpha": "much"}, "alpha", "'much'", "a finite number above 0, or auto"),
    "3 bits": ({"bits": [3]}, "bits", "[3]", "some of 32, 16, 8, 4, 2, 1"),
    "bits twice": ({"bits": [8, 8]}, "bits", "[8, 8]", "each once"),
    "no bits": ({"bits": []}, "bits", "[]", "some of 32"),
    "quantizers without bits": ({"quantizers": ["sign"]}, "quantizers", "['sign']", "only where there are bits"),
    "sign of 8 bits": ({"bits": [8], "quantizers": ["sign"]}, "quantizers", "'sign'", "sign has 1 bit only"),
    "8 bits with sign": ({"bits": [8, 1], "quantizers": ["sign"]}, "quantizers", "['sign']", "a quantizer for [8]"),
    "an unknown quantizer": ({"bits": [8], "quantizers": ["best"]}, "quantizers", "['best']", "uniform, dimension"),
    "fraction 0": ({"fractions": [0.0, 1.0]}, "fractions", "[0.0, 1.0]", "shares above 0 and up to 1"),
    "fraction above 1": ({"fractions": [1.5]}, "fractions", "[1.5]", "shares above 0 and up to 1"),
    "fractions unsorted": ({"fractions": [1.0, 0.5]}, "fractions", "[1.0, 0.5]", "ascending"),
    "fraction NaN": ({"fractions": [float("nan")]}, "fractions", "[nan]", "shares above 0"),
    "no fraction": ({"fractions": []}, "fractions", "[]", "shares above 0"),
    "an unknown order": ({"orders": ["best"]}, "orders", "['best']", "some of given, variance, pca, random"),
    "an order twice": ({"orders": ["pca", "pca"]}, "orders", "['pca', 'pca']", "each once"),
    "no order": ({"orders": []}, "orders", "[]", "some of given"),
    "no random order": ({"random_orders": 0}, "random_orders", "0", "at least 1"),
    "unknown rows": ({"pca_rows": "test"}, "pca_rows", "'test'", "train or all"),
    "bits of components of every fold": (
        {"orders": ["pca"], "bits": [8]}, "bits", "principal components of the training rows", "one matrix to quantise",
    ),
    "one to join": ({"join": 2}, "join", "2 with one submission", "two or more submissions"),
    "join 0": ({"join": 0}, "join", "0", "at least 1"),
    "kernel": ({"protocol": "kernel"}, "protocol", "kernel, whose probe is kernel", "ridge, logistic or closed-form"),
    "neuco": ({"protocol": "neuco"}, "protocol", "neuco, whose probe is neuco", "ridge, logistic or closed-form"),
    "an unknown protocol": ({"protocol": "best"}, "--protocol", "'best'", "one of closed-form, ridge"),
    "two of a name": (
        {"submissions": [submission("team"), submission("team", np.int8)]}, "submissions", "two with the name 'team'",
        "one name each",
    ),
    "folds 0": ({"folds": 0}, "folds.n_folds", "0", "a whole number from 1"),
    "logistic components of every fold": (
        {"protocol": "logistic", "orders": ["pca"]}, "orders", "pca of the training rows, with logistic probes",
        "the same for all folds",
    ),
    "logistic ranges of dimensions": (
        {"protocol": "closed-form", "bits": [8], "quantizers": ["dimension"]}, "quantizers", "with logistic probes",
        "features of one scale",
    ),
    "logistic joined": (
        {"protocol": "closed-form", "join": 2, "submissions": [submission("a"), submission("b")]}, "join",
        "with logistic probes", "features of one scale",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options(case: str, tmp_path: Path, fitted: Counted) -> None:
    """What is wrong is said before anything is fitted."""
    options, where, found, expected = WRONG[case]
    with pytest.raises(InputError) as caught:
        sweep(**options, out=tmp_path / "out")
    error = caught.value
    assert error.where == where
    assert found in error.found
    assert expected in error.expected
    assert error.fix
    assert fitted.units == (2 if case == "two of a name" else 0)  # sample groups of the first


def test_wrong_labels_and_folders(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError) as caught:
        sweep(out=tmp_path / "file")
    assert (caught.value.where, caught.value.expected) == ("out", "a folder that can be written to")
    assert str(tmp_path / "file") in caught.value.found
    with pytest.raises(InputError, match=r"none\.npz"):
        sweep([tmp_path / "none.npz"])
    with pytest.raises(InputError, match="auto, cpu, cuda"):
        fastprobe.sweep([submission("team")], BENCHMARK, device="abacus")


def test_numbers_of_numpy_are_numbers() -> None:
    found = sweep(
        sizes=np.arange(1, 4), alphas=np.logspace(0, 1, 2), fractions=np.array([0.5, 1.0]), bits=np.array([8, 4])
    )
    plain = sweep(sizes=[1, 2, 3], alphas=[1.0, 10.0], fractions=[0.5, 1.0], bits=[8, 4])
    assert found.table.equals(plain.table)
