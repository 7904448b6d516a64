"""One run of the drop-in: files in, files out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from fastprobe.backend import check_device, get_backend
from fastprobe.compat.neuco.config import NeucoConfig
from fastprobe.compat.neuco.files import write_summary
from fastprobe.compat.neuco.labels import LabelFile, read_label_folder, select
from fastprobe.compat.neuco.leaderboard import read_runs, summarize_runs
from fastprobe.compat.neuco.plots import require_matplotlib
from fastprobe.compat.neuco.run_folder import publish, staging
from fastprobe.compat.neuco.submission import Embeddings, read_embeddings, read_exclusions
from fastprobe.errors import InputError
from fastprobe.readers.table import shorten
from fastprobe.results import Scores

__all__ = ["Finished", "Job", "run"]

_log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with (name of the run, tasks done, tasks in all) whenever a task is finished."""


@dataclass(frozen=True)
class Job:
    """What to run: the options of NeuCo-Bench's ``main.py``.

    Attributes
    ----------
    annotation_path : Path
        Folder of ``<task>__<type>.csv`` files.
    submission_file : Path
        Of any format that fastprobe reads.
    output_dir : Path
    config : NeucoConfig
    method : str
        Begins the name of the run, and stands for the submission in its records.
    phase : str
        Folder of the run within `output_dir`.
    exclude_file : Path or None
        Ids of rows of the submission to leave out, one a line.
    device : str
        Overrides that of the config unless it is ``auto``.

    Raises
    ------
    InputError
        If the method or the phase cannot be a folder.
    """

    annotation_path: Path
    submission_file: Path
    output_dir: Path
    config: NeucoConfig
    method: str
    phase: str = "results"
    exclude_file: Path | None = None
    device: str = "auto"

    def __post_init__(self) -> None:
        """Validate."""
        if not _is_name(self.method) or "/" in self.method or "\\" in self.method:
            raise InputError(
                "--method_name",
                found=shorten(self.method),
                expected="a name that can begin the name of a folder, without slashes and without a dot before it",
                fix="write for example --method_name team-a",
            )
        phase = Path(self.phase)
        if not phase.parts or phase.is_absolute() or not all(map(_is_name, phase.parts)):
            raise InputError(
                "--phase",
                found=shorten(self.phase),
                expected="the name of a folder within --output_dir, without a dot before it",
                fix="write for example --phase eval",
            )


def _is_name(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and not text.startswith(".")


@dataclass(frozen=True)
class Finished:
    """A run that is done.

    Attributes
    ----------
    folder : Path
        Of the run.
    scores : Scores
        The full records.
    leaderboard : Path or None
        The CSV file, if the config asks for one and some run is complete.
    """

    folder: Path
    scores: Scores
    leaderboard: Path | None


def run(
    job: Job,
    *,
    now: Callable[[], datetime] = datetime.now,
    write: Callable[[str], object] = lambda text: None,
    progress: Progress | None = None,
) -> Finished:
    """Score a submission and write NeuCo-Bench's files, all of them or none.

    Parameters
    ----------
    job : Job
    now : callable
        The clock, for the names of folders and files.
    write : callable
        Called with the text that NeuCo-Bench prints on standard output.
    progress : callable, optional
        Called with the method, the tasks done and the tasks in all.

    Raises
    ------
    InputError
        If an input is wrong, or the output cannot be written; nothing is left behind then.
    """
    config, started = job.config, now()
    device = _device(job)
    if config.enable_plots:
        require_matplotlib(config.source.place("enable_plots"))
    if config.update_leaderboard:
        read_runs(job.output_dir / job.phase)  # a summary that cannot be read is found before the work
    boards = job.output_dir / "leaderboards" / job.phase
    writable = staging(boards, "leaderboard") if config.update_leaderboard else nullcontext()
    with staging(job.output_dir / job.phase, job.method) as folder, writable:
        with ThreadPoolExecutor(1, thread_name_prefix="fastprobe-reader") as reader:
            reading = reader.submit(_read, job)
            from fastprobe.compat.neuco.scoring import Inputs, RunScorer  # compilers, loaded while files are read
            from fastprobe.compat.neuco.tasks import join

            backend = get_backend(device)
            files = reading.result()
        tasks = join(files.chosen, files.embeddings.spans, config, left_out=files.left_out)
        inputs = Inputs(files.embeddings, tasks)
        scored = RunScorer(backend, config, inputs, folder, job.method, job.submission_file.stem).run(progress)
        (folder / "fastprobe_scores.json").write_text(scored.scores.to_json() + "\n", encoding="utf-8", newline="")
        final = publish(
            folder, job.method, started, lambda name: write_summary(folder, name, scored.summaries, config.stored)
        )
        leaderboard = None
        if config.update_leaderboard:
            leaderboard = summarize_runs(job.output_dir, job.phase, now=now(), write=write)
    return Finished(final, scored.scores, leaderboard)


def _device(job: Job) -> str:
    """Return the device to use; an error about that of the config names its place there."""
    if job.device != "auto":
        check_device(job.device)
        return job.device
    try:
        check_device(job.config.device)
    except InputError as error:
        place = job.config.source.place("probe_params.device")
        raise type(error)(place, found=error.found, expected=error.expected, fix=error.fix) from None
    return job.config.device


@dataclass(frozen=True, eq=False)
class _Files:
    """What was read: all label files, those of the tasks to score, and the embeddings."""

    labels: list[LabelFile]
    chosen: list[LabelFile]
    embeddings: Embeddings

    @property
    def left_out(self) -> list[str]:
        """Tasks that would be scored were it not for ``task_filter``."""
        spans = self.embeddings.spans
        return [file.name for file in self.labels if file not in self.chosen and any(i in spans for i in file.ids)]


def _read(job: Job) -> _Files:
    labels = read_label_folder(job.annotation_path)
    chosen = select(labels, job.config)
    excluded = frozenset[str]() if job.exclude_file is None else read_exclusions(job.exclude_file)
    known = {sample for file in labels for sample in file.ids}
    missing = sum(file.n_missing for file in labels)
    _log.info(
        "%s: %d tasks, %d labelled ids, %d rows without a label", job.annotation_path, len(labels), len(known), missing
    )
    embeddings = read_embeddings(job.submission_file, known, excluded=excluded, embedding_dim=job.config.embedding_dim)
    _log.info("%s: %d rows with a label, %d dimensions", job.submission_file, *embeddings.x.shape)
    return _Files(labels, chosen, embeddings)
