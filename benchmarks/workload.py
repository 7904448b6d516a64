"""The benchmark workload: one synthetic submission of the E2S shape, with labels for eleven tasks.

The embeddings mix 64 latent factors into 1024 dimensions and add noise with a power-law spectrum; ten tasks are noisy
functions of the factors and one is pure noise. Everything follows from the seed and the scale.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastprobe.embeddings import Submission
from fastprobe.files import atomic_path, write_text
from fastprobe.tasks import Benchmark, Task

__all__ = ["GROUPS", "TASKS", "Workload", "WorkloadFiles", "make_submission", "make_workload", "write_files"]

GROUPS: dict[str, int] = {"landcover": 4691, "biomass": 2415, "crops": 3355, "heatisland": 1659, "clouds": 1140}
"""Samples of each disjoint group at full scale, in the order of the rows."""

N_FEATURES = 1024
N_FACTORS = 64

TASKS: dict[str, str | None] = {
    "biomass_mean": "biomass",
    "biomass_std": "biomass",
    "clouds": "clouds",
    "crops": "crops",
    "heatisland_mean": "heatisland",
    "heatisland_std": "heatisland",
    "landcover_agriculture": "landcover",
    "landcover_forest": "landcover",
    "nodata": None,
    "random": "clouds",
    "ships": "biomass",
}
"""Group of every task; None stands for all samples. ``ships`` is a classification, the others are regressions."""

# Independent streams of random numbers, so that one more embedding or task leaves all the others as they were.
_FACTORS, _MIXING, _ROTATION, _NOISE, _LABELS = range(5)


@dataclass(frozen=True, eq=False)
class Workload:
    """One submission and the benchmark that it is scored on.

    Attributes
    ----------
    submission : Submission
        Embeddings, float32 of shape (13260, 1024) at full scale.
    benchmark : Benchmark
        The tasks of :data:`TASKS`.
    scale : float
        Factor on the number of samples and of dimensions.
    seed : int
    """

    submission: Submission
    benchmark: Benchmark
    scale: float
    seed: int


@dataclass(frozen=True)
class WorkloadFiles:
    """A workload as a participant would hand it in.

    Attributes
    ----------
    csv : Path
        Submission, ``id,0,1,...``.
    labels : Path
        Folder of ``<task>__<kind>.csv``.
    """

    csv: Path
    labels: Path


def _group_rows(scale: float) -> dict[str, slice]:
    """Rows of every group; each keeps at least 20 samples, so that 10 % held out is a fold worth scoring."""
    rows: dict[str, slice] = {}
    start = 0
    for name, full in GROUPS.items():
        stop = start + max(20, round(full * scale))
        rows[name] = slice(start, stop)
        start = stop
    return rows


def _n_samples(scale: float) -> int:
    return max(rows.stop for rows in _group_rows(scale).values())


def _ids(scale: float) -> NDArray[np.str_]:
    return np.array([f"e2s-{i:05d}" for i in range(_n_samples(scale))])


def _factors(scale: float, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, _FACTORS]).standard_normal((_n_samples(scale), N_FACTORS))


def _embeddings(factors: NDArray[np.float64], n_features: int, seed: int, index: int) -> NDArray[np.float32]:
    """Mix the factors and add rotated power-law noise; ``index`` picks one of many submissions."""
    order = np.arange(1, n_features + 1, dtype=np.float64)
    mixing = np.random.default_rng([seed, _MIXING, index]).standard_normal((N_FACTORS, n_features)) * order**-0.3
    square = np.random.default_rng([seed, _ROTATION, index]).standard_normal((n_features, n_features))
    rotation = np.linalg.qr(square).Q
    noise = np.random.default_rng([seed, _NOISE, index]).standard_normal((len(factors), n_features)) * order**-0.7
    return (factors @ mixing / 8.0 + 3.0 * (noise @ rotation)).astype(np.float32)


def _labels(factors: NDArray[np.float64], seed: int, index: int, noise: float) -> NDArray[np.float64]:
    rng = np.random.default_rng([seed, _LABELS, index])
    weights = rng.standard_normal(N_FACTORS)
    return np.tanh(factors @ weights / 8.0) + noise * rng.standard_normal(len(factors))


def _make_benchmark(factors: NDArray[np.float64], ids: NDArray[np.str_], scale: float, seed: int) -> Benchmark:
    rows = _group_rows(scale)
    tasks = []
    for index, (name, group) in enumerate(TASKS.items()):
        part = rows[group] if group is not None else slice(None)
        kind: Literal["regression", "classification"] = "regression"
        if name == "random":
            y = np.random.default_rng([seed, _LABELS, index]).random(len(ids))[part]
        else:
            y = _labels(factors, seed, index, noise=0.2 + 0.3 * index / (len(TASKS) - 1))[part]
        if name == "ships":
            kind, y = "classification", (y > 0).astype(np.float64)
        classes = (0.0, 1.0) if kind == "classification" else None
        tasks.append(Task(name=name, kind=kind, ids=ids[part], y=y, classes=classes))
    return Benchmark(tasks=tuple(tasks), labelled_ids=ids)


def make_submission(scale: float = 1.0, seed: int = 0, index: int = 0) -> Submission:
    """Make one of many submissions to the same benchmark.

    Parameters
    ----------
    scale : float
        Factor on the number of samples (at least 20 per group) and of dimensions (at least 8).
    seed : int
        Seed of the workload.
    index : int
        Which submission; each mixes the same factors in its own way and has its own noise.

    Returns
    -------
    Submission
        float32 embeddings.
    """
    n_features = max(8, round(N_FEATURES * scale))
    x = _embeddings(_factors(scale, seed), n_features, seed, index)
    return Submission(name=f"e2s-{index}", ids=_ids(scale), x=x)


def make_workload(scale: float = 1.0, seed: int = 0) -> Workload:
    """Make the submission and the labels.

    Parameters
    ----------
    scale : float
        Factor on the number of samples (at least 20 per group) and of dimensions (at least 8).
    seed : int
        Seed of all random numbers.

    Returns
    -------
    Workload
        The same bits for the same arguments, as long as NumPy and its BLAS stay the same.
    """
    benchmark = _make_benchmark(_factors(scale, seed), _ids(scale), scale, seed)
    return Workload(submission=make_submission(scale, seed), benchmark=benchmark, scale=scale, seed=seed)


def _write_csv(submission: Submission, path: Path) -> None:
    """Write ``id,0,1,...`` with the shortest text that reads back to the same float32."""
    import pyarrow as pa
    import pyarrow.csv as pa_csv

    names = ["id", *map(str, range(submission.x.shape[1]))]
    options = pa_csv.WriteOptions(include_header=False, quoting_style="none")
    with atomic_path(path) as partial, partial.open("wb") as file:
        file.write((",".join(names) + "\n").encode())
        for start in range(0, len(submission.ids), 1024):
            rows = slice(start, start + 1024)
            columns = np.ascontiguousarray(submission.x[rows].T)
            table = pa.table([pa.array(submission.ids[rows].tolist()), *map(pa.array, columns)], names=names)
            pa_csv.write_csv(table, file, write_options=options)


def _write_labels(task: Task, folder: Path) -> None:
    values = map(repr, task.y.tolist()) if task.kind == "regression" else map(str, task.y.astype(int).tolist())
    lines = (f"{i},{value}\n" for i, value in zip(task.ids.tolist(), values, strict=True))
    write_text(folder / f"{task.name}__{task.kind}.csv", "id,label\n" + "".join(lines))


def write_files(workload: Workload, folder: Path) -> WorkloadFiles:
    """Write the CSV submission and the label folder, or reuse what an earlier run left there.

    Parameters
    ----------
    workload : Workload
    folder : Path
        Made if it is not there. Files of another workload in it are replaced.

    Returns
    -------
    WorkloadFiles
    """
    files = WorkloadFiles(csv=folder / "e2s.csv", labels=folder / "labels")
    digests = [workload.submission.digest, *(task.digest for task in workload.benchmark.tasks)]
    stamp = json.dumps({"digest": hashlib.blake2b("".join(digests).encode(), digest_size=16).hexdigest()})
    done = folder / "complete.json"
    if done.is_file() and done.read_text() == stamp and files.csv.is_file() and files.labels.is_dir():
        return files
    files.labels.mkdir(parents=True, exist_ok=True)
    # The stamp goes first and comes back last: an interrupted run never leaves files that look complete.
    done.unlink(missing_ok=True)
    for stale in files.labels.glob("*.csv"):
        stale.unlink()
    for task in workload.benchmark.tasks:
        _write_labels(task, files.labels)
    _write_csv(workload.submission, files.csv)
    write_text(done, stamp)
    return files
