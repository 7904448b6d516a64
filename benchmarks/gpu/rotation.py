"""Submissions that take turns, in the memory of host and device; their time each, and how it stands to a goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from benchmarks.gpu.batches import Score, pace
from benchmarks.gpu.context import Context, turned
from benchmarks.gpu.ledger import Finding
from benchmarks.gpu.timing import readable
from fastprobe.embeddings import Submission

__all__ = ["Inputs", "paced", "versus"]

_COUNT = 4  # submissions in rotation: 217 MB at full size, several times the cache


class Inputs:
    """The submission of the workload and others made of it.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self._context = context

    @cached_property
    def on_host(self) -> list[Submission]:
        """In memory as the system gives it."""
        return list(turned(self._context.workload.submission, _COUNT))

    @cached_property
    def on_device(self) -> list[Submission]:
        """In the memory of the device."""
        asarray = self._context.target.backend.asarray
        return [replace(submission, x=asarray(submission.x)) for submission in self.on_host]

    @cached_property
    def pinned(self) -> list[Submission]:
        """In pinned memory of the host; needs a GPU."""
        self._context.target.require_gpu()
        import cupyx

        found = []
        for submission in self.on_host:
            x = cupyx.empty_like_pinned(submission.x)
            x[:] = submission.x
            found.append(replace(submission, x=x))
        return found


def versus(seconds: float, at_most: float, aim: float | None = None) -> str:
    """How a time stands to its goals, in words."""
    goals = f"at most {readable(at_most)}" + ("" if aim is None else f", aim {readable(aim)}")
    verdict = "missed" if seconds > at_most else "kept" if aim is None or seconds > aim else "kept, aim reached"
    return f"({goals}: {verdict})"


def paced(
    context: Context, score: Score, inputs: Sequence[Submission], *, goals: tuple[float, ...] | None = None
) -> Finding:
    """Time submissions of one call.

    Parameters
    ----------
    context : Context
    score : callable
    inputs : sequence of Submission
    goals : tuple of float, optional
        Time that each may take, and time to aim at; for the full size on a GPU.
    """
    seconds = min(10.0, context.ledger.left / 4)
    found = pace(score, inputs, seconds=seconds, most=3 * context.options.repeat)
    text = (
        f"{readable(found.mean_seconds)} per submission, {1 / found.mean_seconds:.4g} a second; "
        f"the first of a call {readable(found.first_seconds)}"
    )
    if goals is not None and context.is_full:
        text += f" {versus(found.mean_seconds, *goals)}"
    return Finding(text, found.values())
