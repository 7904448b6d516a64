"""``fastprobe sweep``: what it prints and writes, what it refuses, and how it goes on after an interruption."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_inputs import D, write_csv, write_inputs
from typer.testing import CliRunner

import fastprobe
from fastprobe.cli import app
from fastprobe.cli import sweep as command
from fastprobe.sweeps.table import SCHEMA

SWEEP = "sweep a.npz --labels labels "
TASKS = ["height", "ships", "width"]
PROMISED = {
    "submission", "task", "order", "size", "alpha", "bits", "fraction", "bytes_per_sample", "mean", "std", "q",
    "fold_scores",
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_inputs(tmp_path_factory.mktemp("inputs"))
    strong = fastprobe.Protocol.named("ridge").with_options(alpha=7.0, folds=3)
    (folder / "strong.toml").write_text(strong.to_toml())
    return folder


@pytest.fixture
def run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Callable:
    """Run a command line in the folder of the inputs, as if its output were piped."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda line: CliRunner().invoke(app, line.split())


@pytest.fixture
def rows(run: Callable) -> Callable:
    """The rows of the JSON document of a command with three folds."""

    def rows_of(options: str, submissions: str = "a.npz") -> list[dict]:
        done = run(f"sweep {submissions} --labels labels --folds 3 --format json {options}")
        assert done.exit_code == 0, done.stderr
        return json.loads(done.stdout)["rows"]

    return rows_of


def found(rows: list[dict], *columns: str) -> list:
    """Values of some columns, each once, in order of appearance."""
    values = [tuple(row[column] for column in columns) for row in rows]
    return [v[0] if len(columns) == 1 else v for v in dict.fromkeys(values)]


def expected(folder: Path, names: list[str], tasks: list[str] | None = None, **options: object) -> list[dict]:
    """What the Python function gives."""
    bench = fastprobe.Benchmark.from_folder(folder / "labels", tasks=tasks)
    made = fastprobe.sweep([folder / name for name in names], bench, folds=3, **options)
    return json.loads(made.to_json())["rows"]


# --- what is printed and written -------------------------------------------------------------------------------------


def test_the_table_says_how_small_it_may_be(run, folder):
    done = run(SWEEP + "--folds 3")
    assert done.exit_code == 0, done.stderr
    assert f"a ({D} dimensions): protocol ridge, alpha 100, 3 folds (shuffle)" in done.stdout
    bench = fastprobe.Benchmark.from_folder(folder / "labels")
    made = fastprobe.sweep([folder / "a.npz"], bench, sizes="all", folds=3)
    height = next(kept for kept in made.smallest if (kept.task, kept.share) == ("height", 0.99))
    lines = [line.split() for line in done.stdout.splitlines()]
    cells = [f"{height.full_mean:.4f}", f"{height.full_q:.2f}", f"{height.size},", f"{height.bytes_per_sample}", "B"]
    assert ["height", str(D), *cells] in [line[:7] for line in lines]
    sentence = f"height: {height.size} of {D} dimensions ({height.bytes_per_sample} bytes) keep 99 % of R2"
    assert sentence in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "\x1b" not in done.stdout


def test_json_is_one_document_with_the_promised_rows(run, folder):
    done = run(SWEEP + "--folds 3 --sizes 2,5 --format json")
    document = json.loads(done.stdout)  # all of standard output
    assert {"protocol", "rows", "smallest"} == set(document)
    assert [set(row) for row in document["rows"]] == [set(SCHEMA.names)] * 6
    assert set(SCHEMA.names) >= PROMISED
    assert document["rows"] == expected(folder, ["a.npz"], sizes=[2, 5])
    assert all(len(row["fold_scores"]) == 3 for row in document["rows"])
    assert "device auto" in done.stderr


