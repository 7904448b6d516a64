"""Reading the CSV submission."""

from __future__ import annotations

import json
import sys

from benchmarks.csv_reader import digest
from benchmarks.measure import BenchmarkError, Contestant, Outcome, race, run_process
from benchmarks.peers import why_missing
from benchmarks.report import CaseReport, tabulate
from benchmarks.settings import Settings

__all__ = ["run"]

_TEXT = """From the CSV file to a float32 matrix, in a process of its own; imports are not counted in the time, but
they are in the peak memory. fastprobe also checks ids, header and values. The file is in the page cache."""

_NOTES = {
    "fastprobe": "Submission.read",
    "pandas": "read_csv with its defaults, then to_numpy(float32)",
    "pyarrow": "read_csv with its defaults, then a copy by columns",
}


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport

    Raises
    ------
    BenchmarkError
        If fastprobe does not read back the matrix that was written, bit for bit.
    """
    truth = digest(settings.workload.submission.x)
    csv = str(settings.files.csv)

    def contestant(reader: str) -> Contestant:
        def read() -> Outcome:
            done = run_process([sys.executable, "-m", "benchmarks.csv_reader", reader, csv], threads=settings.threads)
            found = json.loads(done.stdout)
            same = found["digest"] == truth
            return Outcome(seconds=found["seconds"], peak_bytes=done.peak_bytes, facts={"bit_for_bit": same})

        missing = None if reader == "fastprobe" else why_missing(reader)
        return Contestant(reader, read, note=_NOTES[reader], missing=missing, warm_up=True)

    contestants = [contestant(r) for r in _NOTES if r == "fastprobe" or r in settings.peers]
    timings = race(contestants, repeat=settings.repeat, budget=settings.budget, log=settings.log)
    if not timings["fastprobe"].facts["bit_for_bit"]:
        raise BenchmarkError("fastprobe: the matrix read from the CSV is not the matrix that was written")
    exact = [name for name, timing in timings.items() if timing.facts["bit_for_bit"]]
    matrix = settings.workload.submission.x.nbytes
    peak = timings["fastprobe"].median_peak_bytes or 0
    size = settings.files.csv.stat().st_size / 1e6
    findings = (
        f"read back bit for bit by: {', '.join(exact)}",
        f"the file has {size:.0f} MB; fastprobe's peak memory is {peak / matrix:.3g} times the matrix",
    )
    rows = tabulate(contestants, timings, baseline="fastprobe", references={})
    return CaseReport("read", "Reading a CSV submission", _TEXT, "fastprobe", rows, findings, {"bit_for_bit": exact})
