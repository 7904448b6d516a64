"""The store: what is written is read again, by us and by the Zarr library; whatever fails, it stays whole."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastprobe import Benchmark, InputError, Store, Submission, ingest, score
from fastprobe.store import Entry, is_store
from fastprobe.store import writer as writer_module
from fastprobe.store.arrays import ArrayReader, rows_of_a_chunk, write_arrays
from fastprobe.store.entry import from_lines, is_key, key_of, to_lines
from fastprobe.store.folder import Folder
from fastprobe.store.index import GrowingIndex, read_index
from fastprobe.store.objects import WritableObjects
from fastprobe.store.sources import Stamp

DTYPES = ["float64", "float32", "float16", "int8", "uint8"]


def make(name: str, n: int = 5, d: int = 3, dtype: str = "float32", seed: int = 0) -> Submission:
    x = np.random.default_rng(seed).integers(0, 100, size=(n, d)).astype(dtype)
    return Submission(name, np.array([f"{name}/sample {i}" for i in range(n)]), x)


def write_npz(folder: Path, *names: str, **options: Any) -> list[Path]:
    folder.mkdir(exist_ok=True)
    paths = []
    for name in names:
        submission = make(name, **options)
        paths.append(folder / f"{name}.npz")
        np.savez(paths[-1], id=submission.ids, x=submission.x)
    return paths


def contents(location: object) -> dict[str, str]:
    """Everything that a store holds, read and hashed."""
    store = Store.open(str(location))
    return {entry.name: store.read(entry.name, verify=True).digest for entry in store.entries()}


def entry_of(submission: Submission, **changes: Any) -> Entry:
    n, d = submission.x.shape
    fields = {
        "name": submission.name, "digest": submission.digest, "n": n, "d": d, "dtype": submission.x.dtype.name,
        "key": key_of(submission.name, submission.digest), "chunk_rows": n, "compressed": False,
        "source": "/data/a.csv", "source_size": 1, "source_mtime_ns": 2, "repairs": {},
    }  # fmt: skip
    return Entry(**{**fields, **changes})


# --- arrays ----------------------------------------------------------------------------------------------------------


@given(
    n=st.integers(1, 40), d=st.integers(1, 5), rows=st.integers(1, 50), dtype=st.sampled_from(DTYPES),
    zeros=st.booleans(), compressed=st.booleans(), data=st.data(),
)  # fmt: skip
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_written_is_read_by_us_and_by_the_zarr_library(tmp_path, n, d, rows, dtype, zeros, compressed, data):
    text = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).map(lambda t: f"a{t}b")
    ids = data.draw(st.lists(text, min_size=n, max_size=n, unique=True).filter(lambda i: ".zarr" not in "".join(i)))
    x = np.zeros((n, d), dtype) if zeros else make("a", n, d, dtype).x - np.asarray(3, dtype)
    submission = Submission("a", np.array(ids), x)
    entry = entry_of(submission, chunk_rows=min(rows, n), compressed=compressed)
    folder = Folder(tmp_path)
    write_arrays(folder, entry, submission)
    found_ids, found = ArrayReader(folder).read(entry)
    assert found_ids.tolist() == ids
    assert found.dtype == x.dtype
    assert found.flags.writeable
    np.testing.assert_array_equal(found, x)
    group = zarr.open_group(str(tmp_path), path=entry.key, mode="r")  # the slow, obvious twin
    assert dict(group.attrs) == {"name": "a", "digest": submission.digest}
    assert group["id"][...].tolist() == ids
    assert group["x"].chunks == (min(rows, n), d)
    np.testing.assert_array_equal(group["x"][...], found)
    found_ids, found = ArrayReader(folder).read(entry)
    assert Submission("a", found_ids, found).digest == submission.digest


@given(n=st.integers(1, 10**7), row_bytes=st.integers(1, 65_536 * 8))
def test_chunks_are_whole_rows_of_4_to_16_mb(n, row_bytes):
    rows = rows_of_a_chunk(n, row_bytes)
    assert 1 <= rows <= n
    if n * row_bytes <= 16 << 20:
        assert rows == n
    else:
        assert 4 << 20 <= rows * row_bytes <= 16 << 20


def test_large_embeddings_have_several_chunks_that_are_not_compressed(tmp_path):
    x = np.random.default_rng(0).standard_normal((1001, 5000), dtype=np.float32)
    with Store.create(tmp_path / "s.zarr").writer() as writer:
        writer.add(Submission("a", np.arange(1001).astype(str), x), Stamp("/a", 1, 2))
    (entry,) = Store.open(tmp_path / "s.zarr").entries()
    sizes = [file.stat().st_size for file in (tmp_path / "s.zarr" / entry.key / "x" / "c").glob("*/0")]
    assert sizes == [entry.chunk_rows * 5000 * 4 + 4] * 3
    np.testing.assert_array_equal(Store.open(tmp_path / "s.zarr").read("a", verify=True).x, x)


def test_submissions_with_the_same_ids_share_them(tmp_path):
    a, b = make("a"), make("b", seed=1)
    same = Submission("b", a.ids, b.x)
    store = Store.create(tmp_path / "s.zarr")
    with store.writer() as writer:
        for submission in (a, same, make("c")):
            writer.add(submission, Stamp("/a", 1, 2))
    read = [store.read(name) for name in ("a", "b", "c", "a")]
    assert read[0].ids is read[1].ids
    assert [r.digest for r in read] == [a.digest, same.digest, make("c").digest, a.digest]
    assert not read[0].ids.flags.writeable


# --- names and the index ---------------------------------------------------------------------------------------------


@given(st.text(min_size=1), st.text(min_size=1))
def test_keys_are_safe_and_tell_names_and_contents_apart(a, b):
    key = key_of(a, "0" * 32)
    assert is_key(key)
    assert key == key.lower()
    assert len(key) < 80
    assert (key == key_of(b, "0" * 32)) == (a == b)
    assert key != key_of(a, "1" * 32)


@given(st.lists(st.tuples(st.text(min_size=1), st.integers(0, 2**62), st.dictionaries(st.text(), st.integers()))))
@settings(max_examples=30)
def test_lines_of_the_index_hold_any_entry(found):
    some = entry_of(make("a"))
    entries = [replace(some, name=name, source=name, source_mtime_ns=n, repairs=r) for name, n, r in found]
    assert list(from_lines(to_lines(entries))) == entries


class Memory(WritableObjects):
    """Objects in memory, which fail when they have been written to so many times."""

    def __init__(self, held: dict[str, bytes], lives: float = float("inf")) -> None:
        super().__init__("memory")
        self.held, self.lives = held, lives
        self.on_list: list[Callable[[], None]] = []

    def get(self, name: str) -> bytes | None:
        return self.held.get(name)

    def children(self, name: str) -> list[str]:
        found = sorted({key[len(name) + 1 :].split("/")[0] for key in self.held if key.startswith(f"{name}/")})
        if self.on_list:
            self.on_list.pop()()
        return found

    def put(self, name: str, data: bytes) -> None:
        self._live()
        self.held[name] = data

    def delete(self, name: str) -> None:
        self._live()
        self.held.pop(name, None)

    def sync(self, name: str) -> None: ...

    def lock(self, name: str) -> AbstractContextManager[None]:
        return nullcontext()

    def zarr(self, *, read_only: bool) -> Any:
        raise NotImplementedError

    def _live(self) -> None:
        if self.lives < 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.lives -= 1


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.integers(0, 9)), max_size=30),
    st.integers(1, 40),
    st.integers(1, 4),
)
@settings(max_examples=50, deadline=None)
def test_the_index_holds_what_was_put_wherever_writing_fails(puts, lives, many):
    """The model is a dictionary. A put that failed may count or not, one that returned does; several lives in turn."""
    held: dict[str, bytes] = {}
    model: dict[str, int] = {}
    remaining = list(puts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fastprobe.store.index._MANY", many)
        while remaining:
            index = GrowingIndex(Memory(held, lives))
            unsure: tuple[str, int] | None = None
            try:
                while remaining:
                    unsure = remaining.pop(0)
                    index.put(entry_of(make("a"), name=unsure[0], n=unsure[1]))
                    model[unsure[0]] = unsure[1]
                index.put_together()
            except OSError:
                pass
            found = {entry.name: entry.n for entry in read_index(Memory(held)).values()}
            assert found in (model, {**model, **dict([unsure])} if unsure else model)
            model = found


def test_an_index_that_is_put_together_while_it_is_read(tmp_path):
    held: dict[str, bytes] = {}
    writer = GrowingIndex(Memory(held))
    for name in "abc":
        writer.put(entry_of(make(name)))
    reader = Memory(held)
    reader.on_list = [writer.put_together]  # just after the reader has listed the files
    assert sorted(read_index(reader)) == ["a", "b", "c"]
    assert len(held) == 1


def test_an_index_that_never_stands_still_is_an_error():
    writer = GrowingIndex(Memory({}))
    reader = Memory(writer._objects.held)
    count = iter(range(10_000))
    reader.on_list = [lambda: writer.put(entry_of(make(f"n{next(count)}")))] * 10_000
    with pytest.raises(InputError, match="faster than it can be read"):
        read_index(reader)


def test_opening_looks_at_the_index_only(tmp_path, monkeypatch):
    store = Store.create(tmp_path / "s.zarr")
    some = entry_of(make("a"))
    entries = [replace(some, name=f"n{i:05d}") for i in range(10_000)]
    Folder(tmp_path / "s.zarr").put("index/000000000001.jsonl", to_lines(entries[::-1]))
    asked = []
    get = Folder.get
    monkeypatch.setattr(Folder, "get", lambda self, name: (asked.append(name), get(self, name))[1])
    store = Store.open(tmp_path / "s.zarr")
    assert store.entries() == entries
    assert (len(store), "n00042" in store, "m" in store) == (10_000, True, False)
    assert asked == ["zarr.json", "index/000000000001.jsonl"]


# --- ingest ----------------------------------------------------------------------------------------------------------


def names(entries: tuple[Entry, ...]) -> list[str]:
    return [entry.name for entry in entries]


def never(*arguments: object, **options: object) -> None:
    raise AssertionError("this was not to be called")


def test_files_of_every_format_come_back_as_they_are_read(tmp_path):
    files = tmp_path / "in"
    write_npz(files, "b", "a", dtype="float16")
    (files / "c.csv").write_text("id,0,1\nx,1,2\ny,3,4.5\n")
    np.save(files / "m.npy", np.eye(2))
    (files / "m.ids.csv").write_text("p\nq\n")
    group = zarr.create_group(str(files / "z.zarr"))
    group.create_array("x", data=np.ones((2, 2), np.int8))
    group.create_array("id", data=np.array(["u", "v"], dtype=np.dtypes.StringDType()))
    (files / "notes.txt").write_text("not a submission")
    (files / ".hidden.csv").write_text("not a submission")
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    store = Store.create(tmp_path / "s.zarr")
    result = ingest(files, store)
    assert names(result.added) == ["a", "b", "c", "m", "z"]
    assert (result.skipped, result.replaced, result.failed) == ((), (), ())
    assert [entry.dtype for entry in result.added] == ["float16", "float16", "float32", "float64", "int8"]
    sources = [str(files / name) for name in ("a.npz", "b.npz", "c.csv", "m.npy", "z.zarr")]
    assert [entry.source for entry in result.added] == sources
    for opened in (store, Store.open(tmp_path / "s.zarr")):
        assert opened.entries() == list(result.added)
        for path in files.iterdir():
            if path.stem in opened:
                expected, found = Submission.read(path), opened.read(path.stem)
                assert found.__dict__["_digest"] == expected.digest
                np.testing.assert_array_equal(found.ids, expected.ids)
                np.testing.assert_array_equal(found.x, expected.x)
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == before


def test_the_same_file_is_skipped_without_being_read(tmp_path, monkeypatch):
    paths = write_npz(tmp_path / "in", "a", "b")
    ingest(paths, Store.create(tmp_path / "s.zarr"))
    monkeypatch.setattr(Submission, "read", never)
    store = Store.open(tmp_path / "s.zarr")
    result = ingest(paths, store)
    assert names(result.skipped) == ["a", "b"]
    assert result.added == result.replaced == result.failed == ()


def test_a_touched_file_is_read_once_more_and_then_known(tmp_path, monkeypatch):
    (path,) = write_npz(tmp_path / "in", "a")
    store = Store.create(tmp_path / "s.zarr")
    ingest([path], store)
    os.utime(path, ns=(1, 1))
    with monkeypatch.context() as patch:
        patch.setattr(writer_module, "write_arrays", never)
        assert names(ingest([path], store).skipped) == ["a"]
    assert Store.open(tmp_path / "s.zarr").entry("a").source_mtime_ns == 1
    monkeypatch.setattr(Submission, "read", never)
    assert names(ingest([path], store).skipped) == ["a"]


def test_other_content_takes_the_place_of_the_old_which_is_removed(tmp_path):
    (path,) = write_npz(tmp_path / "in", "a")
    store = Store.create(tmp_path / "s.zarr")
    old = ingest([path], store).added[0]
    stale = Store.open(tmp_path / "s.zarr")
    write_npz(tmp_path / "in", "a", seed=1)
    result = ingest([path], store)
    assert names(result.replaced) == ["a"]
    assert store.read("a", verify=True).digest == make("a", seed=1).digest != old.digest
    assert not (tmp_path / "s.zarr" / old.key).exists()
    with pytest.raises(InputError, match="open the store again"):
        stale.read("a")
    write_npz(tmp_path / "in", "a")
    assert names(ingest([path], store).replaced) == ["a"]
    assert contents(tmp_path / "s.zarr") == {"a": old.digest}


def test_the_same_content_under_two_names_is_stored_twice(tmp_path):
    (path,) = write_npz(tmp_path / "in", "a")
    shutil.copy(path, path.with_name("A.npz"))
    store = Store.create(tmp_path / "s.zarr")
    assert names(ingest(tmp_path / "in", store).added) == ["A", "a"]
    assert len(set(contents(tmp_path / "s.zarr").values())) == 1
    assert len({entry.key.lower() for entry in store.entries()}) == 2


def test_ids_from_another_file_are_looked_at_every_time(tmp_path):
    np.save(tmp_path / "m.npy", np.eye(2))
    ids = [tmp_path / "one.txt", tmp_path / "two.txt"]
    ids[0].write_text("p\nq\n")
    ids[1].write_text("q\np\n")
    os.utime(ids[1], ns=(1, 1))
    store = Store.create(tmp_path / "s.zarr")
    done = [ingest([tmp_path / "m.npy"], store, ids=path) for path in (ids[0], ids[0], ids[1])]
    assert [(len(d.added), len(d.skipped), len(d.replaced)) for d in done] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert store.read("m").ids.tolist() == ["q", "p"]


def test_repairs_are_kept_and_strict_reading_does_not_take_them_for_granted(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("id,0\nx,1\ny,\n")
    store = Store.create(tmp_path / "s.zarr")
    assert "line 3" in ingest([path], store).failed[0].error
    assert len(store) == 0
    assert ingest([path], store, lenient=True).added[0].repairs == {"nan_to_zero": 1}
    assert Store.open(tmp_path / "s.zarr").read("a").repairs == {"nan_to_zero": 1}
    assert names(ingest([path], store, lenient=True).skipped) == ["a"]
    assert len(ingest([path], store).failed) == 1
    assert store.read("a").digest == Submission.read(path, lenient=True).digest


def test_bad_files_are_recorded_and_the_others_go_on(tmp_path, monkeypatch):
    files = tmp_path / "in"
    write_npz(files, "a", "c", "e")
    (files / "b.npz").write_bytes(b"no archive")
    (files / "d.csv").write_text("id,0\nx,nonsense\n")
    read = Submission.read

    def surprising(path: Path, **options: Any) -> Submission:
        if path.stem == "e":
            raise RuntimeError("what nobody thought of")
        return read(path, **options)

    monkeypatch.setattr(Submission, "read", surprising)
    seen = []
    result = ingest(files, Store.create(tmp_path / "s.zarr"), progress=lambda *state: seen.append(state))
    assert names(result.added) == ["a", "c"]
    assert [failure.path for failure in result.failed] == [str(files / name) for name in ("b.npz", "d.csv", "e.npz")]
    assert "d.csv, line 2" in result.failed[1].error
    assert "RuntimeError: what nobody thought of" in result.failed[2].error
    assert sorted(state[0] for state in seen) == ["a", "b", "c", "d", "e"]
    assert [state[1:] for state in seen] == [(i, 5) for i in range(1, 6)]


def test_a_file_that_changes_while_it_is_read_is_not_taken(tmp_path, monkeypatch):
    (path,) = write_npz(tmp_path / "in", "a")
    read = Submission.read

    def growing(path: Path, **options: Any) -> Submission:
        submission = read(path, **options)
        with path.open("ab") as file:
            file.write(b"more")
        return submission

    monkeypatch.setattr(Submission, "read", growing)
    result = ingest([path], Store.create(tmp_path / "s.zarr"))
    assert "changed while it was read" in result.failed[0].error


@pytest.mark.parametrize("workers", [1, 3])
def test_no_more_matrices_than_workers_are_held(tmp_path, monkeypatch, workers):
    paths = write_npz(tmp_path / "in", *"abcdefghij")
    lock, live, most = threading.Lock(), 0, 0
    read, add = Submission.read, writer_module.Writer.add

    def counted_read(path: Path, **options: Any) -> Submission:
        nonlocal live, most
        with lock:
            live += 1
            most = max(most, live)
        time.sleep(0.01)
        return read(path, **options)

    def counted_add(*arguments: Any, **options: Any) -> str:
        nonlocal live
        outcome = add(*arguments, **options)
        with lock:
            live -= 1
        return outcome

    monkeypatch.setattr(Submission, "read", counted_read)
    monkeypatch.setattr(writer_module.Writer, "add", counted_add)
    ingest(paths, Store.create(tmp_path / "s.zarr"), workers=workers)
    assert most == workers


def test_what_is_to_be_ingested_is_looked_at_first(tmp_path):
    (path,) = write_npz(tmp_path / "in", "a")
    (other,) = write_npz(tmp_path / "other", "a")
    store = Store.create(tmp_path / "in" / "s.zarr")
    empty = tmp_path / "empty"
    empty.mkdir()
    for files, found in (
        ([path, other], "a second file that gives the name 'a'"),
        ([path, path], "a second file"),
        ([tmp_path / "nowhere"], "nothing there"),
        ([empty], "a folder without submissions"),
        ([tmp_path / "in" / "s.zarr"], "a store of submissions"),
        ([], "none"),
    ):
        with pytest.raises(InputError, match=found):
            ingest(files, store)
    with pytest.raises(InputError, match="workers"):
        ingest([path], store, workers=0)
    assert names(ingest(tmp_path / "in", store).added) == ["a"]  # the store in the folder is left out
    assert names(ingest(path, store, compress=True).skipped) == ["a"]


# --- when something fails --------------------------------------------------------------------------------------------


class Failing(zarr.storage.LocalStore):
    """Fails at the write with a given number."""

    at = -1
    number = errno.ENOSPC

    async def set(self, key: str, value: Any) -> None:
        type(self).at -= 1
        if type(self).at == -1:
            raise OSError(self.number, os.strerror(self.number))
        await super().set(key, value)


@pytest.mark.parametrize(("at", "number"), [(0, errno.ENOSPC), (4, errno.ENOSPC), (6, errno.EROFS), (9, errno.EACCES)])
def test_a_medium_that_fails_leaves_the_store_as_it_was(tmp_path, monkeypatch, at, number):
    paths = write_npz(tmp_path / "in", "a", "b", "c")
    store = Store.create(tmp_path / "s.zarr")
    ingest(paths[:1], store)
    write_npz(tmp_path / "in", "a", seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(zarr.storage, "LocalStore", Failing)
        patch.setattr(Failing, "at", at)
        patch.setattr(Failing, "number", number)
        with pytest.raises(InputError) as caught:
            ingest(paths, store, workers=1)
    assert str(tmp_path / "s.zarr") in caught.value.where
    assert os.strerror(number) in caught.value.found
    assert "it goes on where it was" in caught.value.fix
    # five objects a submission: group, id, its chunk, x, its chunk
    expected = {"a": make("a", seed=int(at >= 5)).digest, **({"b": make("b").digest} if at >= 10 else {})}
    assert contents(tmp_path / "s.zarr") == expected
    result = ingest(paths, store)
    assert len(result.added) + len(result.replaced) + len(result.skipped) == 3
    assert contents(tmp_path / "s.zarr") == {name: make(name, seed=int(name == "a")).digest for name in "abc"}
    assert len(list((tmp_path / "s.zarr").iterdir())) == 3 + 2


@pytest.mark.parametrize("at", range(4))
def test_an_index_that_cannot_be_written_names_only_what_is_there(tmp_path, monkeypatch, at):
    paths = write_npz(tmp_path / "in", *"abc")
    count = iter(range(100))
    put = Folder.put

    def failing(self: Folder, name: str, data: bytes) -> None:
        if name.startswith("index/0") and next(count) == at:
            put(self, name, data)  # the worst: it is there, and fails all the same
            raise OSError(errno.EIO, "Input/output error")
        put(self, name, data)

    store = Store.create(tmp_path / "s.zarr")
    with monkeypatch.context() as patch:
        patch.setattr(Folder, "put", failing)
        with pytest.raises(InputError, match="Input/output error"):
            ingest(paths, store, workers=1)
    assert sorted(contents(tmp_path / "s.zarr")) == list("abc")[: at + 1]
    ingest(paths, store)
    assert sorted(contents(tmp_path / "s.zarr")) == list("abc")


def test_what_a_crash_leaves_is_removed_and_nothing_else(tmp_path):
    paths = write_npz(tmp_path / "in", "a", "b")
    root = tmp_path / "s.zarr"
    store = Store.create(root)
    kept = ingest(paths[:1], store).added[0]
    write_arrays(Folder(root), entry_of(make("b")), make("b"))  # without a line of the index
    (root / "index" / ".000000000009.jsonl.1.tmp").write_bytes(b"half")
    (root / "mine").mkdir()
    assert contents(root) == {"a": kept.digest}
    ingest(paths[:1], store)
    assert sorted(path.name for path in root.iterdir()) == sorted([kept.key, "index", "mine", "zarr.json"])
    assert sorted(path.name for path in (root / "index").iterdir()) == ["000000000001.jsonl", "lock", "zarr.json"]


CHILD = """
import sys
from fastprobe import Store, ingest
ingest(sys.argv[1], Store.open_or_create(sys.argv[2]), workers=2)
"""


def start_ingest(files: Path, store: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(files), str(store)], stderr=subprocess.PIPE, text=True)


def killed_and_continued(tmp_path: Path, target: str, n_files: int, kills: int, seed: int) -> None:
    """Kill an ingest at random moments; what is there is whole every time, and one more ingest completes it."""
    files = tmp_path / "in"
    write_npz(files, *(f"t{i:03d}" for i in range(n_files)), n=400, d=200)
    store = tmp_path / target
    part = store if target.endswith(".zarr") else store.with_name(f"{target}.part")
    rng = random.Random(seed)
    for _ in range(kills):
        before = set(part.glob("t*"))
        with start_ingest(files, store) as child:
            limit = time.monotonic() + 30
            while child.poll() is None and not set(part.glob("t*")) - before and time.monotonic() < limit:
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            child.send_signal(signal.SIGKILL)
            child.communicate()
        if part.exists():
            found = Store(Folder(part))
            for entry in found.entries():
                assert found.read(entry.name, verify=True).digest == make(entry.name, n=400, d=200).digest
    with start_ingest(files, store) as child:
        assert child.communicate()[1] == ""
    assert contents(store) == {path.stem: make(path.stem, n=400, d=200).digest for path in files.iterdir()}


def test_an_ingest_that_is_killed_goes_on_where_it_was(tmp_path):
    killed_and_continued(tmp_path, "s.zarr", n_files=12, kills=1, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["s.zarr", "s.zarr.zip"])
def test_many_kills(tmp_path, target):
    killed_and_continued(tmp_path, target, n_files=60, kills=15, seed=1)


def test_two_at_once_are_told_who_is_at_work(tmp_path):
    paths = write_npz(tmp_path / "in", "a")
    store = Store.create(tmp_path / "s.zarr")
    code = f"""
