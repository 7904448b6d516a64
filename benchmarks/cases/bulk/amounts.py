"""How much work the cases of bulk runs are, and the goals that were set for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.report import Check

__all__ = ["N_TASKS", "Amounts", "Goals"]

N_TASKS = 6


@dataclass(frozen=True)
class Amounts:
    """How much work there is.

    Attributes
    ----------
    n, d : int
        Samples and dimensions of a submission.
    block : int
        Submissions that a contestant is given in one turn.
    blocks : int
        Of the bulk of submissions; at least 2.
    kills : int
        Of a run of two blocks.
    worker_kills : int
        Of the workers of such a run.
    tiny : int
        Submissions of 30 x 3 that are finished when a run looks what is pending.
    """

    n: int
    d: int
    block: int
    blocks: int
    kills: int
    worker_kills: int
    tiny: int

    @classmethod
    def of(cls, scale: float) -> Amounts:
        """Amounts at a scale; 1 is what the goals were set for."""
        return cls(
            n=max(60, round(2000 * scale)),
            d=max(8, round(256 * scale)),
            block=max(6, round(100 * scale)),
            blocks=max(2, round(10 * scale)),
            kills=max(4, round(50 * scale)),
            worker_kills=max(2, round(20 * scale)),
            tiny=max(100, round(10_000 * scale)),
        )

    @property
    def submissions(self) -> int:
        """Submissions of the bulk."""
        return self.block * self.blocks

    @property
    def matrix_bytes(self) -> int:
        """Bytes of the embedding of a submission."""
        return self.n * self.d * 4


class Goals:
    """How figures stand to what they are to reach, in words and as a count.

    Parameters
    ----------
    scale : float
        Goals are set for scale 1 only.
    """

    def __init__(self, scale: float) -> None:
        self._in_force = scale == 1
        self._set = self._kept = 0

    def at_least(self, figure: float, goal: float, show: Callable[[float], str]) -> str:
        """Words to put behind a figure; none where no goal is set."""
        return self._told(figure >= goal, f"at least {show(goal)}")

    def at_most(self, figure: float, goal: float, show: Callable[[float], str]) -> str:
        """Words to put behind a figure; none where no goal is set."""
        return self._told(figure <= goal, f"at most {show(goal)}")

    def checks(self) -> tuple[Check, ...]:
        """Whether all that were set are kept."""
        if not self._set:
            return ()
        return (
            Check(f"the number of goals kept from that of goals set, {self._set}", float(self._set - self._kept), 0.0),
        )

    def _told(self, kept: bool, goal: str) -> str:
        if not self._in_force:
            return ""
        self._set += 1
        self._kept += kept
        return f" ({goal}: {'kept' if kept else 'missed'})"
