"""``fastprobe doctor``."""

from __future__ import annotations

from functools import partial

from fastprobe.cli import options
from fastprobe.cli.output import print_report
from fastprobe.cli.values import ReportFormat

__all__ = ["doctor"]


def doctor(format_: options.ReportFormatChoice = ReportFormat.TABLE) -> None:
    """Show devices, libraries and versions, and what to install where something is missing."""
    from fastprobe.cli.tables import diagnosis_layout
    from fastprobe.doctor import diagnose

    diagnosis = diagnose()
    print_report(format_, diagnosis.to_json(), partial(diagnosis_layout, diagnosis))
