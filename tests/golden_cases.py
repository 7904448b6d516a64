"""Inputs of the golden runs: small files that bring out every behaviour of NeuCo-Bench's linear probe.

Made by code, the same on every machine: whole numbers of a seeded ``RandomState`` divided by powers of two, and the
Landsat data that ships with the package. Nothing here rounds, so no BLAS and no SIMD width can change a bit, and every
number is a short decimal that all CSV readers agree on. ``golden/`` holds what NeuCo-Bench answers (see
``make_golden.py``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe import demo

Ints = NDArray[np.int64]
Column = Sequence[object]

EXACT = 128
"""Whole numbers are divided by this power of two."""


@dataclass(frozen=True)
class Inputs:
    """The texts of the files of a run."""

    submission: str
    labels: dict[str, str]  # by file name
    exclude: str | None = None


@dataclass(frozen=True)
class Paths:
    """The files of a run; `exclude` is None where the run has none."""

    labels: Path
    submission: Path
    config: Path
    exclude: Path | None


@dataclass(frozen=True)
class Case:
    """A run of NeuCo-Bench: why it is there, its inputs, and its config."""

    name: str
    why: str
    make: Callable[[], Inputs]
    config: dict[str, Any] = field(repr=False)

    def write(self, folder: Path) -> Paths:
        """Write the files into `folder`, which must be empty."""
        inputs = self.make()
        exclude = None if inputs.exclude is None else folder / "exclude.txt"
        paths = Paths(folder / "labels", folder / "team.csv", folder / "config.yaml", exclude)
        paths.labels.mkdir()
        texts = {paths.labels / name: text for name, text in inputs.labels.items()}
        texts |= {paths.submission: inputs.submission, paths.config: json.dumps(self.config)}  # JSON is YAML
        if exclude is not None:
            texts[exclude] = inputs.exclude
        for path, text in texts.items():
            path.write_text(text, encoding="utf-8", newline="")
        return paths

    @property
    def digest(self) -> str:
        """Hash of all inputs: a golden run belongs to these and no others."""
        inputs = self.make()
        text = json.dumps([inputs.submission, inputs.labels, inputs.exclude, self.config], sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def config(
    folds: int = 5, epochs: int = 3, batch: int = 64, learning_rate: float = 0.01, **others: Any
) -> dict[str, Any]:
    """Return a whole config of NeuCo-Bench."""
    return {
        "k_folds": folds,
        "probe_type": "linear",
        "probe_params": {"batch_size": batch, "epochs": epochs, "learning_rate": learning_rate, "device": "cpu"},
        "embedding_dim": None,
        "standardize_embeddings": True,
        "normalize_labels": True,
        "enable_plots": False,
        "update_leaderboard": False,
        "output_fold_results": True,
        "store_probes": False,
        "task_filter": None,
    } | others


# --- building blocks ------------------------------------------------------------------------------------------------


def whole(seed: int, *shape: int, within: int = 256) -> Ints:
    """Whole numbers from -within to within."""
    return np.random.RandomState(seed).randint(-within, within + 1, size=shape).astype(np.int64)


def names(n: int, start: int = 0) -> list[str]:
    return [f"s{i:04d}" for i in range(start, start + n)]


def csv(columns: dict[str, Column]) -> str:
    rows = zip(*columns.values(), strict=True)
    return "".join(",".join(map(str, row)) + "\n" for row in (columns, *rows))


def exact(x: Ints) -> list[Any]:
    return (x / EXACT).tolist()


def embedding(ids: Column, x: Ints) -> str:
    """A submission with the columns id, 0, 1, ..."""
    return csv({"id": ids} | {str(j): exact(column) for j, column in enumerate(x.T)})


def labels(ids: Column, y: Column) -> str:
    return csv({"id": ids, "label": y})


def mixture(x: Ints, seed: int = 7, noise: int = 200) -> Ints:
    """A quantity that a linear probe finds in part: a weighted sum of the first four columns, and noise."""
    weights = np.array([5, -3, 2, 1])[: x.shape[1]]
    return (x[:, :4] * weights).sum(axis=1) + whole(seed, len(x), within=noise)


def two_tasks(ids: Column, x: Ints) -> dict[str, str]:
    """Labels of a regression and of a classification, the second on fewer samples."""
    y, fewer = mixture(x), len(x) - len(x) // 8
    return {
        "height__regression.csv": labels(ids, exact(y)),
        "wet__classification.csv": labels(ids[:fewer], (y[:fewer] > 100).astype(int).tolist()),
    }


def plain(n: int = 150, d: int = 8, seed: int = 1) -> Callable[[], Inputs]:
    def make() -> Inputs:
        x = whole(seed, n, d)
        return Inputs(embedding(names(n), x), two_tasks(names(n), x))

    return make


def regression(x: Ints, y: Column, scale: int = EXACT) -> Inputs:
    """One regression task, the features divided by `scale`."""
    columns = {str(j): (column / scale).tolist() for j, column in enumerate(x.T)}
    return Inputs(csv({"id": names(len(x))} | columns), {"height__regression.csv": labels(names(len(x)), y)})


def classification(x: Ints, y: Column, scale: int = EXACT) -> Inputs:
    inputs = regression(x, y, scale)
    return Inputs(inputs.submission, {"wet__classification.csv": inputs.labels["height__regression.csv"]})


# --- Landsat --------------------------------------------------------------------------------------------------------


@cache
def scene() -> demo.Scene:
    """Every 16th neighbourhood of the Landsat scene: 403 of them."""
    full = demo.load_scene()
    return demo.Scene(full.ids[::16], full.pixels[::16], full.cover[::16], full.cover_names)


def landsat(embed: Callable[[Any], Any], sizes: dict[str, int]) -> Callable[[], Inputs]:
    """Make an embedding of the scene, and some of the demonstration's tasks on their first `sizes` samples."""

    def make() -> Inputs:
        x = embed(scene().ring)
        columns = {str(j): column.tolist() for j, column in enumerate(x.T)}
        texts = {}
        for task in demo.demo_benchmark(scene()).tasks:
            if n := sizes.get(task.name):
                texts[f"{task.name}__{task.kind}.csv"] = labels(task.ids[:n], task.y[:n].tolist())
        return Inputs(csv({"id": scene().ids} | columns), texts)

    return make


