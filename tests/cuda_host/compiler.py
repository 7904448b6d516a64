"""From a .cu file to a shared library with one entry point per kernel."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

__all__ = ["KernelError", "Library", "Parameter", "build", "parse_kernels"]

HERE = Path(__file__).resolve().parent
FLAGS = ["-std=c++17", "-O1", "-fPIC", "-fno-strict-aliasing", "-ffp-contract=off", "-U_FORTIFY_SOURCE"]
# Analyses across functions do not know that a barrier lets other threads run; the other flags keep messages readable.
FLAGS += ["-fno-ipa-reference", "-fno-ipa-pure-const", "-fno-ipa-modref", "-Wall", "-Werror"]
FLAGS += ["-Wno-unknown-pragmas", "-Wno-unused", "-Wno-address", "-Wno-clobbered", "-Wno-builtin-declaration-mismatch"]
FLAGS += ["-Wno-misleading-indentation"]
UNDEFINED = ["-fsanitize=undefined,float-cast-overflow", "-fno-sanitize=vptr,returns-nonnull-attribute"]

DTYPES = {
    "bool": np.bool_, "signed char": np.int8, "unsigned char": np.uint8, "short": np.int16, "unsigned short": np.uint16,
    "int": np.int32, "unsigned": np.uint32, "unsigned int": np.uint32, "long long": np.int64, "Int": np.int64,
    "unsigned long long": np.uint64, "float": np.float32, "double": np.float64, "Half": np.float16,
}  # fmt: skip

BOUNDS = r"(?:__launch_bounds__\s*\((?P<{}>[^()]*(?:\([^()]*\))?[^()]*)\)\s*)?"
KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+' + BOUNDS.format("before") + r"void\s+" + BOUNDS.format("after")
    + r"(?P<name>\w+)\s*\((?P<parameters>[^()]*)\)\s*\{"
)  # fmt: skip
PARAMETER = re.compile(
    r"(?P<const>const\s+)?(?P<type>\w+(?:\s+(?:char|short|int|long))*)\s*"
    r"(?P<pointer>\*)?\s*(?:const\s+)?(?:__restrict__\s+)?(?P<name>\w+)"
)


class KernelError(Exception):
    """A kernel, or a call of it, is wrong."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a kernel: a scalar, or a pointer to an array."""

    name: str
    ctype: str
    pointer: bool
    const: bool

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array or scalar that fits."""
        return np.dtype(DTYPES[self.ctype])


@dataclass(frozen=True)
class Kernel:
    """An entry point: its parameters, and the text of its launch bound or ''."""

    parameters: tuple[Parameter, ...]
    bounds: str


@dataclass(frozen=True, eq=False)
class Library:
    """A compiled .cu file."""

    kernels: dict[str, Kernel]
    dll: ctypes.CDLL


def parse_kernels(text: str) -> dict[str, Kernel]:
    """Find the kernels in preprocessed text."""
    found = {}
    for match in KERNEL.finditer(text):
        texts = [p for p in re.sub(r"\s+", " ", match["parameters"]).strip().split(",") if p]
        bounds = (match["before"] or match["after"] or "").split(",")[0].strip()
        found[match["name"]] = Kernel(tuple(_parameter(p.strip(), match["name"]) for p in texts), bounds)
    return found


def _parameter(text: str, kernel: str) -> Parameter:
    match = PARAMETER.fullmatch(text)
    if match is None or match["type"] not in DTYPES:
        raise KernelError(f"kernel {kernel}: cannot read the parameter {text!r}; known types: {', '.join(DTYPES)}")
    return Parameter(match["name"], match["type"], bool(match["pointer"]), bool(match["const"]))


@cache
def build(source: Path) -> Library:
    """Compile a .cu file, once per session; skips the test where there is no compiler."""
    if shutil.which("g++") is None:
        pytest.skip("g++ is not on PATH: kernels cannot be run on the host")
    if not source.is_file():
        raise KernelError(f"there is no {source}")
    preprocess = ["g++", "-std=c++17", "-E", "-P", "-x", "c++", "-DFASTPROBE_HOST", str(source)]
    kernels = parse_kernels(_run(preprocess))
    folder = Path(tempfile.mkdtemp(dir=_workspace().name))  # its own: a library is not loaded again from the same path
    wrapper, library = folder / f"{source.stem}.cpp", folder / f"{source.stem}.so"
    wrapper.write_text(_wrapper(source, kernels), encoding="utf-8")
    _run(["g++", *FLAGS, *UNDEFINED, "-I", str(HERE), "-c", str(wrapper), "-o", str(library) + ".o"])
    _run(["g++", "-shared", "-o", str(library), str(library) + ".o"])
    return Library(kernels, ctypes.CDLL(str(library)))


@cache
def _workspace() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="fastprobe-cuda-host-")


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KernelError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def _wrapper(source: Path, kernels: dict[str, Kernel]) -> str:
    """C++ that includes the kernels and calls each with arguments from an array of pointers.

    The anonymous namespace gives templates and inline functions internal linkage: GCC cannot place their static
    variables in one section with those of other functions.
    """
    lines = ['#include "shim.h"', "namespace {", f'#include "{source}"', "}"]
    for name, kernel in kernels.items():
        types = [f"{'const ' * p.const}{p.ctype}{'*' * p.pointer}" for p in kernel.parameters]
        values = ", ".join(f"*static_cast<{t}*>(args[{i}])" for i, t in enumerate(types))
        lines += [
            f'extern "C" const char* launch_{name}(void** args, const unsigned* grid, const unsigned* block,',
            "                                    unsigned long shared, bool backwards) {",
            f"    if (block[0] * block[1] * block[2] > {kernel.bounds or 1024})",
            f'        return "more threads in a block than its __launch_bounds__({kernel.bounds}) allow";',
            f"    auto body = [](void** args) {{ {name}({values}); }};",
            "    return cuda_host::run(body, args, grid, block, shared, backwards);",
            "}",
        ]
    lines += ['extern "C" unsigned long static_shared() {']
    lines += ["    return __start_cuda_shared ? __stop_cuda_shared - __start_cuda_shared : 0;", "}"]
    return "\n".join(lines) + "\n"
