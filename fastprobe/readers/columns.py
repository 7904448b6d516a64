"""Which column of a file is the id and which are features: the rules that NeuCo-Bench applies to such files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from fastprobe.errors import InputError
from fastprobe.readers.table import shorten
from fastprobe.readers.validation import check_width

__all__ = ["Layout", "lay_out"]


@dataclass(frozen=True)
class Layout:
    """The columns of a file.

    Attributes
    ----------
    names : tuple of str
        All columns, in the order of the file.
    id_column : int
        Position of the column ``id``.
    features : tuple of int
        Positions of the feature columns, in the order of the embedding's dimensions.
    repairs : dict of str to int
        Surplus columns that were left out (``lenient`` only).
    """

    names: tuple[str, ...]
    id_column: int
    features: tuple[int, ...]
    repairs: dict[str, int]

    @property
    def feature_names(self) -> list[str]:
        """Names of the feature columns, in the order of the embedding's dimensions."""
        return [self.names[j] for j in self.features]


def lay_out(names: Sequence[str], where: str, *, lenient: bool = False) -> Layout:
    """Find the id column and the feature columns.

    Columns whose names are digits are the features, sorted as integers; if there are none, all columns but ``id`` are.

    Parameters
    ----------
    names : sequence of str
    where : str
        The file, and the line of the header if it has one.
    lenient : bool
        Leave out columns that stand beside digit-named ones, or repeat one, and close gaps in the numbering, as
        NeuCo-Bench does.

    Raises
    ------
    InputError
        If there is no column ``id``, a name appears twice, digit-named columns have gaps or other columns beside them,
        or there are no features, or too many.
    """
    counts = Counter(names)
    if counts["id"] != 1:
        listed = ", ".join(shorten(n, 24) for n in names[:6]) + (", ..." if len(names) > 6 else "")
        raise InputError(
            where,
            found=f"{counts['id'] or 'no'} column{'s' * (counts['id'] > 1)} named 'id' (columns: {listed})",
            expected="exactly one column named 'id' and comma-separated features, such as id,0,1,2",
            fix="name the column of the sample ids 'id'",
        )
    id_column = list(names).index("id")
    others = [j for j in range(len(names)) if j != id_column]
    digits = [j for j in others if names[j].isascii() and names[j].isdigit()]
    repairs: dict[str, int] = {}
    if digits:
        features = _numbered(names, digits, where, lenient=lenient)
        if len(features) < len(others):
            surplus = next(j for j in others if j not in set(features))
            if not lenient:
                raise InputError(
                    f"{where}, column {shorten(names[surplus])}",
                    found=f"a column that is no number, beside {len(features)} numbered columns",
                    expected="either numbered columns only (0,1,2,...) or named columns only, beside 'id'",
                    fix="remove the column, or read leniently to ignore it",
                )
            repairs["columns_ignored"] = len(others) - len(features)
        if gaps := int(names[features[-1]]) + 1 - len(features):
            repairs["column_gaps_closed"] = gaps
    else:
        features = others
        repeated = [n for n in counts if counts[n] > 1]
        if repeated:
            raise InputError(
                f"{where}, column {shorten(repeated[0])}",
                found=f"the name {counts[repeated[0]]} times",
                expected="every column name once",
                fix="rename or remove the repeated columns",
            )
    check_width(len(features), where)
    return Layout(tuple(names), id_column, tuple(features), repairs)


def _numbered(names: Sequence[str], digits: list[int], where: str, *, lenient: bool) -> list[int]:
    """Sort digit-named columns as integers, and hold them to 0, 1, ..., d-1."""
    first: dict[int, int] = {}
    for j in digits:
        other = first.setdefault(int(names[j]), j)
        if other != j and not (lenient and names[j] == names[other]):
            raise InputError(
                f"{where}, column {shorten(names[j])}",
                found=f"the number of column {shorten(names[other])} again",
                expected="every number once",
                fix="rename or remove one of the two columns",
            )
    numbers = sorted(first)
    if not lenient and numbers[-1] != len(numbers) - 1:
        missing = next(k for k, number in enumerate(numbers) if k != number)
        raise InputError(
            where,
            found=f"{len(numbers)} numbered columns up to {shorten(str(numbers[-1]), 24)}, but no column '{missing}'",
            expected=f"the columns 0 to {len(numbers) - 1} without a gap",
            fix="number the feature columns from 0, or add the missing one",
        )
    return [first[number] for number in numbers]
