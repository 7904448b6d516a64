"""Threads, streams, memory and modules of a GPU, on a stand-in for CuPy that notes what is waited for."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cupy_standin import make_cupy

import fastprobe.backend.cuda as package


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    standin = make_cupy()
    monkeypatch.setitem(sys.modules, "cupy", standin)
    names = ("gpu", "modules")
    for name in names:
        monkeypatch.delitem(sys.modules, f"{package.__name__}.{name}", raising=False)
        monkeypatch.delattr(package, name, raising=False)
    yield standin
    for name in names:  # what was imported here knows the stand-in
        sys.modules.pop(f"{package.__name__}.{name}", None)


def open_gpu(**options: Any) -> Any:
    return importlib.import_module("fastprobe.backend.cuda.gpu").Gpu(3, **{"lanes": 3, **options})


def in_every_lane(gpu: Any, lanes: int, look: Any) -> list[Any]:
    barrier = threading.Barrier(lanes, timeout=10)

    def work() -> Any:
        barrier.wait()
        return look()

    with gpu.lane_pool() as pool:
        return [future.result() for future in [pool.submit(work) for _ in range(lanes)]]


def test_a_gpu_takes_a_share_of_what_is_free(cupy: ModuleType) -> None:
    gpu = open_gpu()
    assert (gpu.name, gpu.limit, gpu.shared_bytes, gpu.fast_float64) == ("cuda:3 (Chip 3)", 450, 232_448, True)
    assert gpu._pool.limits == {3: 450}
    assert 2 * gpu.limit < 1000  # two processes that begin together
    assert open_gpu(limit=7)._pool.limits == {3: 7}


def test_every_lane_has_a_stream_of_its_own_for_good(cupy: ModuleType) -> None:
    gpu, current = open_gpu(), cupy.current

    def look() -> Any:
        return cupy.cuda.get_current_stream(), current.devices[-1], current.allocators[-1] == gpu._pool.malloc

    first, second = in_every_lane(gpu, 3, look), in_every_lane(gpu, 3, look)
    streams = {stream for stream, _, _ in first}
    assert len(streams) == 3
    assert streams == {stream for stream, _, _ in second}
    assert all(stream.non_blocking for stream in streams)
    assert {(device, pooled) for _, device, pooled in first} == {(3, True)}


def test_a_session_lends_the_caller_device_and_memory_and_leaves_its_stream(cupy: ModuleType) -> None:
    gpu, current = open_gpu(), cupy.current
    with cupy.cuda.Stream() as stream:
        with gpu.session():
            assert current.devices[-1] == 3
            assert current.allocators[-1] == gpu._pool.malloc
            assert cupy.cuda.get_current_stream() is stream
        assert (current.devices, current.allocators) == ([0], [None])


def test_work_is_finished_when_the_device_has_done_it(cupy: ModuleType) -> None:
    gpu = open_gpu()

    def work(fails: bool) -> Any:
        gpu.upload(np.ones(3))
        if fails:
            raise KeyError("no")
        return cupy.cuda.get_current_stream()

    with gpu.lane_pool() as pool:
        stream = pool.submit(work, False).result()
        assert cupy.log == [("copy", stream), ("synchronize", stream)]
        with pytest.raises(KeyError):
            pool.submit(work, True).result()
    assert [what for what, _ in cupy.log] == ["copy", "synchronize"] * 2


def test_lanes_that_are_given_back_are_idle(cupy: ModuleType) -> None:
    gpu, done = open_gpu(lanes=1), []

    def work() -> None:
        time.sleep(0.05)
        done.append(True)

    with gpu.lane_pool() as pool:
        futures = [pool.submit(work) for _ in range(2)]
        futures[1].cancel()
    assert done == [True]
    assert all(future.done() for future in futures)


def test_what_comes_from_outside_is_there_before_lanes_see_it(cupy: ModuleType) -> None:
    gpu = open_gpu()
    with gpu.session(), cupy.cuda.Stream() as stream:
        array = gpu.upload(np.arange(3))
        assert gpu.take_over(array) is array
    assert cupy.log == [("copy", stream), ("synchronize", stream), ("synchronize", stream)]
    assert gpu.holds(array)
    assert not gpu.holds(np.ones(3))
    assert gpu.download(array).tolist() == [0, 1, 2]


def test_a_prefetched_array_is_copied_once_on_a_stream_of_its_own(cupy: ModuleType) -> None:
    gpu, x = open_gpu(), np.arange(4.0)
    reader = threading.Thread(target=gpu.prefetch, args=(x,))
    reader.start()
    reader.join()
    ((_, copying),) = cupy.log
    with gpu.session(), cupy.cuda.Stream() as stream:
        copy = gpu.upload(x)
        assert cupy.log[1:] == [("wait", (stream, copying)), ("synchronize", stream)]
        assert copying.non_blocking
        assert copying is not stream
        assert copy.tolist() == x.tolist()
        assert gpu.upload(x) is not copy  # memory that was handed out is not handed out again
    gpu.prefetch(x)
    assert len(gpu._coming._found) == 1
    del x
    assert len(gpu._coming._found) == 0  # nobody can ask for it any more


def test_a_prefetch_without_room_is_left_out(cupy: ModuleType, caplog: pytest.LogCaptureFixture) -> None:
    gpu, x = open_gpu(), np.arange(4.0)
    caplog.set_level(logging.INFO, "fastprobe")
    cupy.room = False
    gpu.prefetch(x)
    assert "no room" in caplog.text
    cupy.room = True
    assert gpu.upload(x).tolist() == x.tolist()


def test_what_is_kept_is_copied_once_while_it_lives(cupy: ModuleType) -> None:
    gpu, order = open_gpu(), np.arange(4)
    first = gpu.keep(order)
    assert gpu.keep(order) is first
    assert [what for what, _ in cupy.log] == ["copy", "wait"]
    del order
    assert len(gpu._kept._found) == 0


def test_threads_end_with_their_gpu(cupy: ModuleType) -> None:
    def lanes() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("fastprobe-gpu")]

    before = set(lanes())
    gpu = open_gpu()
    in_every_lane(gpu, 3, lambda: None)
    mine = set(lanes()) - before
    assert len(mine) == 3
    del gpu
    gc.collect()
    for thread in mine:
        thread.join(timeout=10)
    assert not any(thread.is_alive() for thread in mine)


def test_kernels_are_compiled_once_and_get_the_shared_memory_they_ask_for(cupy: ModuleType, tmp_path: Path) -> None:
    modules = importlib.import_module("fastprobe.backend.cuda.modules")
    (tmp_path / "a.cu").write_text("source")
    (tmp_path / "b.cuh").write_text("header")
    launch = modules.Modules(tmp_path)
    for shared in (0, 48_128, 49_152, 60_000, 50_000, 70_000):  # beside 1024 bytes of static shared memory
        launch("a.cu", "one", (2,), (32,), (np.int32(1),), shared)
    (what, (code, options, backend)), *launches = cupy.log
    assert (what, options, backend) == ("compile", ("-std=c++17", f"-I{tmp_path}"), "nvrtc")
    assert code.startswith("source\n")
    assert [name for name, _ in launches] == ["one"] * 6
    assert launches[0][1][:4] == ((2,), (32,), (np.int32(1),), 0)
    raised = [49_152, 60_000, 70_000]
    assert [given[4] for _, given in launches] == [raised[:count] for count in (0, 0, 1, 2, 2, 3)]
    text = modules.source_text(tmp_path, "a.cu")
    (tmp_path / "b.cuh").write_text("another header")
    assert modules.source_text(tmp_path, "a.cu") != text  # CuPy's cache goes by the text
