"""Sample groups: which columns of labels belong to which task."""

from __future__ import annotations

import numpy as np
import pytest

from fastprobe.groups import SampleGroup, sample_groups
from fastprobe.protocol import FoldSpec
from fastprobe.tasks import Benchmark, Task

IDS = [f"s{i:02d}" for i in range(30)]
CROPS = np.arange(30) % 3


@pytest.fixture
def group() -> SampleGroup:
    """A regression, three classes and two classes, of the same samples."""
    tasks = [
        Task.from_arrays("area", "regression", IDS, np.arange(30) / 7),
        Task.from_arrays("crops", "classification", IDS, 10 * CROPS),
        Task.from_arrays("ships", "classification", IDS, CROPS == 1),
    ]
    (group,) = sample_groups(Benchmark.from_tasks(tasks), FoldSpec(n_folds=5))
    return group


def test_a_task_of_many_classes_has_a_column_for_each(group: SampleGroup) -> None:
    assert group.columns == (slice(0, 1), slice(1, 4), slice(4, 5))
    assert group.y.shape == (30, 5)
    assert group.y.flags.c_contiguous
    assert group.y[:, 0].tolist() == (np.arange(30) / 7).tolist()
    assert group.y[:3, 1:4].tolist() == [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    assert np.array_equal(group.y[:, 4], group.y[:, 2])


def test_labels_of_some_tasks(group: SampleGroup) -> None:
    y, columns = group.labels([2, 1])
    assert columns == (slice(0, 1), slice(1, 4))
    assert np.array_equal(y, group.y[:, [4, 1, 2, 3]])
    everything, columns = group.labels([0, 1, 2])
    assert everything is group.y
    assert columns == group.columns


def test_a_class_without_samples_keeps_its_column() -> None:
    """Samples that a submission lacks may be all of a class."""
    task = Task("crops", "classification", IDS[:20], np.arange(20) % 2, classes=(0.0, 1.0, 2.0))
    (group,) = sample_groups(Benchmark.from_tasks([task]), FoldSpec(n_folds=5))
    assert (group.y[:, 2] == -1).all()


def test_stratified_folds_keep_the_shares_of_all_classes() -> None:
    labels = np.repeat([0, 1, 2], [18, 6, 6])
    task = Task.from_arrays("crops", "classification", IDS, labels)
    (group,) = sample_groups(Benchmark.from_tasks([task]), FoldSpec("stratified-kfold", n_folds=6))
    assert [np.bincount(labels[rows]).tolist() for rows in group.folds.held_out] == [[3, 1, 1]] * 6
