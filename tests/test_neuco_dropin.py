"""``fastprobe neuco``: what is read, what is written, and what is refused.

That the numbers are NeuCo-Bench's is held by ``test_neuco_golden.py``; here pandas stands in for how it reads and
ranks.
"""

from __future__ import annotations

import io
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata
from typer.testing import CliRunner

import fastprobe
from fastprobe.cli import app
from fastprobe.cli.neuco import tidy_termination
from fastprobe.compat.neuco import Finished, Job, NeucoConfig, load_probe, run
from fastprobe.compat.neuco import plots as figures
from fastprobe.compat.neuco.files import TaskSummary
from fastprobe.compat.neuco.leaderboard import make_board, read_runs, summarize_runs
from fastprobe.compat.neuco.pandas_view import guessed_ids
from fastprobe.compat.neuco.run_folder import publish
from fastprobe.errors import DeviceError, InputError
from fastprobe.results import Scores

NOON = datetime(2025, 6, 1, 12, 0, 0)
STAMP = "20250601_120000"
N, D = 60, 4


def texts(x: np.ndarray) -> list[list[str]]:
    return [[repr(float(v)) for v in row] for row in x]


def embedding(path: Path, ids: list[str], cells: list[list[str]], names: list[str] | None = None) -> Path:
    names = names or [str(j) for j in range(len(cells[0]))]
    lines = [["id", *names], *([i, *row] for i, row in zip(ids, cells, strict=True))]
    path.write_text("".join(",".join(line) + "\n" for line in lines))
    return path


def labels(folder: Path, name: str, ids: list[str], y: Any) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}.csv"
    path.write_text("id,label\n" + "".join(f"{i},{v}\n" for i, v in zip(ids, list(y), strict=True)))
    return path


