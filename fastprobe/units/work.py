"""What a probe gets to work on, a sample group of a submission, and the record that it makes of a task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe import __version__
from fastprobe.backend import Backend, Design
from fastprobe.folds import Folds
from fastprobe.groups import SampleGroup
from fastprobe.metrics import CONSTANT
from fastprobe.probes.inner import InnerPlan, plan_inner
from fastprobe.probes.ridge.grams import GramPart, merge
from fastprobe.protocol import Protocol
from fastprobe.qscore import q_score
from fastprobe.results import FoldStats, TaskScore
from fastprobe.tasks import Task
from fastprobe.units.base import Located

__all__ = ["GroupWork"]


@dataclass(frozen=True, eq=False)
class GroupWork:
    """A sample group of a submission, to be scored under some protocols.

    What several probes need of it (the gathered features, their Gram matrix, the inner validation) is made when it is
    first asked for, and kept. One lane works on a group, and only that asks: a GPU does what a lane asks for in its own
    time, and before Python 3.12 whoever makes such a thing keeps all others waiting.

    Attributes
    ----------
    backend : Backend
    located : Located
    protocols : list of Protocol
        They differ in a fixed strength only.
    route : str or None
        A route that is forced on ridge.
    group : SampleGroup
    x : array, shape (N, d)
        All features of the submission, on the device, as they were read.
    rows : ndarray of int64, shape (n,)
        Rows of `x` that are the samples of the group.
    variance : float
        Square of the scale that standardises, 1.0 if the protocol does not: a strength for standardised features,
        times it, is one for features as they were read.
    mean : float
        The mean that standardises, 0.0 if the protocol does not.
    parts : tuple of GramPart
        Gram matrices of the groups that make up this one; empty if one of them is not known.
    """

    backend: Backend
    located: Located
    protocols: list[Protocol]
    route: str | None
    group: SampleGroup
    x: Any
    rows: NDArray[np.int64]
    variance: float
    mean: float
    parts: tuple[GramPart, ...] = ()

    @cached_property
    def design(self) -> Design:
        """The features of the group, shape (n, d), as they were read."""
        return self.backend.design(self.x, self.rows)

    @cached_property
    def gram(self) -> Any:
        """Gram matrix of the group about its means, shape (d, d), lower triangle; the sum of its parts if known."""
        if not self.parts:
            return self.backend.gram(self.design)
        rest = self.group.rest
        others = self.backend.design(self.x, self.rows[rest]) if len(rest) else None
        return merge(self.backend, self.design, self.parts, others)

    def gram_source(self) -> Any:
        """Return :attr:`gram`: what :class:`fastprobe.probes.ridge.RidgeProblem` calls when it needs it."""
        return self.gram

    def gram_part(self) -> GramPart | None:
        """Gram matrix of the group as a part of others, if it was needed so far."""
        known = self.__dict__.get("gram")
        return None if known is None else GramPart(len(self.rows), self.design.mean, known)

    @cached_property
    def inner(self) -> InnerPlan:
        """Inner validation of every fold, for the strength ``auto``."""
        protocol, folds = self.protocols[0], self.group.folds
        return plan_inner(folds.held_out, len(self.rows), protocol.inner_folds, protocol.folds.seed, folds.groups)

    @property
    def strengths(self) -> tuple[float, ...]:
        """Strengths to solve for, of standardised features: the grid of ``auto``, or that of every protocol."""
        return tuple(strength for protocol in self.protocols for strength in protocol.strengths)

    @property
    def memory(self) -> float:
        """Bytes that the work on this group may use, beside the features."""
        return self.backend.memory() / self.backend.lanes

    def record(
        self,
        task_index: int,
        protocol: Protocol,
        *,
        route: str,
        stats: FoldStats,
        scores: NDArray[np.float64],
        reasons: Sequence[str | None],
        alphas: Sequence[float],
        errors: Sequence[float] | NDArray[np.float64],
        dtype: str = "float64",
        iterations: int = 0,
        n_refactorised: int = 0,
        notes: Sequence[str] = (),
        metric: str | None = None,
        **columns: Any,
    ) -> TaskScore:
        """Make the record of a task under a protocol.

        Parameters
        ----------
        task_index : int
            Of the task, in the group.
        protocol : Protocol
        route : str
        stats : FoldStats
        scores : ndarray, shape (K,)
            Metric of every fold; NaN where it is undefined.
        reasons : sequence of str or None, length K
            Why the solve of a fold failed. Where it did not, and the labels allow no score, the reason is added here.
        alphas : sequence of float, length K
            Strength of every fold, of standardised features.
        errors : sequence of float, length K
            Relative float64 residual of every fold's solve.
        dtype, iterations, n_refactorised, notes
            As the record has them; the notes of the labels and of the folds are added here.
        metric : str, optional
            By default the metric of the task's kind.
        **columns
            Further columns of :class:`fastprobe.results.TaskScore`.
        """
        task, folds = self.group.tasks[task_index], self.group.folds
        whys = [reason or other for reason, other in zip(reasons, _undefined(task, scores, folds), strict=True)]
        by_fold = tuple(None if why else float(score) for score, why in zip(scores, whys, strict=True))
        residuals = np.asarray(errors, dtype=np.float64)
        q = q_score(by_fold, eps=protocol.eps, max_failed=protocol.max_failed)
        return TaskScore(
            submission=self.located.submission.name,
            task=task.name,
            kind=task.kind,
            metric=metric or task.metric,
            n_samples=len(self.rows),
            n_features=self.x.shape[1],
            n_folds=len(folds),
            n_failed=q.n_failed,
            mean=q.mean,
            std=q.std,
            q=q.q,
            q_reason=q.reason,
            fold_scores=by_fold,
            fold_reasons=tuple(whys),
            fold_alphas=tuple(map(float, alphas)),
            fold_residuals=tuple(map(float, residuals)),
            fold_epochs=(),
            fold_stats=stats,
            protocol_name=protocol.name,
            protocol_hash=protocol.hash,
            embedding_hash=self.located.embedding_hash,
            label_hash=task.digest,
            version=__version__,
            device=self.backend.device,
            dtype=dtype,
            route=route,
            iterations=iterations,
            residual=float(np.nanmax(residuals)) if not np.isnan(residuals).all() else float("nan"),
            n_refactorised=n_refactorised,
            notes=(*task.notes, *self._of_folds(protocol), *notes),
            repairs=self.located.repairs(task),
            n_missing_labels=task.n_missing,
            **columns,
        )

    def _of_folds(self, protocol: Protocol) -> Iterator[str]:
        asked, made = protocol.folds.scheme, self.group.folds.scheme
        if made != asked:
            yield f"{made} folds: {asked} needs classes"


def _undefined(task: Task, scores: NDArray[np.float64], folds: Folds) -> Iterator[str | None]:
    """Say of every fold why its labels allow no score, if they do not."""
    classes = task.y.astype(np.int64) if task.kind == "classification" else np.empty(0, dtype=np.int64)
    total = np.bincount(classes)
    for score, held_out in zip(scores, folds.held_out, strict=True):
        if np.isnan(score):
            yield CONSTANT[task.kind]
        elif len(total) and (np.bincount(classes[held_out], minlength=len(total)) < total).sum() < 2:
            yield "training labels are of one class"
        else:
            yield None
