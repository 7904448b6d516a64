"""``fastprobe verify``: what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console
from small_inputs import write_inputs
from typer.testing import CliRunner

import fastprobe
from fastprobe.audit import Audit, Checked, Finding, verify
from fastprobe.cli import app
from fastprobe.cli.verify import _OnBar, audit_layout


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run command lines beside a run of one submission on three tasks, as if the output were piped."""
    write_inputs(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")

    def invoke(line: str):
        return CliRunner().invoke(app, line.split())

    assert invoke("run a.npz --labels labels --out out --protocol ridge --folds 3 --quiet").exit_code == 0
    return invoke


def test_an_audit_that_agrees_ends_with_status_0(run):
    done = run("verify out --sample all --seed 7")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0].startswith("out: 3 of 3 scores refitted, protocol ridge, alpha 100, 3 folds (shuffle)")
    assert [line.split()[:3] for line in lines if line.startswith(" a ")] == [
        ["a", name, "3/3"] for name in ("height", "ships", "width")
    ]
    assert [line.split()[-1] for line in lines if line.startswith(" a ")] == ["yes"] * 3
    assert "everything agrees" in done.stdout
    assert lines[-1] == "drawn with --seed 7"


def test_an_audit_that_finds_something_ends_with_status_4(run, tmp_path):
    (path,) = (tmp_path / "out" / "scores").glob("*.parquet")
    table = pq.ParquetFile(path).read()
    q = table["q"].to_pylist()
    changed = table.set_column(table.schema.get_field_index("q"), table.schema.field("q"), [[q[0] + 1, *q[1:]]])
    pq.write_table(changed, path)
    done = run("verify out --sample all --folds 1")
    assert done.exit_code == 4
    text = " ".join(done.stdout.split())
    assert "1 finding" in text
    assert "a, height the Q of the fold scores in the record is" in text
    document = json.loads(run("verify out --sample all --format json").stdout)
    assert (document["ok"], len(document["findings"]), document["n_checked"]) == (False, 2, 3)
    (tmp_path / "a.npz").unlink()
    gone = run("verify out --sample all")
    assert gone.exit_code == 4
    assert "nothing could be compared: 3 findings" in gone.stdout


def test_an_audit_goes_to_files(run, tmp_path):
    line = "verify out --sample 2 --seed 1 --quiet"
    assert run(f"{line} --out audit.parquet").exit_code == 0
    assert pq.read_table("audit.parquet")["task"].to_pylist() == [r.task for r in verify("out", sample=2, seed=1).rows]
    assert run(f"{line} --out audit.json").exit_code == 0
    assert json.loads((tmp_path / "audit.json").read_text())["seed"] == 1
    assert run(f"{line} --format csv").stdout.startswith("submission,task,probe,read,")


def test_places_that_were_moved_are_named(run, tmp_path):
    (tmp_path / "labels").rename(tmp_path / "tasks")
    lost = run("verify out")
    assert lost.exit_code == 2
    assert "not at" in lost.stderr
    assert "name it: --labels DIR" in lost.stderr
    (tmp_path / "a.npz").rename(tmp_path / "tasks" / "a.npz")
    assert run("verify out --labels tasks").exit_code == 4
    assert run("verify out --labels tasks --submissions b.csv --submissions tasks/a.npz").exit_code == 0


@pytest.mark.parametrize(
    ("options", "option", "found"),
    [
        ("out --sample some", "--sample", "'some'"),
        ("out --sample 0", "--sample", "0"),
        ("out --folds 0", "--folds", "0"),
        ("out --folds x", "--folds", "'x'"),
        ("out --seed -1", "--seed", "-1"),
        ("nowhere", "nowhere", "nothing there"),
        ("out --labels nowhere", "nowhere", "nothing there"),
        ("out --format parquet", "--format", "parquet without --out"),
    ],
)
def test_what_is_wrong_ends_with_status_2(run, options, option, found):
    done = run(f"verify {options}")
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {option}")
    assert found in done.stderr
    assert done.stdout == ""


def test_the_bar_says_how_long_it_takes(monkeypatch):
    shown = []
    clock = iter([100.0, 110.0])
    monkeypatch.setattr("fastprobe.cli.verify.time.monotonic", lambda: next(clock))
    _OnBar(lambda *what: shown.append(what))("team, height", 5, 20)
    assert shown == [("folds, about 0:00:30 left: team, height", 5, 20)]


def test_long_audits_show_what_differs_first():
    rows = [
        Checked(f"s{i:02d}", "t", "ridge", "", 3, 3, 0, 0.5, 0.5, 1e-15 * i, 1e-8, agrees=i != 7) for i in range(60)
    ]
    finding = Finding("fold score", "s07", "[bold]t", "1 of 3 refitted folds differ")
    protocol = fastprobe.Protocol.load("ridge").to_dict()
    audit = Audit("out", 1, 60, tuple(rows), (finding,), ("a remark",), protocol)
    text = StringIO()
    console = Console(file=text, width=100)
    for part in audit_layout(audit, 100):
        console.print(part)
    shown = text.getvalue()
    assert "and 10 more" in shown
    assert "s07" in shown
    assert "s59" in shown
    assert " s01 " not in shown
    assert "[bold]t" in shown
    assert "a remark" in shown
    assert "largest difference of a fold score 5.9e-14 (s59, t, fold 0): 1 finding" in shown
