"""The figures of ``enable_plots``: loss curves, and per fold the regression scatter or the confusion matrix.

They have the places and names of NeuCo-Bench's, and show what those show; lines, markers and numbers tell things apart,
not only colours. Each is drawn on a canvas of its own, so no state is shared with a program that uses matplotlib too.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastprobe.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fastprobe.probes.neuco import Curves, TaskReplay

__all__ = ["draw", "require_matplotlib"]

_log = logging.getLogger(__name__)

_DPI = 150


def require_matplotlib(where: str) -> None:
    """Raise InputError if matplotlib is not installed; `where` is the place of ``enable_plots``."""
    if find_spec("matplotlib") is None:
        raise InputError(
            where,
            found="true, but no matplotlib to draw with",
            expected="matplotlib, which the extra 'report' brings",
            fix="run: pip install 'fastprobe[report]', or set enable_plots: false",
        )


def draw(result: TaskReplay, folder: Path, prefix: str) -> None:
    """Draw a task.

    Parameters
    ----------
    result : TaskReplay
        With curves.
    folder : Path
        Of the run; figures go to ``<task>/loss_curves``, ``<task>/regression_scatter`` and
        ``<task>/confusion_matrices`` in it.
    prefix : str
        Begins the names of the figures of folds: NeuCo-Bench takes the stem of the submission file.
    """
    curves, task = result.curves, result.task
    assert curves is not None, "a replay with curves=True"
    for name, losses in (("train", curves.train_loss), ("validation", curves.val_loss)):
        path = folder / task.name / "loss_curves" / f"{task.name}_{name}_loss_curves.png"
        _save(_losses(losses, f"Loss curves: {task.name} ({name})"), path)
    for k, best in enumerate(result.best.tolist()):
        if best < 0:
            _log.warning("%s, fold %d: no figure, for no epoch has a score", task.name, k + 1)
            continue
        title = f"{task.name}, fold {k + 1}, epoch {best + 1}"
        if task.kind == "regression":
            path = folder / task.name / "regression_scatter" / f"{prefix}_{task.name}_scatter_fold{k + 1}.png"
            _save(_scatter(result, curves, k, title), path)
        else:
            path = folder / task.name / "confusion_matrices" / f"{prefix}_{task.name}_cm_fold{k + 1}.png"
            _save(_confusion(task.y[curves.trained[k]], curves.fitted[k], title), path)


def _figure(title: str, height: float) -> tuple[Figure, Axes]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, height))  # fixed margins: laying out anew would take as long as drawing
    FigureCanvasAgg(figure)
    axes = figure.subplots(gridspec_kw={"left": 0.15, "right": 0.95, "bottom": 0.22, "top": 0.92})
    axes.set_title(title, parse_math=False, fontsize="medium")
    return figure, axes


def _add_legend(axes: Axes) -> None:
    """Put the legend below the axes, where it hides nothing, and where no best place has to be searched for."""
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=3, frameon=False)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=_DPI)


def _losses(losses: NDArray[np.float32], title: str) -> Figure:
    """Draw every fold as a thin line, and their median as a thick one with markers."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = _figure(title, 4)
    epochs = np.arange(1, losses.shape[1] + 1)
    axes.plot(epochs, losses.T, color="0.6", linewidth=0.7)
    axes.plot(epochs, np.median(losses, axis=0), color="black", linewidth=2, marker="o", label="median of the folds")
    axes.set_xlabel("Epoch")
    axes.set_ylabel("Loss")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(visible=True, alpha=0.3)
    _add_legend(axes)
    return figure


def _scatter(result: TaskReplay, curves: Curves, k: int, title: str) -> Figure:
    """Draw predictions over labels, of training samples at the time of their step, and of held-out ones."""
    y = result.task.y
    figure, axes = _figure(title, 5)
    trained, held_out = y[curves.trained[k]], y[result.held_out[k]]
    axes.plot(trained, curves.fitted[k], "o", color="0.6", markersize=3, alpha=0.5, label="Train")
    axes.plot(held_out, result.predictions[k], "x", color="tab:blue", markersize=6, label="Validation")
    bounds = [y.min(), y.max()]
    axes.plot(bounds, bounds, "--", color="black", label="True = predicted")
    axes.set_xlabel("True values")
    axes.set_ylabel("Predicted values")
    _add_legend(axes)
    return figure


def _confusion(y: NDArray[np.float32], logits: NDArray[np.float32], title: str) -> Figure:
    """Draw the counts of the training samples, at the time of their step: that is what NeuCo-Bench shows."""
    truth, guess = (y == 1).astype(int), (logits > 0).astype(int)
    counts = np.bincount(2 * truth + guess, minlength=4).reshape(2, 2)
    figure, axes = _figure(f"{title} (training samples)", 5)
    image = axes.imshow(counts, cmap="Blues", vmin=0)
    figure.colorbar(image, ax=axes)
    for (row, column), count in np.ndenumerate(counts):
        dark = count > counts.max() / 2
        axes.text(column, row, str(count), ha="center", va="center", color="white" if dark else "black", size="x-large")
    axes.set_xticks([0, 1])
    axes.set_yticks([0, 1])
    axes.set_xlabel("Predicted label")
    axes.set_ylabel("True label")
    return figure