def test_csv_has_a_row_each_and_a_column_for_every_fold(run, folder):
    lines = list(csv.DictReader(io.StringIO(run(SWEEP + "--folds 3 --sizes 2,5 --format csv").stdout)))
    made = expected(folder, ["a.npz"], sizes=[2, 5])
    assert [(line["task"], int(line["size"])) for line in lines] == [(row["task"], row["size"]) for row in made]
    for line, row in zip(lines, made, strict=True):
        assert float(line["q"]) == row["q"]
        assert [float(line[f"fold_{k}"]) for k in range(3)] == row["fold_scores"]
    assert "fold_3" not in lines[0]


def kept_rows(out: Path) -> list[dict]:
    return json.loads(fastprobe.Sweep.read(out).to_json())["rows"]


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_out_holds_the_table_and_the_figures(run, folder, tmp_path):
    pytest.importorskip("matplotlib")
    out = tmp_path / "made" / "by" / "it"
    done = run(SWEEP + f"--tasks height --folds 3 --sizes 2,5 --alphas 1,100 --fractions 0.5,1 --out {out}")
    assert done.exit_code == 0, done.stderr
    assert "99 % kept by" in done.stdout
    figures = {f"{name}.{suffix}" for name in ("size", "surface", "frontier", "learning") for suffix in ("svg", "png")}
    assert written(out) == {"sweep.parquet", "sweep.csv", "parts"} | figures
    assert f"to {out}" in done.stderr
    assert kept_rows(out) == expected(
        folder, ["a.npz"], ["height"], sizes=[2, 5], alphas=[1.0, 100.0], fractions=[0.5, 1.0]
    )
    assert (out / "sweep.csv").read_text() == fastprobe.Sweep.read(out).to_csv_text()


def test_no_plots_draws_none(run, tmp_path):
    done = run(SWEEP + f"--folds 3 --no-plots --out {tmp_path}")
    assert done.exit_code == 0, done.stderr
    assert written(tmp_path) == {"sweep.parquet", "sweep.csv", "parts"}
    assert "figures" not in done.stderr


def test_without_matplotlib_there_is_a_note_and_all_else(run, tmp_path, monkeypatch):
    monkeypatch.setattr(
        command, "find_spec", lambda name: None if name == "matplotlib" else importlib.util.find_spec(name)
    )
    done = run(SWEEP + f"--folds 3 --out {tmp_path}")
    assert done.exit_code == 0, done.stderr
    assert "no figures: they need matplotlib, pip install 'fastprobe[report]'" in done.stderr
    assert written(tmp_path) == {"sweep.parquet", "sweep.csv", "parts"}


@pytest.mark.parametrize(
    ("options", "screen"),
    [
        ("--quiet", "nothing"),
        ("--quiet --format parquet", "nothing"),
        ("--quiet --format json", "json"),
        ("--quiet --format csv", "csv"),
        ("--format parquet", "table"),
        ("--format json", "json"),
        ("--format csv", "csv"),
        ("", "table"),
    ],
)
def test_what_is_on_the_screen_beside_the_files(run, tmp_path, options, screen):
    done = run(SWEEP + f"--folds 3 --sizes 6 --no-plots --out {tmp_path} {options}")
    assert done.exit_code == 0, done.stderr
    starts = {"nothing": "", "json": '{"protocol"', "csv": "submission,task,", "table": f"a ({D} dimensions)"}
    assert done.stdout.startswith(starts[screen])
    assert (done.stdout == "") == (screen == "nothing")
    assert (done.stderr == "") == ("--quiet" in options)
    assert len(fastprobe.Sweep.read(tmp_path)) == 3


def test_quiet_without_files_prints_the_table_only(run):
    done = run(SWEEP + "--folds 3 --sizes 6 -q")
    assert "height" in done.stdout
    assert done.stderr == ""


def test_several_strengths_are_in_the_title(run):
    assert "protocol ridge, alpha 1 to 100, 3 folds" in run(SWEEP + "--folds 3 --alphas 1:100:3 -q").stdout


