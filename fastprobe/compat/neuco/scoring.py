"""Training and scoring of a run, and the files of its tasks."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fastprobe.backend import Backend
from fastprobe.backend.lanes import as_finished
from fastprobe.compat.neuco.config import NeucoConfig
from fastprobe.compat.neuco.files import TaskSummary, write_task
from fastprobe.compat.neuco.plots import draw
from fastprobe.compat.neuco.probe import LinearProbe
from fastprobe.compat.neuco.submission import Embeddings
from fastprobe.compat.neuco.tasks import JoinedTask
from fastprobe.probes.neuco import Scaling, TaskReplay, make_draws, replay, standardized, task_score
from fastprobe.protocol import Protocol
from fastprobe.results import Scores, TaskScore

__all__ = ["Inputs", "RunScorer", "Scored"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Inputs:
    """What was read: the embeddings, and the tasks sorted by name."""

    embeddings: Embeddings
    tasks: list[JoinedTask]


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores of a run, as full records and as NeuCo-Bench sums them up; tasks sorted by name."""

    scores: Scores
    summaries: list[TaskSummary]


@dataclass(frozen=True, eq=False)
class RunScorer:
    """Scores one submission.

    Attributes
    ----------
    backend : Backend
    config : NeucoConfig
    inputs : Inputs
    folder : Path
        Where the files of the tasks go.
    name : str
        Of the submission, in the records.
    prefix : str
        Begins the names of the figures of folds.
    """

    backend: Backend
    config: NeucoConfig
    inputs: Inputs
    folder: Path
    name: str
    prefix: str

    def run(self, progress: Callable[[str, int, int], None] | None = None) -> Scored:
        """Train the probes of all tasks, several tasks at a time, and write the files of each when it is finished.

        `progress` is called with the name, the tasks done and the tasks in all.
        """
        config, tasks, embeddings = self.config, self.inputs.tasks, self.inputs.embeddings
        layout = tuple((task.replay.name, len(task.labels)) for task in tasks)
        protocol = config.protocol().bound_to(layout)
        x, scaling = standardized(
            embeddings.x, embedding_dim=config.embedding_dim, standardize=config.standardize_embeddings
        )
        draws = make_draws(layout, protocol, x.shape[1])
        done: dict[str, tuple[TaskScore, TaskSummary]] = {}
        with self.backend.session(), self.backend.lane_pool() as lanes:
            device_x = self.backend.asarray(x)

            def train(task: JoinedTask) -> tuple[JoinedTask, TaskReplay]:
                (result,) = replay(
                    self.backend, device_x, [task.replay], protocol, draws=draws, curves=config.enable_plots
                )
                return task, result

            largest_first = sorted(tasks, key=lambda task: -len(task.labels))
            for task, result in as_finished(lanes, train, largest_first):
                done[task.replay.name] = self._record(task, result, protocol), self._write(task, result, scaling)
                if progress is not None:
                    progress(self.name, len(done), len(tasks))
        records, summaries = zip(*(done[name] for name, _ in layout), strict=True)
        return Scored(Scores(records, protocol.to_dict()), list(summaries))

    def _write(self, task: JoinedTask, result: TaskReplay, scaling: Scaling) -> TaskSummary:
        summary = TaskSummary.of(task.replay.name, result.scores)
        _log.info("%s (%s): Q %.4f", summary.name, task.replay.kind, summary.q)
        write_task(self.folder, summary, self.config)
        if self.config.enable_plots:
            draw(result, self.folder, self.prefix)
        if self.config.store_probes:
            folder = self.folder / summary.name / "probe"
            folder.mkdir()
            self._probe(task, result, scaling).save(folder / "probe.npz")
        return summary

    def _record(self, task: JoinedTask, result: TaskReplay, protocol: Protocol) -> TaskScore:
        return task_score(
            result,
            protocol=protocol,
            submission=self.name,
            embedding_hash=self.inputs.embeddings.digest,
            label_hash=task.digest,
            device=self.backend.device,
            notes=task.notes,
            repairs={**self.inputs.embeddings.repairs, **task.repairs},
            n_missing_labels=task.n_missing,
        )

    def _probe(self, task: JoinedTask, result: TaskReplay, scaling: Scaling) -> LinearProbe:
        assert result.refit is not None, "a replay that stores probes"
        return LinearProbe(
            task=task.replay.name,
            kind=task.replay.kind,
            weight=result.refit[:-1],
            bias=float(result.refit[-1]),
            n_features=self.inputs.embeddings.x.shape[1],
            mean=float(scaling.mean),
            std=float(scaling.std),
            label_min=float(task.labels.min()),
            label_max=float(task.labels.max()),
            normalize_labels=self.config.normalize_labels,
            epochs=self.config.epochs,
            batch_size=self.config.batch_size,
            learning_rate=float(self.config.learning_rate),
            n_samples=len(task.labels),
        )
