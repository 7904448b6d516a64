"""Kernel ridge with an unpenalised intercept, and ridge on Nyström features of a kernel."""

from __future__ import annotations

from fastprobe.probes.kernel.candidates import candidates, drawn_rows
from fastprobe.probes.kernel.exact import KernelFit, solve
from fastprobe.probes.kernel.functions import Frame, Kernel, Points
from fastprobe.probes.kernel.memory import require_memory
from fastprobe.probes.kernel.nystroem import Landmarks
from fastprobe.probes.kernel.problem import KernelProblem
from fastprobe.probes.kernel.search import Best, Search

__all__ = [
    "Best",
    "Frame",
    "Kernel",
    "KernelFit",
    "KernelProblem",
    "Landmarks",
    "Points",
    "Search",
    "candidates",
    "drawn_rows",
    "require_memory",
    "solve",
]
