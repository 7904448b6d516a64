"""What the command line decides, for every case."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.measure import BenchmarkError, Contestant, Outcome
from benchmarks.peers.neuco import NeucoCheckout, NeucoRun, run_linear_probe
from benchmarks.problem import Problem, make_problem
from benchmarks.workload import Workload, WorkloadFiles, make_workload, write_files

__all__ = ["ALPHA", "Settings"]

ALPHA = 100.0
"""Strength of the cases with one strength."""


@dataclass(frozen=True)
class Settings:
    """Options of one run.

    Attributes
    ----------
    scale : float
        Factor on the samples and dimensions of the workload.
    repeat : int
        Rounds of every race.
    budget : float
        Seconds after which a contestant sits out the remaining rounds.
    threads : int
        Threads of every contestant, here and in child processes.
    peers : frozenset of str
        Peers that take part.
    peer_folds : int
        Folds that the slow peers are measured on where their time is scaled up.
    n_folds : int
        Folds of the protocol.
    cache : Path
        Folder for the files of the workload.
    neuco : NeucoCheckout or None
    routes : tuple of str
        Routes that fastprobe is also forced to take, in the ridge case.
    log : callable
        Told what happens.
    """

    scale: float
    repeat: int
    budget: float
    threads: int
    peers: frozenset[str]
    peer_folds: int
    n_folds: int
    cache: Path
    neuco: NeucoCheckout | None
    routes: tuple[str, ...] = ()
    log: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True)

    @cached_property
    def workload(self) -> Workload:
        """The workload, made on first use."""
        self.log("making the workload")
        return make_workload(self.scale)

    @cached_property
    def problem(self) -> Problem:
        """The workload as arrays, for the peers."""
        return make_problem(self.workload, self.n_folds)

    @cached_property
    def files(self) -> WorkloadFiles:
        """The workload as files, written on first use."""
        return write_files(self.workload, self.cache / f"e2s-scale-{self.scale:g}")

    @cached_property
    def neuco_run(self) -> NeucoRun:
        """One run of NeuCo-Bench, which takes minutes: the cases that show it share it."""
        if self.neuco is None:
            raise BenchmarkError("NeuCo-Bench was asked for, but --neuco and --neuco-python are not given")
        self.log("running NeuCo-Bench")
        return run_linear_probe(self.neuco, self.files, n_folds=self.n_folds, threads=self.threads)

    def neuco_contestant(self) -> Contestant:
        """NeuCo-Bench as a row of a table."""

        def run() -> Outcome:
            found = self.neuco_run
            facts = {"q": found.q, "mean": found.mean}
            return Outcome(seconds=found.process.seconds, peak_bytes=found.process.peak_bytes, facts=facts)

        return Contestant(
            "NeuCo-Bench, linear probe",
            run,
            note="whole process, from the CSV; another probe (AdamW), so no agreement is expected",
            missing=None if self.neuco else "not run (give --neuco and --neuco-python)",
            once=True,
        )
