"""The tests marked ``gpu``, by pytest in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding, Missed, Skipped
from benchmarks.gpu.recorder import RECORD
from benchmarks.measure import ROOT

__all__ = ["modules_with_marker", "run", "run_pytest"]

_MARKER = re.compile(r"\bmark\.gpu\b")
_SHOWN = 40  # failures of which the JSON document tells the reason


def modules_with_marker(folder: Path) -> list[Path]:
    """Test modules that use the marker, themselves or through a module beside them that does.

    Only these are loaded: others need what a bare machine lacks.
    """
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.py"))}
    marked = {path for path, text in texts.items() if _MARKER.search(text)}
    helpers = {path.relative_to(folder).with_suffix("").as_posix().replace("/", ".") for path in marked}
    return [
        path
        for path, text in texts.items()
        if path.name.startswith("test_") and (path in marked or any(f"from {name} import" in text for name in helpers))
    ]


def run_pytest(modules: Sequence[Path], marker: str, seconds: float) -> Finding:
    """Run the tests of some modules that have a marker.

    Parameters
    ----------
    modules : sequence of Path
    marker : str
    seconds : float
        After which the tests are stopped; what was found until then is kept.

    Returns
    -------
    Finding
        ``passed`` counts; ``failed`` and ``skipped`` tell names and reasons.

    Raises
    ------
    Missed
        If a test failed, or the tests did not come to their end.
    """
    with tempfile.TemporaryDirectory(prefix="fastprobe-gpu-") as name:
        record, output = Path(name) / "record", Path(name) / "output"
        record.touch()
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "benchmarks.gpu.recorder", "-p", "no:cacheprovider",
            "--continue-on-collection-errors", "-m", marker,
            "-W", "default",  # warnings of whatever versions this machine has are no failures
            *map(str, modules),
        ]  # fmt: skip
        env = {**os.environ, RECORD: str(record), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        with output.open("wb") as stream:
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=stream, stderr=subprocess.STDOUT)
            try:
                status: int | None = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                status = None
            finally:
                process.kill()
                process.wait()
        lines = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()]
        words = output.read_text(errors="replace")
    return _finding(lines, status, seconds, words)


def _finding(lines: list[dict[str, Any]], status: int | None, seconds: float, words: str) -> Finding:
    ended = {line["test"] for line in lines if line["outcome"] != "begun"}
    under_way = [line["test"] for line in lines if line["outcome"] == "begun" and line["test"] not in ended]
    passed = sum(line["outcome"] == "passed" for line in lines)
    failed = [line for line in lines if line["outcome"] in ("failed", "error")]
    skipped = Counter(line["reason"] for line in lines if line["outcome"] == "skipped")
    text = f"{passed} passed, {len(failed)} failed, {skipped.total()} skipped"
    values = {
        "passed": passed,
        "n_failed": len(failed),
        "failed": [{key: line[key] for key in ("test", "reason")} for line in failed[:_SHOWN]],
        "skipped": dict(skipped),
        "slowest": [
            [line["test"], round(line["seconds"], 2)] for line in sorted(lines, key=lambda line: -line["seconds"])[:5]
        ],
        "exit_status": status,
    }
    if status is None or status not in (0, 1, 5):
        how = f"stopped after {seconds:.0f} seconds" if status is None else f"pytest ended with {status}"
        where = f" in {under_way[-1]}" if under_way else ""
        raise Missed(Finding(f"{text}; {how}{where}", {**values, "last_words": words[-2000:]}))
    if failed:
        raise Missed(Finding(f"{text}; first {failed[0]['test']}: {failed[0]['reason']}", values))
    if not passed:
        raise Missed(Finding(f"{text}: nothing was tested", values))
    return Finding(text, values)


def run(context: Context) -> None:
    """Run all tests marked ``gpu``."""

    def work() -> Finding:
        if find_spec("pytest") is None:
            raise Skipped("pytest is not installed")
        context.target.require_gpu()
        modules = modules_with_marker(ROOT / "tests")
        if not modules:
            raise Skipped("there are no tests in this checkout")
        return run_pytest(modules, "gpu", max(1.0, context.ledger.left))

    context.ledger.measure("pytest -m gpu", work)