COVERS = {"is_grey_soil": 400, "is_red_soil": 320, "band_red": 250, "band_infrared2": 180}
ALL_TEN = {
    "band_green": 120,
    "band_infrared1": 140,
    "band_infrared2": 160,
    "band_red": 180,
    "is_cotton_crop": 200,
    "is_damp_grey_soil": 220,
    "is_grey_soil": 240,
    "is_red_soil": 260,
    "is_vegetation_stubble": 280,
    "is_very_damp_grey_soil": 300,
}


# --- labels ---------------------------------------------------------------------------------------------------------


def constant_labels() -> Inputs:
    """A task of one value, then others; one of them on labels that float32 cannot tell apart before they are scaled."""
    x = whole(2, 100, 6)
    made = two_tasks(names(100), x)
    made["flat__regression.csv"] = labels(names(100), [3.5] * 100)
    made["large__regression.csv"] = labels(names(100), (2**27 + mixture(x) // EXACT).tolist())
    return Inputs(embedding(names(100), x), made)


def nearly_constant_labels() -> Inputs:
    """Features so small that the probe is a constant, its bias; labels of three kinds of nearly constant."""
    n = 100
    x = whole(3, n, 64, within=4)
    few = whole(4, n) > 230
    columns = {str(j): (column / 2**16).tolist() for j, column in enumerate(x.T)}
    tasks = {
        "five": 5 + (whole(5, n) > 0) / 2**10,  # total sum of squares below 1e-4, residual above: 0
        "nought": (whole(6, n) > 0) / 2**10,  # residual soon below 1e-4: 1
        "outliers": few / 2,  # by fold: with an outlier among the held-out samples, or without
    }
    texts = {f"{name}__regression.csv": labels(names(n), y.tolist()) for name, y in tasks.items()}
    return Inputs(csv({"id": names(n)} | columns), texts)


def far_from_zero() -> Inputs:
    """Labels whose total sum of squares loses most of its digits, or all, in float32.

    Squares and their sums are whole numbers below 2^24, exact in whatever order they are added up; the last operations
    of the formula are not.
    """
    x = whole(8, 70, 5)
    near, far = 300 + whole(9, 70, within=1), 1540 + whole(10, 70, within=1)
    texts = {
        "far__regression.csv": labels(names(70), far.tolist()),
        "near__regression.csv": labels(names(70), near.tolist()),
    }
    return Inputs(embedding(names(70), x), texts)


def logits_in_unit_interval() -> Inputs:
    """One feature between 0 and 1: an untrained probe's outputs lie in [0, 1] in about a quarter of the folds."""
    x = np.abs(whole(12, 120, 1))
    return classification(x, (x[:, 0] > 128).astype(int).tolist(), scale=256)


def rare_and_separable() -> Inputs:
    """A class of five samples, which are not among the held-out samples of every fold, and one that is set apart."""
    x = whole(13, 120, 4, within=64)
    apart = whole(14, 120) > 0
    x[:, 0] += np.where(apart, 512, -512)
    found = mixture(x[:, 1:])
    texts = {
        "rare__classification.csv": labels(names(120), (found >= np.sort(found)[-5]).astype(int).tolist()),
        "separable__classification.csv": labels(names(120), apart.astype(int).tolist()),
    }
    return Inputs(embedding(names(120), x), texts)


def spellings() -> Inputs:
    """Classes that are not 0 and 1, other names of the kinds, and tasks whose order is that of code points."""
    x = whole(15, 100, 5)
    y = mixture(x)
    texts = {
        "a2__classification.csv": labels(names(100), np.where(y > 0, 2, 1).tolist()),
        "a10__CLS.csv": labels(names(100), np.where(y > 0, 1.0, -1.0).tolist()),
        "Z__regr.csv": labels(names(100), exact(y)),
        "_b__Regression.csv": labels(names(100), exact(-y)),
    }
    return Inputs(embedding(names(100), x), texts)


# --- submissions ----------------------------------------------------------------------------------------------------


def broken_cells() -> Inputs:
    """Empty cells, NaN in several spellings, and text; a column of nothing but text."""
    x = whole(17, 90, 5)
    columns: dict[str, list[object]] = {str(j): exact(column) for j, column in enumerate(x.T)}
    for row, column, cell in ((3, "0", ""), (9, "1", "NaN"), (10, "1", "NA"), (20, "2", "cloud"), (21, "2", "null")):
        columns[column][row] = cell
    columns["3"] = ["cloud"] * 90
    return Inputs(csv({"id": names(90)} | columns), two_tasks(names(90), x))


def repeated_ids_in_submission() -> Inputs:
    """Eight ids stand in the submission twice or three times, with other values and far apart."""
    x = whole(20, 100, 4)
    ids = names(90) + [f"s{i:04d}" for i in (3, 50, 7, 3, 11, 80, 2, 61, 89, 0)]
    return Inputs(embedding(ids, x), two_tasks(names(90), x[:90]))


def repeated_ids_in_labels() -> Inputs:
    """Ids that stand twice in one label file, some of them twice in the submission too."""
    x = whole(21, 95, 4)
    ids = names(90) + [f"s{i:04d}" for i in (4, 30, 5, 60, 44)]
    order = [*range(90), 4, 5, 6, 30, 31]
    y = exact(mixture(x))
    return Inputs(embedding(ids, x), {"height__regression.csv": labels([ids[i] for i in order], [y[i] for i in order])})


def partial_overlap() -> Inputs:
    """Rows without label, labels without embedding, and embeddings without label, which must not count in the scale."""
    x = whole(22, 130, 4)
    x[90:] *= 64
    y = exact(mixture(x))
    order = np.random.RandomState(22).permutation(105).tolist()  # of the label file: the last 15 have no embedding
    ids = [*names(90), *names(15, start=200)]
    cells = ["" if i % 7 == 3 else y[i] for i in range(105)]
    texts = {
        "height__regression.csv": labels([ids[i] for i in order], [cells[i] for i in order]),
        "wet__classification.csv": labels(names(60, start=30), [int(value > 0) for value in y[30:90]]),
    }
    return Inputs(embedding(names(130), x), texts)


def shuffled_columns() -> Inputs:
    """Ids that are numbers, in the last column; numbered columns out of order, and others that do not count."""
    x = whole(23, 90, 12)
    draw = np.random.RandomState(23)
    ids = (draw.permutation(90) + 7).tolist()
    columns: dict[str, Column] = {str(j): exact(x[:, j]) for j in draw.permutation(12).tolist()}
    columns = {"cloud": exact(9 * x[:, 0])} | columns | {"x12": ["high"] * 90, "id": ids}
    return Inputs(csv(columns), two_tasks(ids, x))


def named_columns() -> Inputs:
    """No numbered column: all columns count, in the order of the file, text as zero."""
    x = whole(24, 90, 4)
    columns = dict(zip(("red", "blue", "site", "green"), map(exact, x.T), strict=True)) | {"site": ["high"] * 90}
    return Inputs(csv({"id": names(90)} | columns), two_tasks(names(90), x))


def large_mean() -> Inputs:
    """Values about 30000, drawn such that the float32 mean depends on the order of summation."""
    x = whole(33, 150, 6, within=128)
    return Inputs(embedding(names(150), x + 30000 * EXACT), two_tasks(names(150), x))


def constant_embedding() -> Inputs:
    x = np.full((80, 4), 96)
    return Inputs(embedding(names(80), x), two_tasks(names(80), whole(27, 80, 4)))


def excluded() -> Inputs:
    """Ids with suffixes that they lose, wherever these stand, and a file of ids to leave out."""
    x = whole(28, 100, 4)
    suffixes = (".zarr.zip", ".zarr", "", ".zarr.zip")
    ids = [name + suffixes[i % 4] for i, name in enumerate(names(100))]
    ids[5] = "s0.zarr005"
    unwanted = [*names(12, start=40), "", "  s0007  ", "unknown"]
    return Inputs(embedding(ids, x), two_tasks(names(100), x), exclude="\n".join(unwanted) + "\n")


_CASES = (
    # Landsat
    Case("landsat-means", "four tasks of different sizes", landsat(demo.band_means, COVERS),
         config(10, 10, learning_rate=0.001)),
    Case("landsat-filter", "tasks left out draw nothing: other scores than above", landsat(demo.band_means, COVERS),
         config(10, 10, learning_rate=0.001, task_filter=["is_red_soil", "band_red"])),
    Case("landsat-probes", "stored probes draw more: the later tasks change", landsat(demo.band_means, COVERS),
         config(3, 5, learning_rate=0.001, store_probes=True)),
    Case("landsat-neighbours", "ten tasks", landsat(demo.neighbours, ALL_TEN), config()),
    Case("landsat-padded", "padding to 1024", landsat(demo.neighbours, {"band_red": 150, "is_grey_soil": 200}),
         config(3, 3, embedding_dim=1024)),
    Case("landsat-pixels", "large features as they are",
         landsat(demo.neighbours, {"band_green": 200, "is_cotton_crop": 300}),
         config(standardize_embeddings=False)),
    # settings
    Case("folds-40", "forty folds", plain(80), config(40, 3)),
    Case("hardly-trained", "3 folds, one epoch, a small learning rate", plain(), config(3, 1, learning_rate=0.0001)),
    Case("well-trained", "the best epoch is not the last", plain(), config(10, 20, batch=16, learning_rate=0.05)),
    Case("learning-rate-1", "the best epoch is any", plain(), config(10, 10, learning_rate=1.0)),
    Case("batch-16", "small batches", plain(140), config(5, 10, batch=16)),
    Case("batch-100", "batches of a size that is no power of two", plain(300), config(5, 5, batch=100)),
    Case("batch-beyond-n", "all samples in one batch", plain(), config(5, 10, batch=4096)),
    # sizes
    Case("dimensions-1", "D = 1", plain(d=1), config()),
    Case("dimensions-7", "D = 7", plain(d=7), config()),
    Case("dimensions-33", "D = 33", plain(d=33), config()),
    Case("dimensions-1024", "D = 1024", plain(60, 1024), config(3, 3)),
    Case("samples-20", "two held-out samples in a fold", plain(20, 4), config(10, 5)),
    # labels
    Case("constant-labels", "0/0: every fold -inf, then tasks that go on drawing", constant_labels, config()),
    Case("nearly-constant-labels", "R2 is 1 or 0 by rule", nearly_constant_labels,
         config(10, 20, batch=16, learning_rate=0.001, standardize_embeddings=False, normalize_labels=False)),
    Case("labels-far-from-zero", "R2 where float32 cancels", far_from_zero, config(10, 3, normalize_labels=False)),
    Case("large-labels", "labels up to 2^26 as they are",
         lambda: regression(whole(34, 150, 6), (mixture(whole(34, 150, 6)) * 2**15).tolist()),
         config(5, 5, normalize_labels=False)),
    Case("rare-and-separable", "folds without positives, and folds without error", rare_and_separable,
         config(10, 10, batch=16)),
    Case("logits-in-unit-interval", "thresholded at 0.5, not 0", logits_in_unit_interval,
         config(40, 1, learning_rate=0.0001, standardize_embeddings=False)),
    Case("spellings", "labels 1 and 2, -1 and 1; regr, cls, capitals", spellings, config()),
    # submissions
    Case("broken-cells", "cells that are no numbers are 0", broken_cells, config()),
    Case("repeated-in-submission", "ids that stand twice multiply rows", repeated_ids_in_submission, config()),
    Case("repeated-in-labels", "and so in labels", repeated_ids_in_labels, config()),
    Case("partial-overlap", "only samples with both count", partial_overlap, config()),
    Case("shuffled-columns", "numbered columns in their order, others ignored", shuffled_columns, config()),
    Case("named-columns", "all columns where none is numbered", named_columns, config()),
    Case("large-mean", "30000 +- 1: the float32 mean is coarse", large_mean, config()),
    Case("constant-embedding", "standard deviation 0", constant_embedding, config()),
    Case("excluded", "ids that lose .zarr and .zarr.zip, and ids to leave out", excluded, config()),
)  # fmt: skip

CASES: dict[str, Case] = {case.name: case for case in _CASES}
"""All cases by name."""
