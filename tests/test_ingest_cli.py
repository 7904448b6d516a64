"""``fastprobe ingest``: what it prints, and the status that it ends with."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_inputs import D, N, write_inputs
from typer.testing import CliRunner

from fastprobe import Store, Submission
from fastprobe.cli import app


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def run(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Run a command line in a folder with the submissions a.npz and b.csv, as if its output were piped."""
    for name in ("a.npz", "b.csv", "matrix.npy", "ids.txt"):
        shutil.copy2(inputs / name, tmp_path / name)
    shutil.copytree(inputs / "labels", tmp_path / "labels")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda line: CliRunner().invoke(app, line.split())


def numbers(text: str) -> dict[str, str]:
    """Return the column Number of the table."""
    lines = [line.split() for line in text.splitlines()]
    return {line[0]: line[1] for line in lines if line and line[0] in ("added", "replaced", "skipped", "failed")}


def test_a_table_says_what_became_of_the_files(run, tmp_path):
    done = run("ingest a.npz b.csv --store s.zarr")
    assert done.exit_code == 0, done.stderr
    assert numbers(done.stdout) == {"added": "2", "replaced": "0", "skipped": "0", "failed": "0"}
    assert "s.zarr: 2 submissions; took " in done.stdout
    assert "/s of files" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    (tmp_path / "b.csv").write_text("id,0\ns000,1\n")
    done = run("ingest a.npz b.csv --store s.zarr --workers 1")
    assert numbers(done.stdout) == {"added": "0", "replaced": "1", "skipped": "1", "failed": "0"}
    assert [(e.name, e.n, e.d) for e in Store.open("s.zarr").entries()] == [("a", N, D), ("b", 1, 1)]


def test_one_json_document(run, tmp_path):
    document = json.loads(run("ingest a.npz --store s.zarr --format json").stdout)
    assert list(document) == ["store", "seconds", "added", "replaced", "skipped", "failed"]
    (entry,) = document["added"]
    source = tmp_path / "a.npz"
    assert entry == vars(Store.open("s.zarr").entry("a"))
    assert (entry["name"], entry["n"], entry["d"], entry["dtype"]) == ("a", N, D, "float32")
    assert entry["digest"] == Submission.read(source).digest
    assert (entry["source"], entry["source_size"]) == (os.fspath(source), source.stat().st_size)
    assert document["store"] == "s.zarr"
    assert document["seconds"] > 0


def test_files_that_failed_end_with_3_and_are_listed(run, tmp_path):
    (tmp_path / "bad.csv").write_text("id,0\ns000,nonsense\n")
    done = run("ingest bad.csv a.npz --store s.zarr")
    assert done.exit_code == 3
    assert numbers(done.stdout) == {"added": "1", "replaced": "0", "skipped": "0", "failed": "1"}
    assert "failed: bad.csv, line 2, column '0': found 'nonsense'" in done.stdout
    document = json.loads(run("ingest bad.csv a.npz --store s.zarr --format json").stdout)
    assert [failure["path"] for failure in document["failed"]] == ["bad.csv"]
    assert len(document["skipped"]) == 1
    done = run("ingest bad.csv --store s.zarr --lenient --format json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["added"][0]["repairs"] == {"non_numeric_to_zero": 1}


def test_only_so_many_failures_are_shown(run, tmp_path):
    bad = tmp_path / "bad"
    bad.mkdir()
    for i in range(23):
        (bad / f"t{i:02d}.csv").write_text("nothing")
    done = run("ingest bad --store s.zarr")
    assert done.exit_code == 3
    assert done.stdout.count("failed: ") == 20
    assert "and 3 more; --format json lists all" in done.stdout


def test_id_file_compression_and_archive(run):
    assert run("ingest matrix.npy --ids ids.txt --store s.zarr.zip --compress").exit_code == 0
    (entry,) = Store.open("s.zarr.zip").entries()
    assert entry.compressed
    assert Store.open("s.zarr.zip").read("matrix", verify=True).ids[0] == "s000"
    done = run("ingest a.npz --store s.zarr.zip")
    assert done.exit_code == 2
    assert "written once" in done.stderr
    assert "--store NAME.zarr" in done.stderr


def test_quiet_says_nothing_but_the_result(run):
    done = run("ingest a.npz --store s.zarr --quiet")
    assert numbers(done.stdout)["added"] == "1"
    assert done.stderr == ""


def test_a_store_among_the_files_of_a_folder_is_left_out_and_said_so(run, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy2(tmp_path / "a.npz", folder)
    done = run("ingest folder --store folder/s.zarr")
    assert done.exit_code == 0
    assert "folder/s.zarr is a store of submissions, and left out" in done.stderr
    assert len(Store.open("folder/s.zarr")) == 1


@pytest.mark.parametrize(
    ("line", "where", "found"),
    [
        ("ingest a.npz --store s.zarr --workers 0", "--workers", "0"),
        ("ingest a.npz --store s.zarr --workers two", "--workers", "'two'"),
        ("ingest a.npz --store s.csv", "s.csv", "not that of a store"),
        ("ingest a.npz a.npz --store s.zarr", "a.npz", "a second file that gives the name 'a'"),
        ("ingest nowhere.npz --store s.zarr", "nowhere.npz", "nothing there"),
        ("ingest a.npz --store s3://bucket", "s3://bucket", "no name of a store"),
    ],
)
def test_wrong_options_end_with_2(run, line, where, found):
    done = run(line)
    assert done.exit_code == 2
    first, second = done.stderr.splitlines()[:2]
    assert first == f"error: {where}"
    assert found in second
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("target", ["s.zarr", "s.zarr.zip"])
@pytest.mark.parametrize("command", ["score", "sweep"])
def test_commands_for_single_files_say_what_to_do_with_a_store(run, command, target):
    run(f"ingest a.npz --store {target}")
    done = run(f"{command} {target} --labels labels")
    assert done.exit_code == 2
    assert "a store of many submissions" in done.stderr
    assert f"fastprobe run {target} --labels DIR --out RUN_DIR" in done.stderr
