"""Blocks of submissions, scored in memory and as runs, in this process and with the same threads."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from threadpoolctl import ThreadpoolController

import fastprobe
from benchmarks.cases.bulk.rows import Rows, rows_in, rows_on_disk
from fastprobe.backend import Backend
from fastprobe.embeddings import Submission
from fastprobe.protocol import Protocol
from fastprobe.runs import find_items
from fastprobe.runs import run as run_all
from fastprobe.runs.journal import Journal
from fastprobe.tasks import Benchmark

__all__ = ["FILES", "MEMORY", "STORE", "Engine", "Turn"]

MEMORY, FILES, STORE = "fastprobe, in memory", "run, .npz files", "run, store"

_JOURNALS = {"finished.jsonl": "file", "inputs.jsonl": "name"}
"""Those that grow with the number of submissions, and the field that names."""


@dataclass(frozen=True, eq=False)
class Turn:
    """What a contestant made of a block.

    Attributes
    ----------
    count : int
        Submissions.
    seconds, cpu_seconds : float
        The latter of all threads.
    rows : Rows
    stages : mapping of str to float
        Seconds of the stages of a run.
    bytes_written : mapping of str to int
        What a run leaves, by kind of file.
    """

    count: int
    seconds: float
    cpu_seconds: float
    rows: Rows
    stages: Mapping[str, float]
    bytes_written: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Engine:
    """What scores blocks.

    Attributes
    ----------
    protocol : Protocol
    benchmark : Benchmark
    backend : Backend
    scratch : Path
        Folder for the folders of runs, which are removed.
    """

    protocol: Protocol
    benchmark: Benchmark
    backend: Backend
    scratch: Path

    def contestants(self, files: Sequence[Path], store: Path | None) -> dict[str, Callable[[], Turn]]:
        """What each contestant does with a block; its arrays are read here, and hashed."""
        submissions = [Submission.read(path) for path in files]
        for submission in submissions:
            submission.digest  # noqa: B018  # kept for later
        found: dict[str, Callable[[], Turn]] = {
            MEMORY: partial(self._in_memory, submissions),
            FILES: partial(self._as_run, files),
        }
        if store is not None:
            found[STORE] = partial(self._as_run, [store])
        return found

    def figures(self, files: Sequence[Path]) -> dict[str, float]:
        """What the scores of a submission cost: bytes while a run is at work, and seconds for the journals.

        Too few files for the run to put their scores together. The lines of its journals are written once more.
        """
        with self._folder() as out:
            count = self._run(files, out).count
            spent = 0.0
            for name, key in _JOURNALS.items():
                lines, again = Journal(out / name, key).read(), Journal(out / f"again-{name}", key)
                start = time.perf_counter()
                for noted, fields in lines.items():
                    again.put(noted, **fields)
                spent += time.perf_counter() - start
            return {kind: size / count for kind, size in _sizes(out).items()} | {"journal_s": spent / count}

    def _in_memory(self, submissions: Sequence[Submission]) -> Turn:
        with _clocked() as spent:
            scores = fastprobe.score(submissions, self.benchmark, protocol=self.protocol, device=self.backend)
        return Turn(len(submissions), spent.seconds, spent.cpu_seconds, rows_in([scores.to_arrow()]), {}, {})

    def _as_run(self, places: Sequence[Path]) -> Turn:
        with self._folder() as out:
            return self._run(places, out)

    def _run(self, places: Sequence[Path], out: Path) -> Turn:
        _let_go_of_blas()
        with _clocked() as spent:
            items = find_items(places)
            report = run_all(items, self.benchmark, out, protocol=self.protocol, device=self.backend)
        return Turn(len(items), spent.seconds, spent.cpu_seconds, rows_on_disk(out), report.seconds, _sizes(out))

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self.scratch) as name:
            yield Path(name)


@dataclass(eq=False)
class _Spent:
    """Wall time and CPU time of a block of code, when it is over."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0


@contextmanager
def _clocked() -> Iterator[_Spent]:
    spent = _Spent()
    gc.collect()
    start, cpu = time.perf_counter(), time.process_time()
    yield spent
    spent.seconds, spent.cpu_seconds = time.perf_counter() - start, time.process_time() - cpu


def _let_go_of_blas() -> None:
    """Let another thread of this process set how many threads OpenBLAS has, as the one of a run that scores does.

    From version 3.8 on, threadpoolctl ignores all threads but the first one, which here is that of the benchmarks.
    """
    for library in ThreadpoolController().select(internal_api="openblas").lib_controllers:
        if hasattr(library, "clear_controlling_thread"):
            library.clear_controlling_thread()


def _sizes(out: Path) -> dict[str, int]:
    return {
        "score_bytes": sum(path.stat().st_size for path in (out / "scores").glob("*.parquet")),
        "journal_bytes": sum((out / name).stat().st_size for name in _JOURNALS),
    }