def test_of_equal_curves_the_one_of_fewest_bytes_speaks(run, folder):
    bench = fastprobe.Benchmark.from_folder(folder / "labels")
    made = fastprobe.sweep([folder / "a.npz"], bench, sizes="all", orders=["given", "random"], folds=3)
    curves = [kept for kept in made.smallest if (kept.task, kept.share) == ("width", 0.99)]
    assert len({round(kept.full_mean, 12) for kept in curves}) == 1  # all dimensions together, in any order
    best = min(curves, key=lambda kept: kept.bytes_per_sample)
    assert best.order == "random"  # the label is one of the last dimensions as they are given
    shown = " ".join(run(SWEEP + "--folds 3 --orders given,random -q").stdout.split())
    assert f"width, random, seed {best.seed} (best of 4 curves): {best.size} of {D} dimensions" in shown


# --- what is swept ---------------------------------------------------------------------------------------------------


def test_sizes_are_all_or_those_named(rows):
    assert found(rows("--sizes all"), "size") == list(range(1, D + 1))
    assert found(rows("--sizes 1,4"), "size") == [1, 4]
    assert found(rows(""), "size") == list(range(1, D + 1))  # nothing else is swept
    for other in ("--alphas 1,2", "--bits 8", "--fractions 0.5,1", "--protocol logistic --alpha 1"):
        assert found(rows(other), "size") == [D]


def test_alphas_are_a_range_or_a_list_and_each_is_scored(rows, folder):
    made = rows("--alphas 0.1:1000:5 --sizes 3")
    assert found(made, "alpha") == [0.1, pytest.approx(1.0), pytest.approx(10.0), pytest.approx(100.0), 1000.0]
    assert made == expected(folder, ["a.npz"], sizes=[3], alphas=found(made, "alpha"))
    assert found(rows("--alphas 30,5 --sizes 3"), "alpha") == [5.0, 30.0]
    assert found(rows("--alpha 5 --sizes 3"), "alpha") == [5.0]


def test_alpha_auto_chooses_among_the_alphas(rows, folder):
    made = rows("--alpha auto --alphas 2,20 --sizes 3,6")
    assert found(made, "alpha") == [None]
    assert all(len(row["fold_alphas"]) == 3 and set(row["fold_alphas"]) <= {2.0, 20.0} for row in made)
    assert made == expected(folder, ["a.npz"], sizes=[3, 6], alpha="auto", alphas=[2.0, 20.0])
    of_grid = {alpha for row in rows("--alpha auto --sizes 3") for alpha in row["fold_alphas"]}
    assert of_grid <= set(fastprobe.Protocol.named("ridge").with_options(alpha="auto").alpha_grid)


def test_bits_and_quantizers(rows):
    made = rows("--bits 32,8,1")
    assert found(made, "bits", "quantizer", "bytes_per_sample") == [(32, "none", 24), (8, "uniform", 6), (1, "sign", 1)]
    made = rows("--bits 2,1 --quantizers uniform,dimension,sign")
    kinds = [(2, "uniform"), (2, "dimension"), (1, "uniform"), (1, "dimension"), (1, "sign")]
    assert found(made, "bits", "quantizer") == kinds


def test_fractions(rows):
    made = rows("--fractions 0.1,0.5,1")
    assert found(made, "fraction", "n_train") == [(0.1, 6), (0.5, 27), (1.0, 54)]


def test_orders(rows, folder):
    made = rows("--orders given,variance,pca,random --random-orders 2 --sizes 2")
    assert found(made, "order", "seed") == [
        ("given", None), ("variance", None), ("pca", None), ("random", 0), ("random", 1),
    ]  # fmt: skip
    assert found(rows("--orders random --sizes 2"), "seed") == [0, 1, 2]
    for options, pca_rows in (("", "train"), ("--pca-rows train", "train"), ("--pca-rows all", "all")):
        assert rows(f"--orders pca --sizes 2 {options}") == expected(
            folder, ["a.npz"], sizes=[2], orders=["pca"], pca_rows=pca_rows
        )


