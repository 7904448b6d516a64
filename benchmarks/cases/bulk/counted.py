"""``fastprobe`` with a note of every submission whose scoring begins: ``counted.py NOTES ARGUMENT...``.

Run as a script. A run tells what it has written; what it has computed and lost is seen here only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from fastprobe.cli import main
from fastprobe.embeddings import Submission
from fastprobe.results import TaskScore
from fastprobe.runs.scoring import UnitScorer


def _note_in(notes: str) -> None:
    """Have every call of UnitScorer.score add a line to a file: by one write, so that SIGKILL leaves it whole."""
    file = os.open(notes, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    score = UnitScorer.score

    def noted(scorer: UnitScorer, submission: Submission, tasks: Sequence[str], **options: Any) -> list[TaskScore]:
        os.write(file, f"{submission.name}\n".encode())
        return score(scorer, submission, tasks, **options)

    setattr(UnitScorer, "score", noted)  # noqa: B010  # mypy, rightly, lets nobody assign a method


if __name__ == "__main__":
    _note_in(sys.argv[1])
    sys.argv[1:] = sys.argv[2:]
    main()
