"""Several submissions at the same time: the same scores as one at a time, in order, with memory bounded, no hanging.

Whatever waits here does so for a limited time: a test that would hang fails instead.
"""

from __future__ import annotations

import importlib
import logging
import shutil
import sys
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cupy_standin import make_cupy
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import NEUCO, SCORES, assert_same, small
from strict_namespace import Namespace

import fastprobe.backend.cuda as cuda_package
from fastprobe import Benchmark, DeviceError, InputError, Protocol, Submission, score
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.lanes import Lanes
from fastprobe.engine import score_each, score_protocols
from fastprobe.inflight import in_order
from fastprobe.probes.neuco.stream import TaskDraws
from fastprobe.reading import in_turn

LIMIT = 20.0
"""Seconds that anything waits at most."""

RIDGE = Protocol(probe="ridge", alpha=3.0)


def no_room() -> DeviceError:
    return DeviceError("memory of it", found="no room", expected="room", fix="end something")


def until(true: Callable[[], bool]) -> bool:
    """Wait for something that another thread is about to do."""
    end = time.monotonic() + LIMIT
    while not true() and time.monotonic() < end:
        time.sleep(0.001)
    return true()


def flight_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("fastprobe-flight", "fastprobe-digest"))]


def drain(results: Iterator[Any], into: list[Any]) -> None:
    for result in results:
        into.append(result)  # what came before an error is kept


class Crowd:
    """Counts who is in it; those who come while `capacity` are may be turned away."""

    def __init__(self, capacity: int = sys.maxsize) -> None:
        self.capacity, self.inside, self.peak, self.refused = capacity, 0, 0, 0
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self.inside += 1
            self.peak = max(self.peak, self.inside)
            crowded = self.inside > self.capacity
            self.refused += crowded
        try:
            if crowded:
                raise no_room()
            yield
        finally:
            with self._lock:
                self.inside -= 1


# Work in order


@pytest.mark.parametrize("at_once", [2, 3, 6])
def test_results_come_in_order_whichever_is_done_first(at_once: int) -> None:
    together, crowd = threading.Barrier(at_once, timeout=LIMIT), Crowd()
    done = [threading.Event() for _ in range(6)]

    def work(item: int, apart: bool) -> int:
        assert apart
        with crowd():
            together.wait()  # passes only when so many are at work
            if item % at_once < at_once - 1:
                assert done[item + 1].wait(LIMIT)  # the last of those is done first
            done[item].set()
        return 10 * item

    assert list(in_order(range(6), work, at_once=lambda item: at_once)) == [0, 10, 20, 30, 40, 50]
    assert crowd.peak == at_once
    assert not flight_threads()


def test_one_at_a_time_is_done_in_the_calling_thread_before_the_next_is_asked_for() -> None:
    log: list[str] = []

    def items() -> Iterator[int]:
        for item in range(3):
            log.append(f"asked {item}")
            yield item

    def work(item: int, apart: bool) -> int:
        assert not apart
        assert threading.current_thread() is threading.main_thread()
        log.append(f"done {item}")
        return item

    for result in in_order(items(), work, at_once=lambda item: 1):
        log.append(f"given {result}")
        assert not flight_threads()
    assert log == [f"{what} {item}" for item in range(3) for what in ("asked", "done", "given")]
    assert list(in_order([5], lambda item, apart: (item, apart), at_once=lambda item: 4, most=1)) == [(5, False)]
    assert list(in_order([], work, at_once=lambda item: 4)) == []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), max_size=12), st.integers(1, 5), st.integers(1, 6))
def test_any_mixture_of_sizes_is_worked_off(allows: list[int], capacity: int, most: int) -> None:
    """No item has more company than it allows, and those that memory did not suffice for are done all the same."""
    crowd, inside, lock = Crowd(capacity), set(), threading.Lock()

    def work(item: int, apart: bool) -> int:
        with lock:
            inside.add(item)
            assert len(inside) <= min(most, *(allows[other] for other in inside))
        try:
            with crowd():
                time.sleep(0.0005)
                return -item
        finally:
            with lock:
                inside.remove(item)

    found = list(in_order(range(len(allows)), work, at_once=allows.__getitem__, most=most))
    assert found == [-item for item in range(len(allows))]
    assert crowd.peak <= max([1, *allows])


