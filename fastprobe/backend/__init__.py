"""Backends: the few array operations that the probes need, on one device. A backend is an argument, never a global."""

from __future__ import annotations

from fastprobe.backend.base import Backend, Design, RowSets
from fastprobe.backend.select import check_device, get_backend

__all__ = ["Backend", "Design", "RowSets", "check_device", "get_backend"]
