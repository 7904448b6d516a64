"""Who is held out, and who validates: written down from ``docs/protocols.md``, one sample and one fold at a time."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastprobe.errors import InputError
from fastprobe.specs import FoldSpec

__all__ = ["Splits"]

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Splits:
    """The folds of a task, and the validation rows of each.

    Attributes
    ----------
    spec : FoldSpec
    ids : sequence of str, length n
        Samples in the order of the label file.
    codes : ndarray of int64, shape (n,), or None
        Class numbers; None for a regression.
    assignment : mapping of str to str
        Group or side of every sample; empty for schemes that read no file.
    inner_folds : int
    """

    spec: FoldSpec
    ids: Sequence[str]
    codes: Ints | None
    assignment: Mapping[str, str]
    inner_folds: int

    @property
    def n(self) -> int:
        """Samples."""
        return len(self.ids)

    @cached_property
    def groups(self) -> list[str] | None:
        """Group of every sample, for the group schemes.

        Raises
        ------
        InputError
            If a sample has none.
        """
        return self._assigned() if self.spec.scheme.startswith("group-") else None

    @cached_property
    def held_out(self) -> list[Ints]:
        """Rows that are held out of every fold, ascending.

        Raises
        ------
        InputError
            If a sample has no group or side.
        """
        scheme = self.spec.scheme
        if scheme.startswith("stratified-") and self.codes is None:
            scheme = "kfold" if scheme == "stratified-kfold" else "shuffle"
        makers = {
            "shuffle": lambda: _shuffled(self.spec, self.n),
            "kfold": lambda: _dealt(self.spec, self.n),
            "stratified-shuffle": self._stratified_shuffle,
            "stratified-kfold": self._stratified_kfold,
            "group-shuffle": self._group_shuffle,
            "group-kfold": self._group_kfold,
            "fixed": lambda: [[i for i, side in enumerate(self._assigned()) if side == "eval"]],
        }
        return [np.array(sorted(rows), dtype=np.int64) for rows in makers[scheme]()]

    def trains(self, left_out: Ints) -> Ints:
        """All rows but those that are left out."""
        return np.setdiff1d(np.arange(self.n), left_out)

    def validation(self, fold: int) -> list[tuple[Ints, Ints]]:
        """Validation of a fold: pairs of the rows to leave out (its own among them) and those of them that validate."""
        if self._by_neighbours:
            own = self.held_out[fold]
            return [
                (np.union1d(own, self.held_out[other]), np.setdiff1d(self.held_out[other], own))
                for other in self._neighbours(fold)
            ]
        train = self.trains(self.held_out[fold])
        return [(np.union1d(self.held_out[fold], block), block) for block in self._blocks(train)]

    @cached_property
    def _by_neighbours(self) -> bool:
        """Whether the held-out rows of neighbours validate: all folds have such rows, and half of all rows train."""
        for fold, own in enumerate(self.held_out):
            others = [self.held_out[other] for other in self._neighbours(fold)]
            if not any(len(np.setdiff1d(other, own)) for other in others):
                return False
            if any(len(np.union1d(other, own)) > self.n / 2 for other in others):
                return False
        return True

    def _neighbours(self, fold: int) -> list[int]:
        """Folds before and after a fold, in a ring."""
        count = len(self.held_out)
        reach = min(math.ceil(self.inner_folds / 2), count // 2)
        around = {(fold + sign * step) % count for step in range(1, reach + 1) for sign in (1, -1)}
        return sorted(around - {fold})

    def _blocks(self, train: Ints) -> list[Ints]:
        """Training rows, or the groups among them, cut into random blocks."""
        member = train.tolist() if self.groups is None else [self.groups[row] for row in train]
        units = sorted(set(member))
        order = RandomState(self.spec.seed).permutation(len(units))
        blocks = []
        for part in np.array_split(order, min(self.inner_folds, len(units))):
            chosen = {units[i] for i in part}
            blocks.append(np.array([row for row, unit in zip(train, member, strict=True) if unit in chosen]))
        return blocks

    def _assigned(self) -> list[str]:
        missing = [sample for sample in self.ids if sample not in self.assignment]
        if missing:
            raise InputError(
                str(self.spec.file), found=f"no line for the sample {missing[0]!r}", expected="every labelled sample",
                fix="give the file that the run used",
            )  # fmt: skip
        return [self.assignment[sample] for sample in self.ids]

    def _group_shuffle(self) -> list[list[int]]:
        groups = self.groups or []
        names = sorted(set(groups))
        drawn = [{names[i] for i in picked} for picked in _shuffled(self.spec, len(names))]
        return [[row for row, group in enumerate(groups) if group in names] for names in drawn]

    def _group_kfold(self) -> list[list[int]]:
        """The largest groups first, each to the lightest fold; of equal groups the last name, of folds the first."""
        groups = self.groups or []
        sizes = Counter(groups)
        folds: list[list[int]] = [[] for _ in range(self.spec.n_folds)]
        for name in sorted(sizes, key=lambda name: (sizes[name], name), reverse=True):
            lightest = min(folds, key=len)
            lightest.extend(row for row, group in enumerate(groups) if group == name)
        return folds

    def _stratified_kfold(self) -> list[list[int]]:
        """Sorted labels are dealt out to the folds like cards; that many of each class, drawn at random, each gets."""
        assert self.codes is not None
        seen = list(dict.fromkeys(self.codes.tolist()))  # classes in the order in which they appear
        labels = [seen.index(code) for code in self.codes.tolist()]
        count, rng = self.spec.n_folds, RandomState(self.spec.seed)
        dealt = [Counter(sorted(labels)[fold::count]) for fold in range(count)]
        folds: list[list[int]] = [[] for _ in range(count)]
        for c in range(len(seen)):
            turns = np.repeat(np.arange(count), [of_fold[c] for of_fold in dealt])
            rng.shuffle(turns)
            for row, fold in zip((row for row, label in enumerate(labels) if label == c), turns, strict=True):
                folds[fold].append(row)
        return folds

    def _stratified_shuffle(self) -> list[list[int]]:
        """Each class gives its share to either side; what shares leave over is drawn, and so is who of a class goes."""
        assert self.codes is not None
        members = [np.flatnonzero(self.codes == c) for c in np.unique(self.codes)]
        n_out, rng = math.ceil(self.spec.test_size * self.n), RandomState(self.spec.seed)
        folds = []
        for _ in range(self.spec.n_folds):
            training = _shares([len(rows) for rows in members], self.n - n_out, rng)
            rest = [len(rows) - share for rows, share in zip(members, training, strict=True)]
            held_out = _shares(rest, n_out, rng)
            stay, go = [], []
            for rows, a, b in zip(members, training, held_out, strict=True):
                mixed = rows[rng.permutation(len(rows))]
                stay.extend(mixed[:a].tolist())
                go.extend(mixed[a : a + b].tolist())
            rng.permutation(stay)  # scikit-learn mixes both sides: without effect here but for the draws
            rng.permutation(go)
            folds.append(go)
        return folds


def _shuffled(spec: FoldSpec, n: int) -> list[list[int]]:
    rng, n_out = RandomState(spec.seed), math.ceil(spec.test_size * n)
    return [rng.permutation(n)[:n_out].tolist() for _ in range(spec.n_folds)]


def _dealt(spec: FoldSpec, n: int) -> list[list[int]]:
    rows = np.arange(n)
    RandomState(spec.seed).shuffle(rows)
    sizes = [n // spec.n_folds + (fold < n % spec.n_folds) for fold in range(spec.n_folds)]
    return [rows[sum(sizes[:fold]) : sum(sizes[: fold + 1])].tolist() for fold in range(spec.n_folds)]


def _shares(counts: Sequence[int], draws: int, rng: RandomState) -> list[int]:
    """Share out draws in proportion to the classes; what is left over goes to the largest remainders."""
    exact = [count / sum(counts) * draws for count in counts]
    shares = [math.floor(value) for value in exact]
    remainders = [value - share for value, share in zip(exact, shares, strict=True)]
    for remainder in sorted(set(remainders), reverse=True):
        left = draws - sum(shares)
        if left <= 0:
            break
        tied = [c for c, value in enumerate(remainders) if value == remainder]
        for c in rng.choice(tied, size=min(len(tied), left), replace=False):
            shares[c] += 1
    return shares
