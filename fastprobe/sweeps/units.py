"""Units of a sweep: the tasks of one sample group that one probe scores, in one order and bit width."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend import Backend, Design
from fastprobe.groups import SampleGroup
from fastprobe.metrics import CONSTANT, decision_statistics, fold_scores
from fastprobe.probes.inner import InnerPlan, last_least, plan_inner, plan_within
from fastprobe.probes.logistic import LogisticProblem, describe
from fastprobe.probes.logistic import select as select_logistic
from fastprobe.probes.logistic import solve as solve_logistic
from fastprobe.probes.prefix import (
    Cells,
    Curves,
    PrefixProblem,
    complements,
    inner_cells,
    mean_losses,
    nested_subsets,
    require_memory,
    solve,
)
from fastprobe.probes.prefix.scan import Columns, Truth, losses, scores
from fastprobe.protocol import Protocol
from fastprobe.sweeps.blocks import Block
from fastprobe.sweeps.matrices import Matrix

__all__ = ["Pool", "Unit", "blocks_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Unit:
    """What is scored in one go.

    Attributes
    ----------
    backend : Backend
    matrix : Matrix
    x : array
        Its features on the device, or those of a pool of matrices that it is part of.
    rows : ndarray of int64, shape (n,)
        Rows of the group.
    group : SampleGroup
    tasks : tuple of int
        Numbers of the tasks in the group.
    probe : str
        ``ridge`` or ``logistic``.
    permutation : ndarray of int64, shape (d,), or None
        Dimensions in their order.
    pool : Pool or None
        What `x` is, if it is not the matrix itself.
    components : bool
        Principal components of the rows that train each fold, instead of dimensions (ridge).
    sizes : ndarray of int64, shape (S,)
        Ascending.
    alphas : tuple of float, length A
        Ascending strengths, of standardised features.
    choose : bool
        Choose among the strengths inside the training rows of every fold.
    fractions : tuple of float
    protocol : Protocol
    """

    backend: Backend
    matrix: Matrix
    x: Any
    rows: Ints
    group: SampleGroup
    tasks: tuple[int, ...]
    probe: str
    permutation: Ints | None
    pool: Pool | None
    components: bool
    sizes: Ints
    alphas: tuple[float, ...]
    choose: bool
    fractions: tuple[float, ...]
    protocol: Protocol

    @property
    def where(self) -> str:
        """Name for messages."""
        names = ", ".join(repr(self.group.tasks[j].name) for j in self.tasks)
        return f"submission {self.matrix.name!r}, {'tasks' if len(self.tasks) > 1 else 'task'} {names}"

    @property
    def fold_notes(self) -> tuple[str, ...]:
        """What is to be said of the folds."""
        asked, made = self.protocol.folds.scheme, self.group.folds.scheme
        return () if made == asked else (f"{made} folds: {asked} needs classes",)

    @property
    def strengths(self) -> list[float]:
        """The strengths for features as they are stored."""
        return [alpha * self.matrix.strength for alpha in self.alphas]

    def design(self) -> tuple[Design, Floats | None]:
        """Features of the group in their order, as many as a size needs, and their factors."""
        design, scale = self.backend.design(self.x, self.rows), self.matrix.scale
        kept = self._kept()
        if kept is None:
            return design, scale
        columns = self.backend.asarray(kept if self.pool is None else self.pool.columns[kept])
        x = self.backend.xp.ascontiguousarray(design.x[:, columns])
        return Design(x, design.mean[columns]), None if scale is None else scale[kept]

    def gram_source(self) -> Callable[[], Any] | None:
        """Give what makes the Gram matrix of :meth:`design`, if there is less to do than to multiply."""
        if self.pool is None or not self.pool.shares:
            return None
        pool, kept = self.pool, self._kept()
        assert kept is not None  # a part of a pool takes its columns
        columns = self.backend.asarray(pool.columns[kept])
        return lambda: pool.gram(self.group, lambda: self.backend.design(self.x, self.rows))[columns[:, None], columns]

    def _kept(self) -> Ints | None:
        """Dimensions of the matrix that are needed, in order; None for all of them as they lie."""
        d = self.matrix.d
        widest = d if self.components else int(self.sizes[-1])
        if self.pool is None and self.permutation is None and widest == d:
            return None
        return np.arange(widest) if self.permutation is None else self.permutation[:widest]


class Pool:
    """Joined submissions of which every set is a choice of columns: their Gram matrices are blocks of one.

    Parameters
    ----------
    backend : Backend
    columns : ndarray of int64
        Columns of the pool that make up a matrix.
    grams : dict or None
        Gram matrix of all columns by sample group, kept for all sets of one pool; None if it would be too large.
    """

    def __init__(self, backend: Backend, columns: Ints, grams: dict[int, Any] | None) -> None:
        self.columns = columns
        self._backend, self._grams = backend, grams

    @property
    def shares(self) -> bool:
        """Whether there is a Gram matrix of all columns."""
        return self._grams is not None

    def gram(self, group: SampleGroup, design: Callable[[], Design]) -> Any:
        """Gram matrix of all columns of the pool for the rows of a group, both triangles."""
        assert self._grams is not None  # asked for where it is shared
        key = id(group)
        if key not in self._grams:
            xp, lower = self._backend.xp, self._backend.gram(design())
            self._grams.clear()  # one group at a time: the matrix of many submissions is large
            self._grams[key] = xp.tril(lower) + xp.tril(lower, -1).T
        return self._grams[key]


def blocks_of(unit: Unit) -> Iterator[Block]:
    """Score a unit; fractions, tasks and strengths in turn."""
    return (_ridge if unit.probe == "ridge" else _logistic)(unit)


# --- ridge ------------------------------------------------------------------------------------------------------------


def _ridge(unit: Unit) -> Iterator[Block]:
    group, backend = unit.group, unit.backend
    y, of_task = group.labels(unit.tasks)
    columns = Columns(of_task, tuple(group.tasks[j].kind == "classification" for j in unit.tasks))
    widest = unit.matrix.d if unit.components else int(unit.sizes[-1])
    require_memory(unit.where, len(unit.rows), widest, backend.memory())
    design, scale = unit.design()
    problem = PrefixProblem(backend, design, backend.asarray(y), scale, unit.gram_source())
    all_training = complements(group.folds.held_out, problem.n)
    shape = len(columns), len(unit.sizes)
    curves_of: Callable[..., Curves] = partial(
        solve, problem, alphas=unit.strengths, shape=shape, components=unit.components
    )
    for fraction in unit.fractions:
        trained = nested_subsets(all_training, fraction, unit.protocol.folds.seed)
        cells = Cells.whole(trained, group.folds.held_out)
        truth = Truth.of(y, cells)
        curves = curves_of(
            cells,
            reduce=lambda p, parts: scores(backend, columns, p, unit.sizes, truth, parts),  # noqa: B023
        )
        chosen = None
        if unit.choose:
            plan, fold_of = inner_cells(_inner_plan(unit, fraction, trained), len(unit.rows))
            inner = curves_of(plan, reduce=lambda p, parts: losses(backend, columns, p, unit.sizes))
            chosen = last_least(mean_losses(inner, plan, fold_of, len(trained)))
        yield from _ridge_blocks(unit, curves, chosen, fraction, trained, columns)


def _inner_plan(unit: Unit, fraction: float, trained: Sequence[Ints]) -> InnerPlan:
    """Plan the inner validation of every fold, within the rows that train it."""
    folds, protocol, n = unit.group.folds, unit.protocol, len(unit.rows)
    if fraction == 1.0:
        return plan_inner(folds.held_out, n, protocol.inner_folds, protocol.folds.seed, folds.groups)
    return plan_within(trained, n, protocol.inner_folds, protocol.folds.seed, folds.groups)


def _ridge_blocks(
    unit: Unit, curves: Curves, chosen: Ints | None, fraction: float, trained: Sequence[Ints], columns: Columns
) -> Iterator[Block]:
    refitted, failed = curves.refactorised, curves.failed
    made = np.where(failed[:, :, None, None], np.nan, curves.values)  # (K, A, tasks, S)
    for j, number in enumerate(unit.tasks):
        task = unit.group.tasks[number]
        lacking = _one_class(unit, number, trained) if columns.classification[j] else np.zeros(len(trained), dtype=bool)
        by_fold = np.where(lacking[:, None, None], np.nan, made[:, :, j])  # (K, A, S)
        held = np.isnan(by_fold).all(axis=(1, 2)) & ~lacking & ~failed.all(axis=1)
        for a, alpha in enumerate(unit.alphas[:1] if chosen is not None else unit.alphas):
            which = slice(None) if chosen is not None else slice(a, a + 1)
            notes = tuple(
                _counted(
                    (
                        refitted[:, which] & ~failed[:, which],
                        "fits missed the tolerance and were made again in a slower, more exact way",
                    ),
                    (failed[:, which], "fits failed: no way led to a small residual"),
                    (lacking, "folds have training labels of one class"),
                    (held, f"folds have no score: {CONSTANT[task.kind]}"),
                )
            )
            strengths, scored = None, by_fold[:, a].T
            if chosen is not None:
                picked = chosen[:, j]  # (K, S)
                scored = np.take_along_axis(by_fold, picked[:, None], axis=1)[:, 0].T
                strengths = np.array(unit.alphas)[picked].T
            residual = float(np.nanmax(curves.error[:, which])) if not failed[:, which].all() else float("nan")
            yield Block(
                task, fraction, _median(trained), None if chosen is not None else alpha, scored, strengths, residual,
                (*task.notes, *unit.fold_notes, *notes),
            )  # fmt: skip


# --- logistic ---------------------------------------------------------------------------------------------------------


def _logistic(unit: Unit) -> Iterator[Block]:
    """One fit for every size: only strengths and folds share work."""
    backend, group, n = unit.backend, unit.group, len(unit.rows)
    design, scale = unit.design()
    assert scale is None  # SweepSpec.require_one_scale saw to it
    all_training = complements(group.folds.held_out, n)
    for fraction in unit.fractions:
        trained = nested_subsets(all_training, fraction, unit.protocol.folds.seed)
        for number in unit.tasks:
            task = group.tasks[number]
            codes = backend.asarray(task.y)
            made = [
                _logistic_size(unit, LogisticProblem(backend, _leading(backend, design, size), codes, task.n_classes),
                               fraction, trained)
                for size in unit.sizes.tolist()
            ]  # fmt: skip
            by_size, status, error, strengths = (np.stack(each) for each in zip(*made, strict=True))
            for a in range(by_size.shape[1]):
                notes = _counted(
                    *(
                        (status[:, a] == s, f"fits have no score: {message}")
                        for s in np.unique(status[:, a])
                        if (message := describe(int(s)))
                    ),
                    (
                        (np.isnan(by_size[:, a]) & (status[:, a] == 0)).all(axis=0),
                        f"folds have no score: {CONSTANT['classification']}",
                    ),
                )
                known = error[:, a][~np.isnan(error[:, a])]
                yield Block(
                    task, fraction, _median(trained), None if unit.choose else unit.alphas[a], by_size[:, a],
                    strengths[:, a] if unit.choose else None, float(known.max()) if known.size else float("nan"),
                    (*task.notes, *unit.fold_notes, *notes),
                )  # fmt: skip


def _logistic_size(
    unit: Unit, problem: LogisticProblem, fraction: float, trained: Sequence[Ints]
) -> tuple[Floats, NDArray[np.int8], Floats, Floats]:
    """Scores, status, error and strength of every fold, each (A, K); A is 1 where the strength is chosen."""
    backend, held_out = unit.backend, unit.group.folds.held_out
    folds = np.arange(len(held_out))
    training = _membership(trained, problem.n)
    chosen = np.broadcast_to(np.arange(len(unit.alphas))[:, None], (len(unit.alphas), len(folds)))
    wanted = None
    if unit.choose:
        plan = _inner_plan(unit, fraction, trained)
        chosen = select_logistic(problem, plan, len(folds), unit.strengths)[0][None]
        wanted = chosen[0][:, None] == np.arange(len(unit.alphas))
    solution = solve_logistic(problem, held_out, unit.strengths, wanted, training=training)
    found = np.full(chosen.shape, np.nan)
    for a, picked in enumerate(chosen):
        decisions = solution.decisions[backend.asarray(folds), :, backend.asarray(picked)]
        stats = decision_statistics(backend, solution.sets, problem.codes, decisions)
        found[a] = fold_scores(stats, "classification")
    status, error = solution.status[folds, chosen], solution.error[folds, chosen]
    return np.where(status == 0, found, np.nan), status, error, np.array(unit.alphas)[chosen]


def _leading(backend: Backend, design: Design, size: int) -> Design:
    if size == design.shape[1]:
        return design
    return Design(backend.xp.ascontiguousarray(design.x[:, :size]), design.mean[:size])


# --- both -------------------------------------------------------------------------------------------------------------


def _membership(trained: Sequence[Ints], n: int) -> NDArray[np.bool_]:
    inside = np.zeros((n, len(trained)), dtype=bool)
    for k, rows in enumerate(trained):
        inside[rows, k] = True
    return inside


def _one_class(unit: Unit, number: int, trained: Sequence[Ints]) -> NDArray[np.bool_]:
    y = unit.group.tasks[number].y
    return np.array([(y[rows] == y[rows[0]]).all() for rows in trained])


def _median(trained: Sequence[Ints]) -> int:
    return int(np.median([len(rows) for rows in trained]))


def _counted(*found: tuple[NDArray[np.bool_], str]) -> Iterator[str]:
    for mask, text in found:
        if count := int(mask.sum()):
            yield f"{count} {text}"
