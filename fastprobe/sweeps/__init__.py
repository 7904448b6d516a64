"""Sweeps: every embedding size, strength, bit width and number of labels of a submission, in one pass."""

from __future__ import annotations
