"""The engine: submissions x tasks -> scores.

One submission at a time is read, scored under every protocol and let go, so that memory does not grow with the number
of submissions. How a probe goes through the tasks of a benchmark is its own business (:mod:`fastprobe.units`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend import check_device, get_backend
from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.planner import Shape, choose_route
from fastprobe.protocol import Protocol
from fastprobe.reading import in_turn
from fastprobe.results import Scores, TaskScore
from fastprobe.tasks import Benchmark, Kind, Task
from fastprobe.units import Located, locate, make_scorer

__all__ = ["ArrayScore", "Progress", "score", "score_arrays", "score_path", "score_protocols"]

Progress = Callable[[str, int, int], None]
"""Called with (submission, units done, units in all) whenever a unit is finished: a sample group of a submission for
ridge, a task of a submission for neuco."""

Alpha = float | Literal["auto"]


def score(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    *,
    protocol: str | Protocol = "ridge",
    alpha: Alpha | None = None,
    folds: int | None = None,
    device: str = "auto",
    route: str | None = None,
    lenient: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Score submissions on every task of a benchmark.

    Parameters
    ----------
    submissions : iterable of Submission or path
        Paths are read when their turn comes, so that only one embedding is in memory at a time; so is a generator.
    benchmark : Benchmark
    protocol : str or Protocol
        Name of a built-in protocol, path of a ``.toml`` file, or a protocol.
    alpha : float or "auto", optional
        Overrides the strength of the protocol.
    folds : int, optional
        Overrides its number of folds.
    device : {"auto", "cpu", "cuda"}
    route : str, optional
        Force a route (``direct``, ``downdate``, ``iterate``, ``dual``) instead of letting the planner choose.
    lenient : bool
        Mend what NeuCo-Bench would mend, and count it; also drops labelled samples that a submission lacks.
    progress : callable, optional
        See :data:`Progress`.

    Returns
    -------
    Scores
        Rows in the order of the submissions, tasks sorted by name.

    Raises
    ------
    InputError
        If a submission, the benchmark, an option or their combination is wrong.
    """
    chosen = _protocol(protocol, alpha, folds)
    (scores,) = _score(submissions, benchmark, [[chosen]], device, route, lenient, progress)
    return scores


def score_protocols(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    *,
    protocols: Sequence[str | Protocol],
    device: str = "auto",
    lenient: bool = False,
    progress: Progress | None = None,
) -> list[Scores]:
    """Score submissions under several protocols, reading each once; other parameters as in :func:`score`.

    Parameters
    ----------
    protocols : sequence of str or Protocol
        Names, paths of ``.toml`` files, or protocols.

    Returns
    -------
    list of Scores
        One per protocol, each what :func:`score` gives under that protocol.
    """
    families = [[_protocol(protocol, None, None)] for protocol in protocols]
    return _score(submissions, benchmark, families, device, None, lenient, progress)


def score_path(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    *,
    alphas: Sequence[float],
    protocol: str | Protocol = "ridge",
    folds: int | None = None,
    device: str = "auto",
    route: str | None = None,
    lenient: bool = False,
    progress: Progress | None = None,
) -> list[Scores]:
    """Score submissions at several strengths at once; other parameters as in :func:`score`.

    Parameters
    ----------
    alphas : sequence of float, length A
        Distinct strengths.

    Returns
    -------
    list of Scores
        One per strength, each what :func:`score` gives at that strength.
    """
    if len(set(alphas)) != len(alphas) or not len(alphas):
        raise InputError("alphas", found=repr(list(alphas)), expected="distinct numbers above 0", fix="list each once")
    protocols = [_protocol(protocol, alpha, folds) for alpha in alphas]
    if any(p.alpha == "auto" for p in protocols):
        raise InputError("alphas", found="'auto'", expected="numbers above 0", fix="use score(alpha='auto')")
    return _score(submissions, benchmark, [protocols], device, route, lenient, progress)


@dataclass(frozen=True, eq=False)
class ArrayScore:
    """Score of one array of features on one array of labels.

    Attributes
    ----------
    fold_scores : ndarray of float64, shape (K,)
        R2 or F1 of every fold; NaN where it failed.
    mean, std, q : float or None
    record : TaskScore
        The full record.
    """

    fold_scores: NDArray[np.float64]
    mean: float | None
    std: float | None
    q: float | None
    record: TaskScore