import sys
from fastprobe import Store
with Store.open({str(tmp_path / "s.zarr")!r}).writer():
    print("at work", flush=True)
    sys.stdin.read()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"at work\n"
        with pytest.raises(InputError, match=f"process {other.pid} on .*, since "):
            ingest(paths, store)
        assert Store.open(tmp_path / "s.zarr").entries() == []  # who reads need not wait
        other.kill()
    assert names(ingest(paths, store).added) == ["a"]
    with store.writer(), pytest.raises(InputError, match=f"process {os.getpid()} on"):
        ingest(paths, Store.open(tmp_path / "s.zarr"))


# --- archives --------------------------------------------------------------------------------------------------------


def test_an_archive_is_made_at_the_end_and_read_without_unpacking(tmp_path):
    paths = write_npz(tmp_path / "in", "a", "b")
    target = tmp_path / "s.zarr.zip"
    store = Store.create(target)
    assert not target.exists()
    assert names(ingest(paths, store).added) == ["a", "b"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "s.zarr.zip"]
    expected = {name: make(name).digest for name in "ab"}
    assert {name: store.read(name, verify=True).digest for name in "ab"} == expected
    assert contents(target) == expected
    with zarr.storage.ZipStore(target, mode="r") as opened:
        group = zarr.open_group(opened, mode="r")
        np.testing.assert_array_equal(group[store.entry("a").key]["x"][...], make("a").x)
    with pytest.raises(InputError, match="written once"):
        ingest(paths, store)
    with pytest.raises(InputError, match="written once"):
        Store.open_or_create(target)


