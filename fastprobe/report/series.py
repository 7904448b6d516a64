"""What a figure of lines shows: scores of each setting along sizes or shares of the training rows, task by task."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastprobe.report.labels import describe
from fastprobe.sweeps.keep import grouped

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Chart", "Floats", "Line", "Panel", "chart", "choose", "largest"]

_log = logging.getLogger(__name__)

_NAMING = ("submission", "order", "alpha", "bits", "quantizer")
_MAX_LINES = 8

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Line:
    """One setting on one task, ascending along the axis; NaN where a score is missing.

    Several seeds are one line: `mean` and `q` are means over seeds, `std` is over the folds of all of them.
    """

    setting: int
    x: Floats
    mean: Floats
    std: Floats
    q: Floats
    n_train: Floats


@dataclass(frozen=True)
class Panel:
    """The lines of one task."""

    task: str
    metric: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Chart:
    """Panels that share their settings: ``names[line.setting]`` is the name of a line."""

    names: tuple[str, ...]
    panels: tuple[Panel, ...]


def chart(table: pa.Table, along: Literal["size", "fraction"]) -> Chart | None:
    """Return the lines along sizes or along shares of the training rows; None if no line has more than one point.

    Of the other of the two, only the largest value counts, for each submission.

    Parameters
    ----------
    table : pyarrow.Table
        Rows of a sweep.
    along : {"size", "fraction"}
    """
    table = largest(table, "fraction" if along == "size" else "size")
    along_axis = table[along].to_numpy()
    of_setting = grouped(table, ("task", *_NAMING))
    if not any(len(np.unique(along_axis[rows])) > 1 for rows in of_setting.values()):
        return None
    names = choose(table, _NAMING, figure=along)
    settings = {values: i for i, values in enumerate(names)}
    lines: dict[str, list[Line]] = {}
    for (task, *values), rows in of_setting.items():
        if (setting := settings.get(tuple(values))) is not None:
            lines.setdefault(task, []).append(_line(table.take(rows), along, setting))
    metrics = dict(zip(table["task"].to_pylist(), table["metric"].to_pylist(), strict=True))
    panels = (Panel(task, metrics[task], tuple(of_task)) for task, of_task in lines.items())
    return Chart(tuple(names.values()), tuple(panels))


def choose(table: pa.Table, naming: Sequence[str], *, figure: str) -> dict[tuple[Any, ...], str]:
    """Return the settings that are drawn, at most 8, and their names; each submission has as many, spread evenly.

    One line of the log names those that are not drawn.

    Parameters
    ----------
    table : pyarrow.Table
    naming : sequence of str
        Columns that make a setting, ``"submission"`` first. Those that are the same in all rows are not named.
    figure : str
        What the log calls the figure.
    """
    by_submission: dict[str, list[tuple[Any, ...]]] = {}
    for setting in grouped(table, naming):
        by_submission.setdefault(setting[0], []).append(setting)
    share = max(1, _MAX_LINES // max(1, len(by_submission)))
    some = [[settings[i] for i in _evenly(len(settings), share)] for settings in by_submission.values()]
    drawn = [setting for turn in zip_longest(*some) for setting in turn if setting is not None][:_MAX_LINES]
    differing = [key for key in naming if len(table[key].unique()) > 1] or ["submission"]

    def name(setting: tuple[Any, ...]) -> str:
        return describe(differing, dict(zip(naming, setting, strict=True)))

    if left_out := [
        name(setting) for settings in by_submission.values() for setting in settings if setting not in drawn
    ]:
        _log.info("figure %s: %d lines are drawn, without %s", figure, len(drawn), "; ".join(left_out))
    return {setting: name(setting) for setting in drawn}


def _evenly(count: int, most: int) -> list[int]:
    """Return at most so many indices, spread evenly, both ends among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()


def largest(table: pa.Table, column: str) -> pa.Table:
    """Return the rows in which `column` is as large as it gets for their submission."""
    values = table[column].to_numpy()
    rows = [rows[values[rows] == values[rows].max()] for rows in grouped(table, ("submission",)).values()]
    return table.take(np.sort(np.concatenate(rows))) if rows else table


def _line(table: pa.Table, along: str, setting: int) -> Line:
    x, place = np.unique(table[along].to_numpy().astype(np.float64), return_inverse=True)
    counts = np.bincount(place)

    def average(values: Floats) -> Floats:
        return np.bincount(place, weights=values) / counts

    mean, std, q, n_train = (table[name].to_numpy().astype(np.float64) for name in ("mean", "std", "q", "n_train"))
    centre = average(mean)
    spread = np.sqrt(average(std**2 + (mean - centre[place]) ** 2))
    return Line(setting, x, centre, spread, average(q), average(n_train))
