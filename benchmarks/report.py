"""Results: one JSON document with every timing, and one Markdown table with ratios, per case."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Contestant, Timing
from benchmarks.problem import FoldScores, largest_difference
from fastprobe.files import write_text

__all__ = ["CaseReport", "Check", "Row", "disagreements", "tabulate", "to_markdown", "write_report"]

TOLERANCE = 1e-8
"""Largest difference of a fold score from scikit-learn's that float64 rounding explains, with room to spare."""


@dataclass(frozen=True)
class Row:
    """One contestant.

    Attributes
    ----------
    contestant : str
    seconds : tuple of float
        Every run, scaled to the full work; empty if the contestant did not run.
    median_seconds : float or None
    ratio : float or None
        Time over the baseline's time.
    cold_seconds : float or None
        A first run that is not among the others.
    peak_bytes : tuple of int
        Peak memory of every run in a process of its own.
    median_peak_bytes : float or None
    scale : float
        Full work over measured work.
    difference : float or None
        Largest difference from the reference answer.
    tolerance : float or None
        Largest difference that still is agreement; None where none is expected.
    note : str
    columns : mapping of str to str
        Cells of columns that this table has besides, by the head of the column.
    """

    contestant: str
    seconds: tuple[float, ...] = ()
    median_seconds: float | None = None
    ratio: float | None = None
    cold_seconds: float | None = None
    peak_bytes: tuple[int, ...] = ()
    median_peak_bytes: float | None = None
    scale: float = 1.0
    difference: float | None = None
    tolerance: float | None = None
    note: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def agrees(self) -> bool:
        """False only if agreement is expected and not there; a NaN never agrees."""
        if self.difference is None or self.tolerance is None:
            return True
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class Check:
    """A difference beside those of the rows.

    Attributes
    ----------
    what : str
        Of what; a reader completes "largest difference of".
    difference : float
    tolerance : float
        Largest difference that still is agreement.
    """

    what: str
    difference: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """False for a NaN as well."""
        return self.difference <= self.tolerance


@dataclass(frozen=True)
class CaseReport:
    """One table.

    Attributes
    ----------
    name : str
    title : str
    text : str
        What is measured, in a few sentences.
    baseline : str
        Contestant whose time is 1.
    rows : tuple of Row
    findings : tuple of str
        What the table says, in sentences.
    facts : mapping
        More numbers for the JSON document.
    checks : tuple of Check
        What must agree besides the rows.
    """

    name: str
    title: str
    text: str
    baseline: str
    rows: tuple[Row, ...]
    findings: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()


def tabulate(
    contestants: Sequence[Contestant],
    timings: Mapping[str, Timing],
    *,
    baseline: str,
    references: Mapping[str, FoldScores],
    relative_above: float = math.inf,
    baselines: Mapping[str, str] | None = None,
) -> tuple[Row, ...]:
    """Turn timings into rows.

    Parameters
    ----------
    contestants : sequence of Contestant
    timings : mapping
        As :func:`benchmarks.measure.race` returns them.
    baseline : str
        Contestant whose time is 1.
    references : mapping of str to FoldScores
        By contestant, the answer that its own is compared with; no comparison where there is none.
    relative_above : float
        See :func:`benchmarks.problem.largest_difference`.
    baselines : mapping of str to str, optional
        By contestant, another one whose time is 1 for it.

    Returns
    -------
    tuple of Row
        In the order of the contestants.
    """
    other = baselines or {}
    rows = []
    for contestant in contestants:
        if contestant.missing is not None:
            rows.append(Row(contestant.name, note=contestant.missing))
            continue
        timing = timings[contestant.name]
        reference = references.get(contestant.name)
        difference = None
        if reference is not None and timing.scores is not None:
            difference = largest_difference(timing.scores, reference, relative_above=relative_above)
        rows.append(
            Row(
                contestant=contestant.name,
                seconds=timing.seconds,
                median_seconds=timing.median_seconds,
                ratio=timing.median_seconds / timings[other.get(contestant.name, baseline)].median_seconds,
                cold_seconds=timing.cold_seconds,
                peak_bytes=timing.peak_bytes,
                median_peak_bytes=timing.median_peak_bytes,
                scale=contestant.scale,
                difference=difference,
                tolerance=contestant.tolerance,
                note=contestant.note,
            )
        )
    return tuple(rows)