def test_an_archive_that_is_not_finished(tmp_path):
    target = tmp_path / "s.zarr.zip"
    store = Store.create(target)
    with pytest.raises(InputError, match="goes on where it was"):
        Store.open(target)
    (tmp_path / "bad.csv").write_text("nothing")
    assert len(ingest(tmp_path / "bad.csv", store).failed) == 1
    assert not target.exists()  # there is nothing to put into it
    ingest(write_npz(tmp_path / "in", "a"), Store.open_or_create(target), compress=True)
    assert contents(target) == {"a": make("a").digest}


# --- damage and wrong names ------------------------------------------------------------------------------------------


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


DAMAGES = [
    *product([False, True], ["x/c/0/0", "x/c/1/0", "id/c/0"], [flip, cut, Path.unlink]),
    *product([False, True], ["id/zarr.json"], [cut, Path.unlink]),
    *product([True], ["x/zarr.json"], [cut, Path.unlink]),  # uncompressed, the index says all about them
]


@pytest.mark.parametrize(("compressed", "part", "damage"), DAMAGES)
def test_damage_is_found(tmp_path, compressed, part, damage):
    submission = Submission("a", make("a", n=20).ids, np.zeros((20, 3), np.uint8))
    folder = Folder(tmp_path)
    entry = entry_of(submission, chunk_rows=10, compressed=compressed)
    write_arrays(folder, entry, submission)
    ArrayReader(folder).read(entry)
    damage(tmp_path / entry.key / part)
    with pytest.raises(InputError) as caught:
        ArrayReader(folder).read(entry)
    assert caught.value.where == f"{tmp_path}, submission 'a'"
    assert "/data/a.csv" in caught.value.fix