def test_submissions_are_joined(rows):
    made = rows("--join 2 --sizes 4", "a.npz b.csv")
    assert found(made, "submission", "n_features") == [("a", 6), ("b", 4), ("a+b", 10)]


@pytest.mark.parametrize(
    ("options", "probes"),
    [
        ("ridge", {"ridge"}),
        ("closed-form --alpha 1", {"ridge", "logistic"}),
        ("logistic --alpha 1", {"logistic"}),
        ("strong.toml", {"ridge"}),
    ],
)
def test_protocols(rows, folder, options, probes):
    made = rows(f"--sizes 2,6 --protocol {options}")
    assert set(found(made, "probe")) == probes
    assert set(found(made, "task")) == ({"ships"} if probes == {"logistic"} else set(TASKS))
    name, _, alpha = options.partition(" --alpha ")
    chosen = str(folder / name) if name.endswith(".toml") else name
    full = fastprobe.score(
        [folder / "a.npz"], fastprobe.Benchmark.from_folder(folder / "labels"), protocol=chosen, folds=3,
        alpha=float(alpha) if alpha else None,
    )  # fmt: skip
    for row in made:
        if row["size"] == D:
            assert row["fold_scores"] == pytest.approx(full.get("a", row["task"]).fold_scores, abs=1e-9)
    assert found(made, "alpha") == [7.0 if "toml" in options else float(alpha or 100)]


def test_options_of_score_mean_the_same(run, rows, folder):
    made = rows("--sizes 6 --tasks width,height --groups groups.csv --seed 7 --device cpu")
    assert sorted(found(made, "task")) == ["height", "width"]
    spec = fastprobe.FoldSpec(scheme="group-shuffle", n_folds=3, seed=7, file=str(folder / "groups.csv"))
    protocol = fastprobe.Protocol(probe="ridge", alpha=100.0, folds=spec)
    assert found(made, "protocol_hash") == [protocol.hash]
    with_ids = rows("--sizes 6 --ids ids.txt", "matrix.npy")
    assert [row["fold_scores"] for row in with_ids] == [row["fold_scores"] for row in rows("--sizes 6")]


# --- what is refused -------------------------------------------------------------------------------------------------

