"""Ridge probes: exact held-out residuals of every fold, task and strength, with the work shared between them."""

from __future__ import annotations

from fastprobe.probes.ridge.problem import HeldOut, RidgeProblem
from fastprobe.probes.ridge.solve import Solution, solve

__all__ = ["HeldOut", "RidgeProblem", "Solution", "solve"]
