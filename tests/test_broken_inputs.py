"""Every broken input is refused with a message that says where, what, what instead, and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from broken import ASSIGNMENTS, BROKEN, Broken, good_labels, good_submission

from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.tasks import Benchmark, read_groups, read_split

READERS: dict[str, Callable[[Path], Any]] = {
    "submission": Submission.read,
    "labels": Benchmark.from_folder,
    "groups": read_groups,
    "split": read_split,
}


@pytest.mark.parametrize("case", [*BROKEN, *ASSIGNMENTS], ids=lambda case: case.name)
def test_message(case: Broken, tmp_path: Path) -> None:
    path = case.make(tmp_path)
    with pytest.raises(InputError) as caught:
        READERS[case.kind](path)
    error = caught.value
    assert str(tmp_path) in error.where
    assert case.place in error.where
    assert case.found in error.found
    assert case.expected in error.expected
    assert case.fix in error.fix
    assert all(part in str(error) for part in (error.where, error.found, error.expected, error.fix))
    assert error.exit_code == 2


def test_the_table_is_large_and_names_are_unique() -> None:
    names = [case.name for case in [*BROKEN, *ASSIGNMENTS]]
    assert len(set(names)) == len(names) >= 100


def test_the_good_inputs_beside_the_broken_ones_are_good(tmp_path: Path) -> None:
    submission = Submission.read(good_submission(tmp_path))
    benchmark = Benchmark.from_folder(good_labels(tmp_path))
    assert sorted(submission.ids) == sorted(benchmark.labelled_ids)
