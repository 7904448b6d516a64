"""The figures of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from fastprobe.report.canvas import house_style, require_matplotlib, save
from fastprobe.report.distortion import frontier_figures
from fastprobe.report.lines import learning_figures, size_figures
from fastprobe.report.series import chart
from fastprobe.report.surface import surface_figures, surfaces

if TYPE_CHECKING:
    import pyarrow as pa
    from matplotlib.figure import Figure

__all__ = ["draw_sweep"]


def draw_sweep(table: pa.Table, folder: Path) -> list[Path]:
    """Draw what a sweep shows, each figure as SVG and PNG; only those that the table has the rows for.

    ``size`` has mean score and Q against the number of leading dimensions, ``surface`` a map of the mean score over
    sizes and fixed strengths, ``frontier`` the mean score against the bytes of a sample, ``learning`` mean score and Q
    against the share of the training rows. A figure has a panel for each of 12 tasks; further ones are numbered
    (``size-2.svg``).

    Parameters
    ----------
    table : pyarrow.Table
        Rows of a sweep, with the columns of :data:`fastprobe.sweeps.table.SCHEMA`.
    folder : Path
        Where the files go; it is made if it is not there.

    Returns
    -------
    list of Path
        The files, in the order in which they were written.

    Raises
    ------
    InputError
        If matplotlib is not installed.

    Notes
    -----
    Several seeds of a random order are one line: the mean over seeds, with the spread over the folds of all of them.
    The same table gives the same files, byte for byte, with the same version of matplotlib.
    """
    require_matplotlib("figures of the sweep")
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with house_style():
        for stem, figures in _figures(table):
            for i, figure in enumerate(figures, start=1):
                paths += save(figure, folder, stem if i == 1 else f"{stem}-{i}")
    return paths


def _figures(table: pa.Table) -> Iterator[tuple[str, Iterator[Figure]]]:
    if (by_size := chart(table, "size")) is not None:
        yield "size", size_figures(by_size)
    yield "surface", surface_figures(surfaces(table))
    yield "frontier", frontier_figures(table)
    if (by_share := chart(table, "fraction")) is not None:
        yield "learning", learning_figures(by_share)
