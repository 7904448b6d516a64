"""The strength chosen inside the training rows is that of a naive nested loop."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from problems import make
from sklearn.linear_model import Ridge

from fastprobe.backend import get_backend
from fastprobe.folds import make_folds
from fastprobe.planner import ROUTE_NAMES
from fastprobe.probes.inner import plan_inner
from fastprobe.probes.ridge import RidgeProblem
from fastprobe.probes.ridge.select import select
from fastprobe.protocol import FoldSpec

BACKEND = get_backend("cpu", threads=2)
GRID = [10.0**e for e in range(-2, 6)]


@cache
def nested(n: int, d: int, scheme: str, k: int):
    """Draw a problem, plan its inner validation, and refit everything naively once for all routes."""
    case = make("nested", n, d, 3, alpha=1.0)
    held_out = make_folds(FoldSpec(scheme, n_folds=k), np.arange(n).astype(str), case.y[:, 0], "regression").held_out  # type: ignore[arg-type]
    plan = plan_inner(held_out, n, 4, seed=42)
    return case, plan, naive(case.x, case.y, plan, k)


def naive(x, y, plan, folds: int) -> np.ndarray:
    """Mean squared validation error (K, A, t): scikit-learn refits for every fold, block and strength."""
    sse, count = np.zeros((folds, len(GRID), y.shape[1])), np.zeros(folds)
    for fold, p, rows in plan.validate:
        train = np.setdiff1d(np.arange(len(x)), plan.left_out[p])
        count[fold] += len(rows)
        for a, alpha in enumerate(GRID):
            model = Ridge(alpha=alpha, solver="svd").fit(x[train], y[train])
            sse[fold, a] += ((y[rows] - model.predict(x[rows]).reshape(len(rows), -1)) ** 2).sum(axis=0)
    return sse / count[:, None, None]


@pytest.mark.parametrize("route", ROUTE_NAMES)
@pytest.mark.parametrize(
    ("n", "d", "scheme", "k"),
    [
        (120, 15, "shuffle", 8),
        (60, 90, "shuffle", 6),
        (100, 20, "kfold", 5),
        (90, 10, "kfold", 2),
        (90, 10, "shuffle", 1),
    ],
)
def test_choice_equals_nested_refits(n: int, d: int, scheme: str, k: int, route: str) -> None:
    case, plan, wanted = nested(n, d, scheme, k)
    problem = RidgeProblem(BACKEND, BACKEND.design(case.x, np.arange(n)), case.y)
    selection = select(problem, plan, k, GRID, route)
    room = 1e-9 * wanted.max()
    if route == "mixed":  # a relative error tau of residuals e is one of 2 |e| tau |y| in their squares
        hardest = replace(case, alpha=GRID[0], held_out=list(plan.left_out))
        room = 2 * np.sqrt(wanted.max()) * hardest.tolerance_of(route) * np.abs(case.y).max()
    assert np.abs(selection.mse - wanted).max() < room
    assert np.array_equal(selection.chosen, wanted.argmin(axis=1))
    assert ((selection.chosen > 0) & (selection.chosen < len(GRID) - 1)).any()  # the grid is wide enough for a choice


@pytest.mark.parametrize(("scheme", "k"), [("shuffle", 40), ("kfold", 10), ("kfold", 3), ("kfold", 2), ("shuffle", 1)])
def test_nothing_held_out_is_ever_seen(scheme: str, k: int) -> None:
    n = 100
    held_out = make_folds(FoldSpec(scheme, n_folds=k), np.arange(n).astype(str), np.zeros(n), "regression").held_out  # type: ignore[arg-type]
    plan = plan_inner(held_out, n, 4, seed=42)
    blocks = np.zeros(k, dtype=int)
    for fold, p, rows in plan.validate:
        assert not np.intersect1d(rows, held_out[fold]).size  # validation rows are training rows of the fold
        assert np.isin(held_out[fold], plan.left_out[p]).all()  # neither they
        assert np.isin(rows, plan.left_out[p]).all()  # nor the held-out rows train
        assert rows.size
        blocks[fold] += 1
    assert (blocks == 4).all()


def test_neighbours_are_shared() -> None:
    held_out = make_folds(FoldSpec("kfold", n_folds=10), np.arange(50).astype(str), np.zeros(50), "regression").held_out
    plan = plan_inner(held_out, 50, 4, seed=42)
    assert len(plan.left_out) == 20  # 10 folds x 4 blocks, each pair once


def test_blocks_keep_groups_together() -> None:
    groups = np.repeat(np.arange(12), 5)
    held_out = [np.flatnonzero(groups < 4)]
    plan = plan_inner(held_out, 60, 4, seed=42, groups=groups)
    assert len(plan.validate) == 4
    for _, p, rows in plan.validate:
        outside = np.setdiff1d(np.arange(60), plan.left_out[p])
        assert not np.intersect1d(groups[rows], groups[outside]).size


def test_equal_errors_take_the_largest_strength() -> None:
    x, y = np.zeros((40, 3)), np.random.default_rng(0).standard_normal((40, 1))
    held_out = make_folds(FoldSpec(n_folds=6), np.arange(40).astype(str), y[:, 0], "regression").held_out
    problem = RidgeProblem(BACKEND, BACKEND.design(x, np.arange(40)), y)
    selection = select(problem, plan_inner(held_out, 40, 4, seed=42), 6, GRID, "downdate")
    assert (selection.chosen == len(GRID) - 1).all()
