"""Ridge on every number of leading features equals one naive refit for every fold, size, strength and task."""

from __future__ import annotations

import importlib
import itertools
import shutil
from dataclasses import replace
from fractions import Fraction
from functools import cache
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from prefix_twin import KINDS, Case, draw, predictions, refit, refit_sklearn, score, undecided
from problems import EPS
from sklearn.metrics import f1_score, r2_score
from strict_namespace import Namespace

from fastprobe import InputError
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.base import Backend
from fastprobe.backend.rates import CPU as CPU_RATES
from fastprobe.backend.rates import H100
from fastprobe.folds import make_folds
from fastprobe.probes.inner import last_least, plan_inner, plan_within
from fastprobe.probes.prefix import (
    Cells,
    complements,
    inner_cells,
    mean_losses,
    nested_subsets,
    require_memory,
    solve,
)
from fastprobe.probes.prefix.leverage import pays
from fastprobe.probes.prefix.scan import Predictions, Truth, losses, scores
from fastprobe.protocol import FoldSpec

Floats = NDArray[np.float64]

WAYS = ("leaving out", "factorising", "components")
solving = importlib.import_module("fastprobe.probes.prefix.solve")  # the package has a function of that name


def _strict(namespace: Namespace) -> Namespace:
    """A strict namespace, with what the refuges need beside what it knows; CuPy's signatures."""
    for name, arguments in {"qr": "a, mode='reduced'", "svd": "a, full_matrices=True, compute_uv=True"}.items():
        if not hasattr(namespace.linalg, name):
            setattr(namespace.linalg, name, namespace._function(getattr(np.linalg, name), arguments))
    return namespace


@cache
def backend_of(where: str) -> Any:
    if where == "cpu":
        return get_backend("cpu", threads=1)
    if where == "cpu, two threads":
        return get_backend("cpu", threads=2)
    if where == "numpy":
        return ArrayBackend(np, device="numpy", budget=2**30)
    if where.startswith("strict"):
        budget = 2**30 if where == "strict" else 1
        return ArrayBackend(_strict(Namespace()), device="strict", budget=budget)
    if shutil.which("g++") is None:
        pytest.skip("the host build of the kernels needs g++")
    from cuda_standin import make_backend

    backend = make_backend()
    _strict(backend.xp)
    return backend


BACKENDS = ["cpu", "cpu, two threads", "numpy", "strict", "strict, cell by cell", "stand-in"]
CPU = backend_of("cpu")


class Refusing:
    """A backend whose factorisations fail, by the mask that says so or in silence.

    Attributes
    ----------
    calls : int
        How many failed.
    """

    def __init__(self, backend: Any, operation: str, *, silent: bool = False) -> None:
        self._backend, self._operation, self._silent, self.calls = backend, operation, silent, 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        return self._refuse if name == self._operation else found

    def _refuse(self, a: Any) -> tuple[Any, Any]:
        self.calls += 1
        first, second = getattr(self._backend, self._operation)(a)
        if self._operation == "eigh":
            return first, second * self.xp.nan
        return (first * self.xp.nan, second) if self._silent else (first, second & False)


def sizes_of(d: int, rng: np.random.Generator) -> list[int]:
    """All sizes if they are few; else the ends, those about a panel of 64, and some others."""
    if d <= 8:
        return list(range(1, d + 1))
    return sorted({1, 2, d - 1, d, *({63, 64, 65} & set(range(d))), *rng.integers(1, d, 3).tolist()})


def check(
    case: Case, way: str, backend: Backend, seed: int = 0, *, oracle: bool = False, needs_refuge: bool | None = False
) -> None:
    """Hold all predictions of a way to refits; `needs_refuge` None leaves open whether fits were made again."""
    components = way == "components"
    with patch.object(solving, "pays", lambda *_, **__: way == "leaving out"):
        found, curves = predictions(case, backend, components=components)
    assert not curves.failed.any()
    if needs_refuge is not None:
        assert (curves.refactorised == needs_refuge).all()
    largest = np.abs(case.y).max()
    for cell, test in enumerate(case.cells.tested):
        turning = case.turning(cell) if components else np.zeros(case.d)
        for a, alpha in enumerate(case.alphas):
            for size in sizes_of(case.d, np.random.default_rng(seed)):
                room = largest * (case.tolerance(cell, alpha) + turning[size - 1])
                wanted = refit(case, cell, size, alpha, components=components)
                assert np.abs(found[cell, a, : len(test), :, size - 1] - wanted).max() <= room, (cell, alpha, size)
                if oracle and not components and size in (1, case.d):
                    other = refit_sklearn(case, cell, size, alpha)
                    assert np.abs(found[cell, a, : len(test), :, size - 1] - other).max() <= room


