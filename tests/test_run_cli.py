"""``fastprobe run``: what it prints and writes, with which status it ends, and how it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_inputs import write_csv, write_inputs
from typer.testing import CliRunner

import fastprobe
from fastprobe.cli import app
from fastprobe.cli.run import _OnBar
from fastprobe.runs import RunFolder
from fastprobe.runs.inputs import FileItem

RUN = "run subs --labels labels --out out --protocol ridge --folds 3"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_inputs(tmp_path)
    (tmp_path / "subs").mkdir()
    (tmp_path / "a.npz").rename(tmp_path / "subs" / "a.npz")
    (tmp_path / "b.csv").rename(tmp_path / "subs" / "b.csv")
    return tmp_path


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run a command line in the folder of the inputs, as if its output were piped."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda line: CliRunner().invoke(app, line.split())


def test_a_run_prints_what_it_did_and_the_leaderboard_ranks_it(run, folder):
    done = run(RUN)
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("2 submissions scored in ")
    assert "0 finished before, 0 failed" in " ".join(done.stdout.split())
    assert done.stdout.splitlines()[-1] == "rank them: fastprobe leaderboard out"
    board = json.loads(run("leaderboard out --format json").stdout)
    bench = fastprobe.Benchmark.from_folder(folder / "labels")
    files = [folder / "subs" / "a.npz", folder / "subs" / "b.csv"]
    scores = fastprobe.score(files, bench, protocol="ridge", folds=3)
    assert board["rows"] == fastprobe.leaderboard(scores).to_dict()["rows"]
    again = run(RUN)
    assert again.stdout.startswith("0 submissions scored in ")
    assert "2 finished before" in " ".join(again.stdout.split())


def test_json_is_one_document(run):
    document = json.loads(run(RUN + " --format json").stdout)
    assert (document["run"], document["scored"], document["finished_before"], document["failed"]) == ("out", 2, 0, [])
    assert set(document["seconds"]) == {"read", "copy", "solve", "write", "all"}


def test_failures_end_with_status_3_and_the_others_are_kept(run, folder):
    (folder / "subs" / "[bad].npz").write_bytes(b"nonsense")
    done = run(RUN)
    assert done.exit_code == 3
    text = " ".join(done.stdout.split())
    assert "2 submissions scored in" in text
    assert "[bad]: subs/[bad].npz: found" in text
    assert "--retry-failed" in text
    assert fastprobe.Scores.read(folder / "out").submissions == ("a", "b")
    again = run(RUN + " --format json")
    assert again.exit_code == 3
    (failed,) = json.loads(again.stdout)["failed"]
    assert failed["submission"] == "[bad]"
    assert failed["place"] == str(folder / "subs" / "[bad].npz")
    assert RunFolder(folder / "out").failures()["[bad]"].attempts == 1
    assert run(RUN + " --retry-failed").exit_code == 3
    assert RunFolder(folder / "out").failures()["[bad]"].attempts == 2
    (folder / "subs" / "[bad].npz").write_bytes((folder / "subs" / "a.npz").read_bytes())
    assert run(RUN).exit_code == 0


def test_many_failures_are_not_all_listed(run, folder):
    for i in range(23):
        (folder / "subs" / f"bad{i:02d}.npz").write_bytes(b"nonsense")
    done = run(RUN)
    lines = done.stdout.splitlines()
    assert sum("bad" in line and ": subs/" in line for line in lines) == 20
    assert "and 3 more, in out/failures.jsonl" in done.stdout
    assert len(json.loads(run(RUN + " --format json").stdout)["failed"]) == 23


def test_a_dry_run_says_what_is_pending_and_reads_and_writes_nothing(run, folder, monkeypatch):
    monkeypatch.setattr(FileItem, "read", lambda item: pytest.fail(f"{item.name} was read"))
    done = run(RUN + " --dry-run")
    assert done.exit_code == 0, done.stderr
    assert " ".join(done.stdout.split()) == (
        "2 submissions pending with up to 6 scores, 0 finished, 0 failed before, 0 scores out of date"
    )
    assert not (folder / "out").exists()
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    run(RUN)
    (folder / "subs" / "bad.npz").write_bytes(b"nonsense")
    before = {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()}
    document = json.loads(run(RUN + " --dry-run --format json").stdout)
    assert document["pending"] == [{"submission": "bad", "tasks": ["height", "ships", "width"]}]
    assert (document["finished"], document["failed"], document["out_of_date"]) == (["a", "b"], [], 0)
    assert {path: path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()} == before


def test_the_json_log_has_an_object_a_line_with_the_seconds_of_the_stages(run, folder):
    run(RUN + " --alpha 3")
    (folder / "subs" / "bad.npz").write_bytes(b"nonsense")
    done = run(RUN + " --log json --quiet")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert [e["event"] for e in events] == ["begun", "remark", "scored", "scored", "failed", "ended"]
    assert all(e["at"] for e in events)
    begun, remark, scored, _, failed, ended = events
    assert (begun["pending"], begun["scores"], begun["finished"], begun["out_of_date"]) == (3, 9, 0, 6)
    assert remark["level"] == "warning"
    assert "6 scores in out are out of date" in remark["text"]
    assert (scored["submission"], scored["scores"]) == ("a", 3)
    assert (failed["submission"], "bad.npz" in failed["error"]) == ("bad", True)
    for stage in ("read", "solve", "write"):
        times = [e[f"{stage}_s"] for e in events[2:5]]
        assert all(seconds >= 0 for seconds in times)
        assert ended["seconds"][stage] == pytest.approx(sum(times), abs=1e-5)
    assert scored["read_s"] > 0
    assert scored["solve_s"] > 0
    assert scored["write_s"] > 0
    assert (ended["scored"], ended["finished"], ended["failed"]) == (2, 0, 1)


@pytest.mark.parametrize(
    ("options", "where"),
    [
        ("--overwrite sometimes", "--overwrite"),
        ("--log xml", "--log"),
        ("--tasks nothing", "--tasks"),
        ("--out b/c --labels nowhere", "nowhere"),
        ("--out matrix.npy", "--out"),
    ],
)
def test_wrong_options_end_with_status_2(run, folder, options, where):
    done = run(f"{RUN} {options}")
    assert done.exit_code == 2
    assert where in done.stderr
    assert not (folder / "out").exists()


def test_a_second_run_is_told_who_holds_the_folder(run, folder):
    with RunFolder(folder / "out").locked():
        done = run(RUN)
    assert done.exit_code == 2
    assert f"process {os.getpid()} on" in done.stderr


def test_a_store_is_run_by_its_name(run, folder):
    store = fastprobe.store.Store.create(folder / "all.zarr")
    fastprobe.store.ingest([folder / "subs"], store)
    assert run("run all.zarr --labels labels --out out --protocol ridge --folds 3").exit_code == 0
    assert fastprobe.Scores.read(folder / "out").submissions == ("a", "b")


def test_the_bar_tells_the_rate_the_time_that_remains_and_the_failures():
    shown = []
    bar = _OnBar(lambda text, done, total: shown.append((text, done, total)))
    for event in (
        {"event": "begun", "pending": 3},
        {"event": "scored", "submission": "a"},
        {"event": "failed", "submission": "b"},
        {"event": "ended"},
    ):
        bar(event)
    assert [(done, total) for _, done, total in shown] == [(1, 3), (2, 3)]
    assert "a minute, 0:00:00 left" in shown[0][0]
    assert shown[1][0].endswith(", 1 failed")


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_signal_ends_a_run_soon_and_what_is_finished_is_kept(folder, number):
    rng = np.random.default_rng(1)
    ids = [f"s{i:04d}" for i in range(4000)]
    (folder / "many").mkdir()
    for i in range(12):
        np.savez(folder / "many" / f"m{i:02d}.npz", id=ids, x=rng.normal(size=(4000, 64)).astype(np.float32))
    (folder / "long").mkdir()
    write_csv(folder / "long" / "y__regression.csv", "id,label", zip(ids, rng.normal(size=4000).tolist(), strict=True))
    options = "--labels long --out out --protocol neuco --log json"
    line = [sys.executable, "-m", "fastprobe", "run", "many", *options.split()]
    finished = 0
    with subprocess.Popen(line, cwd=folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        while finished < 2:
            finished += json.loads(process.stderr.readline())["event"] == "scored"
        began = time.monotonic()
        process.send_signal(number)
        rest = [json.loads(text)["event"] for text in process.stderr if text.startswith("{")]
        assert process.wait(20) == 130
        assert time.monotonic() - began < 2
    assert rest[-1] == "interrupted"
    finished += rest.count("scored")
    assert 2 <= finished < 12
    assert len(fastprobe.Scores.read(folder / "out")) == finished
