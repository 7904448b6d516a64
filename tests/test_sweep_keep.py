"""The smallest size that keeps a share of the full score, and the frontier: against slow twins; and their words."""

from __future__ import annotations

import io
import math
from dataclasses import asdict

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from sweep_rows import rising, sweep_row, sweep_table

from fastprobe.cli.sweep_tables import sweep_layout
from fastprobe.errors import InputError
from fastprobe.protocol import Protocol
from fastprobe.sweeps.keep import frontier, smallest_sizes
from fastprobe.sweeps.table import Sweep

# Scores that are multiples of 1/64: their sums are exact in whatever order, so the twins may be compared for equality.
scores = st.integers(-32, 64).map(lambda n: n / 64)
curves = st.tuples(st.integers(2, 6), st.integers(1, 5)).flatmap(
    lambda shape: st.lists(
        st.lists(st.none() | scores, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
    )
)


def mean_of(values):
    there = [v for v in values if v is not None]
    return math.fsum(there) / len(there) if there else None


def first_kept(sizes, means, share):
    """The definition, size by size."""
    full = means[-1]
    if full is None or full <= 0:
        return sizes[-1]
    return next(s for s, m in zip(sizes, means, strict=True) if (m is not None and m >= share * full) or s == sizes[-1])


@settings(max_examples=15, deadline=None)
@given(curves, st.sampled_from([1.0, 0.99, 0.95, 0.5]))
def test_smallest_size_and_its_band_are_those_of_the_slow_twin(folds, share):
    sizes = [3 * i + 1 for i in range(len(folds))]
    table = sweep_table([sweep_row(row, size=s) for s, row in zip(sizes, folds, strict=True)])
    (kept,) = smallest_sizes(table, shares=(share,))
    means = [mean_of(row) for row in folds]
    if None in means or means[-1] <= 0:
        assert kept.size is kept.low is kept.high is kept.bytes_per_sample is None
        assert kept.reason
        return
    size = first_kept(sizes, means, share)
    n_folds = len(folds[0])
    found = []
    for counts in np.random.default_rng(42).multinomial(n_folds, [1 / n_folds] * n_folds, size=1000):
        drawn = np.repeat(np.arange(n_folds), counts)
        found.append(first_kept(sizes, [mean_of([row[k] for k in drawn]) for row in folds], share))
    found.sort()
    assert (kept.size, kept.bytes_per_sample, kept.reason) == (size, 4 * size, None)
    assert (kept.low, kept.high) == (found[49], found[949])  # of 1000, the 50th and the 950th


def test_band_agrees_with_the_bootstrap_of_scipy():
    rng = np.random.default_rng(3)
    sizes = np.arange(1, 65)
    gain = rng.uniform(10, 25, (12, 1))  # folds that rise at their own pace
    folds = 0.7 * (1 - np.exp(-sizes / gain)) + rng.normal(0, 0.05, (12, 1))
    table = sweep_table([sweep_row(folds[:, i].tolist(), size=int(s)) for i, s in enumerate(sizes)])

    def statistic(rows, axis=-1):
        means = folds[rows].mean(axis=-2)
        return sizes[(means >= 0.95 * means[..., -1:]).argmax(axis=-1)].astype(float)

    result = scipy.stats.bootstrap(
        (np.arange(12),), statistic, method="percentile", n_resamples=4000, rng=np.random.default_rng(0)
    )
    (kept,) = smallest_sizes(table, shares=(0.95,))
    drawn = result.bootstrap_distribution
    # A point of 1000 draws lies within 3 standard deviations, sqrt(0.05 * 0.95 / 1000) = 0.007 each, of its share.
    assert np.quantile(drawn, 0.03) <= kept.low <= np.quantile(drawn, 0.07)
    assert np.quantile(drawn, 0.93) <= kept.high <= np.quantile(drawn, 0.97)
    assert kept.low < kept.size < kept.high


def test_curves_are_kept_apart_by_every_key_and_need_two_sizes():
    differences = [
        {"submission": "other"},
        {"task": "width"},
        {"order": "pca"},
        {"order": "random", "seed": 0},
        {"order": "random", "seed": 1},
        {"alpha": 10.0},
        {"bits": 8, "quantizer": "uniform"},
        {"bits": 8, "quantizer": "dimension"},
        {"fraction": 0.5},
    ]
    rows = rising([2, 1, 8]) + [row for changes in differences for row in rising([8, 2], **changes)]
    kept = smallest_sizes(sweep_table([*rows, sweep_row([0.5], task="alone")]))
    assert len(kept) == 2 * (1 + len(differences))
    assert [k.share for k in kept[:2]] == [0.99, 0.95]
    assert (kept[0].submission, kept[2].submission) == ("team", "other")  # in order of appearance
    for answer, changes in zip(kept[2::2], differences, strict=True):
        assert asdict(answer).items() >= changes.items()
    assert kept[0].full_size == 8
    assert kept[0].full_q == pytest.approx(rows[2]["q"], abs=0)
    assert smallest_sizes(sweep_table([sweep_row([0.5])])) == []
    assert smallest_sizes(sweep_table([])) == []


def test_bytes_are_those_of_the_row():
    table = sweep_table(rising([1, 3, 8], bits=1, quantizer="sign"))
    assert [k.bytes_per_sample for k in smallest_sizes(table, shares=(1.0, 0.2))] == [1, 1]


def test_no_answer_says_why():
    below = [sweep_row([-0.1, 0.1], size=s) for s in (1, 2)]
    failed = [sweep_row(folds, size=s, task="b") for s, folds in ((1, [None]), (2, [None]), (3, [0.5]))]
    full_failed = [sweep_row(folds, size=s, task="c") for s, folds in ((1, [0.5]), (2, [None]))]
    reasons = [k.reason for k in smallest_sizes(sweep_table(below + failed + full_failed), shares=(0.9,))]
    assert reasons == [
        "the full score is not above 0",
        "no mean score at size 1 and 1 more sizes",
        "no mean score at size 2",
    ]


@pytest.mark.parametrize("share", [0, -0.5, 1.01, math.nan])
def test_shares_out_of_range_are_refused(share):
    with pytest.raises(InputError, match="shares"):
        smallest_sizes(sweep_table(rising([1, 2])), shares=(share,))


points = st.lists(st.tuples(st.integers(1, 6), st.none() | scores), max_size=12)


@settings(max_examples=60, deadline=None)
@given(points)
def test_frontier_is_what_no_other_row_beats(found):
    rows = [sweep_row([score], size=size) for size, score in found]
    learning = [sweep_row([1.0], size=1, fraction=0.5)]  # few labels, so not a point of the embedding
    fronts = frontier(sweep_table(learning + rows))

    def beaten(i):
        (size, score) = found[i]
        return score is None or any(
            other is not None and s <= size and other >= score and (s < size or other > score or j < i)
            for j, (s, other) in enumerate(found)
            if j != i
        )

    expected = sorted((i for i in range(len(found)) if not beaten(i)), key=lambda i: found[i][0])
    if not expected:
        assert fronts == []
        return
    (front,) = fronts
    assert [row - 1 for row in front.rows] == expected
    assert list(zip(front.bytes_per_sample, front.mean, strict=True)) == [
        (4 * found[i][0], found[i][1]) for i in expected
    ]


def test_frontier_is_of_each_submission_and_task():
    rows = [sweep_row([0.5], submission=s, task=t) for s in ("a", "b") for t in ("x", "y")]
    fronts = frontier(sweep_table(rows))
    assert [(f.submission, f.task, f.rows) for f in fronts] == [
        ("a", "x", (0,)), ("a", "y", (1,)), ("b", "x", (2,)), ("b", "y", (3,)),
    ]  # fmt: skip


# --- In words --------------------------------------------------------------------------------------------------------


def screen(rows, width=80):
    sweep = Sweep(sweep_table(rows), Protocol().to_dict())
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(*sweep_layout(sweep, width), sep="\n")
    text = file.getvalue()
    assert max(map(len, text.splitlines())) <= width
    return text


def in_one_line(text):
    return " ".join(text.split())


def test_the_answer_stands_in_a_table_and_in_a_sentence():
    folds = {1: [0.25, 0.25], 2: [0.5, 0.25], 4: [0.5, 0.5], 8: [0.5, 0.5]}
    rows = [sweep_row(f, size=s) for s, f in folds.items()]
    shown = in_one_line(screen(rows, 140))
    assert "team (8 dimensions): protocol closed-form" in shown
    assert "height 8 0.5000 50.00 4 (1-4), 16 B" not in shown  # every draw has a full score of 0.5: 1 keeps no 99 %
    assert "height 8 0.5000 50.00 4 (2-4), 16 B 4 (2-4), 16 B" in shown
    assert "height: 4 of 8 dimensions (16 bytes) keep 99 % of R2 0.50; over folds 2 to 4" in shown
    assert "Setting" not in shown  # nothing differs but the size


def test_what_differs_is_named_and_the_best_curve_speaks():
    rows = [
        row
        for alpha, top in ((1.0, 0.5), (100.0, 0.7))
        for row in rising([1, 8], top, alpha=alpha, bits=1, quantizer="sign", metric="macro_f1")
    ]
    rows += [row | {"submission": "other"} for row in rows]
    shown = screen(rows, 120)
    assert "alpha 1 " in shown
    assert "team, height, alpha 100 (best of 2 curves): 8 of 8 dimensions (1 bytes) keep 99 % of macro F1 0.7" in shown
    assert "other, height, alpha 100" in shown
    assert "sign" not in shown


@pytest.mark.parametrize("width", [60, 80, 120])
def test_names_are_whole_and_numbers_uncut_on_every_screen(width):
    rows = [
        row | {"submission": submission}
        for submission in ("a_long_name_of_a_submission", "b")
        for bits in (32, 1)
        for row in rising([512, 1024], task="landcover_agriculture", bits=bits, quantizer="sign")
    ]
    shown = screen(rows, width)
    assert "a_long_name_of_a_submission" in shown
    assert "landcover_agriculture" in shown.replace("\n", "")
    assert "\N{HORIZONTAL ELLIPSIS}" not in shown


def test_no_answer_has_a_footnote_and_no_sentence():
    shown = screen([sweep_row([-0.25], size=s) for s in (1, 2)])
    assert "[1] no answer: the full score is not above 0" in shown
    assert "keep 99" not in shown


def test_long_tables_and_many_sentences_are_cut():
    rows = [row | {"task": f"task{i:02}"} for i in range(70) for row in (sweep_row([0.5], size=1), sweep_row([0.5]))]
    shown = screen(rows)
    assert shown.count("keep 99 %") == 12
    assert "and 58 more, in the files" in shown
    assert "and 10 more, in the files" in shown
    assert "task59" in shown
    assert "task60" not in shown
    alone = screen(rows[::2])
    assert "and 10 more, in the files" in alone
    assert "task60" not in alone


def test_without_curves_the_rows_are_shown():
    rows = [sweep_row([0.25, 0.75], bits=bits, quantizer=q) for bits, q in ((32, "none"), (8, "uniform"), (1, "sign"))]
    shown = in_one_line(screen(rows))
    for setting, bytes_ in (("32 bits", 16), ("8 bits, uniform", 4), ("1 bit, sign", 1)):
        assert f"height {setting} {bytes_} 0.5000 0.2500 3.70" in shown
    assert "kept by" not in shown
    assert "height 16 - - -" in in_one_line(screen([sweep_row([None, None])]))


def test_learning_curves_stand_in_columns_as_many_as_fit():
    fractions = [k / 10 for k in range(1, 11)]
    rows = [
        sweep_row([f / 2, f / 2], fraction=f, task=t) for t in ("a", "b") for f in fractions if (t, f) != ("b", 0.1)
    ]
    wide, narrow = screen(rows, 140), screen(rows, 60)
    assert "0.0500 0.1000 0.1500" in in_one_line(wide)
    assert "b - 0.1000 0.1500" in in_one_line(wide)
    assert wide.count("Task") == 1
    assert narrow.count("Task") == 2
    for text in (wide, narrow):
        assert [text.count(f" {k}0 %") for k in range(1, 11)] == [1] * 10


def test_remarks_are_counted_and_nothing_moves_the_cursor():
    rows = [
        sweep_row([None, 0.5], task="b\x1b[2J", notes=["first"]),
        sweep_row([0.5, 0.5], task="b\x1b[2J", size=2, notes=["first", "sec\x07ond"]),
    ]
    shown = screen(rows)
    assert "1 of 2 rows: folds failed, and are left out of the means" in shown
    assert "2 of 2 rows: first" in shown
    assert "1 of 2 rows: sec\\x07ond" in shown
    assert "\x1b" not in shown


def test_an_empty_sweep_says_so():
    assert "no rows" in screen([])
