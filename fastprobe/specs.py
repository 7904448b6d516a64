"""Parts of a protocol: how samples are held out, and how NeuCo-Bench's probe is replayed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from fastprobe.errors import InputError

__all__ = ["FOLD_SCHEMES", "STREAMS", "FoldSpec", "ReplaySpec", "expect", "is_int", "is_real", "is_strength"]

FoldScheme = Literal[
    "shuffle", "kfold", "stratified-shuffle", "stratified-kfold", "group-shuffle", "group-kfold", "fixed"
]
FOLD_SCHEMES: tuple[str, ...] = (
    "shuffle",
    "kfold",
    "stratified-shuffle",
    "stratified-kfold",
    "group-shuffle",
    "group-kfold",
    "fixed",
)
"""How samples are held out; the rows are those of scikit-learn's splitter of the same name."""

STREAMS: tuple[str, ...] = ("shared", "independent")
"""Where the random numbers of a replayed task come from."""


@dataclass(frozen=True)
class FoldSpec:
    """How the samples of a task are split, again and again.

    Attributes
    ----------
    scheme : str
        One of :data:`FOLD_SCHEMES`. Stratified schemes keep class shares in classification tasks; regression tasks use
        the plain scheme of the same kind. Group schemes keep all samples of a group on one side. ``fixed`` is one
        split.
    n_folds : int
        Retrainings K; 1 for ``fixed``.
    test_size : float
        Share of samples (of groups, for ``group-shuffle``) held out by the shuffle schemes.
    seed : int
        Seed of the legacy MT19937 generator (``numpy.random.RandomState``), as in scikit-learn.
    file : str or None
        CSV ``id,group`` for the group schemes, ``id,split`` with ``dev`` or ``eval`` for ``fixed``.
    """

    scheme: FoldScheme = "shuffle"
    n_folds: int = 40
    test_size: float = 0.1
    seed: int = 42
    file: str | None = None

    def __post_init__(self) -> None:
        expect(self.scheme in FOLD_SCHEMES, "folds.scheme", self.scheme, f"one of {', '.join(FOLD_SCHEMES)}")
        expect(
            is_int(self.n_folds) and 1 <= self.n_folds <= 10_000,
            "folds.n_folds",
            self.n_folds,
            "a whole number from 1 to 10000",
        )
        expect(
            is_real(self.test_size) and 0 < self.test_size < 1,
            "folds.test_size",
            self.test_size,
            "a number between 0 and 1",
        )
        expect(
            is_int(self.seed) and 0 <= self.seed < 2**32,
            "folds.seed",
            self.seed,
            "a whole number from 0 to 4294967295",
        )
        if self.scheme.endswith("kfold"):
            expect(self.n_folds >= 2, "folds.n_folds", self.n_folds, f"at least 2 folds for {self.scheme}")
        if self.needs_file:
            columns = "id,split" if self.scheme == "fixed" else "id,group"
            expect(
                isinstance(self.file, str),
                "folds.file",
                self.file,
                f"a CSV file with the columns {columns} for {self.scheme}",
            )
        else:
            expect(self.file is None, "folds.file", self.file, f"no file: {self.scheme} folds do not read one")
        if self.scheme == "fixed":
            object.__setattr__(self, "n_folds", 1)

    @property
    def needs_file(self) -> bool:
        """Whether the scheme reads groups or a split from a file."""
        return self.scheme == "fixed" or self.scheme.startswith("group-")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that decide the folds; a file counts by its content, not by its path."""
        fields_ = asdict(self)
        if self.file is not None:
            fields_["file_digest"] = _file_digest(self.file)
        return fields_


@dataclass(frozen=True)
class ReplaySpec:
    """How NeuCo-Bench's linear probe is trained.

    Attributes
    ----------
    epochs : int
        Passes E over the training rows of a fold.
    batch_size : int
        Samples of an optimiser step; the last batch of an epoch may be smaller.
    learning_rate : float
        Of AdamW, whose other settings are torch's: betas 0.9 and 0.999, eps 1e-8, weight decay 0.01.
    normalize_labels : bool
        Map the labels of a task to 0 .. 1 by their least and greatest value.
    embedding_dim : int or None
        Pad embeddings with zeros to so many dimensions, before they are standardised.
    stream : {"shared", "independent"}
        One stream of random numbers that goes on from task to task, as in NeuCo-Bench; or the same stream afresh for
        every task, so that its score does not depend on the others.
    store_probes : bool
        NeuCo-Bench retrains a probe on all rows of a task in order to store it. Its draws shift those of later tasks.
    tasks : tuple of (str, int) or None
        Names and sizes of the tasks that draw from a shared stream, in their order; None stands for those of the
        benchmark. Tasks that are not scored draw nonetheless, so a task can be replayed at its place in a larger run.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 0.001
    normalize_labels: bool = True
    embedding_dim: int | None = None
    stream: Literal["shared", "independent"] = "shared"
    store_probes: bool = False
    tasks: tuple[tuple[str, int], ...] | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size"):
            value = getattr(self, name)
            expect(is_int(value) and 1 <= value <= 2**31, f"replay.{name}", value, "a whole number of at least 1")
        expect(is_strength(self.learning_rate), "replay.learning_rate", self.learning_rate, "a finite number above 0")
        for name in ("normalize_labels", "store_probes"):
            expect(isinstance(getattr(self, name), bool), f"replay.{name}", getattr(self, name), "true or false")
        expect(
            self.embedding_dim is None or (is_int(self.embedding_dim) and 1 <= self.embedding_dim <= 65_536),
            "replay.embedding_dim",
            self.embedding_dim,
            "a whole number from 1 to 65536",
        )
        expect(self.stream in STREAMS, "replay.stream", self.stream, f"one of {', '.join(STREAMS)}")
        if self.tasks is not None:
            expect(_is_layout(self.tasks), "replay.tasks", self.tasks, "a list of [task name, number of samples]")
            expect(
                self.stream == "shared", "replay.tasks", self.tasks, "no list: independent tasks draw for themselves"
            )
            object.__setattr__(self, "tasks", tuple((name, n) for name, n in self.tasks))

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values; those that change nothing are left out."""
        optional = ("embedding_dim", "store_probes", "tasks")
        return {name: value for name, value in asdict(self).items() if value or name not in optional}


def _is_layout(tasks: object) -> bool:
    if not isinstance(tasks, (list, tuple)) or not tasks:
        return False
    pairs = all(isinstance(t, (list, tuple)) and len(t) == 2 for t in tasks)
    return pairs and all(isinstance(n, str) and is_int(k) and k >= 2 for n, k in tasks) and _distinct(tasks)


def _distinct(tasks: Sequence[Any]) -> bool:
    return len({name for name, _ in tasks}) == len(tasks)


def expect(holds: bool, where: str, found: object, expected: str) -> None:
    """Raise InputError about a field unless a condition holds."""
    if not holds:
        raise InputError(where, found=repr(found), expected=expected, fix=f"correct {where}")


def is_int(value: object) -> bool:
    """Say whether a value is a whole number, which True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_real(value: object) -> bool:
    """Say whether a value is a number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def is_strength(value: object) -> bool:
    """Say whether a value is a finite number above 0."""
    return is_real(value) and 0 < value < math.inf  # type: ignore[operator]


def _file_digest(path: str) -> str:
    try:
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise InputError(
            path, found=error.strerror or str(error), expected="a readable CSV file", fix="correct the path"
        ) from None
