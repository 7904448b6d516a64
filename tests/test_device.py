"""Choosing a device, saying why there is none, arrays that lie on one, and reading ahead to it."""

from __future__ import annotations

import logging
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fastprobe import Benchmark, DeviceError, InputError, Submission, Task, score, score_arrays
from fastprobe.backend import check_device, get_backend
from fastprobe.backend.cuda import presence
from fastprobe.backend.cuda.foreign import gpu_of
from fastprobe.cli.values import Device, one_of
from fastprobe.compat.torch import ProbeCallback
from fastprobe.reading import ReadAhead

COUNTING = """
    class runtime:
        @staticmethod
        def getDeviceCount():
            {answer}
    class cuda:
        runtime = runtime
    def is_available():
        return {available}
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Put a stand-in for CuPy in place that answers two questions, and a driver, or none."""

    def do(code: str | None, *, driver: tuple[int, int] | None = (13, 0), distributions: tuple[str, ...] = ()) -> None:
        monkeypatch.setattr(presence, "driver_version", lambda: driver)
        monkeypatch.setattr(presence, "installed", lambda: list(distributions))
        if code is None:
            monkeypatch.setattr(presence, "find_spec", lambda name: None)
            return
        (tmp_path / "cupy.py").write_text(textwrap.dedent(code))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "cupy", raising=False)

    before = sys.modules.get("cupy")
    yield do
    sys.modules.pop("cupy", None)
    if before is not None:
        sys.modules["cupy"] = before


def counting(answer: str, *, available: bool) -> str:
    return COUNTING.format(answer=answer, available=available)


CASES = {
    "neither": (None, None, (), ["neither an NVIDIA driver nor CuPy", "install the NVIDIA driver", "[cuda13]"]),
    "no cupy": (None, (13, 0), (), ["CuPy is not installed", "pip install 'fastprobe[cuda13]'"]),
    "no cupy, older driver": (None, (12, 4), (), ["CuPy is not installed", "pip install 'fastprobe[cuda12]'"]),
    "no cupy, old driver": (None, (11, 8), (), ["CuPy is not installed", "update the NVIDIA driver", "CUDA 11.8"]),
    "damaged": ("raise ImportError('no libcudart')", (13, 0), (), ["cannot be loaded", "no libcudart", "again"]),
    "two": (
        counting("return 1", available=True), (13, 0), ("cupy-cuda13x", "cupy-cuda12x"),
        ["cupy-cuda13x and cupy-cuda12x are installed", "pip uninstall cupy-cuda13x cupy-cuda12x"],
    ),
    "no driver": (counting("raise RuntimeError('old')", available=False), None, (), ["but no NVIDIA driver"]),
    "no device": (
        counting("raise RuntimeError('cudaErrorNoDevice')", available=False), (13, 0), (),
        ["cudaErrorNoDevice", "CUDA_VISIBLE_DEVICES"],
    ),
    "none counted": (counting("return 0", available=False), (13, 0), (), ["there is no GPU", "nvidia-smi"]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_without_a_gpu_cuda_is_an_error_and_auto_says_why(case: str, install, caplog) -> None:
    code, driver, distributions, words = CASES[case]
    install(code, driver=driver, distributions=distributions)
    with pytest.raises(DeviceError) as raised:
        check_device("cuda")
    text = str(raised.value)
    assert [word for word in (*words, "--device", "'cuda'", "auto or cpu", "--device cpu") if word not in text] == []
    caplog.set_level(logging.INFO, "fastprobe")
    assert get_backend("auto", threads=1).device.startswith("cpu")
    (line,) = (record.getMessage() for record in caplog.records)
    assert [word for word in (*words, "device auto: cpu") if word not in line] == []
    assert "\n" not in line


def test_the_number_of_a_gpu_is_checked(install) -> None:
    install(counting("return 2", available=True))
    check_device("cuda")
    check_device("cuda:1")
    with pytest.raises(DeviceError, match=r"there are 2 GPUs.*cuda:0 to cuda:1"):
        check_device("cuda:2")
    for name in ("gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", ""):
        with pytest.raises(InputError, match="cuda:N") as raised:
            check_device(name)
        assert not isinstance(raised.value, DeviceError)


def test_the_cpu_is_taken_without_a_look_at_gpus(install, caplog) -> None:
    install("raise SystemExit('loaded')")
    caplog.set_level(logging.INFO, "fastprobe")
    check_device("auto")
    check_device("cpu")
    assert get_backend("cpu", threads=1).device.startswith("cpu")
    assert caplog.records == []


def test_a_gpu_without_the_libraries_of_cuda_is_an_error_or_not_taken(install, caplog) -> None:
    install(counting("return 1", available=True))  # a CuPy that has nothing else
    caplog.set_level(logging.INFO, "fastprobe")
    assert get_backend("auto", threads=1).device.startswith("cpu")
    (line,) = (record.getMessage() for record in caplog.records)
    assert "not all libraries of CUDA" in line
    assert "pip install" in line
    with pytest.raises(DeviceError, match=r"not all libraries of CUDA.*pip install 'fastprobe\[cuda13\]'"):
        get_backend("cuda")


def test_names_of_devices_on_the_command_line() -> None:
    parse = one_of("--device", Device)
    assert [parse(name).value for name in ("auto", "cpu", "cuda", "cuda:3")] == ["auto", "cpu", "cuda", "cuda:3"]
    for name in ("cuda:", "cuda:x", "cuda:1:2", "tpu"):
        with pytest.raises(InputError, match="--device"):
            parse(name)


class OnGpu:
    """What another library's array on a GPU looks like from outside."""

    shape, dtype = (4, 2), np.dtype(np.float32)

    def __len__(self) -> int:
        return 4

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 1


def test_where_an_array_lies() -> None:
    assert gpu_of(np.ones(3)) is None
    assert gpu_of([1.0, 2.0]) is None
    assert gpu_of(OnGpu()) == 1


def test_an_array_on_a_gpu_that_cannot_be_used_is_an_error(install) -> None:
    install(None)
    y, ids = np.arange(4.0), list("abcd")
    with pytest.raises(DeviceError, match="an array on a GPU, but CuPy is not installed"):
        score_arrays(OnGpu(), y)
    with pytest.raises(DeviceError, match=r"submission 'team'.*copy the array to the host"):
        Submission.from_arrays("team", ids, OnGpu())
    with pytest.raises(InputError, match="to be repaired"):
        Submission.from_arrays("team", ids, OnGpu(), lenient=True)


def problem() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)).astype(np.float32)
    return x, x[:, 0] + 0.1 * rng.standard_normal(60)


