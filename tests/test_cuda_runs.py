"""Bulk runs on a GPU; and on arrays that refuse what those of a GPU refuse, where there is none."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import NEUCO, REPLAYED, SCORES, assert_same
from small_runs import IDS, RIDGE, TASKS, Case, D, N, make_benchmark
from strict_namespace import Namespace

from fastprobe import Protocol, Scores, Submission, score
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.cuda.presence import find_gpus
from fastprobe.cluster import ClusterSpec
from fastprobe.runs import RunFolder
from fastprobe.runs.scoring import UnitScorer

NAMES = tuple("abcdefgh")
AT_ONCE = 4
GPU = pytest.param("cuda", marks=pytest.mark.gpu)


def require_gpu() -> None:
    found = find_gpus()
    if not found.count:
        pytest.skip(found.reason)


class Tight(ArrayBackend):
    """Strict arrays, on a device with little memory."""

    def __init__(self, limit: int) -> None:
        super().__init__(Namespace(), device="strict", budget=limit, in_flight=AT_ONCE)
        self._limit = limit

    def in_flight(self, nbytes: int, d: int) -> int:
        return AT_ONCE if nbytes < self._limit // 4 else 1

    def asarray(self, a: Any) -> Any:
        if a.nbytes > self._limit:
            raise MemoryError(f"Out of memory allocating {a.nbytes:,} bytes.")
        return super().asarray(a)


@pytest.fixture(params=["strict", GPU])
def backend(request: pytest.FixtureRequest) -> Any:
    """A device, with room for several submissions at a time."""
    if request.param == "strict":
        return ArrayBackend(Namespace(), device="strict", budget=1 << 24, in_flight=AT_ONCE)
    require_gpu()
    return get_backend("cuda")


@pytest.fixture(params=["strict", GPU])
def tight(request: pytest.FixtureRequest) -> tuple[Any, int]:
    """A device with little memory, and how many bytes that is."""
    if request.param == "strict":
        return Tight(1 << 20), 1 << 20
    require_gpu()
    from fastprobe.backend.cuda.open import open_device

    return open_device(0, limit=1 << 25), 1 << 25


@pytest.fixture
def case(tmp_path: Path) -> Case:
    case = Case(tmp_path)
    case.write(*NAMES)
    return case


def watch(monkeypatch: pytest.MonkeyPatch, note: Callable[[str, bool], None]) -> None:
    """Have `note` called with every submission that is scored, and whether in a thread beside others, before it is."""
    score_one = UnitScorer.score

    def watched(self: UnitScorer, submission: Submission, tasks: Sequence[str], *, apart: bool = False) -> Any:
        note(submission.name, apart)
        return score_one(self, submission, tasks, apart=apart)

    monkeypatch.setattr(UnitScorer, "score", watched)


def by_name(scores: Scores) -> Scores:
    return Scores(sorted(scores.rows, key=lambda row: (row.submission, row.task)), scores.protocol)


def assert_scored_alike(found: Scores, wanted: Scores, tolerance: float) -> None:
    """The same rows, and fold scores and Q in them that are as near to each other as the tolerance says."""
    found, wanted = by_name(found), by_name(wanted)
    assert [row.submission for row in found.rows] == [row.submission for row in wanted.rows]
    assert_same(found, wanted, tolerance)
    for ours, theirs in zip(found.rows, wanted.rows, strict=True):
        # Q = 2 mean / (std + 0.02): a change by e of every score changes it by 2 e / (std + 0.02) (1 + Q / 2) at most
        assert (ours.q is None) == (theirs.q is None)
        if ours.q is None or theirs.q is None or theirs.std is None:
            continue
        largest = max(abs(one) for one in theirs.fold_scores if one is not None)
        room = 2 * tolerance * max(1.0, largest) / (theirs.std + 0.02)
        assert abs(ours.q - theirs.q) <= room * (1 + abs(theirs.q) / 2)


@pytest.mark.parametrize(("protocol", "tolerance"), [(RIDGE, SCORES), (NEUCO, REPLAYED)], ids=["ridge", "neuco"])
def test_the_scores_are_those_of_the_engine(backend: Any, case: Case, protocol: Protocol, tolerance: float) -> None:
    case.protocol = protocol
    report = case.run(device=backend)
    assert (report.scored, report.failed) == (len(NAMES), ())
    files = sorted(case.submissions.iterdir())
    for device in (backend, "cpu"):
        wanted = score(files, make_benchmark(), protocol=protocol, device=device)
        assert_scored_alike(Scores.read(case.out), wanted, tolerance)
    assert {row["device"] for row in case.rows()} == {backend.device}


def test_several_at_a_time_are_written_in_order_with_the_right_names(backend: Any, case: Case, monkeypatch) -> None:
    assert backend.in_flight(4 * N * D, D) >= AT_ONCE
    meeting = threading.Barrier(AT_ONCE, timeout=20)
    together: list[bool] = []

    def note(name: str, apart: bool) -> None:
        together.append(apart)
        if name in NAMES[:AT_ONCE]:
            meeting.wait()  # passes only when so many are under way
            time.sleep(0.02 * (AT_ONCE - NAMES.index(name)))  # the last of them is done first

    watch(monkeypatch, note)
    case.run(device=backend)
    assert together == [True] * len(NAMES)
    assert [event["submission"] for event in case.events if event["event"] == "scored"] == list(NAMES)
    digests = {path.stem: Submission.read(path).digest for path in case.submissions.iterdir()}
    assert len(set(digests.values())) == len(NAMES)
    held = [(row["submission"], row["task"], row["embedding_hash"]) for row in case.rows()]
    assert held == [(name, task, digests[name]) for name in NAMES for task in TASKS]


def test_features_are_copied_ahead_and_the_seconds_are_told(backend: Any, case: Case, monkeypatch) -> None:
    copied: list[str] = []
    prefetch = backend.prefetch

    def noted(x: Any) -> None:
        copied.append(threading.current_thread().name)
        prefetch(x)

    monkeypatch.setattr(backend, "prefetch", noted)
    report = case.run(device=backend)
    assert copied == ["fastprobe-reader"] * len(NAMES)
    seconds = [event["copy_s"] for event in case.events if event["event"] == "scored"]
    assert len(seconds) == len(NAMES)
    assert sum(seconds) == pytest.approx(report.seconds["copy"], abs=1e-6 * len(NAMES))  # each is rounded
    assert report.seconds["copy"] > 0


def test_what_is_finished_is_not_computed_again_on_any_device(backend: Any, case: Case, monkeypatch) -> None:
    case.run(device=backend)
    before = case.rows()
    watch(monkeypatch, lambda name, apart: pytest.fail(f"{name} was scored again"))
    for device in (backend, "cpu"):
        report = case.run(device=device)
        assert (report.scored, report.finished, report.failed) == (0, len(NAMES), ())
    assert case.rows() == before


def test_a_submission_that_memory_does_not_suffice_for_is_recorded_and_the_others_go_on(
    tight: tuple[Any, int], case: Case
) -> None:
    backend, limit = tight
    d = 1000
    ids = [*IDS, *(f"more-{i}" for i in range(limit // (4 * d)))]  # rows without a label
    x = np.random.default_rng(0).standard_normal((len(ids), d), dtype=np.float32)
    np.savez(case.submissions / "fx.npz", id=ids, x=x)
    report = case.run(device=backend)
    (failure,) = report.failed
    assert (report.scored, failure.name) == (len(NAMES), "fx")
    assert "Out of memory allocating" in failure.error
    assert "--device cpu" in failure.error
    files = [path for path in case.submissions.iterdir() if path.stem in NAMES]
    wanted = score(files, make_benchmark(), protocol=RIDGE, device="cpu")
    assert_scored_alike(Scores.read(case.out), wanted, SCORES)
    assert case.run(device="cpu", retry_failed=True).scored == 1
    assert RunFolder(case.out).failures() == {}


@pytest.mark.gpu
def test_a_worker_with_a_gpu_gives_the_same_scores(case: Case) -> None:
    require_gpu()
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    pytest.importorskip("dask_cuda", reason="the extra cluster-cuda is not installed")
    assert case.run(cluster=ClusterSpec(gpus=1), device="cuda").scored == len(NAMES)
    wanted = score(sorted(case.submissions.iterdir()), make_benchmark(), protocol=RIDGE, device="cuda")
    assert_scored_alike(Scores.read(case.out), wanted, SCORES)
    assert all(row["device"].startswith("cuda:0 (") for row in case.rows())
    assert len({event["worker"] for event in case.events if event["event"] == "scored"}) == 1
