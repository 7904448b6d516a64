"""The CUDA kernels of the replay, the sweep and the logistic probe equal their NumPy twins, executed on the host and,
with -m gpu, on a device.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
from cuda_host import make_host_launch
from cuda_host.targets import TARGETS, Target, make_target
from hypothesis import given, settings
from hypothesis import strategies as st
from softmax_problems import assert_softmax_alike, draw_softmax

from fastprobe.kernels import gpu, reference

EPS, EPS32 = float(np.finfo(np.float64).eps), float(np.finfo(np.float32).eps)
few = settings(max_examples=10, deadline=None)
anywhere = pytest.mark.parametrize("where", TARGETS)


def run(target: Target, launcher, *args) -> list:
    """Call a launcher that needs scratch memory, which begins as NaN or as a large number."""

    def empty(shape, dtype):
        return target.put(np.full(shape, np.nan if np.issubdtype(dtype, np.floating) else 2**20, dtype))

    return target.run(partial(launcher, empty=empty), *args)


# train_linear


def draw_training(n: int, d: int, epochs: int, count: int, keep: bool, seed: int, size: float = 1.0) -> tuple:
    rng = np.random.default_rng(seed)
    x = (size * rng.standard_normal((n + 3, d))).astype(np.float32)
    rows, y = rng.integers(0, n + 3, n), (rng.random(n) > 0.5).astype(np.float32)
    order = np.array([[rng.permutation(n)[: n - n // 5] for _ in range(epochs)] for _ in range(count)], np.int32)
    weights = np.full((count, epochs + 1, d + 1), np.nan, np.float32)
    weights[:, 0] = rng.uniform(-1, 1, (count, d + 1)) / np.sqrt(d)
    fitted = np.full(order.shape if keep else (count, 0, 0), np.nan, np.float32)
    return x, rows, y, order, weights, fitted


def check_training(where: str, problem: tuple, batch: int, rate: float, logistic: bool) -> None:
    x, rows, y, order, weights, fitted = problem
    found = run(make_target(where), gpu.train_linear, x, rows, y, order, batch, rate, logistic, weights, fitted)
    for k in range(len(order)):
        twin, exact = ([a[k].astype(t) for a in (weights, fitted)] for t in (np.float32, np.float64))
        reference.train_linear(x, rows, y, order[k], batch, rate, logistic, *twin)
        reference.train_linear(x.astype(np.float64), rows, y, order[k], batch, rate, logistic, *exact)
        # Both are off the same steps in float64, by rounding; neither by much more than the other.
        for mine, its, truth in zip((found[-2][k], found[-1][k]), twin, exact, strict=True):
            room = 10 * np.linalg.norm(its - truth) + 2e-6 * np.linalg.norm(truth)
            assert np.linalg.norm(mine - truth) <= room


@anywhere
@given(
    n=st.integers(1, 60), d=st.integers(1, 130), epochs=st.integers(1, 3), batch=st.integers(12, 70),
    rate=st.sampled_from([1e-4, 1e-2, 0.5]), logistic=st.booleans(), keep=st.booleans(), seed=st.integers(0, 99),
)  # fmt: skip
@few
def test_train_linear(where: str, n, d, epochs, batch, rate, logistic, keep, seed) -> None:
    check_training(where, draw_training(n, d, epochs, 2, keep, seed), batch, rate, logistic)


@anywhere
@pytest.mark.parametrize("d", [128, 129, 500, 1023, 1024, 2048, 2050, 4096, 4097, 4100])
def test_training_at_every_width(where: str, d: int) -> None:
    """Each of the kernels, at the edges of what it takes, with rows that are aligned to 16 bytes or not."""
    check_training(where, draw_training(40, d, 2, 1, True, seed=d), 20, 1e-3, logistic=d % 2 == 0)


@anywhere
@pytest.mark.parametrize("d", [6, 4100])
def test_training_takes_any_batch(where: str, d: int) -> None:
    """Single rows, more rows than there are, and more rows than the lanes of a warp look up at a time."""
    for n, batch in ((12, 1), (30, 1000), (800, 16)) if d == 6 else ((10, 1), (90, 1000)):
        check_training(where, draw_training(n, d, 1, 1, True, seed=n), batch, 1e-2, logistic=False)


@anywhere
@pytest.mark.parametrize("d", [8, 4100])
def test_training_saturates_and_stays_finite(where: str, d: int) -> None:
    """Outputs in the hundreds, where the logistic function is 0 or 1 and its exponential overflows."""
    x, rows, y, order, weights, fitted = draw_training(30, d, 2, 1, True, seed=1, size=1e3)
    *_, found = run(make_target(where), gpu.train_linear, x, rows, y, order, 16, 1e-3, True, weights, fitted)
    assert np.abs(found).max() > 200
    check_training(where, (x, rows, y, order, weights, fitted), 16, 1e-3, logistic=True)


@anywhere
@pytest.mark.parametrize("d", [64, 4100])
def test_a_fold_depends_on_nothing_beside_it(where: str, d: int) -> None:
    """To the last bit: not on other folds, nor on where in memory the features begin."""
    target, (x, rows, y, order, weights, fitted) = make_target(where), draw_training(20, d, 1, 3, True, seed=2)
    train = partial(run, target, gpu.train_linear)
    together = train(x, rows, y, order, 8, 1e-3, False, weights, fitted)
    alone = train(x, rows, y, order[1:2], 8, 1e-3, False, weights[1:2], fitted[1:2])
    assert np.array_equal(together[-2][1], alone[-2][0])
    assert np.array_equal(together[-1][1], alone[-1][0])

    moved = target.put(np.append(np.float32(np.nan), x))[1:].reshape(x.shape)
    args = [target.put(a) for a in (rows, y, order)], [target.put(a) for a in (weights, fitted)]
    empty = lambda shape, dtype: target.put(np.zeros(shape, dtype))  # noqa: E731
    gpu.train_linear(target.launch, moved, *args[0], 8, 1e-3, False, *args[1], empty=empty)
    assert np.array_equal(target.get(args[1][0]), together[-2])


@anywhere
@pytest.mark.parametrize("learning_rate", [1e-4, 0.3])
def test_scalars_of_the_steps(where: str, learning_rate: float) -> None:
    target, steps = make_target(where), np.arange(1, 3001)
    rate, root = (target.put(np.zeros(3000, np.float32)) for _ in range(2))
    args = (np.float64(learning_rate), np.int32(3000), rate, root)
    target.launch("adamw_replay.cu", "adamw_scalars", (24,), (128,), args)
    for found, wanted in ((rate, learning_rate / (1 - 0.9**steps)), (root, np.sqrt(1 - 0.999**steps))):
        assert (np.abs(target.get(found) - wanted.astype(np.float32)) <= np.spacing(wanted.astype(np.float32))).all()


def test_arithmetic_of_an_update(tmp_path: Path) -> None:
    """Also where moments are 0, tiny, infinite or NaN: as torch has it."""
    header = Path(gpu.__file__).with_name("cuda") / "adamw.cuh"
    kernel = """extern "C" __global__ void update(float* w, float* m, float* v, const float* g) {
        const int i = threadIdx.x; adamw(w[i], m[i], v[i], g[i], 0.01f, 0.5f, 0.999f); }"""
    (tmp_path / "update.cu").write_text(f'#include "{header}"\n{kernel}\n', encoding="utf-8")
    g = np.array([0, 1, -3, 1e-18, -1e-30, 1e18, 1e25, np.inf, np.nan], np.float32)
    w, m, v = (np.full(g.shape, value, np.float32) for value in (0.25, 0.0, 0.0))
    v[0], m[2], v[1] = 0, 0.5, 1e-42
    with np.errstate(all="ignore"):
        m1 = m + np.float32(1 - 0.9) * (g - m)
        v1 = v * np.float32(0.999) + np.float32(1 - 0.999) * g * g
        w1 = w * np.float32(0.999) - np.float32(0.01) * m1 / (np.sqrt(v1) / np.float32(0.5) + np.float32(1e-8))
    make_host_launch(tmp_path)("update.cu", "update", (1,), (len(g),), (w, m, v, g))
    for found, wanted in ((w, w1), (m, m1), (v, v1)):
        np.testing.assert_allclose(found, wanted, rtol=8 * EPS32, atol=0)


# predict_linear


@anywhere
@given(
    n=st.integers(1, 40), d=st.integers(1, 700), m=st.integers(1, 70), epochs=st.integers(1, 20),
    sets=st.integers(1, 2), seed=st.integers(0, 99),
)  # fmt: skip
@few
def test_predict_linear(where: str, n: int, d: int, m: int, epochs: int, sets: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, rows = rng.standard_normal((n, d)).astype(np.float32), rng.integers(0, n, (sets, m))
    weights = rng.standard_normal((sets, epochs, d + 1)).astype(np.float32)
    out = np.full((sets, epochs, m), np.nan, np.float32)
    *_, found = make_target(where).run(gpu.predict_linear, x, rows, weights, out)
    for k in range(sets):
        wanted = np.empty((epochs, m), np.float32)
        reference.predict_linear(x, rows[k], weights[k], wanted)
        size = np.abs(x[rows[k]]) @ np.abs(weights[k, :, :-1].T) + np.abs(weights[k, :, -1])
        assert (np.abs(found[k] - wanted) <= 2 * (d + 1) * EPS32 * size.T).all()


# prefix_scan and prefix_confusion


def draw_prefixes(rng: np.random.Generator, sets: int, m: int, d: int, tasks: int, whole: bool) -> tuple:
    """Held-out rows; in whole numbers all sums are exact."""

    def numbers(*shape: int) -> np.ndarray:
        return rng.integers(-3, 4, shape).astype(np.float64) if whole else rng.standard_normal(shape)

    sizes = rng.integers(1, m + 1, sets)
    features, y = numbers(sets, m, d), numbers(sets, m, tasks)
    for k, size in enumerate(sizes):
        features[k, size:], y[k, size:] = np.nan, np.nan
    return features, numbers(sets, d, tasks), numbers(sets, tasks), y, sizes


@anywhere
@given(
    sets=st.integers(1, 2), m=st.integers(1, 30), d=st.sampled_from([1, 15, 16, 100, 511, 513, 1030]),
    tasks=st.integers(1, 3), seed=st.integers(0, 99),
)  # fmt: skip
@few
def test_prefixes_of_whole_numbers(where: str, sets: int, m: int, d: int, tasks: int, seed: int) -> None:
    """To the last bit, and predictions of exactly 0 count as negative."""
    problem, target = draw_prefixes(np.random.default_rng(seed), sets, m, d, tasks, whole=True), make_target(where)
    for name, out in (("prefix_scan", np.full((sets, tasks, d), np.nan)),
                      ("prefix_confusion", np.full((sets, tasks, 3, d), -1, np.int32))):  # fmt: skip
        wanted = out.copy()
        getattr(reference, name)(*problem, wanted)
        *_, found = run(target, getattr(gpu, name), *problem, out)
        assert np.array_equal(found, wanted)


@anywhere
@pytest.mark.parametrize(("m", "d", "tasks"), [(1, 1, 1), (13, 40, 2), (9, 700, 1), (70, 520, 1)])
def test_prefix_scan(where: str, m: int, d: int, tasks: int) -> None:
    problem = draw_prefixes(np.random.default_rng(d), 2, m, d, tasks, whole=False)
    wanted = np.empty((2, tasks, d))
    reference.prefix_scan(*problem, wanted)
    *_, found = run(make_target(where), gpu.prefix_scan, *problem, np.full_like(wanted, np.nan))
    features, z, mean, y, sizes = problem
    for k, size in enumerate(sizes):
        for t in range(tasks):
            # a prediction is off by its number of terms times the sum of their sizes, and its square by twice that
            terms = np.cumsum(np.abs(features[k, :size] * z[k, :, t]), axis=1) + np.abs(mean[k, t])
            terms += np.abs(y[k, :size, t, None])
            assert (np.abs(found[k, t] - wanted[k, t]) <= 4 * (d + m) * EPS * (terms * terms).sum(axis=0)).all()


# logistic_step


@anywhere
@given(
    n=st.integers(1, 150), columns=st.integers(1, 70), tasks=st.integers(1, 3), folds=st.integers(1, 4),
    seed=st.integers(0, 99),
)  # fmt: skip
@few
def test_logistic_step(where: str, n: int, columns: int, tasks: int, folds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    eta = rng.standard_normal((n, columns)) * 10.0 ** rng.integers(-3, 4, columns)
    eta.flat[rng.integers(0, eta.size, 5)] = [0.0, 1e-300, -1e5, 1e5, -708.5]
    y, training = rng.choice([0.0, 1.0, 0.25], (n, tasks)), rng.random((n, folds)) < 0.8
    task, fold = rng.integers(0, tasks, columns), rng.integers(0, folds, columns)
    out = [np.full(shape, np.nan) for shape in (eta.shape, eta.shape, (columns,))]
    wanted = [a.copy() for a in out]
    reference.logistic_step(eta, y, training, task, fold, *wanted)
    found = run(make_target(where), gpu.logistic_step, eta, y, training, task, fold, *out)[-3:]
    for mine, twin in zip(found[:2], wanted[:2], strict=True):
        assert np.abs(mine - twin).max() <= 4 * EPS
        assert (mine[~training[:, fold]] == 0).all()
    assert (np.abs(found[2] - wanted[2]) <= (n + 4) * EPS * (np.abs(eta) + 1).sum(axis=0)).all()


# softmax_step


@anywhere
@given(
    n=st.integers(1, 150), problems=st.integers(1, 3), classes=st.integers(2, 6), columns=st.integers(1, 40),
    folds=st.integers(1, 4), seed=st.integers(0, 99),
)  # fmt: skip
@few
def test_softmax_step(
    where: str, n: int, problems: int, classes: int, columns: int, folds: int, seed: int
) -> None:  # fmt: skip
    problem, out = draw_softmax(np.random.default_rng(seed), n, problems, classes, columns, folds)
    wanted = [a.copy() for a in out]
    reference.softmax_step(*problem, *wanted)
    found = run(make_target(where), gpu.softmax_step, *problem, *out)[-3:]
    assert_softmax_alike(problem, found, wanted)
