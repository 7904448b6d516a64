"""The drop-in for NeuCo-Bench's ``python main.py``: its options, its config files, its result files.

Written against NeuCo-Bench (https://github.com/embed2scale/NeuCo-Bench) at commit a89ba06; nothing of it is needed.
"""

from __future__ import annotations

from fastprobe.compat.neuco.config import NeucoConfig
from fastprobe.compat.neuco.job import Finished, Job, run
from fastprobe.compat.neuco.probe import LinearProbe, load_probe

__all__ = ["Finished", "Job", "LinearProbe", "NeucoConfig", "load_probe", "run"]
