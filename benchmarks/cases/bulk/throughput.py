"""Bulk runs beside the engine in memory: the same submissions, block after block, in turns."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.cases.bulk.amounts import N_TASKS, Goals
from benchmarks.cases.bulk.data import BulkData, into_store
from benchmarks.cases.bulk.engine import FILES, MEMORY, STORE, Engine, Turn
from benchmarks.cases.bulk.rows import Differences
from benchmarks.report import CaseReport, Check, Row
from benchmarks.settings import ALPHA, Settings
from fastprobe.backend import get_backend
from fastprobe.protocol import Protocol

__all__ = ["run"]

_SHARE = 0.85  # of the throughput in memory, at least
_WARM_UP = 5  # submissions of each contestant before the clock
_STORE_EVERY = 2  # blocks: to ingest one takes half as long as to score it
_CLOSED_FORM = 4, 2  # submissions, and rounds; the default protocol takes seconds for each

_TEXT = """{submissions} submissions of {n} x {d} (float32) with {tasks} tasks on all samples, {folds} folds, in blocks
of {block}. In memory: one call of ``fastprobe.score`` on the arrays of a block, which are there and hashed before the
clock. A run: ``fastprobe.runs.run`` in the same process with the same threads, from the files of a block, or a store of
every second block, to Parquet files in a new folder, put together at the end. Contestants take turns with every block,
and each begins some. Files are in the page cache. Protocol ``ridge`` at alpha {alpha:g}; and ``closed-form``, the
default, with {few} submissions. Seconds are those of a block, ratios medians over the blocks of the time on a block to
that in memory on the same one."""


class Race:
    """Contestants that take turns with blocks.

    Parameters
    ----------
    protocol : str
        Its name, behind that of every contestant.
    log : callable
    """

    def __init__(self, protocol: str, log: Callable[[str], None]) -> None:
        self._protocol, self._log = protocol, log
        self._turns: dict[str, list[Turn]] = {}
        self._ratios: dict[str, list[tuple[float, float]]] = {}  # of wall time and CPU time to those in memory
        self._differences: dict[str, Differences] = {}

    def go(self, contestants: Mapping[str, Callable[[], Turn]], first: int) -> None:
        """Let all have their turn; number `first` begins, counted round and round."""
        names = list(contestants)
        first %= len(names)
        found = {name: contestants[name]() for name in (*names[first:], *names[:first])}
        memory = found[MEMORY]
        for name in names:
            turn = found[name]
            self._log(f"  {self.title(name)}: {turn.seconds:.3g} s")
            ratios = turn.seconds / memory.seconds, turn.cpu_seconds / memory.cpu_seconds
            self._turns.setdefault(name, []).append(turn)
            self._ratios.setdefault(name, []).append(ratios)
            differences = Differences.between(turn.rows, memory.rows)
            self._differences[name] = self._differences.get(name, Differences()) + differences

    def title(self, name: str) -> str:
        """Name of a row."""
        return f"{name}, {self._protocol}"

    def shares(self, name: str) -> list[float]:
        """Throughput of a contestant on every block, as a share of that in memory."""
        return [1 / ratio for ratio, _ in self._ratios[name]]

    def rows(self) -> list[Row]:
        """One for each contestant."""
        return [self._row(name, turns) for name, turns in self._turns.items()]

    def _row(self, name: str, turns: list[Turn]) -> Row:
        seconds, shares = tuple(turn.seconds for turn in turns), self.shares(name)
        columns = {
            "submissions": f"{sum(turn.count for turn in turns)}",
            "a second": f"{median(turn.count / turn.seconds for turn in turns):.3g}",
            "throughput": f"{median(shares):.1%}",
            "from, to": "" if name == MEMORY else f"{min(shares):.1%}, {max(shares):.1%}",
            "times CPU time": f"{median(cpu for _, cpu in self._ratios[name]):.3g}",
        }
        ratio = median(wall for wall, _ in self._ratios[name])
        return Row(self.title(name), seconds, median(seconds), ratio, columns=columns)

    def checks(self) -> list[Check]:
        """Whether runs gave the rows that the engine gives in memory."""
        names = [name for name in self._turns if name != MEMORY]
        return [
            self._differences[name].check(f"the scores of {self.title(name)} from those in memory") for name in names
        ]

    def facts(self) -> dict[str, Any]:
        """All ratios, and what a submission takes."""
        return {name: self._facts(name, turns) for name, turns in self._turns.items()}

    def _facts(self, name: str, turns: list[Turn]) -> dict[str, Any]:
        return {
            "ratios": [wall for wall, _ in self._ratios[name]],
            "cpu_ratios": [cpu for _, cpu in self._ratios[name]],
            "seconds": [turn.seconds / turn.count for turn in turns],
            "cpu_seconds": [turn.cpu_seconds / turn.count for turn in turns],
            "stages": {stage: median(t.stages[stage] / t.count for t in turns) for stage in turns[0].stages},
            "bytes_written": {k: median(t.bytes_written[k] / t.count for t in turns) for k in turns[0].bytes_written},
        }


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
    settings.log("  submissions as files")
    data.blocks(amounts.blocks)
    with tempfile.TemporaryDirectory(prefix="bulk-", dir=settings.cache) as name:
        ridge, figures = _ridge(data, settings, Path(name))
        default = _closed_form(data, settings, Path(name))
    facts = {"ridge": ridge.facts(), "closed-form": default.facts(), "a_submission": figures}
    stages = facts["ridge"][FILES]["stages"]
    findings = []
    for name in (FILES, STORE):
        share = median(ridge.shares(name))
        goal = goals.at_least(share, _SHARE, "{:.0%}".format)
        findings.append(f"{ridge.title(name)}: {share:.1%} of the throughput in memory{goal}")
    findings += [
        f"{default.title(FILES)}: {median(default.shares(FILES)):.1%} of it",
        "a submission takes, in threads of which each waits for the slowest: "
        + ", ".join(f"{stage} {1000 * stages[stage]:.1f} ms" for stage in ("read", "solve", "write"))
        + f"; of writing, {1000 * figures['journal_s']:.2f} ms are the journals",
        f"its file has {figures['npz_bytes'] / 1e6:.2f} MB; its scores {figures['score_bytes'] / 1e3:.1f} kB at first, "
        f"{facts['ridge'][FILES]['bytes_written']['score_bytes'] / 1e3:.1f} kB when the run has ended",
    ]
    return CaseReport(
        "bulk",
        "Bulk runs beside the engine in memory",
        _TEXT.format(
            submissions=amounts.submissions, n=amounts.n, d=amounts.d, tasks=N_TASKS, folds=settings.n_folds,
            block=amounts.block, alpha=ALPHA, few=_CLOSED_FORM[0],
        ),
        f"{MEMORY}, of each protocol",
        (*ridge.rows(), *default.rows()),
        tuple(findings),
        facts,
        (*ridge.checks(), *default.checks(), *goals.checks()),
    )  # fmt: skip


def _ridge(data: BulkData, settings: Settings, scratch: Path) -> tuple[Race, dict[str, float]]:
    """All blocks at one strength, and what one submission costs."""
    protocol = Protocol.named("ridge").with_options(alpha=ALPHA, folds=settings.n_folds)
    engine = Engine(protocol, data.big.benchmark, get_backend("cpu"), scratch)
    folders = data.blocks(data.amounts.blocks)
    few = sorted(folders[0].glob("*.npz"))[:_WARM_UP]
    for warm_up in engine.contestants(few, None).values():
        warm_up()
    race, store_bytes = Race("ridge", settings.log), 0
    for number, folder in enumerate(folders):
        with tempfile.TemporaryDirectory(dir=scratch) as place:
            store = None
            if number % _STORE_EVERY == 0:
                store = into_store(folder, Path(place) / "block.zarr")
                store_bytes = sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
            race.go(engine.contestants(sorted(folder.glob("*.npz")), store), number)
    return race, {
        "matrix_bytes": data.amounts.matrix_bytes,
        "npz_bytes": few[0].stat().st_size,
        "store_bytes": store_bytes / data.amounts.block,
        **engine.figures(few),
    }


def _closed_form(data: BulkData, settings: Settings, scratch: Path) -> Race:
    """A few submissions under the default protocol."""
    protocol = Protocol.named("closed-form").with_options(folds=settings.n_folds)
    engine = Engine(protocol, data.big.benchmark, get_backend("cpu"), scratch)
    race, (count, rounds) = Race("closed-form", settings.log), _CLOSED_FORM
    files = sorted(data.blocks(1)[0].glob("*.npz"))[:count]
    for number in range(rounds):
        race.go(engine.contestants(files, None), number)
    return race
