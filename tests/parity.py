"""What the tests of GPU backends share: small problems, and how near to the CPU's answers theirs must be."""

from __future__ import annotations

from functools import cache

import numpy as np
from problems import Problem

from fastprobe import Benchmark, FoldSpec, Protocol, ReplaySpec, Submission, Task
from fastprobe.backend import Backend
from fastprobe.probes.ridge import RidgeProblem, Solution, solve
from fastprobe.results import Scores

EXACT = 1e-12  # relative, for sums of a few hundred products of numbers of size 1
SCORES = 1e-9  # of fold scores in float64: what the project promises
REPLAYED = 5e-5  # of fold scores of the replay: float32 sums in another order, over a few hundred steps
NEUCO = Protocol(name="neuco", probe="neuco", folds=FoldSpec(n_folds=2), replay=ReplaySpec(epochs=2))


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
