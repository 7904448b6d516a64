"""NeuCo-Bench's linear probe, replayed draw for draw: the same numbers, up to the order of float32 sums.

Describes NeuCo-Bench (https://github.com/embed2scale/NeuCo-Bench) at commit a89ba06, with torch's CPU generator and
torchmetrics' metrics. Neither is needed.
"""

from __future__ import annotations

from fastprobe.probes.neuco.prepare import Scaling, normalized, standardized
from fastprobe.probes.neuco.record import task_score
from fastprobe.probes.neuco.stream import Draws
from fastprobe.probes.neuco.training import Curves, ReplayTask, TaskReplay, make_draws, replay

__all__ = [
    "Curves",
    "Draws",
    "ReplayTask",
    "Scaling",
    "TaskReplay",
    "make_draws",
    "normalized",
    "replay",
    "standardized",
    "task_score",
]