def test_a_backend_can_be_used_again() -> None:
    x, y = problem()
    backend = get_backend("cpu", threads=1)
    first, second = (score_arrays(x, y, folds=3, device=backend) for _ in range(2))
    assert first.record.device == second.record.device == backend.device
    assert (first.fold_scores == second.fold_scores).all()


def test_submissions_are_brought_to_the_device_ahead_of_their_turn(tmp_path: Path, monkeypatch) -> None:
    x, y = problem()
    ids = [f"s{i}" for i in range(len(y))]
    for name in "abc":
        np.savez(tmp_path / f"{name}.npz", id=ids, x=x)
    backend, seen = get_backend("cpu", threads=1), []
    monkeypatch.setattr(backend, "prefetch", seen.append, raising=False)
    benchmark = Benchmark.from_tasks([Task.from_arrays("t", "regression", ids, y)])
    paths = [tmp_path / f"{name}.npz" for name in "abc"]
    score(paths, benchmark, folds=2, device=backend)
    assert 2 <= len(seen) <= 3  # the first may have been read before the device was there
    assert all((a == x).all() for a in seen)
    seen.clear()
    score(paths, benchmark, folds=2, protocol="neuco", device=backend)
    assert seen == []  # it standardises on the host


def test_prefetching_gets_the_very_array_of_the_submission(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", id=["x", "y"], x=np.ones((2, 3)))
    seen: list[int] = []
    ready = Submission("ready", ["x"], np.ones((1, 1)))
    ahead = ReadAhead([tmp_path / "a.npz", ready, tmp_path / "a.npz"])
    ahead.prefetch_with(lambda a: seen.append(id(a)))
    found = [id(submission.x) for submission in ahead]
    assert found[1:] == seen[-2:]


def test_a_callback_scores_every_few_steps() -> None:
    x, y = problem()
    callback = ProbeCallback(y, every=3, folds=4, alpha=1.0)
    made: list[int] = []
    for step in range(7):

        def embeddings(step: int = step) -> np.ndarray:
            made.append(step)
            return x * (step + 1)

        found = callback(step, embeddings)
        assert (found is None) == (step % 3 != 0)
    assert made == callback.steps == [0, 3, 6]
    wanted = score_arrays(x * 7, y, folds=4, alpha=1.0)
    assert (callback.history[-1].q, callback.history[-1].mean) == (wanted.q, wanted.mean)
    assert callback(9, x).score.record.n_features == 3  # the array itself will do
    with pytest.raises(InputError, match="every"):
        ProbeCallback(y, every=0)
    with pytest.raises(InputError, match="reshape"):
        callback(12, x[:-1])


def test_a_callback_takes_tensors() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    x, y = problem()
    callback = ProbeCallback(torch.tensor(y), folds=4, device="cpu")
    with_gradient = torch.tensor(x, requires_grad=True)
    assert callback(0, with_gradient).q == score_arrays(x, y, folds=4).q
    half = with_gradient.detach().bfloat16()
    assert callback(1, half).q == score_arrays(half.float().numpy(), y, folds=4).q
    assert with_gradient.grad is None
