"""Scales of axes: logarithmic ones with few, round marks, and scores without what lies far below zero."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fastprobe.report.series import Floats

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Q_UNIT", "floor_of", "log_axis", "octaves", "score_axis", "spaced"]

_SCORE_UNIT = 0.25
Q_UNIT = 5.0
"""How far below zero a scale of Q goes."""

_MAX_TICKS = 6


def spaced(values: Floats, most: int) -> NDArray[np.intp]:
    """Return which of some ascending values stand far enough from each other on a logarithmic axis.

    Parameters
    ----------
    values : array of float
        Above 0. The last is always among those that are returned.
    most : int
        At most so many, and two of them are at least ``1 / most`` of the axis apart.
    """
    logs = np.log(values)
    room = (logs[-1] - logs[0]) / most
    kept = [len(logs) - 1]
    for i in range(len(logs) - 2, -1, -1):
        if logs[kept[-1]] - logs[i] > room:
            kept.append(i)
    return np.array(kept[::-1], dtype=np.intp)


def octaves(values: Floats) -> Floats:
    """Return marks for a logarithmic axis: powers of two, or some of the values where they span less."""
    different = np.unique(values)
    low, high = math.ceil(math.log2(different[0])), math.floor(math.log2(different[-1]))
    if high - low < 2:
        return different[spaced(different, _MAX_TICKS)]
    step = math.ceil((high - low + 1) / _MAX_TICKS)
    return np.array([2.0**power for power in range(high, low - 1, -step)][::-1])


def log_axis(
    axes: Axes, which: Literal["x", "y"], marks: Floats, name: str, labels: Sequence[str] | None = None
) -> None:
    """Make the x or the y axis logarithmic, with these marks and no others.

    Parameters
    ----------
    axes : Axes
    which : {"x", "y"}
    marks : array of float
    name : str
        Of the axis.
    labels : sequence of str or None
        What is written at the marks; None for their values.
    """
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(FixedLocator(marks.tolist()))
    axis.set_major_formatter(FixedFormatter([f"{mark:g}" for mark in marks] if labels is None else labels))
    axis.set_minor_locator(NullLocator())
    axis.set_label_text(name)


def score_axis(
    axes: Axes, values: Floats, name: str, *, spread: Floats | float = 0.0, unit: float = _SCORE_UNIT
) -> None:
    """Give `axes` a y axis that scores fit on, or say that there are none.

    Parameters
    ----------
    axes : Axes
    values : array of float
        NaN for those that are missing.
    name : str
        Of the axis.
    spread : array of float or float
        Of each value, to both sides.
    unit : float
        How far below zero the axis goes; see :func:`floor_of`.
    """
    axes.set_ylabel(name)
    axes.grid(visible=True, linewidth=0.4, color="0.85")
    axes.set_axisbelow(True)
    if not np.isfinite(values).any():
        axes.text(0.5, 0.5, "no score", transform=axes.transAxes, ha="center", va="center")
        axes.set_yticks([])
        return
    low, high = max(float(np.nanmin(values - spread)), floor_of(values, unit)), float(np.nanmax(values + spread))
    margin = 0.05 * (high - low) or 0.05
    axes.set_ylim(low - margin, high + margin)
    if np.nanmin(values) < low:
        box = {"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8}
        axes.text(0.02, 0.04, "lower scores are cut off", transform=axes.transAxes, size="x-small", bbox=box)


def floor_of(values: Floats, unit: float = _SCORE_UNIT) -> float:
    """Return what a scale of scores need not go below: `unit` below zero, or below the best where that is negative.

    A probe with too weak a penalty may score thousands below zero; on a scale that shows that, nothing else is seen.
    """
    return min(float(np.nanmax(values)), 0.0) - unit
