"""The random numbers of NeuCo-Bench: which samples are held out, how weights begin, in which order samples come.

Everything follows from the number of samples of each task, their order, the size of the embedding, the epochs and the
folds, and nothing from the data: the draws of a benchmark serve all submissions of one size.

Splits come from a generator of their own, the same for every task. All else comes from torch's generator on the CPU,
MT19937 seeded with 42 like NumPy's ``RandomState``, in this order for each fold of each task (D the size of the
embedding):

1. D words for the weights and 1 for the bias (``torch.nn.Linear``);
2. for every epoch: 2 words that seed the loader of the training rows, then n_train - 1 words that shuffle these; 2
   words for the loader of the held-out rows, then n_held_out - 1 words that shuffle those.

A fold draws D + 1 + E (n + 2) words. If probes are stored, each task then draws D + 1 + 2 E words more, for a probe
that is trained on all rows in their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

from fastprobe.backend.select import cores
from fastprobe.kernels import cpu
from fastprobe.specs import ReplaySpec

__all__ = ["Draws", "TaskDraws", "fold_words", "shuffle_split"]

SEED = 42
_LOADER = 2
"""Words that a ``DataLoader`` draws for its own seed whenever an iteration begins."""

_CHUNK = 1 << 28
_KEPT = 1 << 30
"""Bytes: of the orders that are made at once, and of those that are kept for the next submission."""

Ints = NDArray[np.int32]
Words = NDArray[np.uint32]


def fold_words(n: int, d: int, epochs: int) -> int:
    """Words that a fold draws: weights and bias, and two shuffles in every epoch."""
    return d + 1 + epochs * (n + 2)


def stored_probe_words(d: int, epochs: int) -> int:
    """Words that a task draws after its folds if its probe is stored."""
    return d + 1 + epochs * _LOADER


def shuffle_split(n: int, n_folds: int) -> tuple[Ints, Ints]:
    """Split samples as scikit-learn's ``ShuffleSplit(n_folds, test_size=0.1, random_state=42)``.

    Parameters
    ----------
    n : int
        Samples.
    n_folds : int
        K.

    Returns
    -------
    held_out, train : ndarray of int32, shapes (K, ceil(n / 10)) and (K, n - ceil(n / 10))
        In the order of the splitter.
    """
    rng = RandomState(SEED)
    shuffled = np.array([rng.permutation(n) for _ in range(n_folds)], dtype=np.int32)
    n_held_out = math.ceil(0.1 * n)
    return shuffled[:, :n_held_out], shuffled[:, n_held_out:]


def initial_weights(words: Words) -> NDArray[np.float32]:
    """Weights and bias of ``torch.nn.Linear(D, 1)`` from D + 1 words, bias last.

    A word gives ``u = (word mod 2^24) / 2^24`` and the value ``u (high - low) + low``, rounded to float32 once. The
    bounds are +-1/sqrt(D), which torch computes in another way for the weights than for the bias.

    Parameters
    ----------
    words : ndarray of uint32, shape (D + 1,)

    Returns
    -------
    ndarray of float32, shape (D + 1,)
    """
    d = len(words) - 1
    gain = math.sqrt(2.0 / (1 + math.sqrt(5) ** 2))  # of kaiming_uniform_ with a = sqrt(5)
    bounds = np.full(d + 1, np.float32(math.sqrt(3.0) * (gain / math.sqrt(d))))
    bounds[d] = np.float32(1 / math.sqrt(d))
    u = (words & np.uint32(0xFFFFFF)) * 2.0**-24
    return (u * (bounds + bounds).astype(np.float64) - bounds.astype(np.float64)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class TaskDraws:
    """What one task draws.

    Attributes
    ----------
    held_out : ndarray of int32, shape (K, m)
        Sample numbers.
    train : ndarray of int32, shape (K, n - m)
    states : ndarray of uint32, shape (K + 1, 625)
        State of the generator where each fold begins, and where the folds end.
    d, epochs : int
    keep : bool
        Whether the training orders are kept for the next submission, or drawn again.
    """

    held_out: Ints
    train: Ints
    states: Words
    d: int
    epochs: int
    keep: bool = True
    _kept: dict[int, Ints] = field(init=False, repr=False, default_factory=dict)

    def __len__(self) -> int:
        return len(self.held_out)

    @property
    def n(self) -> int:
        """Samples."""
        return self.held_out.shape[1] + self.train.shape[1]

    @cached_property
    def initial(self) -> NDArray[np.float32]:
        """Initial weights of every fold, bias last; shape (K, D + 1)."""
        return np.stack([self._initial(state) for state in self.states[:-1]])

    def chunks(self) -> Iterator[slice]:
        """Cut the folds so that the orders of one piece need no more than 256 MiB."""
        size = max(1, _CHUNK // (self.epochs * self.n * 4))
        yield from (slice(k, min(k + size, len(self))) for k in range(0, len(self), size))

    def order(self, folds: slice) -> Ints:
        """Training samples in the order in which each epoch of some folds visits them; shape (k, E, n - m)."""
        if folds.start not in self._kept:
            order = self._shuffles(self.train, folds, skip=0)
            if not self.keep:
                return order
            self._kept[folds.start] = order
        return self._kept[folds.start]

    def held_out_order(self, folds: slice) -> Ints:
        """Held-out samples in the order in which each epoch of some folds evaluates them; shape (k, E, m)."""
        return self._shuffles(self.held_out, folds, skip=_LOADER + self.train.shape[1] - 1)

    def refit_initial(self) -> NDArray[np.float32]:
        """Initial weights of the probe that is trained on all rows and stored; shape (D + 1,)."""
        return self._initial(self.states[-1])

    def _initial(self, state: Words) -> NDArray[np.float32]:
        words = np.empty(self.d + 1, dtype=np.uint32)
        cpu.mt19937(state.copy(), words)
        return initial_weights(words)

    def _shuffles(self, values: Ints, folds: slice, skip: int) -> Ints:
        picked = range(len(self))[folds]
        out = np.empty((len(picked), self.epochs, values.shape[1]), dtype=np.int32)

        def shuffle(i: int, k: int) -> None:
            words = np.empty(fold_words(self.n, self.d, self.epochs), dtype=np.uint32)
            cpu.mt19937(self.states[k].copy(), words)
            for epoch in range(self.epochs):
                start = self.d + 1 + epoch * (self.n + 2) + _LOADER + skip
                cpu.randperm(words[start : start + values.shape[1] - 1], values[k], out[i, epoch])

        with ThreadPoolExecutor(cores(), thread_name_prefix="fastprobe-draws") as pool:
            list(pool.map(shuffle, range(len(picked)), picked))
        return out


@dataclass(frozen=True, eq=False)
class Draws:
    """What the tasks of a run draw, for embeddings of one size.

    Parameters
    ----------
    tasks : sequence of (str, int)
        Names and sizes n in the order in which they draw.
    spec : ReplaySpec
    n_folds : int
        K.
    d : int
        Size D of the embedding, padding included.

    """

    tasks: Sequence[tuple[str, int]]
    spec: ReplaySpec
    n_folds: int
    d: int
    _by_name: dict[str, TaskDraws] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        self._by_name.update(self._in_turn())

    def __getitem__(self, name: str) -> TaskDraws:
        return self._by_name[name]

    def _in_turn(self) -> Iterator[tuple[str, TaskDraws]]:
        state = _seeded()
        splits: dict[int, tuple[Ints, Ints]] = {}
        keep = sum(n for _, n in self.tasks) * self.n_folds * self.spec.epochs * 4 <= _KEPT
        for name, n in self.tasks:
            if n not in splits:
                splits[n] = shuffle_split(n, self.n_folds)
            held_out, train = splits[n]
            if self.spec.stream == "independent":
                state = _seeded()
            states = [state.copy()]
            for _ in range(self.n_folds):
                _skip(state, fold_words(n, self.d, self.spec.epochs))
                states.append(state.copy())
            if self.spec.store_probes:
                _skip(state, stored_probe_words(self.d, self.spec.epochs))
            yield name, TaskDraws(held_out, train, np.stack(states), self.d, self.spec.epochs, keep)


def _seeded() -> Words:
    _, key, position, *_ = RandomState(SEED).get_state(legacy=True)
    return np.append(key, position).astype(np.uint32)


def _skip(state: Words, count: int) -> None:
    cpu.mt19937(state, np.empty(count, dtype=np.uint32))
