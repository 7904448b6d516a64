from __future__ import annotations

import csv
import errno
import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from score_rows import PROTOCOL, classification_row, regression_row, table
from small_inputs import D, N, write_inputs
from typer.main import get_command
from typer.testing import CliRunner

import fastprobe
from fastprobe import engine
from fastprobe.cli import app
from fastprobe.cli.progress import DelayedBar
from fastprobe.errors import FastprobeError
from fastprobe.protocol import Protocol
from fastprobe.results import Scores


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture
def run(folder, monkeypatch):
    """Run a command line in the folder of the inputs, as if its output were piped."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda line: CliRunner().invoke(app, line.split())


# --- the program -----------------------------------------------------------------------------------------------------


def test_help_names_what_is_there_and_nothing_else(run):
    done = run("--help")
    assert done.exit_code == 0
    for command in ("demo", "score", "ingest", "leaderboard", "sweep", "neuco", "check", "doctor"):
        assert f" {command} " in done.stdout
    for planned in ("cluster",):
        assert planned not in done.stdout
        assert run(planned).exit_code == 2


@pytest.mark.parametrize(
    "arguments", [["--help"], ["score", "--help"], ["sweep", "--help"], ["neuco", "--help"], ["--version"]]
)
def test_help_imports_nothing_heavy(arguments):
    heavy = ["numpy", "scipy", "numba", "pyarrow", "zarr", "matplotlib", "threadpoolctl", "cupy"]
    code = f"""
import sys
from fastprobe.cli import app
sys.argv[1:] = {arguments!r}
try:
    app()
except SystemExit as end:
    print([m for m in {heavy!r} if m in sys.modules], end.code)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_version(run):
    assert run("--version").stdout == f"fastprobe {fastprobe.__version__}\n"


def test_no_command_shows_the_help_and_is_wrong(run):
    done = run("")
    assert "Usage: fastprobe" in done.stdout
    assert done.exit_code == 2


def test_python_m_gives_the_status_to_the_shell(folder):
    line = [sys.executable, "-m", "fastprobe", "score", "nowhere.csv", "--labels", "labels"]
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines()[0] == "error: nowhere.csv"
    assert "Traceback" not in done.stderr


def test_every_command_and_option_is_in_the_documentation():
    text = (Path(__file__).resolve().parents[1] / "docs" / "cli.md").read_text(encoding="utf-8")
    for name, command in get_command(app).commands.items():
        assert f"## fastprobe {name}" in text
        for option in (option for parameter in command.params for option in parameter.opts if option.startswith("--")):
            assert option in text


# --- score -----------------------------------------------------------------------------------------------------------


def test_score_prints_mean_std_and_q_of_one_submission(run, folder):
    done = run("score a.npz --labels labels")
    assert done.exit_code == 0, done.stderr
    assert f"a ({D} dimensions): protocol closed-form, alpha auto, 40 folds (shuffle)" in done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["Task", "Metric", "Samples", "Mean", "Std", "Q"] in lines
    scores = expected(folder, ["a.npz"])
    row = scores.get("a", "height")
    assert ["height", "R2", str(N), f"{row.mean:.4f}", f"{row.std:.4f}", f"{row.q:.2f}"] in lines
    assert ["mean", "Q", f"{scores.mean_q('a'):.2f}"] in lines


def expected(folder: Path, names: list[str], **options: object) -> Scores:
    bench = fastprobe.Benchmark.from_folder(folder / "labels")
    return fastprobe.score([folder / name for name in names], bench, **options)


def test_score_prints_q_of_several_submissions(run, folder):
    done = run("score a.npz b.csv --labels labels")
    lines = [line.split() for line in done.stdout.splitlines()]
    scores = expected(folder, ["a.npz", "b.csv"])
    assert ["Q", "of", "each", "task", "a", "b"] in lines
    for task in ("height", "ships", "width"):
        assert [task, f"{scores.q('a', task):.2f}", f"{scores.q('b', task):.2f}"] in lines
    assert ["mean", "Q", f"{scores.mean_q('a'):.2f}", f"{scores.mean_q('b'):.2f}"] in lines


def test_piped_tables_are_plain_and_narrow(run):
    for line in ("score a.npz b.csv --labels labels", "check a.npz --labels labels", "doctor"):
        out = run(line).stdout
        assert "\x1b" not in out
        assert max(map(len, out.splitlines())) <= 80


