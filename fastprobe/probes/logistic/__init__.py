"""Logistic probes: all folds and strengths as columns of one Newton's method."""

from fastprobe.probes.logistic.problem import CONVERGED, LIMIT, SINGLE_CLASS, LogisticProblem, describe
from fastprobe.probes.logistic.select import select
from fastprobe.probes.logistic.solve import Fit, Solution, fit, solve

__all__ = [
    "CONVERGED",
    "LIMIT",
    "SINGLE_CLASS",
    "Fit",
    "LogisticProblem",
    "Solution",
    "describe",
    "fit",
    "select",
    "solve",
]
