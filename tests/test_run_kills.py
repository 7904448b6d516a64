"""A run that is killed again and again gives, in the end, what a run that is left alone gives."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from small_inputs import write_csv
from small_runs import sorted_rows

import fastprobe
from fastprobe.runs import find_items, run

pytestmark = pytest.mark.slow

COUNT, TASKS, N, D = 600, 3, 200, 16  # so many that 20 kills leave some: those of a quarter of a second are one file
KILLS = 20
OPTIONS = "--labels labels --out out --protocol ridge --folds 5 --log json"


def write_all(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    ids = np.array([f"s{i:03d}" for i in range(N)])
    (folder / "subs").mkdir()
    for i in range(count):
        np.savez(folder / "subs" / f"sub{i:03d}.npz", id=ids, x=rng.normal(size=(N, D)).astype(np.float32))
    (folder / "labels").mkdir()
    for j in range(TASKS):
        y = rng.normal(size=N).tolist()
        write_csv(folder / "labels" / f"t{j}__regression.csv", "id,label", zip(ids, y, strict=True))


def command() -> list[str]:
    return [sys.executable, "-m", "fastprobe", "run", "subs", *OPTIONS.split()]


def run_and_kill(folder: Path, chance: random.Random) -> list[dict]:
    """Kill a run at a random moment, before it begins or after; return what it told until then."""
    with subprocess.Popen(command(), cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines: list[str] = []
        if chance.random() < 0.2:
            time.sleep(chance.random())
        else:
            for _ in range(chance.randint(1, 5)):  # the line that it has begun, and some of what is scored
                lines.append(process.stderr.readline())
            time.sleep(chance.random() * 0.02)
        process.send_signal(signal.SIGKILL)
        lines += process.stderr.readlines()
        assert process.wait(10) in (-signal.SIGKILL, 0)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def rows_on_disk(folder: Path) -> list[dict]:
    """All rows, file by file, so that one that is there twice is seen twice."""
    parts = [fastprobe.Scores.read(path) for path in sorted((folder / "out" / "scores").glob("*.parquet"))]
    return sorted_rows(row for part in parts for row in json.loads(part.to_json())["scores"])


def test_killed_again_and_again_a_run_gives_the_same_scores_and_none_twice(tmp_path: Path) -> None:
    write_all(tmp_path, COUNT)
    chance = random.Random(7)
    told = [run_and_kill(tmp_path, chance) for _ in range(KILLS)]
    done = subprocess.run(command(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told.append([json.loads(line) for line in done.stderr.splitlines()])

    scored = [e["submission"] for events in told for e in events if e["event"] == "scored"]
    pending = [e["pending"] for events in told for e in events if e["event"] == "begun"]
    assert len(scored) == len(set(scored))  # what was told to be finished was never scored again
    assert pending[0] == COUNT
    assert pending == sorted(pending, reverse=True)
    assert sum(before > after > 0 for before, after in pairwise(pending)) >= 10  # kills that hit

    rows = rows_on_disk(tmp_path)
    assert len(rows) == COUNT * TASKS
    bench = fastprobe.Benchmark.from_folder(tmp_path / "labels")
    protocol = fastprobe.Protocol.named("ridge").with_options(folds=5)
    run(find_items([tmp_path / "subs"]), bench, tmp_path / "alone" / "out", protocol=protocol, device="cpu")
    assert rows == rows_on_disk(tmp_path / "alone")
    assert not [path for path in (tmp_path / "out").rglob(".*")]


def test_a_file_size_limit_is_a_full_disk_to_a_run(tmp_path: Path) -> None:
    """The system refuses the bytes here, not a stand-in: a write is cut off in the middle."""
    write_all(tmp_path, 8)

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, resource.RLIM_INFINITY))

    done = subprocess.run(
        command(), cwd=tmp_path, capture_output=True, text=True, check=False, preexec_fn=limited,
        env={**os.environ, "NUMBA_DISABLE_CACHING": "1"},
    )  # fmt: skip
    assert done.returncode == 1
    assert "File too large. What is finished is kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "out" / "scores").iterdir())
    assert subprocess.run(command(), cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert len(rows_on_disk(tmp_path)) == 8 * TASKS


def test_memory_does_not_grow_with_the_number_of_submissions(tmp_path: Path) -> None:
    """Peak of a process with 40 and with 400 submissions of 0.4 MB: 360 of them are 144 MB."""
    code = """
import resource, sys
from pathlib import Path
import fastprobe
from fastprobe.runs import find_items, run
from fastprobe.backend import get_backend
items = find_items([Path("subs")])[: int(sys.argv[1])]
bench = fastprobe.Benchmark.from_folder("labels")
protocol = fastprobe.Protocol.named("ridge").with_options(folds=5)
run(items, bench, "out" + sys.argv[1], protocol=protocol, device=get_backend("cpu"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    write_all(tmp_path, 400)
    ids = np.array([f"s{i:03d}" for i in range(N)])
    for path in (tmp_path / "subs").iterdir():
        np.savez(path, id=ids, x=np.random.default_rng(len(path.name)).normal(size=(N, 512)).astype(np.float32))
    peaks = []
    for count in ("40", "400"):
        line = [sys.executable, "-c", code, count]
        done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout) * 1024)
    # Keys of 360 x 3 scores, well below 1 MB, and up to 512 scores that are put together, which 40 files are not.
    assert peaks[1] - peaks[0] < 25e6
