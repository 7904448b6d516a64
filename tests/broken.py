"""Broken input files, as data: how to make each, and what a message about it must say.

Each case is either a submission file (scored with the labels of :func:`good_labels`) or a folder of labels (with the
submission of :func:`good_submission`), so that the same table serves the readers and the command line.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet

__all__ = ["ASSIGNMENTS", "BROKEN", "Broken", "good_labels", "good_submission"]


@dataclass(frozen=True)
class Broken:
    """One broken input.

    Attributes
    ----------
    name : str
    kind : {"submission", "labels", "groups", "split"}
    make : callable
        Makes it in an empty folder; returns the path to give to the reader.
    place, found, expected, fix : str
        What the parts of the message must contain.
    """

    name: str
    kind: Literal["submission", "labels", "groups", "split"]
    make: Callable[[Path], Path]
    place: str
    found: str
    expected: str
    fix: str


IDS = [f"s{i}" for i in range(12)]


def good_submission(folder: Path) -> Path:
    """Write a submission of 12 samples x 3 features."""
    x = np.random.default_rng(0).standard_normal((12, 3))
    lines = [",".join([i, *map(str, row)]) for i, row in zip(IDS, x, strict=True)]
    path = folder / "good.csv"
    path.write_text("\n".join(["id,0,1,2", *lines]) + "\n")
    return path


def good_labels(folder: Path) -> Path:
    """Write a folder with one regression task on the same 12 samples."""
    labels = folder / "labels"
    labels.mkdir()
    (labels / "height__regression.csv").write_text("id,label\n" + "".join(f"{i},{k}\n" for k, i in enumerate(IDS)))
    return labels


def text(content: str, name: str = "team.csv") -> Callable[[Path], Path]:
    return raw(content.encode(), name)


def raw(content: bytes, name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    return make


def folder_of(files: dict[str, str]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        labels = folder / "labels"
        labels.mkdir()
        for name, content in files.items():
            (labels / name).write_text(content)
        return labels

    return make


def arrow(columns: dict[str, Any], name: str = "team.parquet") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path, table = folder / name, pa.table(columns)
        if name.endswith(".parquet"):
            pa.parquet.write_table(table, path)
        else:
            pa.feather.write_feather(table, str(path))
        return path

    return make


def npz(name: str = "team.npz", **arrays: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = folder / name
        np.savez(path, **arrays)
        return path

    return make


def npy(x: Any, ids: str | None) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        np.save(folder / "team.npy", x)
        if ids is not None:
            (folder / "team.ids.txt").write_text(ids)
        return folder / "team.npy"

    return make


def zarr_v2(**arrays: dict[str, Any]) -> Callable[[Path], Path]:
    """Write the metadata of a Zarr group of format 2 by hand, and no chunks."""

    def make(folder: Path) -> Path:
        store = folder / "team.zarr"
        store.mkdir()
        (store / ".zgroup").write_text('{"zarr_format": 2}')
        for name, metadata in arrays.items():
            (store / name).mkdir()
            base = {"zarr_format": 2, "fill_value": 0, "order": "C", "filters": None, "compressor": None}
            chunks = {"chunks": metadata["shape"]}
            (store / name / ".zarray").write_text(json.dumps({**base, **chunks, **metadata}))
        return store

    return make


def truncated(make: Callable[[Path], Path], keep: float) -> Callable[[Path], Path]:
    def cut(folder: Path) -> Path:
        path = make(folder)
        content = path.read_bytes()
        path.write_bytes(content[: int(keep * len(content))])
        return path

    return cut


def damaged_member(folder: Path) -> Path:
    path = npz(id=np.array(["a", "b"]), x=np.zeros((2, 64)))(folder)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("x.npy").header_offset
    content = bytearray(path.read_bytes())
    content[start + 200 : start + 260] = os.urandom(60)
    path.write_bytes(content)
    return path


def missing(name: str) -> Callable[[Path], Path]:
    return lambda folder: folder / name


def subfolder(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).mkdir()
        return folder / name

    return make


def nested_folder(folder: Path) -> Path:
    labels = good_labels(folder)
    (labels / "depth__regression.csv").mkdir()
    return labels


def invalid_utf8_far_down(folder: Path) -> Path:
    rows = "".join(f"s{i},1,2\n" for i in range(20)).encode()
    return raw(b"id,0,1\n" + rows + b"caf\xe9,1,2\n", "team.csv")(folder)


AB = np.array(["a", "b"])
X = np.ones((2, 2), dtype=np.float32)
OBJECTS = np.array([[1, "x"], [None, 2.0]], dtype=object)
LENIENT = "read leniently"
PAIR = "a,1\nb,2\n"


def _file(name: str, make: Callable[[Path], Path], place: str, found: str, expected: str, fix: str) -> Broken:
    return Broken(name, "submission", make, place, found, expected, fix)


def _task(name: str, files: dict[str, str], place: str, found: str, expected: str, fix: str) -> Broken:
    return Broken(name, "labels", folder_of(files), place, found, expected, fix)


_CSV = [
    _file("nan", text("id,0,1\na,1,2\nb,nan,4\n"), "team.csv, line 3, column '0'", "'nan'", "finite", LENIENT),
    _file("empty-cell", text("id,0,1\na,1,\nb,3,4\n"), "line 2, column '1'", "an empty cell", "finite", LENIENT),
    _file("NA", text("id,0,1\na,1,2\n\nb,3,N/A\n"), "line 4, column '1'", "'N/A'", "finite", LENIENT),
    _file("infinity", text("id,0,1\na,-inf,2\nb,3,4\n"), "line 2, column '0'", "'-inf'", "finite", LENIENT),
    _file("overflow", text("id,0,1\na,1,1e39\nb,3,4\n"), "line 2, column '1'", "'1e39', which is beyond", "finite",
          LENIENT),
    _file("not-a-number", text("id,0,1\na,1,2\nb,3,four\n"), "line 3, column '1'", "'four'", "a number", LENIENT),
    _file("underscore", text("id,0,1\na,1_000,2\nb,3,4\n"), "line 2, column '0'", "'1_000'", "a number", LENIENT),
    _file("decimal-comma", text('id,0,1\na,"1,5",2\nb,3,4\n'), "line 2, column '0'", "'1,5'", "a number", "write"),
    _file("named-column-text", text("id,red,nir\na,1,2\nb,low,4\n"), "line 3, column 'red'", "'low'", "a number",
          LENIENT),
    _file("duplicate-id", text("id,0\na,1\nb,2\na,3\n"), "team.csv, line 4", "'a' again; it is already that of",
          "every id once", "remove one"),
    _file("duplicate-by-suffix", text("id,0\na.zarr.zip,1\nb,2\na.zarr,3\n"), "line 4", "'a' again", "'.zarr'",
          "remove one"),
    _file("empty-id", text("id,0\na,1\n,2\n"), "team.csv, line 3", "an empty id", "the id", "give the row an id"),
    _file("blank-id", text("id,0\n  ,1\nb,2\n"), "team.csv, line 2", "an empty id", "the id", "give the row an id"),
    _file("id-with-tab", text("id,0\na,1\nb\tc,2\n"), "team.csv, line 3", r"control character '\t'", "one line",
          "correct the id"),
    _file("id-with-newline", text('id,0\n"a\nb",1\nc,2\n'), "team.csv, line 2", r"control character '\n'",
          "one line", "correct the id"),
    _file("endless-id", text("id,0\na,1\n" + "b" * 2000 + ",2\n"), "line 3", "2,000 characters", "1,024", "correct"),
    _file("row-too-short", text("id,0,1\na,1,2\nb,3\n"), "team.csv, line 3", "2 cells (the first is 'b')",
          "3 cells", "complete the row"),
    _file("row-too-long", text("id,0,1\na,1,2,3\nb,3,4\n"), "team.csv, line 2", "4 cells", "3 cells", "quote"),
    _file("blank-looking-line", text("id,0,1\na,1,2\n  \n"), "team.csv, line 3", "1 cell ", "3 cells", "complete"),
    _file("open-quote", text('id,0,1\na,1,2\n"b,3,4\nc,5,6\n'), "team.csv, line 3", "not CSV", "quotes closed",
          "CSV library"),
    _file("carriage-returns", raw(b"id,0\na,1\rb,2\rc,3\n", "team.csv"), "team.csv, line 2", "not CSV",
          "separated by commas", "CSV library"),
    _file("empty-file", text(""), "team.csv", "an empty file", "a header with the column 'id'", "write the file"),
    _file("only-a-header", text("id,0,1\n"), "team.csv", "no rows", "one row per sample", "write"),
    _file("blank-first-line", text("\nid,0\na,1\n"), "team.csv, line 1", "a blank line", "column names", "header"),
    _file("no-header", text("a,1,2\nb,3,4\n"), "team.csv, line 1", "no column named 'id'", "exactly one", "name"),
    _file("ID", text("ID,0\na,1\n"), "team.csv, line 1", "columns: 'ID', '0'", "named 'id'", "name the column"),
    _file("two-id-columns", text("id,0,id\na,1,b\n"), "team.csv, line 1", "2 columns named 'id'", "exactly one",
          "name the column"),
    _file("semicolons", text("id;0;1\na;1;2\n"), "team.csv, line 1", "'id;0;1'", "comma-separated", "name"),
    _file("header-line-break", text('id,"a\nb"\na,1\n'), "team.csv, line 1", "line break", "one line", "rename"),
    _file("number-twice", text("id,0,1,1\na,1,2,3\n"), "line 1, column '1'", "the number of column '1' again",
          "every number once", "rename or remove"),
    _file("number-twice-spelt", text("id,0,1,01\na,1,2,3\n"), "line 1, column '01'", "column '1' again", "once",
          "rename or remove"),
    _file("name-twice", text("id,red,red\na,1,2\n"), "line 1, column 'red'", "the name 2 times", "once", "rename"),
    _file("gap", text("id,0,1,3\na,1,2,3\n"), "team.csv, line 1", "no column '2'", "0 to 2 without a gap",
          "number the feature columns from 0"),
    _file("from-one", text("id,1,2\na,1,2\n"), "team.csv, line 1", "no column '0'", "0 to 1", "from 0"),
    _file("mixed-columns", text("id,0,1,site\na,1,2,x\n"), "line 1, column 'site'", "beside 2 numbered columns",
          "numbered columns only", "remove the column"),
    _file("pandas-index", text(",id,0,1\n0,a,1,2\n"), "line 1, column ''", "no number", "numbered", "remove"),
    _file("no-features", text("id\na\nb\n"), "team.csv, line 1", "no feature columns", "at least one", "add"),
    _file("too-wide", text("id," + ",".join(map(str, range(65_537))) + "\n"), "team.csv, line 1", "65,537 features",
          "at most 65,536", "reduce"),
    _file("latin-1", invalid_utf8_far_down, "team.csv, line 22", "byte 0xe9", "UTF-8", "encoding UTF-8"),
    _file("utf-16", raw("id,0\na,1\n".encode("utf-16"), "team.csv"), "team.csv, line 1", "0xff", "UTF-8", "save"),
    _file("parquet-named-csv", lambda folder: arrow({"id": AB, "0": [1.0, 2.0]})(folder).rename(folder / "t.csv"),
          "t.csv, line 1", "'PAR1", "exactly one column", "name"),
]  # fmt: skip

_FILES = [
    _file("missing-file", missing("team.csv"), "team.csv", "nothing there", "a submission file", "path"),
    _file("unknown-suffix", raw(b"PK", "team.xlsx"), "team.xlsx", "'.xlsx'", ".parquet", "known format"),
    _file("compressed", raw(b"\x1f\x8b", "team.csv.gz"), "team.csv.gz", "'.gz'", ".csv", "known format"),
    _file("no-suffix", raw(b"id,0\na,1\n", "team"), "team", "file name ending ''", ".csv", "known format"),
    _file("folder", subfolder("team"), "team", "a folder", "a file whose name ends in", "known format"),
    _file("folder-named-csv", subfolder("team.csv"), "team.csv", "a folder", "a .csv file", "submission itself"),
    _file("file-named-zarr", raw(b"x", "team.zarr"), "team.zarr", "a file", "a Zarr store", "rename"),
]  # fmt: skip

_BINARY = [
    _file("parquet-null", arrow({"id": AB, "0": [1.0, None]}), "team.parquet, row 1 (id 'b'), column '0'", "a null",
          "finite", LENIENT),
    _file("parquet-nan", arrow({"id": AB, "0": [1.0, 2.0], "1": [np.nan, 1.0]}),
          "team.parquet, row 0 (id 'a'), column '1'", "nan", "finite", LENIENT),
    _file("parquet-text", arrow({"id": AB, "0": ["1", "2"]}), "team.parquet, column '0'", "type string", "numbers",
          "floating-point"),
    _file("parquet-bool", arrow({"id": AB, "0": [True, False]}), "column '0'", "type bool", "numbers", "store"),
    _file("parquet-int64", arrow({"id": AB, "0": [1, 2]}), "team.parquet", "type int64", "float32", "astype"),
    _file("parquet-float-ids", arrow({"id": [1.0, 2.0], "0": [1.0, 2.0]}), "team.parquet, column 'id'",
          "type double", "ids as text", "convert the ids"),
    _file("parquet-null-id", arrow({"id": ["a", None], "0": [1.0, 2.0]}), "team.parquet, row 1", "an empty id",
          "the id", "give the row an id"),
    _file("parquet-duplicate-id", arrow({"id": ["a", "a"], "0": [1.0, 2.0]}), "team.parquet, row 1 (id 'a')",
          "already that of", "every id once", "remove one"),
    _file("parquet-ragged-lists", arrow({"id": AB, "emb": [[1.0, 2.0], [3.0]]}),
          "team.parquet, row 1 (id 'b'), column 'emb'", "a list of 1 values", "2 values", "lists of one length"),
    _file("parquet-null-in-list", arrow({"id": AB, "emb": [[1.0, 2.0], [3.0, None]]}),
          "team.parquet, row 1 (id 'b'), column 1", "a null", "finite", LENIENT),
    _file("parquet-null-list", arrow({"id": AB, "emb": [[1.0, 2.0], None]}),
          "team.parquet, row 1 (id 'b'), column 'emb'", "a null", "2 values", "one length"),
    _file("parquet-empty-lists", arrow({"id": AB, "emb": pa.array([[], []], pa.list_(pa.float32()))}),
          "team.parquet", "no feature columns", "at least one", "add"),
    _file("parquet-two-list-columns", arrow({"id": AB, "a": [[1.0], [2.0]], "b": [[1.0], [2.0]]}),
          "team.parquet, column 'a'", "a column of lists", "a single column", "remove the other columns"),
    _file("parquet-no-id", arrow({"sample": AB, "0": [1.0, 2.0]}), "team.parquet", "no column named 'id'",
          "exactly one", "name the column"),
    _file("parquet-no-rows", arrow({"id": pa.array([], pa.string()), "0": pa.array([], pa.float32())}),
          "team.parquet", "no rows", "one row per sample", "write"),
    _file("parquet-truncated", truncated(arrow({"id": AB, "0": [1.0, 2.0]}), 0.7), "team.parquet",
          "cannot be read as Parquet", "complete Parquet data", "write or copy the file again"),
    _file("feather-truncated", truncated(arrow({"id": AB, "0": [1.0, 2.0]}, "team.feather"), 0.5), "team.feather",
          "cannot be read as Arrow IPC", "complete", "write or copy"),
    _file("arrow-infinity", arrow({"id": AB, "0": [1.0, np.inf]}, "team.arrow"),
          "team.arrow, row 1 (id 'b'), column '0'", "inf", "finite", LENIENT),
    _file("arrow-empty-file", raw(b"", "team.arrow"), "team.arrow", "cannot be read as Arrow IPC", "complete",
          "write or copy"),
    _file("npz-nan", npz(id=AB, x=np.array([[1, 2], [3, np.nan]])), "team.npz, row 1 (id 'b'), column 1", "nan",
          "finite", LENIENT),
    _file("npz-no-x", npz(id=AB, embeddings=X), "team.npz, array 'x'", "'embeddings'", "'x'", "numpy.savez"),
    _file("npz-no-id", npz(x=X), "team.npz, array 'id'", "only the arrays 'x'", "'id'", "numpy.savez"),
    _file("npz-objects", npz(id=AB, x=OBJECTS), "team.npz", "Object arrays cannot be loaded", "complete",
          "write"),
    _file("npz-text", npz(id=AB, x=np.array([["1", "2"], ["3", "4"]])), "team.npz", "type str", "float32", "convert"),
    _file("npz-complex", npz(id=AB, x=X.astype(complex)), "team.npz", "type complex128", "float32", "astype"),
    _file("npz-bool", npz(id=AB, x=X > 0), "team.npz", "type bool", "float32", "astype"),
    _file("npz-int64", npz(id=AB, x=X.astype(np.int64)), "team.npz", "type int64", "16 or 32 bits", "astype"),
    _file("npz-1d", npz(id=AB, x=X[0]), "team.npz", "1 dimensions (shape (2,))", "a matrix", "reshape"),
    _file("npz-3d", npz(id=AB, x=X[:, :, None]), "team.npz", "3 dimensions", "a matrix", "reshape"),
    _file("npz-lengths", npz(id=AB, x=np.ones((3, 2))), "team.npz", "2 ids for 3 rows", "one id per row", "write"),
    _file("npz-2d-ids", npz(id=AB[:, None], x=X), "team.npz, array 'id', ids", "2 dimensions", "one id", "flat list"),
    _file("npz-float-ids", npz(id=np.array([1.5, 2.5]), x=X), "team.npz, array 'id'", "float64", "text", "convert"),
    _file("npz-no-columns", npz(id=AB, x=X[:, :0]), "team.npz", "no feature columns", "at least one", "add"),
    _file("npz-no-rows", npz(id=AB[:0], x=X[:0]), "team.npz", "no rows", "one row", "write"),
    _file("npz-too-wide", npz(id=AB, x=np.zeros((2, 65_537), np.int8)), "team.npz", "65,537 features", "65,536",
          "transpose"),
    _file("npz-damaged-member", damaged_member, "team.npz", "Bad CRC-32", "complete", "write or copy"),
    _file("npz-not-zip", raw(b"not a zip", "team.npz"), "team.npz", "cannot be read as .npz", "complete",
          "write or copy"),
    _file("npz-empty", raw(b"", "team.npz"), "team.npz", "cannot be read as .npz", "complete", "write"),
    _file("npy-without-ids", npy(X, None), "team.npy", "neither team.ids.csv nor team.ids.txt", "one id a line",
          "write that file"),
    _file("npy-lengths", npy(X, "a\nb\nc\n"), "team.npy", "3 ids for 2 rows", "one id per row", "same table"),
    _file("npy-duplicate-id", npy(X, "id\na\na\n"), "team.ids.txt, line 3", "'a' again", "every id once", "remove"),
    _file("npy-blank-id", npy(np.ones((3, 2)), "a\n\nc\n"), "team.ids.txt, line 2", "an empty id", "the id", "give"),
    _file("npy-id-commas", npy(X, "a,1\nb,2\n"), "team.ids.txt, line 1", "2 cells", "one id a line", "remove"),
    _file("npy-pickle", npy(OBJECTS, "a\nb\n"), "team.npy", "Object arrays cannot be loaded", "complete", "write"),
    _file("npy-infinity", npy(np.array([[1.0], [np.inf]]), "a\nb\n"), "team.npy, row 1 (id 'b'), column 0", "inf",
          "finite", LENIENT),
    _file("npy-truncated", truncated(npy(X, "a\nb\n"), 0.9), "team.npy", "cannot be read as .npy",
          "complete", "write or copy"),
    _file("zarr-empty-folder", subfolder("team.zarr"), "team.zarr", "cannot be read as Zarr", "complete",
          "write or copy"),
    _file("zarr-no-x", zarr_v2(id={"shape": [2], "dtype": "<U1", "fill_value": ""}), "team.zarr, array 'x'",
          "only the arrays 'id'",
          "the arrays 'id'", "root of the store"),
    _file("zarr-nothing", zarr_v2(), "team.zarr, array 'id'", "no arrays", "the arrays 'id'", "root of the store"),
    _file("zarr-empty-ids", zarr_v2(id={"shape": [2], "dtype": "<U1", "fill_value": ""},
                                          x={"shape": [2, 2], "dtype": "<f4"}),
          "team.zarr, row 0", "an empty id", "the id", "give the row an id"),
    _file("zarr-pickled", zarr_v2(id={"shape": [2], "dtype": "|O", "filters": [{"id": "vlen-utf8"}, {"id": "pickle"}]},
                                        x={"shape": [2, 2], "dtype": "<f4"}),
          "team.zarr, array 'id'", "pickled Python objects", "ids as text", "write the array again"),
]  # fmt: skip

_LABELS = [
    _task("no-label-files", {"readme.txt": "x"}, "labels", "no label files", "<task>__<type>.csv", "name the folder"),
    Broken("labels-missing", "labels", missing("labels"), "labels", "nothing there", "a folder", "name the folder"),
    Broken("labels-a-file", "labels", text("id,label\n", "height__regression.csv"), "height__regression.csv", "a file",
           "a folder of label files", "name the folder"),
    Broken("labels-nested-folder", "labels", nested_folder, "depth__regression.csv", "a folder", "a file", "move it"),
    _task("plain-name", {"height.csv": "id,label\n" + PAIR}, "height.csv", "'height.csv'", "<task>__<type>.csv",
          "rename"),
    _task("unknown-type", {"a__ranking.csv": "id,label\n" + PAIR}, "a__ranking.csv", "'a__ranking.csv'",
            "regression (regr) or classification (cls)", "rename"),
    _task("type-in-capitals", {"a__Regression.CSV": "id,label\n" + PAIR}, "a__Regression.CSV", "the file name",
            "regression (regr)", "rename"),
    _task("no-task-name", {"__regression.csv": "id,label\n" + PAIR}, "__regression.csv", "the file name", "<task>",
            "rename"),
    _task("task-twice", {"a__regr.csv": "id,label\n" + PAIR, "a__cls.csv": "id,label\n" + PAIR}, "a__regr.csv",
            "a second file for the task 'a', beside a__cls.csv", "one file per task", "remove or rename"),
    _task("label-empty-file", {"a__regr.csv": ""}, "a__regr.csv", "an empty file", "a header", "write the file"),
    _task("no-label-column", {"a__regr.csv": "id,value\n" + PAIR}, "a__regr.csv, line 1", "no column named 'label'",
            "one column 'label'", "in the header"),
    _task("label-no-id-column", {"a__regr.csv": "sample,label\n" + PAIR}, "a__regr.csv, line 1", "no column named 'id'",
            "one column 'id'", "in the header"),
    _task("label-not-a-number", {"a__regr.csv": "id,label\na,1\nb,high\n"}, "a__regr.csv, line 3, column 'label'",
            "'high'", "a finite number", "write the label as a number"),
    _task("label-underscore", {"a__regr.csv": "id,label\na,1\nb,1_0\n"}, "a__regr.csv, line 3", "'1_0'", "number",
          "write"),
    _task("label-infinite", {"a__regr.csv": "id,label\na,inf\nb,2\n"}, "a__regr.csv, line 2, column 'label'", "'inf'",
            "a finite number", "write the label"),
    _task("label-duplicate-id", {"a__regr.csv": "id,label\na,1\nb,2\na,3\n"}, "a__regr.csv, line 4, column 'id'",
            "'a' again; it is already on line 2", "every id once", LENIENT),
    _task("label-empty-id", {"a__regr.csv": "id,label\n,1\nb,2\n"}, "a__regr.csv, line 2, column 'id'", "an empty id",
            "the id of a sample", "correct the id"),
    _task("label-row-too-short", {"a__regr.csv": "id,label\na,1\nb\n"}, "a__regr.csv, line 3", "1 cell (", "2 cells",
            "complete the row"),
    _task("label-row-too-long", {"a__regr.csv": "id,label\na,1,2\nb,2\n"}, "a__regr.csv, line 2", "3 cells", "2 cells",
            "quote cells"),
    _task("one-sample", {"a__regr.csv": "id,label\na,1\nb,\n"}, "a__regr.csv",
            "1 labelled sample and 1 without a label", "at least 2", "add labels"),
    _task("no-samples", {"a__regr.csv": "id,label\n"}, "a__regr.csv", "0 labelled samples", "at least 2", "add labels"),
    _task("many-classes", {"a__cls.csv": "id,label\na,0\nb,1\nc,1\nd,2\n"}, "a__cls.csv, line 5, column 'label'",
            "2, a class too many: 3 classes among 4 samples", "at most 2 classes", "regression"),
    _task("fractional-classes", {"a__cls.csv": "id,label\na,0.1\nb,0.2\nc,0.3\n"}, "a__cls.csv, line 4", "0.3",
            "no more than half of the samples", "regression"),
    _task("one-odd-class", {"a__cls.csv": "id,label\na,7\nb,7\n"}, "a__cls.csv, column 'label'",
            "the label 7 everywhere", "two classes or more", "regression"),
]  # fmt: skip

BROKEN: list[Broken] = [*_CSV, *_FILES, *_BINARY, *_LABELS]
"""Submissions and label folders."""

ASSIGNMENTS: list[Broken] = [
    Broken("groups-missing", "groups", missing("groups.csv"), "groups.csv", "nothing there", "readable",
          "check the path"),
    Broken("groups-one-column", "groups", text("id\na\n", "g.csv"), "g.csv, line 1", "no column named 'group'",
          "'group'",
           "name the column"),
    Broken("groups-id-second", "groups", text("site,id\nx,a\n", "g.csv"), "g.csv, line 1", "no column named 'group'",
           "'group'", "name the column"),
    Broken("groups-no-id", "groups", text("sample,group\na,x\n", "g.csv"), "g.csv, line 1", "no column named 'id'",
           "one column 'id'", "name the column"),
    Broken("groups-empty-cell", "groups", text("id,x,group\na,1,g\nb,1, \n", "g.csv"), "g.csv, line 3, column 'group'",
           "an empty cell", "the group of 'b'", "give every id a group"),
    Broken("groups-duplicate", "groups", text("id,group\na,g\na,h\n", "g.csv"), "g.csv, line 3", "'a' again", "once",
           "remove one of the rows"),
    Broken("groups-no-rows", "groups", text("id,group\n", "g.csv"), "g.csv", "no rows", "id,group", "fill the file"),
    Broken("split-value", "split", text("id,split\na,dev\nb,holdout\n", "s.csv"), "s.csv, line 3, column 'split'",
           "'holdout'", "dev, train, eval, test", "give every id a split"),
    Broken("split-one-side", "split", text("id,split\na,dev\nb,train\n", "s.csv"), "s.csv, column 'split'",
           "no samples in 'eval'", "both sides", "assign some samples"),
]  # fmt: skip
"""Files of groups and of fixed splits."""