# (options, words that the message must hold: the place, what was found, what was expected, what to do)
WRONG: list[tuple[str, list[str]]] = [
    ("--sizes some", ["--sizes", "'some'", "whole numbers with commas", "--sizes 8,64,512, or --sizes all"]),
    ("--sizes ,", ["--sizes", "','", "whole numbers with commas", "--sizes 8,64,512, or --sizes all"]),
    ("--sizes 2,,4", ["--sizes", "'2,,4'", "whole numbers with commas", "--sizes 8,64,512, or --sizes all"]),
    ("--sizes 2.5", ["--sizes", "'2.5'", "whole numbers with commas", "--sizes 8,64,512, or --sizes all"]),
    ("--sizes 0,2", ["--sizes", "[0, 2]", "at least 1, ascending, each once", "correct --sizes"]),
    ("--sizes -3", ["--sizes", "[-3]", "at least 1, ascending, each once", "correct --sizes"]),
    ("--sizes 2,2", ["--sizes", "[2, 2]", "at least 1, ascending, each once", "correct --sizes"]),
    ("--sizes 4,2", ["--sizes", "[4, 2]", "at least 1, ascending, each once", "correct --sizes"]),
    ("--sizes 2,7", ["--sizes", "7, and submission 'a' with 6 dimensions", "from 1 to 6", "leave out what is larger"]),
    ("--orders best", ["--orders", "['best']", "some of given, variance, pca, random", "correct --orders"]),
    ("--orders given,given", ["--orders", "['given', 'given']", "each once", "correct --orders"]),
    ("--orders given,", ["--orders", "'given,'", "words with commas", "--orders given,pca"]),
    ("--orders random --random-orders 0", ["--random-orders", "0", "at least 1", "correct --random-orders"]),
    ("--orders random --random-orders few", ["--random-orders", "'few'", "a whole number", "--random-orders 3"]),
    ("--random-orders 5", ["--random-orders", "5 without the order random", "only with --orders random", "add random"]),
    ("--pca-rows all", ["--pca-rows", "all without the order pca", "only with --orders pca", "add pca to --orders"]),
    ("--orders pca --pca-rows some", ["--pca-rows", "'some'", "one of train, all", "--pca-rows train"]),
    ("--orders pca --bits 8", ["--bits", "principal components of the training", "one matrix", "--pca-rows all"]),
    ("--alphas strong", ["--alphas", "'strong'", "numbers with commas", "--alphas 1,10,100"]),
    ("--alphas 1,", ["--alphas", "'1,'", "numbers with commas", "--alphas 1,10,100"]),
    ("--alphas 0,1", ["--alphas", "[0.0, 1.0]", "finite numbers above 0, each once", "correct --alphas"]),
    ("--alphas -1", ["--alphas", "[-1.0]", "finite numbers above 0, each once", "correct --alphas"]),
    ("--alphas nan", ["--alphas", "[nan]", "finite numbers above 0, each once", "correct --alphas"]),
    ("--alphas 1,inf", ["--alphas", "[1.0, inf]", "finite numbers above 0, each once", "correct --alphas"]),
    ("--alphas 1,1", ["--alphas", "[1.0, 1.0]", "finite numbers above 0, each once", "correct --alphas"]),
    ("--alphas 0:10:3", ["--alphas", "'0:10:3'", "LO:HI:N with 0 < LO < HI", "--alphas 0.01:1e6:9"]),
    ("--alphas 10:1:3", ["--alphas", "'10:1:3'", "LO:HI:N with 0 < LO < HI", "--alphas 0.01:1e6:9"]),
    ("--alphas 1:10:1", ["--alphas", "'1:10:1'", "N from 2 to 1000", "--alphas 0.01:1e6:9"]),
    ("--alphas 1:10", ["--alphas", "'1:10'", "LO:HI:N with 0 < LO < HI", "--alphas 0.01:1e6:9"]),
    ("--alphas 1:10:x", ["--alphas", "'1:10:x'", "LO:HI:N with 0 < LO < HI", "--alphas 0.01:1e6:9"]),
    ("--alphas 1,2 --alpha 3", ["--alphas", "--alpha 3", "one of them, or --alpha auto", "leave one out"]),
    ("--alpha 0", ["--alpha", "0.0", "a finite number above 0, or auto", "correct --alpha"]),
    ("--bits 3", ["--bits", "[3]", "some of 32, 16, 8, 4, 2, 1", "correct --bits"]),
    ("--bits 8,8", ["--bits", "[8, 8]", "each once", "correct --bits"]),
    ("--bits few", ["--bits", "'few'", "whole numbers with commas", "--bits 32,8,1"]),
    ("--bits 8,", ["--bits", "'8,'", "whole numbers with commas", "--bits 32,8,1"]),
    ("--quantizers sign", ["--quantizers", "['sign']", "only where there are bits", "correct --quantizers"]),
    ("--bits 8 --quantizers best", ["--quantizers", "['best']", "some of uniform, dimension, sign", "correct"]),
    ("--bits 8 --quantizers sign", ["--quantizers", "'sign'", "sign has 1 bit only", "correct --quantizers"]),
    ("--bits 8,1 --quantizers sign", ["--quantizers", "['sign']", "a quantizer for [8] bits", "correct --quantizers"]),
    ("--fractions 0", ["--fractions", "[0.0]", "shares above 0 and up to 1", "correct --fractions"]),
    ("--fractions 0.5,1.5", ["--fractions", "[0.5, 1.5]", "shares above 0 and up to 1", "correct --fractions"]),
    ("--fractions 1,0.5", ["--fractions", "[1.0, 0.5]", "ascending, each once", "correct --fractions"]),
    ("--fractions nan", ["--fractions", "[nan]", "shares above 0 and up to 1", "correct --fractions"]),
    ("--fractions half", ["--fractions", "'half'", "numbers with commas", "--fractions 0.1,0.3,1"]),
    ("--join 0", ["--join", "0", "at least 1", "correct --join"]),
    ("--join two", ["--join", "'two'", "a whole number", "--join 2"]),
    ("--join 2", ["--join", "2 with one submission", "two or more submissions to join", "leave join out"]),
    ("--protocol kernel", ["--protocol", "kernel, whose probe is kernel", "ridge, logistic or closed-form", "ridge"]),
    ("--protocol neuco", ["--protocol", "neuco, whose probe is neuco", "ridge, logistic or closed-form", "ridge"]),
    ("--protocol best", ["--protocol", "'best'", "one of closed-form, ridge", "correct the name"]),
    ("--protocol logistic --tasks width", ["--protocol", "no classification", "a classification task", "closed-form"]),
    (
        "--protocol logistic --orders pca",
        ["--orders", "pca of the training rows", "the same for all", "--pca-rows all"],
    ),
    (
        "--protocol closed-form --bits 8 --quantizers dimension",
        ["--quantizers", "dimension, a range for every dimension, with logistic", "one scale", "the quantizer uniform"],
    ),
    ("b.csv --protocol closed-form --join 2", ["--join", "with logistic probes", "one scale", "protocol ridge"]),
    ("--tasks depth", ["--tasks", "'depth'", "height, ships, width", "correct the names"]),
    ("--folds 0", ["--folds", "0", "from 1 to 10000", "correct --folds"]),
    ("--device tpu", ["--device", "'tpu'", "one of auto, cpu, cuda", "--device auto"]),
    ("--format xml", ["--format", "'xml'", "one of table, json, csv, parquet", "--format table"]),
    ("a.npz", ["SUBMISSION", "the name 'a'", "a different file name", "rename one"]),
    ("nowhere.csv", ["nowhere.csv", "nothing there", "a submission file", "check the path"]),
]


