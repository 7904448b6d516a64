"""Tasks and benchmarks: label files, classes, missing labels, selection, groups and splits."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastprobe.errors import InputError
from fastprobe.tasks import Benchmark, Task, read_groups, read_split


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.csv").write_text(content)
    return folder


def test_a_folder_is_a_benchmark(tmp_path: Path) -> None:
    write(
        tmp_path,
        z__regr="id,label\na.zarr.zip,1.5\nb,\nc,NaN\nd,-2e3\n",
        m__cls="label,weight,id\n1,9,d\n0,9,e\n,9,f\n",
        a__regression="id,label\nx,1\ny,2\n",
        b__classification="id,label\nx,2\ny,5\nz,2\n",
    )
    (tmp_path / "README.md").write_text("not a label file")
    (tmp_path / "._a__regression.csv").write_text("what some systems leave in archives")
    bench = Benchmark.from_folder(str(tmp_path))
    assert bench.names == ("a", "b", "m", "z")
    a, b, m, z = bench.tasks
    assert (z.kind, z.ids.tolist(), z.y.tolist(), z.n_missing, z.classes) == (
        "regression",
        ["a", "d"],
        [1.5, -2e3],
        2,
        None,
    )
    assert (m.kind, m.ids.tolist(), m.y.tolist(), m.n_missing) == ("classification", ["d", "e"], [1, 0], 1)
    assert (m.classes, m.notes) == ((0.0, 1.0), ())
    assert (b.y.tolist(), b.classes) == ([0, 1, 0], (2.0, 5.0))
    assert b.notes == ("the labels 2 and 5 became 0 and 1",)
    assert [task.n_classes for task in bench.tasks] == [0, 2, 2, 0]
    assert a.y.dtype == np.float64
    assert bench.labelled_ids.tolist() == ["a", "d", "e", "x", "y", "z"]


def test_selection_keeps_the_labelled_ids_of_all_tasks(tmp_path: Path) -> None:
    write(tmp_path, a__regr="id,label\nx,1\ny,2\n", b__regr="id,label\nu,1\nv,2\n")
    bench = Benchmark.from_folder(tmp_path, tasks=["b"])
    assert bench.names == ("b",)
    assert bench.labelled_ids.tolist() == ["u", "v", "x", "y"]
    assert Benchmark.from_folder(tmp_path).select("a").names == ("a",)
    with pytest.raises(InputError, match="tasks: found no task named 'c'; expected some of a, b"):
        Benchmark.from_folder(tmp_path, tasks=["a", "c"])
    with pytest.raises(InputError, match="tasks: found no names; expected some of a, b"):
        Benchmark.from_folder(tmp_path, tasks=[])


def test_lenient_keeps_the_first_label_and_says_so(tmp_path: Path) -> None:
    write(tmp_path, a__regr="id,label\nx,1\ny,2\nx.zarr,3\nx,4\n")
    (task,) = Benchmark.from_folder(tmp_path, lenient=True).tasks
    assert task.ids.tolist() == ["x", "y"]
    assert task.y.tolist() == [1, 2]
    assert task.notes == ("2 rows with an id that has a label already were dropped",)


def test_a_second_row_without_a_label_is_no_duplicate(tmp_path: Path) -> None:
    write(tmp_path, a__regr="id,label\nx,\nx,1\ny,2\n")
    (task,) = Benchmark.from_folder(tmp_path).tasks
    assert (task.ids.tolist(), task.n_missing) == (["x", "y"], 1)


def test_more_than_two_classes_are_numbered_in_ascending_order(tmp_path: Path) -> None:
    write(
        tmp_path,
        crops__cls="id,label\n" + "".join(f"s{i},{label}\n" for i, label in enumerate([30, -1, 2.5, 30, 2.5, -1])),
        zones__cls="id,label\n" + "".join(f"s{i},{label}\n" for i, label in enumerate([2, 0, 1, 2, 1, 0])),
    )
    crops, zones = Benchmark.from_folder(tmp_path).tasks
    assert crops.y.tolist() == zones.y.tolist() == [2, 0, 1, 2, 1, 0]
    assert (crops.classes, crops.n_classes) == ((-1.0, 2.5, 30.0), 3)
    assert crops.notes == ("the labels -1, 2.5 and 30 became 0 to 2",)
    assert (zones.classes, zones.notes) == ((0.0, 1.0, 2.0), ())
    assert crops.digest == zones.digest
    many = Task.from_arrays("t", "cls", [f"s{i}" for i in range(40)], np.arange(40) % 20 + 7)
    assert many.notes == ("the 20 labels from 7 to 26 became 0 to 19",)


def test_classes_stay_those_of_the_task_when_samples_are_left_out() -> None:
    task = Task.from_arrays("t", "cls", list("abcdef"), [5, 5, 7, 7, 9, 9])
    part = replace(task, ids=task.ids[2:], y=task.y[2:])
    assert (part.classes, part.y.tolist()) == ((5.0, 7.0, 9.0), [1, 1, 2, 2])


@pytest.mark.parametrize(
    ("n", "classes", "found", "expected"),
    [
        (9, 5, "labelled row 4, column 'label': found 4, a class too many: 5 classes among 9", "at most 4 classes"),
        (2400, 1001, "row 1000, column 'label': found 1000, a class too many: 1,001 classes", "at most 1,000 classes"),
    ],
)
def test_a_regression_that_is_called_a_classification_is_refused(
    n: int, classes: int, found: str, expected: str
) -> None:
    labels = np.arange(n) % classes
    with pytest.raises(InputError, match=found) as caught:
        Task.from_arrays("t", "cls", [f"s{i}" for i in range(n)], labels)
    assert expected in caught.value.expected
    assert "regression" in caught.value.fix
    assert Task.from_arrays("t", "cls", [f"s{i}" for i in range(n)], labels % (classes - 1)).n_classes == classes - 1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_single_class_is_allowed(value: float) -> None:
    task = Task.from_arrays("t", "cls", ["a", "b"], [value, value])
    assert task.y.tolist() == [value, value]
    assert task.classes == (0.0, 1.0)


@settings(max_examples=50, deadline=None)
@given(
    y=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=20),
    missing=st.sets(st.integers(0, 19)),
)
def test_labels_are_read_bit_for_bit(
    y: list[float], missing: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    missing &= set(range(2, len(y)))
    folder = tmp_path_factory.mktemp("labels")
    rows = [f"s{i},{'' if i in missing else repr(v)}" for i, v in enumerate(y)]
    write(folder, t__regression="\r\n".join(["id,label", *rows]))
    (task,) = Benchmark.from_folder(folder).tasks
    kept = [i for i in range(len(y)) if i not in missing]
    assert task.ids.tolist() == [f"s{i}" for i in kept]
    assert task.y.tobytes() == np.array([y[i] for i in kept]).tobytes()
    assert task.n_missing == len(missing)
    given = [np.nan if i in missing else v for i, v in enumerate(y)]
    assert Task.from_arrays("t", "regr", [f"s{i}" for i in range(len(y))], given).digest == task.digest


@pytest.mark.parametrize("name", ["presto", "alphaearth"])
def test_real_labels(name: str, data: Path) -> None:
    bench = Benchmark.from_folder(data / name / "labels")
    for task in bench.tasks:
        (path,) = (data / name / "labels").glob(f"{task.name}__*.csv")
        with path.open(newline="") as file:
            rows = [(r["id"], float(r["label"])) for r in csv.DictReader(file) if r["label"]]
        assert task.ids.tolist() == [i for i, _ in rows]
        assert task.y.tolist() == [v for _, v in rows]
        assert path.stem.endswith(task.kind)
    assert set(bench.labelled_ids) == {i for task in bench.tasks for i in task.ids}


@pytest.mark.parametrize(
    ("kind", "ids", "y", "message"),
    [
        ("ranking", ["a", "b"], [1, 2], "task 't': found the kind 'ranking'; expected one of regression, regr"),
        ("regr", ["a", "a"], [1, 2], r"task 't', row 1 \(id 'a'\): found the id 'a' again"),
        ("regr", ["a", "b"], [1, np.inf], r"row 1 \(id 'b'\), column 'label': found inf"),
        ("regr", ["a", "b"], [1, np.nan], "1 labelled sample and 1 without a label"),
        ("regr", ["a"], [1, 2], "1 ids for 2 labels"),
        ("regr", ["a", "b"], ["x", "y"], "labels of type <U1"),
        ("regr", ["a", "b"], [[1], [2]], r"shape \(2, 1\)"),
        ("cls", ["a", "b", "c"], [0, 1, 2], "labelled row 2, column 'label': found 2, a class too many: 3 classes"),
        ("cls", ["a", "b"], [3, 3], "the label 3 everywhere"),
    ],
)
def test_from_arrays_refuses(kind: str, ids: Any, y: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Task.from_arrays("t", kind, ids, y)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("t", "regr", ["a", "b"], [1, 2]), "the kind 'regr'"),
        (("t", "classification", ["a", "b"], [1, 2]), "found the label 2; expected 0 and 1"),
        (
            ("t", "classification", ["a", "b", "c"], [0, 1.5, 1]),
            "found the label 1.5; expected the class numbers 0 to 2",
        ),
        (("t", "classification", ["a", "b"], [0, 2], 0, (3, 4)), "found the label 2; expected 0 and 1"),
        (("t", "classification", ["a", "b"], [0, 1], 0, (4, 3)), r"the classes '\(4.0, 3.0\)'"),
        (("t", "classification", ["a", "b"], [0, 0], 0, (1,)), "expected two finite numbers or more, ascending"),
        (("t", "regression", ["a", "b"], [1, np.nan]), "column 'label': found nan"),
        (("t", "regression", ["a", ""], [1, 2]), "an empty id"),
    ],
)
def test_the_constructor_refuses(arguments: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Task(*arguments)


def test_benchmarks_of_tasks() -> None:
    b = Task("b", "regression", ["x.zarr", "y"], [1, 2])
    a = Task.from_arrays("a", "classification", [3, 4], [True, False])
    bench = Benchmark.from_tasks([b, a])
    assert bench.names == ("a", "b")
    assert bench.labelled_ids.tolist() == ["3", "4", "x", "y"]
    with pytest.raises(InputError, match="two tasks named 'a'"):
        Benchmark.from_tasks([a, a])
    with pytest.raises(InputError, match="no tasks"):
        Benchmark.from_tasks([])
    with pytest.raises(InputError, match="task 'b': found the id 'x', which is not among labelled_ids"):
        Benchmark((a, b), np.array(["3", "4", "y"]))


def test_digest_depends_on_kind_ids_and_labels_not_on_the_name() -> None:
    base = Task("t", "regression", ["a", "b"], [0, 1])
    assert Task("u", "regression", ["a", "b"], [0, 1]).digest == base.digest
    others = [
        Task("t", "classification", ["a", "b"], [0, 1]),
        Task("t", "regression", ["a", "c"], [0, 1]),
        Task("t", "regression", ["a", "b"], [0, 2]),
    ]
    assert len({base.digest, *(o.digest for o in others)}) == 4


def test_groups_come_from_the_column_group_or_the_second(tmp_path: Path, data: Path) -> None:
    write(tmp_path, named="site,group,id\nq,north,a.zarr\nq,south,b\n", second='id,site\na,"Lost Creek, WY"\n')
    assert read_groups(tmp_path / "named.csv") == {"a": "north", "b": "south"}
    assert read_groups(str(tmp_path / "second.csv")) == {"a": "Lost Creek, WY"}
    groups = read_groups(data / "presto" / "groups.csv")
    assert len(groups) == 2313
    assert groups["lfmc_00000"] == "Lost Creek, WY"


def test_splits_say_dev_and_eval(tmp_path: Path) -> None:
    write(tmp_path, split="id,split\na,dev\nb,test\nc,train\nd.zarr,eval\n")
    assert read_split(tmp_path / "split.csv") == {"a": "dev", "b": "eval", "c": "dev", "d": "eval"}
