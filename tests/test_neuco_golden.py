"""What NeuCo-Bench itself answers: every fold score of its own runs, replayed.

``golden/`` holds its runs on the inputs of ``golden_cases.py`` (made by ``make_golden.py``). Five complete runs on real
embeddings that may not be passed on lie beside the checkout; tests of these are skipped where they do not.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_cases import CASES, Case, Paths
from numpy.testing import assert_array_equal
from typer.testing import CliRunner

import fastprobe
from fastprobe.cli import app
from fastprobe.protocol import Protocol, ReplaySpec

GOLDEN = Path(__file__).with_name("golden")
FOLD, Q, WEIGHT = 5e-5, 1e-4, 1e-5
"""Largest differences: of a fold score (relative where its size is above 1), of Q (relative), of a stored weight."""

CLEAN = [case for case in CASES.values() if case.name.startswith(("landsat", "dimensions", "batch", "learning-rate"))]
"""Cases that fastprobe's own reading accepts as they are: no repairs, no repeated ids."""

SHARED = {
    "presto_rawbands": ("presto/submissions/rawbands.npz", ()),
    "alphaearth": ("alphaearth/submissions/alphaearth.npz", ()),
    "presto_trained": ("presto/submissions/trained.npz", pytest.mark.slow),
    "presto_untrained": ("presto/submissions/untrained.npz", pytest.mark.slow),
    "presto_rawbands_padded_1024": ("presto/submissions/rawbands.npz", pytest.mark.slow),
}
shared_runs = pytest.mark.parametrize(
    ("run", "submission"),
    [pytest.param(run, submission, marks=marks, id=run) for run, (submission, marks) in SHARED.items()],
)

Tasks = dict[str, dict[str, Any]]


def read_golden(path: Path) -> dict[str, Any]:
    """Read a golden run; strings that stand for numbers become numbers."""
    named = {"NaN": np.nan, "Infinity": np.inf, "-Infinity": -np.inf}
    record = json.loads(path.read_text(encoding="utf-8"))
    for scores in record["tasks"].values():
        for key, value in scores.items():
            values = [named.get(v, v) for v in np.atleast_1d(np.array(value, dtype=object))]
            scores[key] = np.array(values, dtype=float) if key == "q_t" else float(values[0])
    return record


def drop_in(paths: Paths, out: Path) -> Path:
    """Run ``fastprobe neuco``; returns the folder of the run."""
    options = {"--annotation_path": paths.labels, "--submission_file": paths.submission, "--config": paths.config}
    options |= {"--output_dir": out} | ({"--exclude_file": paths.exclude} if paths.exclude else {})
    done = CliRunner().invoke(app, ["neuco", *(str(word) for option in options.items() for word in option)])
    assert done.exit_code == 0, done.output
    (folder,) = (out / "results").iterdir()
    return folder


def results(folder: Path) -> Tasks:
    """Read the result files of a run: those of the tasks, and the summary, which must say the same."""
    tasks = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("*/*_result.json")}
    summary = json.loads((folder / "results_summary.json").read_text())
    for key, in_summary in (("q_stat", "task_q_scores"), ("mean_score", "task_acc_scores")):
        assert_array_equal([tasks[name][key] for name in summary[in_summary]], list(summary[in_summary].values()))
    assert list(summary["task_q_scores"]) == sorted(tasks)
    return tasks


def scored(scores: fastprobe.Scores) -> Tasks:
    """Put a score table into the words of NeuCo-Bench."""
    return {
        row.task: {"q_stat": row.q, "mean_score": row.mean, "std_dev": row.std, "q_t": row.fold_scores}
        for row in scores.rows
    }


def protocol(config: dict[str, Any]) -> Protocol:
    params = config["probe_params"]
    spec = ReplaySpec(
        epochs=params["epochs"],
        batch_size=params["batch_size"],
        learning_rate=params["learning_rate"],
        normalize_labels=config["normalize_labels"],
        embedding_dim=config.get("embedding_dim"),
        store_probes=config["store_probes"],
    )
    named = Protocol.named("neuco").with_options(folds=config["k_folds"])
    return replace(named, standardize=config["standardize_embeddings"], replay=spec)


def assert_close(found: Any, expected: Any, within: Any, what: str) -> None:
    """Compare numbers; infinities and NaN must be the same."""
    found, expected = np.asarray(found, dtype=float), np.asarray(expected, dtype=float)
    assert found.shape == expected.shape, what
    finite = np.isfinite(expected)
    assert_array_equal(found[~finite], expected[~finite], err_msg=what)
    difference = np.abs(found[finite] - expected[finite]) / np.broadcast_to(within, expected.shape)[finite]
    assert (difference <= 1).all(), f"{what}: {difference.max():.3g} times what is allowed; {found} for {expected}"


def assert_same(found: Tasks, expected: Tasks) -> None:
    assert sorted(found) == sorted(expected)
    for task, scores in expected.items():
        here, folds = found[task], scores["q_t"]
        size = np.maximum(1, np.where(np.isfinite(folds), np.abs(folds), 1))
        assert_close(here["q_t"], folds, FOLD * size, f"folds of {task}")
        assert_close(here["mean_score"], scores["mean_score"], FOLD * size.mean(), f"mean of {task}")
        assert_close(here["std_dev"], scores["std_dev"], FOLD * size.max(), f"deviation of {task}")
        assert_close(here["q_stat"], scores["q_stat"], Q * max(abs(scores["q_stat"]), 1e-9), f"Q of {task}")


# --- golden runs of this repository ---------------------------------------------------------------------------------


