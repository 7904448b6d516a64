"""``gpu.md``: all parts in one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.gpu.suite import PartResult

__all__ = ["failures", "to_markdown"]


def failures(results: Sequence[PartResult]) -> list[str]:
    """One line for everything that failed."""
    found = []
    for result in results:
        if result.status == "failed" and result.reason:
            found.append(f"{result.part}: {result.reason}")
        bad = ((name, entry) for name, entry in result.entries.items() if entry["status"] == "failed")
        found += [f"{result.part}, {name}: {entry['text']}" for name, entry in bad]
    return found


def to_markdown(results: Sequence[PartResult], environment: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return the page.

    Parameters
    ----------
    results : sequence of PartResult
    environment : mapping
        As :func:`benchmarks.gpu.environment.describe_target` returns it.
    options : mapping
        As :meth:`benchmarks.gpu.options.Options.shown` returns them.
    """
    lost = failures(results)
    verdict = f"{len(lost)} failed:" if lost else "nothing failed"
    if environment["rehearsal"]:
        verdict = f"a rehearsal without a GPU, whose times say nothing; {verdict}"
    parts = ["# GPU suite", verdict[0].upper() + verdict[1:], "\n".join(f"- {_cell(line)}" for line in lost)]
    parts += [_part(result) for result in results]
    parts.append("\n".join(["## Machine", "", *_machine(environment), f"- options: {_pairs(options)}"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _part(result: PartResult) -> str:
    lines = [f"## {result.part} ({result.status}, {result.seconds:.0f} s)"]
    if result.reason:
        lines += ["", _cell(result.reason)]
    if result.entries:
        lines += ["", "| what | | found |", "|---|---|---|"]
        lines += [f"| {name} | {e['status']} | {_cell(e['text'])} |" for name, e in result.entries.items()]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _machine(environment: Mapping[str, Any]) -> list[str]:
    revision = (environment["revision"] or "unknown")[:12] + (" with changes" if environment["modified"] else "")
    return [
        f"- device: {_pairs(environment['device'])}",
        f"- host: {environment['cpu']}, {environment['cores']} cores, {environment['memory_gib']} GiB, "
        f"{environment['system']}",
        f"- software: Python {environment['python']}, {_pairs(environment['versions'])}",
        f"- commit: {revision}; {environment['date']}",
    ]