def refused(status: int, stdout: str, stderr: str, words: list[str]) -> None:
    assert status == 2, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    assert [line[:7] for line in stderr.splitlines()].count("error: ") == 1
    for word in words:
        assert word in stderr


@pytest.mark.parametrize(("options", "words"), WRONG, ids=[options for options, _ in WRONG])
def test_wrong_options(run, tmp_path, options, words):
    done = run(SWEEP + f"{options} --out {tmp_path / 'out'}")
    refused(done.exit_code, done.stdout, done.stderr, words)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--out a.npz", ["--out", "'a.npz', a file", "a folder", "name a folder"]),
        ("--out a.npz/there", ["--out", "'a.npz/there': Not a directory", "can be written", "name another folder"]),
        ("--format parquet", ["--format", "parquet without --out", "a folder for it", "add --out DIR"]),
    ],
)
def test_wrong_places(run, options, words):
    done = run(SWEEP + options)
    refused(done.exit_code, done.stdout, done.stderr, words)


# --- going on --------------------------------------------------------------------------------------------------------


def test_the_same_command_again_computes_nothing(run, tmp_path, monkeypatch):
    line = SWEEP + f"--folds 3 --orders given,random --random-orders 2 --no-plots --out {tmp_path}"
    assert "there already" not in run(line).stderr
    first = (tmp_path / "sweep.parquet").read_bytes()

    def never(*_: object) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr("fastprobe.sweeps.job.blocks_of", never)
    done = run(line)
    assert done.exit_code == 0, done.stderr
    assert "3 of 3 units were there already" in done.stderr
    assert (tmp_path / "sweep.parquet").read_bytes() == first