def test_memory_that_runs_out_halves_the_number_and_nothing_is_lost(caplog: pytest.LogCaptureFixture) -> None:
    crowd, asked, began = Crowd(capacity=2), [], Counter()
    first = threading.Barrier(8, timeout=LIMIT)

    def items() -> Iterator[int]:
        for item in range(20):
            assert threading.current_thread() is threading.main_thread()
            asked.append(item)
            yield item

    def work(item: int, apart: bool) -> int:
        began[item] += 1
        if item < 8 and began[item] == 1:
            first.wait()  # all eight are there when the third finds no room
        with crowd():
            time.sleep(0.02)
        return item

    caplog.set_level(logging.WARNING, "fastprobe")
    assert list(in_order(items(), work, at_once=lambda item: 8)) == list(range(20)) == asked
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        f"memory of it: no room; going on with {now} at the same time instead of {before}"
        for before, now in ((8, 4), (4, 2))
    ]
    assert began.total() == 20 + crowd.refused


def test_what_does_not_fit_even_alone_is_an_error_after_the_results_before_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tries: Counter[int] = Counter()

    def work(item: int, apart: bool) -> int:
        tries[item] += 1
        if item == 3:
            raise no_room()
        return item

    given_back: list[int] = []
    with pytest.raises(DeviceError, match="end something"):
        drain(in_order(range(50), work, at_once=lambda item: 4), given_back)
    assert given_back == [0, 1, 2]
    assert 1 <= tries[3] <= 3  # with three others, with one, alone; sooner if the others were done
    assert max(tries) <= 7
    assert not flight_threads()


def test_what_is_tried_alone_is_tried_once_more_in_the_calling_thread() -> None:
    tries: list[bool] = []

    def work(item: int, apart: bool) -> int:
        tries.append(apart)
        raise no_room()

    with pytest.raises(DeviceError, match="end something"):
        list(in_order(iter([0]), work, at_once=lambda item: 4))
    assert tries == [True, False]

    def only_here(item: int, apart: bool) -> int:
        if apart:
            raise no_room()
        return item

    assert list(in_order(iter([7]), only_here, at_once=lambda item: 4)) == [7]

    def items() -> Iterator[int]:
        yield 0
        raise no_room()  # not of the work, and no fewer at a time would help

    found: list[int] = []
    with pytest.raises(DeviceError, match="end something"):
        drain(in_order(items(), lambda item, apart: item, at_once=lambda item: 4), found)
    assert found == [0]


@pytest.mark.parametrize("by", ["work", "items"])
def test_an_error_is_raised_after_the_results_before_it(by: str) -> None:
    begun, slow_is_done = set(), threading.Event()

    def items() -> Iterator[int]:
        for item in range(50):
            if by == "items" and item == 4:
                raise InputError("item 4", found="nothing", expected="something", fix="find it")
            yield item

    def work(item: int, apart: bool) -> int:
        begun.add(item)
        if by == "work" and item == 4:
            raise InputError("item 4", found="nothing", expected="something", fix="find it")
        if item == 3:  # before it, and slower
            time.sleep(0.1)
        if item == 5:  # after it, and running when it fails
            time.sleep(0.2)
            slow_is_done.set()
        return item

    given_back: list[int] = []
    with pytest.raises(InputError, match="item 4"):
        drain(in_order(items(), work, at_once=lambda item: 3), given_back)
    assert given_back == [0, 1, 2, 3]
    assert max(begun) <= 3 + 3
    assert slow_is_done.is_set() == (5 in begun)  # what was running has been waited for
    assert not flight_threads()


def test_what_a_failed_try_had_is_let_go_before_the_next() -> None:
    """Frames of an error keep what they work on alive: on a device, the memory that is wanted."""

    class Memory:
        pass

    held: list[weakref.ref] = []
    both = threading.Barrier(2, timeout=LIMIT)

    def fails() -> None:
        mine = Memory()
        held.append(weakref.ref(mine))
        both.wait()
        try:
            raise MemoryError
        except MemoryError as error:
            cycle = error  # as a future does that is a local of a frame of its own error
            raise no_room() from cycle

    def work(item: int, apart: bool) -> bool:
        if apart:
            fails()
        return any(ref() is not None for ref in held)

    assert list(in_order(range(2), work, at_once=lambda item: 2)) == [False, False]
    assert len(held) == 2


