"""The submissions of bulk runs as files: one matrix of signal in a few mixtures, with noise, in blocks of files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.cases.bulk.amounts import N_TASKS, Amounts
from benchmarks.settings import Settings
from fastprobe.files import atomic_path, write_text
from fastprobe.store.ingest import ingest
from fastprobe.store.store import Store
from fastprobe.tasks import Benchmark

__all__ = ["TINY", "BulkData"]

TINY = (30, 3)
"""Shape of the submissions of which there are ten thousand."""

_FACTORS, _MIXTURES, _SEED = 16, 8, 0


@dataclass(frozen=True, eq=False)
class BulkData:
    """Submissions and labels in a folder that later runs use again.

    Attributes
    ----------
    amounts : Amounts
    cache : Path
        Folder of all benchmarks.
    """

    amounts: Amounts
    cache: Path

    @classmethod
    def of(cls, settings: Settings) -> BulkData:
        """Data of a run of the benchmarks."""
        return cls(Amounts.of(settings.scale), settings.cache)

    @cached_property
    def big(self) -> Submissions:
        """The bulk."""
        return Submissions.in_cache(self.cache, self.amounts.n, self.amounts.d)

    @cached_property
    def tiny(self) -> Submissions:
        """Submissions that cost next to nothing."""
        return Submissions.in_cache(self.cache, *TINY)

    def blocks(self, count: int) -> list[Path]:
        """Return folders of so many submissions each as a block has, made if they are not there."""
        size = self.amounts.block
        return [self.big.files(f"block-{i:02d}-of-{size}", range(i * size, (i + 1) * size)) for i in range(count)]

    def tiny_files(self) -> Path:
        """Return the folder of the tiny ones."""
        count = self.amounts.tiny
        return self.tiny.files(f"{count}-files", range(count))

    def tiny_store(self) -> Path:
        """Return a store of the same."""
        files = self.tiny_files()
        return into_store(files, self.tiny.folder / f"{self.amounts.tiny}.zarr")


@dataclass(frozen=True, eq=False)
class Submissions:
    """Submissions of one shape, with labels for :data:`~benchmarks.cases.bulk.amounts.N_TASKS` tasks of all samples.

    Attributes
    ----------
    folder : Path
        Named by their content.
    ids : ndarray of str, shape (n,)
    factors : ndarray of float64, shape (n, 16)
    mixed : ndarray of float32, shape (8, n, d)
        Mixtures of the factors.
    noise : ndarray of float32, shape (n, d)
        Rolled by its rows, it makes submissions of one mixture different.
    """

    folder: Path
    ids: NDArray[np.str_]
    factors: NDArray[np.float64]
    mixed: NDArray[np.float32]
    noise: NDArray[np.float32]

    @classmethod
    def in_cache(cls, cache: Path, n: int, d: int) -> Submissions:
        """Make them; another version of NumPy that draws or adds up otherwise has another folder."""
        rng = np.random.default_rng([_SEED, n, d])
        factors = rng.standard_normal((n, _FACTORS))
        mixing = rng.standard_normal((_MIXTURES, _FACTORS, d)) / np.sqrt(_FACTORS)
        mixed = np.stack([factors @ one for one in mixing]).astype(np.float32)
        noise = rng.standard_normal((n, d)).astype(np.float32)
        digest = hashlib.blake2b(mixed.tobytes() + noise.tobytes(), digest_size=6).hexdigest()
        ids = np.array([f"s{i:05d}" for i in range(n)])
        return cls(cache / f"bulk-{n}x{d}-{digest}", ids, factors, mixed, noise)

    def x(self, index: int) -> NDArray[np.float32]:
        """Embedding of a submission, shape (n, d); all below 8 n differ."""
        return self.mixed[index % _MIXTURES] + np.roll(self.noise, index // _MIXTURES, axis=0)

    def files(self, name: str, indices: range) -> Path:
        """Write those that are not there yet, and return their folder."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in indices:
            path = folder / f"team-{index:05d}.npz"
            if not path.is_file():
                with atomic_path(path) as partial, partial.open("wb") as file:
                    np.savez(file, id=self.ids, x=self.x(index))
        return folder

    @cached_property
    def labels(self) -> Path:
        """Folder of labels: regressions, and one classification."""
        folder = self.folder / "labels"
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng([_SEED, 1])
        for j in range(N_TASKS):
            y = np.tanh(self.factors @ rng.standard_normal(_FACTORS) / 4.0)
            y += (0.2 + 0.1 * j) * rng.standard_normal(len(y))
            classes = j == N_TASKS - 1
            values = (y > np.median(y)).astype(int) if classes else y
            lines = (f"{i},{value!r}\n" for i, value in zip(self.ids.tolist(), values.tolist(), strict=True))
            kind = "classification" if classes else "regression"
            write_text(folder / f"task{j}__{kind}.csv", "id,label\n" + "".join(lines))
        return folder

    @cached_property
    def benchmark(self) -> Benchmark:
        """The same labels, read."""
        return Benchmark.from_folder(self.labels)


def into_store(files: Path, place: Path) -> Path:
    """Ingest a folder of files, but for those that are in the store already, and return its place."""
    ingest([files], Store.open_or_create(place))
    return place
