"""Folds: which samples are held out in every retraining.

The rows are those of scikit-learn's splitters (tested against them), drawn from the same legacy MT19937 generator, so
that a score can be checked with scikit-learn; scikit-learn itself is not needed. Everything that is not held out
trains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastprobe.errors import InputError
from fastprobe.protocol import FoldSpec
from fastprobe.tasks import Kind, read_groups, read_split

__all__ = ["Folds", "make_folds", "read_assignment"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Folds:
    """Held-out rows of every fold.

    Attributes
    ----------
    n : int
        Samples.
    held_out : tuple of ndarray of int64
        Rows left out of the training of fold k, ascending; K arrays, of different lengths for some schemes.
    scheme : str
        The scheme that was used (stratified schemes use the plain one for regression).
    groups : ndarray of int64, shape (n,), optional
        Codes of the samples' groups, for the group schemes.
    """

    n: int
    held_out: tuple[Ints, ...]
    scheme: str
    groups: Ints | None = None

    def __len__(self) -> int:
        return len(self.held_out)


def read_assignment(spec: FoldSpec) -> Mapping[str, str] | None:
    """Read the groups or the split that a scheme needs: sample id -> group or side; None if it needs none."""
    if spec.file is None:
        return None
    return read_split(spec.file) if spec.scheme == "fixed" else read_groups(spec.file)


def make_folds(
    spec: FoldSpec,
    ids: NDArray[np.str_],
    y: NDArray[np.float64],
    kind: Kind,
    assignment: Mapping[str, str] | None = None,
) -> Folds:
    """Hold out samples.

    Parameters
    ----------
    spec : FoldSpec
    ids : ndarray of str, shape (n,)
        Sample ids in the order of the label file; folds depend on that order.
    y : ndarray, shape (n,)
        Labels; used by the stratified schemes on classification tasks only.
    kind : {"regression", "classification"}
    assignment : mapping, optional
        What :func:`read_assignment` read; read again if not given.

    Raises
    ------
    InputError
        If the samples cannot be split so: too few samples, groups or members of a class, or ids without a group.
    """
    n = len(ids)
    scheme = spec.scheme
    if scheme.startswith("stratified-") and kind == "regression":
        scheme = "kfold" if scheme == "stratified-kfold" else "shuffle"
    labels: NDArray[Any] = y
    if spec.needs_file:
        labels = _look_up(spec, ids, assignment if assignment is not None else read_assignment(spec) or {})
    held_out = tuple(np.sort(rows) for rows in _SCHEMES[scheme](spec, n, labels))
    if any(len(rows) == 0 or len(rows) > n - 2 for rows in held_out):
        raise InputError(
            f"folds ({spec.scheme})",
            found=f"a fold that holds out {min(map(len, held_out))} to {max(map(len, held_out))} of {n} samples",
            expected="at least 1 held-out and 2 training samples in every fold",
            fix="use more samples, or another split",
        )
    groups = np.unique(labels, return_inverse=True)[1] if scheme.startswith("group-") else None
    return Folds(n=n, held_out=held_out, scheme=scheme, groups=groups)


def _look_up(spec: FoldSpec, ids: NDArray[np.str_], assignment: Mapping[str, str]) -> NDArray[np.str_]:
    missing = [i for i in ids.tolist() if i not in assignment]
    if missing:
        raise InputError(
            str(spec.file),
            found=f"no line for {len(missing)} of {len(ids)} samples, first {missing[0]!r}",
            expected="every labelled sample",
            fix="add the missing ids to the file, or remove them from the labels",
        )
    return np.array([assignment[i] for i in ids.tolist()])


def _require(holds: bool, spec: FoldSpec, found: str, expected: str) -> None:
    if not holds:
        raise InputError(
            f"folds ({spec.scheme})", found=found, expected=expected, fix="use fewer folds, or another scheme"
        )


def _shuffle(spec: FoldSpec, n: int, _: object) -> Iterator[Ints]:
    """scikit-learn's ``ShuffleSplit``: the first ceil(test_size n) of a permutation."""
    rng = RandomState(spec.seed)
    n_test = math.ceil(spec.test_size * n)
    for _k in range(spec.n_folds):
        yield rng.permutation(n)[:n_test]


def _kfold(spec: FoldSpec, n: int, _: object) -> Iterator[Ints]:
    """scikit-learn's ``KFold(shuffle=True)``."""
    _require(spec.n_folds <= n, spec, f"{n} samples", f"at least as many as folds ({spec.n_folds})")
    rows = np.arange(n)
    RandomState(spec.seed).shuffle(rows)
    yield from np.array_split(rows, spec.n_folds)


