"""What a run was asked for, kept in its folder for whoever comes later: an audit, a leaderboard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import fastprobe
from fastprobe.files import write_text
from fastprobe.protocol import Protocol
from fastprobe.tasks import Benchmark

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """What a run was asked for.

    Attributes
    ----------
    labels : str or None
        Absolute path of the folder of labels; None if the benchmark was made in Python.
    tasks : tuple of str or None
        Names of the tasks that were asked for; None for all.
    lenient : bool
    protocol : mapping
        See :meth:`fastprobe.protocol.Protocol.to_dict`.
    version : str
        Of fastprobe.
    at : str
        Local time, ISO 8601.
    """

    labels: str | None
    tasks: tuple[str, ...] | None
    lenient: bool
    protocol: Mapping[str, Any]
    version: str
    at: str

    @classmethod
    def of(cls, benchmark: Benchmark, protocol: Protocol, *, lenient: bool) -> Settings:
        """Return what a run that begins now is asked for."""
        tasks = benchmark.names if benchmark.left_out else None
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        return cls(benchmark.source, tasks, lenient, protocol.to_dict(), fastprobe.__version__, now)

    @classmethod
    def read(cls, path: Path) -> Settings | None:
        """Read what :meth:`write` wrote; None for anything else."""
        try:
            found = cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        tasks = found.tasks
        return found if tasks is None else cls(**{**vars(found), "tasks": tuple(tasks)})

    def write(self, path: Path) -> None:
        """Write for others to read."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")
