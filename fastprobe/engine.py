"""The engine: submissions x tasks -> scores.

A submission is read, scored under every protocol and let go, so that memory does not grow with the number of
submissions (:mod:`fastprobe.scoring`). How a probe goes through the tasks of a benchmark is its own business
(:mod:`fastprobe.units`).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastprobe.backend import Backend, check_device, get_backend
from fastprobe.backend.cuda.foreign import adopted, gpu_of, plain, to_host
from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.planner import Shape, choose_route
from fastprobe.protocol import DEFAULT, Protocol
from fastprobe.reading import ReadAhead, in_turn
from fastprobe.results import Scores, TaskScore
from fastprobe.scoring import Progress, Run
from fastprobe.tasks import Benchmark, Kind, Task
from fastprobe.units import make_scorer, scored_tasks

__all__ = ["ArrayScore", "Progress", "score", "score_arrays", "score_each", "score_path", "score_protocols"]

_log = logging.getLogger(__name__)

Alpha = float | Literal["auto"]


def score(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    *,
    protocol: str | Protocol = DEFAULT,
    alpha: Alpha | None = None,
    folds: int | None = None,
    device: str | Backend = "auto",
    route: str | None = None,
    lenient: bool = False,
    progress: Progress | None = None,
) -> Scores:
    """Score submissions on every task of a benchmark.

    Parameters
    ----------
    submissions : iterable of Submission or path
        Paths are read when their turn comes, so that only a few embeddings are in memory at a time: the one that is
        scored and the next, on a GPU a few more. A generator is asked in the calling thread, without the next.
    benchmark : Benchmark
    protocol : str or Protocol
        Name of a built-in protocol, path of a ``.toml`` file, or a protocol.
    alpha : float or "auto", optional
        Overrides the strength of the protocol.
    folds : int, optional
        Overrides its number of folds.
    device : str or Backend
        ``cpu``, ``cuda``, ``cuda:N`` for one of several GPUs, ``auto`` for a GPU if there is one; or what
        :func:`fastprobe.backend.get_backend` returned, to be used again.
    route : str, optional
        Force a route of ridge (``direct``, ``downdate``, ``iterate``, ``dual``, ``mixed``), which the planner chooses
        otherwise. Only where a task is scored by ridge.
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
    (scores,) = _gathered(_begin(submissions, benchmark, [[chosen]], device, route, lenient, progress))
    return scores


