"""Fastprobe and a peer in turn, and a comparison of their answers."""

from __future__ import annotations

from importlib.util import find_spec

from benchmarks.gpu.context import Context
from benchmarks.gpu.ledger import Finding, Missed, Skipped
from benchmarks.gpu.timing import readable
from benchmarks.measure import Contestant, Timing, race
from benchmarks.problem import largest_difference

__all__ = ["FEW_FOLDS", "beside", "chunk_bytes", "few_folds", "require"]

FEW_FOLDS = 2
"""Folds that slow peers are measured on."""


def require(module: str) -> None:
    """Raise :class:`Skipped` if a package is not installed."""
    if find_spec(module) is None:
        raise Skipped(f"missing: {module} is not installed")


def chunk_bytes(context: Context) -> int:
    """Bytes that a peer may take for what it solves at once."""
    target = context.target
    free = target.xp.cuda.Device().mem_info[0] if target.is_gpu else 4 << 30
    return min(8 << 30, free // 4)


def few_folds(context: Context) -> float:
    """Full work over that of a few folds."""
    return context.options.folds / FEW_FOLDS


def beside(context: Context, ours: Contestant, peer: Contestant, tolerance: float | None) -> Finding:
    """Let fastprobe and a peer take turns.

    Parameters
    ----------
    context : Context
    ours, peer : Contestant
        Both give scores.
    tolerance : float or None
        Largest difference of a fold score that is agreement; None to look at it only.

    Raises
    ------
    Missed
        If their answers differ.
    """
    budget = max(1.0, context.ledger.left / 4)
    timings = race([ours, peer], repeat=context.options.repeat, budget=budget, log=lambda _: None)
    mine, theirs = timings[ours.name], timings[peer.name]
    ratio = theirs.median_seconds / mine.median_seconds
    assert mine.scores is not None
    assert theirs.scores is not None
    difference = largest_difference(mine.scores, theirs.scores)
    part = "" if peer.scale == 1 else f" (on {FEW_FOLDS} of {context.options.folds} folds, scaled up)"
    text = (
        f"{readable(theirs.median_seconds)} per submission{part}, {ratio:.4g} times fastprobe's "
        f"{readable(mine.median_seconds)}; fold scores differ by {difference:.1e}"
    )
    values = {"peer": _values(theirs), "fastprobe": _values(mine), "ratio": ratio, "difference": difference}
    if tolerance is not None and not difference <= tolerance:
        raise Missed(Finding(f"{text}, more than {tolerance:.0e}", values))
    return Finding(text, values)


def _values(timing: Timing) -> dict[str, object]:
    return {
        "median_seconds": timing.median_seconds, "least_seconds": min(timing.seconds),
        "most_seconds": max(timing.seconds), "runs": len(timing.seconds), "cold_seconds": timing.cold_seconds,
    }  # fmt: skip