def test_score_prints_one_json_document(run, folder):
    done = run("score a.npz b.csv --labels labels --format json --folds 5 --alpha 1")
    document = json.loads(done.stdout)
    scores = expected(folder, ["a.npz", "b.csv"], folds=5, alpha=1.0)
    assert document == json.loads(scores.to_json())
    assert [len(score["fold_scores"]) for score in document["scores"]] == [5] * 6
    assert "device auto" in done.stderr


def test_score_prints_csv(run):
    lines = list(csv.DictReader(io.StringIO(run("score a.npz --labels labels --format csv --folds 3").stdout)))
    assert [line["task"] for line in lines] == ["height", "ships", "width"]
    assert {"fold_0", "fold_2"} <= set(lines[0])


@pytest.mark.parametrize("suffix", ["parquet", "json", "csv", "txt"])
def test_out_takes_the_format_of_its_suffix_and_the_table_is_still_shown(run, tmp_path, suffix):
    out = tmp_path / f"scores.{suffix}"
    done = run(f"score a.npz --labels labels --out {out}")
    assert done.exit_code == 0
    assert "mean Q" in done.stdout
    assert f"wrote {out}" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    if suffix in ("parquet", "json"):
        assert len(Scores.read(out)) == 3
    elif suffix == "csv":
        assert out.read_text().startswith("submission,task,kind,metric,")
    else:
        assert "mean Q" in out.read_text()
        assert "\x1b" not in out.read_text()


def test_format_decides_where_the_suffix_does_not(run, tmp_path):
    out = tmp_path / "scores.data"
    assert run(f"score a.npz --labels labels --format parquet --out {out}").exit_code == 0
    assert len(Scores.read_parquet(out)) == 3


def test_json_is_printed_and_the_file_written_in_its_own_format(run, tmp_path):
    out = tmp_path / "scores.parquet"
    done = run(f"score a.npz --labels labels --format json --out {out}")
    assert json.loads(done.stdout) == json.loads(Scores.read(out).to_json())


def test_quiet_says_nothing_but_the_result(run, tmp_path):
    done = run("score a.npz --labels labels --quiet")
    assert "mean Q" in done.stdout
    assert done.stderr == ""
    done = run(f"score a.npz --labels labels -q --out {tmp_path / 's.json'}")
    assert (done.stdout, done.stderr) == ("", "")
    assert len(Scores.read(tmp_path / "s.json")) == 3


def scored(run, options: str) -> dict:
    done = run(f"score a.npz --labels labels --format json {options}")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_tasks_are_selected(run):
    assert [s["task"] for s in scored(run, "--tasks width,height")["scores"]] == ["height", "width"]


def test_selecting_tasks_does_not_change_their_scores(run):
    everything = {s["task"]: s["fold_scores"] for s in scored(run, "")["scores"]}
    (alone,) = scored(run, "--tasks width")["scores"]
    assert alone["fold_scores"] == pytest.approx(everything["width"], abs=1e-12)


@pytest.mark.parametrize("route", ["direct", "downdate", "iterate", "dual"])
def test_the_route_is_forced_and_recorded(run, route):
    forced = scored(run, f"--protocol ridge --route {route}")["scores"]
    assert {s["route"] for s in forced} == {route}
    chosen = scored(run, "--protocol ridge --route auto")["scores"]
    assert forced[0]["fold_scores"] == pytest.approx(chosen[0]["fold_scores"], abs=1e-9)


def test_a_route_is_that_of_the_tasks_that_ridge_scores(run):
    routes = {s["task"]: s["route"] for s in scored(run, "--route dual --alpha 1 --folds 3")["scores"]}
    assert (routes["height"], routes["width"]) == ("dual", "dual")
    assert routes["ships"] != "dual"


@pytest.mark.parametrize(("protocol", "built_in"), [("closed-form", "auto"), ("ridge", 100.0), ("kernel", "auto")])
def test_the_strength_is_that_of_the_protocol_or_of_the_option(run, protocol, built_in):
    for option, alpha in (("", built_in), ("--alpha auto", "auto"), ("--alpha 3", 3.0)):
        document = scored(run, f"--protocol {protocol} --folds 4 {option}")
        assert document["protocol"]["alpha"] == alpha
        used = {a for score in document["scores"] for a in score["fold_alphas"]}
        assert used == {alpha} if alpha != "auto" else used <= set(document["protocol"]["alpha_grid"])


