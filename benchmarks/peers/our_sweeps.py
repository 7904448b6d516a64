"""fastprobe's sweeps, through its public interface, and its scores of one size after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import ours
from benchmarks.problem import FoldScores
from benchmarks.workload import Workload

if TYPE_CHECKING:
    from fastprobe.sweeps.table import Sweep

__all__ = ["Leading", "leading", "scores_in", "sweep"]


def sweep(workload: Workload, n_folds: int, **options: Any) -> Sweep:
    """Sweep one submission on the CPU; options as of :func:`fastprobe.sweep`."""
    import fastprobe

    return fastprobe.sweep([workload.submission], workload.benchmark, folds=n_folds, device="cpu", **options)


def scores_in(
    found: Sweep, sizes: NDArray[np.int64], column: str | None = None, values: Sequence[Any] = (None,)
) -> FoldScores:
    """Take fold scores at some sizes out of the table of a sweep of one submission.

    Parameters
    ----------
    found : Sweep
    sizes : ndarray of int64, shape (S,)
    column : str or None
        In which rows of a size differ, if they do.
    values : sequence, length V
        Values of it.

    Returns
    -------
    FoldScores
        Shape (V, S, folds) per task; (S, folds) without a column. NaN where a fold has none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = found.table.filter(pc.is_in(found.table["size"], pa.array(sizes)))
    by_place = {(row["task"], row[column] if column else None, row["size"]): row["fold_scores"] for row in
                table.to_pylist()}  # fmt: skip
    scores: dict[str, np.ndarray] = {}
    for task in pc.unique(table["task"]).to_pylist():
        by_value = [[by_place[task, value, size] for size in sizes.tolist()] for value in values]
        scores[task] = np.array(by_value if column else by_value[0], dtype=np.float64)
    return scores


@dataclass(frozen=True, eq=False)
class Leading:
    """The leading dimensions of a submission, as one that :func:`fastprobe.score` scores.

    Attributes
    ----------
    workload : Workload
    alpha : float
        Strength for these dimensions standardised by a scale of their own, which is that of a sweep for the scale of
        the whole embedding.
    """

    workload: Workload
    alpha: float

    def scores(self, n_folds: int) -> FoldScores:
        """Score it, by whatever route fastprobe takes; shape (folds,) per task."""
        return ours.solve(self.workload, self.alpha, n_folds).scores


def leading(workload: Workload, size: int, alpha: float) -> Leading:
    """Cut a submission to its leading dimensions.

    Parameters
    ----------
    workload : Workload
        All samples have labels.
    size : int
    alpha : float
        Strength for the scale of the whole embedding.
    """
    whole = workload.submission
    part = replace(whole, x=np.ascontiguousarray(whole.x[:, :size]))
    ratio = whole.x.std(dtype=np.float64) / part.x.std(dtype=np.float64)
    return Leading(replace(workload, submission=part), alpha * float(ratio) ** 2)
