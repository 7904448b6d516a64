"""The demonstration: honest submissions, the right tasks, files that give the same scores again."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest

import fastprobe
from fastprobe import demo

README = Path(__file__).resolve().parents[1] / "README.md"
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "landsat" / "satellite.npz"


@pytest.fixture(scope="module")
def scene() -> demo.Scene:
    return demo.load_scene()


@pytest.fixture(scope="module")
def submissions(scene: demo.Scene) -> dict[str, fastprobe.Submission]:
    return {submission.name: submission for submission in demo.demo_submissions(scene)}


@pytest.fixture(scope="module")
def benchmark(scene: demo.Scene) -> fastprobe.Benchmark:
    return demo.demo_benchmark(scene)


@pytest.fixture(scope="module")
def part(scene: demo.Scene) -> demo.Scene:
    """What the demonstration takes of the scene."""
    return scene.every(demo.EVERY)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, fastprobe.Scores]:
    out = tmp_path_factory.mktemp("demo")
    return out, demo.run_demo(out, device="cpu")


@pytest.mark.skipif(not SHARED.is_file(), reason="shared/data/landsat is not beside this checkout")
def test_the_packaged_scene_is_the_published_one(scene: demo.Scene) -> None:
    with np.load(SHARED, allow_pickle=False) as original:
        np.testing.assert_array_equal(scene.pixels, original["pixels"])
        np.testing.assert_array_equal(scene.cover, original["cover"])
        assert scene.cover_names == tuple(original["cover_names"])


def test_the_scene_is_described_as_it_is(scene: demo.Scene) -> None:
    """The notes on overlap in the documentation are counted here."""
    assert scene.pixels.shape == (6435, 3, 3, 4)
    right = {columns.tobytes() for columns in np.ascontiguousarray(scene.pixels[:, :, 1:])}
    left = [columns.tobytes() for columns in np.ascontiguousarray(scene.pixels[:, :, :2])]
    share = sum(columns in right for columns in left) / len(left)
    assert 0.875 < share < 0.885


def test_a_part_of_the_scene_is_evenly_spaced(scene: demo.Scene) -> None:
    part = scene.every(4)
    np.testing.assert_array_equal(part.ids, [f"landsat-{row:04d}" for row in range(0, 6435, 4)])
    np.testing.assert_array_equal(part.pixels[3], scene.pixels[12])
    assert (part.cover[3], part.cover_names) == (scene.cover[12], scene.cover_names)


def test_no_submission_sees_the_centre_pixel(scene: demo.Scene, submissions: dict[str, fastprobe.Submission]) -> None:
    scrambled = scene.pixels.copy()
    scrambled[:, 1, 1] = np.random.default_rng(0).integers(0, 256, scrambled[:, 1, 1].shape)
    assert not np.array_equal(scrambled, scene.pixels)
    for again in demo.demo_submissions(dataclasses.replace(scene, pixels=scrambled)):
        np.testing.assert_array_equal(again.x, submissions[again.name].x)


def test_no_submission_sees_the_labels(scene: demo.Scene, submissions: dict[str, fastprobe.Submission]) -> None:
    for again in demo.demo_submissions(dataclasses.replace(scene, cover=np.zeros_like(scene.cover))):
        np.testing.assert_array_equal(again.x, submissions[again.name].x)


def test_names_say_the_number_of_dimensions(submissions: dict[str, fastprobe.Submission]) -> None:
    assert len(submissions) == len(demo.RECIPES) >= 6
    for name, submission in submissions.items():
        assert submission.x.shape == (6435, int(name.rsplit("-", 1)[1]))
        assert submission.x.dtype == np.float32
        assert np.isfinite(submission.x).all()


def test_ring_leaves_out_exactly_the_centre() -> None:
    pixels = np.arange(2 * 3 * 3 * 4, dtype=np.uint8).reshape(2, 3, 3, 4)
    scene = demo.Scene(np.array(["a", "b"]), pixels, np.zeros(2, np.int8), ("x",))
    around = np.delete(pixels.reshape(2, 9, 4), 4, axis=1)
    np.testing.assert_array_equal(np.sort(scene.ring.reshape(2, -1)), np.sort(around.reshape(2, -1)))


def test_fourier_features_approximate_their_kernel(scene: demo.Scene) -> None:
    ring = scene.ring[:200]
    x = ring.reshape(200, 32).astype(float)
    x = (x - x.mean(0)) / x.std(0)
    kernel = np.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / 32)
    z = demo.random_fourier(ring, size=20_000).astype(float)
    assert np.abs(z @ z.T - kernel).max() < 5 * np.sqrt(1 / 20_000)  # five standard errors of a mean of 20,000 draws


def test_convolution_does_not_change_when_the_ring_turns(scene: demo.Scene) -> None:
    ring = scene.ring[:300]
    flat = (ring.reshape(-1, 32) - ring.reshape(-1, 32).mean(0)) / ring.reshape(-1, 32).std(0)
    ring = flat.reshape(ring.shape)
    turned = np.roll(ring, 3, axis=1)
    np.testing.assert_allclose(demo.random_convolution(turned), demo.random_convolution(ring), atol=1e-5)


def test_principal_components_hold_the_leading_variance(scene: demo.Scene) -> None:
    x = scene.ring.reshape(-1, 32).astype(float)
    x = (x - x.mean(0)) / x.std(0)
    singular = np.linalg.svd(x, compute_uv=False)
    z = demo.principal_components(scene.ring).astype(float)
    np.testing.assert_allclose(z.T @ z, np.diag(singular[:8] ** 2), atol=1e-5 * singular[0] ** 2)


def test_ten_tasks_about_the_centre(scene: demo.Scene, benchmark: fastprobe.Benchmark) -> None:
    tasks = {task.name: task for task in benchmark.tasks}
    assert list(tasks) == sorted(tasks)
    assert sorted(task.kind for task in tasks.values()) == ["classification"] * 6 + ["regression"] * 4
    np.testing.assert_array_equal(tasks["band_infrared1"].y, scene.pixels[:, 1, 1, 2])
    covers = [task.y for name, task in tasks.items() if name.startswith("is_")]
    np.testing.assert_array_equal(np.sum(covers, axis=0), 1)  # every sample has one kind of land cover


def test_demo_scores_every_submission_on_every_task(finished: tuple[Path, fastprobe.Scores]) -> None:
    _, scores = finished
    assert {(row.submission, row.task) for row in scores.rows} == {
        (recipe.name, task.name) for recipe in demo.RECIPES for task in demo.demo_benchmark().tasks
    }
    assert all(row.q is not None and row.n_failed == 0 for row in scores.rows)


def test_noise_is_last_and_worthless(finished: tuple[Path, fastprobe.Scores]) -> None:
    _, scores = finished
    mean_q = scores.mean_qs()
    assert min(mean_q, key=mean_q.__getitem__) == "noise-16"
    assert abs(mean_q["noise-16"]) < 2
    assert all(mean_q[recipe.name] > 35 for recipe in demo.RECIPES if recipe.name != "noise-16")


def test_band_regression_equals_a_plain_refit(finished: tuple[Path, fastprobe.Scores], part: demo.Scene) -> None:
    """With the strengths that were chosen; how they are is tested with the probe."""
    from sklearn.linear_model import Ridge
    from sklearn.metrics import r2_score
    from sklearn.model_selection import ShuffleSplit

    _, scores = finished
    row = next(row for row in scores.rows if (row.submission, row.task) == ("band-means-4", "band_red"))
    x = demo.band_means(part.ring).astype(float)
    x = (x - x.mean()) / x.std()
    y = part.pixels[:, 1, 1, 1].astype(float)
    splits = ShuffleSplit(demo.FOLDS, test_size=0.1, random_state=42).split(x)
    refits = [
        r2_score(y[test], Ridge(alpha).fit(x[train], y[train]).predict(x[test]))
        for alpha, (train, test) in zip(row.fold_alphas, splits, strict=True)
    ]
    np.testing.assert_allclose(row.fold_scores, refits, atol=1e-9)


def test_cover_classification_equals_a_plain_refit(finished: tuple[Path, fastprobe.Scores], part: demo.Scene) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import f1_score
    from sklearn.model_selection import ShuffleSplit

    _, scores = finished
    row = next(row for row in scores.rows if (row.submission, row.task) == ("band-means-4", "is_red_soil"))
    x = demo.band_means(part.ring).astype(float)
    x = (x - x.mean()) / x.std()
    y = part.cover == part.cover_names.index("red_soil")
    splits = ShuffleSplit(demo.FOLDS, test_size=0.1, random_state=42).split(x)
    for score, alpha, (train, test) in zip(row.fold_scores, row.fold_alphas, splits, strict=True):
        refit = LogisticRegression(C=1 / alpha, tol=1e-10, max_iter=10_000).fit(x[train], y[train])
        assert score == pytest.approx(f1_score(y[test], refit.predict(x[test])), abs=1e-12)


def test_written_files_read_back_bit_for_bit(finished: tuple[Path, fastprobe.Scores], part: demo.Scene) -> None:
    out, _ = finished
    submissions = {submission.name: submission for submission in demo.demo_submissions(part)}
    benchmark = demo.demo_benchmark(part)
    files = sorted((out / "submissions").iterdir())
    assert sorted(file.stem for file in files) == sorted(submissions)
    for file in files:
        assert fastprobe.Submission.read(file).digest == submissions[file.stem].digest
    again = fastprobe.Benchmark.from_folder(out / "labels")
    assert [task.digest for task in again.tasks] == [task.digest for task in benchmark.tasks]
    np.testing.assert_array_equal(np.sort(again.labelled_ids), np.sort(benchmark.labelled_ids))


def test_results_are_written(finished: tuple[Path, fastprobe.Scores]) -> None:
    out, scores = finished
    assert fastprobe.Scores.read_parquet(out / "scores.parquet").to_dict() == scores.to_dict()
    assert json.loads((out / "scores.json").read_text())["mean_q"] == scores.mean_qs()
    rows = json.loads((out / "leaderboard.json").read_text())["rows"]
    assert sorted(row["submission"] for row in rows) == sorted(recipe.name for recipe in demo.RECIPES)
    text = (out / "README.txt").read_text()
    assert "doi:10.24432/C55887" in text
    assert "CC BY 4.0" in text
    assert not [path for path in out.rglob("*") if path.name.startswith(".")]  # no temporary file stays


def test_readme_shows_these_results(finished: tuple[Path, fastprobe.Scores]) -> None:
    _, scores = finished
    readme = README.read_text(encoding="utf-8")
    board = {name: float(q) for name, q in re.findall(r"^ +\d   (\S+-\d+) +(-?\d+\.\d\d) ", readme, flags=re.MULTILINE)}
    assert board == pytest.approx(scores.mean_qs(), abs=0.006)  # printed with two decimals
    shown = {name: float(q) for name, q in re.findall(r"^ +(\w+) +(?:R2|F1) .* (\S+)$", readme, flags=re.MULTILINE)}
    of_pca = {row.task: row.q for row in scores.rows if row.submission == "pca-8"}
    assert shown == pytest.approx(of_pca, abs=0.006)


def test_demo_runs_again_over_its_own_files(
    finished: tuple[Path, fastprobe.Scores], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, scores = finished
    before = sorted(path.relative_to(out) for path in out.rglob("*"))
    small = [recipe for recipe in demo.RECIPES if recipe.name == "band-means-4"]
    monkeypatch.setattr(demo, "RECIPES", small)
    again = demo.run_demo(out, device="cpu")
    assert sorted(path.relative_to(out) for path in out.rglob("*")) == before
    assert again.mean_qs() == pytest.approx({recipe.name: scores.mean_q(recipe.name) for recipe in small}, abs=1e-7)
    assert fastprobe.Scores.read_parquet(out / "scores.parquet").mean_qs() == again.mean_qs()
