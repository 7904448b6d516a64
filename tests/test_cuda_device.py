"""The CUDA backend on a GPU: parity with the CPU, arrays that are not copied, streams, memory, two processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from parity import (
    COMPONENTS,
    EXACT,
    NEUCO,
    REPLAYED,
    SCORES,
    SWEEPS,
    assert_same,
    assert_solved_alike,
    assert_swept_alike,
    small,
    wide,
)
from problems import PROBLEMS, Problem

from fastprobe import Benchmark, DeviceError, InputError, Protocol, Submission, Task, score, score_arrays, sweep
from fastprobe.backend import get_backend
from fastprobe.backend.cuda.presence import find_gpus
from fastprobe.compat.torch import ProbeCallback
from fastprobe.engine import score_path
from fastprobe.planner import ROUTE_NAMES

pytestmark = pytest.mark.gpu

CPU = get_backend("cpu")
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def cuda() -> Any:
    found = find_gpus()
    if not found.count:
        pytest.skip(found.reason)
    return get_backend("cuda")


@pytest.fixture
def cp(cuda: Any) -> Any:
    return pytest.importorskip("cupy")


def opened(limit: int) -> Any:
    from fastprobe.backend.cuda.open import open_device

    return open_device(0, limit=limit)


def problem(n: int = 400, d: int = 48, dtype: Any = np.float32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d)).astype(dtype)
    return x, np.tanh(x[:, 0]) + 0.3 * rng.standard_normal(n)


@pytest.mark.parametrize("problem", PROBLEMS, ids=lambda p: p.name)
@pytest.mark.parametrize("route", ROUTE_NAMES)
def test_routes_equal_those_of_the_cpu(cuda: Any, problem: Problem, route: str) -> None:
    with cuda.session():
        assert_solved_alike(cuda, CPU, problem, route)


@pytest.mark.parametrize("route", [None, *ROUTE_NAMES])
def test_scores_equal_those_of_the_cpu(cuda: Any, route: str | None) -> None:
    submission, benchmark = small()
    options = {"protocol": "ridge", "folds": 10, "alpha": 3.0, "route": route}
    found = score([submission], benchmark, device=cuda, **options)
    assert_same(found, score([submission], benchmark, device=CPU, **options), SCORES)
    assert all(row.device.startswith("cuda:0 (") for row in found.rows)


def test_paths_chosen_strengths_and_the_replay_equal_those_of_the_cpu(cuda: Any) -> None:
    submission, benchmark = small()
    alphas = [0.1, 1.0, 10.0]
    ours, theirs = (score_path([submission], benchmark, alphas=alphas, folds=10, device=b) for b in (cuda, CPU))
    for found, wanted in zip(ours, theirs, strict=True):
        assert_same(found, wanted, SCORES)
    automatic = [(Protocol(probe=probe, alpha="auto"), SCORES) for probe in ("ridge", "closed-form")]
    for protocol, tolerance in (*automatic, (NEUCO, REPLAYED)):
        found, wanted = (score([submission], benchmark, protocol=protocol, device=b) for b in (cuda, CPU))
        assert_same(found, wanted, tolerance)


@pytest.mark.parametrize(
    ("dataset", "name"), [("presto", "trained"), ("presto", "rawbands"), ("alphaearth", "alphaearth")]
)
def test_real_data_equals_the_cpu(cuda: Any, data: Path, dataset: str, name: str) -> None:
    submission = Submission.read(data / dataset / "submissions" / f"{name}.npz")
    benchmark = Benchmark.from_folder(data / dataset / "labels")
    for options, tolerance in (
        *(
            ({"protocol": "ridge", "alpha": alpha, "route": route}, SCORES)
            for alpha in (0.01, 100.0)
            for route in ROUTE_NAMES
        ),
        ({"protocol": "ridge", "alpha": "auto"}, SCORES),
        ({"protocol": "neuco"}, 1e-4),
    ):
        found, wanted = (score([submission], benchmark, device=b, **options) for b in (cuda, CPU))
        assert_same(found, wanted, tolerance)


@pytest.mark.parametrize("name", SWEEPS)
def test_sweeps_equal_those_of_the_cpu(cuda: Any, name: str) -> None:
    tolerance = COMPONENTS if name.startswith("components") else SCORES
    for submission, benchmark in (small(), wide()):
        options = {"folds": 10, **SWEEPS[name]}
        found, wanted = (sweep([submission], benchmark, device=b, **options) for b in (cuda, CPU))
        assert_swept_alike(found, wanted, tolerance)
        assert all(row["device"].startswith("cuda:0 (") for row in found)


def test_sweeps_of_joined_submissions_equal_those_of_the_cpu(cuda: Any) -> None:
    submission, benchmark = small()
    other = Submission("other", submission.ids, np.cos(submission.x))
    found, wanted = (
        sweep([submission, other], benchmark, sizes="all", join=2, alpha=3.0, folds=10, device=b) for b in (cuda, CPU)
    )
    assert {row["submission"] for row in found} == {"team", "other", "team+other"}
    assert_swept_alike(found, wanted, SCORES)


def test_sweeps_do_not_depend_on_memory(cuda: Any) -> None:
    """In batches of a few folds, by leaving out and by factorising."""
    submission, benchmark = wide()
    for more in ({"alpha": 3.0}, {"alpha": 3.0, "fractions": (0.6,)}, {"alpha": "auto"}):
        options = {"sizes": "all", "folds": 40, **more}
        found, wanted = (sweep([submission], benchmark, device=b, **options) for b in (opened(1 << 25), cuda))
        assert_swept_alike(found, wanted, SCORES)


def test_sweeps_of_arrays_on_the_gpu(cp: Any, cuda: Any) -> None:
    submission, benchmark = wide()
    there = Submission.from_arrays("wide", submission.ids, cp.asarray(submission.x))
    options = {"sizes": (1, 64, 70), "alpha": 3.0, "folds": 5, "bits": (32, 8)}
    found, wanted = (sweep([s], benchmark, device=cuda, **options) for s in (there, submission))
    assert_swept_alike(found, wanted, SCORES)


@pytest.mark.parametrize(("dataset", "name"), [("presto", "trained"), ("alphaearth", "alphaearth")])
def test_sweeps_of_real_data_equal_those_of_the_cpu(cuda: Any, data: Path, dataset: str, name: str) -> None:
    submission = Submission.read(data / dataset / "submissions" / f"{name}.npz")
    benchmark = Benchmark.from_folder(data / dataset / "labels")
    few = {"sizes": "all", "folds": 5}
    for options, tolerance in (
        ({"sizes": "all", "alphas": (1.0, 100.0)}, SCORES),
        ({**few, "alpha": 100.0, "bits": (8, 1)}, SCORES),
        ({**few, "alpha": 100.0, "fractions": (0.1, 0.5)}, SCORES),
        ({**few, "alpha": 100.0, "orders": ("pca",)}, COMPONENTS),
    ):
        found, wanted = (sweep([submission], benchmark, device=b, **options) for b in (cuda, CPU))
        assert_swept_alike(found, wanted, tolerance)


def test_results_do_not_depend_on_memory_or_company(cuda: Any) -> None:
    submission, benchmark = small()
    other = Submission("other", submission.ids, submission.x[::-1].copy())
    for route in ROUTE_NAMES:
        options = {"protocol": "ridge", "folds": 10, "alpha": 3.0, "route": route}
        alone = score([submission], benchmark, device=opened(1 << 25), **options)
        together = score([other, submission], benchmark, device=cuda, **options)
        mine = [row for row in together.rows if row.submission == "team"]
        assert_same(alone, type(alone)(mine, alone.protocol), SCORES)


def test_memory_that_runs_out_halves_the_batch(cp: Any, caplog: pytest.LogCaptureFixture) -> None:
    x, y = problem(1500, 200)
    options = {"protocol": "ridge", "folds": 40, "route": "downdate"}
    wanted = score_arrays(x, y, device=CPU, **options)
    backend = opened(40 << 20)
    backend.budget = 1 << 30  # it believes that it has more than the pool gives
    found = score_arrays(x, y, device=backend, **options)
    assert np.abs(found.fold_scores - wanted.fold_scores).max() <= SCORES
    assert "out of memory with batches" in caplog.text
    with pytest.raises(DeviceError, match=r"(no room for|Out of memory allocating) [\d,.]+ .*--device cpu"):
        score_arrays(x, y, device=opened(3 << 20), **options)


def test_factorisations_tell_which_matrices_failed(cuda: Any) -> None:
    rng = np.random.default_rng(1)
    for count, d in ((5, 4), (5, 70), (3, 600), (1, 900)):
        a = rng.standard_normal((count, d, d)) / np.sqrt(d)
        a = a @ a.swapaxes(1, 2) + np.eye(d)
        bad = range(1, count, 2)
        for k in bad:
            a[k, d // 2, d // 2] = -1.0 if k % 4 == 1 else np.nan
        with cuda.session():
            lower, ok = (cuda.to_numpy(part) for part in cuda.cholesky(cuda.asarray(a)))
        assert ok.tolist() == [k not in bad for k in range(count)]
        for k in np.flatnonzero(ok):
            assert np.abs(np.tril(lower[k]) - np.linalg.cholesky(a[k])).max() <= 10 * EXACT


def test_blocks_of_all_the_shared_memory_there_is(cuda: Any) -> None:
    """More than the 48 KB that a kernel has without asking, and one row more than our kernel takes."""
    rng = np.random.default_rng(2)
    for m in (100, cuda._max_press, cuda._max_press + 1):
        n, r = 4 * m, 30
        features, residuals = rng.standard_normal((n, r)) / np.sqrt(8 * n), rng.standard_normal((n, 3))
        sets = [rng.permutation(n)[: m - k] for k in range(3)]
        wanted, _, _ = CPU.block_press(features, None, CPU.row_sets(sets, n), slice(0, 3), residuals)
        with cuda.session():
            ours = cuda.row_sets(sets, n)
            found = cuda.block_press(cuda.asarray(features), None, ours, slice(0, 3), cuda.asarray(residuals))
            v, ok, error = map(cuda.to_numpy, found)
        assert ok.all()
        assert error.max() <= EXACT
        assert np.abs(v - wanted).max() <= 100 * EXACT


def on_device(library: str, x: np.ndarray, cp: Any) -> Any:
    if library == "cupy":
        return cp.asarray(x)
    if library == "torch":
        torch = pytest.importorskip("torch", reason="torch is not installed")
        if not torch.cuda.is_available():
            pytest.skip("torch has no CUDA here")
        return torch.tensor(x, device="cuda", requires_grad=True)
    return pytest.importorskip("numba.cuda", reason="numba-cuda is not installed").to_device(x)


@pytest.mark.parametrize("library", ["cupy", "torch", "numba"])
def test_arrays_on_the_gpu_stay_there(library: str, cp: Any, cuda: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = problem()
    array = on_device(library, x, cp)
    pointer = array.data_ptr() if library == "torch" else array.__cuda_array_interface__["data"][0]
    submission = Submission.from_arrays("team", [f"s{i}" for i in range(len(y))], array)
    assert submission.x.data.ptr == pointer
    assert submission.gpu == 0
    moved: list[int] = []
    download = cuda._gpu.download
    monkeypatch.setattr(cuda._gpu, "download", lambda a: moved.append(a.nbytes) or download(a))
    found, wanted = score_arrays(array, y, device=cuda), score_arrays(x, y, device=CPU)
    assert np.abs(found.fold_scores - wanted.fold_scores).max() <= SCORES
    assert max(moved) <= 8 * 4 * 40  # a few numbers for every fold
    assert score_arrays(array, y, folds=3).record.device == cuda.device  # auto follows the array
    with pytest.raises(InputError, match="features on cuda:0"):
        score_arrays(array, y, device="cpu")
    neuco = score_arrays(array, y, protocol=NEUCO)
    assert np.abs(neuco.fold_scores - score_arrays(x, y, protocol=NEUCO, device=CPU).fold_scores).max() <= REPLAYED


def test_values_on_the_gpu_are_checked_there(cp: Any) -> None:
    x, y = problem()
    x[3, 2] = np.nan
    with pytest.raises(InputError, match=r"row 3 .*column 2: found nan"):
        score_arrays(cp.asarray(x), y)
    with pytest.raises(InputError, match="int64"):
        score_arrays(cp.zeros((len(y), 2), dtype=np.int64), y)
    integers = score_arrays(cp.asarray(x[:, 3:].round().astype(np.int16)), y, folds=3)
    assert integers.record.n_failed == 0


def test_work_of_the_callers_stream_is_waited_for(cp: Any) -> None:
    x, y = problem(2000, 256)
    wanted = score_arrays(x, y, folds=5, device=CPU)
    with cp.cuda.Stream(non_blocking=True):
        for _ in range(5):
            array, delay = cp.zeros(x.shape, dtype=x.dtype), cp.ones((3000, 3000))
            for _ in range(10):
                delay = delay @ delay * 1e-4  # keeps the stream busy while the host goes on
            array[:] = cp.asarray(x) + 0 * delay[0, 0].astype(x.dtype)
            found = score_arrays(array, y, folds=5)
            assert np.abs(found.fold_scores - wanted.fold_scores).max() <= SCORES


def test_submissions_read_ahead_give_the_same_scores(cuda: Any, tmp_path: Path) -> None:
    _, y = problem()
    ids = [f"s{i}" for i in range(len(y))]
    paths = [tmp_path / f"{name}.npz" for name in "abcd"]
    for k, path in enumerate(paths):
        np.savez(path, id=ids, x=np.random.default_rng(k).standard_normal((len(y), 300)).astype(np.float32))
    benchmark = Benchmark.from_tasks([Task.from_arrays("t", "regression", ids, y)])
    assert_same(
        score(paths, benchmark, device=cuda, alpha=1.0), score(paths, benchmark, device=CPU, alpha=1.0), SCORES
    )  # fmt: skip


def test_a_callback_scores_tensors_where_they_are(cp: Any) -> None:
    x, y = problem()
    callback = ProbeCallback(y, every=2, folds=5)
    tensor = on_device("torch", x, cp)
    for step in range(4):
        callback(step, tensor * (step + 1))
    assert callback.steps == [0, 2]
    assert all(found.score.record.device.startswith("cuda:0") for found in callback.history)
    wanted = score_arrays(3 * x, y, folds=5, device=CPU)
    assert np.abs(callback.history[1].score.fold_scores - wanted.fold_scores).max() <= SCORES


CODE = """
import numpy as np
from fastprobe import score_arrays
rng = np.random.default_rng(0)
x = rng.standard_normal((3000, 512)).astype(np.float32)
for _ in range(5):
    print(repr(score_arrays(x, x[:, 0] + rng.standard_normal(3000), folds=20, device="cuda").q))
"""


def test_two_processes_share_a_gpu(cuda: Any) -> None:
    command = [sys.executable, "-c", CODE]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    first, second = (np.array(out.decode().split(), dtype=float) for out, _ in outputs)
    assert len(first) == 5
    assert np.abs(first - second).max() <= 1e-7
