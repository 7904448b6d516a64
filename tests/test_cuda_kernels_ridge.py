"""The CUDA kernels of ridge and metrics equal their NumPy twins, executed on the host and, with -m gpu, on a device."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cuda_host.targets import TARGETS, make_target
from hypothesis import given, settings
from hypothesis import strategies as st

from fastprobe.backend import get_backend
from fastprobe.kernels import gpu, reference
from fastprobe.metrics import fold_statistics

EPS = float(np.finfo(np.float64).eps)
STORED = [np.float64, np.float32, np.float16, np.int8, np.uint8]
few = settings(max_examples=12, deadline=None)


def stored(rng: np.random.Generator, shape: tuple[int, ...], dtype) -> np.ndarray:
    if np.issubdtype(dtype, np.integer):
        return rng.integers(np.iinfo(dtype).min, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return rng.standard_normal(shape).astype(dtype)


def test_every_launcher_has_a_twin() -> None:
    launchers = {name for name in gpu.__all__ if name[0].islower()} - {"max_block_press"}
    assert launchers <= set(reference.__all__)


# standardize_gather: one subtraction, one product, one rounding. Equal to the last bit.


def check_gather(where: str, x, rows, mask, mean, scale, out_dtype) -> None:
    wanted = np.empty((*rows.shape, x.shape[1]), out_dtype)
    reference.standardize_gather(x, rows, mask, mean, scale, wanted)
    *_, found = make_target(where).run(gpu.standardize_gather, x, rows, mask, mean, scale, np.full_like(wanted, np.nan))
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("where", TARGETS)
@given(
    n=st.integers(1, 40), d=st.integers(1, 300), sets=st.integers(1, 4), m=st.integers(1, 23),
    dtype=st.sampled_from(STORED), out_dtype=st.sampled_from([np.float64, np.float32]), scaled=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
@few
def test_gather_of_sets(where: str, n: int, d: int, sets: int, m: int, dtype, out_dtype, scaled, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = stored(rng, (n, d), dtype)
    rows, mask = rng.integers(0, n, (sets, m)), rng.random((sets, m)) < 0.8
    rows[~mask] = 2**60  # must not be read
    scale = rng.standard_normal(d) if scaled else None
    check_gather(where, x, rows, mask, rng.standard_normal(d), scale, out_dtype)


@pytest.mark.parametrize("where", TARGETS)
@pytest.mark.parametrize("dtype", STORED)
@pytest.mark.parametrize("out_dtype", [np.float64, np.float32])
def test_gather_of_misaligned_features(where: str, dtype, out_dtype) -> None:
    rng = np.random.default_rng(0)
    x = stored(rng, (9 * 64 + 1,), dtype)[1:].reshape(9, 64)  # rows start one element beside a vector
    rows = rng.integers(0, 9, 5)
    target = make_target(where)
    mean, mask = rng.standard_normal(64), np.ones(5, bool)
    wanted = np.empty((5, 64), out_dtype)
    reference.standardize_gather(x, rows, mask, mean, None, wanted)
    whole = target.put(np.concatenate([x[:1, :1].reshape(-1), x.reshape(-1)]))
    found = target.put(np.full((5, 64), np.nan, out_dtype))
    placed = [target.put(a) for a in (rows, mask, mean)]
    gpu.standardize_gather(target.launch, whole[1:].reshape(9, 64), *placed, None, found)
    assert np.array_equal(target.get(found), wanted)


@pytest.mark.parametrize("where", TARGETS)
def test_gather_reads_every_half_precision_number(where: str) -> None:
    bits = np.arange(2**16, dtype=np.uint16).reshape(-1, 64)
    x = bits.view(np.float16)
    x = x[~np.isnan(x).any(axis=1)]  # NaN is not equal to itself; infinity stays in
    rows = np.arange(len(x))
    check_gather(where, x, rows, np.ones(len(x), bool), np.zeros(64), None, np.float64)


@pytest.mark.parametrize("where", TARGETS)
def test_gather_of_more_rows_than_a_grid_has_blocks(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_MAX_GRID_Y", 3)
    x = np.arange(700.0).reshape(100, 7)
    rows = np.arange(99, -1, -1)
    check_gather(where, x, rows, rows != 50, np.ones(7), None, np.float64)


# block_press: eigenvalues of I - H_SS lie between 0 and 1; the smallest is an argument here, and so is the condition.


def make_blocks(rng: np.random.Generator, sizes: np.ndarray, m: int, smallest: float) -> np.ndarray:
    """Symmetric matrices with eigenvalues from `smallest` to 1 in the leading rows and columns, NaN around them."""
    blocks = np.full((len(sizes), m, m), np.nan)
    for block, size in zip(blocks, sizes, strict=True):
        basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
        matrix = (basis * np.geomspace(smallest, 1.0, size)) @ basis.T
        block[:size, :size] = (matrix + matrix.T) / 2
    return blocks


def run_press(where: str, blocks: np.ndarray, sizes: np.ndarray, rhs: np.ndarray):
    v, ok, error = np.full(rhs.shape, 7.0), np.zeros(len(sizes), bool), np.full(len(sizes), 7.0)
    return make_target(where).run(gpu.block_press, blocks, sizes, rhs, v, ok, error)[3:]


def check_press(where: str, blocks, sizes, rhs, smallest: float) -> None:
    wanted, wanted_ok, wanted_error = np.empty(rhs.shape), np.empty(len(sizes), bool), np.empty(len(sizes))
    reference.block_press(blocks, sizes, rhs, wanted, wanted_ok, wanted_error)
    v, ok, error = run_press(where, blocks, sizes, rhs)
    assert np.array_equal(ok, wanted_ok)
    for k, size in enumerate(sizes):
        assert not v[k, size:].any()
        length = np.linalg.norm(wanted[k, :size], axis=0)
        # Both backward errors are within 2 m eps of |A| = 1 (Higham, Accuracy and Stability, theorem 10.4).
        assert (np.linalg.norm(v[k] - wanted[k], axis=0) <= 4 * size * EPS / smallest * length).all()
        if not size:
            assert error[k] == 0.0
            continue
        # The residual is relative to the right-hand side of these rows, without what pads them.
        assert error[k] <= 4 * size * EPS * (length / np.linalg.norm(rhs[k, :size], axis=0)).max()


@pytest.mark.parametrize("where", TARGETS)
@given(
    sizes=st.lists(st.integers(0, 70), min_size=1, max_size=3), padding=st.integers(0, 9), t=st.integers(1, 10),
    smallest=st.sampled_from([0.9, 1e-2, 1e-6]), seed=st.integers(0, 99),
)  # fmt: skip
@few
def test_press(where: str, sizes: list[int], padding: int, t: int, smallest: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = np.array(sizes)
    m = max(1, counts.max() + padding)
    rhs = rng.standard_normal((len(sizes), m, t))
    check_press(where, make_blocks(rng, counts, m, smallest), counts, rhs, smallest)


@pytest.mark.parametrize("where", TARGETS)
@pytest.mark.parametrize("size", [1, 15, 16, 17, 31, 32, 33, 160, 238])
def test_press_of_sizes_around_its_panels(where: str, size: int) -> None:
    rng = np.random.default_rng(size)
    sizes = np.array([size])
    check_press(where, make_blocks(rng, sizes, size, 1e-3), sizes, rng.standard_normal((1, size, 3)), 1e-3)


@pytest.mark.parametrize("where", TARGETS)
@pytest.mark.parametrize("place", [0, 15, 16, 40])
@pytest.mark.parametrize("kind", ["zero pivot", "negative pivot", "nan", "infinite"])
def test_press_marks_what_it_cannot_factorise(where: str, place: int, kind: str) -> None:
    rng = np.random.default_rng(1)
    sizes = np.array([41, 41, 30])
    blocks, rhs = make_blocks(rng, sizes, 43, 0.1), rng.standard_normal((3, 43, 2))
    good = run_press(where, blocks, sizes, rhs)
    if kind == "zero pivot":
        blocks[1, place, :41] = blocks[1, :41, place] = 0
    elif kind == "negative pivot":
        blocks[1, place, place] = -0.5
    else:
        blocks[1, place, 3] = blocks[1, 3, place] = np.nan if kind == "nan" else np.inf
    v, ok, error = run_press(where, blocks, sizes, rhs)
    assert ok.tolist() == [True, False, True]
    assert np.isnan(v[1, :41]).all()
    assert not v[1, 41:].any()
    assert np.isnan(error[1])
    others = [0, 2]
    for found, before in zip((v, error), (good[0], good[2]), strict=True):
        assert np.array_equal(found[others], before[others])


@pytest.mark.parametrize("where", TARGETS)
def test_press_does_not_depend_on_padding_threads_or_neighbours(where: str) -> None:
    rng = np.random.default_rng(2)
    sizes = np.array([50, 21])
    blocks, rhs = make_blocks(rng, sizes, 50, 1e-4), rng.standard_normal((2, 50, 5))
    wide, tall = np.zeros((2, 150, 150)), np.zeros((2, 150, 5))
    wide[:, :50, :50], tall[:, :50] = blocks, rhs
    v = run_press(where, blocks, sizes, rhs)[0]
    assert np.array_equal(run_press(where, wide, sizes, tall)[0][:, :50], v)
    assert np.array_equal(run_press(where, blocks[1:], sizes[1:], rhs[1:])[0][0], v[1])


@pytest.mark.parametrize("where", TARGETS)
def test_press_checks_against_the_matrix_as_it_was_given(where: str) -> None:
    # Only the lower triangle is factorised. With another upper one the residual is large, and known.
    rng = np.random.default_rng(3)
    size, t = 37, 6
    blocks, rhs = make_blocks(rng, np.array([size]), size, 0.1), rng.standard_normal((1, size, t))
    v = np.linalg.solve(blocks[0], rhs[0])
    blocks[0][np.triu_indices(size, 1)] *= 1.5
    error = run_press(where, blocks, np.array([size]), rhs)[2]
    missed = np.linalg.norm(blocks[0].T @ v - rhs[0], axis=0) / np.linalg.norm(rhs[0], axis=0)
    assert missed.max() > 0.1
    assert error[0] == pytest.approx(missed.max(), rel=1e-10)


@pytest.mark.parametrize("where", TARGETS)
def test_press_of_vanishing_and_of_broken_right_hand_sides(where: str) -> None:
    rng = np.random.default_rng(4)
    sizes = np.array([20, 20])
    blocks, rhs = make_blocks(rng, sizes, 20, 0.1), rng.standard_normal((2, 20, 5))
    rhs[0] = 0
    rhs[1, 3, 1] = np.nan  # in one of five columns: the largest error of all must not hide it
    v, ok, error = run_press(where, blocks, sizes, rhs)
    assert ok.all()
    assert not v[0].any()
    assert error[0] == 0
    assert np.isnan(error[1])
    assert np.isfinite(v[1][:, [0, 2, 3, 4]]).all()


def test_press_fits_the_shared_memory_of_its_devices() -> None:
    assert gpu.max_block_press(232_448) == 238
    assert gpu.max_block_press(166_912) == 201
    assert gpu.max_block_press(101_376) == 156
    with pytest.raises(ValueError, match="257"):
        run_press("host", np.ones((1, 257, 257)), np.array([257]), np.ones((1, 257, 1)))


# fold_metrics: sums of m terms, so that relative to the sum of magnitudes the error is within m eps.


def check_metrics(where: str, y, rows, sizes, residuals) -> np.ndarray:
    wanted = np.empty((7, len(sizes), residuals.shape[2]))
    reference.fold_metrics(y, rows, sizes, residuals, wanted)
    *_, found = make_target(where).run(gpu.fold_metrics, y, rows, sizes, residuals, np.full_like(wanted, 7.0))
    m, size = rows.shape[1], np.abs(y).max()
    assert np.allclose(found[0], wanted[0], rtol=0, atol=2 * m * EPS * size, equal_nan=True)
    # A deviation y - mean is off by 2 eps |y|, and by the error of the mean, which enters squared.
    rounding = 2 * m * EPS * wanted[1] + 8 * EPS * size * np.sqrt(m * wanted[1]) + m * (2 * m * EPS * size) ** 2
    assert (np.abs(found[1] - wanted[1]) <= rounding).all()
    assert np.array_equal(found[1] == 0, wanted[1] == 0)
    assert np.allclose(found[2], wanted[2], rtol=2 * m * EPS, atol=0)
    assert np.array_equal(found[3:], wanted[3:])
    return found


@pytest.mark.parametrize("where", TARGETS)
@given(
    n=st.integers(1, 60), m=st.integers(1, 50), t=st.integers(1, 4), strengths=st.integers(1, 5),
    sets=st.integers(1, 3), offset=st.sampled_from([0.0, 1e6]), seed=st.integers(0, 99),
)  # fmt: skip
@few
def test_metrics(where: str, n: int, m: int, t: int, strengths: int, sets: int, offset: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.standard_normal((n, t)) + offset
    rows, sizes = rng.integers(0, n, (sets, m)), rng.integers(0, m + 1, sets)
    rows[np.arange(m) >= sizes[:, None]] = 2**60  # must not be read
    check_metrics(where, y, rows, sizes, rng.standard_normal((sets, m, strengths * t)))


@pytest.mark.parametrize("where", TARGETS)
@pytest.mark.parametrize("columns", [1, 3, 100, 255, 256, 257, 700])
def test_metrics_of_few_and_many_columns(where: str, columns: int) -> None:
    rng = np.random.default_rng(columns)
    y, rows = rng.standard_normal((50, columns)), rng.integers(0, 50, (2, 9))
    check_metrics(where, y, rows, np.array([9, 4]), rng.standard_normal((2, 9, columns)))


@pytest.mark.parametrize("where", TARGETS)
def test_metrics_are_those_of_the_cpu_engine(where: str) -> None:
    rng = np.random.default_rng(5)
    backend = get_backend("cpu")
    sets = backend.row_sets([rng.permutation(80)[:size] for size in (9, 1, 30)], 80)
    y = np.stack([rng.standard_normal(80) + 1e4, np.sign(rng.standard_normal(80)), np.full(80, 0.1)], axis=1)
    residuals = rng.standard_normal((3, 30, 3)) * sets.mask[:, :, None]
    found = check_metrics(where, y, sets.rows, sets.sizes, residuals)
    for task, kind in enumerate(("regression", "classification", "regression")):
        stats = fold_statistics(backend, sets, y[:, task], residuals[:, :, task], kind)
        if kind == "regression":
            wanted = np.array([stats.mean_y, stats.tss, stats.sse])
            assert np.allclose(found[:3, :, task], wanted, rtol=1e-12, atol=0)
            assert np.array_equal(found[1, :, task] == 0, wanted[1] == 0)
        else:
            assert np.array_equal(found[3:, :, task], [stats.tp, stats.fp, stats.fn, stats.tn])


def test_numba_kernels_in_the_simulator() -> None:
    tests = Path(__file__).with_name("numba_simulated.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.gpu
def test_numba_kernels_on_the_device() -> None:
    cuda = pytest.importorskip("numba.cuda")
    if not cuda.is_available():
        pytest.skip("there is no CUDA device")
    from fastprobe.kernels import numba_cuda

    rng = np.random.default_rng(6)
    y, rows, sizes = rng.standard_normal((50, 2)), rng.integers(0, 50, (3, 20)), np.array([20, 7, 1])
    residuals = rng.standard_normal((3, 20, 6))
    wanted, found = np.empty((7, 3, 6)), cuda.device_array((7, 3, 6))
    reference.fold_metrics(y, rows, sizes, residuals, wanted)
    numba_cuda.fold_metrics(*map(cuda.to_device, (y, rows, sizes, residuals)), found)
    assert np.allclose(found.copy_to_host(), wanted, rtol=100 * EPS, atol=100 * EPS)
