"""Small bulk runs: submissions in files, three tasks, and what the engine gives in memory, which runs are held to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import fastprobe
from fastprobe.protocol import FoldSpec, Protocol
from fastprobe.runs import RunReport, find_items, run

N, D = 30, 3
IDS = np.array([f"s{i:03d}" for i in range(N)])
TASKS = ("height", "ships", "width")
RIDGE = Protocol(name="small", probe="ridge", alpha=3.0, folds=FoldSpec(n_folds=3))


def embedding(seed: int, d: int = D) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(N, d)).astype(np.float32)


def write_submission(folder: Path, name: str, seed: int, *, ids: np.ndarray = IDS) -> Path:
    """Write `NAME.npz`; the same seed gives the same content."""
    path = folder / f"{name}.npz"
    np.savez(path, id=ids, x=embedding(seed)[: len(ids)])
    return path


def make_benchmark(tasks: Mapping[str, int] | None = None, *, ids: np.ndarray = IDS) -> fastprobe.Benchmark:
    """Make a benchmark of tasks, each with the seed of its labels; those whose names begin with s have classes."""
    made = []
    for name, seed in (tasks or dict.fromkeys(TASKS, 0)).items():
        rng = np.random.default_rng([seed, *name.encode()])
        kind = "classification" if name.startswith("s") else "regression"
        y = embedding(0)[:, 0] + rng.normal(size=N)
        made.append(fastprobe.Task.from_arrays(name, kind, ids, (y > 0) if kind == "classification" else y))
    return fastprobe.Benchmark.from_tasks(made)


@dataclass
class Case:
    """A folder of submissions and a folder of their run.

    Attributes
    ----------
    folder : Path
    events : list
        Of the last run.
    """

    folder: Path
    protocol: Protocol = RIDGE
    events: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.folder / "submissions").mkdir(parents=True)

    @property
    def submissions(self) -> Path:
        return self.folder / "submissions"

    @property
    def out(self) -> Path:
        return self.folder / "run"

    def write(self, *names: str) -> None:
        """Write submissions, each with content of its own."""
        for name in names:
            write_submission(self.submissions, name, seed=sum(name.encode()))

    def run(self, benchmark: fastprobe.Benchmark | None = None, **options: Any) -> RunReport:
        self.events.clear()
        options = {
            "protocol": self.protocol,
            "device": "cpu",
            "event": lambda e: self.events.append(dict(e)),
            **options,
        }
        items = options.pop("items", None) or find_items([self.submissions], lenient=options.get("lenient", False))
        return run(items, benchmark or make_benchmark(), self.out, **options)

    def happened(self, what: str) -> dict[str, int | None]:
        """Submissions to which something happened in the last run, with the number of scores."""
        return {e["submission"]: e.get("scores") for e in self.events if e["event"] == what}

    def rows(self) -> list[dict[str, Any]]:
        """All rows that are on the disk, read file by file, nothing merged."""
        parts = [fastprobe.Scores.read(path) for path in (self.out / "scores").glob("*.parquet")]
        return sorted_rows(row for part in parts for row in json.loads(part.to_json())["scores"])


def sorted_rows(rows: Any) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: (row["submission"], row["task"]))


def in_memory(
    paths: list[Path], benchmark: fastprobe.Benchmark | None = None, protocol: Protocol = RIDGE
) -> list[dict]:
    """What the engine gives, all columns."""
    scores = fastprobe.score(paths, benchmark or make_benchmark(), protocol=protocol, device="cpu")
    return sorted_rows(json.loads(scores.to_json())["scores"])
