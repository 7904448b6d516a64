"""What a part is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from benchmarks.gpu.ledger import Ledger
from benchmarks.gpu.options import Options
from benchmarks.gpu.target import Target
from benchmarks.workload import Workload, make_workload
from fastprobe.embeddings import Submission

__all__ = ["Context", "turned"]


@dataclass(frozen=True)
class Context:
    """Options, device and ledger of a part.

    Attributes
    ----------
    options : Options
    target : Target
    ledger : Ledger
    """

    options: Options
    target: Target
    ledger: Ledger

    @property
    def is_full(self) -> bool:
        """Whether goals, which were set for the full size on a GPU, say anything."""
        return self.options.scale == 1 and self.target.is_gpu

    @cached_property
    def workload(self) -> Workload:
        """The workload where speed is measured."""
        return make_workload(self.options.scale)

    @cached_property
    def small_workload(self) -> Workload:
        """The workload where answers are compared."""
        return make_workload(self.options.parity_scale)


def turned(submission: Submission, count: int) -> Iterator[Submission]:
    """Make other submissions of one, with its columns moved round.

    Ridge gives all of them the same scores, and to a cache they are different data.
    """
    for i in range(count):
        yield replace(submission, name=f"{submission.name}-{i}", x=np.roll(submission.x, i, axis=1))