def disagreements(report: CaseReport) -> list[str]:
    """Return one sentence for every contestant whose answer is not the reference's, and for every failed check."""
    rows = [
        f"{report.name}: {row.contestant} is {row.difference:.3g} off its reference, more than {row.tolerance:.0e}"
        for row in report.rows
        if not row.agrees
    ]
    return rows + [f"{report.name}: {_sentence(check)}" for check in report.checks if not check.agrees]


def _sentence(check: Check) -> str:
    verdict = "within" if check.agrees else "more than"
    return f"largest difference of {check.what}: {check.difference:.1e}, {verdict} {check.tolerance:.0e}"


def _seconds(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _cells(row: Row) -> dict[str, str]:
    runs = "" if not row.seconds else f"{len(row.seconds)}"
    time = ("≈ " if row.scale != 1 and row.seconds else "") + _seconds(row.median_seconds)
    spread = f"{_seconds(min(row.seconds))} to {_seconds(max(row.seconds))}" if len(row.seconds) > 1 else ""
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    memory = "" if row.median_peak_bytes is None else f"{row.median_peak_bytes / 2**20:.0f}"
    difference = "" if row.difference is None else f"{row.difference:.1e}" + ("" if row.agrees else " **DISAGREES**")
    return {
        "contestant": row.contestant,
        "seconds (median)": time,
        "range": spread,
        "runs": runs,
        "times baseline": ratio,
        "peak MiB": memory,
        "largest difference": difference,
        **row.columns,
        "note": row.note,
    }


def _table(rows: Sequence[Row]) -> list[str]:
    """Lines of the table; a column that is empty in every row says nothing and is left out."""
    cells = [_cells(row) for row in rows]
    heads = [head for head in dict.fromkeys(h for row in cells for h in row) if any(row.get(head) for row in cells)]
    if "note" in heads:  # rows with more columns than the first put theirs behind it
        heads.append(heads.pop(heads.index("note")))
    lines = ["| " + " | ".join(row.get(head, "") for head in heads) + " |" for row in cells]
    rule = "|" + "|".join("---" if head in ("contestant", "note") else "---:" for head in heads) + "|"
    return ["| " + " | ".join(heads) + " |", rule, *lines]


def _marked(check: Check) -> str:
    return _sentence(check) + ("" if check.agrees else " **DISAGREES**")


def _machine_lines(machine: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items() if number)
    blas = ", ".join(
        f"{b['internal_api']} {b.get('version')} ({b.get('architecture')}, {b['num_threads']} threads)"
        for b in machine["blas"]
        if b["user_api"] == "blas"
    )
    revision = (machine["revision"] or "none")[:12] + (" with changes" if machine["modified"] else "")
    return [
        f"- machine: {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}",
        f"- software: Python {machine['python']}, {versions}",
        f"- BLAS: {blas}",
        f"- revision: {revision}; {machine['date']}",
    ]


def to_markdown(report: CaseReport, machine: Mapping[str, Any], options: Mapping[str, Any]) -> str:
    """Return the table with its words.

    Parameters
    ----------
    report : CaseReport
    machine : mapping
        As :func:`benchmarks.machine.describe` returns it.
    options : mapping
        Options of the run, printed as they are.

    Returns
    -------
    str
    """
    scaled = (
        ["A time with ≈ was measured on part of the work and scaled up."]
        if any(r.scale != 1 for r in report.rows)
        else []
    )
    chosen = ", ".join(f"{name} {value}" for name, value in options.items())
    parts = [
        f"# {report.title}",
        report.text,
        "\n".join(_table(report.rows)),
        " ".join([f"Baseline: {report.baseline}.", *scaled]),
        "\n".join(f"- {line}" for line in (*report.findings, *map(_marked, report.checks))),
        "\n".join([*_machine_lines(machine), f"- options: {chosen}"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_report(report: CaseReport, machine: Mapping[str, Any], options: Mapping[str, Any], stem: Path) -> None:
    """Write ``<stem>.json`` and ``<stem>.md``.

    Parameters
    ----------
    report : CaseReport
    machine, options : mapping
        See :func:`to_markdown`.
    stem : Path
        Folder and name without suffix.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine, "options": options, "case": asdict(report)}
    # NaN is not JSON; a difference that is NaN must be seen all the same.
    text = json.dumps(json.loads(json.dumps(document), parse_constant=str), indent=2, allow_nan=False)
    write_text(stem.with_name(stem.name + ".json"), text + "\n")
    write_text(stem.with_name(stem.name + ".md"), to_markdown(report, machine, options))
