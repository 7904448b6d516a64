"""NeuCo-Bench's own probe, replayed, beside NeuCo-Bench and beside what memory allows."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from benchmarks.measure import Contestant, Outcome, race
from benchmarks.peers import ours, reading
from benchmarks.peers.neuco import CONFIG, run_drop_in
from benchmarks.problem import largest_difference
from benchmarks.report import CaseReport, Check, tabulate
from benchmarks.settings import Settings
from benchmarks.workload import Workload, make_submission

__all__ = ["FOLD_TOLERANCE", "Q_TOLERANCE", "Work", "run", "work_of"]

FOLD_TOLERANCE = 5e-5
"""Largest difference of a fold score, relative where its size is above 1."""

Q_TOLERANCE = 1e-4
"""Largest relative difference of a Q."""

SUBMISSIONS = 3
"""Submissions that share their draws."""

ELSEWHERE = 229.0
"""Seconds of NeuCo-Bench on a workload of this shape, on two cores of another machine: the project's first figure."""

_STREAM_BYTES = 256 << 20  # more than any cache holds

_TEXT = """Protocol ``neuco``: 11 tasks, 40 folds, 10 epochs of AdamW in batches of 64, replayed draw for draw. In
memory means from the float32 matrix to the score of every fold, draws included; for several submissions in one call,
which share their draws, the time is that of one. ``fastprobe neuco`` and NeuCo-Bench's ``main.py`` are whole processes
on the same CSV, label folder and config. Differences are the largest of any fold score from NeuCo-Bench's (from
fastprobe in memory where NeuCo-Bench did not run), relative where the score's size is above 1. The floors read and do
nothing else: the training rows in the order of the draws, task after task, and a matrix larger than the caches in its
own order."""

_MEMORY, _SEVERAL, _DROP_IN = "fastprobe, in memory", f"fastprobe, {SUBMISSIONS} submissions", "fastprobe neuco"
_GATHER, _STREAM = "floor: rows in the order of the draws", "floor: the same bytes in the order of memory"


@dataclass(frozen=True)
class Work:
    """What a replay has to do.

    Attributes
    ----------
    steps : int
        Of the optimiser.
    training_bytes : int
        Of the training rows, read once in every epoch of every fold.
    held_out_bytes : int
        Of the held-out rows, read once in every fold for all epochs.
    """

    steps: int
    training_bytes: int
    held_out_bytes: int


def work_of(workload: Workload, n_folds: int) -> Work:
    """Count the work of a submission.

    Parameters
    ----------
    workload : Workload
    n_folds : int

    Returns
    -------
    Work
    """
    epochs, batch = CONFIG["probe_params"]["epochs"], CONFIG["probe_params"]["batch_size"]
    row = workload.submission.x.itemsize * workload.submission.x.shape[1]
    steps = trained = held_out = 0
    for task in workload.benchmark.tasks:
        m = math.ceil(0.1 * len(task.y))
        n = len(task.y) - m
        steps += n_folds * epochs * math.ceil(n / batch)
        trained += n_folds * epochs * n
        held_out += n_folds * m
    return Work(steps, trained * row, held_out * row)


def _contestants(settings: Settings, work: Work) -> list[Contestant]:
    workload, folds, threads = settings.workload, settings.n_folds, settings.threads
    others = [make_submission(settings.scale, workload.seed, index) for index in range(1, SUBMISSIONS)]

    def in_memory() -> Outcome:
        (found,) = ours.replay([workload.submission], workload.benchmark, folds)
        return Outcome(found.scores, facts={"q": found.q})

    def several() -> Outcome:
        start = time.perf_counter()
        first, *_ = ours.replay([workload.submission, *others], workload.benchmark, folds)
        return Outcome(first.scores, seconds=(time.perf_counter() - start) / SUBMISSIONS, facts={"q": first.q})

    def drop_in() -> Outcome:
        found = run_drop_in(settings.files, n_folds=folds, threads=threads)
        return Outcome(found.scores, found.process.seconds, found.process.peak_bytes, {"q": found.q})

    contestants = [
        Contestant(_MEMORY, in_memory, tolerance=FOLD_TOLERANCE, warm_up=True),
        Contestant(_SEVERAL, several, note="seconds per submission; in memory", tolerance=FOLD_TOLERANCE),
        Contestant(_DROP_IN, drop_in, note="whole process, from the CSV", tolerance=FOLD_TOLERANCE, warm_up=True),
    ]
    if "neuco" in settings.peers:
        entered = settings.neuco_contestant()
        contestants.append(entered if entered.missing else replace(entered, note="whole process, from the CSV"))
    if "floor" in settings.peers:
        contestants += _floors(workload, folds, threads, work)
    return contestants


