"""The default protocol on the whole workload: ridge and logistic probes, strengths chosen inside every fold."""

from __future__ import annotations

from benchmarks.binary import make_binary
from benchmarks.cases.process import score_command, scores_in
from benchmarks.measure import Contestant, Outcome, race, run_process
from benchmarks.peers import ours, sklearn_logistic, sklearn_ridge
from benchmarks.problem import IMPORTS, make_problem, restrict
from benchmarks.report import TOLERANCE, CaseReport, tabulate
from benchmarks.settings import Settings

__all__ = ["run"]

MEASURED = 1
"""Folds that the nested loop is measured on; one of them means 37 refits."""

_SHIPS = "ships"

_TEXT = """The protocol ``closed-form``, the default: ten regressions by ridge and the classification ships by a
logistic probe, the strength of every fold and task (of nine) chosen inside its training rows; from the matrix in
memory, and as a process of its own from the CSV. The nested scikit-learn loop follows the same rule on ships alone,
with newton-cholesky, the faster of its solvers there; it is measured on the first fold and scaled up to all of them.
Differences are of fold scores: the regressions from a nested loop of ``Ridge`` on the first fold, ships from the loop
of the table."""

_ALL, _PROCESS = "fastprobe, in memory", "fastprobe score, whole process"
_ONE, _NESTED = "fastprobe, ships alone", "scikit-learn, nested loop, ships"


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport
    """
    workload, folds = settings.workload, settings.n_folds
    ships = restrict(workload, [_SHIPS])
    task = make_binary(make_problem(ships, folds).prepared(), _SHIPS)
    command = score_command(settings, [str(settings.files.csv)], "closed-form")

    def process() -> Outcome:
        done = run_process(command, threads=settings.threads)
        (scores,) = scores_in(done.stdout).values()
        return Outcome(scores, done.seconds, done.peak_bytes)

    contestants = [
        Contestant(
            _ALL,
            lambda: Outcome(ours.solve(workload, None, folds, protocol="closed-form").scores),
            tolerance=TOLERANCE,
            warm_up=True,
        ),
        Contestant(_PROCESS, process, note="from the CSV to the table", tolerance=TOLERANCE, warm_up=True),
        Contestant(
            _ONE,
            lambda: Outcome(ours.solve(ships, None, folds, protocol="closed-form").scores),
            tolerance=TOLERANCE,
            warm_up=True,
        ),
        Contestant(
            _NESTED,
            lambda: Outcome(sklearn_logistic.nested_fold_scores(task, MEASURED)),
            scale=folds / MEASURED,
            note=f"measured on {MEASURED} of {folds} folds",
            imports=("sklearn.linear_model", *IMPORTS),
            once=True,
        ),
    ]
    timings = race(contestants, repeat=settings.repeat, budget=settings.budget, log=settings.log)
    nested = timings[_NESTED].scores
    assert nested is not None
    settings.log("  the nested loop of the regressions, for comparison")
    regressions = [task.name for task in workload.benchmark.tasks if task.kind == "regression"]
    others = make_problem(restrict(workload, regressions), folds).prepared()
    everything = {**sklearn_ridge.nested_fold_scores(others, MEASURED), **nested}
    rows = tabulate(
        contestants,
        timings,
        baseline=_ALL,
        references={_ALL: everything, _PROCESS: everything, _ONE: nested},
        baselines={_NESTED: _ONE},
    )
    seconds = {name: timing.median_seconds for name, timing in timings.items()}
    findings = (
        f"ships alone is scored {seconds[_NESTED] / seconds[_ONE]:.3g} times as fast as by the nested loop (scaled up)",
        f"the process needs {(timings[_PROCESS].median_peak_bytes or 0) / 2**20:.0f} MiB at its peak",
    )
    return CaseReport(
        "closed-form", "The default protocol", _TEXT, f"{_ALL}; for the nested loop, {_ONE}", rows, findings
    )
