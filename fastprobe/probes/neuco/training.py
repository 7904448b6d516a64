"""Training the probes of all folds of a task, and choosing the epoch that NeuCo-Bench reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend.base import Array, Backend
from fastprobe.errors import InputError
from fastprobe.probes.neuco.scoring import EpochScores, epoch_scores
from fastprobe.probes.neuco.stream import Draws, TaskDraws
from fastprobe.protocol import Protocol
from fastprobe.specs import ReplaySpec
from fastprobe.tasks import Kind

__all__ = ["Curves", "ReplayTask", "TaskReplay", "make_draws", "replay"]

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ReplayTask:
    """One task, as it is trained on.

    Attributes
    ----------
    name : str
    kind : {"regression", "classification"}
    rows : ndarray of int64, shape (n,)
        Row of the embedding of every sample; a row may serve several samples.
    y : ndarray of float32, shape (n,)
        Labels; 0 and 1 for classification.

    Raises
    ------
    InputError
        If there are too few samples to split and score, or a classification label is neither 0 nor 1.
    """

    name: str
    kind: Kind
    rows: Ints
    y: Singles

    def __post_init__(self) -> None:
        where, n = f"task {self.name!r}", len(self.y)
        least = 11 if self.kind == "regression" else 2
        if n < least:
            raise InputError(
                where,
                found=f"{n} sample{'s' * (n != 1)}",
                expected=f"at least {least}, of which a tenth is held out"
                + (": R2 needs two held-out samples" if least > 2 else ""),
                fix="add labels, or take the task out",
            )
        if self.kind == "classification" and not np.isin(self.y, (0, 1)).all():
            odd = self.y[~np.isin(self.y, (0, 1))][0]
            raise InputError(
                where,
                found="labels that are all the same" if np.isnan(odd) else f"the label {odd:g}, as it is trained on",
                expected="the labels 0 and 1: NeuCo-Bench's F1 knows no others",
                fix="use two classes, 0 and 1",
            )


@dataclass(frozen=True, eq=False)
class Curves:
    """What happened during training.

    Attributes
    ----------
    train_loss, val_loss : ndarray of float32, shape (K, E)
        Mean over the batches of an epoch of their mean loss.
    trained : ndarray of int64, shape (K, n_train)
        Training samples in the order of the best epoch.
    fitted : ndarray of float32, shape (K, n_train)
        Their outputs at the time of their step in that epoch.
    """

    train_loss: Singles
    val_loss: Singles
    trained: Ints
    fitted: Singles


@dataclass(frozen=True, eq=False)
class TaskReplay:
    """The probes of one task: K folds, E epochs, m held-out samples.

    Attributes
    ----------
    task : ReplayTask
    held_out : ndarray of int64, shape (K, m)
        Sample numbers.
    history : ndarray of float64, shape (K, E)
        Metric of the held-out samples after every epoch; NaN where it is undefined.
    rules : ndarray of int8, shape (K, E)
        How each came about; see :mod:`fastprobe.probes.neuco.scoring`.
    best : ndarray of int64, shape (K,)
        The first epoch with the highest metric, from 0; -1 if it was NaN in every epoch.
    predictions : ndarray of float32, shape (K, m)
        Outputs (predictions or logits) after the best epoch; after the last one if there is none.
    weights : ndarray of float32, shape (K, D + 1)
        Of that epoch, bias last.
    refit : ndarray of float32, shape (D + 1,), or None
        The probe that NeuCo-Bench stores: trained on all rows in their order.
    curves : Curves or None
    """

    task: ReplayTask
    held_out: Ints
    history: NDArray[np.float64]
    rules: NDArray[np.int8]
    best: Ints
    predictions: Singles
    weights: Singles
    refit: Singles | None
    curves: Curves | None

    @property
    def scores(self) -> NDArray[np.float64]:
        """Score of every fold, the metric of its best epoch; ``-inf`` if there is none. Shape (K,)."""
        best = np.take_along_axis(self.history, np.maximum(self.best, 0)[:, None], axis=1)[:, 0]
        return np.where(self.best < 0, -np.inf, best)


def make_draws(tasks: Sequence[tuple[str, int]], protocol: Protocol, d: int) -> Draws:
    """Draw for a benchmark.

    Parameters
    ----------
    tasks : sequence of (str, int)
        Names and sizes of the tasks that are scored, in order. A protocol that lists the tasks of its stream must list
        these among them, in the same size.
    protocol : Protocol
        Of the probe ``neuco``.
    d : int
        Size of the embedding, padding included.

    Raises
    ------
    InputError
        If a task is not in the list of the protocol, or with another size.
    """
    spec = _spec(protocol)
    layout = tasks if spec.tasks is None else spec.tasks
    sizes = dict(layout)
    for name, n in tasks:
        if sizes.get(name) != n:
            raise InputError(
                "replay.tasks",
                found=f"no task {name!r}" if name not in sizes else f"{sizes[name]} samples for the task {name!r}",
                expected=f"the task {name!r} with {n} samples",
                fix="list the tasks of the benchmark in the protocol, or leave replay.tasks out",
            )
    return Draws(tuple(layout), spec, protocol.folds.n_folds, d)


def replay(
    backend: Backend,
    x: Singles,
    tasks: Sequence[ReplayTask],
    protocol: Protocol,
    *,
    draws: Draws | None = None,
    curves: bool = False,
) -> Iterator[TaskReplay]:
    """Train and score NeuCo-Bench's probe on every task.

    Parameters
    ----------
    backend : Backend
    x : ndarray of float32, shape (n, D)
        What :func:`~fastprobe.probes.neuco.prepare.standardized` returned.
    tasks : sequence of ReplayTask
        In the order in which they draw.
    protocol : Protocol
        Of the probe ``neuco``.
    draws : Draws, optional
        What :func:`make_draws` returned for these tasks; serves all submissions of one size.
    curves : bool
        Also keep losses and training outputs.

    Yields
    ------
    TaskReplay
        In the order of `tasks`.
    """
    if draws is None:
        draws = make_draws([(task.name, len(task.y)) for task in tasks], protocol, x.shape[1])
    device_x = backend.asarray(x)
    for task in tasks:
        yield _Training(backend, device_x, task, draws[task.name], _spec(protocol), curves).result()


class _Folds(NamedTuple):
    """Some folds of a task."""

    history: NDArray[np.float64]
    rules: NDArray[np.int8]
    best: Ints
    predictions: Singles
    weights: Singles
    curves: Curves | None


def _joined(parts: Sequence[_Folds]) -> _Folds:
    curves = [part.curves for part in parts if part.curves is not None]
    return _Folds(
        _together(parts, "history"),
        _together(parts, "rules"),
        _together(parts, "best"),
        _together(parts, "predictions"),
        _together(parts, "weights"),
        Curves(*(_together(curves, f.name) for f in fields(Curves))) if curves else None,
    )


def _together(parts: Sequence[_Folds | Curves], name: str) -> Any:
    return np.concatenate([getattr(part, name) for part in parts])


@dataclass(frozen=True, eq=False)
class _Training:
    """One task on its way through the folds."""

    backend: Backend
    x: Array
    task: ReplayTask
    draws: TaskDraws
    spec: ReplaySpec
    with_curves: bool

    def result(self) -> TaskReplay:
        folds = _joined([self._train(part) for part in self.draws.chunks()])
        return TaskReplay(
            self.task,
            self.draws.held_out.astype(np.int64),
            folds.history,
            folds.rules,
            folds.best,
            folds.predictions,
            folds.weights,
            self._refit() if self.spec.store_probes else None,
            folds.curves,
        )

    def _train(self, part: slice) -> _Folds:
        order, held_out = self.draws.order(part), self.draws.held_out[part]
        weights, fitted = self._fit(order, self.draws.initial[part])
        outputs = self.backend.to_numpy(self.backend.predict_linear(self.x, self.task.rows[held_out], weights))
        scores = epoch_scores(outputs, self.task.y[held_out], self.task.kind)
        best = _best(scores)
        shown = np.where(best < 0, self.spec.epochs - 1, best)
        folds = np.arange(len(best))
        chosen = self.backend.to_numpy(weights[self.backend.asarray(folds), self.backend.asarray(shown)])
        curves = None
        if fitted is not None:
            fitted = self.backend.to_numpy(fitted)
            curves = Curves(
                train_loss=self._loss(fitted, self.task.y[order]),
                val_loss=self._validation_loss(outputs, part),
                trained=order[folds, shown].astype(np.int64),
                fitted=fitted[folds, shown],
            )
        return _Folds(scores.values, scores.rules, best, outputs[folds, shown], chosen, curves)

    def _fit(self, order: NDArray[np.int32], initial: Singles) -> tuple[Array, Array | None]:
        return self.backend.train_linear(
            self.x,
            self.task.rows,
            self.task.y,
            order,
            initial,
            batch_size=self.spec.batch_size,
            learning_rate=self.spec.learning_rate,
            logistic=self.task.kind == "classification",
            keep_fitted=self.with_curves,
        )

    def _refit(self) -> Singles:
        in_order = np.arange(len(self.task.y), dtype=np.int32)
        every_epoch = np.broadcast_to(in_order, (1, self.spec.epochs, len(in_order)))
        weights, _ = self._fit(np.ascontiguousarray(every_epoch), self.draws.refit_initial()[None])
        return self.backend.to_numpy(weights)[0, -1]

    def _validation_loss(self, outputs: Singles, part: slice) -> Singles:
        order = self.draws.held_out_order(part)
        slot = np.empty((len(order), len(self.task.y)), dtype=np.int64)
        np.put_along_axis(slot, self.draws.held_out[part], np.arange(outputs.shape[2])[None], axis=1)
        slots = np.take_along_axis(slot[:, None], order.astype(np.int64), axis=2)
        return self._loss(np.take_along_axis(outputs, slots, axis=2), self.task.y[order])

    def _loss(self, outputs: Singles, labels: Singles) -> Singles:
        """Mean over the batches of an epoch of their mean loss; arrays in the order of the batches, (k, E, samples)."""
        if self.task.kind == "regression":
            losses = (outputs - labels) ** 2
        else:  # the logistic loss of torch, which does not overflow
            losses = np.maximum(outputs, 0) - outputs * labels + np.log1p(np.exp(-np.abs(outputs)))
        starts = np.arange(0, losses.shape[2], self.spec.batch_size)
        sizes = np.diff(starts, append=losses.shape[2]).astype(np.float32)
        return (np.add.reduceat(losses, starts, axis=2) / sizes).mean(axis=2)


def _best(scores: EpochScores) -> Ints:
    """First epoch with the highest metric of every fold, -1 where all are NaN."""
    values = np.where(np.isnan(scores.values), -np.inf, scores.values)
    return np.where(values.max(axis=1) == -np.inf, -1, values.argmax(axis=1))


def _spec(protocol: Protocol) -> ReplaySpec:
    assert protocol.replay is not None, "a protocol of the probe neuco"
    return protocol.replay
