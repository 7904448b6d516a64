"""Sweeps on arrays that refuse all that a GPU's would refuse, and on a stand-in for a GPU, give what the CPU gives."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
from cuda_standin import make_backend
from parity import COMPONENTS, SCORES, SWEEPS, assert_swept_alike, small, wide
from strict_namespace import Namespace

from fastprobe import Benchmark, Submission, sweep
from fastprobe.backend import get_backend
from fastprobe.backend.array import ArrayBackend
from fastprobe.backend.base import Backend

CPU = get_backend("cpu", threads=1)
INPUTS = {"small": small, "wide": wide}
LONG = {("chosen strength", "small"), ("chosen strength", "wide")}


def assert_like_the_cpu(backend: Backend, submissions: list[Submission], benchmark: Benchmark, name: str) -> None:
    options: dict[str, Any] = {"folds": 6, **SWEEPS[name]}
    found, wanted = (sweep(submissions, benchmark, device=b, **options) for b in (backend, CPU))
    assert_swept_alike(found, wanted, COMPONENTS if name.startswith("components") else SCORES)
    assert {row["device"] for row in found} == {backend.device}


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        pytest.param(name, inputs, marks=pytest.mark.slow if (name, inputs) in LONG else ())
        for name in SWEEPS
        for inputs in INPUTS
    ],
)
def test_strict_arrays(name: str, inputs: str) -> None:
    submission, benchmark = INPUTS[inputs]()
    assert_like_the_cpu(ArrayBackend(Namespace(), device="strict", budget=2**24), [submission], benchmark, name)


def test_strict_arrays_choose_strengths() -> None:
    submission, benchmark = small()
    options: dict[str, Any] = {"sizes": (1, 6), "alpha": "auto", "folds": 4, "fractions": (0.5, 1.0)}
    strict = ArrayBackend(Namespace(), device="strict", budget=2**24)
    found, wanted = (sweep([submission], benchmark, device=b, **options) for b in (strict, CPU))
    assert_swept_alike(found, wanted, SCORES)
    assert {len(row["fold_alphas"]) for row in found} == {4}


def test_strict_arrays_of_joined_submissions() -> None:
    submission, benchmark = small()
    other = Submission("other", submission.ids, np.cos(submission.x))
    assert_like_the_cpu(
        ArrayBackend(Namespace(), device="strict", budget=2**24), [submission, other], benchmark, "all sizes"
    )


def test_little_memory_gives_the_same() -> None:
    """So little that one or two folds are done at once."""
    submission, benchmark = wide()
    for name in ("all sizes", "fractions"):
        assert_like_the_cpu(ArrayBackend(np, device="small", budget=300_000), [submission], benchmark, name)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="the host build of the kernels needs g++")
@pytest.mark.parametrize("name", [name for name in SWEEPS if name != "chosen strength"])
def test_the_stand_in_for_a_gpu(name: str) -> None:
    """Kernels and all; those that choose strengths do nothing else, for a minute."""
    submission, benchmark = wide()
    assert_like_the_cpu(make_backend(), [submission], benchmark, name)
