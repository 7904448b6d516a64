"""Kernel ridge: a path of strengths, Nyström features, and everything chosen inside every fold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np

from benchmarks.measure import Contestant, Outcome, Timing, race
from benchmarks.peers import kernel_refits, ours
from benchmarks.problem import IMPORTS, FoldScores, make_problem, restrict
from benchmarks.report import TOLERANCE, CaseReport, tabulate
from benchmarks.settings import Settings
from fastprobe.kernel_spec import KernelSpec
from fastprobe.protocol import Protocol

__all__ = ["ALPHAS", "LANDMARKS", "TASKS", "run"]

TASKS = ("landcover_agriculture", "landcover_forest")
ALPHAS = tuple(np.logspace(-2, 2.5, 10).tolist())
LANDMARKS = 1000

_TEXT = """The two landcover regressions of the workload, 40 ShuffleSplit folds, 10 strengths from 0.01 to 316, the
kernel rbf with gamma by the median distance, an unpenalised intercept; from standardised features to the R2 of every
fold. fastprobe is one call of the estimator ``KernelRidgeProbeCV``, which computes the kernel matrix, leaves out every
fold at every strength and then fits all rows once more. The others refit every fold at every strength, on some of the
folds; kernel matrices and Nyström features are made before the clock for them. The protocol ``kernel`` also chooses one
of three gammas and the strength inside the training rows of every fold. Differences are of fold scores, from
scikit-learn's refits with the same features."""

_PATH, _CHOSEN = f"fastprobe, {len(ALPHAS)} strengths", "fastprobe, protocol kernel"
_SKLEARN, _SCIPY = "scikit-learn KernelRidge", "SciPy, a Cholesky solve for each"
_LANDMARKS, _NYSTROEM = "fastprobe, Nyström features", "scikit-learn Nystroem and Ridge"


def _contestants(settings: Settings) -> list[Contestant]:
    workload = restrict(settings.workload, TASKS)
    problem = make_problem(workload, settings.n_folds).prepared()
    marks = max(10, round(LANDMARKS * settings.scale))
    measured, folds = settings.peer_folds, settings.n_folds
    protocol = Protocol(probe="kernel", alpha_grid=ALPHAS, kernel=KernelSpec())
    settings.log("  making kernel matrices and features for the peers, before the clock")
    kernels, features = kernel_refits.make_kernels(problem), kernel_refits.make_nystroem(problem, marks)

    def path(landmarks: int | None) -> Outcome:
        return Outcome(ours.kernel_path_scores(problem, ALPHAS, landmarks))

    def chosen() -> Outcome:
        found = ours.solve(workload, None, folds, protocol=protocol)
        return Outcome(found.scores, facts={"kernels": {n: r.fold_kernels for n, r in found.records.items()}})

    def refits(name: str, solve: Callable[[], FoldScores], tolerance: float | None, what: str) -> Contestant:
        return Contestant(
            name,
            lambda: Outcome(solve()),
            scale=folds / measured,
            note=f"{what}; measured on {measured} of {folds} folds",
            tolerance=tolerance,
            imports=("sklearn.kernel_ridge", "sklearn.linear_model", "scipy.linalg", *IMPORTS),
            once=True,
        )

    return [
        Contestant(_PATH, partial(path, None), tolerance=TOLERANCE, warm_up=True),
        Contestant(_CHOSEN, chosen, note=f"3 gammas and {len(ALPHAS)} strengths, chosen inside every fold", once=True),
        Contestant(_LANDMARKS, partial(path, marks), note=f"{marks} landmarks", tolerance=TOLERANCE, warm_up=True),
        refits(_SKLEARN, partial(kernel_refits.by_sklearn, kernels, ALPHAS, measured), None, "centred kernels"),
        refits(_SCIPY, partial(kernel_refits.by_scipy, kernels, ALPHAS, measured), TOLERANCE, "with the intercept"),
        refits(
            _NYSTROEM, partial(kernel_refits.by_sklearn_nystroem, features, ALPHAS, measured), None, "same landmarks"
        ),
    ]


def _findings(timings: Mapping[str, Timing]) -> tuple[str, ...]:
    seconds = {name: timing.median_seconds for name, timing in timings.items()}
    lines = [
        f"with the whole kernel, fastprobe is {seconds[peer] / seconds[_PATH]:.3g} times as fast as {peer} (scaled up)"
        for peer in (_SKLEARN, _SCIPY)
    ]
    gain = seconds[_NYSTROEM] / seconds[_LANDMARKS]
    lines.append(f"with Nyström features, it is {gain:.3g} times as fast as {_NYSTROEM} (scaled up)")
    whole, some = timings[_PATH].scores, timings[_LANDMARKS].scores
    assert whole is not None
    assert some is not None
    for name in TASKS:
        best = [float(by_alpha[name].mean(axis=1).max()) for by_alpha in (whole, some)]
        lines.append(f"best mean R2 of {name}: {best[0]:.4f} with the whole kernel, {best[1]:.4f} with landmarks")
    return tuple(lines)


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport
    """
    contestants = _contestants(settings)
    timings = race(contestants, repeat=settings.repeat, budget=settings.budget, log=settings.log)
    exact, features = timings[_SKLEARN].scores, timings[_NYSTROEM].scores
    assert exact is not None
    assert features is not None
    rows = tabulate(
        contestants,
        timings,
        baseline=_PATH,
        references={_PATH: exact, _SCIPY: exact, _LANDMARKS: features},
        baselines={_NYSTROEM: _LANDMARKS},
    )
    return CaseReport(
        "kernel",
        "Kernel ridge",
        _TEXT,
        f"{_PATH}; for {_NYSTROEM}, {_LANDMARKS}",
        rows,
        _findings(timings),
        {"alphas": ALPHAS, **{name: timing.facts for name, timing in timings.items() if timing.facts}},
    )
