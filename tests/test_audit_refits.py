"""The naive refits of audits, held to oracles of their own: scikit-learn, SciPy, twins of the tests, golden runs."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from golden_cases import CASES
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_refits import refit_scipy as kernel_by_scipy
from kernel_refits import refit_sklearn as kernel_by_sklearn
from logistic_twin import distance, draw, refit, refit_sklearn
from neuco_twin import run as run_twin
from problems import PROBLEMS, Problem, refit_scipy
from problems import refit_sklearn as ridge_by_sklearn
from score_rows import regression_row
from test_neuco_golden import protocol as golden_protocol
from test_neuco_golden import read_golden

import fastprobe
from fastprobe.audit import metrics, neuco
from fastprobe.audit.kernel import Kernel, functions
from fastprobe.audit.logistic import Logistic
from fastprobe.audit.refit import Candidate, Predictions, Refits
from fastprobe.audit.ridge import Ridge
from fastprobe.audit.sources import Labels
from fastprobe.audit.splits import Splits
from fastprobe.audit.task import Embedding, check_folds
from fastprobe.kernel_spec import KernelSpec
from fastprobe.probes.inner import plan_inner
from fastprobe.specs import FoldSpec, ReplaySpec

GOLDEN = Path(__file__).with_name("golden")
PLAIN = [
    "landsat-means", "landsat-filter", "landsat-padded", "landsat-probes", "dimensions-1", "dimensions-33", "batch-16",
    "batch-beyond-n", "learning-rate-1", "constant-embedding", "constant-labels", "hardly-trained", "large-mean",
    "labels-far-from-zero", "logits-in-unit-interval", "nearly-constant-labels", "rare-and-separable", "samples-20",
]  # fmt: skip
"""Golden runs whose files fastprobe reads as they are."""

# --- who is held out, and who validates ------------------------------------------------------------------------------


def splits(spec: FoldSpec, n: int, codes: np.ndarray | None = None, groups: list[str] | None = None) -> Splits:
    ids = [f"s{i}" for i in range(n)]
    return Splits(spec, ids, codes, dict(zip(ids, groups or [], strict=False)), 4)


@pytest.mark.parametrize("seed", [0, 42])
@pytest.mark.parametrize(("n", "folds"), [(37, 4), (60, 7), (20, 2)])
def test_folds_are_those_of_scikit_learn(n: int, folds: int, seed: int) -> None:
    from sklearn import model_selection as sk

    rng = np.random.default_rng([n, folds, seed])
    codes = np.concatenate([np.repeat([2, 0, 1], 7), rng.choice([0, 1, 2], size=n, p=[0.6, 0.3, 0.1])])[:n]
    groups = [f"g{k}" for k in rng.integers(0, 9, size=n)]
    shuffles = {"n_splits": folds, "test_size": 0.2, "random_state": seed}
    shuffled = {"n_splits": folds, "shuffle": True, "random_state": seed}
    makers: dict[str, Any] = {
        "shuffle": sk.ShuffleSplit(**shuffles),
        "kfold": sk.KFold(**shuffled),
        "stratified-shuffle": sk.StratifiedShuffleSplit(**shuffles),
        "stratified-kfold": sk.StratifiedKFold(**shuffled),
        "group-shuffle": sk.GroupShuffleSplit(**shuffles),
        "group-kfold": sk.GroupKFold(n_splits=folds),
    }
    for scheme, maker in makers.items():
        file = "groups.csv" if scheme.startswith("group") else None
        spec = FoldSpec(scheme, n_folds=folds, test_size=0.2, seed=seed, file=file)
        wanted = [np.sort(test) for _, test in maker.split(np.zeros(n), codes, groups if file else None)]
        found = splits(spec, n, codes, groups).held_out
        assert [rows.tolist() for rows in found] == [rows.tolist() for rows in wanted], scheme
        if scheme.startswith("stratified"):  # which a regression does not know
            plain = makers[scheme.removeprefix("stratified-")]
            wanted = [np.sort(test) for _, test in plain.split(np.zeros(n))]
            assert all(map(np.array_equal, splits(spec, n).held_out, wanted))


def test_a_fixed_split_holds_out_what_is_marked() -> None:
    found = splits(FoldSpec("fixed", file="split.csv"), 4, groups=["dev", "eval", "dev", "eval"])
    assert [rows.tolist() for rows in found.held_out] == [[1, 3]]


def test_a_sample_without_a_group_is_an_error() -> None:
    with pytest.raises(fastprobe.InputError, match="no line for the sample 's2'"):
        _ = splits(FoldSpec("group-kfold", n_folds=2, file="groups.csv"), 3, groups=["a", "b"]).held_out


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(8, 40), folds=st.integers(2, 9), share=st.floats(0.05, 0.6), inner=st.integers(2, 6),
    scheme=st.sampled_from(["shuffle", "kfold", "group-shuffle", "group-kfold"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_validation_is_that_of_the_plan_of_the_engine(
    n: int, folds: int, share: float, inner: int, scheme: str, seed: int
) -> None:
    """Two pieces of code by the same words; neighbours serve small folds, blocks of training rows large ones."""
    groups = [f"g{k % 7}" for k in range(n)]
    file = "groups.csv" if scheme.startswith("group") else None
    spec = FoldSpec(scheme, n_folds=min(folds, 7), test_size=share, seed=seed, file=file)
    ids = [f"s{i}" for i in range(n)]
    found = Splits(spec, ids, None, dict(zip(ids, groups, strict=True)), inner)
    if any(not 0 < len(rows) <= n - 2 for rows in found.held_out):
        return  # which is refused before anything is scored
    codes = np.unique(groups, return_inverse=True)[1] if file else None
    plan = plan_inner(found.held_out, n, inner, seed, codes)
    for fold in range(len(found.held_out)):
        wanted = {(plan.left_out[p].tobytes(), rows.tobytes()) for k, p, rows in plan.validate if k == fold}
        assert {(left_out.tobytes(), rows.tobytes()) for left_out, rows in found.validation(fold)} == wanted


# --- scores ----------------------------------------------------------------------------------------------------------


def test_scores_are_those_of_scikit_learn() -> None:
    from sklearn.metrics import confusion_matrix, f1_score, r2_score

    rng = np.random.default_rng(1)
    y, predicted = rng.normal(size=50), rng.normal(size=50)
    assert metrics.r2(y, predicted) == pytest.approx(r2_score(y, predicted), rel=1e-12)
    assert metrics.r2(np.ones(5), predicted[:5]) is None
    for classes in (2, 3, 5):
        for _ in range(20):
            truth, guess = rng.integers(0, classes, size=(2, 12))
            cells = confusion_matrix(truth, guess, labels=range(classes))
            found = metrics.f1(tuple(cells.ravel().tolist()))
            if len(set(truth)) < 2:
                assert found is None
            elif classes == 2:
                assert found == pytest.approx(f1_score(truth, guess), abs=1e-15)
            else:
                labels = sorted(set(truth) | set(guess))
                wanted = f1_score(truth, guess, average="macro", labels=labels, zero_division=0)
                assert found == pytest.approx(wanted, abs=1e-15)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), classes=st.integers(2, 4), m=st.integers(1, 6), error=st.sampled_from([0.0, 0.3, 0.8]))
def test_reachable_matrices_are_those_of_all_ways_to_decide(
    data: st.DataObject, classes: int, m: int, error: float
) -> None:
    values = st.integers(-4, 4).map(lambda v: v / 2)
    outputs = 1 if classes == 2 else classes
    decisions = np.array(
        data.draw(st.lists(st.lists(values, min_size=outputs, max_size=outputs), min_size=m, max_size=m))
    )
    truth = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=m, max_size=m)))

    def ways(row: np.ndarray) -> set[int]:
        """Classes that can be made to win by moving each value by less, at most, and a little more for ties."""
        if outputs == 1:
            return {int(row[0] > 0), *([0, 1] if abs(row[0]) <= error and error else [])}
        return {int(row.argmax()), *(c for c in range(classes) if row[c] + error >= max(row) - error)}

    def counts(guesses: tuple[int, ...]) -> tuple[int, ...]:
        table = np.zeros((classes, classes), dtype=int)
        np.add.at(table, (truth, list(guesses)), 1)
        return tuple(table.ravel().tolist())

    found = metrics.reachable(truth, decisions, error, classes)
    assert set(found) == {counts(guesses) for guesses in itertools.product(*map(ways, decisions))}
    face = (decisions[:, 0] > 0).astype(int) if outputs == 1 else decisions.argmax(axis=1)
    assert found[0] == counts(tuple(face))


def test_too_many_ways_to_decide_are_not_tried() -> None:
    truth = np.arange(60) % 6
    assert len(metrics.reachable(truth, np.zeros((60, 6)), 1.0, 6)) == 1


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.floats(-3, 1), min_size=1, max_size=8), seed=st.integers(0, 999),
    error=st.sampled_from([1e-10, 1e-6, 1e-3, 0.1]),
)  # fmt: skip
def test_q_moves_by_no_more_than_its_bound(scores: list[float], seed: int, error: float) -> None:
    q = metrics.q_of(scores, eps=0.02, max_failed=0.3)
    assert q == pytest.approx(fastprobe.q_score(scores).q, rel=1e-12)
    moved = [
        s + d for s, d in zip(scores, np.random.default_rng(seed).uniform(-error, error, len(scores)), strict=True)
    ]
    bound = metrics.q_shift(scores, error, eps=0.02)
    # Rounding of Q itself: a few units in the last place, enlarged by what stands below the line.
    assert abs(metrics.q_of(moved, eps=0.02, max_failed=0.3) - q) <= bound + 1e-11 * max(1.0, abs(q))


def test_q_of_too_few_folds_is_none() -> None:
    assert metrics.q_of([None, None], eps=0.02, max_failed=0.3) is None
    assert metrics.q_of([0.5, None, 0.5], eps=0.02, max_failed=0.3) is None
    assert metrics.q_of([0.5, None, 0.5, 0.5], eps=0.02, max_failed=0.3) == pytest.approx(50.0)


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 999), error=st.sampled_from([1e-9, 1e-4, 0.3]))
def test_r2_moves_by_no_more_than_its_bound(seed: int, error: float) -> None:
    rng = np.random.default_rng(seed)
    y, predicted = rng.normal(size=(2, 9))
    moved = metrics.r2(y, predicted + rng.uniform(-error, error, 9))
    assert abs(moved - metrics.r2(y, predicted)) <= metrics.r2_shift(y, predicted, error) + 1e-14


# --- probes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
def test_ridge_is_that_of_scipy_and_scikit_learn(problem: Problem) -> None:
    x = problem.x.astype(np.float64)
    ridge = Ridge(x, problem.y, [Candidate(problem.alpha / 10), Candidate(problem.alpha)])
    for held_out in problem.held_out[:2]:
        train = np.setdiff1d(np.arange(len(x)), held_out)
        found = ridge.predict(train, held_out, [1])
        for oracle in (refit_scipy, ridge_by_sklearn):
            residuals = oracle(problem.x, problem.y, held_out, problem.alpha)
            assert np.abs(problem.y[held_out] - found.values[0] - residuals).max() <= found.error[0]
        assert (
            found.error[0] <= 1.01 * problem.tolerance * np.abs(problem.y).max()
        )  # the bound that the engine is held to
        assert np.array_equal(ridge.predict(train, held_out, [0, 1]).values[1], found.values[0])


@pytest.mark.parametrize("classes", [2, 3, 4])
@pytest.mark.parametrize("alpha", [0.01, 1.0, 1e4])
def test_logistic_is_that_of_scikit_learn_and_of_the_twin(classes: int, alpha: float) -> None:
    case = draw(5, 120, 4, classes, 2, noise=0.3, offset=3.0)
    rows = case.held_out[0]
    train = np.setdiff1d(np.arange(len(case.x)), rows)
    found = Logistic(case.x, case.codes, classes, [Candidate(alpha)]).predict(train, rows, [0])
    for oracle in (refit, refit_sklearn):
        probe = oracle(case.x[train], case.codes[train], classes, alpha)
        wanted = probe.decisions(case.x[rows])
        # The twin and this end where a step moves nothing by more than 1e-12 and 1e-10; Newton's steps square.
        assert distance(found.values[0], wanted, wanted) <= 1e-8, oracle
        assert np.abs(found.values[0] - wanted).max() <= found.error[0]


def test_logistic_probes_of_separable_classes_converge_at_every_strength() -> None:
    x = np.linspace(-1, 1, 40)[:, None] + np.array([[0.0, 1.0]])
    codes = (x[:, 0] > 0).astype(np.int64)
    alphas = [1e-6, 1e-2, 1.0, 1e6]
    found = Logistic(x, codes, 2, [Candidate(a) for a in alphas]).predict(np.arange(40), np.arange(40), range(4))
    for alpha, values in zip(alphas, found.values, strict=True):
        wanted = refit(x, codes, 2, alpha).decisions(x)
        assert distance(values, wanted, wanted) <= 1e-8


def test_logistic_probes_know_only_the_classes_that_train() -> None:
    case = draw(6, 90, 3, 3, 1)
    for left in ([0, 1], [1, 2], [2]):
        train = np.flatnonzero(np.isin(case.codes, left))
        probe = Logistic(case.x, case.codes, 3, [Candidate(1.0)])
        found = probe.predict(train, np.arange(90), [0])
        losses, _ = probe.losses(found, np.arange(90))
        if len(left) == 1:
            assert np.isnan(found.values).all()
            assert np.isnan(losses).all()
            continue
        wanted = refit(case.x[train], case.codes[train], 3, 1.0).decisions(case.x)
        assert distance(found.values[0], wanted, wanted) <= 1e-8
        assert np.isnan(losses[0, ~np.isin(case.codes, left)]).all()
        finite = np.where(np.isfinite(wanted), wanted, -1e300)
        direct = np.logaddexp.reduce(finite, axis=1) - finite[np.arange(90), case.codes]
        known = np.isin(case.codes, left)
        assert np.abs(losses[0, known] - direct[known]).max() <= 1e-8


@pytest.mark.parametrize(
    "spec",
    [KernelSpec(gamma=(0.05, 0.3)), KernelSpec("polynomial", gamma=0.2, degree=(1, 3), coef0=0.5)],
    ids=["rbf", "polynomial"],
)
def test_kernel_ridge_is_that_of_scipy_and_scikit_learn(spec: KernelSpec) -> None:
    from sklearn.metrics.pairwise import polynomial_kernel, rbf_kernel

    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    held_out = np.arange(0, 50, 6)
    train = np.setdiff1d(np.arange(50), held_out)
    alphas = (0.1, 10.0)
    kernel = Kernel(spec, x, y, alphas)
    found = kernel.predict(train, held_out, range(len(kernel.candidates)))
    assert np.array_equal(kernel.predict(train, held_out, [2]).values[0], found.values[2])
    number = 0
    for function in functions(spec, x):
        if spec.kernel == "rbf":
            matrix = rbf_kernel(x, x, gamma=function.gamma)
        else:
            matrix = polynomial_kernel(x, x, degree=function.degree, gamma=function.gamma, coef0=function.coef0)
        for alpha in alphas:
            for oracle in (kernel_by_scipy, kernel_by_sklearn):
                residuals = oracle(matrix, y, held_out, alpha)
                assert np.abs(y[held_out] - found.values[number] - residuals).max() <= found.error[number]
            number += 1
    assert number == len(kernel.candidates)


def test_kernel_ridge_on_all_landmarks_is_kernel_ridge() -> None:
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(40, 3)), rng.normal(size=(40, 1))
    train, rows = np.arange(10, 40), np.arange(10)
    exact, marked = (Kernel(KernelSpec(landmarks=count), x, y, (0.5,)) for count in (None, 40))
    found, wanted = (kernel.predict(train, rows, [0, 1, 2]) for kernel in (marked, exact))
    assert (np.abs(found.values - wanted.values).max(axis=(1, 2)) <= found.error + wanted.error).all()
    fewer = Kernel(KernelSpec(landmarks=7), x, y, (0.5,)).predict(train, rows, [0, 1, 2])
    assert np.abs(fewer.values - wanted.values).max() > 1e-3


# --- the replay ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PLAIN)
def test_the_replay_answers_as_neuco_bench(name: str, tmp_path: Path) -> None:
    """Every fold score of NeuCo-Bench's own runs, by the naive replay."""
    paths, config = CASES[name].write(tmp_path), CASES[name].config
    golden = read_golden(GOLDEN / f"{name}.json")["tasks"]
    bench = fastprobe.Benchmark.from_folder(paths.labels)
    drawing = [t for t in bench.tasks if config["task_filter"] is None or t.name in config["task_filter"]]
    protocol = golden_protocol(config).bound_to((task.name, len(task.ids)) for task in drawing)
    labels = Labels({t.name: t for t in bench.tasks}, frozenset(bench.labelled_ids.tolist()), {}, {})
    embedding = Embedding.of(fastprobe.Submission.read(paths.submission), labels.labelled, protocol)
    for task, scores in golden.items():
        recorded = [None if math.isinf(s) else s for s in scores["q_t"].tolist()]
        picked = range(0, len(recorded), max(1, len(recorded) // 5))

        row = regression_row(task=task, fold_scores=tuple(recorded), fold_alphas=())
        folds = check_folds(row, embedding, labels, protocol, picked, lambda done: None)
        assert len(folds) == len(picked)
        for fold in folds:
            assert fold.agrees, (task, fold)


def test_the_replay_is_the_twin_of_the_tests() -> None:
    rng = np.random.default_rng(2)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    y = (x[:, 0] + rng.normal(size=40)).astype(np.float32)
    codes = (y > 0).astype(np.float32)
    rows = np.arange(40)
    tasks = [("a", "regression", rows, y), ("b", "classification", rows[:30], codes[:30])]
    twin, _ = run_twin(x, tasks, folds=3, epochs=2, batch=7, lr=0.05, store=True)
    spec = ReplaySpec(epochs=2, batch_size=7, learning_rate=0.05, store_probes=True)
    for name, before, n, labels in (("a", [], 40, y), ("b", [40], 30, codes)):
        replayed = neuco.Replayed(x[:n], labels[:n], name == "b", spec, 3, before)
        for k in range(3):
            assert replayed.fold(k, None).score == pytest.approx(twin[name][k].score, abs=1e-5)


def test_an_output_at_the_threshold_may_be_decided_either_way() -> None:
    y = np.array([1, 1, 0, 0, 1], dtype=np.float32)
    outputs = np.array([2.0, 1e-6, -2.0, -3.0, 1.0], dtype=np.float32)
    replayed = neuco.Replayed(np.zeros((5, 1), np.float32), y, True, ReplaySpec(), 1, [])
    assert not replayed._judged(0, [outputs], y, 1.0).undecided
    other = replayed._judged(0, [outputs], y, 0.8)
    assert (other.score, other.undecided, other.agrees) == (0.8, True, True)
    wrong = replayed._judged(0, [outputs], y, 0.5)
    assert (wrong.score, wrong.undecided, wrong.agrees) == (1.0, False, False)


# --- a fold beside its record ----------------------------------------------------------------------------------------


class Fixed:
    """A probe that predicts what it is told."""

    def __init__(self, values: list[list[float]], y: np.ndarray, error: float = 0.0) -> None:
        self.values, self.y, self.error = np.array(values), y, error
        self.candidates = [Candidate(10.0**a) for a in range(len(values))]

    def predict(self, train: Any, rows: np.ndarray, which: Any) -> Predictions:
        assert not set(train) & set(rows)
        return Predictions(self.values[list(which)][:, rows, None], np.full(len(which), self.error))

    def losses(self, predictions: Predictions, rows: np.ndarray) -> Any:
        off = np.full(predictions.values.shape[:2], self.error)
        return np.abs(predictions.values[:, :, 0] - self.y[rows]), off


def refits(values: list[list[float]], y: list[float], *, classes: int = 0, error: float = 0.0) -> Refits:
    labels = np.array(y)
    return Refits(Fixed(values, labels, error), splits(FoldSpec("kfold", n_folds=3, seed=0), len(y)), labels, classes)


def test_the_largest_of_equally_good_strengths_is_chosen_and_that_of_the_record_if_it_is_as_good() -> None:
    y = [0.0, 1.0, 2.0, 3.0, 4.0, 6.0]
    near, far = [v + 0.25 for v in y], [v + 0.5 for v in y]
    assert refits([far, near, near], y).fold(0, None, None).choice == Candidate(100.0)
    exact = refits([far, near, far], y)
    assert exact.fold(0, None, Candidate(1.0)).choice == Candidate(10.0)
    assert not exact.fold(0, None, Candidate(1.0)).chosen_alike
    rounded = refits([far, near, far], y, error=0.2).fold(0, None, Candidate(1.0))
    assert rounded.chosen_alike
    assert rounded.tied
    assert not refits([far, near, far], y, error=0.2).fold(0, None, Candidate(5.0)).chosen_alike  # not in the grid


def test_a_sample_at_the_threshold_may_be_decided_either_way() -> None:
    y = [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    values = [1.0, 1e-9, -1.0, -1.0, 1.0, -1.0]
    work = refits([values], y, classes=2)
    (number,) = (k for k, rows in enumerate(work.splits.held_out) if 1 in rows)
    pair = work.splits.held_out[number]
    assert len(set(work.y[pair])) == 2  # sample 1, and one of the other class
    either = [work.fold(number, recorded, Candidate(1.0)) for recorded in (1.0, 0.0, 0.5)]
    assert [fold.agrees for fold in either] == [True, True, False]
    assert [fold.undecided for fold in either] == [False, True, False]
    assert [fold.score for fold in either] == [1.0, 0.0, 1.0]


def test_folds_without_a_score_must_have_none_in_the_record() -> None:
    y = [1.0] * 6
    constant = refits([y], y)
    assert constant.fold(0, None, Candidate(1.0)).agrees
    assert not constant.fold(0, 0.5, Candidate(1.0)).agrees
    assert refits([y], y, classes=2).fold(0, None, None).agrees
    assert not refits([y], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).fold(0, None, Candidate(1.0)).agrees
    assert not refits([y], [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]).fold(0, math.nan, Candidate(1.0)).agrees


def test_documents_of_golden_runs_are_read() -> None:
    """Guards the list above: every case in it is a golden run."""
    assert {json.loads((GOLDEN / f"{name}.json").read_text())["case"] for name in PLAIN} == set(PLAIN)
