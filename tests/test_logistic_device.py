"""Logistic probes on arrays that refuse all that a GPU's would refuse give what the CPU gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from logistic_twin import Case, draw
from strict_namespace import Namespace

from fastprobe import Benchmark, FoldSpec, Protocol, Submission, Task, score
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.base import Backend
from fastprobe.probes.inner import plan_inner
from fastprobe.probes.logistic import LogisticProblem, fit, select, solve
from fastprobe.probes.logistic.newton import ACCEPTED

CPU = get_backend("cpu", threads=1)
ROOM = 4 * ACCEPTED
"""Two probes of the same column, each by up to twice what is accepted from the optimum; relative to the largest."""

GRID = [0.01, 1.0, 100.0]


@pytest.fixture(scope="module", autouse=True)
def single_blas_thread():
    """Threads that wait for small matrices by spinning would take most of the time."""
    with CPU.session():
        yield


def strict(stack: int = 16) -> ArrayBackend:
    backend = ArrayBackend(Namespace(), device="strict", budget=2**24)
    backend.stack = stack
    return backend


def problem_of(case: Case, backend: Backend) -> LogisticProblem:
    design = backend.design(backend.asarray(case.x), np.arange(len(case.x)))
    return LogisticProblem(backend, design, backend.asarray(case.codes.astype(np.float64)), case.n_classes)


def assert_close(backend: Backend, found: Any, wanted: np.ndarray) -> None:
    found = backend.to_numpy(found)
    finite = np.isfinite(wanted)
    assert found.dtype == np.float64
    assert np.array_equal(found[~finite], wanted[~finite])
    assert np.abs(found[finite] - wanted[finite]).max() <= ROOM * max(1.0, np.abs(wanted[finite]).max())


@pytest.mark.parametrize(("classes", "stack"), [(2, 1), (3, 16)])
def test_solve_fit_and_select(classes: int, stack: int) -> None:
    """With a fold that lacks a class, and one column of a path that goes on alone."""
    case = draw(31, 48, 4, classes, 4, noise=2.0)
    held_out = [*case.held_out[:3], np.flatnonzero(case.codes == classes - 1)]
    case, device = Case(case.x, case.codes, classes, held_out), strict(stack)
    here, there = problem_of(case, CPU), problem_of(case, device)
    wanted, found = solve(here, held_out, GRID), solve(there, held_out, GRID)
    assert np.array_equal(found.status, wanted.status)
    assert_close(device, found.decisions, wanted.decisions)
    assert np.isnan(found.gradient).sum() == np.isnan(wanted.gradient).sum()
    whole, there_whole = fit(here, GRID, case.masks), fit(there, GRID, case.masks)
    assert_close(device, there_whole.weights, whole.weights)
    assert_close(device, there_whole.intercepts, whole.intercepts)
    plan = plan_inner(held_out, 48, 4, seed=42)
    (chosen, loss), (there_chosen, there_loss) = select(here, plan, 4, GRID), select(there, plan, 4, GRID)
    assert np.array_equal(chosen, there_chosen)
    assert np.abs(loss - there_loss).max() <= ROOM * max(
        1.0, np.abs(wanted.decisions[wanted.decisions > -np.inf]).max()
    )


@pytest.mark.parametrize("classes", [2, 3])
def test_columns_that_go_on_alone(classes: int) -> None:
    """Separable, with hardly any penalty: float32 directions do not get there."""
    case, device = draw(32, 16, 3, classes, 2, noise=0.0, scale=10.0), strict()
    wanted, found = (solve(problem_of(case, b), case.held_out, [1e-8]) for b in (CPU, device))
    for solution in (wanted, found):
        assert solution.alone.any()
        assert not solution.status.any()
    assert_close(device, found.decisions, wanted.decisions)


@pytest.mark.parametrize(("name", "alpha"), [("logistic", 1.0), ("closed-form", "auto")])
def test_the_whole_scorer(name: str, alpha: float | str) -> None:
    """Two classes, three classes and a regression in one group, and a group of other samples."""
    case = draw(33, 80, 6, 3, 1, noise=2.0, scale=3.0, offset=1.0)
    ids = np.array([f"s{i:02d}" for i in range(80)])
    benchmark = Benchmark.from_tasks(
        [
            Task.from_arrays("area", "regression", ids, case.x @ np.arange(6) + case.codes),
            Task.from_arrays("crops", "classification", ids, case.codes),
            Task.from_arrays("ships", "classification", ids[:60], case.codes[:60] == 1),
        ]
    )
    protocol = Protocol(probe=name, alpha=alpha, folds=FoldSpec(n_folds=4))  # type: ignore[arg-type]
    benchmark = benchmark if name == "closed-form" else benchmark.select(["crops", "ships"])
    submission = Submission("team", ids, case.x.astype(np.float32))
    wanted = score([submission], benchmark, protocol=protocol, device=CPU)
    found = score([submission], benchmark, protocol=protocol, device=strict())
    for row, cpu in zip(found.rows, wanted.rows, strict=True):
        assert (row.task, row.device) == (cpu.task, "strict")
        assert row.fold_alphas == cpu.fold_alphas
        assert row.fold_scores == pytest.approx(cpu.fold_scores, abs=1e-9)
        assert row.q == pytest.approx(cpu.q, rel=1e-7)
        if row.kind == "classification":
            assert row.fold_stats == cpu.fold_stats
            # The slope is 1 by each of two decision values, none of which is above 50.
            assert row.fold_log_loss == pytest.approx(cpu.fold_log_loss, abs=100 * ROOM)
            assert row.fold_roc_auc == pytest.approx(cpu.fold_roc_auc, nan_ok=True)
            assert row.route == "newton"
