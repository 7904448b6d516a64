"""NeuCo-Bench's result files, to the letter: keys, order, spelling of numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.compat.neuco.config import NeucoConfig

__all__ = ["TaskSummary", "write_summary", "write_task"]


@dataclass(frozen=True)
class TaskSummary:
    """What NeuCo-Bench makes of the scores of the folds of a task.

    Attributes
    ----------
    name : str
    fold_scores : ndarray of float64, shape (K,)
        ``-inf`` where the metric was NaN after every epoch.
    mean, std, q : float
        Not finite if a fold is at ``-inf``.
    """

    name: str
    fold_scores: NDArray[np.float64]
    mean: float
    std: float
    q: float

    @classmethod
    def of(cls, name: str, fold_scores: NDArray[np.float64]) -> TaskSummary:
        """Summarise; ``mean / (0.02 + std) * 2``, in this order, is NeuCo-Bench's Q."""
        with np.errstate(invalid="ignore"):
            mean, std = np.mean(fold_scores), np.std(fold_scores)
            return cls(name, fold_scores, float(mean), float(std), float(mean / (0.02 + std) * 2))


def write_task(folder: Path, task: TaskSummary, config: NeucoConfig) -> None:
    """Write ``<task>/<task>_result.json`` into the folder of a run."""
    document: dict[str, Any] = {
        "q_stat": task.q,
        "mean_score": task.mean,
        "std_dev": task.std,
        "hyperparamaters": config.hyperparameters,  # spelt so in NeuCo-Bench
    }
    if config.output_fold_results:
        document["q_t"] = task.fold_scores.tolist()
    (folder / task.name).mkdir(exist_ok=True)
    _write_json(folder / task.name / f"{task.name}_result.json", document)


def write_summary(folder: Path, experiment: str, tasks: Sequence[TaskSummary], config: Mapping[str, Any]) -> None:
    """Write ``results_summary.json`` into the folder of a run.

    Parameters
    ----------
    folder : Path
    experiment : str
        Name that the folder has in the end.
    tasks : sequence of TaskSummary
    config : mapping
        As NeuCo-Bench stores it.
    """
    with np.errstate(invalid="ignore"):
        overall_q, overall_score = (float(np.mean([getattr(t, name) for t in tasks])) for name in ("q", "mean"))
    document = {
        "experiment": experiment,
        "overall_q_score": overall_q,
        "overall_acc_score": overall_score,
        "task_q_scores": {task.name: task.q for task in tasks},
        "task_acc_scores": {task.name: task.mean for task in tasks},
        "config": config,
    }
    _write_json(folder / "results_summary.json", document)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2), encoding="utf-8", newline="")
