"""Files into a store: several at a time, each whole or not at all, and none twice."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from fastprobe.embeddings import Submission
from fastprobe.errors import FastprobeError, InputError
from fastprobe.store.entry import Entry
from fastprobe.store.sources import Stamp, submission_files
from fastprobe.store.store import Store
from fastprobe.store.writer import Writer

__all__ = ["Failure", "IngestResult", "ingest"]


@dataclass(frozen=True)
class Failure:
    """A file that could not be ingested.

    Attributes
    ----------
    path : str
    error : str
        Why: where, what was found, what was expected, what to do.
    """

    path: str
    error: str


@dataclass(frozen=True)
class IngestResult:
    """What became of the files.

    Attributes
    ----------
    added, skipped, replaced : tuple of Entry
        New submissions; those that were there with the same content; those that took the place of other content. In the
        order of the files.
    failed : tuple of Failure
    """

    added: tuple[Entry, ...]
    skipped: tuple[Entry, ...]
    replaced: tuple[Entry, ...]
    failed: tuple[Failure, ...]


def ingest(
    files: Iterable[str | Path] | str | Path,
    store: Store,
    *,
    lenient: bool = False,
    ids: str | Path | None = None,
    workers: int | None = None,
    compress: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
) -> IngestResult:
    """Read files of submissions and put them into a store.

    A file that was ingested before, and has the same size and modification time, is skipped without being read; one
    that was touched but holds the same, after it was read. Other content takes the place of what has its name. The
    original files are never changed. A file that cannot be read is recorded, and the others go on.

    Parameters
    ----------
    files : iterable of path
        Files and folders of files.
    store : Store
        Written to while this lasts, which nobody else may do then.
    lenient : bool
        Repair what can be repaired; see :meth:`Submission.read`.
    ids : path, optional
        Id file of ``.npy`` files and Zarr arrays.
    workers : int, optional
        Files at a time, and so matrices in memory; the number of cores by default, 4 at most.
    compress : bool
        Compress the features (Blosc, Zstandard). What is there already stays as it is.
    progress : callable, optional
        Called with the name of a submission, the files done, and the files in all.

    Returns
    -------
    IngestResult

    Raises
    ------
    InputError
        If two files give one name, or a place is not there; if the store is an archive, cannot be written to, is full,
        or another process writes to it. What was stored before stays stored.
    """
    paths = submission_files([files] if isinstance(files, (str, Path)) else files)
    if workers is None:
        workers = min(os.cpu_count() or 1, 4)
    if workers < 1:
        raise InputError("workers", found=str(workers), expected="at least 1", fix="correct workers")
    task = _Task(None if ids is None else Path(ids), lenient, compress, threading.Event())
    outcomes: dict[Path, str | Failure | None] = {}
    with store.writer() as writer, ThreadPoolExecutor(workers, thread_name_prefix="fastprobe-ingest") as pool:
        running = {pool.submit(task.ingest, path, writer): path for path in paths}
        try:
            for done in as_completed(running):
                path = running[done]
                outcomes[path] = done.result()
                if progress is not None:
                    progress(path.stem, len(outcomes), len(paths))
        except BaseException:
            task.stop.set()  # files under way are finished, and kept; no other is begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    entries = {kind: tuple(store.entry(p.stem) for p in paths if outcomes[p] == kind) for kind in _KINDS}
    failed = tuple(outcome for path in paths if isinstance(outcome := outcomes[path], Failure))
    return IngestResult(**entries, failed=failed)


_KINDS = ("added", "skipped", "replaced")


@dataclass(frozen=True)
class _Task:
    """What is done with every file."""

    ids: Path | None
    lenient: bool
    compress: bool
    stop: threading.Event

    def ingest(self, path: Path, writer: Writer) -> str | Failure | None:
        """Ingest one file; None if all is to stop, which is so once a submission could not be written."""
        if self.stop.is_set():
            return None
        try:
            stamp = Stamp.of(path)
            if self._is_known(writer.index.entries.get(path.stem), stamp):
                return "skipped"
            submission = Submission.read(path, ids=self.ids, lenient=self.lenient)
            _ = submission.digest  # ids that are no text are found here
            if Stamp.of(path) != stamp:
                raise InputError(
                    str(path),
                    found="a file that changed while it was read",
                    expected="a file that is complete",
                    fix="ingest it again when it is written",
                )
        except FastprobeError as error:
            return Failure(str(path), str(error))
        except Exception as error:  # a bad file takes readers to places that their authors did not think of
            return Failure(str(path), f"{path}: {type(error).__name__}: {error}")
        try:
            return writer.add(submission, stamp, compress=self.compress)
        except BaseException:
            self.stop.set()
            raise

    def _is_known(self, held: Entry | None, stamp: Stamp) -> bool:
        if held is None or not stamp.proves or (held.repairs and not self.lenient):
            return False
        return stamp == Stamp(held.source, held.source_size, held.source_mtime_ns)
