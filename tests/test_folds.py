"""Folds are those of scikit-learn's splitters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import (
    GroupKFold,
    GroupShuffleSplit,
    KFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
)

from fastprobe.errors import InputError
from fastprobe.folds import make_folds
from fastprobe.protocol import FoldSpec


def ids_of(n: int) -> np.ndarray:
    return np.array([f"s{i}" for i in range(n)])


def held_out(splitter, n: int, y=None, groups=None) -> list[np.ndarray]:
    return [np.sort(test) for _, test in splitter.split(np.zeros((n, 1)), y, groups)]


def assert_same(spec: FoldSpec, wanted: list[np.ndarray], y, kind, assignment=None) -> None:
    folds = make_folds(spec, ids_of(len(y)), y, kind, assignment)
    assert len(folds) == len(wanted)
    for ours, theirs in zip(folds.held_out, wanted, strict=True):
        assert np.array_equal(ours, theirs)


@given(n=st.integers(5, 200), k=st.integers(1, 12), test_size=st.floats(0.05, 0.5), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_shuffle(n: int, k: int, test_size: float, seed: int) -> None:
    spec = FoldSpec("shuffle", n_folds=k, test_size=test_size, seed=seed)
    splitter = ShuffleSplit(k, test_size=test_size, random_state=seed)
    assert_same(spec, held_out(splitter, n), np.zeros(n), "regression")


@given(n=st.integers(8, 200), k=st.integers(2, 8), seed=st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_kfold(n: int, k: int, seed: int) -> None:
    spec = FoldSpec("kfold", n_folds=k, seed=seed)
    assert_same(spec, held_out(KFold(k, shuffle=True, random_state=seed), n), np.zeros(n), "regression")


@given(n=st.integers(30, 200), k=st.integers(2, 5), share=st.floats(0.3, 0.7), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_stratified(n: int, k: int, share: float, seed: int) -> None:
    y = (np.random.default_rng(seed).permutation(n) < share * n).astype(np.float64)
    wanted = held_out(StratifiedKFold(k, shuffle=True, random_state=seed), n, y)
    assert_same(FoldSpec("stratified-kfold", n_folds=k, seed=seed), wanted, y, "classification")
    wanted = held_out(StratifiedShuffleSplit(k, test_size=0.2, random_state=seed), n, y)
    assert_same(FoldSpec("stratified-shuffle", n_folds=k, test_size=0.2, seed=seed), wanted, y, "classification")


@given(n=st.integers(60, 200), classes=st.integers(3, 6), k=st.integers(2, 5), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_stratified_by_many_classes(n: int, classes: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.choice(classes, size=n, p=rng.dirichlet(np.full(classes, 5.0))).astype(np.float64)
    y[: classes * k] = np.arange(classes * k) % classes  # every class has a member for each fold
    wanted = held_out(StratifiedKFold(k, shuffle=True, random_state=seed), n, y)
    assert_same(FoldSpec("stratified-kfold", n_folds=k, seed=seed), wanted, y, "classification")
    wanted = held_out(StratifiedShuffleSplit(k, test_size=0.2, random_state=seed), n, y)
    assert_same(FoldSpec("stratified-shuffle", n_folds=k, test_size=0.2, seed=seed), wanted, y, "classification")


def test_stratified_is_plain_for_regression() -> None:
    y = np.random.default_rng(0).standard_normal(50)
    stratified = make_folds(FoldSpec("stratified-kfold", n_folds=5), ids_of(50), y, "regression")
    plain = make_folds(FoldSpec("kfold", n_folds=5), ids_of(50), y, "regression")
    assert stratified.scheme == "kfold"
    assert all(np.array_equal(a, b) for a, b in zip(stratified.held_out, plain.held_out, strict=True))


@given(n=st.integers(30, 200), groups=st.integers(6, 20), k=st.integers(2, 5), seed=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_grouped(n: int, groups: int, k: int, seed: int) -> None:
    names = np.array([f"g{i:02d}" for i in np.random.default_rng(seed).integers(groups, size=n)])
    names[:groups] = [f"g{i:02d}" for i in range(groups)]  # every group has a member
    assignment = dict(zip(ids_of(n).tolist(), names.tolist(), strict=True))
    y = np.zeros(n)
    spec = FoldSpec("group-kfold", n_folds=k, file="groups.csv")
    assert_same(spec, held_out(GroupKFold(k), n, y, names), y, "regression", assignment)
    spec = FoldSpec("group-shuffle", n_folds=k, test_size=0.2, seed=seed, file="groups.csv")
    splitter = GroupShuffleSplit(k, test_size=0.2, random_state=seed)
    assert_same(spec, held_out(splitter, n, y, names), y, "regression", assignment)


def test_real_sites_stay_on_one_side(data: Path) -> None:
    """Presto's samples come from sites: no site is on both sides of a fold."""
    from fastprobe import Benchmark
    from fastprobe.tasks import read_groups

    sites = data / "presto" / "groups.csv"
    task = Benchmark.from_folder(data / "presto" / "labels", tasks=["latitude"]).tasks[0]
    folds = make_folds(FoldSpec("group-shuffle", n_folds=10, file=str(sites)), task.ids, task.y, task.kind)
    site_of = read_groups(sites)
    site = np.array([site_of[i] for i in task.ids.tolist()])
    for rows in folds.held_out:
        assert not set(site[rows]) & set(np.delete(site, rows))


def test_fixed_split(tmp_path: Path) -> None:
    split = tmp_path / "split.csv"
    split.write_text("id,split\n" + "".join(f"s{i},{'eval' if i % 3 == 0 else 'dev'}\n" for i in range(12)))
    folds = make_folds(FoldSpec("fixed", file=str(split)), ids_of(12), np.zeros(12), "regression")
    assert [rows.tolist() for rows in folds.held_out] == [[0, 3, 6, 9]]


@pytest.mark.parametrize(
    ("spec", "n", "y", "expected"),
    [
        (FoldSpec("kfold", n_folds=9), 5, None, "at least as many as folds (9)"),
        (FoldSpec("shuffle", test_size=0.9), 4, None, "2 training samples"),
        (FoldSpec("stratified-kfold", n_folds=3), 9, [1, 1, 0, 0, 0, 0, 0, 0, 0], "at least 3 in every class"),
        (FoldSpec("stratified-shuffle"), 9, [1, 0, 0, 0, 0, 0, 0, 0, 0], "at least 2 in every class"),
    ],
)
def test_impossible_splits(spec: FoldSpec, n: int, y: list[int] | None, expected: str) -> None:
    labels = np.zeros(n) if y is None else np.array(y, dtype=np.float64)
    with pytest.raises(InputError) as caught:
        make_folds(spec, ids_of(n), labels, "regression" if y is None else "classification")
    assert expected in str(caught.value)


def test_sample_without_a_group_is_named() -> None:
    with pytest.raises(InputError, match=r"groups.csv: found no line for 1 of 3 samples, first 's2'"):
        make_folds(
            FoldSpec("group-shuffle", file="groups.csv"), ids_of(3), np.zeros(3), "regression", {"s0": "a", "s1": "b"}
        )
