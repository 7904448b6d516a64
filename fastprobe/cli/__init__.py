"""The command line: thin commands over the library."""

from __future__ import annotations

from fastprobe.cli.app import app, main

__all__ = ["app", "main"]
