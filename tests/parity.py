"""What the tests of GPU backends share: small problems, and how near to the CPU's answers theirs must be."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from problems import Problem

from fastprobe import Benchmark, FoldSpec, Protocol, ReplaySpec, Submission, Sweep, Task
from fastprobe.backend import Backend
from fastprobe.probes.ridge import RidgeProblem, Solution, solve
from fastprobe.results import Scores

EXACT = 1e-12  # relative, for sums of a few hundred products of numbers of size 1
SCORES = 1e-9  # of fold scores in float64: what the project promises
REPLAYED = 5e-5  # of fold scores of the replay: float32 sums in another order, over a few hundred steps
COMPONENTS = 1e-8  # where eigenvectors of every fold turn by rounding over the gap to their neighbours
NEUCO = Protocol(name="neuco", probe="neuco", folds=FoldSpec(n_folds=2), replay=ReplaySpec(epochs=2))

SWEEPS: dict[str, dict[str, Any]] = {
    "all sizes": {"sizes": "all", "alpha": 3.0},
    "orders": {"sizes": "all", "orders": ("variance", "random"), "random_orders": 2, "alpha": 3.0},
    "strengths": {"sizes": "all", "alphas": (0.1, 1.0, 100.0)},
    "components of the training rows": {"sizes": "all", "orders": ("pca",), "alpha": 3.0},
    "components of all rows": {"sizes": "all", "orders": ("pca",), "pca_rows": "all", "alpha": 3.0},
    "components in few bits": {"sizes": (1, 6), "orders": ("pca",), "pca_rows": "all", "alpha": 3.0, "bits": (32, 4)},
    "fractions": {"sizes": "all", "fractions": (0.1, 0.4, 0.6, 1.0), "alpha": 3.0},
    "bits": {"sizes": "all", "bits": (16, 8, 1), "quantizers": ("uniform", "dimension", "sign"), "alpha": 3.0},
    "chosen strength": {"sizes": "all", "alpha": "auto", "fractions": (0.5, 1.0)},
    "default protocol": {"sizes": (2, 6), "protocol": "closed-form", "alpha": 1.0},
}
"""Options of sweeps by what they are for; all of them can be had of :func:`small` and :func:`wide`."""


def solved(backend: Backend, problem: Problem, route: str, alphas: list[float]) -> Solution:
    design = backend.design(backend.asarray(problem.x), np.arange(len(problem.x)))
    return solve(RidgeProblem(backend, design, backend.asarray(problem.y)), problem.held_out, alphas, route)


def assert_solved_alike(backend: Backend, other: Backend, problem: Problem, route: str) -> None:
    found, wanted = (solved(one, problem, route, [problem.alpha]) for one in (backend, other))
    bound = 2 * problem.tolerance_of(route) * np.abs(problem.y).max()
    assert np.abs(backend.to_numpy(found.residuals) - other.to_numpy(wanted.residuals)).max() <= bound
    assert (found.failed == wanted.failed).all()


@cache
def small() -> tuple[Submission, Benchmark]:
    """A submission, and tasks on two disjoint groups and on both together: whose Gram matrix is put together."""
    rng = np.random.default_rng(7)
    ids = [f"s{i:03d}" for i in range(120)]
    x = rng.standard_normal((120, 6)).astype(np.float32)
    y = np.tanh(x[:, 0]) + 0.3 * rng.standard_normal(120)
    parts = {"one": slice(0, 50), "two": slice(50, 120), "all": slice(0, 120)}
    tasks = [Task.from_arrays(f"r_{name}", "regression", ids[part], y[part]) for name, part in parts.items()]
    tasks.append(Task.from_arrays("c_two", "classification", ids[50:], (y[50:] > 0).astype(float)))
    tasks.append(Task.from_arrays("rare", "classification", ids[:50], (np.arange(50) == 3).astype(float)))
    return Submission("team", ids, x), Benchmark.from_tasks(tasks)


def assert_same(found: Scores, wanted: Scores, tolerance: float) -> None:
    assert [row.task for row in found.rows] == [row.task for row in wanted.rows]
    for ours, theirs in zip(found.rows, wanted.rows, strict=True):
        assert ours.fold_reasons == theirs.fold_reasons
        assert [s is None for s in ours.fold_scores] == [s is None for s in theirs.fold_scores]
        ours_at, theirs_at = (np.array([s for s in row.fold_scores if s is not None]) for row in (ours, theirs))
        assert (np.abs(ours_at - theirs_at) <= tolerance * np.maximum(1, np.abs(theirs_at))).all()
        assert ours.fold_alphas == theirs.fold_alphas
        assert (ours.dtype, ours.embedding_hash) == (theirs.dtype, theirs.embedding_hash)


@cache
def wide() -> tuple[Submission, Benchmark]:
    """As :func:`small`, with more dimensions than are factorised at once, three classes, and dimensions of many sizes.

    Some dimensions are constant, or copies of others.
    """
    rng = np.random.default_rng(8)
    ids = [f"s{i:03d}" for i in range(240)]
    x = rng.standard_normal((240, 70)).astype(np.float32) * np.logspace(1, -2, 70).astype(np.float32) + 2
    x[:, 3], x[:, 40] = 1.5, x[:, 0]
    y = np.tanh(x @ rng.standard_normal(70) / 20) + 0.2 * rng.standard_normal(240)
    tasks = [
        Task.from_arrays("r", "regression", ids, y),
        Task.from_arrays("c", "classification", ids, (y > 0.2).astype(float)),
        Task.from_arrays("many", "classification", ids[:200], np.digitize(y[:200], [-0.4, 0.6]).astype(float)),
    ]
    return Submission("wide", ids, x), Benchmark.from_tasks(tasks)


def assert_swept_alike(found: Sweep, wanted: Sweep, tolerance: float) -> None:
    """The same rows, and the same scores in them."""
    same = set(found.table.column_names) - {"device", "residual", "mean", "std", "q", "fold_scores"}
    assert len(found) == len(wanted) > 0
    for name in sorted(same):
        assert found.table[name].to_pylist() == wanted.table[name].to_pylist(), name
    for ours, theirs in zip(found.rows, wanted.rows, strict=True):
        assert [s is None for s in ours["fold_scores"]] == [s is None for s in theirs["fold_scores"]]
        ours_at, theirs_at = (np.array([s for s in row["fold_scores"] if s is not None]) for row in (ours, theirs))
        assert (np.abs(ours_at - theirs_at) <= tolerance * np.maximum(1, np.abs(theirs_at))).all(), ours["size"]
        # Q = 2 mean / (std + 0.02): a change by e of every score changes it by 2 e / (std + 0.02) (1 + Q / 2) at most
        assert (ours["q"] is None) == (theirs["q"] is None)
        if ours["q"] is not None:
            room = 2 * tolerance * max(1, np.abs(theirs_at).max()) / (theirs["std"] + 0.02)
            assert abs(ours["q"] - theirs["q"]) <= room * (1 + abs(theirs["q"]) / 2)
