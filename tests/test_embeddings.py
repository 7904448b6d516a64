"""Submissions: every format gives back what was written, repairs are counted, and nothing wrong gets through."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.readers.columns import lay_out
from fastprobe.readers.csv_text import _parse, _parse_carefully, read
from fastprobe.readers.text import MISSING

DTYPES = ("float64", "float32", "float16", "int8", "uint8")


def table_of(ids: list[str], x: np.ndarray) -> pa.Table:
    return pa.table({"id": ids, **{str(j): x[:, j] for j in range(x.shape[1])}})


def write_csv(path: Path, ids: list[str], x: np.ndarray) -> None:
    """Write the shortest text that reads back to the same bits."""
    rows = [",".join([i, *map(str, row)]) for i, row in zip(ids, x, strict=True)]
    path.write_text("\n".join([",".join(["id", *map(str, range(x.shape[1]))]), *rows]) + "\n")


def write_parquet(path: Path, ids: list[str], x: np.ndarray) -> None:
    pa.parquet.write_table(table_of(ids, x), path, row_group_size=7)


def write_feather(path: Path, ids: list[str], x: np.ndarray) -> None:
    pa.feather.write_feather(table_of(ids, x), str(path), chunksize=5)


def write_stream(path: Path, ids: list[str], x: np.ndarray) -> None:
    table = table_of(ids, x)
    with pa.ipc.new_stream(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=3)


def write_fixed_lists(path: Path, ids: list[str], x: np.ndarray) -> None:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(x.ravel()), x.shape[1])
    pa.parquet.write_table(pa.table({"emb": lists, "id": ids}), path, row_group_size=4)


def write_lists(path: Path, ids: list[str], x: np.ndarray) -> None:
    lists = pa.array(list(x), pa.list_(pa.from_numpy_dtype(x.dtype)))
    pa.feather.write_feather(pa.table({"id": ids, "emb": lists}), str(path))


def write_npz(path: Path, ids: list[str], x: np.ndarray) -> None:
    np.savez_compressed(path, id=np.array(ids), x=np.asfortranarray(x), note=np.array("not looked at"))


def write_npy(path: Path, ids: list[str], x: np.ndarray) -> None:
    np.save(path, x)
    path.with_name(f"{path.stem}.ids.csv").write_text("id\n" + "".join(f'"{i}"\n' for i in ids))


def write_zarr_group(path: Path, ids: list[str], x: np.ndarray) -> None:
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(path, mode="w", zarr_format=2)
    group.create_array("x", data=x, chunks=(4, x.shape[1]))
    group.create_array("id", data=np.array(ids, dtype=np.dtypes.StringDType()))


def write_zarr_array(path: Path, ids: list[str], x: np.ndarray) -> None:
    zarr = pytest.importorskip("zarr")
    zarr.create_array(path, data=x, chunks=(4, x.shape[1]), compressors=None)
    path.with_name(f"{path.stem}.ids.txt").write_text("\n".join(f'"{i}"' for i in ids))


BINARY: dict[str, Callable[[Path, list[str], np.ndarray], None]] = {
    "a.parquet": write_parquet,
    "b.feather": write_feather,
    "c.arrow": write_stream,
    "d.parquet": write_fixed_lists,
    "e.arrow": write_lists,
    "f.npz": write_npz,
    "g.npy": write_npy,
    "h.zarr": write_zarr_group,
    "i.zarr": write_zarr_array,
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", BINARY)
def test_binary_formats_keep_every_bit_and_the_type(name: str, dtype: str, tmp_path: Path) -> None:
    x = (np.random.default_rng(1).standard_normal((23, 5)) * 40).astype(dtype)
    ids = [f"site {i}, é" for i in range(23)]
    BINARY[name](tmp_path / name, ids, x)
    submission = Submission.read(tmp_path / name)
    assert submission.name == name[0]
    assert submission.ids.tolist() == ids
    assert submission.x.dtype == dtype
    assert submission.x.flags.c_contiguous
    assert submission.x.tobytes() == x.tobytes()
    assert submission.repairs == {}


finite32 = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 4)),
    elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
)


@settings(max_examples=60, deadline=None)
@given(x=finite32)
def test_csv_keeps_every_bit(x: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "team.csv"
    ids = [f"s{i}" for i in range(len(x))]
    write_csv(path, ids, x)
    submission = Submission.read(path)
    assert submission.ids.tolist() == ids
    assert submission.x.dtype == np.float32
    assert submission.x.tobytes() == x.tobytes()


cells = st.one_of(
    st.floats(allow_nan=False).map(repr),
    st.floats(-1e30, 1e30).map(lambda v: f" {v:.25g}"),
    st.sampled_from(["", "NaN", "null", "1e39", "-inf", "+2", "1e-60", "0.1", "9" * 50, '"7"']),
)


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(cells, min_size=3, max_size=3), min_size=1, max_size=5))
def test_fast_and_careful_reading_of_csv_agree(rows: list[list[str]], tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("csv") / "team.csv"
    path.write_text("id,0,1,2\n" + "".join(f"s{i},{','.join(row)}\n" for i, row in enumerate(rows)))
    layout = lay_out(["id", "0", "1", "2"], "header")
    ids, fast = _parse(path, layout)
    careful_ids, careful, n_replaced = _parse_carefully(path, layout, lenient=False)
    assert ids == careful_ids
    assert n_replaced == 0
    np.testing.assert_array_equal(fast, careful)


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_csv_of_many_segments_with_blank_lines(ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastprobe.readers.csv_text._MIN_SEGMENT", 64)
    x = np.random.default_rng(2).standard_normal((200, 3)).astype(np.float32)
    lines = [",".join([f"s{i}", *map(str, row)]) + ending * (1 + (i % 9 == 0)) for i, row in enumerate(x)]
    path = tmp_path / "team.csv"
    path.write_bytes(("\ufeffid,0,1,2" + ending + "".join(lines) + ending * 80 + "last,1,2,3").encode())
    submission = Submission.read(path)
    assert submission.ids.tolist() == [*(f"s{i}" for i in range(200)), "last"]
    np.testing.assert_array_equal(submission.x, np.vstack([x, [[1, 2, 3]]]).astype(np.float32))


def test_a_segment_never_begins_inside_quotes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The quoted note holds a line that looks like a row; where a segment began there, it would become one."""
    monkeypatch.setattr("fastprobe.readers.csv_text._MIN_SEGMENT", 1)
    path = tmp_path / "team.csv"
    path.write_text('id,0,note\na,1,"see\nfake,2,x"\nb,3,y\n')
    submission = Submission.read(path, lenient=True)
    assert submission.ids.tolist() == ["a", "b"]
    assert submission.x.ravel().tolist() == [1.0, 3.0]