def test_items_are_let_go_when_they_are_done_and_threads_end_with_their_reader() -> None:
    class Item:
        pass

    refs: list[weakref.ref] = []
    release = threading.Event()

    def items() -> Iterator[Item]:
        while True:
            item = Item()
            refs.append(weakref.ref(item))
            yield item
            del item

    def work(item: Item, apart: bool) -> int:
        turn = next(i for i, ref in enumerate(refs) if ref() is item)
        del item
        if turn == 0:  # its result is waited for while the others come and go
            assert until(lambda: sum(ref() is not None for ref in refs[1:6]) == 0 and len(refs) > 6)
        elif turn > 8:
            release.wait(LIMIT)
        return turn

    results = in_order(items(), work, at_once=lambda item: 3)
    assert next(results) == 0
    release.set()
    results.close()
    assert not flight_threads()


# Lanes that several borrow


def test_lanes_that_several_borrow_come_to_an_end() -> None:
    """Each hands in a second wave when its first is done; two lanes, and more borrowers than that."""
    from concurrent.futures import ThreadPoolExecutor

    crowd = Crowd()
    with ThreadPoolExecutor(2) as threads, ThreadPoolExecutor(6) as borrowers:

        def work() -> None:
            with crowd():
                time.sleep(0.001)

        def borrow() -> int:
            waves = 0
            with Lanes(threads) as lanes:
                for _ in range(3):
                    for future in [lanes.submit(work) for _ in range(4)]:
                        future.result(LIMIT)
                    waves += 1
            return waves

        assert [future.result(LIMIT) for future in [borrowers.submit(borrow) for _ in range(6)]] == [3] * 6
    assert crowd.peak == 2


# Submissions on a device


def submissions(count: int) -> tuple[list[Submission], Benchmark]:
    team, benchmark = small()
    rng = np.random.default_rng(11)
    noise = rng.standard_normal((count, *team.x.shape)).astype(np.float32)
    return [Submission(f"s{k}", team.ids, team.x + 0.3 * noise[k]) for k in range(count)], benchmark


class Watched(ArrayBackend):
    """A device of strict arrays that counts the submissions on it. `meeting` of them wait for each other."""

    def __init__(self, in_flight: int, *, meeting: int = 1) -> None:
        super().__init__(Namespace(), device="strict", budget=1 << 28, lanes=2, in_flight=in_flight)
        self.crowd = Crowd()
        self._meeting = threading.Barrier(meeting, timeout=LIMIT)
        self.threads: set[threading.Thread] = set()

    @contextmanager
    def session(self, *, apart: bool = False) -> Iterator[None]:
        self.threads.add(threading.current_thread())
        assert apart == (threading.current_thread() is not threading.main_thread())
        with super().session(apart=apart), self.crowd():
            self._meeting.wait()
            yield


class Tight(Watched):
    """It runs out of memory in the replay, when ridge is done, unless few submissions are there."""

    def __init__(self, in_flight: int, *, room: int) -> None:
        super().__init__(in_flight)
        self.room, self.shortages = room, 0

    def train_linear(self, *args: Any, **kwargs: Any) -> Any:
        if self.crowd.inside > self.room or self.room == 0:
            self.shortages += 1
            raise MemoryError(f"Out of memory allocating 8 bytes (room for {self.room}).")
        return super().train_linear(*args, **kwargs)


def everything(tables: list[Any]) -> str:
    """All columns of all scores, to the last bit."""
    return repr([table.to_arrow().to_pylist() for table in tables])


def scored(backend: ArrayBackend, inputs: Any, benchmark: Benchmark, **options: Any) -> list[Any]:
    protocols = [RIDGE.with_options(folds=4), NEUCO]
    return score_protocols(inputs, benchmark, protocols=protocols, device=backend, **options)


@pytest.fixture(scope="module")
def ten() -> tuple[list[Submission], Benchmark, str]:
    inputs, benchmark = submissions(10)
    return inputs, benchmark, everything(scored(Watched(1), inputs, benchmark))


