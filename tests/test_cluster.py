"""Runs on real Dask workers: threads of this process, and processes of their own where they are killed."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_runs import IDS, RIDGE, Case, make_benchmark, sorted_rows, write_submission

import fastprobe
from fastprobe.backend import get_backend
from fastprobe.cluster import ClusterSpec
from fastprobe.errors import DeviceError, InputError
from fastprobe.runs import find_items
from fastprobe.store import Store, ingest

distributed = pytest.importorskip("distributed", reason="the extra cluster is not installed")


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler with two workers that are threads of this process, but are reached through sockets."""
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def elsewhere(address: str) -> ClusterSpec:
    return ClusterSpec(scheduler=address)


def without_device(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without what names the threads of a worker; all else is the same bit for bit."""
    return [{name: value for name, value in row.items() if name != "device"} for row in rows]


def alone(paths: list[Path], **options: Any) -> list[dict[str, Any]]:
    """What the engine gives in this process with the one thread that a worker has."""
    scores = fastprobe.score(paths, make_benchmark(), protocol=RIDGE, device=get_backend("cpu", threads=1), **options)
    return without_device(sorted_rows(scores.to_dict()["scores"]))


def paths(case: Case) -> list[Path]:
    return sorted(case.submissions.glob("*.npz"))


def test_workers_give_what_this_process_gives_and_everything_once(case: Case, elsewhere: ClusterSpec) -> None:
    case.write(*(f"n{i:02d}" for i in range(30)))
    report = case.run(cluster=elsewhere)
    assert (report.scored, report.finished, report.failed) == (30, 0, ())
    assert without_device(case.rows()) == alone(paths(case))
    told = [e["submission"] for e in case.events if e["event"] == "scored"]
    assert Counter(told) == dict.fromkeys((path.stem for path in paths(case)), 1)
    assert {e["worker"] for e in case.events if e["event"] == "scored"} >= {
        e["worker"] for e in case.events if "worker" in e
    }
    assert case.run(cluster=elsewhere).scored == 0
    assert case.run().finished == 30


def test_seconds_of_stages_and_the_worker_are_told(case: Case, elsewhere: ClusterSpec) -> None:
    case.write("a")
    report = case.run(cluster=elsewhere)
    (scored,) = [e for e in case.events if e["event"] == "scored"]
    assert scored["worker"].startswith("tcp://127.0.0.1:")
    assert all(scored[f"{stage}_s"] > 0 for stage in ("read", "solve", "write"))
    assert report.seconds["solve"] == pytest.approx(scored["solve_s"], abs=1e-5)


def test_batches_grow_and_are_written_together(case: Case, elsewhere: ClusterSpec) -> None:
    case.write(*(f"n{i:02d}" for i in range(60)))
    case.run(cluster=elsewhere)
    files = list((case.out / "scores").glob("*.parquet"))
    assert len(files) < 60
    assert len(case.rows()) == 180


def test_submissions_of_a_store_are_read_on_the_workers(case: Case, elsewhere: ClusterSpec, monkeypatch) -> None:
    case.write("a", "b", "c")
    ingest(paths(case), Store.create(case.folder / "all.zarr"))
    monkeypatch.chdir(case.folder)  # a worker elsewhere has another working directory
    items = find_items(["all.zarr"])
    case.run(items=items, cluster=elsewhere)
    assert without_device(case.rows()) == alone(paths(case))
    ingest([write_submission(case.folder, "d", seed=5)], Store.open(case.folder / "all.zarr"))
    assert case.run(items=find_items(["all.zarr"]), cluster=elsewhere).scored == 1


def test_relative_paths_are_found_by_workers_with_another_working_directory(
    case: Case, elsewhere: ClusterSpec, monkeypatch
) -> None:
    case.write("a")
    monkeypatch.chdir(case.folder)
    items = find_items(["submissions"])
    monkeypatch.chdir("/")
    with pytest.raises(InputError):  # the path itself is relative, and is not there
        items[0].read()
    monkeypatch.chdir(case.folder)
    assert case.run(items=items, cluster=elsewhere).scored == 1


def test_what_fails_on_a_worker_is_recorded_with_its_error(case: Case, elsewhere: ClusterSpec) -> None:
    case.write("a", "c")
    write_submission(case.submissions, "b", seed=1, ids=IDS[:10])
    (case.submissions / "d.npz").write_bytes(b"no archive")
    report = case.run(cluster=elsewhere)
    assert report.scored == 2
    assert {f.name for f in report.failed} == {"b", "d"}
    here = Case(case.folder / "here")
    for path in case.submissions.iterdir():
        (here.submissions / path.name).write_bytes(path.read_bytes())
    expected = [f.error.replace(str(here.folder), str(case.folder)) for f in here.run().failed]
    assert sorted(f.error for f in report.failed) == sorted(expected)


def test_a_touched_file_is_recognised_on_the_worker(case: Case, elsewhere: ClusterSpec) -> None:
    case.write("a", "b")
    case.run(cluster=elsewhere)
    os.utime(case.submissions / "a.npz", (1, 1))
    report = case.run(cluster=elsewhere)
    assert (report.scored, report.finished) == (0, 2)
    assert case.happened("recognised") == {"a": 0}


def test_a_worker_has_the_labels_once_and_forgets_them(case: Case, address: str, elsewhere: ClusterSpec) -> None:
    case.write(*(f"n{i:02d}" for i in range(20)))

    def plugins(dask_worker: Any) -> list[str]:
        return [name for name in dask_worker.plugins if name.startswith("fastprobe")]

    seen: list[set[str]] = []
    with distributed.Client(address, set_as_default=False) as client:

        def look(event: dict[str, Any]) -> None:
            if event["event"] == "scored" and not seen:
                seen.extend(map(set, client.run(plugins).values()))

        case.run(cluster=elsewhere, event=look)
        assert len(seen) == 2
        assert len(set.union(*seen)) == 1
        assert client.run(plugins) == {worker: [] for worker in client.scheduler_info()["workers"]}


def test_two_runs_can_share_a_scheduler(tmp_path: Path, elsewhere: ClusterSpec) -> None:
    cases = [Case(tmp_path / "one"), Case(tmp_path / "two", protocol=RIDGE.with_options(alpha=9.0))]
    for case in cases:
        case.write("a", "b", "c")
    threads = [threading.Thread(target=case.run, kwargs={"cluster": elsewhere}) for case in cases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    one, two = ({row["protocol_hash"] for row in case.rows()} for case in cases)
    assert len(one) == len(two) == 1
    assert one != two
    assert all(len(case.rows()) == 9 for case in cases)


def test_an_error_that_is_no_submissions_ends_the_run(case: Case, elsewhere: ClusterSpec) -> None:
    case.write("a")
    with pytest.raises(DeviceError, match="cuda"):
        case.run(cluster=elsewhere, device="cuda")
    assert not (case.out / "failures.jsonl").exists()


def test_another_version_of_fastprobe_on_the_workers_is_an_error(
    case: Case, elsewhere: ClusterSpec, monkeypatch
) -> None:
    from fastprobe.cluster import worker

    case.write("a")
    made = worker.Probing.__init__

    def older(self: Any, *args: Any, **options: Any) -> None:
        made(self, *args, **options)
        self._version = "0.0.1"

    monkeypatch.setattr(worker.Probing, "__init__", older)
    with pytest.raises(InputError, match=r"fastprobe .* on .*0\.0\.1, as here"):
        case.run(cluster=elsewhere)


def test_a_scheduler_that_is_not_there(case: Case, monkeypatch) -> None:
    monkeypatch.setattr("fastprobe.cluster.start._ANSWER", 0.5)
    case.write("a")
    with pytest.raises(InputError, match=r"--scheduler: found 'tcp://127\.0\.0\.1:9'"):
        case.run(cluster=ClusterSpec(scheduler="tcp://127.0.0.1:9"))
    with pytest.raises(InputError, match="scheduler"):
        case.run(cluster=ClusterSpec(scheduler="no address"))


def test_a_scheduler_that_goes_away_ends_the_run_and_leaves_what_is_finished(case: Case) -> None:
    case.write(*(f"n{i:03d}" for i in range(80)))
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address=":0"
    ) as cluster:
        closing = threading.Thread(target=cluster.close)

        def end(event: dict[str, Any]) -> None:
            if event["event"] == "scored" and closing.ident is None:
                closing.start()

        with pytest.raises(fastprobe.FastprobeError, match=r"the scheduler is gone\. What is finished is kept"):
            case.run(cluster=ClusterSpec(scheduler=cluster.scheduler_address), event=end)
        closing.join()
    assert case.run().finished >= 1
    assert len(case.rows()) == 240


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no workers"),
        ({"workers": 2, "gpus": "all"}, "--workers and --gpus"),
        ({"workers": 0}, "--workers: found 0"),
        ({"gpus": "some"}, "1 or more, or all"),
    ],
)
def test_workers_are_named_in_one_way(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ClusterSpec(**options)


def test_workers_of_this_machine_are_for_the_cpu(case: Case) -> None:
    case.write("a")
    with pytest.raises(InputError, match="--gpus instead of --workers"):
        case.run(cluster=ClusterSpec(workers=1), device="cuda")
    with pytest.raises(InputError, match="the name of a device"):
        case.run(cluster=ClusterSpec(workers=1), device=get_backend("cpu"))


def test_gpus_without_a_gpu_say_what_is_missing(case: Case) -> None:
    from fastprobe.backend.cuda.presence import find_gpus

    if find_gpus().count:
        pytest.skip("there is a GPU")
    case.write("a")
    with pytest.raises(DeviceError, match=r"expected|install"):
        case.run(cluster=ClusterSpec(gpus="all"), device="auto")


# --- workers that die ------------------------------------------------------------------------------------------------


class Killer:
    """A named pipe in the place of a submission: who opens it is killed, for as often as there is somebody."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self._path = path
        self.killed: list[int] = []
        threading.Thread(target=self._go_on, daemon=True).start()

    def _go_on(self) -> None:
        while True:
            with self._path.open("wb"):  # waits for a reader
                readers = [pid for pid in self._holders() if pid != os.getpid()]
                for pid in readers:
                    os.kill(pid, signal.SIGKILL)
                self.killed += readers

    def _holders(self) -> list[int]:
        found = []
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            try:
                if link.readlink() == self._path:
                    found.append(int(link.parts[2]))
            except OSError:
                continue
        return found


@pytest.mark.slow
def test_a_submission_that_kills_workers_three_times_is_set_aside_and_its_neighbours_are_not(case: Case) -> None:
    case.write(*(f"n{i:02d}" for i in range(24)))
    killer = Killer(case.submissions / "n10x.npz")
    report = case.run(cluster=ClusterSpec(workers=2))
    (failed,) = report.failed
    assert (failed.name, report.scored) == ("n10x", 24)
    assert "3 workers died while they scored it" in failed.error
    assert len(set(killer.killed)) == 3
    lost = [e for e in case.events if e["event"] == "worker_lost"]
    assert len(lost) == 3
    times = Counter(name for e in lost for name in e["submissions"])
    assert times.pop("n10x") == 3
    assert set(times.values()) <= {1}  # in the batch that it was in first
    expected = [path for path in paths(case) if path.name != "n10x.npz"]
    assert without_device(case.rows()) == alone(expected)
    assert case.run(cluster=ClusterSpec(workers=1)).failed == (failed,)  # it is not tried again unless asked for


def test_threads_are_shared_out(case: Case) -> None:
    from fastprobe.backend.select import cores

    case.write("a")
    before = {name: os.environ.get(name) for name in ("OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")}
    case.run(cluster=ClusterSpec(workers=cores()))
    (device,) = {row["device"] for row in case.rows()}
    assert ", 1 threads" in device
    assert {name: os.environ.get(name) for name in before} == before


def test_workers_that_cannot_load_fastprobe(case: Case, elsewhere: ClusterSpec, monkeypatch) -> None:
    from fastprobe.cluster import worker

    def setup(self: Any, worker: Any) -> None:
        raise ModuleNotFoundError("No module named 'fastprobe'")

    case.write("a")
    monkeypatch.setattr(worker.Probing, "setup", setup)
    with pytest.raises(InputError, match=r"workers that cannot be set up \(ModuleNotFoundError"):
        case.run(cluster=elsewhere)
