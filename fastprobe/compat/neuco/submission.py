"""A submission as NeuCo-Bench reads it: ids through pandas' eyes, rows without labels left out, repeated ids kept."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe.compat.neuco.pandas_view import guessed_booleans, guessed_ids
from fastprobe.embeddings import hash_embedding
from fastprobe.errors import InputError
from fastprobe.readers import read_table
from fastprobe.readers.table import Table, shorten
from fastprobe.readers.validation import as_matrix, plain_id

__all__ = ["Embeddings", "read_embeddings", "read_exclusions"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Embeddings:
    """The rows of a submission that have a label.

    Attributes
    ----------
    x : ndarray of float32, shape (n, d)
        Finite; in the order of the file, except that rows with one id stand together.
    spans : mapping of str to range
        The rows of every id.
    digest : str
        Hash of all ids and values of the file.
    repairs : mapping of str to int
        What was mended, and how often.
    """

    x: NDArray[np.float32]
    spans: Mapping[str, range]
    digest: str
    repairs: Mapping[str, int]


def read_exclusions(path: Path) -> frozenset[str]:
    """Read the ids of an exclude file, one a line; blanks around them do not count.

    Raises
    ------
    InputError
        If the file cannot be read. (NeuCo-Bench goes on without a file that is not there.)
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        found = "bytes that are not UTF-8"
        if isinstance(error, OSError):
            found = "nothing there" if isinstance(error, FileNotFoundError) else error.strerror or str(error)
        raise InputError(
            f"--exclude_file, {path}",
            found=found,
            expected="a text file with one id a line",
            fix="correct the path, or leave --exclude_file out",
        ) from None
    return frozenset(line.strip() for line in text.splitlines() if line.strip())


def read_embeddings(
    path: Path, labelled: Collection[str], *, excluded: Collection[str] = (), embedding_dim: int | None = None
) -> Embeddings:
    """Read a submission of any known format.

    Parameters
    ----------
    path : Path
    labelled : collection of str
        Ids that have a label in any task; other rows are left out.
    excluded : collection of str
        Ids whose rows are left out, without suffixes.
    embedding_dim : int or None
        Dimensions that the embedding is going to be padded to.

    Raises
    ------
    InputError
        If the file is missing, damaged or of no known format, no row has a label, there are more dimensions than
        `embedding_dim`, or a value of a row with a label is infinite or beyond float32.
    """
    table = read_table(path, lenient=True)
    values, n_booleans = guessed_booleans(table)
    x = as_matrix(values, str(path))
    if embedding_dim is not None and x.shape[1] > embedding_dim:
        raise InputError(
            str(path),
            found=f"{x.shape[1]:,} dimensions",
            expected=f"at most {embedding_dim:,}, the embedding_dim of the config",
            fix="raise embedding_dim or set it to null, or reduce the submission",
        )
    ids, n_rewritten = guessed_ids(table.ids) if path.suffix.lower() == ".csv" else (list(table.ids), 0)
    ids = [plain_id(i) for i in ids]
    x, n_nan = _without_nan(x)
    spans, rows, dropped = _kept(ids, labelled, excluded)
    if not rows:
        raise _no_overlap(path, ids, labelled, excluded)
    kept = x if rows == list(range(len(x))) else x[rows]
    single = _single(kept, rows, table)
    repairs = Counter(dict(table.repairs))
    repairs.update(dropped)
    repairs.update(nan_to_zero=n_nan, numeric_ids_rewritten=n_rewritten, booleans_to_numbers=n_booleans)
    repairs.subtract({"non_numeric_to_zero": n_booleans})
    repairs = +repairs  # without what never happened
    if repairs:
        _log.warning("%s: %s", path, ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in repairs.items()))
    if len(rows) > len(spans):
        _log.warning("%s: %d rows with an id that stands there before, all kept", path, len(rows) - len(spans))
    if excluded and not dropped["excluded_rows_dropped"]:
        _log.warning("%s: none of the %d ids to exclude (suffixes count in the exclude file)", path, len(excluded))
    return Embeddings(single, spans, hash_embedding(ids, np.ascontiguousarray(x)), dict(repairs))


def _without_nan(x: NDArray[Any]) -> tuple[NDArray[Any], int]:
    if x.dtype.kind != "f":
        return x, 0
    missing = np.isnan(x)
    count = int(missing.sum())
    return (np.where(missing, x.dtype.type(0), x) if count else x), count


def _kept(
    ids: Sequence[str], labelled: Collection[str], excluded: Collection[str]
) -> tuple[dict[str, range], list[int], dict[str, int]]:
    """Find the rows to keep: spans of every id, rows of the file, and what was left out."""
    labelled, excluded = frozenset(labelled), frozenset(excluded)
    rows_of: dict[str, list[int]] = {}
    n_empty = n_excluded = 0
    for row, sample in enumerate(ids):
        if not sample:
            n_empty += 1
        elif sample in excluded:
            n_excluded += 1
        elif sample in labelled:
            rows_of.setdefault(sample, []).append(row)
    spans: dict[str, range] = {}
    rows: list[int] = []
    for sample, own in rows_of.items():
        spans[sample] = range(len(rows), len(rows) + len(own))
        rows += own
    return spans, rows, {"empty_ids_dropped": n_empty, "excluded_rows_dropped": n_excluded}


def _single(kept: NDArray[Any], rows: Sequence[int], table: Table) -> NDArray[np.float32]:
    """Give the kept rows as float32; refuse what is not finite then."""
    with np.errstate(over="ignore"):
        single = kept.astype(np.float32, copy=False)
    finite = np.isfinite(single)
    if not finite.all():
        row, column = divmod(int(finite.argmin()), single.shape[1])
        where, found = table.places.cell(rows[row], column, kept[row, column])
        raise InputError(
            where,
            found=found,
            expected="a finite number within float32: NeuCo-Bench sets NaN to 0, but goes on with infinity to no score",
            fix="repair the value, or leave the cell empty for 0",
        )
    return single


def _no_overlap(path: Path, ids: Sequence[str], labelled: Collection[str], excluded: Collection[str]) -> InputError:
    example = next((i for i in ids if i not in excluded), None)
    found = "no row that has a label"
    if example is not None:
        found += f"; ids such as {shorten(example)} (suffixes .zarr and .zarr.zip removed, numbers written as numbers)"
    return InputError(
        str(path),
        found=found,
        expected=f"ids of the label files, such as {shorten(min(labelled))} (taken as they stand there)",
        fix="use the same ids in both" + (", and see that the exclude file leaves some" if excluded else ""),
    )
