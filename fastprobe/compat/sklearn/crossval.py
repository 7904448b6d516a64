"""The CV forms: every fold at every strength in one batched solve, then one fit on all rows with the best strength."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.model_selection import check_cv

from fastprobe.compat.sklearn.base import Probe
from fastprobe.compat.sklearn.errors import ParameterError, require_strength
from fastprobe.compat.sklearn.solver import Floats, Solver
from fastprobe.compat.sklearn.splits import checked_splits

__all__ = ["CrossValidated"]


class CrossValidated(Probe):
    """Chooses the strength by cross-validation, and keeps all held-out predictions.

    The strength with the least mean loss over all held-out rows is taken, of equal ones the largest, as the protocols
    do: squared error, for classes on -1 and 1; log loss for logistic probes. Rows for which there is a loss at no
    strength are left out of the mean (all of a fold whose training rows are of one class, rows of a class that a fold
    does not train on). A strength at which others of the rows have no loss is not taken.
    """

    _plain: ClassVar[type[Probe]]

    alphas: Sequence[float]
    cv: Any

    alpha_: float
    alphas_: Floats
    cv_losses_: Floats
    cv_scores_: Floats
    cv_test_: list[NDArray[np.int64]]

    @property
    def best_alpha_(self) -> float:
        """The strength that was chosen; the same as `alpha_`."""
        return self.alpha_

    @classmethod
    def load(cls, path: str | Path) -> Any:
        """Read the plain probe that :meth:`save` of this CV form wrote."""
        return cls._plain.load(path)

    def _learn(self, solver: Solver, X: NDArray[Any], y: NDArray[Any], targets: NDArray[Any]) -> None:
        splitter = check_cv(self.cv, y, classifier=is_classifier(self))
        splits = checked_splits(self._named("cv"), splitter.split(X, y), len(X))
        alphas = [float(alpha) for alpha in self.alphas]
        held_out = solver.leave_out([split.left_out for split in splits], alphas)
        self._remark(held_out.remarks)
        outputs = [fold[:, split.slots] for fold, split in zip(held_out.outputs, splits, strict=True)]
        folds = list(zip(splits, outputs, strict=True))
        losses = [self._losses(targets[split.test], fold) for split, fold in folds]
        self.alphas_, self.alpha_ = np.array(alphas), alphas[self._best(np.concatenate(losses, axis=1), alphas)]
        self._refit(solver, self.alpha_, y)
        self.cv_losses_ = np.array([loss.mean(axis=1) for loss in losses])
        self.cv_scores_ = np.array([self._scores(y[split.test], fold) for split, fold in folds])
        self.cv_test_ = [split.test for split in splits]
        self._expose(outputs)

    def _best(self, losses: Floats, alphas: Sequence[float]) -> int:
        """Choose a strength by the losses of all held-out rows, shape (A, rows)."""
        counts = np.isfinite(losses).any(axis=0)
        means = losses[:, counts].mean(axis=1) if counts.any() else losses[:, 0]
        if not np.isfinite(means).any():
            raise ParameterError(
                self._named("cv"),
                found="no strength at which every fold could be fitted",
                expected="folds with more than one class in training, and strengths that can be solved for",
                fix="take larger or stratified folds, or larger strengths",
            )
        return max(np.flatnonzero(means == np.nanmin(means)).tolist(), key=alphas.__getitem__)

    def _check_parameters(self) -> None:
        where = self._named("alphas")
        try:
            alphas = list(self.alphas)
        except TypeError:
            alphas = []
        for alpha in alphas:
            require_strength(where, alpha)
        if not alphas or len(set(alphas)) != len(alphas):
            raise ParameterError(
                where, found=repr(self.alphas), expected="distinct numbers above 0", fix="list each strength once"
            )
        self._check_common()

    def _plain_form(self) -> tuple[type[Probe], dict[str, Any]]:
        parameters = {name: getattr(self, name) for name in self._plain._get_param_names() if name != "alpha"}
        return self._plain, {"alpha": self.alpha_, **parameters}
