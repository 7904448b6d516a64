"""Audits: scores of a run computed again from the original files, one naive refit after another.

Nothing is shared with the engine but the reading of files and protocols: samples are split
(:mod:`~fastprobe.audit.splits`), probes fitted (:mod:`~fastprobe.audit.ridge`, :mod:`~fastprobe.audit.logistic`,
:mod:`~fastprobe.audit.kernel`, :mod:`~fastprobe.audit.neuco`) and predictions scored
(:mod:`~fastprobe.audit.metrics`) by the plainest code that does what the documentation says, in float64 on the CPU.
"""

from __future__ import annotations

from fastprobe.audit.job import verify
from fastprobe.audit.report import Audit, Checked, Finding

__all__ = ["Audit", "Checked", "Finding", "verify"]