def test_csv_columns_are_sorted_as_integers_and_ids_lose_their_suffix(tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    path.write_text(
        "10,9,8,7,6,5,4,3,2,1,0,id\n" + "10,9,8,7,6,5,4,3,2,1,0,a.zarr.zip\n" + "0,0,0,0,0,0,0,0,0,0,0,b.zarr\n"
    )
    submission = Submission.read(path)
    assert submission.x[0].tolist() == list(range(11))
    assert submission.ids.tolist() == ["a", "b"]


def test_without_numbered_columns_all_but_id_are_features(tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    path.write_text('"red, visible",id,nir\n1,a,2\n3,b,4\n')
    assert Submission.read(path).x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "name",
    [
        "presto/submissions/rawbands",
        "alphaearth/submissions/alphaearth",
        pytest.param("presto/submissions/trained", marks=pytest.mark.slow),
        pytest.param("presto/submissions/untrained", marks=pytest.mark.slow),
    ],
)
def test_real_embeddings_as_csv_equal_the_npz(name: str, data: Path, tmp_path: Path) -> None:
    source, target = data / f"{name}.npz", tmp_path / f"{Path(name).name}.csv"
    subprocess.run([sys.executable, data / "to_csv.py", source, target], check=True)
    from_npz, from_csv = Submission.read(source), Submission.read(target)
    assert from_npz.x.dtype == from_csv.x.dtype == np.float32
    assert from_npz.x.tobytes() == from_csv.x.tobytes()
    assert from_npz.digest == from_csv.digest


def test_lenient_repairs_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    path.write_text(
        "id,0,1,3,site\n"
        "a.zarr,1,,3,x\n"
        "b,nan,two,inf,x\n"
        "a,7,7,7,x\n"
        ",8,8,8,x\n"
        "c,NULL,1e39,-1,x\n"
    )  # fmt: skip
    submission = Submission.read(path, lenient=True)
    assert submission.ids.tolist() == ["a", "b", "c"]
    assert submission.x.tolist() == [[1, 0, 3], [0, 0, 0], [0, 0, -1]]
    assert submission.repairs == {
        "columns_ignored": 1,
        "column_gaps_closed": 1,
        "nan_to_zero": 3,
        "non_numeric_to_zero": 1,
        "infinity_to_zero": 2,
        "duplicate_ids_dropped": 1,
        "empty_ids_dropped": 1,
    }


def test_lenient_reading_of_a_clean_file_repairs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    path.write_text("id,0,1\na,1,2\nb,3,4\n")
    strict, lenient = Submission.read(path), Submission.read(path, lenient=True)
    assert lenient.repairs == {}
    assert lenient.digest == strict.digest


@pytest.mark.parametrize("spelling", [s for s in MISSING if "," not in s])
def test_every_spelling_of_nan_is_zero_when_lenient(spelling: str, tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    path.write_text(f"id,0,1\na,{spelling},2\n")
    submission = Submission.read(path, lenient=True)
    assert submission.x.tolist() == [[0, 2]]
    assert submission.repairs == {"nan_to_zero": 1}


def test_lenient_repairs_of_parquet(tmp_path: Path) -> None:
    path = tmp_path / "team.parquet"
    columns = {
        "id": ["a", None, "c"],
        "1": pa.array([1, None, 3], pa.int8()),
        "0": ["1.5", "2", "x"],
        "2": [np.nan, 1.0, 2.0],
    }
    pa.parquet.write_table(pa.table(columns), path)
    submission = Submission.read(path, lenient=True)
    assert submission.ids.tolist() == ["a", "c"]
    assert submission.x.tolist() == [[1.5, 1, 0], [0, 3, 2]]
    assert submission.repairs == {
        "nan_to_zero": 2,
        "non_numeric_to_zero": 1,
        "empty_ids_dropped": 1,
    }


def test_lenient_null_in_a_list(tmp_path: Path) -> None:
    path = tmp_path / "team.parquet"
    pa.parquet.write_table(pa.table({"id": ["a", "b"], "emb": [[1.0, None], [3.0, 4.0]]}), path)
    submission = Submission.read(path, lenient=True)
    assert submission.x.tolist() == [[1, 0], [3, 4]]
    assert submission.repairs == {"nan_to_zero": 1}


@pytest.mark.parametrize("content", ["id,0,1\na,1\n", "id,red,red\na,1,2\n", "id\na\n", "x,0\na,1\n", "", "id,0\n"])
def test_what_lenient_reading_does_not_repair(content: str, tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    path.write_text(content)
    with pytest.raises(InputError):
        Submission.read(path, lenient=True)


def test_columns_of_different_types_get_their_common_type(tmp_path: Path) -> None:
    path = tmp_path / "team.parquet"
    columns: dict[str, Any] = {
        "id": [7, 8],
        "0": pa.array([1, 2], pa.int8()),
        "1": pa.array([0.1, 0.2], pa.float32()),
        "2": pa.array([200, 201], pa.uint8()),
    }
    pa.parquet.write_table(pa.table(columns), path)
    submission = Submission.read(path)
    assert submission.ids.tolist() == ["7", "8"]
    assert submission.x.dtype == np.float32
    np.testing.assert_array_equal(submission.x, np.array([[1, 0.1, 200], [2, 0.2, 201]], dtype=np.float32))


@pytest.mark.parametrize(("given", "kept"), [("int16", "float32"), ("uint16", "float32"), ("int32", "float64"),
                                             ("uint32", "float64"), (">f4", "float32")])  # fmt: skip
def test_wider_integers_and_foreign_byte_orders_keep_their_values(given: str, kept: str) -> None:
    limit = np.iinfo(given).max if given[-2] != "f" else 3
    x = np.array([[0, 1], [limit, limit - 1]], dtype=given)
    submission = Submission("team", ["a", "b"], x)
    assert submission.x.dtype.str == np.dtype(kept).str
    np.testing.assert_array_equal(submission.x, x)


def test_by_hand_arrays_are_not_copied_and_lists_are_taken() -> None:
    x = np.ones((2, 3), dtype=np.float32)
    assert Submission("team", ["a", "b"], x).x is x
    submission = Submission("team", np.array(["a.zarr", "b"], dtype=object), x[:, ::2].tolist())
    assert submission.ids.tolist() == ["a", "b"]
    assert submission.x.dtype == np.float64
    assert dataclasses.replace(submission, name="other").digest == submission.digest


@pytest.mark.parametrize(
    ("name", "ids", "x", "message"),
    [
        ("team", ["a", "b"], [[1.0], [np.nan]], r"submission 'team', row 1 \(id 'b'\), column 0: found nan"),
        ("team", ["a", "b"], [[1.0], [-np.inf]], r"row 1 \(id 'b'\), column 0: found -inf"),
        ("team", ["a", "a.zarr"], [[1.0], [2.0]], r"row 1 \(id 'a.zarr'\): found the id 'a' again"),
        ("team", ["a", ""], [[1.0], [2.0]], "found an empty id"),
        ("team", ["a", None], [[1.0], [2.0]], "ids, row 1: found 'None' of type NoneType"),
        ("team", ["a"], [[1.0], [2.0]], "found 1 ids for 2 rows"),
        ("team", ["a", "b"], [[1.0, 2.0], [3.0]], "found rows of different lengths"),
        ("team", ["a", "b"], [1.0, 2.0], "1 dimensions"),
        ("team", ["a", "b"], [[True], [False]], "type bool"),
        ("team", [b"\xff", b"b"], [[1.0], [2.0]], "bytes that are not UTF-8"),
        (" ", ["a"], [[1.0]], "found the name ' '"),
    ],
)
def test_nothing_wrong_gets_past_the_constructors(name: str, ids: Any, x: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Submission(name, ids, x)
    with pytest.raises(InputError, match=message):
        Submission.from_arrays(name, ids, x)


def test_from_arrays_lenient_leaves_the_arrays_alone() -> None:
    x = np.array([[1, np.nan], [np.inf, 2], [3, 4]], dtype=np.float32)
    before = x.copy()
    submission = Submission.from_arrays("team", ["a", "b", "a"], x, lenient=True)
    assert submission.x.tolist() == [[1, 0], [0, 2]]
    assert submission.repairs == {"nan_to_zero": 1, "infinity_to_zero": 1, "duplicate_ids_dropped": 1}
    np.testing.assert_array_equal(x, before)


def test_labelled_ids_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "team.csv"
    path.write_text("id,0\na,1\nb,2\nc,3\n")
    assert Submission.read(path, labelled_ids=["a", "b.zarr"]).ids.tolist() == ["a", "b", "c"]
    with pytest.raises(InputError, match=r"team\.csv: found no row for 2 of 3 labelled ids, first 'x'"):
        Submission.read(path, labelled_ids=np.array(["a", "x", "y"]))
    submission = Submission.read(path, labelled_ids=["a", "x", "y"], lenient=True)
    assert submission.repairs == {"labelled_ids_missing": 2}


def test_name_and_id_file_can_be_given(tmp_path: Path) -> None:
    np.save(tmp_path / "team.npy", np.ones((2, 1)))
    (tmp_path / "who.txt").write_text("a\nb\n\n\n")
    submission = Submission.read(tmp_path / "team.npy", name="Team A", ids=tmp_path / "who.txt")
    assert submission.name == "Team A"
    assert submission.ids.tolist() == ["a", "b"]
    write_csv(tmp_path / "team.csv", ["a"], np.ones((1, 1)))
    with pytest.raises(InputError, match="hold their own ids"):
        Submission.read(tmp_path / "team.csv", ids=tmp_path / "who.txt")


def test_digest_depends_on_ids_values_type_and_shape() -> None:
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    base = Submission("team", ["a", "b"], x)
    others = [
        Submission("team", ["a", "c"], x),
        Submission("team", ["a", "b"], x + 1),
        Submission("team", ["a", "b"], x.astype(np.float64)),
        Submission("team", ["a", "b", "c", "d"], x.reshape(4, 1)),
    ]
    assert Submission("other", ["a", "b"], x.copy()).digest == base.digest
    assert len({base.digest, *(o.digest for o in others)}) == 5


MEASURE = """
import sys
from pathlib import Path
import numpy, pyarrow.csv
from fastprobe.embeddings import Submission
from fastprobe.readers import csv_text, parsing, columns

def peak():
    return next(int(l.split()[1]) * 1024 for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l)

before = peak()
submission = Submission.read(sys.argv[1])
print((peak() - before) / submission.x.nbytes)
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="peak memory is read from /proc")
def test_reading_csv_needs_less_than_four_times_the_matrix(tmp_path: Path) -> None:
    """Peak memory of the process itself (VmHWM): ru_maxrss would count that of the process that started it.

    The matrix takes 16 MB: beside a smaller one the fixed cost of threads and buffers, about 20 MB, would decide.
    """
    rng = np.random.default_rng(3)
    block = rng.standard_normal((500, 512)).astype(np.float32)
    write_csv(tmp_path / "team.csv", [f"s{i}" for i in range(500)], block)
    header, *rows = (tmp_path / "team.csv").read_text().splitlines()
    with (tmp_path / "team.csv").open("w") as file:
        file.write(header + "\n")
        for repeat in range(16):
            file.writelines(f"r{repeat}{row}\n" for row in rows)
    run = [sys.executable, "-c", MEASURE, str(tmp_path / "team.csv")]
    ratio = float(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert 1.0 < ratio < 4.0


def test_the_careful_reading_is_not_used_for_ordinary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("slow path")

    monkeypatch.setattr("fastprobe.readers.csv_text._parse_carefully", refuse)
    write_csv(tmp_path / "team.csv", ["a", "b"], np.array([[1.5, -2e-8], [3, 4]], dtype=np.float32))
    assert read(tmp_path / "team.csv").x.shape == (2, 2)


@pytest.mark.parametrize("name", [*BINARY, "z.csv"])
def test_damaged_files_are_input_errors_or_readable_nothing_else(name: str, tmp_path: Path) -> None:
    """Bytes cut off, changed or added at random (seeded): what a decoder makes of it never reaches the user raw."""
    rng = np.random.default_rng(sum(name.encode()))
    x = rng.standard_normal((23, 5)).astype(np.float32)
    {**BINARY, "z.csv": write_csv}[name](tmp_path / name, [f"s{i}" for i in range(23)], x)
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    refused = 0
    for attempt in range(24):
        path = files[rng.integers(len(files))]
        content = path.read_bytes()
        at = int(rng.integers(len(content)))
        junk = rng.bytes(3)
        path.write_bytes(
            (content[:at], content[:at] + junk + content[at + 3 :], content[:at] + junk + content[at:])[attempt % 3]
        )
        try:
            assert np.isfinite(Submission.read(tmp_path / name).x).all()
        except InputError:
            refused += 1
        path.write_bytes(content)
    assert refused > 0


_LETTERS = st.characters(categories=["L", "N", "S"])


@given(
    st.integers(1, 5).flatmap(lambda n: st.lists(st.text(_LETTERS, min_size=n, max_size=n), unique=True, min_size=1))
    | st.lists(st.text(_LETTERS, min_size=1, max_size=4), unique=True, min_size=1)
)
def test_ids_become_the_array_that_numpy_makes_of_them(ids: list[str]) -> None:
    made = Submission("a", ids, np.zeros((len(ids), 1))).ids
    expected = np.array(ids, dtype=np.str_)
    assert made.dtype == expected.dtype
    assert made.tolist() == expected.tolist()
    assert made.flags.writeable