class Place:
    """A folder with inputs that are fine; a test spoils or replaces some of them, and runs."""

    def __init__(self, folder: Path) -> None:
        rng = np.random.default_rng(1)
        self.folder = folder
        self.ids = [f"s{i:03d}" for i in range(N)]
        self.x = rng.integers(-128, 128, (N, D)) / 64
        self.y = self.x @ [2.0, -1.0, 0.5, 0.0] + rng.integers(-64, 64, N) / 128
        self.labels = folder / "labels"
        self.submission = embedding(folder / "team.csv", self.ids, texts(self.x))
        self.height = labels(self.labels, "height__regression", self.ids, self.y.tolist())
        self.ships = labels(self.labels, "ships__cls", self.ids[::-1], (self.y > 0).astype(int)[::-1])
        self.out = folder / "out"

    def config(self, **settings: object) -> NeucoConfig:
        """Write and read a config: JSON is YAML."""
        params = {"batch_size": 16, "epochs": 3, "learning_rate": 0.05}
        params |= {name: settings.pop(name) for name in (*params, "device") if name in settings}
        keys = {"k_folds": 3, "probe_type": "linear", "probe_params": params, "enable_plots": False} | settings
        path = self.folder / "config.yaml"
        path.write_text(json.dumps(keys))
        return NeucoConfig.read(path)

    def run(self, *, exclude: Path | None = None, method: str = "m", **settings: object) -> Finished:
        """Run; keywords are keys of the config."""
        job = Job(self.labels, self.submission, self.out, self.config(**settings), method, exclude_file=exclude)
        return run(job, now=lambda: NOON)

    def refused(self, **settings: object) -> InputError:
        """Run what must be refused, and leave nothing behind."""
        with pytest.raises(InputError) as caught:
            self.run(**settings)
        assert not self.out.exists()
        return caught.value


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def command(place: Place, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Run a command line in the folder of the inputs."""
    monkeypatch.chdir(place.folder)
    place.config()
    return lambda line: CliRunner().invoke(app, ["neuco", *line.split()])


GOOD = "--annotation_path labels --submission_file team.csv --output_dir out --config config.yaml"


def fold_scores(done: Finished) -> dict[str, tuple[float | None, ...]]:
    return {row.task: row.fold_scores for row in done.scores}


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- files -----------------------------------------------------------------------------------------------------------


def test_files_of_a_run(place):
    done = place.run(update_leaderboard=True)
    assert done.folder == place.out / "results" / f"m_{STAMP}"
    assert tree(place.out) == [
        f"leaderboards/results/leaderboard_{STAMP}.csv",
        f"results/m_{STAMP}/fastprobe_scores.json",
        f"results/m_{STAMP}/height/height_result.json",
        f"results/m_{STAMP}/results_summary.json",
        f"results/m_{STAMP}/ships/ships_result.json",
    ]
    assert done.leaderboard == place.out / "leaderboards" / "results" / f"leaderboard_{STAMP}.csv"


def test_results_are_spelt_as_neuco_bench_spells_them(place):
    done = place.run(output_fold_results=True, device="cpu", learning_rate=1)
    rows = {row.task: row for row in done.scores}
    for task, row in rows.items():
        text = (done.folder / task / f"{task}_result.json").read_text()
        scores = np.array(row.fold_scores)
        mean, std = scores.mean(), scores.std()
        expected = {
            "q_stat": mean / (0.02 + std) * 2,
            "mean_score": mean,
            "std_dev": std,
            "hyperparamaters": {"epochs": 3, "learning_rate": 1, "batch_size": 16},
            "q_t": scores.tolist(),
        }
        assert text == json.dumps(expected, indent=2)
    text = (done.folder / "results_summary.json").read_text()
    summary = json.loads(text)
    assert text == json.dumps(summary, indent=2)
    assert list(summary) == [
        "experiment", "overall_q_score", "overall_acc_score", "task_q_scores", "task_acc_scores", "config",
    ]  # fmt: skip
    assert summary["experiment"] == done.folder.name
    assert list(summary["task_q_scores"]) == ["height", "ships"]
    assert summary["overall_q_score"] == np.mean(list(summary["task_q_scores"].values()))
    assert summary["task_acc_scores"]["ships"] == pytest.approx(rows["ships"].mean)
    assert summary["config"]["probe_params"] == {"batch_size": 16, "epochs": 3, "learning_rate": 1}


def test_fold_results_only_if_asked_for(place):
    done = place.run()
    assert "q_t" not in json.loads((done.folder / "height" / "height_result.json").read_text())


def test_constant_labels_are_nan_and_infinity(place):
    labels(place.labels, "flat__regression", place.ids, [3.5] * N)
    done = place.run(output_fold_results=True, update_leaderboard=True)
    text = (done.folder / "flat" / "flat_result.json").read_text()
    assert '"q_stat": NaN,\n  "mean_score": -Infinity,\n  "std_dev": NaN,' in text
    assert '"q_t": [\n    -Infinity,\n    -Infinity,\n    -Infinity\n  ]' in text
    summary = json.loads((done.folder / "results_summary.json").read_text())
    assert np.isnan(summary["overall_q_score"])
    assert summary["overall_acc_score"] == -np.inf
    assert done.leaderboard is None  # no run is complete
    assert not (place.out / "leaderboards").exists()
    flat = done.scores.get("m", "flat")
    assert flat.q is None
    assert any("all labels are 3.5" in note for note in flat.notes)


@given(st.lists(st.floats(-5, 1), min_size=1, max_size=50))
def test_the_summary_is_that_of_numpy(scores):
    summary = TaskSummary.of("t", np.array(scores))
    mean, std = np.nanmean(scores), np.nanstd(scores)
    assert (summary.mean, summary.std, summary.q) == (mean, std, mean / (0.02 + std) * 2)


def test_runs_of_one_second_do_not_overwrite_each_other(place):
    first, second, third = (place.run(update_leaderboard=True) for _ in range(3))
    assert [d.folder.name for d in (first, second, third)] == [f"m_20250601_12000{i}" for i in range(3)]
    assert [d.leaderboard.name for d in (first, second, third)] == [
        f"leaderboard_20250601_12000{i}.csv" for i in range(3)
    ]
    for done in (first, second, third):
        assert json.loads((done.folder / "results_summary.json").read_text())["experiment"] == done.folder.name


def test_a_name_that_is_taken_at_the_last_moment(tmp_path):
    temporary = tmp_path / ".x.tmp"
    temporary.mkdir()
    seen = []

    def finish(name: str) -> None:
        seen.append(name)
        if len(seen) == 1:
            (tmp_path / name / "somebody").mkdir(parents=True)

    assert publish(temporary, "m", NOON, finish).name == seen[1] == "m_20250601_120001"
    assert (tmp_path / seen[0] / "somebody").is_dir()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RuntimeError])
def test_a_run_that_ends_half_way_leaves_nothing(place, error):
    place.run(update_leaderboard=True)
    before = tree(place.out)
    seen: list[str] = []

    def stop(name: str, done: int, total: int) -> None:
        seen.extend(path.name for path in (place.out / "results").glob(".m.*/*"))
        raise error

    for out in (place.out, place.folder / "new" / "deep"):
        job = Job(place.labels, place.submission, out, place.config(update_leaderboard=True), "m")
        with pytest.raises(error):
            run(job, progress=stop)
    assert seen  # files of the first task were there when it ended
    assert tree(place.out) == before
    assert sorted(path.name for path in (place.out / "results").iterdir()) == [f"m_{STAMP}"]
    assert not (place.folder / "new").exists()


def test_the_last_step_may_fail_too(place, monkeypatch):
    from fastprobe.compat.neuco import job

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(job, "write_summary", fail)
    with pytest.raises(OSError, match="No space"):
        place.run()
    assert not place.out.exists()


@pytest.mark.parametrize("settings", [{}, {"update_leaderboard": True}])
def test_an_output_folder_that_cannot_be_made_is_found_first(place, settings):
    place.submission.unlink()  # which would be found next
    place.out = place.height / "out"
    with pytest.raises(InputError) as caught:
        place.run(**settings)
    assert caught.value.where == "--output_dir"
    place.out = place.folder / "out"
    (place.out / "leaderboards").mkdir(parents=True)
    (place.out / "leaderboards" / "results").touch()
    with pytest.raises(InputError) as caught:
        place.run(**settings)
    assert caught.value.where == ("--output_dir" if settings else str(place.submission))


def test_termination_unwinds():
    cleaned = []
    before = signal.getsignal(signal.SIGTERM)

    def work() -> None:
        with tidy_termination():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(5)
            finally:
                cleaned.append(True)

    with pytest.raises(SystemExit) as left:
        work()
    assert (left.value.code, cleaned) == (143, [True])
    assert signal.getsignal(signal.SIGTERM) is before


# --- the leaderboard -------------------------------------------------------------------------------------------------


def oracle(runs: list[dict[str, Any]]) -> pd.DataFrame:
    """Rank runs as NeuCo-Bench describes it, by pandas and SciPy."""
    table = pd.DataFrame(runs)
    tasks = [name for name in table.columns if name.startswith("q::")]
    extra = [name for name in table.columns if name.startswith("acc::")] + ["overall_q_score", "overall_acc_score"]
    kept = table.dropna(subset=tasks)
    spread = kept[tasks].std(ddof=1) if len(kept) > 1 else pd.Series(1.0, tasks)
    ranks = pd.DataFrame(rankdata(-kept[tasks].to_numpy(), method="min", axis=0), kept.index, tasks)
    weighted = (ranks * (spread / spread.sum())).sum(axis=1)
    columns = {
        "experiment": kept["experiment"],
        "mean_score": kept[tasks].mean(axis=1),
        "weighted_score": weighted,
        "aggregated_rank": rankdata(weighted, method="min"),
    }
    board = pd.concat([pd.DataFrame(columns), kept[tasks + extra]], axis=1)
    return board.sort_values("weighted_score", kind="stable")


def made_run(name: str, q: dict[str, float], *, old: bool = False) -> dict[str, Any]:
    if old:
        return {"experiment": name, "overall_score": 3.25, "task_result": q}
    acc = {task: value / 3 for task, value in q.items()}
    return {
        "experiment": name,
        "overall_q_score": 1.5,
        "overall_acc_score": 0.5,
        "task_q_scores": q,
        "task_acc_scores": acc,
    }


def write_runs(folder: Path, runs: list[dict[str, Any]]) -> None:
    for i, made in enumerate(runs):
        (folder / f"run{i:02d}").mkdir(parents=True)
        (folder / f"run{i:02d}" / "results_summary.json").write_text(json.dumps(made))


@pytest.mark.parametrize("seed", range(6))
def test_the_leaderboard_is_neuco_benchs(tmp_path, seed):
    rng = np.random.default_rng(seed)
    runs = []
    for i in range(int(rng.integers(2, 20))):
        q = {f"task{j}": float(rng.normal()) for j in range(1 + seed * 2)}
        if seed > 1 and i % 4 == 3:
            q["task0"] = float("nan")
        if seed > 2 and i % 4 == 2:
            del q["task1"]
        runs.append(made_run(f"run{i:02d}", q, old=seed > 3 and i % 3 == 1))
    write_runs(tmp_path / "results", runs)
    shown: list[str] = []
    path = summarize_runs(tmp_path, "results", now=NOON, write=shown.append)
    expected = oracle(read_runs(tmp_path / "results"))
    found = pd.read_csv(path)
    assert list(found.columns) == list(expected.columns)
    assert found["experiment"].tolist() == expected["experiment"].tolist()
    assert found["aggregated_rank"].tolist() == expected["aggregated_rank"].tolist()
    numbers = [name for name in found.columns if name != "experiment"]
    np.testing.assert_allclose(found[numbers].to_numpy(float), expected[numbers].to_numpy(float), rtol=1e-12)
    text = "".join(shown)
    assert text.startswith("\n=== Leaderboard Summary ===\n")
    assert text.endswith(f"Leaderboard CSV saved to {path}\n")
    header, best = (line.split() for line in text.splitlines()[2:4])
    assert header == ["experiment", "mean_score", "weighted_score", "aggregated_rank"]
    assert best[0] == expected["experiment"].iloc[0]
    assert float(best[2]) == pytest.approx(expected["weighted_score"].iloc[0], abs=1e-6)


def test_floats_are_written_as_pandas_writes_them(tmp_path):
    q = {"a": 0.1 + 0.2, "b": 1e-7, "c": 12345678.9}
    write_runs(tmp_path, [made_run("x, y", q), made_run("z", {task: 2 * v for task, v in q.items()})])
    board = make_board(read_runs(tmp_path))
    again = pd.DataFrame([dict(zip(board.columns, row, strict=True)) for row in board.rows])
    assert board.to_csv_text() == again.to_csv(index=False)


def test_equal_runs_have_no_places(tmp_path):
    write_runs(tmp_path, [made_run("a", {"t": 1.0}), made_run("b", {"t": 1.0})])
    lines = make_board(read_runs(tmp_path)).to_csv_text().splitlines()
    assert lines[1] == "a,1.0,,,1.0,0.3333333333333333,1.5,0.5"


def test_a_run_stands_there_with_every_run_of_its_name(tmp_path):
    write_runs(tmp_path, [made_run("a", {"t": 1.0}), made_run("a", {"t": 2.0}), made_run("b", {"t": 4.0})])
    board = make_board(read_runs(tmp_path))
    assert [row[0] for row in board.rows] == ["b", "a", "a", "a", "a"]


def test_summaries_of_unfinished_and_other_folders_do_not_count(tmp_path):
    write_runs(tmp_path, [made_run("a", {"t": 1.0})])
    (tmp_path / ".b.123.tmp").mkdir()
    (tmp_path / ".b.123.tmp" / "results_summary.json").write_text("{")
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.txt").touch()
    assert [row["experiment"] for row in read_runs(tmp_path)] == ["a"]


def test_nothing_to_rank(tmp_path):
    shown: list[str] = []
    assert summarize_runs(tmp_path, "dev", now=NOON, write=shown.append) is None
    write_runs(tmp_path / "dev", [made_run("a", {"t": 1.0}), made_run("b", {"u": 1.0})])
    assert summarize_runs(tmp_path, "dev", now=NOON, write=shown.append) is None
    assert shown == [
        "No results to summarize.\n",
        "No complete runs (all have missing metrics); nothing to rank.\n",
    ]


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"experiment": "a", "task_q_scores": [1]}', "\xff",
             '{"experiment": "a", "task_q_scores": {"t": "1"}}', '{"experiment": "a", "task_q_scores": null}']
)  # fmt: skip
def test_a_broken_summary_is_found_before_the_work(place, text):
    broken = place.out / "results" / "other" / "results_summary.json"
    broken.parent.mkdir(parents=True)
    broken.write_text(text, encoding="latin-1")
    with pytest.raises(InputError) as caught:
        place.run(update_leaderboard=True)
    assert caught.value.where == str(broken)
    assert tree(place.out) == ["results/other/results_summary.json"]
    assert place.run().folder.is_dir()  # no leaderboard, no need to read it


# --- reading as pandas reads -----------------------------------------------------------------------------------------

NUMBER_TEXTS = st.one_of(
    st.from_regex(r"[+-]?[0-9]{1,6}", fullmatch=True),
    st.from_regex(r"0{0,3}[0-9]{1,3}", fullmatch=True),
    st.from_regex(r"[0-9]{1,3}\.[0-9]{0,2}", fullmatch=True),
    st.from_regex(r"[0-9]{1,2}[eE][+-]?[0-9]", fullmatch=True),
)
ID_TEXTS = st.one_of(NUMBER_TEXTS, st.sampled_from(["", "NA", "nan", "None", "null", "a", "s01", "n/a", "1_0", "0x1"]))


@settings(deadline=None, max_examples=50)
@given(st.one_of(st.lists(NUMBER_TEXTS, min_size=1, max_size=6), st.lists(ID_TEXTS, min_size=1, max_size=6)))
def test_ids_are_guessed_as_pandas_guesses_them(ids):
    column = pd.read_csv(io.StringIO("id,0\n" + "".join(f"{i},1\n" for i in ids)))["id"]
    expected = ["" if missing else text for missing, text in zip(column.isna(), column.astype(str), strict=True)]
    found, changed = guessed_ids(ids)
    assert found == expected
    assert changed == sum(a != b for a, b in zip(ids, found, strict=True) if b)


@pytest.mark.parametrize("huge", ["9" * 25, "-" + "9" * 20])
def test_whole_numbers_beyond_64_bits_stay_text(huge):
    assert guessed_ids(["007", huge]) == (["007", huge], 0)


def pandas_rows(place: Place, task: Path) -> tuple[list[str], list[float]]:
    """Ids of a task's samples, and the first feature of each, found by pandas."""
    table = pd.read_csv(place.submission)
    table["id"] = table["id"].astype(str).str.replace(".zarr.zip", "").str.replace(".zarr", "")
    known = pd.concat([pd.read_csv(path, dtype=str)["id"] for path in place.labels.glob("*.csv")])
    table = table[table["id"].isin(known)]
    joined = pd.read_csv(task, dtype=str).merge(table, on="id", how="inner")
    return joined["id"].tolist(), pd.to_numeric(joined["0"], errors="coerce").fillna(0).tolist()


def joined_rows(place: Place, monkeypatch: pytest.MonkeyPatch, **settings: object) -> dict[str, list[float]]:
    """First feature of the samples of every task, on its way into the replay; not standardised."""
    from fastprobe.compat.neuco import scoring

    seen: dict[str, list[float]] = {}

    def spy(backend: Any, x: Any, tasks: Any, *args: Any, **kwargs: Any) -> Any:
        seen.update({task.name: x[task.rows, 0].tolist() for task in tasks})
        return real(backend, x, tasks, *args, **kwargs)

    real = scoring.replay
    monkeypatch.setattr(scoring, "replay", spy)
    place.run(standardize_embeddings=False, **settings)
    return seen


def test_repeated_ids_multiply_samples(place, monkeypatch):
    again = [3, 30, 3, 11]
    ids = [*place.ids[:10], f"{place.ids[3]}.zarr.zip", *place.ids[10:], *(place.ids[i] for i in again)]
    x = np.arange(len(ids) * D).reshape(-1, D) / 8
    embedding(place.submission, ids, texts(x))
    labels(place.labels, "height__regression", [*place.ids[::-1], *place.ids[:4], "ghost"], [*place.y, 1, 2, 3, 4, 5])
    seen = joined_rows(place, monkeypatch)
    for task, path in (("height", place.height), ("ships", place.ships)):
        assert seen[task] == pandas_rows(place, path)[1]
    row = place.run().scores.get("m", "height")
    assert row.n_samples == 60 + 5 + 4 + 3
    assert row.repairs == {"samples_without_embedding_dropped": 1}
    assert "4 labels of ids that have one before, all kept" in row.notes
    assert "8 samples more than labels, for ids that stand in the submission more than once" in row.notes


def test_suffixes_are_removed_from_the_submission_only(place, monkeypatch):
    suffixes = ["", ".zarr", ".zarr.zip"]
    embedding(place.submission, [i + suffixes[k % 3] for k, i in enumerate(place.ids)], texts(place.x))
    labels(place.labels, "height__regression", [i + suffixes[k % 2] for k, i in enumerate(place.ids)], place.y)
    seen = joined_rows(place, monkeypatch)
    assert seen["height"] == place.x[::2, 0].tolist()
    assert seen["ships"] == place.x[::-1, 0].tolist()
    row = place.run().scores.get("m", "height")
    assert row.repairs == {"samples_without_embedding_dropped": 30}


def test_numbers_as_ids_lose_their_zeros_as_in_pandas(place, monkeypatch):
    numbers = [f"{i:03d}" for i in range(80, 80 + N)]
    embedding(place.submission, numbers, texts(place.x))
    labels(place.labels, "height__regression", numbers, place.y)
    labels(place.labels, "ships__cls", [str(int(i)) for i in numbers], (place.y > 0).astype(int))
    seen = joined_rows(place, monkeypatch)
    assert seen["height"] == place.x[20:, 0].tolist()
    assert seen["ships"] == place.x[:, 0].tolist()
    assert place.run().scores.get("m", "height").repairs["numeric_ids_rewritten"] == 20


def test_cells_are_repaired_as_pandas_does_and_counted(place, monkeypatch):
    cells = texts(place.x)
    cells[0][0], cells[1][0], cells[2][0], cells[3][1], cells[4][2] = "nan", "", "cloud", "True", " 0.5"
    for i, row in enumerate(cells):
        row[3] = ("True", "false", "TRUE", "")[i % 4]
    embedding(place.submission, place.ids, cells)
    seen = joined_rows(place, monkeypatch)
    assert seen["height"][:3] == [0, 0, 0]
    assert seen["height"] == pandas_rows(place, place.height)[1]
    row = place.run().scores.get("m", "height")
    assert row.repairs == {"nan_to_zero": 17, "non_numeric_to_zero": 2, "booleans_to_numbers": 45}
    numbers = pd.read_csv(place.submission)
    expected = pd.to_numeric(numbers["3"], errors="coerce").fillna(0).to_numpy(np.float32)
    for i, row in enumerate(cells):
        row[3] = str(expected[i])
    as_they_are = fold_scores(place.run())
    embedding(place.submission, place.ids, cells)
    assert fold_scores(place.run()) == as_they_are


def test_rows_without_a_label_do_not_count(place):
    plain = fold_scores(place.run())
    extra = [["1e30", "inf", "nan", "-5"]] * 3
    embedding(place.submission, ["u1", "u2", "u3", *place.ids], extra + texts(place.x))
    assert fold_scores(place.run()) == plain


def test_rows_of_tasks_that_are_left_out_count_for_the_scaling(place):
    embedding(place.submission, [*place.ids, "far"], [*texts(place.x), ["1000"] * D])
    without = fold_scores(place.run(task_filter=["height"]))
    labels(place.labels, "odd__multi", ["far"], [3])  # NeuCo-Bench does not mind the type of a task it leaves out
    with_it = fold_scores(place.run(task_filter=["height"]))
    assert with_it["height"] != without["height"]


def test_excluded_rows_are_left_out(place, monkeypatch):
    exclude = place.folder / "exclude.txt"
    exclude.write_text("s003\n  s009 \n\nnobody\ns010.zarr\n")
    row = place.run(exclude=exclude).scores.get("m", "height")
    assert row.n_samples == N - 2
    assert row.repairs == {"excluded_rows_dropped": 2, "samples_without_embedding_dropped": 2}
    kept = [i for i in range(N) if i not in (3, 9)]
    embedding(place.submission, [place.ids[i] for i in kept], texts(place.x[kept]))
    assert place.run().scores.get("m", "height").fold_scores == row.fold_scores


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_every_format_that_can_be_read_gives_the_same_scores(place, suffix):
    expected = fold_scores(place.run())
    single = place.x.astype(np.float32)
    path = place.folder / f"team{suffix}"
    if suffix == ".npz":
        np.savez(path, id=np.array(place.ids), x=single)
    else:
        columns = {"id": place.ids} | {str(j): single[:, j] for j in range(D)}
        pd.DataFrame(columns).to_parquet(path)
    place.submission = path
    assert fold_scores(place.run()) == expected


def test_a_task_without_any_embedding_is_left_out_as_in_neuco_bench(place, caplog):
    expected = fold_scores(place.run())
    labels(place.labels, "away__regression", [f"z{i}" for i in range(20)], range(20))
    labels(place.labels, "empty__regression", place.ids, [""] * N)
    assert fold_scores(place.run()) == expected
    assert caplog.text.count("left out, for none of its") == 2


def test_labels_that_are_not_there_are_skipped_and_counted(place):
    cells = [str(v) for v in place.y]
    cells[5] = cells[7] = ""
    labels(place.labels, "height__regression", place.ids, cells)
    place.height.write_text(
        place.height.read_text().replace("id,label", "id,label,more").replace("\n", ",\n") + "s001\n\n"
    )
    row = place.run().scores.get("m", "height")
    assert (row.n_samples, row.n_missing_labels) == (N - 2, 3)


def spoil(place: Place, line: int, column: int, cell: str) -> None:
    cells = [text.split(",") for text in place.submission.read_text().splitlines()]
    cells[line - 1][column] = cell
    place.submission.write_text("".join(",".join(row) + "\n" for row in cells))


@pytest.mark.parametrize(
    ("cell", "found"), [("inf", "'inf'"), ("-Infinity", "'-Infinity'"), ("1e39", "beyond the range")]
)
def test_infinity_is_refused_where_it_stands(place, cell, found):
    spoil(place, 7, 2, cell)
    error = place.refused()
    assert error.where == f"{place.submission}, line 7, column '1'"
    assert found in error.found


def test_float64_beyond_float32_is_refused(place):
    place.submission = place.folder / "team.npz"
    place.x[4, 2] = 1e300
    np.savez(place.submission, id=np.array(place.ids), x=place.x)
    assert place.refused().where == f"{place.submission}, row 4 (id 's004'), column 2"


def test_other_wrong_submissions(place):
    assert "4 dimensions" in place.refused(embedding_dim=3).found
    text = place.submission.read_text()
    place.submission.write_text(text.replace("s0", "z0"))
    error = place.refused()
    assert "ids such as 'z000'" in error.found
    assert "such as 's000'" in error.expected
    place.submission.write_text("id,0,1\n")
    assert place.refused().found == "no rows"
    place.submission.write_text(text + "s100,1,2\n")
    assert place.refused().where == f"{place.submission}, line {N + 2}"
    place.submission.unlink()
    assert place.refused().found == "nothing there"
    assert "--exclude_file" in place.refused(exclude=place.folder / "nowhere.txt").where


def make_height(text: str) -> Callable[[Place], object]:
    return lambda place: place.height.write_text(text)


WRONG_LABELS: dict[str, tuple[Callable[[Place], object], str, str]] = {
    "text": (make_height("id,label\ns000,1\ns001,tall\n"), "height__regression.csv, line 3, column 'label'", "'tall'"),
    "NaN": (make_height("id,label\ns000,nan\n"), "line 2, column 'label'", "'nan'"),
    "infinity": (make_height("id,label\ns000,1\n\ns001,-inf\n"), "line 4, column 'label'", "'-inf'"),
    "a blank": (make_height("id,label\ns000, \n"), "line 2, column 'label'", "' '"),
    "no column label": (make_height("id;label\ns000;1\n"), "line 1", "no column named 'id'"),
    "two columns label": (make_height("id,label,label\ns000,1,2\n"), "line 1", "2 columns named 'label'"),
    "a row without id": (make_height("label,x,id\n1\n"), "line 2", "1 cells"),
    "an empty file": (make_height(""), "height__regression.csv", "an empty file"),
    "not UTF-8": (lambda p: p.height.write_bytes(b"id,label\n\xff,1\n"), "line 2", "0xff"),
    "a file without type": (lambda p: p.height.rename(p.labels / "height.csv"), "height.csv", "the file name"),
    "a hidden file": (lambda p: (p.labels / "._height__regression.csv").touch(), "._height", "the file name"),
    "a folder": (lambda p: (p.labels / "x__cls.csv").mkdir(), "x__cls.csv", "a folder"),
    "an unknown type": (lambda p: p.height.rename(p.labels / "height__multi.csv"), "height__multi.csv", "'multi'"),
    "two files of a task": (lambda p: labels(p.labels, "height__cls", p.ids, [1] * N), "height__regression.csv",
                            "a second file for the task 'height'"),
    "no files": (lambda p: [path.unlink() for path in p.labels.iterdir()], "labels", "no label files"),
    "no labels": (lambda p: [path.write_text("id,label\n") for path in p.labels.iterdir()], "labels", "no label"),
    "no folder": (lambda p: p.labels.rename(p.folder / "elsewhere"), "labels", "nothing there"),
    "a third class": (lambda p: labels(p.labels, "ships__cls", p.ids, [0, 2, 0, 1] * 15), "ships__cls.csv, line 5",
                      "1, a third class (there are 3)"),
    "one class": (lambda p: labels(p.labels, "ships__cls", p.ids, [1] * N), "ships__cls.csv, line 2",
                  "the label 1 everywhere"),
    "too few for R2": (lambda p: labels(p.labels, "height__regression", p.ids[:10], p.y[:10]),
                       "height__regression.csv, task 'height'", "10 samples"),
    "one sample": (lambda p: labels(p.labels, "ships__cls", [*p.ids[:2], "u"], [0, 1, 1]) and
                   p.submission.write_text("".join(p.submission.read_text().splitlines(keepends=True)[:2])),
                   "csv", "1 sample"),
}  # fmt: skip
"""What spoils the labels, and what the place and the finding must contain."""


@pytest.mark.parametrize("name", WRONG_LABELS)
def test_wrong_labels_are_refused(place, name):
    make, where, found = WRONG_LABELS[name]
    make(place)
    settings = {"normalize_labels": False} if name == "one sample" else {}
    error = place.refused(**settings)
    assert where in error.where
    assert found in error.found


def test_classes_that_are_not_normalised_must_be_0_and_1(place):
    labels(place.labels, "ships__cls", place.ids, [1] * N)
    assert place.run(normalize_labels=False).scores.get("m", "ships").n_samples == N
    place.out = place.folder / "second"
    labels(place.labels, "ships__cls", place.ids, [1, 1, 2, 1] * 15)
    error = place.refused(normalize_labels=False)
    assert error.where.endswith("ships__cls.csv, line 4, column 'label'")
    assert error.found == "2"


def test_an_unknown_task_is_refused_with_the_list(place):
    error = place.refused(task_filter=["height", "depth"])
    assert error.where.endswith("config.yaml, line 1, task_filter")
    assert (error.found, error.expected) == ("no task named 'depth'", "some of height, ships")


# --- the record ------------------------------------------------------------------------------------------------------


def test_the_record_is_that_of_the_protocol(place):
    done = place.run(output_fold_results=True)
    (scores,) = [Scores.read(done.folder / "fastprobe_scores.json")]
    assert scores.to_json() == done.scores.to_json()
    bench = fastprobe.Benchmark.from_folder(place.labels)
    sub = fastprobe.Submission.read(place.submission, name="m")
    expected = fastprobe.score([sub], bench, protocol=place.config().protocol())
    assert scores.protocol["hash"] == expected.protocol["hash"]
    for row, other in zip(scores, expected, strict=True):
        assert (row.task, row.fold_scores, row.q) == (other.task, other.fold_scores, other.q)
        assert (row.embedding_hash, row.label_hash) == (other.embedding_hash, other.label_hash)
        assert row.fold_epochs == other.fold_epochs


def test_what_shifts_the_stream_is_noted(place):
    labels(place.labels, "depth__regression", place.ids, place.y * 2)
    whole = place.run()
    filtered = place.run(task_filter=["height", "ships"])
    assert filtered.scores.get("m", "height").fold_scores != whole.scores.get("m", "height").fold_scores
    note = "task_filter leaves out depth, so this task gets other draws than in a full run"
    assert all(note in row.notes for row in filtered.scores)
    last = place.run(task_filter=["depth", "height"])
    assert not any("task_filter" in note for row in last.scores for note in row.notes)
    assert last.scores.get("m", "height").fold_scores == whole.scores.get("m", "height").fold_scores
    stored = place.run(store_probes=True)
    assert stored.scores.get("m", "depth").notes == whole.scores.get("m", "depth").notes
    note = "store_probes draws again for depth, height, so this task gets other draws than without"
    assert note in stored.scores.get("m", "ships").notes


def test_mapped_classes_are_noted(place):
    labels(place.labels, "ships__cls", place.ids, np.where(place.y > 0, 2, 1))
    assert "the labels 1 and 2 became 0 and 1" in place.run().scores.get("m", "ships").notes


# --- figures ---------------------------------------------------------------------------------------------------------


def test_figures_have_the_names_of_neuco_bench(place):
    pytest.importorskip("matplotlib")
    done = place.run(enable_plots=True, k_folds=2)
    drawn = [path for path in tree(done.folder) if path.endswith(".png")]
    assert drawn == [
        "height/loss_curves/height_train_loss_curves.png",
        "height/loss_curves/height_validation_loss_curves.png",
        "height/regression_scatter/team_height_scatter_fold1.png",
        "height/regression_scatter/team_height_scatter_fold2.png",
        "ships/confusion_matrices/team_ships_cm_fold1.png",
        "ships/confusion_matrices/team_ships_cm_fold2.png",
        "ships/loss_curves/ships_train_loss_curves.png",
        "ships/loss_curves/ships_validation_loss_curves.png",
    ]
    assert all((done.folder / path).read_bytes().startswith(b"\x89PNG") for path in drawn)


@pytest.fixture
def drawn(monkeypatch):
    """Figures by file name, kept instead of written."""
    pytest.importorskip("matplotlib")
    kept: dict[str, Any] = {}
    monkeypatch.setattr(figures, "_save", lambda figure, path: kept.update({path.name: figure.axes[0]}))
    return kept


def test_figures_show_the_numbers(place, drawn):
    done = place.run(enable_plots=True, k_folds=2, epochs=4)
    counts = [int(text.get_text()) for text in drawn["team_ships_cm_fold1.png"].texts]
    assert sum(counts) == N - N // 10  # the training samples, as NeuCo-Bench counts
    assert counts[2] + counts[3] in range(int((place.y > 0).sum()) - N // 10, int((place.y > 0).sum()) + 1)
    train, held_out, identity = drawn["team_height_scatter_fold2.png"].lines
    assert len(train.get_xdata()) == N - N // 10
    assert len({line.get_marker() for line in (train, held_out, identity)}) == 3  # readable without colour
    row = done.scores.get("m", "height")
    y, predicted = held_out.get_xdata(), held_out.get_ydata()
    r2 = 1 - np.sum((y - predicted) ** 2) / np.sum((y - y.mean()) ** 2)
    assert r2 == pytest.approx(row.fold_scores[1], rel=1e-4)
    *folds, median = drawn["height_validation_loss_curves.png"].lines
    assert len(folds) == 2
    losses = np.array([line.get_ydata() for line in folds])
    assert median.get_ydata() == pytest.approx(np.median(losses, axis=0))
    assert list(median.get_xdata()) == [1, 2, 3, 4]
    assert losses[1][row.fold_epochs[1] - 1] == pytest.approx(np.mean((y - predicted) ** 2), rel=1e-4)


def test_a_fold_without_a_score_has_no_figure(place, drawn, caplog):
    labels(place.labels, "flat__regression", place.ids, [2] * N)
    place.run(enable_plots=True, k_folds=2, task_filter=["flat"])
    assert sorted(drawn) == ["flat_train_loss_curves.png", "flat_validation_loss_curves.png"]
    assert caplog.text.count("no figure, for no epoch has a score") == 2


def test_figures_without_matplotlib_are_refused_first(place, monkeypatch):
    monkeypatch.setattr(figures, "find_spec", lambda name: None)
    place.submission.unlink()
    error = place.refused(enable_plots=True)
    assert error.where.endswith("config.yaml, line 1, enable_plots")
    assert "pip install 'fastprobe[report]'" in error.fix


def test_the_library_does_not_load_matplotlib_for_nothing(place):
    before = "matplotlib.pyplot" in sys.modules
    place.run()
    assert ("matplotlib.pyplot" in sys.modules) == before


# --- stored probes ---------------------------------------------------------------------------------------------------


@pytest.fixture
def stored(place):
    """A run with well-trained probes of an embedding that is padded; its folder."""
    labels(place.labels, "ships__cls", place.ids, np.where(place.y > 0, 7, 3))
    return place.run(store_probes=True, embedding_dim=D + 3, epochs=80, learning_rate=0.02).folder


def test_a_stored_probe_predicts_labels_from_raw_embeddings(place, stored):
    probe = load_probe(stored / "height" / "probe")
    assert (probe.task, probe.kind, probe.n_features, probe.weight.shape) == ("height", "regression", D, (D + 3,))
    assert (probe.label_min, probe.label_max) == (place.y.min(), place.y.max())
    predicted = probe.predict(place.x)
    assert predicted.dtype == np.float32
    outputs = (place.x - probe.mean) / probe.std @ probe.weight[:D] - probe.mean / probe.std * probe.weight[D:].sum()
    expected = (outputs + probe.bias) * (probe.label_max - probe.label_min) + probe.label_min
    np.testing.assert_allclose(predicted, expected, atol=1e-4)
    assert np.mean((predicted - place.y) ** 2) < 0.05 * place.y.var()
    padded = np.pad(place.x, ((0, 0), (0, 3)))
    np.testing.assert_array_equal(probe.predict(padded), predicted)
    assert probe.mean == pytest.approx(padded.mean(), rel=1e-5)
    assert probe.std == pytest.approx(padded.std(), rel=1e-5)


def test_a_stored_classifier_gives_logits_and_classes(place, stored):
    probe = load_probe(stored / "ships" / "probe" / "probe.npz")
    logits, classes = probe.predict(place.x), probe.predict_class(place.x)
    np.testing.assert_array_equal(classes, np.where(logits > 0, 7.0, 3.0))
    assert np.mean((classes == 7) == (place.y > 0)) > 0.9


def test_labels_that_were_not_normalised_are_predicted_as_they_are(place):
    done = place.run(store_probes=True, normalize_labels=False, standardize_embeddings=False, epochs=60)
    probe = load_probe(done.folder / "height" / "probe")
    assert (probe.mean, probe.std) == (0, 1)
    assert np.mean((probe.predict(place.x) - place.y) ** 2) < 0.05 * place.y.var()
    ships = load_probe(done.folder / "ships" / "probe")
    assert set(ships.predict_class(place.x).tolist()) == {0.0, 1.0}


def test_storing_probes_needs_the_key(place):
    assert not list(place.run().folder.rglob("probe*"))


def test_probes_refuse_other_embeddings(place, stored):
    probe = load_probe(stored / "height" / "probe")
    for x in (place.x[:, :2], place.x[0], [["a", "b"]]):
        with pytest.raises(InputError, match=r"\(n, 4\) \(or 7, padded\)"):
            probe.predict(x)
    with pytest.raises(InputError, match="use predict"):
        probe.predict_class(place.x)


def test_files_that_are_no_probes_are_refused(tmp_path, stored):
    good = dict(np.load(stored / "height" / "probe" / "probe.npz"))
    path = tmp_path / "probe.npz"

    def refused(found: str) -> None:
        with pytest.raises(InputError) as caught:
            load_probe(path)
        assert caught.value.where.startswith(str(path))
        assert found in caught.value.found

    refused("nothing there")
    path.write_text("not an archive")
    refused("no .npz archive")
    np.savez(path, **good)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused("only a part of one")
    path.write_bytes(whole[:200] + b"\0" * 50 + whole[250:])
    refused("cannot be read")
    np.savez(path, x=np.zeros(3))
    refused("an archive of 'x'")
    np.savez(path, **{**good, "format": "something else"})
    refused("an archive of")
    np.savez(path, **{name: array for name, array in good.items() if name != "bias"})
    refused("no array 'bias'")
    np.savez(path, **{**good, "weight": good["weight"][None]})
    refused("the array 'weight'")
    np.savez(path, **{**good, "epochs": np.array(1.5)})
    refused("the array 'epochs'")
    np.savez(path, **{**good, "kind": np.array("clustering")})
    refused("'clustering'")
    np.savez(path, **{**good, "n_features": np.array(8)})
    refused("8 features")
    np.savez(path, **{**good, "task": np.array({"a": 1}, dtype=object)})
    refused("Object arrays cannot be loaded")


# --- the command -----------------------------------------------------------------------------------------------------


def test_the_command_has_the_defaults_of_neuco_bench(command, place):
    done = command("--annotation_path labels --submission_file team.csv")
    assert done.exit_code == 0, done.output
    (folder,) = (place.folder / "results" / "results").iterdir()
    assert folder.name.startswith("team_")
    assert done.stdout == ""
    assert f"wrote results/results/{folder.name}" in done.stderr


def test_all_options(command, place):
    (place.folder / "exclude.txt").write_text("s003\n")
    done = command(f"{GOOD} --method_name ours --phase dev --exclude_file exclude.txt --device cpu --quiet")
    assert (done.exit_code, done.stdout) == (0, ""), done.output
    (folder,) = (place.out / "dev").iterdir()
    assert folder.name.startswith("ours_")
    assert "wrote" not in done.stderr
    assert Scores.read(folder / "fastprobe_scores.json").get("ours", "height").n_samples == N - 1


def test_standard_output_is_that_of_neuco_bench(command, place):
    place.config(update_leaderboard=True)
    done = command(GOOD)
    _, title, header, row, saved = done.stdout.splitlines()
    assert title == "=== Leaderboard Summary ==="
    assert header.split() == ["experiment", "mean_score", "weighted_score", "aggregated_rank"]
    assert row.split()[2:] == ["1.000000", "1"]
    (board,) = (place.out / "leaderboards" / "results").iterdir()
    assert saved == f"Leaderboard CSV saved to {board.relative_to(place.folder)}"
    assert "height (regression): Q " in done.stderr


@pytest.mark.parametrize(
    ("change", "first"),
    [
        ("--method_name a/b", "error: --method_name"),
        ("--method_name .hidden", "error: --method_name"),
        ("--phase ../elsewhere", "error: --phase"),
        ("--phase /tmp", "error: --phase"),
        ("--config nowhere.yaml", "error: nowhere.yaml"),
        ("--annotation_path nowhere", "error: nowhere"),
        ("--exclude_file nowhere", "error: --exclude_file, nowhere"),
        ("--device cuda", "error: --device"),
        ("--device gpu", "error: --device"),
    ],
)
def test_wrong_options(command, place, change, first):
    done = command(f"{GOOD} {change}")
    assert done.exit_code == 2
    assert done.stdout == ""
    assert first in [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert not place.out.exists()


def test_required_options(command):
    done = command("--submission_file team.csv")
    assert done.exit_code == 2
    assert "--annotation_path" in done.stderr


def test_the_device_of_the_config(place):
    for device in ("auto", "cpu"):
        assert place.run(device=device).scores.rows[0].device.startswith("cpu")
    place.out = place.folder / "other"
    error = place.refused(device="cuda")
    assert isinstance(error, DeviceError)
    assert error.where.endswith("config.yaml, line 1, probe_params.device")
