"""Scores along an axis: the mean with its spread over folds, and Q below it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastprobe.report.canvas import MAX_PANELS, STYLES, new_page
from fastprobe.report.labels import METRICS, percent
from fastprobe.report.scales import Q_UNIT, log_axis, octaves, score_axis, spaced
from fastprobe.report.series import Chart, Floats, Line, Panel

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["learning_figures", "legend_lines", "size_figures"]

_HEIGHTS = (1.5, 0.9)
_WHAT = "mean over the folds with a band of one standard deviation, and Q"
_MARKS = 8
_MAX_SHARES = 5


def size_figures(chart: Chart) -> Iterator[Figure]:
    """Yield figures of the score against the number of leading dimensions."""
    for figure, panels, stacks in _pages(chart, f"Score by size: {_WHAT}", foot=0.4):
        for panel, stack in zip(panels, stacks, strict=True):
            marks = octaves(np.concatenate([line.x for line in panel.lines]))
            log_axis(stack[-1], "x", marks, "dimensions")
        yield figure


def learning_figures(chart: Chart) -> Iterator[Figure]:
    """Yield figures of the score against the share of the training rows, with their number."""
    for figure, panels, stacks in _pages(chart, f"Score by training rows: {_WHAT}", foot=0.54):
        for panel, stack in zip(panels, stacks, strict=True):
            _share_axis(stack[-1], max(panel.lines, key=lambda line: len(line.x)))
        yield figure


def legend_lines(names: Sequence[str], *, markers: bool = True) -> list[tuple[Artist, str]]:
    """Return what stands for each setting in a legend, and its name."""
    from matplotlib.lines import Line2D

    artists = [
        Line2D([], [], color=style.color, linestyle=style.dashes, marker=style.marker if markers else "", markersize=4)
        for style in STYLES[: len(names)]
    ]
    return list(zip(artists, names, strict=True))


def _pages(chart: Chart, title: str, foot: float) -> Iterator[tuple[Figure, Sequence[Panel], list[list[Axes]]]]:
    for start in range(0, len(chart.panels), MAX_PANELS):
        panels = chart.panels[start : start + MAX_PANELS]
        figure, stacks = new_page(
            [panel.task for panel in panels], _HEIGHTS, title, legend_lines(chart.names), foot=foot
        )
        for panel, (above, below) in zip(panels, stacks, strict=True):
            _draw(above, below, panel)
        yield figure, panels, stacks


def _draw(above: Axes, below: Axes, panel: Panel) -> None:
    for line in panel.lines:
        color = STYLES[line.setting].color
        above.fill_between(line.x, line.mean - line.std, line.mean + line.std, color=color, alpha=0.13, linewidth=0)
        _curve(above, line, line.mean)
        _curve(below, line, line.q)
    means, stds, qs = (np.concatenate([getattr(line, name) for line in panel.lines]) for name in ("mean", "std", "q"))
    score_axis(above, means, METRICS.get(panel.metric, panel.metric), spread=stds)
    score_axis(below, qs, "Q", unit=Q_UNIT)


def _curve(axes: Axes, line: Line, y: Floats) -> None:
    style = STYLES[line.setting]
    (drawn,) = axes.plot(line.x, y, color=style.color, linestyle=style.dashes, linewidth=1.1)
    drawn.set(marker=style.marker, markersize=3.5, markevery=_marked(line, y))


def _marked(line: Line, y: Floats) -> list[int]:
    """Return which points get a marker: some along a logarithmic axis, and all that no line leads to.

    Those of each setting stand elsewhere, so that lines that lie on each other can be told apart.
    """
    x = np.log(line.x)
    if len(x) <= 2 * _MARKS:
        return list(range(len(x)))
    steps = (np.arange(_MARKS) + (line.setting + 0.5) / len(STYLES)) / _MARKS
    there = np.pad(np.isfinite(y), 1)
    alone = there[1:-1] & ~there[:-2] & ~there[2:]
    return sorted({*np.searchsorted(x, x[0] + steps * (x[-1] - x[0])).tolist(), *np.flatnonzero(alone).tolist()})


def _share_axis(axes: Axes, line: Line) -> None:
    """Name shares and numbers of rows on a logarithmic axis."""
    kept = spaced(line.x, _MAX_SHARES)
    labels = [f"{percent(line.x[i])}\n{line.n_train[i]:g}" for i in kept]
    log_axis(axes, "x", line.x[kept], "training rows of a fold", labels)