def _classes_of(spec: FoldSpec, y: NDArray[np.float64], least: int) -> tuple[Ints, Ints]:
    _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
    _require(
        int(counts.min()) >= least, spec, f"a class with {counts.min()} samples", f"at least {least} in every class"
    )
    return codes.astype(np.int64), counts.astype(np.int64)


def _stratified_kfold(spec: FoldSpec, n: int, y: NDArray[np.float64]) -> Iterator[Ints]:
    """scikit-learn's ``StratifiedKFold(shuffle=True)``."""
    codes, counts = _classes_of(spec, y, spec.n_folds)
    _, first = np.unique(codes, return_index=True)
    codes = np.argsort(np.argsort(first))[codes]  # classes are numbered as they appear
    in_order = np.sort(codes)
    share = np.array([np.bincount(in_order[k :: spec.n_folds], minlength=len(counts)) for k in range(spec.n_folds)])
    rng = RandomState(spec.seed)
    fold_of = np.empty(n, dtype=np.int64)
    for c in range(len(counts)):
        fold_of_class = np.arange(spec.n_folds).repeat(share[:, c])
        rng.shuffle(fold_of_class)
        fold_of[codes == c] = fold_of_class
    for k in range(spec.n_folds):
        yield np.flatnonzero(fold_of == k)


def _stratified_shuffle(spec: FoldSpec, n: int, y: NDArray[np.float64]) -> Iterator[Ints]:
    """scikit-learn's ``StratifiedShuffleSplit``."""
    codes, counts = _classes_of(spec, y, 2)
    n_test = math.ceil(spec.test_size * n)
    few = min(n_test, n - n_test)
    _require(few >= len(counts), spec, f"{few} samples on one side", f"at least one of each of {len(counts)} classes")
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(counts)[:-1])
    rng = RandomState(spec.seed)
    for _k in range(spec.n_folds):
        n_train_of = _apportion(counts, n - n_test, rng)
        n_test_of = _apportion(counts - n_train_of, n_test, rng)
        train, test = [], []
        for rows, a, b in zip(members, n_train_of, n_test_of, strict=True):
            rows = rows[rng.permutation(len(rows))]
            train.append(rows[:a])
            test.append(rows[a : a + b])
        rng.permutation(np.concatenate(train))  # scikit-learn shuffles both sides: the draws must be made
        yield rng.permutation(np.concatenate(test))


def _apportion(counts: Ints, n_draws: int, rng: RandomState) -> Ints:
    """Most likely number of draws of each class, ties broken at random: scikit-learn's ``_approximate_mode``."""
    exact = counts / counts.sum() * n_draws
    drawn = np.floor(exact)
    left = int(n_draws - drawn.sum())
    remainder = exact - drawn
    for value in np.unique(remainder)[::-1]:
        if left <= 0:
            break
        (tied,) = np.where(remainder == value)
        chosen = rng.choice(tied, size=min(len(tied), left), replace=False)
        drawn[chosen] += 1
        left -= len(chosen)
    return drawn.astype(np.int64)


def _group_kfold(spec: FoldSpec, n: int, groups: NDArray[np.str_]) -> Iterator[Ints]:
    """scikit-learn's ``GroupKFold``: the largest groups first, each to the lightest fold."""
    _, codes, counts = np.unique(groups, return_inverse=True, return_counts=True)
    _require(spec.n_folds <= len(counts), spec, f"{len(counts)} groups", f"at least as many as folds ({spec.n_folds})")
    weight = np.zeros(spec.n_folds)
    fold_of = np.empty(len(counts), dtype=np.int64)
    for group in np.argsort(counts, kind="stable")[::-1]:
        fold_of[group] = lightest = np.argmin(weight)
        weight[lightest] += counts[group]
    for k in range(spec.n_folds):
        yield np.flatnonzero(fold_of[codes] == k)


def _group_shuffle(spec: FoldSpec, n: int, groups: NDArray[np.str_]) -> Iterator[Ints]:
    """scikit-learn's ``GroupShuffleSplit``: ``ShuffleSplit`` of the groups."""
    names, codes = np.unique(groups, return_inverse=True)
    _require(len(names) >= 2, spec, f"{len(names)} group", "at least 2 groups")
    for held_out in _shuffle(spec, len(names), None):
        yield np.flatnonzero(np.isin(codes, held_out))


def _fixed(spec: FoldSpec, n: int, sides: NDArray[np.str_]) -> Iterator[Ints]:
    yield np.flatnonzero(sides == "eval")


_SCHEMES: dict[str, Callable[[FoldSpec, int, NDArray], Iterator[Ints]]] = {
    "shuffle": _shuffle,
    "kfold": _kfold,
    "stratified-shuffle": _stratified_shuffle,
    "stratified-kfold": _stratified_kfold,
    "group-shuffle": _group_shuffle,
    "group-kfold": _group_kfold,
    "fixed": _fixed,
}