def test_one_at_a_time_is_right() -> None:
    inputs, benchmark = submissions(2)
    found = score(inputs, benchmark, protocol=RIDGE, folds=4, device=Watched(1))
    wanted = score(inputs, benchmark, protocol=RIDGE, folds=4, device=get_backend("cpu", threads=1))
    assert_same(found, wanted, SCORES)


@pytest.mark.parametrize("in_flight", [2, 5])
def test_scores_are_the_same_to_the_last_bit(ten: tuple[list[Submission], Benchmark, str], in_flight: int) -> None:
    inputs, benchmark, wanted = ten
    backend = Watched(in_flight, meeting=in_flight)  # passes only when so many are there
    events: list[tuple[str, int, int]] = []
    inside = threading.Lock()

    def progress(*event: Any) -> None:
        assert inside.acquire(blocking=False)  # one at a time
        events.append(event)
        inside.release()

    tables = scored(backend, inputs, benchmark, progress=progress)
    assert everything(tables) == wanted
    assert backend.crowd.peak == in_flight
    assert threading.main_thread() not in backend.threads
    assert [row.submission for row in tables[0].rows[:: len(benchmark.tasks)]] == [s.name for s in inputs]
    units = len(events) // len(inputs)
    assert units == 3 + len(benchmark.tasks)
    assert [done for _, done, _ in events] == list(range(1, units * len(inputs) + 1))
    assert {total for _, _, total in events} == {units * len(inputs)}
    assert Counter(name for name, _, _ in events) == {s.name: units for s in inputs}


def test_memory_that_runs_out_on_submissions(
    ten: tuple[list[Submission], Benchmark, str], caplog: pytest.LogCaptureFixture
) -> None:
    inputs, benchmark, wanted = ten
    backend, counts = Tight(5, room=2), []
    caplog.set_level(logging.WARNING, "fastprobe")
    tables = scored(backend, inputs, benchmark, progress=lambda *event: counts.append(event[1]))
    assert everything(tables) == wanted
    assert backend.shortages > 0
    messages = [record.getMessage() for record in caplog.records if "at the same time" in record.getMessage()]
    assert 1 <= len(messages) <= 2
    assert messages[0].startswith("memory of strict: Out of memory allocating 8 bytes (room for 2); going on with")
    assert counts == list(range(1, len(inputs) * (3 + len(benchmark.tasks)) + 1))  # none twice


def test_memory_that_does_not_suffice_for_one_is_an_error_with_a_remedy() -> None:
    inputs, benchmark = submissions(4)
    with pytest.raises(DeviceError, match=r"8 bytes \(room for 0\); .*--device cpu"):
        scored(Tight(4, room=0), inputs, benchmark)


@pytest.mark.parametrize("in_flight", [1, 3])
def test_what_is_wrong_with_one_is_said_after_the_scores_before_it(tmp_path: Path, in_flight: int) -> None:
    inputs, benchmark = submissions(4)
    lacking = Submission("lacking", inputs[0].ids[:-1], inputs[0].x[:-1])
    (tmp_path / "broken.npz").write_bytes(b"not a zip file")
    for bad, message in ((lacking, "no embedding for 1"), (tmp_path / "broken.npz", "broken"), (inputs[0], "two with")):
        stream = score_each([*inputs[:2], bad, *inputs[2:]], benchmark, protocols=[RIDGE], device=Watched(in_flight))
        found: list[list[Any]] = []
        with pytest.raises(InputError, match=message):
            drain(stream, found)
        assert [{row.submission for row in scores.rows} for (scores,) in found] == [{"s0"}, {"s1"}]
    with pytest.raises(InputError):
        score_each(inputs, benchmark, protocols=["no such"])  # before anything is asked for


