"""The order of the parts, their shares of the time, and their processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from benchmarks.gpu.cases import PARTS
from benchmarks.gpu.child import ENVIRONMENT
from benchmarks.gpu.options import Options
from benchmarks.measure import ROOT
from fastprobe.files import write_text

__all__ = ["NoDevice", "PartResult", "Suite", "share"]

_LEAST = 5.0  # seconds below which a part is not begun: loading the libraries alone takes as long
_REFUSED = 2  # exit status of a part whose device cannot be opened
_RESERVE = 0.15  # of a part's time, in which it may finish what it has begun


class NoDevice(Exception):
    """The device cannot be opened; the message says why, and what to do."""


@dataclass(frozen=True)
class PartResult:
    """What came of a part.

    Attributes
    ----------
    part : str
    status : {"ok", "failed", "skipped"}
    reason : str
        Why the part as a whole was left out, or did not end.
    seconds : float
    entries : mapping of str to mapping
        See :class:`benchmarks.gpu.ledger.Entry`.
    """

    part: str
    status: Literal["ok", "failed", "skipped"]
    reason: str = ""
    seconds: float = 0.0
    entries: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def share(left: float, name: str, to_come: Sequence[str]) -> float:
    """Seconds for a part, of those that are left for it and all that come after it.

    Parameters
    ----------
    left : float
    name : str
    to_come : sequence of str
        The parts that are left, this one among them.
    """
    return left * PARTS[name].weight / sum(PARTS[other].weight for other in to_come)


class Suite:
    """Runs parts one after another within a time, each in a process of its own, and writes what they find.

    Parameters
    ----------
    options : Options
    out : Path
        Folder for the results; made when there is a first one.
    log : callable
    child : str
        Module that does a part.
    """

    def __init__(
        self, options: Options, out: Path, log: Callable[[str], None], *, child: str = "benchmarks.gpu.child"
    ) -> None:
        self._options, self._out, self._log, self._child = options, out, log, child
        self._deadline = time.monotonic() + options.budget
        self.environment: dict[str, Any] = {}

    def describe(self) -> None:
        """Open the device in a process of its own and describe it; NoDevice if that fails."""
        with tempfile.TemporaryDirectory(prefix="fastprobe-gpu-") as name:
            result = Path(name) / "result.json"
            seconds = max(60.0, self._left)
            status, words = self._start(ENVIRONMENT, result, Path(name), seconds, lambda line: None)
            if status != 0:
                said = words.strip().splitlines()[-1:] if status == _REFUSED else [_end(status, seconds, words)]
                raise NoDevice(*said)
            self.environment = json.loads(result.read_text())

    def run(self, parts: Sequence[str]) -> list[PartResult]:
        """Run parts, and write ``gpu-<part>.json`` after each."""
        results = []
        for i, name in enumerate(parts):
            self._log(f"{name}:")
            results.append(self._run(name, share(self._left, name, parts[i:])))
            self._write(results[-1])
        return results

    @property
    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def _run(self, name: str, seconds: float) -> PartResult:
        if seconds < _LEAST:
            reason = f"{seconds:.0f} of {self._options.budget:.0f} seconds were left for it"
            self._log(f"  SKIPPED: {reason}")
            return PartResult(name, "skipped", reason)
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="fastprobe-gpu-") as folder:
            result = Path(folder) / "result.json"
            status, words = self._start(name, result, Path(folder), seconds, self._log)
            entries = json.loads(result.read_text()) if result.is_file() else {}
        spent = time.monotonic() - start
        found = {entry["status"] for entry in entries.values()}
        if status == 0:
            outcome: Literal["ok", "failed", "skipped"] = "ok" if "ok" in found else "skipped"
            if "failed" in found:
                outcome = "failed"
            return PartResult(name, outcome, "", spent, entries)
        return PartResult(name, "failed", _end(status, seconds, words), spent, entries)

    def _start(
        self, name: str, result: Path, folder: Path, seconds: float, log: Callable[[str], None]
    ) -> tuple[int | None, str]:
        """Run a process; its exit status, None if it had to be stopped, and the last words of its standard error."""
        options, errors = folder / "options.json", folder / "stderr"
        self._options.write(options)
        work = seconds * (1 - _RESERVE)
        command = [sys.executable, "-m", self._child, name, str(options), str(result), str(work)]
        path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        with errors.open("wb") as stream:
            process = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stderr=stream, start_new_session=True
            )
            try:
                shown = 0
                status: int | None = None
                end = time.monotonic() + seconds
                while status is None and time.monotonic() < end:
                    shown = _pass_on(errors, shown, log)
                    try:
                        status = process.wait(timeout=0.2)
                    except subprocess.TimeoutExpired:
                        continue
                _pass_on(errors, shown, log)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)  # the session that the process leads: what it started, too
                    process.wait()
        return status, errors.read_text(errors="replace")[-4000:]

    def _write(self, result: PartResult) -> None:
        self._out.mkdir(parents=True, exist_ok=True)
        document = {**asdict(result), "options": self._options.shown(), "environment": self.environment}
        # NaN is not JSON; a value that is NaN must be seen all the same.
        plain = json.loads(json.dumps(document), parse_constant=str)
        write_text(self._out / f"gpu-{result.part}.json", json.dumps(plain, indent=1, allow_nan=False) + "\n")


def _pass_on(errors: Path, shown: int, log: Callable[[str], None]) -> int:
    """Log the whole lines that a process has written since the last look."""
    with errors.open("rb") as stream:
        stream.seek(shown)
        lines = stream.read().rpartition(b"\n")[0]
    for line in lines.decode(errors="replace").splitlines():
        log(line)
    return shown + len(lines) + 1 if lines else shown


def _end(status: int | None, seconds: float, words: str) -> str:
    """How a process ended that did not end well."""
    if status is None:
        how = f"stopped after {seconds:.0f} seconds"
    else:
        how = f"ended by signal {-status}" if status < 0 else f"ended with exit status {status}"
    return ": ".join([how, *words.strip().splitlines()[-1:]])
