"""What the command line decides, for every part of the suite."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = ["ALPHA", "Options"]

ALPHA = 100.0
"""Strength of the parts with one strength."""


@dataclass(frozen=True)
class Options:
    """Options of one run; plain values, so that a part can run in a process of its own.

    Attributes
    ----------
    device : str
        ``cuda``, ``cuda:N``; or ``cpu``, which rehearses the suite without a GPU.
    budget : float
        Seconds for everything.
    scale : float
        Factor on the samples and dimensions of the workload where speed is measured.
    parity_scale : float
        The same where answers are compared: the CPU computes them, too.
    folds : int
        Folds of every protocol.
    repeat : int
        Runs of which the median is taken, if time allows.
    data : str or None
        Folder of real data: ``<set>/submissions`` and ``<set>/labels``.
    neuco, neuco_python : str or None
        A checkout of NeuCo-Bench, and the interpreter for it.
    commit : str or None
        Commit of the checkout, where git cannot tell.
    """

    device: str = "cuda"
    budget: float = 480.0
    scale: float = 1.0
    parity_scale: float = 0.25
    folds: int = 40
    repeat: int = 20
    data: str | None = None
    neuco: str | None = None
    neuco_python: str | None = None
    commit: str | None = None

    def shown(self) -> dict[str, Any]:
        """What results say of the options: of a path only that it was given."""
        paths = ("data", "neuco", "neuco_python")
        return {name: value is not None if name in paths else value for name, value in asdict(self).items()}

    def write(self, path: Path) -> None:
        """Write as JSON."""
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Options:
        """Read what :meth:`write` wrote."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))
