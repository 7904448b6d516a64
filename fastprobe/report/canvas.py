"""Figures of small panels, each on a canvas of its own: placed in inches, and written as SVG and PNG.

Colour is never needed: lines differ in dashes and markers too, and maps get steadily lighter.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fastprobe.errors import InputError
from fastprobe.files import atomic_path
from fastprobe.report.labels import shorten

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["MAX_PANELS", "STYLES", "Style", "house_style", "new_page", "require_matplotlib", "save"]

_log = logging.getLogger(__name__)

MAX_PANELS = 12
"""Panels of one figure."""

_DPI = 150
_FONT = 8.0
_PANEL_WIDTH = 2.9
_MIN_WIDTH = 6.5
_LEFT, _RIGHT, _BOTTOM = 0.65, 0.15, 0.1
_GAP_ACROSS, _GAP_INSIDE = 0.65, 0.08
_TITLE_LINE, _NAME_LINE, _NAME_LEFT = 0.3, 0.15, 0.45
_TITLE, _LEGEND_LINE = 0.4, 0.2
_NAME_WIDTH = 40


@dataclass(frozen=True)
class Style:
    """How a line looks."""

    color: str
    dashes: tuple[float, tuple[float, ...]]
    marker: str


STYLES = (  # colours of Okabe and Ito, which colour-blind people can tell apart, from dark to light in grey
    Style("#000000", (0, ()), "o"),
    Style("#0072B2", (0, (5, 2)), "s"),
    Style("#D55E00", (0, (1, 1)), "^"),
    Style("#009E73", (0, (6, 2, 1, 2)), "D"),
    Style("#CC79A7", (0, (3, 1, 1, 1, 1, 1)), "v"),
    Style("#666666", (0, (10, 3)), "P"),
    Style("#56B4E9", (0, (2, 3)), "X"),
    Style("#E69F00", (0, (8, 1, 1, 1)), "*"),
)


def require_matplotlib(where: str) -> None:
    """Raise InputError if matplotlib is not installed; `where` is what asks for figures."""
    if find_spec("matplotlib") is None:
        raise InputError(
            where,
            found="no matplotlib to draw with",
            expected="matplotlib, which the extra 'report' brings",
            fix="run: pip install 'fastprobe[report]'",
        )


@contextmanager
def house_style() -> Iterator[None]:
    """Let figures that are made and saved in the block look the same everywhere, whatever the user's settings are.

    Settings are matplotlib's only global state here; they are as before when the block ends.
    """
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "fastprobe", "font.size": _FONT})
        mpl.rcParams.update({"axes.linewidth": 0.6, "axes.titlesize": _FONT + 1, "hatch.linewidth": 0.4})
        yield


def new_page(
    titles: Sequence[str],
    heights: Sequence[float],
    title: str,
    legend: Sequence[tuple[Artist, str]] = (),
    *,
    foot: float = 0.4,
    aside: float = 0.0,
) -> tuple[Figure, list[list[Axes]]]:
    """Return a figure of panels with their axes.

    Parameters
    ----------
    titles : sequence of str
        Of the panels, at most :data:`MAX_PANELS`.
    heights : sequence of float
        A panel is a stack of axes of these heights in inches, the highest first; they share their x axis.
    title : str
        Of the figure.
    legend : sequence of (Artist, str)
        What stands for each setting, and its name.
    foot : float
        Inches under a panel, for the marks of its x axis and its name.
    aside : float
        Inches that stay free to the right of a panel.

    Returns
    -------
    figure : Figure
    axes : list of list of Axes
        For every panel its stack.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns, rows = _grid(len(titles))
    room = _MIN_WIDTH - _LEFT - _RIGHT - (columns - 1) * _GAP_ACROSS
    panel_width = max(_PANEL_WIDTH, room / columns - aside)
    step = panel_width + aside + _GAP_ACROSS
    panel_height = sum(heights) + (len(heights) - 1) * _GAP_INSIDE
    names = [shorten(name, _NAME_WIDTH) for _, name in legend]
    width = _LEFT + columns * step - _GAP_ACROSS + _RIGHT
    across = max(1, int((width - _LEFT) / (0.9 + 0.065 * max(map(len, names), default=0))))
    top = _TITLE + _LEGEND_LINE * math.ceil(len(names) / across)
    height = top + rows * (_TITLE_LINE + panel_height + foot) + _BOTTOM
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    figure.text(_LEFT / width, 1 - 0.12 / height, title, va="top", size=_FONT + 2, parse_math=False)
    if names:
        _add_legend(figure, [artist for artist, _ in legend], names, across)
    stacks = []
    for i, panel_title in enumerate(titles):
        row, column = divmod(i, columns)
        x = _LEFT + column * step
        y = height - top - _TITLE_LINE - row * (_TITLE_LINE + panel_height + foot)
        stack: list[Axes] = []
        for axes_height in heights:
            y -= axes_height
            place = (x / width, y / height, panel_width / width, axes_height / height)
            axes = figure.add_axes(place, sharex=stack[0] if stack else None)
            # Names of axes stand where they always do: finding out how wide the marks are takes as long as drawing.
            axes.yaxis.set_label_coords(-_NAME_LEFT / panel_width, 0.5)
            axes.xaxis.set_label_coords(0.5, (_NAME_LINE - foot) / axes_height)
            axes.tick_params(labelbottom=len(stack) + 1 == len(heights))
            stack.append(axes)
            y -= _GAP_INSIDE
        stack[0].set_title(shorten(panel_title, _NAME_WIDTH), loc="left", parse_math=False, y=1, pad=4)
        stacks.append(stack)
    return figure, stacks


def save(figure: Figure, folder: Path, stem: str) -> list[Path]:
    """Write a figure as ``stem.svg`` and ``stem.png``, each atomically, and return their paths.

    The same figure gives the same bytes: no date is written.
    """
    paths = []
    for format_, metadata in (("svg", {"Date": None}), ("png", {"Software": None})):
        path = folder / f"{stem}.{format_}"
        with atomic_path(path) as temporary, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            figure.savefig(temporary, format=format_, dpi=_DPI, metadata=metadata)
        for message in dict.fromkeys(str(warning.message) for warning in caught):
            _log.warning("%s: %s", path.name, message)
        paths.append(path)
    return paths


def _grid(count: int) -> tuple[int, int]:
    """Return how many panels stand side by side, and in how many rows."""
    columns = 2 if count == 4 else min(count, 3 if count <= 9 else 4)
    return columns, math.ceil(count / columns)


def _add_legend(figure: Figure, artists: Sequence[Artist], names: Sequence[str], across: int) -> None:
    width, height = figure.get_size_inches()
    place = (_LEFT / width, 1 - _TITLE / height)
    keys = [str(i) for i in range(len(names))]  # matplotlib leaves out names that begin with an underscore
    legend = figure.legend(
        artists,
        keys,
        loc="upper left",
        bbox_to_anchor=place,
        ncols=across,
        frameon=False,
        borderaxespad=0,
        borderpad=0,
        handlelength=4,
        columnspacing=1.5,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_text(name)
        text.set_parse_math(False)