@pytest.mark.parametrize("in_flight", [1, 2, 5])
def test_no_more_submissions_in_memory_than_in_flight_and_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_flight: int
) -> None:
    inputs, benchmark = submissions(9)
    for one in inputs:
        np.savez(tmp_path / f"{one.name}.npz", id=one.ids, x=one.x)
    alive: list[weakref.ref] = []
    read, counts = Submission.read, []

    def watched(path: Path, **options: Any) -> Submission:
        # A thread that has just finished may hold its work for an instant more.
        assert until(lambda: sum(ref() is not None for ref in alive) <= in_flight)
        counts.append(sum(ref() is not None for ref in alive))
        submission = read(path, **options)
        alive.append(weakref.ref(submission.x))
        return submission

    def stream() -> Iterator[Submission]:
        for one in inputs:
            assert threading.current_thread() is threading.main_thread()
            assert until(lambda: sum(ref() is not None for ref in alive) < in_flight)
            x = one.x.copy()
            alive.append(weakref.ref(x))
            yield Submission(one.name, one.ids, x)
            del x

    monkeypatch.setattr(Submission, "read", watched)
    paths = [tmp_path / f"{one.name}.npz" for one in inputs]
    from_files = score(paths, benchmark, protocol=RIDGE, folds=3, device=Watched(in_flight))
    assert len(counts) == 9
    alive.clear()
    from_stream = score(stream(), benchmark, protocol=RIDGE, folds=3, device=Watched(in_flight))
    assert everything([from_files]) == everything([from_stream])


@pytest.mark.parametrize("of", [list, iter])
def test_who_reads_submissions_holds_none_that_it_gave(tmp_path: Path, of: Callable[[Any], Any]) -> None:
    np.savez(tmp_path / "a.npz", id=["x", "y"], x=np.ones((2, 3)))
    coming = iter(in_turn(of([tmp_path / "a.npz"] * 3), lenient=False))
    given_out = next(coming)
    ref = weakref.ref(given_out)
    del given_out
    assert until(lambda: ref() is None)
    assert len(list(coming)) == 2


def test_hashing_holds_up_no_lane_and_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[tuple[str, str]] = []
    plain = Submission._hashed

    def noted(submission: Submission) -> str:
        hashed.append((submission.name, threading.current_thread().name.rpartition("_")[0]))
        time.sleep(0.05)  # longer than it takes to score it
        return plain(submission)

    monkeypatch.setattr(Submission, "_hashed", noted)
    for backend, where in ((Watched(3), "fastprobe-digest"), (get_backend("cpu", threads=2), "fastprobe-lane")):
        inputs, benchmark = submissions(6)
        hashed.clear()
        scores = score(inputs, benchmark, protocol=RIDGE, folds=3, device=backend)
        assert sorted(hashed) == [(one.name, where) for one in inputs]
        digests = {one.name: one.digest for one in inputs}
        assert all(row.embedding_hash == digests[row.submission] for row in scores.rows)


def test_the_cpu_begins_no_threads_for_submissions() -> None:
    inputs, benchmark = submissions(3)
    seen: list[str] = []
    asked = threading.Event()

    def progress(*event: Any) -> None:
        assert threading.current_thread() is threading.main_thread()
        seen.extend(flight_threads())
        asked.set()

    score(inputs, benchmark, protocol=RIDGE, folds=3, device=get_backend("cpu", threads=2), progress=progress)
    assert asked.is_set()
    assert seen == []


def test_submissions_at_the_same_time_share_their_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    import fastprobe.units.neuco as unit

    made: list[int] = []
    ordered: Counter[int] = Counter()
    make, shuffle = unit.make_draws, TaskDraws._shuffles

    def making(*args: Any) -> Any:
        made.append(1)
        time.sleep(0.05)  # time for the others to come
        return make(*args)

    def shuffling(draws: TaskDraws, values: Any, folds: slice, skip: int) -> Any:
        ordered[id(draws)] += skip == 0
        time.sleep(0.01)
        return shuffle(draws, values, folds, skip)

    monkeypatch.setattr(unit, "make_draws", making)
    monkeypatch.setattr(TaskDraws, "_shuffles", shuffling)
    inputs, benchmark = submissions(5)
    score(inputs, benchmark, protocol=NEUCO, device=Watched(5, meeting=5))
    assert len(made) == 1
    assert list(ordered.values()) == [1] * len(benchmark.tasks)


# A GPU


