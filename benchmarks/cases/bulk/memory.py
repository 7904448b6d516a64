"""Peak memory of a bulk run as a process, with few submissions and with many."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.cases.bulk.amounts import Amounts, Goals
from benchmarks.cases.bulk.data import BulkData
from benchmarks.cases.bulk.processes import run_command
from benchmarks.measure import Contestant, Outcome, race, run_process
from benchmarks.report import CaseReport, tabulate
from benchmarks.settings import Settings

__all__ = ["run"]

_MORE = 16 * Amounts.of(1).matrix_bytes  # flat: what is there for each score, and arenas, but no embeddings

_TEXT = """``fastprobe run`` on {few} and on {many} files of {n} x {d} (float32), each a process of its own: time from
start to end, and the largest resident set. Submissions on their way are in memory, and a few hundred bytes for each
score; what has been scored is not."""


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport
    """
    data, goals = BulkData.of(settings), Goals(settings.scale)
    amounts = data.amounts
    folders = data.blocks(amounts.blocks)

    def contestant(blocks: int, *, once: bool = False) -> Contestant:
        def work() -> Outcome:
            with tempfile.TemporaryDirectory(prefix="bulk-", dir=settings.cache) as name:
                command = run_command(folders[:blocks], data.big.labels, Path(name), folds=settings.n_folds)
                done = run_process(command, threads=settings.threads)
            return Outcome(seconds=done.seconds, peak_bytes=done.peak_bytes)

        return Contestant(f"{blocks * amounts.block} submissions", work, warm_up=not once, once=once)

    contestants = [contestant(1), contestant(amounts.blocks, once=True)]
    timings = race(contestants, repeat=min(settings.repeat, 2), budget=settings.budget, log=settings.log)
    rows = tabulate(contestants, timings, baseline=contestants[0].name, references={})
    few, many = (max(row.peak_bytes) for row in rows)
    more = amounts.submissions - amounts.block
    goal = goals.at_most(many - few, _MORE, lambda size: f"{size / 2**20:.0f} MiB")
    findings = (
        f"{more} more submissions need {(many - few) / 2**20:.1f} MiB more{goal}; their embeddings have "
        f"{more * amounts.matrix_bytes / 2**20:.0f} MiB",
    )
    text = _TEXT.format(few=amounts.block, many=amounts.submissions, n=amounts.n, d=amounts.d)
    facts = {"matrix_bytes": amounts.matrix_bytes}
    return CaseReport(
        "bulk-memory", "Memory of bulk runs", text, contestants[0].name, rows, findings, facts, goals.checks()
    )
