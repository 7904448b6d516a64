"""Wrong options and wrong files on the command line: status 2, a message to act on, no traceback, nothing written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from broken import ASSIGNMENTS, BROKEN, Broken, good_labels, good_submission
from score_rows import regression_row, table
from small_inputs import write_csv, write_inputs
from typer.testing import CliRunner

from fastprobe.cli import app
from fastprobe.cli.failure import printable

SCORE = "score a.npz --labels labels "
CHECK = "check a.npz --labels labels "

# (command line, words that the message must hold: the place, what was found, what was expected, what to do)
OPTIONS: list[tuple[str, list[str]]] = [
    (SCORE + "--folds many", ["--folds", "'many'", "a whole number", "--folds 40"]),
    (SCORE + "--folds 2.5", ["--folds", "'2.5'", "a whole number", "--folds 40"]),
    (SCORE + "--folds 0", ["--folds", "0", "from 1 to 10000", "correct --folds"]),
    (SCORE + "--folds -3", ["--folds", "-3", "from 1 to 10000", "correct --folds"]),
    (SCORE + "--folds 1 --fold-scheme kfold", ["--folds", "1", "at least 2 folds for kfold", "correct --folds"]),
    (
        SCORE + "--folds 61 --fold-scheme kfold",
        ["kfold", "60 samples", "at least as many as folds (61)", "fewer folds"],
    ),
    (SCORE + "--alpha strong", ["--alpha", "'strong'", "a finite number above 0, or auto", "--alpha 100"]),
    (SCORE + "--alpha 0", ["--alpha", "0.0", "a finite number above 0, or auto", "correct --alpha"]),
    (SCORE + "--alpha -1", ["--alpha", "-1.0", "a finite number above 0, or auto", "correct --alpha"]),
    (SCORE + "--alpha nan", ["--alpha", "nan", "a finite number above 0, or auto", "correct --alpha"]),
    (SCORE + "--alpha inf", ["--alpha", "inf", "a finite number above 0, or auto", "correct --alpha"]),
    (SCORE + "--protocol best", ["--protocol", "'best'", "one of closed-form, ridge", "correct the name"]),
    (SCORE + "--protocol nowhere.toml", ["nowhere.toml", "No such file", "a protocol file", "correct the path"]),
    (SCORE + "--protocol syntax.toml", ["syntax.toml", "not TOML", "a TOML file", "correct that place"]),
    (SCORE + "--protocol field.toml", ["field.toml, strength", "'strength'", "a field among name", "correct strength"]),
    (
        SCORE + "--protocol value.toml",
        ["value.toml, folds.n_folds", "'ten'", "a whole number", "correct folds.n_folds"],
    ),
    (SCORE + "--protocol neuco --alpha 3", ["--alpha", "3.0 with neuco", "such as ridge", "leave --alpha out"]),
    (SCORE + "--protocol neuco --route dual", ["--route", "dual with neuco", "only with ridge", "leave --route out"]),
    (SCORE + "--protocol kernel --route dual", ["--route", "dual with kernel", "only with ridge", "leave --route out"]),
    (
        SCORE + "--tasks ships --route dual",
        ["--route", "closed-form, which has none for these", "only where ridge", "leave"],
    ),
    (
        SCORE + "--protocol logistic --tasks height",
        ["--protocol", "logistic, and no classification among the 1 tasks", "a classification task", "closed-form"],
    ),
    (
        SCORE + "--kernel rbf",
        ["--kernel", "rbf with closed-form", "only with a protocol that has", "--protocol kernel"],
    ),
    (SCORE + "--protocol ridge --gamma 1", ["--gamma", "1.0 with ridge", "that has a kernel", "leave --gamma out"]),
    (SCORE + "--protocol kernel --kernel linear", ["--kernel", "'linear'", "one of rbf, polynomial", "--kernel rbf"]),
    (SCORE + "--protocol kernel --gamma 0", ["--gamma", "0.0", "a finite number above 0", "correct --gamma"]),
    (SCORE + "--protocol kernel --gamma wide", ["--gamma", "'wide'", "a number", "--gamma 0.001"]),
    (SCORE + "--protocol kernel --landmarks 0", ["--landmarks", "0", "at least 1", "correct --landmarks"]),
    (SCORE + "--protocol kernel --landmarks few", ["--landmarks", "'few'", "a whole number", "--landmarks 2000"]),
    (SCORE + "--protocol kernel --degree 2", ["--degree", "2", "the kernel rbf does not use it", "correct --degree"]),
    (
        SCORE + "--protocol kernel --kernel polynomial --degree 0",
        ["--degree", "0", "a whole number from 1", "correct --degree"],
    ),
    (
        SCORE + "--compare neuco,ridge --landmarks 9",
        ["--landmarks", "9 with neuco, ridge", "that has a kernel", "leave --landmarks out"],
    ),
    (
        SCORE + "--protocol table.toml",
        ["table.toml, kernel", "the probe closed-form does not use it", "correct kernel"],
    ),
    (SCORE + "--protocol neuco --seed 7", ["--seed", "7", "42, NeuCo-Bench's", "correct --seed"]),
    (SCORE + "--protocol neuco --test-size 0.2", ["--test-size", "0.2", "0.1, NeuCo-Bench's", "correct --test-size"]),
    (
        SCORE + "--protocol neuco --groups groups.csv",
        ["--groups", "'group-shuffle'", "'shuffle', NeuCo-Bench's", "correct --groups"],
    ),
    (SCORE + "--protocol neuco --split split.csv", ["--split", "'fixed'", "'shuffle', NeuCo-B", "correct --split"]),
    (SCORE + "--compare neuco", ["--compare", "'neuco'", "two or more protocols", "--compare neuco,closed-form"]),
    (SCORE + "--compare neuco,,ridge", ["--compare", "'neuco,,ridge'", "two or more", "--compare neuco,closed-form"]),
    (SCORE + "--compare neuco,best", ["--compare", "'best'", "one of closed-form, ridge", "correct the name"]),
    (SCORE + "--compare neuco,nowhere.toml", ["nowhere.toml", "No such file", "a protocol file", "correct the path"]),
    (
        SCORE + "--compare ridge,ridge",
        ["--compare", "ridge and ridge, which are the same", "different", "leave one out"],
    ),
    (
        SCORE + "--compare ridge,strong.toml",
        ["--compare", "ridge and strong.toml, which are both named 'ridge'", "different names", "name = ..."],
    ),
    (
        SCORE + "--compare ridge,strong.toml --alpha 5",
        ["--compare", "ridge and strong.toml, which are the same", "different protocols", "leave one out"],
    ),
    (
        SCORE + "--compare neuco,ridge --protocol ridge",
        ["--compare", "both --protocol and --compare", "one of them", "leave --protocol out"],
    ),
    (
        SCORE + "--compare neuco,ridge --route direct",
        ["--route", "direct with --compare", "only with one protocol", "leave --route out"],
    ),
    (
        SCORE + "--compare neuco,neuco-independent --alpha 3",
        ["--alpha", "3.0 with neuco, neuco-independent", "such as ridge", "leave --alpha out"],
    ),
    (
        SCORE + "--compare closed-form,logistic",
        ["--compare", "closed-form, which scores height, width", "score the same tasks", "add --tasks ships"],
    ),
    (SCORE + "--compare neuco,ridge --alpha 0", ["--alpha", "0.0", "a finite number above 0", "correct --alpha"]),
    (
        SCORE + "--compare ridge,neuco --fold-scheme kfold",
        ["--fold-scheme", "'kfold'", "'shuffle', NeuCo-Bench's", "correct --fold-scheme"],
    ),
    (SCORE + "--compare neuco,ridge --rank best", ["--rank", "'best'", "one of neuco, mean, uniform", "--rank neuco"]),
    (
        SCORE + "--rank mean",
        ["--rank", "mean without --compare", "where protocols are compared", "fastprobe leaderboard"],
    ),
    (SCORE + "--tasks height,depth", ["--tasks", "'depth'", "height, ships, width", "correct the names"]),
    (SCORE + "--tasks height,,width", ["--tasks", "'height,,width'", "names of tasks", "--tasks crops,clouds"]),
    (SCORE + "--tasks height,height", ["--tasks", "'height,height'", "each once", "--tasks crops,clouds"]),
    (SCORE + "--device tpu", ["--device", "'tpu'", "one of auto, cpu, cuda", "--device auto"]),
    (SCORE + "--device cuda", ["--device", "'cuda'", "auto or cpu", "--device cpu"]),
    (SCORE + "--route shortest", ["--route", "'shortest'", "one of auto, direct", "--route auto"]),
    (SCORE + "--fold-scheme random", ["--fold-scheme", "'random'", "one of shuffle, kfold", "correct the name"]),
    (SCORE + "--fold-scheme group-kfold", ["--fold-scheme", "without --groups", "a file with --groups", "id,group"]),
    (SCORE + "--fold-scheme fixed", ["--fold-scheme", "without --split", "a file with --split", "id,split"]),
    (SCORE + "--groups groups.csv --split split.csv", ["--split", "both", "one of them", "leave one out"]),
    (
        SCORE + "--groups groups.csv --fold-scheme kfold",
        ["--groups", "kfold", "only with group-shuffle", "leave --groups"],
    ),
    (SCORE + "--split split.csv --fold-scheme kfold", ["--split", "kfold", "only with fixed", "leave --split out"]),
    (
        SCORE + "--split split.csv --folds 5",
        ["--folds", "5 with the fold scheme fixed", "only with", "leave --folds out"],
    ),
    (SCORE + "--split split.csv --seed 5", ["--seed", "5 with the fold scheme fixed", "only with", "leave --seed out"]),
    (SCORE + "--fold-scheme kfold --test-size 0.2", ["--test-size", "0.2 with", "shuffle", "leave --test-size out"]),
    (SCORE + "--groups nowhere.csv", ["nowhere.csv", "nothing there", "a readable CSV file", "check the path"]),
    (SCORE + "--groups half.csv", ["half.csv", "no line for 30 of 60", "every labelled sample", "add the missing ids"]),
    (SCORE + "--split sides.csv", ["sides.csv, line 2", "'left'", "dev, train", "give every id a split"]),
    (SCORE + "--seed -1", ["--seed", "-1", "from 0 to 4294967295", "correct --seed"]),
    (SCORE + "--seed lucky", ["--seed", "'lucky'", "a whole number", "--seed 42"]),
    (SCORE + "--test-size 1.5", ["--test-size", "1.5", "between 0 and 1", "correct --test-size"]),
    (SCORE + "--test-size 10%", ["--test-size", "'10%'", "a number", "--test-size 0.1"]),
    (SCORE + "--ids ids.txt", ["a.npz", "ids.txt", "only for .npy", "leave the id file out"]),
    (SCORE + "--format xml", ["--format", "'xml'", "one of table, json, csv, parquet", "--format table"]),
    (SCORE + "--format parquet", ["--format", "parquet without --out", "a file", "--out scores.parquet"]),
    (SCORE + "--out {out}/s.xlsx", ["--out", "s.xlsx", ".parquet", "--format"]),
    (SCORE + "--out {out}/s.csv --format parquet", ["--out", "s.csv", ".parquet", "change the name"]),
    (
        SCORE + "--out {out}/there/s.csv",
        ["--out", "a folder that does not exist", "an existing folder", "make the folder"],
    ),
    (SCORE + "--out {out}", ["--out", "a name that says no format", "ends in .json", "change the name"]),
    (SCORE + "--out {out} --format csv", ["--out", "a folder", "a file", "name a file in it"]),
    (SCORE + "--fold 3", ["No such option", "--fold", "--folds", "fastprobe score --help"]),
    ("score --labels labels", ["Missing argument", "SUBMISSION", "fastprobe score --help"]),
    ("score a.npz", ["Missing option", "--labels", "fastprobe score --help"]),
    ("score a.npz --labels nowhere", ["nowhere", "found", "a folder", "to fix"]),
    ("score nowhere.csv --labels labels", ["nowhere.csv", "nothing there", "a submission file", "check the path"]),
    ("score a.npz a.npz --labels labels", ["SUBMISSION", "the name 'a'", "a different file name", "rename"]),
    ("score a.npz again/a.npz --labels labels", ["SUBMISSION", "again/a.npz", "a different file name", "rename"]),
    ("leaderboard", ["Missing argument", "RUN_DIR", "fastprobe leaderboard --help"]),
    ("leaderboard nowhere", ["nowhere", "nothing there", "scores as fastprobe writes them", "score --out"]),
    ("leaderboard labels", ["labels", "no Parquet file", "scores as fastprobe writes them", "score --out"]),
    ("leaderboard a.npz", ["a.npz", "'.npz'", "scores as fastprobe writes them", "score --out"]),
    ("leaderboard mixed.json", ["'b'", "another protocol", "hash", "score again what differs"]),
    ("leaderboard good.json --rank best", ["--rank", "'best'", "one of neuco, mean, uniform", "--rank neuco"]),
    ("leaderboard good.json --format parquet", ["--format", "parquet without --out", "a file", "--out"]),
    ("leaderboard good.json --out {out}/b.xlsx", ["--out", "b.xlsx", ".parquet", "--format"]),
    (CHECK + "--format csv", ["--format", "'csv'", "one of table, json", "--format table"]),
    (CHECK + "--folds none", ["--folds", "'none'", "a whole number", "--folds 40"]),
    (CHECK + "--tasks depth", ["--tasks", "'depth'", "height, ships, width", "correct the names"]),
    ("check nowhere.csv --labels labels", ["nowhere.csv", "nothing there", "a submission file", "path"]),
    ("demo --out a.npz", ["--out", "a.npz", "a folder", "name a new or existing folder"]),
    ("doctor --format yaml", ["--format", "'yaml'", "one of table, json", "--format table"]),
    ("swep", ["No such command 'swep'", "fastprobe --help"]),
    ("--verbose", ["No such option", "--verbose", "fastprobe --help"]),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_inputs(tmp_path_factory.mktemp("inputs"))
    (folder / "again").mkdir()
    (folder / "again" / "a.npz").write_bytes((folder / "a.npz").read_bytes())
    write_csv(folder / "half.csv", "id,group", ((f"s{i:03d}", i % 3) for i in range(30)))
    write_csv(folder / "sides.csv", "id,split", ((f"s{i:03d}", "left") for i in range(60)))
    (folder / "syntax.toml").write_text("alpha = = 3\n")
    (folder / "field.toml").write_text("strength = 3.0\n")
    (folder / "strong.toml").write_text('probe = "ridge"\nalpha = 9.0\n')
    (folder / "table.toml").write_text("[kernel]\nlandmarks = 100\n")
    (folder / "value.toml").write_text('[folds]\nn_folds = "ten"\n')
    (folder / "good.json").write_text(table(regression_row("a")).to_json())
    mixed = table(regression_row("a"), regression_row("b", protocol_hash="another"))
    (folder / "mixed.json").write_text(mixed.to_json())
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def refused(status: int, stdout: str, stderr: str) -> None:
    assert status == 2, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert [line[:7] for line in stderr.splitlines()].count("error: ") == 1


@pytest.mark.parametrize(("line", "words"), OPTIONS, ids=[line.replace("{out}", "OUT") for line, _ in OPTIONS])
def test_wrong_options(folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch, line: str, words: list[str]) -> None:
    monkeypatch.chdir(folder)
    own = "--out" in line or "--format parquet" in line or not line.startswith("score")
    writes = "" if own else f" --out {out / 'scores.json'}"
    done = CliRunner().invoke(app, (line.format(out=out) + writes).split())
    refused(done.exit_code, done.stdout, done.stderr)
    for word in words:
        assert word in done.stderr
    assert list(out.iterdir()) == []


def test_the_table_is_long_enough() -> None:
    assert len(OPTIONS) >= 20


@pytest.mark.parametrize("line", ["score a.npz --labels labels --alpha 0", "leaderboard labels", "--verbose"])
def test_wrong_options_in_a_process_of_their_own(folder: Path, line: str) -> None:
    command = [sys.executable, "-m", "fastprobe", *line.split()]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    refused(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("case", [*BROKEN, *ASSIGNMENTS], ids=lambda case: case.name)
def test_broken_files(case: Broken, tmp_path: Path, out: Path) -> None:
    (tmp_path / "broken").mkdir()
    broken, submission, labels = case.make(tmp_path / "broken"), good_submission(tmp_path), good_labels(tmp_path)
    given = {"submission": submission, "labels": labels, case.kind: broken}
    line = ["score", given["submission"], "--labels", given["labels"], "--out", out / "scores.parquet"]
    if case.kind in ("groups", "split"):
        line += [f"--{case.kind}", broken]
    done = CliRunner().invoke(app, [str(word) for word in line])
    refused(done.exit_code, done.stdout, done.stderr)
    for part in (case.place, case.found, case.expected, case.fix):
        assert printable(part) in done.stderr
    assert list(out.iterdir()) == []


def test_the_files_beside_the_broken_ones_are_scored(tmp_path: Path, out: Path) -> None:
    line = [
        "score",
        good_submission(tmp_path),
        "--labels",
        good_labels(tmp_path),
        "--folds",
        "3",
        "--out",
        out / "s.json",
    ]
    done = CliRunner().invoke(app, [str(word) for word in line])
    assert done.exit_code == 0, done.stderr
    assert [p.name for p in out.iterdir()] == ["s.json"]
