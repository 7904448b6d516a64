"""The demonstration: six submissions and ten tasks made from a Landsat scene that ships with the package.

A sample is a neighbourhood of 3 x 3 pixels. The tasks ask about the centre pixel: its six kinds of land cover, one
against the rest, and its four bands. The submissions see the eight pixels around it and never the centre. A quarter
of the scene and ten folds are enough to show the whole job in seconds.

The scene is Statlog (Landsat Satellite): Srinivasan (1993), doi:10.24432/C55887, CC BY 4.0. Its neighbourhoods overlap,
so held-out samples share pixels with training samples: the scores show how scoring works, not how well land cover is
mapped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.embeddings import Submission
from fastprobe.files import atomic_path, write_text
from fastprobe.protocol import DEFAULT
from fastprobe.tasks import Benchmark, Task

if TYPE_CHECKING:
    from fastprobe.protocol import Protocol
    from fastprobe.results import Scores

__all__ = ["ATTRIBUTION", "RECIPES", "Recipe", "Scene", "demo_benchmark", "demo_submissions", "load_scene", "run_demo"]

ATTRIBUTION = (
    "Data: Srinivasan, A. (1993), Statlog (Landsat Satellite), UCI Machine Learning Repository, "
    "doi:10.24432/C55887, CC BY 4.0."
)
"""The credit that the licence of the data asks for; shown wherever the demo's results are shown."""

README = """\
Submissions, labels and scores made by `fastprobe demo`.

The tasks ask about the centre pixel of 3 x 3 pixels; the submissions see the eight pixels around it:

{recipes}
To score them again, from this folder:

    fastprobe score submissions/* --labels labels --folds {folds}

The neighbourhoods overlap, so held-out samples share pixels with training samples: these scores show how scoring
works, not how well land cover is mapped.

{attribution}
"""

BANDS = ("green", "red", "infrared1", "infrared2")
"""The bands of the Landsat Multispectral Scanner, in the order of the data."""

CLOCKWISE = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
"""Row and column of the eight neighbours, from the upper left; (1, 1), the centre, is not among them."""