def test_logistic_leaves_out_regression_and_says_so_once(run):
    done = run("score a.npz b.csv --labels labels --protocol logistic --folds 3 --alpha 1 --format json")
    assert [(s["submission"], s["task"]) for s in json.loads(done.stdout)["scores"]] == [("a", "ships"), ("b", "ships")]
    assert done.stderr.count("the protocol logistic leaves out the regression tasks height, width") == 1


def test_options_of_the_kernel_reach_the_protocol(run):
    options = "--kernel polynomial --degree 2 --gamma 0.5 --landmarks 20"
    document = scored(run, f"--protocol kernel {options} --alpha 1 --folds 3")
    kernel = {"kernel": "polynomial", "degree": 2, "gamma": 0.5, "coef0": 1.0, "landmarks": 20, "seed": 42}
    assert document["protocol"]["kernel"] == kernel
    assert all(len(set(s["fold_kernels"])) == 1 and "polynomial" in s["fold_kernels"][0] for s in document["scores"])


def test_options_of_the_folds_reach_the_protocol(run):
    folds = scored(run, "--fold-scheme stratified-shuffle --folds 6 --seed 7 --test-size 0.25")["protocol"]["folds"]
    assert {k: folds[k] for k in ("scheme", "n_folds", "seed", "test_size")} == {
        "scheme": "stratified-shuffle", "n_folds": 6, "seed": 7, "test_size": 0.25,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("options", "scheme", "n_folds"),
    [
        ("--groups groups.csv", "group-shuffle", 40),
        ("--groups groups.csv --fold-scheme group-kfold --folds 5", "group-kfold", 5),
        ("--split split.csv", "fixed", 1),
        ("--split split.csv --fold-scheme fixed", "fixed", 1),
    ],
)
def test_a_file_of_groups_or_of_a_split_chooses_the_scheme(run, options, scheme, n_folds):
    document = scored(run, options)
    assert document["protocol"]["folds"]["scheme"] == scheme
    assert {s["n_folds"] for s in document["scores"]} == {n_folds}


