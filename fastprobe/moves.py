"""What became of a submission between two leaderboards; see :mod:`fastprobe.movement`."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from typing import Any

from fastprobe.ranking import Standing

__all__ = ["CAUSES", "STEPS", "Move", "Share"]

CAUSES = ("departed", "rescored", "added", "weights", "tasks")
"""Why a submission may move."""

STEPS = ("tasks", "departed", "rescored", "added", "weights", "tasks")
"""The cause of every step, from the board then to the board now."""


@dataclass(frozen=True)
class Share:
    """What a cause did to a submission: now less then, so that a negative place is an improvement.

    Attributes
    ----------
    place : int
    mean_q, weighted_rank : Fraction
        Exact.
    """

    place: int
    mean_q: Fraction
    weighted_rank: Fraction

    @classmethod
    def between(cls, a: Standing, b: Standing) -> Share:
        """What was added to `a` to give `b`."""
        mean_q = Fraction(b.mean_q) - Fraction(a.mean_q)
        return cls(b.place - a.place, mean_q, Fraction(b.weighted_rank) - Fraction(a.weighted_rank))

    def __add__(self, other: Share) -> Share:
        return Share(self.place + other.place, self.mean_q + other.mean_q, self.weighted_rank + other.weighted_rank)

    def to_dict(self) -> dict[str, float]:
        """Return it as JSON values, fractions rounded."""
        return {"place": self.place, "mean_q": float(self.mean_q), "weighted_rank": float(self.weighted_rank)}


_NOTHING = Share(0, Fraction(), Fraction())


@dataclass(frozen=True)
class Move:
    """What became of a submission.

    Attributes
    ----------
    submission : str
    before, now : Standing or None
        None where it is not ranked.
    path : tuple of Standing
        Where it stands on the boards from the one then to the one now; empty if it is not ranked on both.
    scored_anew : bool
        It was scored then and now, but not for the same embedding and labels, or not with the same Q.
    note : str
        Why it was not ranked, or is not; empty if it is ranked on both.
    """

    submission: str
    before: Standing | None
    now: Standing | None
    path: tuple[Standing, ...]
    scored_anew: bool
    note: str

    @property
    def places(self) -> dict[str, int]:
        """Share of every cause in the move, in places; empty if it is not ranked on both boards."""
        if not self.path:
            return {}
        found = dict.fromkeys(CAUSES, 0)
        for cause, (a, b) in zip(STEPS, pairwise(self.path), strict=True):
            found[cause] += b.place - a.place
        return found

    @cached_property
    def shares(self) -> dict[str, Share]:
        """Share of every cause in the move; empty if it is not ranked on both boards."""
        if not self.path:
            return {}
        found = dict.fromkeys(CAUSES, _NOTHING)
        for cause, (a, b) in zip(STEPS, pairwise(self.path), strict=True):
            if a != b:
                found[cause] += Share.between(a, b)
        return found

    @property
    def change(self) -> int:
        """Place now less place then; 0 if it is not ranked on both boards."""
        return self.now.place - self.before.place if self.before and self.now else 0

    @property
    def why(self) -> str:
        """The shares in words, such as ``up 2 by the weights, down 1 by new submissions``; otherwise the note."""
        words = {
            "departed": "those who left",
            "rescored": "new scores (its own among them)" if self.scored_anew else "new scores of others",
            "added": "new submissions",
            "weights": "the weights",
            "tasks": "the tasks",
        }
        moved = [f"{_up_or_down(places)} by {words[cause]}" for cause, places in self.places.items() if places]
        return ", ".join(moved) or self.note or ("scored anew" if self.scored_anew else "")

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values, without the causes that did nothing to it."""
        return {
            "submission": self.submission,
            "before": self.before._asdict() if self.before else None,
            "now": self.now._asdict() if self.now else None,
            "scored_anew": self.scored_anew,
            "shares": {cause: share.to_dict() for cause, share in self.shares.items() if share != _NOTHING},
            "why": self.why,
        }


def _up_or_down(places: int) -> str:
    return f"up {-places}" if places < 0 else f"down {places}"
