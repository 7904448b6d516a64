"""Rate and distortion: the mean score against the bytes of a stored sample, and the frontier of the best."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from fastprobe.report.canvas import MAX_PANELS, STYLES, new_page
from fastprobe.report.labels import METRICS
from fastprobe.report.lines import legend_lines
from fastprobe.report.scales import log_axis, octaves, score_axis, spaced
from fastprobe.report.series import choose
from fastprobe.sweeps.keep import Frontier, frontier, grouped

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["frontier_figures"]

_HEIGHT = 1.9
_MARKS = 8
_MANY = 500


def frontier_figures(table: pa.Table) -> Iterator[Figure]:
    """Yield figures of all scores with all training rows, and of the frontier of each submission.

    Nothing is drawn where no submission has scores at several numbers of bytes.

    Parameters
    ----------
    table : pyarrow.Table
        Rows of a sweep.
    """
    table = table.filter(pc.and_(pc.equal(table["fraction"], 1.0), pc.is_valid(table["mean"])))
    clouds = grouped(table, ("task", "submission"))
    bytes_ = table["bytes_per_sample"].to_numpy()
    if not any(len(np.unique(bytes_[rows])) > 1 for rows in clouds.values()):
        return
    submissions = choose(table, ("submission",), figure="frontier")
    widths = sorted(table["bits"].drop_null().unique().to_pylist(), reverse=True)
    markers = {bits: style.marker for bits, style in zip(widths, STYLES, strict=False)} if len(widths) > 1 else {}
    legend = legend_lines([*submissions.values()], markers=not markers) + _bits_legend(markers)
    fronts = {(front.task, front.submission): front for front in frontier(table)}
    tasks = [*dict.fromkeys(task for task, name in clouds if (name,) in submissions)]
    for start in range(0, len(tasks), MAX_PANELS):
        page = tasks[start : start + MAX_PANELS]
        title = "Mean score by bytes of a sample: all scores, and the frontier of the best"
        figure, stacks = new_page(page, (_HEIGHT,), title, legend)
        for task, (axes,) in zip(page, stacks, strict=True):
            there = {i: (task, name) for i, (name,) in enumerate(submissions) if (task, name) in clouds}
            rows = np.concatenate([clouds[key] for key in there.values()])
            for setting, key in there.items():
                _draw_points(axes, setting, table.take(clouds[key]))
            for setting, key in there.items():
                _draw_frontier(axes, setting, table, fronts[key], markers, bytes_[clouds[key]].max())
            metric = table["metric"][int(rows[0])].as_py()
            score_axis(axes, table["mean"].to_numpy()[rows], METRICS.get(metric, metric))
            marks = octaves(bytes_[rows].astype(np.float64))
            log_axis(axes, "x", marks, "bytes of a sample")
        yield figure


def _bits_legend(markers: dict[int, str]) -> list[tuple[Artist, str]]:
    from matplotlib.lines import Line2D

    drawn = {bits: Line2D([], [], color="0.3", linestyle="", marker=m, markersize=4) for bits, m in markers.items()}
    return [(artist, f"{bits} {'bit' if bits == 1 else 'bits'}") for bits, artist in drawn.items()]


def _draw_points(axes: Axes, setting: int, cloud: pa.Table) -> None:
    """Draw all scores as dots; very many become a picture inside the SVG, which would be large otherwise."""
    x, y = cloud["bytes_per_sample"].to_numpy(), cloud["mean"].to_numpy()
    color, many = STYLES[setting].color, len(x) > _MANY
    size, alpha = (2, 0.35) if many else (3.5, 0.6)
    axes.plot(x, y, ".", color=color, markersize=size, markeredgewidth=0, alpha=alpha, rasterized=many)


def _draw_frontier(
    axes: Axes, setting: int, table: pa.Table, front: Frontier, markers: dict[int, str], end: int
) -> None:
    """Draw the frontier up to `end` bytes, and on some of its points the width in bits."""
    style = STYLES[setting]
    x, y = np.array([*front.bytes_per_sample, end], dtype=np.float64), np.array([*front.mean, front.mean[-1]])
    axes.step(x, y, where="post", color=style.color, linestyle=style.dashes, linewidth=1.2)
    some = spaced(x[:-1], _MARKS)
    bits = table["bits"].take(np.array(front.rows)[some]).to_numpy()
    shapes = [(marker, some[bits == width]) for width, marker in markers.items()] or [(style.marker, some)]
    for marker, points in shapes:
        axes.plot(x[points], y[points], marker=marker, color=style.color, markersize=4, linestyle="")