def _floors(workload: Workload, n_folds: int, threads: int, work: Work) -> list[Contestant]:
    x = workload.submission.x
    row = x.itemsize * x.shape[1]
    matrix = np.ones((_STREAM_BYTES // row, x.shape[1]), dtype=np.float32)
    drawn = reading.rows_of_draws(workload, n_folds)
    in_order = reading.rows_in_order(len(matrix), work.training_bytes // row, threads)

    def gather() -> Outcome:
        reading.read(x, drawn, threads)
        return Outcome()

    def stream() -> Outcome:
        reading.read(matrix, in_order, threads)
        return Outcome()

    return [
        Contestant(_GATHER, gather, note="training rows of every fold and epoch, summed", warm_up=True),
        Contestant(_STREAM, stream, note=f"of a matrix of {_STREAM_BYTES >> 20} MiB, summed", warm_up=True),
    ]


def _speed_findings(work: Work, seconds: Mapping[str, float]) -> list[str]:
    read = work.training_bytes + work.held_out_bytes
    found = [
        f"{work.steps:,} optimiser steps; training reads {work.training_bytes / 1e9:.3g} GB of rows, "
        f"scoring the held-out rows {work.held_out_bytes / 1e9:.3g} GB",
        f"fastprobe reads them at {read / seconds[_MEMORY] / 1e9:.3g} GB/s with all else that a call does, "
        f"at {read / seconds[_SEVERAL] / 1e9:.3g} GB/s where draws are shared",
    ]
    if _GATHER in seconds:
        gather, stream = (work.training_bytes / seconds[name] / 1e9 for name in (_GATHER, _STREAM))
        share = [100 * seconds[_GATHER] / seconds[name] for name in (_MEMORY, _SEVERAL)]
        found.append(
            f"the training rows alone, in the order of the draws, can be read at {gather:.3g} GB/s, memory in its own "
            f"order at {stream:.3g} GB/s: fastprobe reaches {share[0]:.0f} % of the speed of the first, "
            f"{share[1]:.0f} % where draws are shared"
        )
    return found


def _neuco_findings(settings: Settings, seconds: Mapping[str, float]) -> list[str]:
    name, found = settings.neuco_contestant().name, []
    if name in seconds:
        process, memory = (seconds[name] / seconds[mine] for mine in (_DROP_IN, _MEMORY))
        found.append(
            f"measured in this run: NeuCo-Bench took {seconds[name]:.3g} s; fastprobe is {process:.3g} times as fast "
            f"as a whole process, {memory:.3g} times in memory"
        )
    if settings.scale == 1 and settings.n_folds == CONFIG["k_folds"]:
        process, memory = (ELSEWHERE / seconds[mine] for mine in (_DROP_IN, _MEMORY))
        found.append(
            f"not measured in this run: NeuCo-Bench took {ELSEWHERE:.0f} s on two cores of another machine, "
            f"{process:.3g} times the whole process here and {memory:.3g} times the call in memory"
        )
    return found


def _q_difference(q: Mapping[str, float], reference: Mapping[str, float]) -> float:
    found, expected = ({task: np.array([value]) for task, value in side.items()} for side in (q, reference))
    return largest_difference(found, expected, relative_above=0.0)


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport
    """
    work = work_of(settings.workload, settings.n_folds)
    contestants = _contestants(settings, work)
    timings = race(contestants, repeat=settings.repeat, budget=settings.budget, log=settings.log)
    compared = [_MEMORY, _SEVERAL, _DROP_IN]
    neuco = settings.neuco_contestant().name
    if neuco in timings:
        scores, q = settings.neuco_run.scores, settings.neuco_run.q
    else:
        compared.remove(_MEMORY)
        memory = timings[_MEMORY]
        assert memory.scores is not None
        scores, q = memory.scores, memory.facts["q"]
    rows = tabulate(
        contestants, timings, baseline=_MEMORY, references=dict.fromkeys(compared, scores), relative_above=1.0
    )
    checks = tuple(
        Check(f"Q (relative), {name}", _q_difference(timings[name].facts["q"], q), Q_TOLERANCE) for name in compared
    )
    seconds = {name: timing.median_seconds for name, timing in timings.items()}
    facts = {name: timing.facts for name, timing in timings.items() if timing.facts}
    return CaseReport(
        name="neuco",
        title="NeuCo-Bench's probe, replayed",
        text=_TEXT,
        baseline=_MEMORY,
        rows=rows,
        findings=(*_speed_findings(work, seconds), *_neuco_findings(settings, seconds)),
        facts={**facts, "work": asdict(work)},
        checks=checks,
    )
