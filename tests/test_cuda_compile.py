"""Every CUDA file compiles for every architecture, within its registers and without spilling any."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "kernels" / "cuda"
SOURCES = sorted(path.name for path in FOLDER.glob("*.cu"))
ARCHITECTURES = [
    "sm_90",
    pytest.param("sm_80", marks=pytest.mark.slow),
    pytest.param("sm_100", marks=pytest.mark.slow),
]

# Registers per thread that a kernel may have, on every architecture. A multiprocessor has 65,536: 256 threads with 128
# registers leave room for two blocks, with 80 for three, with 64 for four.
REGISTERS = {
    "standardize_gather_*": 80,
    "block_press": 128,
    "fold_metrics": 48,
    "adamw_replay_[1248]x1": 128,
    "adamw_replay_8x[24]": 255,
    "adamw_replay_wide": 128,
    "adamw_scalars": 48,
    "predict_linear": 128,
    "prefix_*": 255,
    "logistic_step": 64,
    "logistic_loss": 48,
    "softmax_step": 64,
}

USAGE = re.compile(
    r"Compiling entry function '(?P<kernel>\w+)' for '\w+'.*?"
    r"(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.DOTALL,
)


def limit_of(kernel: str) -> int:
    limits = [limit for pattern, limit in REGISTERS.items() if fnmatchcase(kernel, pattern)]
    assert len(limits) == 1, f"{kernel} has {len(limits)} rows in REGISTERS; give it one"
    return limits[0]


def test_there_is_something_to_compile() -> None:
    assert SOURCES


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("source", SOURCES)
def test_registers_and_spills(source: str, architecture: str, tmp_path: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("nvcc is not on PATH")
    command = ["nvcc", "-cubin", f"-arch={architecture}", "-std=c++17", "-Werror", "all-warnings", "-Xptxas", "-v"]
    command += ["-o", str(tmp_path / "out.cubin"), str(FOLDER / source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    found = list(USAGE.finditer(done.stderr))
    assert len(found) == done.stderr.count("Compiling entry function") > 0
    for usage in found:
        kernel = usage["kernel"]
        assert (usage["stores"], usage["loads"]) == ("0", "0"), f"{kernel} spills registers"
        assert usage["stack"] == "0", f"{kernel} keeps an array in local memory"
        assert int(usage["registers"]) <= limit_of(kernel), kernel


@cache
def load_nvrtc() -> ctypes.CDLL:
    """Find the compiler that CuPy uses: of the CUDA toolkit, or of a package that pip installed."""
    installed = [lib for path in sys.path for lib in Path(path).glob("nvidia/*/lib/libnvrtc.so.*[0-9]")]
    name = ctypes.util.find_library("nvrtc") or next(map(str, installed), None)
    if name is None:
        pytest.skip("NVRTC is not installed (pip install nvidia-cuda-nvrtc)")
    return ctypes.CDLL(name)


@pytest.mark.parametrize("source", SOURCES)
def test_nvrtc_needs_no_other_headers(source: str) -> None:
    nvrtc = load_nvrtc()
    program = ctypes.c_void_p()
    text = (FOLDER / source).read_bytes()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, source.encode(), 0, None, None) == 0
    options = [b"-std=c++17", b"-arch=compute_90", b"-I" + str(FOLDER).encode()]
    failed = nvrtc.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert not failed, log.value.decode()