def score_arrays(
    x: Any,
    y: Any,
    *,
    kind: Kind = "regression",
    protocol: str | Protocol = "ridge",
    alpha: Alpha | None = None,
    folds: int | None = None,
    device: str = "auto",
    route: str | None = None,
) -> ArrayScore:
    """Score features and labels that are in memory; row i of `x` belongs to label i.

    Parameters
    ----------
    x : array, shape (n, d)
        Anything that :func:`numpy.asarray` or DLPack understands.
    y : array, shape (n,)
        Labels; two values for classification.
    kind : {"regression", "classification"}
    protocol, alpha, folds, device, route
        As in :func:`score`. Schemes that read a file of ids need :func:`score`.

    Raises
    ------
    InputError
        If shapes do not fit, or a value is not finite.
    """
    chosen = _protocol(protocol, alpha, folds)
    if chosen.folds.needs_file:
        raise InputError(
            "protocol", found=f"{chosen.folds.scheme} folds, which go by sample id", expected="a scheme without a file",
            fix="use fastprobe.score with a Submission and a Benchmark",
        )  # fmt: skip
    x, y = _host(x), _host(y)
    if y.ndim != 1 or x.ndim != 2 or len(x) != len(y):
        raise InputError(
            "score_arrays", found=f"x {x.shape} and y {y.shape}", expected="(n, d) and (n,)", fix="reshape them"
        )
    ids = [f"{i:09d}" for i in range(len(y))]
    task = Task.from_arrays("labels", kind, ids, y)
    scores = score(
        [Submission.from_arrays("array", ids, x)],
        Benchmark.from_tasks([task]),
        protocol=chosen,
        device=device,
        route=route,
    )
    row = scores.rows[0]
    by_fold = np.array([np.nan if s is None else s for s in row.fold_scores])
    return ArrayScore(by_fold, row.mean, row.std, row.q, row)


def _host(a: Any) -> NDArray[Any]:
    if not isinstance(a, np.ndarray) and hasattr(a, "__dlpack__"):
        return np.from_dlpack(a)
    return np.asarray(a)


def _protocol(protocol: str | Protocol, alpha: Alpha | None, folds: int | None) -> Protocol:
    found = protocol if isinstance(protocol, Protocol) else Protocol.load(protocol)
    return found.with_options(alpha=alpha, folds=folds)


def _score(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    families: Sequence[Sequence[Protocol]],
    device: str,
    route: str | None,
    lenient: bool,
    progress: Progress | None,
) -> list[Scores]:
    """Score under several protocols, one Scores each; those of one family differ in their fixed strength only."""
    if route is not None:
        choose_route(Shape(1, 1, 1, 1, 1), route=route)  # a wrong name fails before anything is read
        _require_routes(protocol for family in families for protocol in family)
    check_device(device)
    coming = in_turn(submissions, lenient=lenient)  # reads the first while the backend is loaded and folds are made
    backend = get_backend(device)
    scorers = [make_scorer(backend, benchmark, family, route) for family in families]
    protocols = [protocol for scorer in scorers for protocol in scorer.protocols]
    needed = np.isin(benchmark.labelled_ids, np.concatenate([task.ids for task in benchmark.tasks]))
    rows: list[list[TaskScore]] = [[] for _ in protocols]
    seen: set[str] = set()
    try:
        total = len(submissions) * sum(scorer.units for scorer in scorers)  # type: ignore[arg-type]  # a generator has no length
    except TypeError:
        total = 0
    done = 0
    for submission in coming:
        if submission.name in seen:
            raise InputError(
                "submissions",
                found=f"two with the name {submission.name!r}",
                expected="one name each",
                fix="rename one",
            )
        seen.add(submission.name)
        located = Located(submission, benchmark, locate(benchmark, submission), {})
        if (located.rows_of[needed] < 0).any():
            known, dropped = _restrict(benchmark, submission, lenient)
            located = replace(located, benchmark=known, dropped=dropped)
        found: list[dict[str, TaskScore]] = [{} for _ in protocols]
        with backend.session():
            first = 0
            for scorer in scorers:
                for records in scorer.run(located):
                    for by_task, record in zip(found[first:], records, strict=False):
                        by_task.update({r.task: r for r in record})
                    done += 1
                    if progress is not None:
                        progress(submission.name, done, max(total, done))
                first += len(scorer.protocols)
        for target, by_task in zip(rows, found, strict=True):
            target.extend(by_task[name] for name in sorted(by_task))
        del submission, located
    return [Scores(r, p.to_dict()) for r, p in zip(rows, protocols, strict=True)]


def _require_routes(protocols: Iterable[Protocol]) -> None:
    for protocol in protocols:
        if protocol.probe != "ridge":
            raise InputError(
                "--route",
                found=f"a route for the protocol {protocol.name}, which has none",
                expected="a route only for ridge",
                fix="leave --route out",
            )


def _restrict(benchmark: Benchmark, submission: Submission, lenient: bool) -> tuple[Benchmark, dict[str, int]]:
    """Drop the labelled samples that a submission lacks, counted by task; refuse to if strict."""
    present = set(submission.ids.tolist())
    tasks, dropped = [], {}
    for task in benchmark.tasks:
        has = np.array([sample in present for sample in task.ids.tolist()])
        if has.all():
            tasks.append(task)
            continue
        lacking = task.ids[~has]
        if not lenient or has.sum() < 2:
            raise InputError(
                f"submission {submission.name!r}, task {task.name!r}",
                found=f"no embedding for {len(lacking)} of {len(task.ids)} labelled samples, first {str(lacking[0])!r}",
                expected="an embedding for every labelled sample",
                fix="add the missing rows, or score with --lenient to leave those samples out",
            )
        dropped[task.name] = len(lacking)
        tasks.append(replace(task, ids=task.ids[has], y=task.y[has]))
    return replace(benchmark, tasks=tuple(tasks)), dropped
