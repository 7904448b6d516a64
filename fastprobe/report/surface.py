"""Maps of the mean score over size and strength."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastprobe.report.canvas import MAX_PANELS, new_page
from fastprobe.report.labels import METRICS, describe, shorten
from fastprobe.report.scales import floor_of, log_axis, octaves, spaced
from fastprobe.report.series import Floats, largest
from fastprobe.sweeps.keep import grouped

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Surface", "surface_figures", "surfaces"]

_log = logging.getLogger(__name__)

_OTHERS = ("order", "seed", "bits", "quantizer")
_HEIGHT = 1.9
_MAX_ALPHAS = 8


@dataclass(frozen=True)
class Surface:
    """Mean scores of one submission on one task, sizes (S,) x strengths (A,), both ascending.

    Attributes
    ----------
    submission, task, metric : str
    sizes, alphas : array of float
    means : array of float, shape (A, S)
        NaN where there is none.
    """

    submission: str
    task: str
    metric: str
    sizes: Floats
    alphas: Floats
    means: Floats

    @property
    def best(self) -> tuple[int, int] | None:
        """Row and column of the highest mean, the smallest size of several; None if there is none."""
        if not np.isfinite(self.means).any():
            return None
        column, row = np.unravel_index(np.nanargmax(self.means.T), self.means.T.shape)
        return int(row), int(column)


def surfaces(table: pa.Table) -> list[Surface]:
    """Return the surface of every submission on every task that has several sizes and several fixed strengths.

    Of several orders, seeds or widths in bits, the first that has a surface is taken, and one line of the log says so;
    of several shares of the training rows, the largest.

    Parameters
    ----------
    table : pyarrow.Table
        Rows of a sweep.
    """
    table = largest(table, "fraction")
    fixed = table.filter(table["alpha"].is_valid())
    found: dict[tuple[str, str], Surface] = {}
    passed_over: dict[str, None] = {}
    for (submission, task, *others), rows in grouped(fixed, ("submission", "task", *_OTHERS)).items():
        surface = _surface(submission, task, fixed.take(rows))
        if surface is None:
            continue
        if (submission, task) in found:
            passed_over[describe(_OTHERS, dict(zip(_OTHERS, others, strict=True)))] = None
        else:
            found[submission, task] = surface
    if passed_over:
        _log.info("surface: drawn for the first setting only, not for %s", "; ".join(passed_over))
    return list(found.values())


def surface_figures(maps: list[Surface]) -> Iterator[Figure]:
    """Yield figures of maps, lighter where the score is higher, the best cell marked."""
    several = len({surface.submission for surface in maps}) > 1
    for start in range(0, len(maps), MAX_PANELS):
        page = maps[start : start + MAX_PANELS]
        titles = [
            f"{shorten(surface.task, 24)}, {shorten(surface.submission, 14)}" if several else surface.task
            for surface in page
        ]
        title = "Mean score by size and alpha; the cross marks the best, grey is without a score"
        figure, stacks = new_page(titles, (_HEIGHT,), title, aside=0.45)
        for surface, (axes,) in zip(page, stacks, strict=True):
            _draw(figure, axes, surface)
        yield figure


def _surface(submission: str, task: str, table: pa.Table) -> Surface | None:
    sizes, column = np.unique(table["size"].to_numpy(), return_inverse=True)
    alphas, row = np.unique(table["alpha"].to_numpy(), return_inverse=True)
    if len(sizes) < 2 or len(alphas) < 2:
        return None
    means = np.full((len(alphas), len(sizes)), np.nan)
    means[row, column] = table["mean"].to_numpy()
    return Surface(submission, task, table["metric"][0].as_py(), sizes.astype(np.float64), alphas, means)


def _draw(figure: Figure, axes: Axes, surface: Surface) -> None:
    axes.set_facecolor("0.8")
    log_axis(axes, "x", octaves(surface.sizes), "dimensions")
    log_axis(axes, "y", surface.alphas[spaced(surface.alphas, _MAX_ALPHAS)], "alpha")
    edges = _edges(surface.sizes), _edges(surface.alphas)
    axes.set(xlim=edges[0][[0, -1]], ylim=edges[1][[0, -1]])
    best, metric = surface.best, METRICS.get(surface.metric, surface.metric)
    if best is None:
        axes.text(0.5, 0.5, "no score", transform=axes.transAxes, ha="center", va="center")
        return
    lowest, row, column = float(np.nanmin(surface.means)), *best
    low = max(lowest, floor_of(surface.means))
    image = axes.pcolormesh(*edges, np.ma.masked_invalid(surface.means), cmap="viridis", vmin=low, rasterized=True)
    box = axes.get_position()
    beside = figure.add_axes((box.x1 + 0.02 * box.width, box.y0, 0.03 * box.width, box.height))
    figure.colorbar(image, cax=beside, extend="min" if low > lowest else "neither")
    size, alpha = surface.sizes[column], surface.alphas[row]
    axes.plot(size, alpha, "x", color="black", markersize=7, markeredgewidth=1.4, clip_on=False)
    axes.set_xlabel(f"dimensions (best {metric} {surface.means[row, column]:.3f}: {size:g}, alpha {alpha:.3g})")


def _edges(centres: NDArray[np.float64]) -> Floats:
    """Return the borders of cells around points on a logarithmic axis."""
    logs = np.log(centres)
    between = (logs[1:] + logs[:-1]) / 2
    return np.exp(np.concatenate([[2 * logs[0] - between[0]], between, [2 * logs[-1] - between[-1]]]))