def test_an_entry_that_does_not_fit_its_arrays(tmp_path):
    submission = make("a")
    write_arrays(Folder(tmp_path), entry_of(submission, compressed=True), submission)
    with pytest.raises(InputError, match=r"instead of \(5, 5, 3, 'float16'\)"):
        ArrayReader(Folder(tmp_path)).read(entry_of(submission, compressed=True, dtype="float16"))


def test_content_can_be_held_against_the_index(tmp_path):
    store = Store.create(tmp_path / "s.zarr")
    with store.writer() as writer:
        writer.add(make("a"), Stamp("/a", 1, 2))
    write_arrays(Folder(tmp_path / "s.zarr"), store.entry("a"), make("a", seed=1))
    assert store.read("a").digest == make("a").digest
    with pytest.raises(InputError, match=make("a", seed=1).digest):
        store.read("a", verify=True)


def test_a_damaged_index_and_a_later_version(tmp_path):
    root = tmp_path / "s.zarr"
    store = Store.create(root)
    (root / "index" / "000000000001.jsonl").write_text('{"name": "a"}\n')
    with pytest.raises(InputError, match=r"000000000001.jsonl: found a damaged index"):
        Store.open(root)
    document = json.loads((root / "zarr.json").read_text())
    document["attributes"]["fastprobe"]["version"] = 2
    (root / "zarr.json").write_text(json.dumps(document))
    for open_ in (Store.open, Store.create, is_store):
        with pytest.raises(InputError, match="a store of version 2"):
            open_(root)
    assert len(store) == 0


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("nowhere.zarr", "no store"),
        ("nowhere.zarr.zip", "no store"),
        ("other.zarr", "no store"),
        ("torn.zarr.zip", "cannot be read as a zip archive"),
        ("data.csv", "a name that is not that of a store"),
        ("s3://bucket", "no name of a store"),
        ("s3://bucket/prefix", "no name of a store"),
    ],
)
def test_what_is_no_store_is_not_opened(tmp_path, monkeypatch, location, found):
    monkeypatch.chdir(tmp_path)
    zarr.create_group("other.zarr")
    Path("torn.zarr.zip").write_bytes(b"PK no more")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=found):
        Store.open(location)
    assert not is_store(Path(location))
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_is_made_only_where_nothing_is(tmp_path):
    zarr.create_group(str(tmp_path / "other.zarr"))
    with pytest.raises(InputError, match="something else"):
        Store.open_or_create(tmp_path / "other.zarr")
    (tmp_path / "file.zarr").write_text("a file")
    with pytest.raises(InputError):
        Store.create(tmp_path / "file.zarr")
    store = Store.create(tmp_path / "s.zarr")
    assert is_store(tmp_path / "s.zarr")
    assert len(Store.create(tmp_path / "s.zarr")) == 0
    ingest(write_npz(tmp_path / "in", "a"), store)
    with pytest.raises(InputError, match="with submissions in it"):
        Store.create(tmp_path / "s.zarr")
    assert len(Store.open_or_create(tmp_path / "s.zarr")) == 1


def test_a_store_travels_to_other_processes_by_name(tmp_path):
    store = Store.create(tmp_path / "s.zarr")
    ingest(write_npz(tmp_path / "in", "a"), store)
    there = pickle.loads(pickle.dumps(store))
    assert (there.location, there.entries()) == (store.location, store.entries())
    with pytest.raises(InputError, match="no submission 'b' among 1"):
        there.read("b")


def test_a_real_submission_is_scored_as_its_file(data, tmp_path):
    (path,) = (data / "alphaearth" / "submissions").glob("*.npz")
    store = Store.create(tmp_path / "s.zarr")
    assert ingest([path], store).failed == ()
    benchmark = Benchmark.from_folder(data / "alphaearth" / "labels", tasks=["trees", "dw_water"])
    options: dict[str, Any] = {"protocol": "ridge", "folds": 5}
    scored = [score([given], benchmark, **options) for given in (path, store.read(path.stem))]
    assert scored[0].rows[0].fold_scores  # there is something to compare
    for row, expected in zip(scored[1], scored[0], strict=True):
        assert row.fold_scores == expected.fold_scores
        assert row.q == expected.q
