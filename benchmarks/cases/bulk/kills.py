"""A bulk run that is killed again and again, beside one that is left alone."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from benchmarks.cases.bulk.data import BulkData
from benchmarks.cases.bulk.processes import WatchedRun, draw_moment, run_command
from benchmarks.cases.bulk.rows import Differences, rows_on_disk
from benchmarks.measure import ROOT
from benchmarks.report import CaseReport, Check, Row
from benchmarks.settings import Settings

__all__ = ["run"]

_BLOCKS = 2  # of submissions, in the run
_IN_FLIGHT = 33  # at most: one is scored, 16 wait to be written, 16 are being written
_AT_START = 0.1  # of the kills come before a process has said anything
_SEED = 7
_ALONE = "left alone"

_TEXT = """One run of {count} submissions of {n} x {d}: left alone; and in processes that are ended by SIGKILL, {kills}
times, and begun again by the same command, until one ends by itself. Some are killed while they start, the others after
a random number of submissions and up to the time of one more. ``UnitScorer.score`` is patched to note every submission
that it begins with."""


@dataclass(frozen=True)
class Life:
    """A process of a run.

    Attributes
    ----------
    killed : bool
    seconds : float
    start_seconds : float
        Until it said what is pending; 0 if it did not.
    begun, told : tuple of str
        Submissions that began to be scored, and those that it said were.
    """

    killed: bool
    seconds: float
    start_seconds: float
    begun: tuple[str, ...]
    told: tuple[str, ...]

    def facts(self) -> dict[str, float]:
        """Return the same in numbers."""
        times = {"killed": self.killed, "seconds": self.seconds, "start_seconds": self.start_seconds}
        return times | {"begun": len(self.begun), "told": len(self.told), "lost": self.lost}

    @property
    def lost(self) -> int:
        """Submissions that were on their way when it ended."""
        return len(set(self.begun) - set(self.told))


class _Run:
    """A run that goes on in process after process.

    Parameters
    ----------
    data : BulkData
    folder : Path
        Made here.
    folds : int
    """

    def __init__(self, data: BulkData, folder: Path, folds: int) -> None:
        folder.mkdir()
        self.out, self._notes = folder / "run", folder / "notes"
        self._notes.touch()
        script = Path(__file__).with_name("counted.py")
        counted = ("-P", str(script), str(self._notes))  # without its folder in front of all others
        self._command = run_command(data.blocks(_BLOCKS), data.big.labels, self.out, folds=folds, start=counted)
        self.lives: list[Life] = []

    def live(self) -> None:
        """Have a process go on to its end."""
        with self._process() as process:
            self._note(process)

    def die_at_start(self, late: float) -> None:
        """Have a process begin, and kill it after so many seconds."""
        with self._process() as process:
            time.sleep(late)
            process.kill()
            self._note(process)

    def die(self, chance: random.Random, kills: int, late: float) -> None:
        """Have a process go on to the next of so many kills: some submissions later, and `late` seconds."""
        with self._process() as process:
            moment = -1
            for event in process.events():
                if event["event"] == "begun":
                    moment = draw_moment(chance, event["pending"], kills)
                if len(process.told) == moment:
                    time.sleep(late)
                    process.kill()
                    break
            self._note(process)

    def _process(self) -> WatchedRun:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        return WatchedRun(self._command, {"PYTHONPATH": path})

    def _note(self, process: WatchedRun) -> None:
        killed = not process.end()
        begun = self._notes.read_text().split()[sum(len(life.begun) for life in self.lives) :]
        life = Life(killed, process.seconds, process.start_seconds, tuple(begun), tuple(process.told))
        self.lives.append(life)

    @property
    def kills(self) -> int:
        """Processes that were killed."""
        return sum(life.killed for life in self.lives)

    @property
    def seconds(self) -> float:
        """Time of all processes."""
        return sum(life.seconds for life in self.lives)

    @property
    def repeated(self) -> int:
        """Submissions that began to be scored, once more than needed."""
        begun = Counter(name for life in self.lives for name in life.begun)
        return begun.total() - len(begun)

    @property
    def again(self) -> int:
        """Submissions that began to be scored after a process had said that they were."""
        told, found = set[str](), 0
        for life in self.lives:
            found += len(told & set(life.begun))
            told |= set(life.told)
        return found

    def row(self, name: str, alone: _Run) -> Row:
        """The run in the table."""
        columns = {
            "processes": f"{len(self.lives)}",
            "begun": f"{sum(len(life.begun) for life in self.lives)}",
            "repeated": f"{self.repeated}",
            "most for one kill": f"{max(life.lost for life in self.lives)}",
        }
        return Row(name, (self.seconds,), self.seconds, self.seconds / alone.seconds, columns=columns)


def run(settings: Settings) -> CaseReport:
    """Measure the case.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    CaseReport
    """
    data = BulkData.of(settings)
    amounts, chance = data.amounts, random.Random(_SEED)
    count, kills = amounts.block * _BLOCKS, amounts.kills
    with tempfile.TemporaryDirectory(prefix="bulk-", dir=settings.cache) as name:
        alone, killed = (_Run(data, Path(name) / each, settings.n_folds) for each in ("alone", "killed"))
        alone.live()
        (life,) = alone.lives
        one = (life.seconds - life.start_seconds) / count
        while killed.kills < kills and len(killed.lives) < 2 * kills:  # some may end before they are hit
            if chance.random() < _AT_START:
                killed.die_at_start(chance.random() * life.start_seconds)
            else:
                killed.die(chance, kills - killed.kills, chance.random() * one)
            settings.log(f"  killed {killed.kills} times, {killed.repeated} submissions repeated")
        killed.live()
        differences = Differences.between(rows_on_disk(killed.out), rows_on_disk(alone.out))
    hits = [life.lost for life in killed.lives if life.killed and life.begun]
    findings = (
        f"{killed.kills} kills, {len(hits)} of them while submissions were scored, had {killed.repeated} submissions "
        f"of {count} scored once more; on their way were {mean(hits or [0]):.2f} at each of these kills, "
        f"{max(hits, default=0)} at most",
    )
    checks = (
        differences.check("the scores of the killed run from those of the one left alone"),
        Check("the number of kills from the one that was wanted", float(kills - killed.kills), 0.0),
        Check("the number of submissions scored again after they were told to be from none", float(killed.again), 0.0),
        Check(
            f"the submissions that a kill cost above the {_IN_FLIGHT} in flight",
            max(0.0, max(hits, default=0) - _IN_FLIGHT),
            0.0,
        ),
    )
    facts = {each: [life.facts() for life in run.lives] for each, run in ((_ALONE, alone), ("killed", killed))}
    return CaseReport(
        "bulk-kills",
        "A bulk run, killed",
        _TEXT.format(count=count, n=amounts.n, d=amounts.d, kills=kills),
        _ALONE,
        (alone.row(_ALONE, alone), killed.row(f"killed {killed.kills} times", alone)),
        findings,
        facts,
        checks,
    )
