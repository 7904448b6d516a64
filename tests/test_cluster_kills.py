"""Workers that are killed at random moments, and runs with workers that are interrupted or killed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from test_run_kills import rows_on_disk, write_all

pytestmark = pytest.mark.slow
pytest.importorskip("distributed", reason="the extra cluster is not installed")

COUNT, TASKS = 120, 3


def command(*options: str) -> list[str]:
    words = f"{sys.executable} -m fastprobe run subs --labels labels --out out --protocol ridge --folds 5 --log json"
    return [*words.split(), *options]


def children(pid: int) -> Iterator[int]:
    """Processes that a process has begun and that are workers of Dask."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                line = stat.with_name("cmdline").read_bytes()
                if b"spawn_main" in line and b"resource_tracker" not in line:
                    yield int(stat.parts[2])
        except OSError:
            continue


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(what: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.05)
    return what()


def test_workers_killed_at_random_leave_every_score_there_and_none_twice(tmp_path: Path) -> None:
    write_all(tmp_path, COUNT)
    chance = random.Random(11)
    with subprocess.Popen(command("--workers", "3"), cwd=tmp_path, stderr=subprocess.PIPE, text=True) as run:
        kills = 0

        def kill() -> None:
            nonlocal kills
            while run.poll() is None and kills < 12:
                if workers := list(children(run.pid)):
                    time.sleep(chance.random())
                    victim = chance.choice(workers)
                    if is_there(victim):
                        os.kill(victim, signal.SIGKILL)
                        kills += 1
                time.sleep(1.2 * chance.random())  # some are killed again before they are up

        killer = threading.Thread(target=kill)
        told = []
        assert run.stderr is not None
        for line in run.stderr:
            if line.startswith("{"):
                told.append(json.loads(line))
            if '"scored"' in line and killer.ident is None:  # all are up
                killer.start()
        assert run.wait() == 0
        killer.join()
    scored = Counter(e["submission"] for e in told if e["event"] == "scored")
    assert scored == dict.fromkeys((f"sub{i:03d}" for i in range(COUNT)), 1)

    done = subprocess.run(
        [word if word != "out" else "alone/out" for word in command("--workers", "3")],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rows_on_disk(tmp_path) == rows_on_disk(tmp_path / "alone")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_the_run(tmp_path: Path, how: signal.Signals) -> None:
    write_all(tmp_path, COUNT)
    with subprocess.Popen(
        command("--workers", "2"), cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as run:
        assert run.stderr is not None
        assert any('"scored"' in line for line in iter(run.stderr.readline, ""))
        workers = list(children(run.pid))
        assert len(workers) == 2
        began = time.monotonic()
        if how is signal.SIGINT:  # as a terminal does: to all of them
            os.killpg(run.pid, how)
        else:
            run.send_signal(how)
        rest = run.stderr.read()
        assert run.wait() == (-how if how is signal.SIGKILL else 130)
        assert time.monotonic() - began < 4.0  # two seconds, on a machine that has nothing else to do
        assert "Traceback" not in rest
    assert wait_until(lambda: not any(map(is_there, workers)), 5.0)
    assert subprocess.run(command(), cwd=tmp_path, capture_output=True, check=False).returncode == 0
    assert len(rows_on_disk(tmp_path)) == COUNT * TASKS
