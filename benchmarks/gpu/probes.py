"""Probes of the workload that a GPU is measured on: the tasks, the strengths, and what has no call of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases.sweep import TASKS as BIOMASS
from benchmarks.problem import restrict
from benchmarks.workload import Workload
from fastprobe.backend import Backend
from fastprobe.embeddings import Submission
from fastprobe.groups import SampleGroup, sample_groups
from fastprobe.metrics import fold_scores, fold_statistics
from fastprobe.probes.kernel import Frame, Kernel, KernelProblem, solve
from fastprobe.probes.kernel.candidates import median_distance
from fastprobe.specs import FoldSpec
from fastprobe.tasks import Benchmark
from fastprobe.units import locate

__all__ = [
    "KERNEL_PATH",
    "LANDCOVER",
    "LOGISTIC_PATH",
    "SHIPS",
    "KernelPath",
    "biomass_benchmark",
    "kernel_benchmark",
    "ships_benchmark",
]

SHIPS = "ships"
LANDCOVER = ("landcover_agriculture", "landcover_forest")
LOGISTIC_PATH = tuple(np.logspace(0, 4, 10).tolist())
KERNEL_PATH = tuple(np.logspace(-2, 2.5, 10).tolist())
_SEED = 42


def ships_benchmark(workload: Workload) -> Benchmark:
    """Return the benchmark with its classification alone."""
    return restrict(workload, [SHIPS]).benchmark


def kernel_benchmark(workload: Workload) -> Benchmark:
    """Return the benchmark with its largest group of disjoint samples alone, two regressions."""
    return restrict(workload, LANDCOVER).benchmark


def biomass_benchmark(workload: Workload) -> Benchmark:
    """Return the benchmark with the two regressions that all sizes and something else are swept on."""
    return restrict(workload, BIOMASS).benchmark


@dataclass(frozen=True, eq=False)
class KernelPath:
    """Kernel ridge at several strengths: rbf, gamma by the median distance.

    The engine has a path of strengths for linear probes only; these are the same calls that it makes for one.

    Attributes
    ----------
    backend : Backend
    benchmark : Benchmark
        Regressions on the same samples.
    folds : int
    alphas : sequence of float
    """

    backend: Backend
    benchmark: Benchmark
    folds: int
    alphas: Sequence[float] = KERNEL_PATH

    @cached_property
    def group(self) -> SampleGroup:
        """The samples, labels and folds; the engine makes these once for all submissions."""
        (group,) = sample_groups(self.benchmark, FoldSpec(n_folds=self.folds))
        return group

    def __call__(self, submission: Submission) -> dict[str, NDArray[np.float64]]:
        """Return R2 by task, shape (A, folds); on the host, so that the work is finished."""
        backend, group = self.backend, self.group
        rows_of, x = locate(self.benchmark, submission), backend.asarray(submission.x)
        _, std = backend.moments(x, rows_of)
        design = backend.design(x, rows_of[group.positions])
        points = Frame.of("rbf", design, variance=std * std).points(backend, design)
        kernel = Kernel("rbf", 1.0 / median_distance(backend, points, _SEED))
        y = backend.asarray(group.y)
        found = solve(KernelProblem(backend, kernel, points, y), group.folds.held_out, self.alphas)
        scores = {}
        for j, task in enumerate(group.tasks):
            by_alpha = [
                fold_statistics(backend, found.sets, y[:, j], found.residuals[:, :, a, j], task.kind)
                for a in range(len(self.alphas))
            ]
            scores[task.name] = np.stack([fold_scores(stats, task.kind) for stats in by_alpha])
        return scores
