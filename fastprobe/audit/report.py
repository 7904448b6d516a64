"""What an audit found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from fastprobe.rows import json_ready
from fastprobe.views import ArrowViews

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Audit", "Checked", "Finding", "Kind"]

Kind = Literal["protocol", "labels", "embedding", "not checked", "fold score", "Q", "strength"]


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    Attributes
    ----------
    kind : str
        ``protocol``: the protocol of the scores, or its file of groups, is not what it says. ``labels``, ``embedding``:
        the file is not what was scored. ``not checked``: it is missing, or cannot be read. ``fold score``, ``Q``,
        ``strength``: the refit gives another one.
    submission, task : str
        Empty if it is about all.
    message : str
    """

    kind: Kind
    submission: str
    task: str
    message: str


@dataclass(frozen=True)
class Checked:
    """A score that was to be checked.

    Attributes
    ----------
    submission, task : str
    probe : str
        ``ridge``, ``logistic``, ``kernel`` or ``neuco``; empty if nothing was refitted.
    read : str
        The file or store that the embedding was read from; empty if it was not.
    n_folds, n_refitted : int
        Folds of the score, and those that were refitted.
    fold : int or None
        Where the fold score of the refit differs most.
    recorded, refitted, difference, tolerance : float or None
        There: the score in the record, that of the refit, the size of their difference, and what is allowed for.
    q, q_refitted, q_difference : float or None
        The same of Q, if all folds were refitted.
    n_undecided : int
        Folds in which samples whose decision value is 0 within rounding were taken to be decided as in the record.
    n_tied : int
        Folds in which the strength in the record is as good as that of the refit within rounding.
    agrees : bool
        Whether there is no finding about it.
    """

    submission: str
    task: str
    probe: str
    read: str
    n_folds: int
    n_refitted: int = 0
    fold: int | None = None
    recorded: float | None = None
    refitted: float | None = None
    difference: float | None = None
    tolerance: float | None = None
    q: float | None = None
    q_refitted: float | None = None
    q_difference: float | None = None
    n_undecided: int = 0
    n_tied: int = 0
    agrees: bool = False


@dataclass(frozen=True)
class Audit(ArrowViews):
    """Scores of a run beside naive refits from the original files.

    Attributes
    ----------
    run : str
        The folder.
    seed : int
        That drew the sample: the same seed, sample and folds make the same audit.
    n_scores : int
        Scores of the run.
    rows : tuple of Checked
        The sample, sorted by submission and task.
    findings : tuple of Finding
    remarks : tuple of str
        What else is worth knowing.
    protocol : mapping
        Of the scores, see :meth:`fastprobe.protocol.Protocol.to_dict`.
    """

    run: str
    seed: int
    n_scores: int
    rows: tuple[Checked, ...]
    findings: tuple[Finding, ...]
    remarks: tuple[str, ...] = ()
    protocol: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether everything in the sample could be checked, and agrees."""
        return not self.findings

    @property
    def n_checked(self) -> int:
        """Scores of which folds were refitted."""
        return sum(row.n_refitted > 0 for row in self.rows)

    @property
    def largest(self) -> Checked | None:
        """The score with the largest difference of a fold score; None if nothing was compared."""
        compared = [row for row in self.rows if row.difference is not None]
        return max(compared, key=_difference, default=None)

    @property
    def largest_difference(self) -> float | None:
        """Size of the largest difference of a fold score; None if nothing was compared."""
        return None if self.largest is None else self.largest.difference

    def to_dict(self) -> dict[str, Any]:
        """Return the audit as JSON values.

        ``{"run", "seed", "n_scores", "n_checked", "ok", "largest_difference", "protocol", "rows": [...], "findings":
        [...], "remarks": [...]}``, rows and findings with the fields of :class:`Checked` and :class:`Finding`.
        """
        document: dict[str, Any] = json_ready(
            {
                "run": self.run,
                "seed": self.seed,
                "n_scores": self.n_scores,
                "n_checked": self.n_checked,
                "ok": self.ok,
                "largest_difference": self.largest_difference,
                "protocol": self.protocol,
                "rows": [asdict(row) for row in self.rows],
                "findings": [asdict(finding) for finding in self.findings],
                "remarks": list(self.remarks),
            }
        )
        return document

    def to_json(self) -> str:
        """Return :meth:`to_dict` as one JSON document."""
        return json.dumps(self.to_dict(), indent=1, allow_nan=False)

    def to_arrow(self) -> pa.Table:
        """Return a table with the fields of :class:`Checked`, a row for each score, and its findings in `findings`."""
        import pyarrow as pa

        types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
        columns = {name: types[str(f.type).split(" | ")[0]] for name, f in Checked.__dataclass_fields__.items()}
        schema = pa.schema([*columns.items(), ("findings", pa.string())])
        records = [{**asdict(row), "findings": "; ".join(self.about(row))} for row in self.rows]
        return pa.Table.from_pylist(records, schema=schema)

    def about(self, row: Checked) -> Sequence[str]:
        """What was found about a score, or about all."""
        return [
            f"{finding.kind}: {finding.message}"
            for finding in self.findings
            if finding.submission in ("", row.submission) and finding.task in ("", row.task)
        ]


def _difference(row: Checked) -> float:
    assert row.difference is not None
    return row.difference