def test_a_protocol_file_gives_the_same_scores_and_hash(run, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(fastprobe.Protocol().with_options(alpha=3.0, folds=7).to_toml())
    from_file, from_options = scored(run, f"--protocol {path}"), scored(run, "--alpha 3 --folds 7")
    assert from_file["protocol"]["hash"] == from_options["protocol"]["hash"]
    assert from_file["scores"] == from_options["scores"]
    assert scored(run, f"--protocol {path} --alpha 5")["protocol"]["alpha"] == 5.0


def test_ids_of_a_matrix(run):
    done = run("score matrix.npy --ids ids.txt --labels labels --format json")
    assert done.exit_code == 0, done.stderr
    with_ids = json.loads(done.stdout)["scores"]
    assert with_ids[0]["fold_scores"] == scored(run, "")["scores"][0]["fold_scores"]


def test_lenient_counts_repairs_and_says_so(run, folder, tmp_path):
    text = (folder / "b.csv").read_text().splitlines()
    text[3] = text[3].rpartition(",")[0] + ",nan"
    (tmp_path / "mended.csv").write_text("\n".join(text) + "\n")
    assert run(f"score {tmp_path / 'mended.csv'} --labels labels").exit_code == 2
    done = run(f"score {tmp_path / 'mended.csv'} --labels labels --lenient")
    assert done.exit_code == 0, done.stderr
    assert "[1] repaired: nan_to_zero 1" in done.stdout


def test_footnotes_say_what_failed(run, monkeypatch):
    rows = [classification_row("a", "ships"), regression_row("a", "height", None)]
    monkeypatch.setattr(engine, "score", lambda *_, **__: table(*rows))
    out = run("score a.npz --labels labels").stdout
    assert "height [1]" in out
    assert "ships [2,3,4,5,6]" in out
    assert "[1] no Q: 2 of 3 folds failed, more than 30%" in out
    assert "[2] 1 of 3 folds failed: held-out labels are of one class" in out
    assert "[3] 7 rows without a label" in out


def test_a_note_on_every_row_stands_once(run, monkeypatch):
    rows = [regression_row("a", task, notes=("the GPU was busy",)) for task in ("height", "width")]
    monkeypatch.setattr(engine, "score", lambda *_, **__: table(*rows))
    out = run("score a.npz --labels labels").stdout
    assert out.count("the GPU was busy") == 1
    assert "height [" not in out


def test_many_submissions_come_in_blocks_that_fit(run, monkeypatch):
    rows = [regression_row(f"a-team-with-a-name-{i}", "height", float(i)) for i in range(9)]
    monkeypatch.setattr(engine, "score", lambda *_, **__: table(*rows))
    out = run("score a.npz --labels labels").stdout
    assert max(map(len, out.splitlines())) <= 80
    assert out.count("Q of each task") > 1
    for i in range(9):
        assert f"a-team-with-a-name-{i}" in out
        assert f"{i}.00" in out


def test_names_are_shown_as_they_are_and_cannot_steer_the_screen(run, monkeypatch):
    monkeypatch.setattr(engine, "score", lambda *_, **__: table(regression_row("[red]x[/red]\x1b[2J", "[bold]t")))
    out = run("score a.npz --labels labels").stdout
    assert "[red]x[/red]\\x1b[2J" in out
    assert "[bold]t" in out


def test_neuco_is_titled_by_how_it_is_trained(run, monkeypatch):
    rows = [regression_row("a", "height")]
    monkeypatch.setattr(engine, "score", lambda *_, **__: Scores(rows, Protocol.named("neuco").to_dict()))
    out = run("score a.npz --labels labels --protocol neuco").stdout
    title = "protocol neuco, 10 epochs, batch 64, learning rate 0.001, 40 folds (shuffle)"
    assert f"a (4 dimensions): {title}" in " ".join(out.split())


def chosen(early: int) -> str:
    return f"epoch chosen on the held-out rows: better than the last one in {early} of 40 folds"


def test_a_note_on_every_row_with_other_counts_stands_once(run, monkeypatch):
    rows = [regression_row("a", f"task{i}", notes=(chosen(early),)) for i, early in enumerate((31, 7, 40))]
    monkeypatch.setattr(engine, "score", lambda *_, **__: table(*rows))
    out = run("score a.npz --labels labels").stdout
    assert f"Note: {chosen(7).replace('7', '7 to 40')}" in " ".join(out.split())
    assert out.count("epoch chosen") == 1
    assert "task0 [" not in out


def test_notes_that_differ_in_counts_share_a_footnote_and_names_keep_their_digits(run, monkeypatch):
    notes = [
        (chosen(3),),
        (chosen(12), "left out: t1, t2"),
        ("left out: t1, t3",),
        ("the labels 1 and 2 became 0 and 1",),
    ]
    rows = [regression_row("a", f"task{i}", notes=of_row) for i, of_row in enumerate(notes)]
    monkeypatch.setattr(engine, "score", lambda *_, **__: table(*rows))
    out = run("score a.npz --labels labels").stdout
    for line in ("task0 [1] ", "task1 [1,2] ", "task2 [3] ", "task3 [4] "):
        assert line in out
    assert f"[1] {chosen(3).replace('3 of', '3 to 12 of')} [2] left out: t1, t2 [3]" in " ".join(out.split())
    assert "[4] the labels 1 and 2 became 0 and 1" in out


# --- score --compare -------------------------------------------------------------------------------------------------


def compared_json(run, options: str) -> dict:
    done = run(f"score a.npz b.csv --labels labels --format json {options}")
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def test_compare_prints_the_scores_of_each_protocol_and_their_agreement(run, folder):
    document = compared_json(run, "--compare neuco,ridge --folds 3 --alpha 5 --rank mean")
    assert list(document) == ["protocols", "scores", "agreement"]
    assert [p["name"] for p in document["protocols"]] == ["neuco", "ridge"]
    assert {p["folds"]["n_folds"] for p in document["protocols"]} == {3}
    assert document["protocols"][1]["alpha"] == 5.0
    for name, options in (("neuco", {}), ("ridge", {"alpha": 5.0})):
        alone = expected(folder, ["a.npz", "b.csv"], protocol=name, folds=3, **options)
        assert document["scores"][name] == json.loads(alone.to_json())
    agreement = document["agreement"]
    assert (agreement["rank"], agreement["reference"]) == ("mean", "neuco")
    assert [(pair["reference"], pair["other"]) for pair in agreement["pairs"]] == [("neuco", "ridge")]
    assert [task["task"] for task in agreement["pairs"][0]["tasks"]] == ["height", "ships", "width"]
    for standing in agreement["submissions"]:
        for name in ("neuco", "ridge"):
            assert standing["mean_q"][name] == document["scores"][name]["mean_q"][standing["submission"]]


def test_compare_takes_protocol_files_and_more_than_two(run, tmp_path):
    path = tmp_path / "strong.toml"
    path.write_text('name = "strong"\nprobe = "ridge"\nalpha = 1e5\n')
    document = compared_json(run, f"--compare ridge,{path},neuco --folds 3")
    assert list(document["scores"]) == ["ridge", "strong", "neuco"]
    assert [pair["other"] for pair in document["agreement"]["pairs"]] == ["strong", "neuco"]


def test_compare_gives_options_of_the_kernel_to_the_protocol_that_has_one(run):
    document = compared_json(run, "--compare closed-form,kernel --landmarks 20 --alpha 1 --folds 3")
    assert [p.get("kernel", {}).get("landmarks") for p in document["protocols"]] == [None, 20]
    assert {p["alpha"] for p in document["protocols"]} == {1.0}


def two_protocols(first: dict[str, float | None], second: dict[str, float | None], **changes: object) -> list[Scores]:
    protocols = [Protocol.named("neuco"), Protocol.named("ridge")]
    return [
        Scores([regression_row(s, "height", q, protocol_hash=p.hash, **changes) for s, q in qs.items()], p.to_dict())
        for p, qs in zip(protocols, (first, second), strict=True)
    ]


def test_compare_shows_places_side_by_side_and_who_moves(run, monkeypatch):
    tables = two_protocols(
        {"x": 30.0, "y": 20.0, "z": 10.0, "late": None},
        {"x": 15.0, "y": 25.0, "z": 5.0, "late": 1.0},
        notes=(chosen(3),),
    )
    monkeypatch.setattr(engine, "score_protocols", lambda *_, **__: tables)
    out = run("score a.npz b.csv --labels labels --compare neuco,ridge").stdout
    lines = [line.split() for line in out.splitlines()]
    assert ["protocol", "ridge,", "alpha", "100,", "40", "folds", "(shuffle)"] in lines
    assert ["Submission", "neuco", "place", "ridge", "place"] in lines
    assert ["x", "30.00", "1", "15.00", "2"] in lines
    assert ["late", "-", "-", "1.00", "-"] in lines
    assert "ridge against neuco: tau 0.33 over 3 submissions; 2 change place, by at most 1" in " ".join(out.split())
    assert ["height", "0.33", "0.50", "-15.00", "x", "0.0000"] in lines
    assert ["y", "2", "1", "up", "1"] in lines
    assert ["x", "1", "2", "down", "1"] in lines
    assert ["late", "neuco", "height", "2", "of", "3", "folds", "failed,", "more", "than", "30%"] in lines
    assert f"neuco, 4 of 4 scores: {chosen(3)}" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 80
    assert "\x1b" not in out


def test_compare_says_why_a_task_has_no_correlation(run, monkeypatch):
    tables = two_protocols({"x": 1.0, "y": 2.0}, {"x": 0.0, "y": 0.0})
    monkeypatch.setattr(engine, "score_protocols", lambda *_, **__: tables)
    out = run("score a.npz b.csv --labels labels --compare neuco,ridge").stdout
    assert ["height", "[1]", "-", "-", "-2.00", "y", "0.0000"] in [line.split() for line in out.splitlines()]
    assert "[1] no correlation: every Q is the same under ridge" in out


def test_compare_shows_the_largest_moves_of_many(run, monkeypatch):
    n = 60
    tables = two_protocols({f"s{i}": float(i) for i in range(n)}, {f"s{i}": float(-i) for i in range(n)})
    monkeypatch.setattr(engine, "score_protocols", lambda *_, **__: tables)
    out = run("score a.npz b.csv --labels labels --compare neuco,ridge").stdout
    assert "60 change place, by at most 59" in " ".join(out.split())
    assert ["s59", "1", "60", "down", "59"] in [line.split() for line in out.splitlines()]
    assert "and 36 more, by at most 35" in out
    assert out.count("down") + out.count("up") == 24


def test_compare_writes_a_row_for_each_submission_and_task(run, tmp_path):
    out = tmp_path / "both.csv"
    done = run(f"score a.npz b.csv --labels labels --compare neuco,ridge --folds 3 --out {out}")
    assert done.exit_code == 0, done.stderr
    assert "ridge against neuco" in done.stdout
    lines = list(csv.DictReader(io.StringIO(out.read_text())))
    assert len(lines) == 6
    assert {"submission", "task", "q_neuco", "q_ridge", "mean_neuco", "place_ridge"} <= set(lines[0])


# --- failures --------------------------------------------------------------------------------------------------------


def failing(monkeypatch, error: BaseException) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(engine, "score", fail)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (KeyboardInterrupt(), 130, "error: interrupted"),
        (FastprobeError("no route converged"), 1, "error: no route converged"),
        (MemoryError(), 1, "error: out of memory"),
        (OSError(errno.ENOSPC, "No space left on device", "x.parquet"), 1, "error: x.parquet: No space left on device"),
    ],
)
def test_failures_have_a_status_and_a_line(run, monkeypatch, tmp_path, error, status, message):
    failing(monkeypatch, error)
    done = run(f"score a.npz --labels labels --out {tmp_path / 's.json'}")
    assert done.exit_code == status
    assert done.stderr.splitlines()[0] == message
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_bug_is_not_dressed_up(run, monkeypatch):
    failing(monkeypatch, RuntimeError("a bug"))
    done = run("score a.npz --labels labels")
    assert done.exit_code == 1
    assert isinstance(done.exception, RuntimeError)