def score_protocols(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    *,
    protocols: Sequence[str | Protocol],
    device: str | Backend = "auto",
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
    return _gathered(_begin(submissions, benchmark, families, device, None, lenient, progress))


def score_each(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    *,
    protocols: Sequence[str | Protocol],
    device: str | Backend = "auto",
    lenient: bool = False,
    progress: Progress | None = None,
) -> Iterator[list[Scores]]:
    """Score submissions, and give the scores of each when they are known; parameters as in :func:`score_protocols`.

    Options are checked before this returns. What is wrong with a submission is said when its turn comes, after the
    scores of all before it.

    Yields
    ------
    list of Scores
        Of a submission, one per protocol.
    """
    families = [[_protocol(protocol, None, None)] for protocol in protocols]
    run = _begin(submissions, benchmark, families, device, None, lenient, progress)
    return ([Scores(rows, p.to_dict()) for rows, p in zip(found, run.protocols, strict=True)] for found in run)


def score_path(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    *,
    alphas: Sequence[float],
    protocol: str | Protocol = DEFAULT,
    folds: int | None = None,
    device: str | Backend = "auto",
    route: str | None = None,
    lenient: bool = False,
    progress: Progress | None = None,
) -> list[Scores]:
    """Score submissions at several strengths at once; other parameters as in :func:`score`.

    Parameters
    ----------
    alphas : sequence of float, length A
        Distinct strengths.
    protocol : str or Protocol
        One that has a strength; of a kernel, the parameters are chosen for every strength.

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
    return _gathered(_begin(submissions, benchmark, [protocols], device, route, lenient, progress))


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
    protocol: str | Protocol = DEFAULT,
    alpha: Alpha | None = None,
    folds: int | None = None,
    device: str | Backend = "auto",
    route: str | None = None,
) -> ArrayScore:
    """Score features and labels that are in memory; row i of `x` belongs to label i.

    Parameters
    ----------
    x : array, shape (n, d)
        Anything that :func:`numpy.asarray` or DLPack understands. An array on a GPU (of CuPy, torch, Numba or anything
        with DLPack) stays there: it is checked and scored where it lies, and only the scores come to the host. The
        protocol ``neuco``, which standardises on the host, is the exception.
    y : array, shape (n,)
        Labels; two or more values for classification.
    kind : {"regression", "classification"}
    protocol, alpha, folds, route
        As in :func:`score`. Schemes that read a file of ids need :func:`score`.
    device : str or Backend
        As in :func:`score`; for features on a GPU, ``auto`` is that GPU.

    Raises
    ------
    InputError
        If shapes do not fit, or a value is not finite, or the features lie on another GPU than `device`.
    """
    chosen = _protocol(protocol, alpha, folds)
    if chosen.folds.needs_file:
        raise InputError(
            "protocol", found=f"{chosen.folds.scheme} folds, which go by sample id", expected="a scheme without a file",
            fix="use fastprobe.score with a Submission and a Benchmark",
        )  # fmt: skip
    number, y = gpu_of(x), _host(y)
    if number is None:
        x = _host(x)
    elif device == "auto":
        device = f"cuda:{number}"
    if y.ndim != 1 or len(x.shape) != 2 or x.shape[0] != len(y):
        raise InputError(
            "score_arrays", found=f"x {tuple(x.shape)} and y {y.shape}", expected="(n, d) and (n,)", fix="reshape them"
        )
    ids = [f"{i:09d}" for i in range(len(y))]
    task = Task.from_arrays("labels", kind, ids, y)
    submission = Submission.from_arrays("array", ids, x)
    if submission.gpu is not None and chosen.probe == "neuco":
        _log.info("the protocol %s standardises on the host: the array is copied there", chosen.name)
        submission = submission.on_host()
    scores = score(
        [submission],
        Benchmark.from_tasks([task]),
        protocol=chosen,
        device=device,
        route=route,
    )
    row = scores.rows[0]
    by_fold = np.array([np.nan if s is None else s for s in row.fold_scores])
    return ArrayScore(by_fold, row.mean, row.std, row.q, row)


def _host(a: Any) -> NDArray[Any]:
    a = plain(a)
    if gpu_of(a) is not None:
        return to_host(adopted(a, "score_arrays"))
    if not isinstance(a, np.ndarray) and hasattr(a, "__dlpack__"):
        return np.from_dlpack(a)
    return np.asarray(a)


def _protocol(protocol: str | Protocol, alpha: Alpha | None, folds: int | None) -> Protocol:
    found = protocol if isinstance(protocol, Protocol) else Protocol.load(protocol)
    return found.with_options(alpha=alpha, folds=folds)


def _begin(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    families: Sequence[Sequence[Protocol]],
    device: str | Backend,
    route: str | None,
    lenient: bool,
    progress: Progress | None,
) -> Run:
    """Check the options and begin to read; protocols of one family differ in their fixed strength only."""
    if route is not None:
        choose_route(Shape(1, 1, 1, 1, 1), route=route)  # a wrong name fails before anything is read
        _require_ridge(benchmark, [family[0] for family in families])
    scored = scored_tasks(benchmark, [family[0] for family in families])
    for family in families:
        _remark_on_left_out(benchmark, family[0])
    if isinstance(device, str):
        check_device(device)
    coming = in_turn(submissions, lenient=lenient)  # reads the first while the backend is loaded and folds are made
    backend = get_backend(device) if isinstance(device, str) else device
    on_host = [family[0].name for family in families if family[0].probe == "neuco"]  # it standardises there
    if isinstance(coming, ReadAhead) and len(on_host) < len(families):
        coming.prefetch_with(backend.prefetch)
    scorers = [make_scorer(backend, scored, family, route) for family in families]
    count = len(submissions) if isinstance(submissions, Collection | ReadAhead) else None
    return Run(coming, count, scored, backend, scorers, on_host, lenient, progress)


def _gathered(run: Run) -> list[Scores]:
    """One Scores per protocol, of all submissions."""
    rows: list[list[TaskScore]] = [[] for _ in run.protocols]
    for found in run:
        for target, records in zip(rows, found, strict=True):
            target.extend(records)
    return [Scores(r, p.to_dict()) for r, p in zip(rows, run.protocols, strict=True)]


def _require_ridge(benchmark: Benchmark, protocols: Iterable[Protocol]) -> None:
    """Raise InputError if a route is forced where nothing is scored by ridge."""
    for protocol in protocols:
        if not any(protocol.probe_for(task.kind) == "ridge" for task in benchmark.tasks):
            raise InputError(
                "--route",
                found=f"a route for the protocol {protocol.name}, which has none for these tasks",
                expected="a route only where ridge scores a task",
                fix="leave --route out",
            )


def _remark_on_left_out(benchmark: Benchmark, protocol: Protocol) -> None:
    left_out = [task.name for task in benchmark.tasks if protocol.probe_for(task.kind) is None]
    if left_out:
        _log.warning("the protocol %s leaves out the regression tasks %s", protocol.name, ", ".join(left_out))
