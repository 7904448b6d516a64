"""Backends: the few array operations that the probes need, on one device. A backend is an argument, never a global."""

from __future__ import annotations

from fastprobe.backend.base import Backend, Design, RowSets
from fastprobe.backend.select import get_backend

__all__ = ["Backend", "Design", "RowSets", "get_backend"]