@pytest.fixture
def cupy(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    standin, name = make_cupy(), f"{cuda_package.__name__}.gpu"
    monkeypatch.setitem(sys.modules, "cupy", standin)
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr(cuda_package, "gpu", raising=False)
    yield standin
    sys.modules.pop(name, None)


def test_threads_apart_have_streams_of_their_own_which_are_used_again(cupy: ModuleType) -> None:
    gpu = importlib.import_module(f"{cuda_package.__name__}.gpu").Gpu(0, lanes=1)
    both, streams = threading.Barrier(2, timeout=LIMIT), []

    def work() -> None:
        with gpu.apart():
            streams.append(cupy.cuda.get_current_stream())
            assert cupy.current.allocators[-1] == gpu._pool.malloc
            both.wait()

    for _ in range(2):
        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
    assert len(streams) == 4
    assert set(streams[:2]) == set(streams[2:])
    assert len(set(streams)) == 2
    assert all(stream.non_blocking for stream in streams)
    assert [what for what, _ in cupy.log] == ["synchronize"] * 4
    with pytest.raises(KeyError), gpu.apart():
        raise KeyError
    assert len(gpu._idle) == 2  # also after an error


def test_what_many_lanes_keep_is_copied_once(cupy: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = importlib.import_module(f"{cuda_package.__name__}.gpu").Gpu(0, lanes=4)
    order, copied, asarray = np.arange(5), [], cupy.asarray

    def slowly(a: Any) -> Any:
        copied.append(1)
        time.sleep(0.05)
        return asarray(a)

    monkeypatch.setattr(cupy, "asarray", slowly)
    with gpu.lane_pool() as lanes:
        copies = [future.result(LIMIT) for future in [lanes.submit(gpu.keep, order) for _ in range(4)]]
    assert len(copied) == 1
    assert all(copy is copies[0] for copy in copies)


@pytest.mark.skipif(shutil.which("g++") is None, reason="the host build of the kernels needs g++")
def test_the_operations_of_a_gpu_give_the_same_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    from cuda_standin import make_backend

    inputs, benchmark = submissions(3)
    together, alone = make_backend(), make_backend()
    monkeypatch.setattr(alone, "in_flight", lambda nbytes, d: 1)
    assert together.in_flight(inputs[0].x.nbytes, 6) == 8
    found, wanted = (score(inputs, benchmark, protocol=RIDGE, folds=3, device=device) for device in (together, alone))
    assert everything([found]) == everything([wanted])


def test_an_array_of_a_gpu_is_taken_over_in_the_thread_of_its_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose stream computes it; it is hashed and scored elsewhere, after that."""
    inputs, benchmark = submissions(2)
    backend, seen = Watched(2), []
    asarray = backend.asarray

    def noted(a: Any) -> Any:
        if any(a is one.x for one in inputs):
            seen.append(("main" if threading.current_thread() is threading.main_thread() else "apart", id(a)))
        return asarray(a)

    def session(*, apart: bool = False) -> Any:
        return nullcontext()

    def hashing(submission: Submission) -> str:
        assert ("main", id(submission.x)) in seen
        return "of a GPU"

    monkeypatch.setattr(backend, "asarray", noted)
    monkeypatch.setattr(backend, "session", session)
    monkeypatch.setattr(backend, "device", "cuda:0 (strict)")
    monkeypatch.setattr(Submission, "gpu", property(lambda self: 0))
    monkeypatch.setattr(Submission, "_hashed", hashing)
    scores = score(inputs, benchmark, protocol=RIDGE, folds=3, device=backend)
    assert {row.embedding_hash for row in scores.rows} == {"of a GPU"}
    for one in inputs:
        assert [where for where, key in seen if key == id(one.x)] == ["main", "apart"]


def test_the_number_in_flight_follows_memory() -> None:
    from cuda_standin import make_backend

    def in_flight(limit: float, nbytes: int, d: int) -> int:
        return make_backend(limit=int(limit)).in_flight(nbytes, d)

    e2s = 13_260 * 1024 * 4, 1024
    assert in_flight(36e9, *e2s) == 8  # 45 % of a GPU of 80 GB
    assert in_flight(3.6e9, *e2s) == 4  # of one of 8 GB
    assert in_flight(1e8, *e2s) == 1
    assert in_flight(0, *e2s) == 1
    found = [in_flight(3.6e9, factor * e2s[0], 1024) for factor in (1, 2, 4, 8)]
    assert found == sorted(found, reverse=True)