EVERY, FOLDS = 4, 10
"""The demonstration takes each fourth neighbourhood of the scene, and ten folds."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """The Landsat data.

    Attributes
    ----------
    ids : ndarray of str, shape (n,)
    pixels : ndarray of uint8, shape (n, 3, 3, 4)
        Rows, columns and bands of each neighbourhood.
    cover : ndarray of int8, shape (n,)
        Land cover of the centre pixel, an index into `cover_names`.
    cover_names : tuple of str
    """

    ids: NDArray[np.str_]
    pixels: NDArray[np.uint8]
    cover: NDArray[np.int8]
    cover_names: tuple[str, ...]

    @property
    def ring(self) -> Floats:
        """The eight neighbours of the centre, clockwise, shape (n, 8, 4): all that the submissions may see."""
        return np.stack([self.pixels[:, row, column] for row, column in CLOCKWISE], axis=1).astype(np.float32)

    def every(self, step: int) -> Scene:
        """Return a smaller scene: the first neighbourhood, and from there each `step`-th."""
        return Scene(self.ids[::step], self.pixels[::step], self.cover[::step], self.cover_names)


@dataclass(frozen=True)
class Recipe:
    """How one submission is made.

    Attributes
    ----------
    name : str
        Name of the submission; ends with its number of dimensions.
    how : str
        One line for the reader.
    embed : callable
        From the ring of neighbours, shape (n, 8, 4), to the embedding, shape (n, d).
    """

    name: str
    how: str
    embed: Callable[[Floats], Floats]


def load_scene() -> Scene:
    """Read the Landsat data that ships with the package.

    Returns
    -------
    Scene
        6435 neighbourhoods.
    """
    with as_file(files("fastprobe") / "data" / "satellite.npz") as path, np.load(path, allow_pickle=False) as data:
        pixels, cover = data["pixels"], data["cover"]
        names = tuple(str(name) for name in data["cover_names"])
    ids = np.array([f"landsat-{row:04d}" for row in range(len(pixels))])
    return Scene(ids, pixels, cover, names)


def neighbours(ring: Floats) -> Floats:
    """Return the 8 neighbours x 4 bands as they are: 32 numbers."""
    return ring.reshape(len(ring), -1)


def band_means(ring: Floats) -> Floats:
    """Return the mean of the neighbours in each band: 4 numbers."""
    return ring.mean(axis=1)


def principal_components(ring: Floats, size: int = 8) -> Floats:
    """Return the first principal components of the standardised neighbours, scaled by their singular values.

    The components are those of all samples; no label takes part.
    """
    x = _standardised(neighbours(ring)).astype(np.float64)
    _, vectors = np.linalg.eigh(x.T @ x)
    leading = vectors[:, ::-1][:, :size]
    largest = np.abs(leading).argmax(axis=0)
    leading = leading * np.sign(leading[largest, np.arange(size)])  # LAPACK leaves the signs open
    return (x @ leading).astype(np.float32)


def random_fourier(ring: Floats, size: int = 64, seed: int = 1) -> Floats:
    """Return random Fourier features of the Gaussian kernel: sqrt(2 / size) cos(w'x + b).

    The kernel is exp(-gamma |x - x'|^2) on the standardised neighbours with gamma = 1 / 32, one over their number.

    Source: Rahimi and Recht, "Random features for large-scale kernel machines", NeurIPS 2007.
    """
    x = _standardised(neighbours(ring))
    draw = np.random.default_rng(seed)
    w = draw.standard_normal((x.shape[1], size), dtype=np.float32) * np.float32(np.sqrt(2 / x.shape[1]))
    b = draw.uniform(0, 2 * np.pi, size).astype(np.float32)
    return np.float32(np.sqrt(2 / size)) * np.cos(x @ w + b)


def random_convolution(ring: Floats, size: int = 64, width: int = 3, seed: int = 2) -> Floats:
    """Return random filters run around the ring: rectified, then pooled by mean and by maximum.

    Each of the ``size / 2`` filters covers `width` adjoining neighbours in all bands and takes the 8 positions of the
    ring in turn, so the features do not change when the ring is rotated.
    """
    n, places, bands = ring.shape
    x = _standardised(ring.reshape(n, -1)).reshape(ring.shape)
    draw = np.random.default_rng(seed)
    filters = draw.standard_normal((width * bands, size // 2), dtype=np.float32) / np.float32(np.sqrt(width * bands))
    bias = draw.standard_normal(size // 2, dtype=np.float32)
    total = np.zeros((n, size // 2), dtype=np.float32)
    largest = np.zeros_like(total)  # nothing that a rectifier returns is smaller
    for place in range(places):
        window = x[:, (place + np.arange(width)) % places].reshape(n, -1)
        response = np.maximum(window @ filters + bias, 0)
        total += response
        np.maximum(largest, response, out=largest)
    return np.concatenate([total / places, largest], axis=1)


def noise(ring: Floats, size: int = 16, seed: int = 3) -> Floats:
    """Return normal noise that knows nothing of the pixels: what a worthless submission scores."""
    return np.random.default_rng(seed).standard_normal((len(ring), size), dtype=np.float32)


RECIPES: tuple[Recipe, ...] = (
    Recipe("neighbours-32", "the 8 neighbours x 4 bands as they are", neighbours),
    Recipe("pca-8", "their first 8 principal components", principal_components),
    Recipe("fourier-64", "64 random Fourier features of a Gaussian kernel", random_fourier),
    Recipe("convolution-64", "32 random filters around the ring, mean and maximum", random_convolution),
    Recipe("band-means-4", "the mean of the neighbours in each band", band_means),
    Recipe("noise-16", "random numbers: the floor", noise),
)
"""The submissions of the demonstration."""


def demo_benchmark(scene: Scene | None = None) -> Benchmark:
    """Return the ten tasks: six land-cover classifications and four regressions of the centre pixel.

    Parameters
    ----------
    scene : Scene, optional
        The data; read from the package when left out.
    """
    scene = scene or load_scene()
    centre = scene.pixels[:, 1, 1]
    bands = [Task(f"band_{name}", "regression", scene.ids, centre[:, b].astype(float)) for b, name in enumerate(BANDS)]
    covers = [
        Task(f"is_{name}", "classification", scene.ids, (scene.cover == k).astype(float), classes=(0.0, 1.0))
        for k, name in enumerate(scene.cover_names)
    ]
    return Benchmark(tuple(sorted(bands + covers, key=lambda task: task.name)), scene.ids)


def demo_submissions(scene: Scene | None = None) -> Iterator[Submission]:
    """Make the submissions of :data:`RECIPES` one after another, each when it is asked for.

    Parameters
    ----------
    scene : Scene, optional
        The data; read from the package when left out.
    """
    scene = scene or load_scene()
    ring = scene.ring
    for recipe in RECIPES:
        yield Submission(recipe.name, scene.ids, np.ascontiguousarray(recipe.embed(ring)))


def run_demo(
    out: Path,
    *,
    protocol: str | Protocol = DEFAULT,
    device: str = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> Scores:
    """Write the demonstration's submissions and labels, score and rank them, and write the results.

    Parameters
    ----------
    out : Path
        Folder for ``submissions/``, ``labels/``, ``scores.parquet``, ``scores.json``, ``leaderboard.json`` and a
        ``README.txt`` that says how everything was made. Files of an earlier demonstration are replaced. What is
        written reads back bit for bit: ``fastprobe score --folds 10`` on these files gives the same scores.
    protocol : str or Protocol
    device : {"auto", "cpu", "cuda"}
    progress : callable, optional
        Passed to :func:`fastprobe.score`.

    Returns
    -------
    Scores
    """
    from fastprobe.engine import score
    from fastprobe.ranking import leaderboard

    scene = load_scene().every(EVERY)
    benchmark = demo_benchmark(scene)
    for folder in (out / "submissions", out / "labels"):
        folder.mkdir(parents=True, exist_ok=True)
    write_text(out / "README.txt", _readme())
    for task in benchmark.tasks:
        _write_csv(out / "labels" / f"{task.name}__{task.kind}.csv", {"id": task.ids, "label": task.y})
    paths = [_write_submission(out / "submissions", submission) for submission in demo_submissions(scene)]
    scores = score(paths, benchmark, protocol=protocol, folds=FOLDS, device=device, progress=progress)
    scores.to_parquet(out / "scores.parquet")
    write_text(out / "scores.json", scores.to_json() + "\n")
    write_text(out / "leaderboard.json", leaderboard(scores).to_json() + "\n")
    return scores


def _standardised(x: Floats) -> Floats:
    return (x - x.mean(axis=0)) / x.std(axis=0)


def _readme() -> str:
    recipes = "".join(f"    {recipe.name:<16} {recipe.how}\n" for recipe in RECIPES)
    return README.format(recipes=recipes, folds=FOLDS, attribution=ATTRIBUTION)


def _write_submission(folder: Path, submission: Submission) -> Path:
    """Write a submission, as CSV where it is small."""
    if submission.x.shape[1] <= 64:
        path = folder / f"{submission.name}.csv"
        _write_csv(path, {"id": submission.ids} | {str(j): column for j, column in enumerate(submission.x.T)})
    else:
        path = folder / f"{submission.name}.npz"
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(file, id=submission.ids, x=submission.x)
    return path


def _write_csv(path: Path, columns: dict[str, NDArray[Any]]) -> None:
    import pyarrow as pa
    from pyarrow import csv

    table = pa.table({name: np.ascontiguousarray(column) for name, column in columns.items()})
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write((",".join(columns) + "\n").encode())  # Arrow would put the names in quotation marks
        csv.write_csv(table, file, csv.WriteOptions(include_header=False, quoting_style="none"))
