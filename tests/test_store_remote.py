"""Stores in a bucket, on a real S3 server (moto's) on loopback."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import zarr

from fastprobe import InputError, Store, Submission, ingest
from fastprobe.store.arrays import write_arrays
from fastprobe.store.bucket import Bucket
from fastprobe.store.entry import Entry
from fastprobe.store.sources import Stamp

pytest.importorskip("obstore", reason="the extra remote (obstore) is not installed")

_numbers = count()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    moto = pytest.importorskip("moto.server", reason="moto[server], the S3 server of these tests, is not installed")
    server = moto.ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def location(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a store that is not there yet, in a bucket that is."""
    import boto3

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="bucket")
    return f"s3://bucket/deep/{next(_numbers)}.zarr"


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    ids = np.array([f"s{i}" for i in range(50)])
    found = [tmp_path / f"{name}.npz" for name in ("a", "b", "c")]
    for path in found:
        np.savez(path, id=ids, x=rng.normal(size=(50, 7)))
    return found


def keys(location: str) -> list[str]:
    import boto3

    prefix = location.removeprefix("s3://bucket/") + "/"
    listed = boto3.client("s3", region_name="us-east-1").list_objects_v2(Bucket="bucket", Prefix=prefix)
    return [found["Key"].removeprefix(prefix) for found in listed.get("Contents", [])]


@pytest.mark.slow
def test_what_is_ingested_is_read_by_us_and_by_the_zarr_library(location, paths):
    from obstore.store import S3Store

    with pytest.raises(InputError, match="no store"):
        Store.open(location)
    store = Store.create(location)
    assert [entry.name for entry in ingest(paths, store).added] == ["a", "b", "c"]
    assert [entry.name for entry in ingest(paths, Store.open(location)).skipped] == ["a", "b", "c"]
    opened = Store.open(location + "/")
    assert opened.location == location
    assert opened.entries() == store.entries()
    bucket = S3Store("bucket", prefix=location.removeprefix("s3://bucket/"), client_options={"allow_http": True})
    group = zarr.open_group(zarr.storage.ObjectStore(bucket, read_only=True), mode="r")
    for path in paths:
        expected, found = Submission.read(path), opened.read(path.stem, verify=True)
        assert found.digest == expected.digest
        np.testing.assert_array_equal(found.x, expected.x)
        np.testing.assert_array_equal(group[opened.entry(path.stem).key]["x"][...], expected.x)
    assert "index/lock" not in keys(location)


@pytest.mark.slow
def test_several_chunks_and_compression(location, monkeypatch):
    monkeypatch.setattr("fastprobe.store.arrays._CHUNK", 400)
    monkeypatch.setattr("fastprobe.store.arrays._ONE_CHUNK", 800)
    submission = Submission("a", np.arange(90).astype(str), np.random.default_rng(0).normal(size=(90, 5)))
    for compress in (False, True):
        where = location.replace(".zarr", f"{compress:d}.zarr")
        with Store.create(where).writer() as writer:
            writer.add(submission, Stamp("/data/a.csv", 1, 2), compress=compress)
        assert Store.open(where).read("a", verify=True).digest == submission.digest
        assert sum("/x/c/" in key for key in keys(where)) == 9


@pytest.mark.slow
def test_other_content_takes_the_place_of_the_old_and_debris_is_removed(location, paths):
    store = Store.create(location)
    ingest(paths, store)
    old = store.entry("a")
    np.savez(paths[0], id=["s0"], x=[[1.0, 2.0]])
    submission = Submission.read(paths[0])
    debris = Entry("z", submission.digest, 1, 2, "float64", "z-" + "0" * 20, 1, False, "z.csv", 1, 1)
    write_arrays(Bucket(location), debris, submission)  # what a crash before the line of the index leaves
    assert "z" not in Store.open(location)
    assert any(key.startswith("z-") for key in keys(location))
    assert [entry.name for entry in ingest(paths, store).replaced] == ["a"]
    assert Store.open(location).read("a", verify=True).digest == submission.digest != old.digest
    assert not any(key.startswith(("z-", old.key)) for key in keys(location))


@pytest.mark.slow
def test_a_chunk_that_is_lost_is_missed(location, paths):
    store = Store.create(location)
    ingest(paths, store)
    bucket = Bucket(location)
    bucket.delete(f"{store.entry('a').key}/x/c/0/0")
    with pytest.raises(InputError, match="no chunk for the rows 0 to 49"):
        store.read("a")
    bucket.delete(f"{store.entry('b').key}/id/c/0")
    with pytest.raises(InputError, match="1 chunks fewer"):
        Store.open(location).read("b")


@pytest.mark.slow
def test_one_writes_at_a_time_and_who_has_died_makes_way(location, paths):
    store = Store.create(location)
    with store.writer(), pytest.raises(InputError, match=f"process {os.getpid()} on .*remove {location}/index/lock"):
        ingest(paths, Store.open(location))
    bucket = Bucket(location)
    elsewhere = {"host": "elsewhere", "pid": 1, "since": "2025-01-01T00:00:00"}
    bucket.put("index/lock", json.dumps(elsewhere).encode())
    with pytest.raises(InputError, match="process 1 on elsewhere"):
        ingest(paths, store)
    ended = 2**22 + 1  # above the largest number of a process that Linux gives
    bucket.put("index/lock", json.dumps({**elsewhere, "host": socket.gethostname(), "pid": ended}).encode())
    assert len(ingest(paths, store).added) == 3
    assert bucket.get("index/lock") is None


@pytest.mark.slow
def test_a_server_that_refuses_or_is_not_there(location, paths, monkeypatch):
    store = Store.create(location)
    with pytest.raises(InputError, match="NoSuchBucket"):
        Store.create("s3://nowhere/s.zarr")
    monkeypatch.setattr("fastprobe.store.bucket._RETRIES", 0)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(InputError) as caught:
            Store.open(location)
    assert caught.value.where == location
    assert "AWS_" in caught.value.fix
    assert len(ingest(paths, store).added) == 3  # who was connected stays so


@pytest.mark.slow
def test_a_bucket_that_fails_while_it_is_written_to(location, paths, monkeypatch):
    from obstore.exceptions import GenericError

    store = Store.create(location)
    put = Bucket.put

    def failing(self: Bucket, name: str, data: bytes) -> None:
        if name.endswith("2.jsonl"):
            raise GenericError("SlowDown: reduce your request rate")
        put(self, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "put", failing)
        with pytest.raises(InputError, match="SlowDown"):
            ingest(paths, store, workers=1)
    assert [entry.name for entry in Store.open(location).entries()] == ["a"]
    assert len(ingest(paths, store).added) == 2
    assert len(Store.open(location)) == 3


def test_without_the_library(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
    with pytest.raises(InputError, match=r"pip install 'fastprobe\[remote\]'"):
        Store.open("s3://bucket/s.zarr")