def test_errors_stand_in_one_form(run):
    done = run("score a.npz --labels labels --folds many")
    assert done.stderr == (
        "error: --folds\n"
        "  found     'many'\n"
        "  expected  a whole number\n"
        "  to fix    write for example --folds 40\n"
    )  # fmt: skip


# --- progress --------------------------------------------------------------------------------------------------------


def shown(capsys, **options: object) -> str:
    with DelayedBar(**options) as bar:
        bar._timer.join()
        bar("team", 3, 7)
    return capsys.readouterr().err


def test_the_bar_shows_on_a_terminal_when_the_work_lasts(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    err = shown(capsys, delay=0.0)
    assert "0/?" in err
    assert "3/7" in err
    assert "team" in err


def test_the_bar_keeps_away_from_pipes(capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("TTY_COMPATIBLE", raising=False)
    assert shown(capsys, delay=0.0) == ""


def test_the_bar_keeps_away_from_short_work_and_if_told_so(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    for options in ({"delay": 60.0}, {"delay": 0.0, "quiet": True}):
        with DelayedBar(**options) as bar:
            bar("team", 3, 7)
        assert capsys.readouterr().err == ""


# --- leaderboard -----------------------------------------------------------------------------------------------------


@pytest.fixture
def run_dir(tmp_path):
    """A run in two parts: bold and steady complete, late without a task."""
    parts = tmp_path / "run" / "scores"
    parts.mkdir(parents=True)
    qs = {"steady": (11.0, 11.0, 11.0), "bold": (10.0, 10.0, 40.0)}
    for name, values in qs.items():
        rows = [regression_row(name, task, q) for task, q in zip("xyz", values, strict=True)]
        table(*rows).to_parquet(parts / f"{name}.parquet")
    table(regression_row("late", "x"), regression_row("late", "y", None)).to_parquet(parts / "late.parquet")
    return tmp_path / "run"


def test_leaderboard_shows_places_and_who_is_not_ranked(run, run_dir):
    done = run(f"leaderboard {run_dir} --rank uniform")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["1", "steady", "11.00", "1.333"] in lines
    assert ["2", "bold", "20.00", "1.667"] in lines
    assert ["z", "0.333", "11.00", "40.00"] in lines
    assert ["late", "y", "2", "of", "3", "folds", "failed,", "more", "than", "30%"] in lines
    assert ["late", "z", "not", "scored"] in lines


@pytest.mark.parametrize(("rank", "first"), [("neuco", "bold"), ("mean", "bold"), ("uniform", "steady")])
def test_leaderboard_json_has_the_promised_shape(run, run_dir, rank, first):
    document = json.loads(run(f"leaderboard {run_dir} --rank {rank} --format json").stdout)
    assert document["rank"] == rank
    assert document["rows"][0]["submission"] == first
    assert set(document["rows"][0]) == {"place", "submission", "mean_q", "weighted_rank", "q"}
    assert document["incomplete"][0]["submission"] == "late"
    assert document["incomplete"][0]["missing"] == ["y", "z"]


def test_neuco_is_the_default_rule(run, run_dir):
    assert json.loads(run(f"leaderboard {run_dir} --format json").stdout)["rank"] == "neuco"


@pytest.mark.parametrize("suffix", ["parquet", "json"])
def test_leaderboard_of_what_score_wrote(run, tmp_path, suffix):
    out = tmp_path / f"scores.{suffix}"
    run(f"score a.npz b.csv --labels labels --out {out}")
    document = json.loads(run(f"leaderboard {out} --format json").stdout)
    assert [row["submission"] for row in document["rows"]] == ["a", "b"]


def test_leaderboard_files(run, run_dir, tmp_path):
    assert run(f"leaderboard {run_dir} --out {tmp_path / 'board.csv'}").exit_code == 0
    lines = (tmp_path / "board.csv").read_text().splitlines()
    assert lines[0] == "place,submission,mean_q,weighted_rank,q_x,q_y,q_z,missing"
    assert lines[-1] == ',late,,,,,,"y: 2 of 3 folds failed, more than 30%; z: not scored"'


def test_a_leaderboard_of_nobody(run, tmp_path):
    table(regression_row("a", "x", None)).to_parquet(tmp_path / "s.parquet")
    done = run(f"leaderboard {tmp_path / 's.parquet'}")
    assert done.exit_code == 0
    assert "none is ranked" in done.stdout


# --- demo and doctor -------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_demo(monkeypatch):
    demo = pytest.importorskip("fastprobe.demo")
    calls = []

    def run_demo(out: Path, *, device: str, progress: object) -> Scores:
        calls.append((out, device, callable(progress)))
        return table(regression_row("noise", "red", 1.0), regression_row("ring", "red", 9.0))

    monkeypatch.setattr(demo, "run_demo", run_demo)
    return calls


def test_demo_shows_the_leaderboard_and_the_credit(run, tiny_demo):
    done = run("demo")
    assert done.exit_code == 0, done.stderr
    assert tiny_demo == [(Path("fastprobe-demo"), "auto", True)]
    assert ["1", "ring", "9.00", "1.000"] in [line.split() for line in done.stdout.splitlines()]
    assert "Srinivasan" in done.stdout
    assert "fastprobe score fastprobe-demo/submissions/*" in done.stderr


def test_demo_json_is_the_score_document(run, tiny_demo, tmp_path):
    done = run(f"demo --out {tmp_path / 'd'} --format json --device cpu")
    assert json.loads(done.stdout)["protocol"]["hash"] == PROTOCOL.hash
    assert tiny_demo == [(tmp_path / "d", "cpu", True)]


def test_doctor_json(run):
    document = json.loads(run("doctor --format json").stdout)
    assert document["versions"]["fastprobe"] == fastprobe.__version__
    assert {"machine", "devices", "numerics", "versions", "missing"} == set(document)
    assert all({"what", "why", "fix"} == set(missing) for missing in document["missing"])


def test_doctor_survives_what_is_missing(run, monkeypatch):
    from fastprobe import doctor

    monkeypatch.setattr(doctor, "_version", lambda name: None)
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nowhere")
    done = run("doctor --format json")
    assert done.exit_code == 0
    missing = {m["what"]: m["fix"] for m in json.loads(done.stdout)["missing"]}
    assert missing["cupy"] == "pip install 'fastprobe[cuda13]'"
    assert missing["numba"] == "pip install numba"
    assert "NUMBA_CACHE_DIR" in missing["a folder for compiled kernels"]


def test_doctor_survives_a_broken_cuda_installation(run, monkeypatch):
    from fastprobe import doctor

    def broken() -> dict[str, str]:
        raise AttributeError("no driver\nand more")

    monkeypatch.setattr(doctor, "_version", lambda name: "14.0")
    monkeypatch.setattr(doctor, "_gpus", broken)
    devices = json.loads(run("doctor --format json").stdout)["devices"]
    assert devices["gpu"] == "not usable: AttributeError: no driver"
