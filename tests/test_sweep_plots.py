"""The figures of a sweep: which there are, what stands in them, and that they are well-formed and repeatable."""

from __future__ import annotations

import logging
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from sweep_rows import rising, sweep_row, sweep_table

from fastprobe.errors import InputError
from fastprobe.report import canvas, distortion, lines, series, surface, sweep_plots
from fastprobe.report.labels import describe, shorten
from fastprobe.report.scales import floor_of, octaves, spaced
from fastprobe.report.series import chart, choose
from fastprobe.report.surface import surfaces
from fastprobe.report.sweep_plots import draw_sweep

matplotlib = pytest.importorskip("matplotlib")

SVG = "{http://www.w3.org/2000/svg}"


def drawn(rows, folder):
    """The figures of some rows: name -> all text in the SVG."""
    paths = draw_sweep(sweep_table(rows), folder)
    assert sorted(paths) == sorted(path for path in folder.iterdir())
    assert all(path.with_suffix(".svg") in paths and path.with_suffix(".png") in paths for path in paths)
    for path in paths:
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG\r\n")
    return {path.stem: texts(path) for path in paths if path.suffix == ".svg"}


def texts(path: Path) -> list[str]:
    root = ElementTree.parse(path).getroot()  # fails where it is not well-formed
    return ["".join(element.itertext()) for element in root.iter(f"{SVG}text")]


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Make the figures of some rows without writing them: name -> figure."""

    def make(rows):
        found = {}
        with monkeypatch.context() as patch:
            patch.setattr(sweep_plots, "save", lambda figure, folder, stem: [found.setdefault(stem, figure)])
            draw_sweep(sweep_table(rows), tmp_path)
        return found

    return make


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]


# --- Which figures there are -----------------------------------------------------------------------------------------


def test_each_figure_needs_its_rows(made):
    cases = {
        "one": ([sweep_row([0.5])], set()),
        "size": (rising([1, 2, 8]), {"size", "frontier"}),
        "bits": ([sweep_row([0.5], bits=bits) for bits in (32, 8)], {"frontier"}),
        "alphas": ([sweep_row([0.5], alpha=alpha) for alpha in (1.0, 10.0)], set()),
        "surface": (
            [row for alpha in (1.0, 10.0) for row in rising([1, 8], alpha=alpha)],
            {"size", "surface", "frontier"},
        ),
        "learning": ([sweep_row([0.5], fraction=f) for f in (0.1, 1.0)], {"learning"}),
        "empty": ([], set()),
    }
    for name, (rows, expected) in cases.items():
        assert set(made(rows)) == expected, name


def test_names_and_axes_are_text_in_the_svg(tmp_path):
    rows = [
        row | {"submission": submission, "task": task}
        for submission, task in (("presto", "biomass"), ("alphaearth", "crops"))
        for alpha in (1.0, 10.0)
        for row in rising([1, 2, 4, 8], alpha=alpha)
    ]
    found = drawn(rows, tmp_path)
    assert {"biomass", "crops", "R2", "Q", "dimensions", "presto, alpha 1", "alphaearth, alpha 10"} <= set(
        found["size"]
    )
    assert {"biomass, presto", "crops, alphaearth", "alpha"} <= set(found["surface"])
    assert {"biomass", "bytes of a sample", "presto", "alphaearth"} <= set(found["frontier"])
    assert [text for text in found["surface"] if text.startswith("dimensions (best R2 0.")] != []


def test_learning_curves_name_shares_and_rows(tmp_path):
    rows = [sweep_row([0.5, 0.6], fraction=f, n_train=int(270 * f)) for f in (0.1, 0.5, 1.0)]
    found = drawn(rows, tmp_path)["learning"]
    assert {"10 %", "27", "50 %", "135", "100 %", "270"} <= {part for text in found for part in text.split("\n")} | {
        text.strip() for text in found
    }


def test_names_of_any_kind_are_drawn_as_they_are(tmp_path):
    names = ["_hidden", "$x^2", "<a> & 'b'", "bell\x07and\nline", "a" * 30 + "MIDDLE" + "b" * 30]
    rows = [row | {"submission": name, "task": name} for name in names for row in rising([1, 8], bytes_per_sample=8)]
    found = drawn(rows, tmp_path)["size"]
    assert {"_hidden", "$x^2", "<a> & 'b'", "bell\N{REPLACEMENT CHARACTER}and\N{REPLACEMENT CHARACTER}line"} <= set(
        found
    )
    short = shorten(names[-1], 40)
    assert found.count(short) == 2  # title of the panel, and legend
    assert len(short) == 40
    assert short.startswith("aaa")
    assert short.endswith("bbb")


def test_more_tasks_than_a_figure_has_panels_go_on_in_further_figures(made, monkeypatch):
    assert canvas.MAX_PANELS == 12
    for module in (lines, distortion, surface):
        monkeypatch.setattr(module, "MAX_PANELS", 2)
    found = made([row | {"task": f"task{i}"} for i in range(3) for a in (1.0, 2.0) for row in rising([1, 8], alpha=a)])
    assert set(found) == {"size", "size-2", "surface", "surface-2", "frontier", "frontier-2"}
    for stem in ("size", "surface", "frontier"):
        assert [titles(found[name]) for name in (stem, f"{stem}-2")] == [["task0", "task1"], ["task2"]]


# --- What stands in them ---------------------------------------------------------------------------------------------


def test_missing_scores_leave_gaps(made):
    folds = [[0.1, 0.2], [None, None], [0.3, None], [0.4, 0.5]]
    rows = [sweep_row(f, size=s) for s, f in zip((1, 2, 4, 8), folds, strict=True)]
    (mean,), (q,) = ([line.get_ydata() for line in axes.lines] for axes in made(rows)["size"].axes)
    np.testing.assert_allclose(mean, [0.15, np.nan, 0.3, 0.45], rtol=1e-15)
    np.testing.assert_array_equal(np.isnan(q), [False, True, True, False])  # half of the folds are too few for a Q


def test_a_task_without_any_score_says_so(tmp_path):
    rows = [sweep_row([None], size=s, alpha=a) for s in (1, 2) for a in (1.0, 2.0)]
    found = drawn(rows, tmp_path)
    assert set(found) == {"size", "surface"}
    assert all("no score" in text for text in found.values())


def test_figures_differ_when_data_differ_and_repeat_whatever_the_settings_of_the_user(tmp_path):
    def draw(name, top):
        rows = rising([1, 2, 8], top, alpha=1.0) + rising([1, 2, 8], alpha=9.0)
        return draw_sweep(sweep_table(rows), tmp_path / name)

    first, other = draw("a", 0.8), draw("b", 0.7)
    with matplotlib.rc_context({"font.size": 30, "svg.fonttype": "path", "axes.grid": True}):
        before = dict(matplotlib.rcParams)
        same = draw("c", 0.8)
        assert dict(matplotlib.rcParams) == before
    assert {path.stem for path in first} == {"size", "surface", "frontier"}
    assert [path.name for path in first] == [path.name for path in other]
    for a, b, c in zip(first, other, same, strict=True):
        assert a.read_bytes() != b.read_bytes()
        assert a.read_bytes() == c.read_bytes()


def test_seeds_are_one_line_with_the_spread_over_all_their_folds():
    folds = {0: [0.1, 0.3], 1: [0.5, 0.7], 2: [0.2, 0.6]}
    rows = [sweep_row(f, size=s, order="random", seed=seed) for s in (1, 2) for seed, f in folds.items()]
    rows += [sweep_row([0.5, 0.5], size=s) for s in (1, 2)]
    found = chart(sweep_table(rows), "size")
    assert found.names == ("random", "given")
    (panel,) = found.panels
    line = next(line for line in panel.lines if found.names[line.setting] == "random")
    np.testing.assert_allclose(line.mean, np.mean(list(folds.values())), rtol=1e-14)
    np.testing.assert_allclose(line.std, np.std(list(folds.values())), rtol=1e-14)
    np.testing.assert_allclose(line.q, np.mean([row["q"] for row in rows[:3]]), rtol=1e-14)


def test_a_seed_without_a_score_is_a_gap_not_a_mean_of_the_others():
    rows = [
        sweep_row(f, size=s, order="random", seed=k)
        for s in (1, 2)
        for k, f in enumerate([[0.5], [0.5 if s == 1 else None]])
    ]
    (line,) = chart(sweep_table(rows), "size").panels[0].lines
    np.testing.assert_array_equal(line.mean, [0.5, np.nan])


def test_only_the_largest_of_the_other_axis_counts():
    rows = [sweep_row([f * s / 8], size=s, fraction=f) for s in (1, 8) for f in (0.25, 1.0)]
    table = sweep_table(rows)
    (by_size,), (by_share,) = (chart(table, along).panels[0].lines for along in ("size", "fraction"))
    assert (by_size.x.tolist(), by_size.mean.tolist()) == ([1, 8], [0.125, 1])
    assert (by_share.x.tolist(), by_share.mean.tolist()) == ([0.25, 1], [0.25, 1])


def test_eight_lines_at_most_and_the_log_names_the_others(caplog):
    rows = [
        row | {"submission": submission}
        for submission in ("a", "b")
        for alpha in (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
        for row in rising([1, 8], alpha=alpha)
    ]
    with caplog.at_level(logging.INFO, logger="fastprobe"):
        names = chart(sweep_table(rows), "size").names
    assert names == tuple(f"{s}, alpha {alpha}" for alpha in (1, 3, 5, 7) for s in ("a", "b"))
    (record,) = caplog.records
    assert record.getMessage() == (
        "figure size: 8 lines are drawn, without a, alpha 2; a, alpha 4; a, alpha 6; b, alpha 2; b, alpha 4; b, alpha 6"
    )


def test_tasks_of_submissions_that_are_not_drawn_have_no_panel(made, monkeypatch):
    monkeypatch.setattr(series, "_MAX_LINES", 2)
    found = made([row | {"submission": f"team{i}", "task": f"task{i}"} for i in range(3) for row in rising([1, 8])])
    assert [titles(found[name]) for name in ("size", "frontier")] == [["task0", "task1"]] * 2


def test_line_styles_and_markers_differ_without_colour():
    assert len({(style.dashes, style.marker) for style in canvas.STYLES}) == 8
    assert len({style.marker for style in canvas.STYLES}) == 8
    assert len({style.dashes for style in canvas.STYLES}) == 8


def test_surface_holds_every_mean_at_its_place_and_the_best_of_them():
    table = sweep_table(
        [
            sweep_row([None if (size, alpha) == (2, 1.0) else size / 10 - alpha / 100], size=size, alpha=alpha)
            for alpha in (10.0, 1.0)
            for size in (4, 1, 2)
        ]
        + [sweep_row([0.9], size=size) for size in (1, 2)]  # the strength was chosen: not on the map
    )
    (found,) = surfaces(table)
    assert (found.sizes.tolist(), found.alphas.tolist()) == ([1, 2, 4], [1, 10])
    np.testing.assert_allclose(found.means, [[0.09, np.nan, 0.39], [0.0, 0.1, 0.3]], rtol=0, atol=1e-15)
    assert found.best == (0, 2)


def test_surface_is_of_one_setting_and_the_log_says_of_which_not(caplog):
    rows = [
        row
        for order in ("given", "pca")
        for fraction in (0.5, 1.0)
        for alpha in (1.0, 2.0)
        for row in rising([1, 8], order=order, fraction=fraction, alpha=alpha)
    ]
    rows += [row | {"submission": "fixed"} for row in rising([1, 8], alpha=1.0)]
    with caplog.at_level(logging.INFO, logger="fastprobe"):
        (found,) = surfaces(sweep_table(rows))
    assert found.submission == "team"
    assert [record.getMessage() for record in caplog.records] == [
        "surface: drawn for the first setting only, not for pca, 32 bits"
    ]


def test_very_many_points_are_a_picture_inside_the_svg(tmp_path):
    draw_sweep(sweep_table(rising(range(1, 502))), tmp_path)
    images = [len([*ElementTree.parse(path).getroot().iter(f"{SVG}image")]) for path in sorted(tmp_path.glob("*.svg"))]
    assert images == [1, 0]  # of the frontier, and of the size


# --- Scales and labels -----------------------------------------------------------------------------------------------


def test_scales_end_a_little_below_zero():
    assert floor_of(np.array([-1000.0, 0.5, np.nan])) == -0.25
    assert floor_of(np.array([-1000.0, -2.0])) == -2.25


def test_scores_far_below_zero_are_cut_off_and_the_panel_says_so(made):
    above = made([sweep_row([score], size=s) for s, score in ((1, 0.5), (2, -3000.0))])["size"].axes[0]
    assert above.get_ylim()[0] > -0.5
    assert [text.get_text() for text in above.texts] == ["lower scores are cut off"]
    assert len(made(rising([1, 2]))["size"].axes[0].texts) == 0


@pytest.mark.parametrize(
    ("sizes", "marks"),
    [
        (range(1, 1025), [1, 4, 16, 64, 256, 1024]),
        ([100, 200, 300], [100, 200, 300]),
        ([7], [7]),
        ([3, 50], [4, 8, 16, 32]),
    ],
)
def test_marks_are_few_and_round(sizes, marks):
    assert octaves(np.array(sizes, dtype=float)).tolist() == marks


def test_spaced_points_stand_apart_and_the_last_is_there():
    values = np.array([0.01, 0.011, 0.1, 0.5, 0.9, 1.0])
    assert values[spaced(values, 4)].tolist() == [0.011, 0.1, 1.0]
    assert spaced(np.array([3.0]), 4).tolist() == [0]


def test_settings_are_named_by_what_differs():
    values = {
        "submission": "a",
        "order": "random",
        "seed": 3,
        "alpha": None,
        "bits": 1,
        "quantizer": "none",
        "size": 64,
    }
    assert describe(list(values), values) == "a, random, seed 3, alpha auto, 1 bit, size 64"
    same = choose(sweep_table(rising([1, 8])), ("submission", "order"), figure="size")
    assert list(same.values()) == ["team"]


# --- How they are made -----------------------------------------------------------------------------------------------


def test_without_matplotlib_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(canvas, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'fastprobe\[report\]'"):
        draw_sweep(sweep_table(rising([1, 8])), tmp_path / "figures")
    assert not (tmp_path / "figures").exists()


def test_letters_that_the_font_lacks_are_remarked_on_and_kept_in_the_svg(tmp_path, caplog):
    rows = [row | {"task": "\u6797"} for row in rising([1, 8], bytes_per_sample=8)]
    with caplog.at_level(logging.WARNING, logger="fastprobe"):
        found = drawn(rows, tmp_path)
    assert "\u6797" in found["size"]
    assert any("size.png" in record.getMessage() for record in caplog.records)


def test_labels_and_tables_load_no_matplotlib():
    code = "import sys, fastprobe.cli.sweep_tables, fastprobe.report.sweep_plots; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