cases = given(
    seed=st.integers(0, 10**6), n=st.integers(5, 60), d=st.sampled_from([1, 2, 5, 12, 70]), folds=st.integers(1, 4),
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=3).map(tuple),
    alphas=st.lists(st.sampled_from([0.01, 1.0, 37.0, 1e4]), min_size=1, max_size=2, unique=True),
    share=st.floats(0.02, 0.5), trains=st.sampled_from([1.0, 0.7, 0.3]), scaled=st.booleans(),
    dtype=st.sampled_from([np.float64, np.float32, np.uint8]), way=st.sampled_from(WAYS),
)  # fmt: skip


def check_random(way: str, **drawn: Any) -> None:
    # A leave-out of nearly all that carries a feature may miss the tolerance, and is then made again.
    check(draw(**drawn), way, CPU, drawn["seed"], oracle=True, needs_refuge=None)


@settings(max_examples=25, deadline=None)
@cases
def test_random_problems(**drawn: Any) -> None:
    check_random(**drawn)


@pytest.mark.slow
@settings(max_examples=600, deadline=None)
@cases
def test_many_random_problems(**drawn: Any) -> None:
    check_random(**drawn)


SHAPES = {
    "tall": {"n": 60, "d": 7},
    "wide": {"n": 25, "d": 40},
    "several panels": {"n": 40, "d": 150},
    "one feature": {"n": 30, "d": 1},
    "factors": {"n": 45, "d": 9, "scaled": True},
    "codes with factors": {"n": 45, "d": 9, "scaled": True, "dtype": np.uint8},
    "few rows train": {"n": 60, "d": 9, "trains": 0.3},
    "most rows train": {"n": 60, "d": 9, "trains": 0.8},
    "large folds": {"n": 60, "d": 5, "share": 0.45},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("shape", SHAPES)
def test_shapes(shape: str, way: str) -> None:
    """Regressions, two and three classes side by side; folds differ in size, and share rows."""
    check(draw(5, folds=3, alphas=(1.0,), **SHAPES[shape]), way, CPU, oracle=True)


@pytest.mark.parametrize(
    ("where", "way"),
    [
        *itertools.product(BACKENDS[1:-1], WAYS),
        *(pytest.param(BACKENDS[-1], way, marks=pytest.mark.slow) for way in WAYS),
    ],
)
def test_backends(where: str, way: str) -> None:
    case = draw(6, 40, 9, 4, alphas=(0.1, 100.0), scaled=True, dtype=np.float32)
    check(case, way, backend_of(where))
    few = draw(6, 40, 9, 4, alphas=(1.0,), trains=0.3)
    check(few, way, backend_of(where))


# --- What the first way cannot do -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "shape"),
    [
        *((where, shape) for where in ("cpu", "strict") for shape in ("tall", "wide", "factors", "few rows train")),
        ("numpy", "tall"),
        pytest.param("stand-in", "tall", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_refuge(shape: str, way: str, where: str) -> None:
    """Without any Cholesky factor by QR, without eigenvectors by SVD; the rows may be more or fewer than features."""
    backend = Refusing(backend_of(where), "eigh" if way == "components" else "cholesky")
    case = draw(7, folds=2, alphas=(1.0, 100.0), **SHAPES[shape])
    check(case, way, backend, needs_refuge=True)
    assert backend.calls > 0


def test_refuge_from_factors_that_are_wrong() -> None:
    """It is the residual that tells, if the factorisation does not."""
    case = draw(8, 40, 9, 3)
    for way in WAYS[:2]:
        check(case, way, Refusing(CPU, "cholesky", silent=True), needs_refuge=True)


def test_only_what_missed_the_tolerance_is_made_again() -> None:
    """Here at one strength of two: others stay as they are, to the last bit."""

    class AtWeak(Refusing):
        def _refuse(self, a: Any) -> tuple[Any, Any]:
            lower, ok = self._backend.cholesky(a.copy())
            return lower, ok & bool(a.reshape(-1)[0] < 1e6)

    case = draw(9, 40, 9, 3, alphas=(1.0, 1e7))
    with patch.object(solving, "pays", lambda *_, **__: False):
        wanted, _ = predictions(case, CPU)
        found, curves = predictions(case, AtWeak(CPU, "cholesky"))
    assert curves.refactorised.tolist() == [[False, True]] * 3
    assert not curves.failed.any()
    assert np.array_equal(found[:, 0], wanted[:, 0])
    assert not np.array_equal(found[:, 1], wanted[:, 1])
    assert np.abs(found - wanted).max() <= 1e-12


def test_fits_that_no_way_leads_to_are_failures() -> None:
    """With QR refused, too: no prediction is passed off as one."""
    case = draw(10, 30, 4, 2, alphas=(1.0, 2.0))

    def no_qr(a: Floats, mode: str) -> Floats:
        return np.full((a.shape[1], a.shape[1]), np.nan)

    with patch.object(solving, "pays", lambda *_, **__: False), patch.object(np.linalg, "qr", no_qr):
        _, curves = predictions(case, Refusing(CPU, "cholesky"))
    assert curves.failed.all()
    assert curves.refactorised.all()


def exact_predictions(x: NDArray, y: NDArray, train: NDArray, test: NDArray, size: int, alpha: Fraction) -> Floats:
    """Ridge predictions by Gaussian elimination in rational numbers: no rounding but the last."""

    def whole(a: NDArray) -> list[list[Fraction]]:
        return [[Fraction(int(v)) for v in row] for row in a]

    def mean(rows: list[list[Fraction]]) -> list[Fraction]:
        return [sum(column, Fraction(0)) / len(rows) for column in zip(*rows, strict=True)]

    rows, held, labels = whole(x[train, :size]), whole(x[test, :size]), whole(y[train])
    x_mean, y_mean = mean(rows), mean(labels)
    rows = [[v - m for v, m in zip(row, x_mean, strict=True)] for row in rows]
    system = [
        [sum(r[i] * r[j] for r in rows) + alpha * (i == j) for j in range(size)]
        + [sum(r[i] * (q - y_mean[0]) for r, (q,) in zip(rows, labels, strict=True))]
        for i in range(size)
    ]
    for i in range(size):
        pivot = system[i][i]
        system[i] = [v / pivot for v in system[i]]
        for k in range(size):
            if k != i:
                factor = system[k][i]
                system[k] = [v - factor * u for v, u in zip(system[k], system[i], strict=True)]
    weights = [row[-1] for row in system]
    return np.array([
        float(y_mean[0] + sum(((v - m) * w for v, m, w in zip(row, x_mean, weights, strict=True)), Fraction(0)))
        for row in held
    ])  # fmt: skip


@pytest.mark.parametrize("way", WAYS[:2])
def test_features_that_depend_on_each_other_with_next_to_no_penalty(way: str) -> None:
    """The Gram matrix has a condition number of 1e17: rounding makes it anything. The rows themselves still tell.

    A prediction by QR is as far off as the condition number of the rows, not of their squares, times rounding.
    """
    rng, alpha = np.random.default_rng(11), Fraction(1, 10**9)
    x = rng.integers(-1000, 1000, (30, 12))
    x[:, 4:] = x[:, :4] @ rng.integers(-2, 3, (4, 8))  # eight pivots of zero, any of which rounding may turn below it
    y = x[:, :1] + 2 * x[:, 2:3] + rng.integers(-500, 500, (30, 1))
    cells = Cells.whole([np.arange(6, 30), np.arange(24)], [np.arange(6), np.arange(24, 30)])
    case = Case(x.astype(np.float64), None, ("regression",), [y[:, 0].astype(np.float64)], cells, (float(alpha),))
    with patch.object(solving, "pays", lambda *_, **__: way == "leaving out"):
        found, curves = predictions(case, CPU)
    assert curves.refactorised.any()
    assert not curves.failed.any()
    centered = case.scaled - case.scaled.mean(axis=0)
    condition = np.linalg.norm(centered, 2) / float(alpha) ** 0.5
    assert condition**2 * EPS > 1
    for cell, (train, test) in enumerate(zip(cells.trained, cells.tested, strict=True)):
        for size in (1, 4, 5, 8, 12):
            wanted = exact_predictions(x, y, train, test, size, alpha)
            room = 100 * EPS * condition * np.abs(y).max()
            assert np.abs(found[cell, 0, :, 0, size - 1] - wanted).max() <= room, size


def test_a_class_that_no_training_row_has_fails_nothing() -> None:
    """Its products with the features are rounding, and the residual of rounding is not small beside it."""
    rng = np.random.default_rng(12)
    x, codes = 30 * rng.standard_normal((40, 60)), np.tile([0.0, 1.0], 20)
    codes[:3] = 2.0
    cells = Cells.whole([np.arange(3, 40), np.arange(3, 15)], [np.arange(3), np.arange(15, 40)])
    case = Case(x, None, ("three classes",), [codes], cells, (0.01,))
    for way in WAYS:
        with patch.object(solving, "pays", lambda *_, way=way, **__: way == "leaving out"):
            found, curves = predictions(case, CPU, components=way == "components")
        assert not curves.failed.any()
        assert np.abs(found[0, 0, :3, 2] + 1).max() <= case.tolerance(0, 0.01)
        assert np.abs(found[1, 0, :, 2] + 1).max() <= case.tolerance(1, 0.01)


def test_the_oracle_scores_as_scikit_learn_does() -> None:
    rng = np.random.default_rng(19)
    for _ in range(30):
        truth, guess = rng.standard_normal((2, 12))
        assert score("regression", truth, guess[:, None]) == pytest.approx(r2_score(truth, guess), abs=1e-13)
        codes = np.append(rng.integers(0, 2, 11), 1.0)
        wanted = f1_score(codes, guess > 0, zero_division=0.0) if (codes == 0).any() else np.nan
        assert score("binary", codes, guess[:, None]) == pytest.approx(wanted, abs=1e-15, nan_ok=True)
        codes, values = np.append(rng.integers(0, 3, 4), [0.0, 1.0]), rng.standard_normal((6, 3))
        picked = values.argmax(axis=1)
        wanted = f1_score(codes, picked, average="macro", labels=np.union1d(codes, picked))
        assert score("three classes", codes, values) == pytest.approx(wanted, abs=1e-15)


# --- Scores, losses, parts --------------------------------------------------------------------------------------------


SOME_SIZES = np.array([1, 4, 5, 12])


@cache
def labelled() -> Case:
    """Tasks of all kinds; held-out labels of the first task and fold are constant, the last fold is a single row."""
    case = draw(13, 60, 12, 4, kinds=("binary", "regression", "three classes", "regression", "binary"))
    lonely = np.flatnonzero(case.labels[0] == case.labels[0][0])[:4]
    tested = [lonely, *case.cells.tested[1:3], np.array([5])]
    return replace(case, cells=Cells.whole(complements(tested, 60), tested), alphas=(0.5, 50.0))


@cache
def refitted(way: str) -> tuple[Floats, Floats, Floats, Floats]:
    """Scores and losses of :func:`labelled`, (cells, A, tasks, S), and how far off rounding may make each."""
    case, components = labelled(), way == "components"
    shape = (4, 2, 5, 4)
    scored, lost, of_scores, of_losses = (np.empty(shape) for _ in range(4))
    for (cell, a, j, s), _ in np.ndenumerate(scored):
        kind, of, test = case.kinds[j], case.columns.of_task[j], case.cells.tested[cell]
        room = np.abs(case.y).max() * (case.tolerance(cell, case.alphas[a]) + components * case.turning(cell).max())
        guess = refit(case, cell, int(SOME_SIZES[s]), case.alphas[a], components=components)[:, of]
        assert not undecided(kind, guess, room)
        labels, rest = case.labels[j][test], np.abs(case.y[test][:, of] - guess)
        scored[cell, a, j, s], lost[cell, a, j, s] = score(kind, labels, guess), (rest**2).mean(axis=0).sum()
        # a mean of squares has the slope 2 |error| by a prediction; R2 is one by the variance
        of_losses[cell, a, j, s] = 2 * rest.max() * room * rest.shape[1]
        slope = 2 * rest.max() / labels.var() if kind == "regression" and len(test) > 1 else 0.0
        of_scores[cell, a, j, s] = 4 * EPS + slope * room
    return scored, lost, of_scores, of_losses


@pytest.mark.parametrize("where", ["cpu", "numpy", "strict"])
@pytest.mark.parametrize("way", WAYS)
def test_scores_and_losses(way: str, where: str) -> None:
    """At some sizes; folds whose held-out labels are constant have no score."""
    case, backend = labelled(), backend_of(where)
    truth, columns = Truth.of(case.y, case.cells), case.columns

    def run(reduce: Any) -> Floats:
        with patch.object(solving, "pays", lambda *_, **__: way == "leaving out"), backend.session():
            problem = case.problem(backend)
            return solve(problem, case.cells, case.alphas, reduce, (5, 4), components=way == "components").values

    scored = run(lambda p, parts: scores(backend, columns, p, SOME_SIZES, truth, parts))
    lost = run(lambda p, parts: losses(backend, columns, p, SOME_SIZES))
    wanted, wanted_losses, of_scores, of_losses = refitted(way)
    assert np.isnan(wanted[0, :, 0]).all()
    assert np.isnan(wanted[3]).all()
    assert np.isfinite(wanted[1:3]).all()
    assert np.array_equal(np.isnan(scored), np.isnan(wanted))
    assert (np.abs(scored - wanted) <= of_scores)[~np.isnan(wanted)].all()
    assert (np.abs(lost - wanted_losses) <= of_losses).all()


def test_predictions_of_a_class_of_its_own_count_in_macro_f1() -> None:
    """Classes are those of truth or predictions, as scikit-learn has them: one that is neither counts for nothing."""
    x = np.arange(12.0)[:, None]
    codes = np.array([0.0] * 4 + [1.0] * 4 + [2.0] * 4)
    tested = [np.array([0, 4]), np.array([8, 9, 10]), np.array([3, 8])]
    case = Case(x, None, ("three classes",), [codes], Cells.whole(complements(tested, 12), tested), (0.1,))
    truth = Truth.of(case.y, case.cells)

    def reduce(predicted: Predictions, parts: slice) -> Floats:
        return scores(CPU, case.columns, predicted, np.array([1]), truth, parts)

    found = solve(case.problem(CPU), case.cells, case.alphas, reduce, (1, 1)).values[:, 0, 0, 0]
    guessed = {tuple(refit(case, k, 1, 0.1).argmax(axis=1).tolist()) for k in range(3)}
    assert len(guessed) > 1
    wanted = [score("three classes", codes[rows], refit(case, k, 1, 0.1)) for k, rows in enumerate(tested)]
    assert found == pytest.approx(wanted, abs=1e-14, nan_ok=True)
    assert np.isnan(found).tolist() == [False, True, False]


@pytest.mark.parametrize("where", ["cpu", "cpu, two threads", "numpy", "strict, cell by cell"])
@pytest.mark.parametrize("way", WAYS)
def test_parts_of_the_rows_that_a_fit_predicts(way: str, where: str) -> None:
    """Of different sizes, several of one fit; their labels and predictions are those of their rows."""
    whole = draw(14, 50, 6, 3, alphas=(1.0, 10.0))
    tested = [np.array([4, 1, 9]), np.array([7, 30]), np.array([20, 21, 22, 2, 40])]
    cells = Cells(
        complements(tested, 50), tested, np.array([0, 0, 1, 2, 2]), np.array([0, 1, 0, 0, 3]), np.array([1, 3, 2, 3, 5])
    )
    assert [cells.rows(p).tolist() for p in range(5)] == [[4], [1, 9], [7, 30], [20, 21, 22], [2, 40]]
    assert cells.parts_of(slice(1, 3)) == slice(2, 5)
    case = replace(whole, cells=cells)
    with patch.object(solving, "pays", lambda *_, **__: way == "leaving out"):
        found, curves = predictions(case, backend_of(where), components=way == "components")
    assert curves.error.shape == (3, 2)
    for part, (cell, start, stop) in enumerate(zip(cells.cell, cells.start, cells.stop, strict=True)):
        for a, alpha in enumerate(case.alphas):
            for size in range(1, 7):
                wanted = refit(case, cell, size, alpha, components=way == "components")[start:stop]
                room = np.abs(case.y).max() * (case.tolerance(cell, alpha) + case.turning(cell)[size - 1])
                assert np.abs(found[part, a, : stop - start, :, size - 1] - wanted).max() <= room
                assert (found[part, a, stop - start :] == 0).all()


GRID = [10.0**e for e in range(-2, 5)]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("scheme", "folds", "fraction"),
    [("shuffle", 6, 1.0), pytest.param("kfold", 3, 1.0, marks=pytest.mark.slow), ("shuffle", 4, 0.4)],
)
def test_the_strength_of_every_size_is_that_of_naive_nested_refits(
    way: str, scheme: str, folds: int, fraction: float
) -> None:
    n, d, sizes = 60, 8, np.array([1, 3, 8])
    case = draw(15, n, d, 1)
    held_out = make_folds(FoldSpec(scheme, n_folds=folds), np.arange(n).astype(str), np.zeros(n), "regression").held_out  # type: ignore[arg-type]
    trained = nested_subsets(complements(held_out, n), fraction, 42)
    plan = plan_inner(held_out, n, 4, seed=42) if fraction == 1 else plan_within(trained, n, 4, seed=42)
    cells, fold_of = inner_cells(plan, n)
    assert (np.diff(cells.cell) >= 0).all()
    assert sum(map(len, cells.tested)) == sum(len(rows) for _, _, rows in plan.validate)
    for seen, validated in zip(cells.trained, cells.tested, strict=True):
        assert not np.intersect1d(seen, validated).size
    with patch.object(solving, "pays", lambda *_, **__: way == "leaving out"):
        curves = solve(
            case.problem(CPU), cells, GRID, lambda p, _: losses(CPU, case.columns, p, sizes), (3, 3),
            components=way == "components",
        )  # fmt: skip
    found = mean_losses(curves, cells, fold_of, folds)
    wanted = naive_losses(case, plan, folds, sizes, components=way == "components")
    assert np.abs(found - wanted).max() <= 1e-9 * wanted.max()
    least, second = np.sort(wanted, axis=1)[:, :2].swapaxes(0, 1)
    assert (second - least).min() > 1e-9 * wanted.max()
    chosen = last_least(found)
    assert np.array_equal(chosen, wanted.argmin(axis=1))
    assert len(np.unique(chosen)) > 1


def naive_losses(case: Case, plan: Any, folds: int, sizes: NDArray, *, components: bool) -> Floats:
    """Mean squared error over the validation rows of every fold, (folds, A, tasks, S), summed over columns."""
    n = len(case.x)
    total, count = np.zeros((folds, len(GRID), len(case.kinds), len(sizes))), np.zeros(folds)
    for fold, p, rows in plan.validate:
        train = np.setdiff1d(np.arange(n), plan.left_out[p])
        one = replace(case, cells=Cells.whole([train], [rows]))
        count[fold] += len(rows)
        for a, alpha in enumerate(GRID):
            for s, size in enumerate(sizes.tolist()):
                squares = ((refit(one, 0, size, alpha, components=components) - case.y[rows]) ** 2).sum(axis=0)
                total[fold, a, :, s] += [squares[of].sum() for of in case.columns.of_task]
    return total / count[:, None, None, None]


def test_a_strength_whose_fit_failed_is_not_chosen() -> None:
    case = draw(16, 20, 2, 2, alphas=(1.0, 2.0))
    curves = solve(
        case.problem(CPU), case.cells, case.alphas, lambda p, _: losses(CPU, case.columns, p, np.array([1, 2])), (3, 2)
    )
    curves.error[0, 1] = np.nan
    found = mean_losses(curves, case.cells, np.array([0, 1]), 2)
    assert np.isinf(found[0, 1]).all()
    assert np.isfinite(found[1]).all()
    assert np.isfinite(found[0, 0]).all()
    assert (last_least(found)[0] == 0).all()


# --- Which rows, which way --------------------------------------------------------------------------------------------


def test_subsets_are_nested_seeded_and_as_many_as_asked_for() -> None:
    trained = [np.arange(0, 30), np.arange(10, 45)]
    shares = [0.01, 0.1, 0.3, 0.77, 1.0]
    drawn = [nested_subsets(trained, share, 5) for share in shares]
    assert [[len(rows) for rows in one] for one in drawn] == [[2, 2], [3, 4], [9, 11], [24, 27], [30, 35]]
    for fewer, more in itertools.pairwise(drawn):
        for a, b, whole in zip(fewer, more, trained, strict=True):
            assert np.isin(a, b).all()
            assert (np.diff(a) > 0).all()
            assert np.isin(b, whole).all()
    assert drawn[2][1].tolist() == sorted(np.random.default_rng([5, 1]).permutation(trained[1])[:11].tolist())
    assert nested_subsets(trained, 0.3, 6)[0].tolist() != drawn[2][0].tolist()
    assert nested_subsets([np.array([3])], 0.5, 5)[0].tolist() == [3]


def test_leaving_out_pays_where_few_of_many_wide_rows_are_left_out_often() -> None:
    assert pays(2415, 1024, 242, 40, CPU_RATES)
    assert pays(4691, 1024, 470, 40, H100)
    assert pays(2415, 1024, 242, 40, CPU_RATES, kept=False)
    assert not pays(100_000, 16, 10_000, 40, CPU_RATES)  # the Gram matrices are tiny
    assert not pays(2415, 1024, 242, 1, CPU_RATES)  # the fit on all rows is for one


@pytest.mark.parametrize(("n", "d", "share", "trains", "cheaper"), [
    (60, 50, 0.05, 1.0, "leaving out"), (60, 2, 0.4, 1.0, "factorising"), (60, 50, 0.05, 0.4, "factorising"),
])  # fmt: skip
def test_the_cheaper_way_is_taken(n: int, d: int, share: float, trains: float, cheaper: str) -> None:
    """Whatever the formula says; few rows that train are always added up."""
    case, taken = draw(17, n, d, 20, share=share, trains=trains, kinds=("regression",)), []
    run = solving._Run

    def spy(name: str) -> Any:
        way = getattr(run, name)

        def spied(self: Any, *args: Any) -> None:
            taken.append(name)
            way(self, *args)

        return spied

    with (
        patch.object(run, "by_leverage", spy("by_leverage")),
        patch.object(run, "by_factorising", spy("by_factorising")),
    ):
        predictions(case, CPU)
    assert taken == ["by_leverage" if cheaper == "leaving out" else "by_factorising"]


def test_a_gram_matrix_that_is_known_is_not_multiplied_again() -> None:
    case = draw(18, 50, 6, 3, scaled=True)
    counted: list[int] = []
    centered = case.x - case.x.mean(axis=0)

    def known() -> Floats:
        counted.append(1)
        return centered.T @ centered

    class NoGram:
        def __getattr__(self, name: str) -> Any:
            assert name != "gram"
            return getattr(CPU, name)

    from fastprobe.probes.prefix import PrefixProblem

    backend: Any = NoGram()
    design = CPU.design(case.x, np.arange(50))
    for way in WAYS[:2]:
        problem = PrefixProblem(backend, design, case.y, case.scale, known)
        with patch.object(solving, "pays", lambda *_, way=way, **__: way == "leaving out"):
            curves = solve(problem, case.cells, [1.0], lambda p, _: losses(CPU, case.columns, p, np.array([6])), (3, 1))
        for cell, test in enumerate(case.cells.tested):
            squares = ((refit(case, cell, 6, 1.0) - case.y[test]) ** 2).mean(axis=0)
            wanted = [squares[of].sum() for of in case.columns.of_task]
            assert curves.values[cell, 0, :, 0] == pytest.approx(wanted, rel=1e-9)
    assert len(counted) == 2


def test_too_large_a_fit_is_refused_with_the_size_that_fits() -> None:
    require_memory("here", 1000, 100, 8.0 * 100 * (400 + 1000))
    with pytest.raises(InputError) as caught:
        require_memory("submission 'a'", 1000, 4096, 2.0**28)
    error = caught.value
    assert error.where == "submission 'a'"
    assert "4096 features" in error.found
    assert "at most 0.2 GiB" in error.expected
    fitting = int(error.fix.removeprefix("give sizes up to "))
    require_memory("here", 1000, fitting, 2.0**28)
    with pytest.raises(InputError):
        require_memory("here", 1000, fitting + 1, 2.0**28)
    with pytest.raises(InputError, match="a machine with more memory"):
        require_memory("here", 10**6, 10, 1000.0)