def test_every_case_has_its_golden_run_and_every_golden_run_its_case() -> None:
    assert sorted(path.stem for path in GOLDEN.glob("*")) == sorted(CASES)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_golden_run_belongs_to_the_inputs(case: Case) -> None:
    golden = read_golden(GOLDEN / f"{case.name}.json")
    assert golden["inputs"] == case.digest, "the inputs have changed: make the golden run again"
    assert golden["config"] == case.config
    assert (golden["case"], golden["source"]["neuco"][:7]) == (case.name, "a89ba06")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_drop_in_answers_as_neuco_bench(case: Case, tmp_path: Path) -> None:
    golden = read_golden(GOLDEN / f"{case.name}.json")
    (tmp_path / "inputs").mkdir()
    folder = drop_in(case.write(tmp_path / "inputs"), tmp_path / "out")
    assert_same(results(folder), golden["tasks"])
    assert ("probes" in golden) == case.config["store_probes"]
    for task, expected in golden.get("probes", {}).items():
        with np.load(folder / task / "probe" / "probe.npz", allow_pickle=False) as probe:
            assert_close(probe["weight"], expected["weight"], WEIGHT, f"weights of {task}")
            assert_close(probe["bias"], expected["bias"], WEIGHT, f"bias of {task}")


@pytest.mark.parametrize("case", CLEAN, ids=lambda case: case.name)
def test_score_answers_as_neuco_bench(case: Case, tmp_path: Path) -> None:
    paths = case.write(tmp_path)
    benchmark = fastprobe.Benchmark.from_folder(paths.labels, tasks=case.config["task_filter"])
    scores = fastprobe.score([paths.submission], benchmark, protocol=protocol(case.config))
    assert_same(scored(scores), read_golden(GOLDEN / f"{case.name}.json")["tasks"])


def test_cases_are_what_they_say() -> None:
    """A golden run that does not bring out its behaviour tests nothing."""
    runs = {name: read_golden(GOLDEN / f"{name}.json")["tasks"] for name in CASES}
    whole = runs["landsat-means"]
    assert set(runs["landsat-filter"]) < set(whole)
    for task, scores in runs["landsat-filter"].items():
        assert not np.array_equal(scores["q_t"], whole[task]["q_t"])
    flat = runs["constant-labels"]["flat"]
    assert np.isneginf(flat["q_t"]).all()
    assert np.isneginf(flat["mean_score"])
    assert np.isnan([flat["std_dev"], flat["q_stat"]]).all()
    nearly = runs["nearly-constant-labels"]
    assert set(nearly["five"]["q_t"]) == {0}
    assert set(nearly["nought"]["q_t"]) == {0, 1}
    assert 2 < len(set(nearly["outliers"]["q_t"])) < len(nearly["outliers"]["q_t"])
    assert set(runs["rare-and-separable"]["separable"]["q_t"]) == {1}
    assert set(runs["rare-and-separable"]["rare"]["q_t"]) >= {0, 1}


def test_rules_that_decide_scores_are_flagged_with_the_number_of_folds(tmp_path: Path) -> None:
    nought = read_golden(GOLDEN / "nearly-constant-labels.json")["tasks"]["nought"]["q_t"]
    flags = {
        "nearly-constant-labels": {
            "nought": [f"R2 set to {rule}: .* {np.sum(nought == rule)} of 10 folds" for rule in (0, 1)],
            "five": ["R2 set to 0: .* 10 of 10 folds"],
        },
        "logits-in-unit-interval": {"wet": ["F1 of raw outputs .* 9 of 40 folds"]},
        "well-trained": {"height": ["epoch chosen on the held-out rows"]},
        "landsat-filter": {"band_red": ["task_filter"]},
        "landsat-probes": {"is_red_soil": ["store_probes"]},
        "repeated-in-submission": {"height": ["10 samples more"]},
    }
    for name, tasks in flags.items():
        inputs = tmp_path / name / "inputs"
        inputs.mkdir(parents=True)
        folder = drop_in(CASES[name].write(inputs), tmp_path / name / "out")
        scores = fastprobe.Scores.read(folder / "fastprobe_scores.json")
        notes = {row.task: "\n".join(row.notes) for row in scores.rows}
        for task, patterns in tasks.items():
            for pattern in patterns:
                assert re.search(pattern, notes[task]), (name, task, pattern, notes[task])


# --- complete runs on real embeddings -------------------------------------------------------------------------------


def shared_run(data: Path, run: str) -> dict[str, Any]:
    path = data.parent / "golden" / f"neuco_{run}.json"
    if not path.is_file():
        pytest.skip(f"the golden runs on real data are not at {path.parent}")
    return read_golden(path)


@shared_runs
def test_drop_in_answers_as_neuco_bench_on_real_data(run: str, submission: str, data: Path, tmp_path: Path) -> None:
    golden = shared_run(data, run)
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps(golden["config"]))
    labels = data / Path(submission).parts[0] / "labels"
    folder = drop_in(Paths(labels, data / submission, config, None), tmp_path / "out")
    assert_same(results(folder), golden["tasks"])


@shared_runs
def test_score_answers_as_neuco_bench_on_real_data(run: str, submission: str, data: Path) -> None:
    golden = shared_run(data, run)
    benchmark = fastprobe.Benchmark.from_folder(data / Path(submission).parts[0] / "labels")
    scores = fastprobe.score([data / submission], benchmark, protocol=protocol(golden["config"]))
    assert_same(scored(scores), golden["tasks"])


def test_the_named_protocol_has_the_settings_of_the_published_runs(data: Path) -> None:
    for run in ("presto_trained", "presto_untrained", "presto_rawbands", "alphaearth"):
        assert protocol(shared_run(data, run)["config"]) == Protocol.named("neuco")