def test_another_command_in_the_folder_computes_what_is_new(run, tmp_path):
    line = SWEEP + f"--folds 3 --no-plots --out {tmp_path} "
    run(line + "--orders given")
    done = run(line + "--orders given,variance")
    assert "1 of 2 units were there already" in done.stderr
    assert found(kept_rows(tmp_path), "order") == ["given", "variance"]
    assert "there already" not in run(line + "--orders given --alpha 3").stderr


def test_an_interrupt_in_one_process_keeps_what_is_finished(run, tmp_path, monkeypatch):
    from fastprobe.sweeps import job

    line = SWEEP + f"--folds 3 --orders random --random-orders 3 --no-plots --out {tmp_path}"
    original, calls = job.blocks_of, []

    def interrupted(unit: object) -> object:
        calls.append(unit)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(unit)

    monkeypatch.setattr(job, "blocks_of", interrupted)
    done = run(line)
    assert done.exit_code == 130
    assert done.stdout == ""
    assert f"the finished units are kept in {tmp_path}; the same command goes on there" in done.stderr
    assert done.stderr.splitlines()[-1] == "error: interrupted"
    assert written(tmp_path) == {"parts"}
    assert len(list((tmp_path / "parts").iterdir())) == 2
    assert "2 of 3 units were there already" in run(line).stderr


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs whose sweep has units that take a while each."""
    folder = tmp_path_factory.mktemp("large")
    rng = np.random.default_rng(0)
    n, d = 300, 120
    ids = np.array([f"s{i:04d}" for i in range(n)])
    x = rng.normal(size=(n, d)).astype(np.float32)
    np.savez(folder / "large.npz", id=ids, x=x)
    (folder / "labels").mkdir()
    y = x[:, :3].sum(axis=1) + rng.normal(size=n)
    write_csv(folder / "labels" / "height__regression.csv", "id,label", zip(ids, y.tolist(), strict=True))
    return folder


def test_ctrl_c_keeps_what_is_finished_and_the_same_command_goes_on(run, large, tmp_path, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    line = (
        "sweep large.npz --labels labels --folds 20 --sizes 1,120 --orders random --random-orders 25 --device cpu "
        "--no-plots --format json --out "
    )
    started = subprocess.Popen(
        [sys.executable, "-m", "fastprobe", *line.split(), str(out)],
        cwd=large, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 60
        while len(list(out.glob("parts/*.parquet"))) < 2:
            assert started.poll() is None, "it ended before it could be interrupted"
            assert time.monotonic() < end, "no unit was finished in a minute"
            time.sleep(0.005)
        started.send_signal(signal.SIGINT)
        stdout, stderr = started.communicate(timeout=60)
    finally:
        started.kill()
        started.wait()
    assert started.returncode == 130, stderr
    assert stdout == ""
    assert f"the finished units are kept in {out}; the same command goes on there" in stderr
    assert stderr.splitlines()[-1] == "error: interrupted"
    assert "Traceback" not in stderr
    assert written(out) == {"parts"}
    kept = {path: path.stat().st_mtime_ns for path in out.glob("parts/*")}
    assert all(path.suffix == ".parquet" for path in kept)  # none half written
    assert 2 <= len(kept) < 25

    monkeypatch.chdir(large)
    resumed, undisturbed = run(line + str(out)), run(line + str(whole))
    assert f"{len(kept)} of 25 units were there already" in resumed.stderr
    assert "there already" not in undisturbed.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    again, once = (json.loads(done.stdout)["rows"] for done in (resumed, undisturbed))
    assert found(again, "seed", "size") == found(once, "seed", "size")
    for mine, other in zip(again, once, strict=True):  # equal but for the order of float64 sums in another process
        assert mine["fold_scores"] == pytest.approx(other["fold_scores"], abs=1e-12)
        assert mine["q"] == pytest.approx(other["q"], rel=1e-10)
