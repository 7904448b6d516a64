"""NeuCo-Bench's leaderboard over the runs of a phase: ``summarize_runs`` without pandas.

Not :mod:`fastprobe.ranking`, which ranks score tables of ours: here the numbers, the columns and even the NaN where all
runs are equal are NeuCo-Bench's.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.compat.neuco.run_folder import write_stamped
from fastprobe.errors import InputError

__all__ = ["Board", "make_board", "read_runs", "summarize_runs"]

_log = logging.getLogger(__name__)

_SHOWN = ("experiment", "mean_score", "weighted_score", "aggregated_rank")

Row = dict[str, Any]


@dataclass(frozen=True)
class Board:
    """A leaderboard.

    Attributes
    ----------
    columns : tuple of str
    rows : tuple of tuple
        Best first; None for what is missing.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def to_csv_text(self) -> str:
        """Return the table as NeuCo-Bench writes it."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows(["" if _is_missing(cell) else cell for cell in row] for row in self.rows)
        return text.getvalue()

    def to_text(self) -> str:
        """Return the columns that NeuCo-Bench prints, aligned to the right."""
        positions = [self.columns.index(name) for name in _SHOWN]
        cells = [list(_SHOWN), *([_shown(row[j]) for j in positions] for row in self.rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join("  ".join(cell.rjust(w) for cell, w in zip(row, widths, strict=True)) for row in cells)


def summarize_runs(output_dir: Path, phase: str, *, now: datetime, write: Callable[[str], object]) -> Path | None:
    """Rank all complete runs of a phase, show the ranking and save it.

    Parameters
    ----------
    output_dir : Path
    phase : str
    now : datetime
        For the name of the file.
    write : callable
        Called with the text to show.

    Returns
    -------
    Path or None
        The CSV file; None if no run is complete.

    Raises
    ------
    InputError
        If a summary cannot be read; see :func:`read_runs`.
    """
    runs = read_runs(output_dir / phase)
    if not runs:
        write("No results to summarize.\n")
        return None
    board = make_board(runs)
    if not board.rows:
        write("No complete runs (all have missing metrics); nothing to rank.\n")
        return None
    write(f"\n=== Leaderboard Summary ===\n{board.to_text()}\n")
    path = write_stamped(output_dir / "leaderboards" / phase, "leaderboard", now, board.to_csv_text())
    write(f"Leaderboard CSV saved to {path}\n")
    return path


def read_runs(phase_dir: Path) -> list[Row]:
    """Read the summaries of all runs of a phase, by name of their folders; hidden folders are unfinished runs.

    Returns
    -------
    list of dict
        ``experiment``, ``overall_q_score``, ``overall_acc_score``, ``q::<task>`` and ``acc::<task>`` of every run.

    Raises
    ------
    InputError
        If a ``results_summary.json`` is not what NeuCo-Bench writes, in its new format or the old one.
    """
    if not phase_dir.is_dir():
        return []
    folders = sorted(folder for folder in phase_dir.iterdir() if not folder.name.startswith("."))
    return [_read_run(path) for folder in folders if (path := folder / "results_summary.json").is_file()]


def _read_run(path: Path) -> Row:
    try:
        return _row(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        problem = f"no key {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
        raise InputError(
            str(path),
            found=f"a summary that cannot be used ({problem[:200]})",
            expected="a results_summary.json as NeuCo-Bench writes it",
            fix="repair it, move its folder out of the phase, or set update_leaderboard: false",
        ) from None


def _row(data: Any) -> Row:
    """Flatten a summary; the old format has ``overall_score`` and ``task_result``, and no mean scores."""
    row: Row = {"experiment": str(data["experiment"])}
    if "task_q_scores" in data or "task_acc_scores" in data:
        overall = data.get("overall_q_score"), data.get("overall_acc_score")
        by_task = {"q": data.get("task_q_scores", {}), "acc": data.get("task_acc_scores", {})}
    else:
        overall = data.get("overall_score"), None
        by_task = {"q": data.get("task_result") or {}}
    row["overall_q_score"], row["overall_acc_score"] = map(_number, overall)
    for prefix, scores in by_task.items():
        row |= {f"{prefix}::{task}": _number(score) for task, score in scores.items()}
    return row


def _number(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{value!r}, where a number should be")
    return float(value)


def make_board(runs: Sequence[Mapping[str, Any]]) -> Board:
    """Rank runs by the weighted sum of their ranks in the tasks.

    The weight of a task is the standard deviation (ddof 1) of its Q over the runs, divided by the sum of these; NaN
    where all runs are equal. A run without a Q for some task takes no part.
    """
    names = list(dict.fromkeys(name for run in runs for name in run))
    tasks = [name for name in names if name.startswith("q::")]
    extra = [name for name in names if name.startswith("acc::")] + ["overall_q_score", "overall_acc_score"]
    complete = [run for run in runs if not any(_is_missing(run.get(task)) for task in tasks)]
    columns = (*_SHOWN, *tasks, *extra)
    if not (complete and tasks):
        return Board(columns, ())
    scores = np.array([[run[task] for task in tasks] for run in complete], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        weighted = (_ranks(-scores) * _weights(scores)).sum(axis=1)
        means = scores.mean(axis=1)
    places = _ranks(weighted[:, None])[:, 0].tolist()
    if np.isnan(weighted).any():
        _log.warning("leaderboard: no task tells the runs apart, so there are no weights and no places")
        places = [None] * len(places)
    ranked = zip(complete, means.tolist(), weighted.tolist(), places, strict=True)
    ordered = sorted(ranked, key=lambda entry: entry[2]) if None not in places else list(ranked)
    rows = (
        (run["experiment"], mean, score, place, *(run[task] for task in tasks), *(twin.get(name) for name in extra))
        for run, mean, score, place in ordered
        for twin in _twins(runs, run)
    )
    return Board(columns, tuple(rows))


def _weights(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    n_runs, n_tasks = scores.shape
    if n_runs == 1:
        return np.ones(n_tasks) / n_tasks
    spread = scores.std(axis=0, ddof=1)
    weights: NDArray[np.float64] = spread / spread.sum()
    return weights


def _ranks(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return 1 + the number of smaller values in the same column."""
    return np.stack([np.searchsorted(np.sort(column), column) + 1 for column in values.T], axis=1)


def _twins(runs: Sequence[Mapping[str, Any]], run: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Give the runs of one name, with each of which NeuCo-Bench lists a run of that name."""
    return (other for other in runs if other["experiment"] == run["experiment"])


def _is_missing(cell: Any) -> bool:
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def _shown(cell: Any) -> str:
    if _is_missing(cell):
        return "NaN"
    return f"{cell:.6f}" if isinstance(cell, float) else str(cell)
