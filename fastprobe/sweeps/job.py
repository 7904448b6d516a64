"""The job: submissions x orders x bit widths x sample groups, unit after unit, each kept when it is finished."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastprobe.backend import Backend, check_device, get_backend
from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.folds import read_assignment
from fastprobe.groups import SampleGroup, sample_groups
from fastprobe.protocol import Protocol
from fastprobe.reading import ReadAhead, in_turn
from fastprobe.scoring import Progress, located, needed_ids, restrict
from fastprobe.sweeps.blocks import table_of
from fastprobe.sweeps.matrices import Matrix, as_read, in_width, joined, named, principal
from fastprobe.sweeps.spec import Order, SweepSpec, Width
from fastprobe.sweeps.store import Parts, key_of
from fastprobe.sweeps.table import Sweep
from fastprobe.sweeps.units import Pool, Unit, blocks_of
from fastprobe.tasks import Benchmark
from fastprobe.units import scored_tasks

__all__ = ["sweep"]

_log = logging.getLogger(__name__)

_GRAM_BYTES = 32.0  # of an entry of the Gram matrix of all joined submissions, with the temporaries that make it

Ints = NDArray[np.int64]


def sweep(
    submissions: Iterable[Submission | str | Path],
    benchmark: Benchmark,
    *,
    sizes: Sequence[int] | Literal["all"] | None = None,
    orders: Sequence[str] = ("given",),
    random_orders: int = 3,
    pca_rows: Literal["train", "all"] = "train",
    alphas: Sequence[float] | None = None,
    alpha: float | Literal["auto"] | None = None,
    bits: Sequence[int] | None = None,
    quantizers: Sequence[str] | None = None,
    fractions: Sequence[float] = (1.0,),
    join: int = 1,
    protocol: str | Protocol = "ridge",
    folds: int | None = None,
    device: str | Backend = "auto",
    lenient: bool = False,
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Score submissions at many sizes, strengths, bit widths and numbers of labels; every combination.

    Ridge probes of all sizes come from one factorisation per fold and strength (:mod:`fastprobe.probes.prefix`), and
    are those of :func:`fastprobe.score` on the leading dimensions, with one difference: the scale that standardises is
    that of the whole embedding for every size, so that sizes differ in nothing else. Logistic probes are fitted for
    every size.

    Parameters
    ----------
    submissions : iterable of Submission or path
    benchmark : Benchmark
    sizes : sequence of int, "all" or None
        Numbers of leading dimensions, ascending, each once; ``all`` for 1 to d; None for d only.
    orders : sequence of str
        Which dimensions lead: ``given``; ``variance``, the largest over all rows of the submission first; ``pca``,
        principal components; ``random``.
    random_orders : int
        How many random orders (seeds 0, 1, ...).
    pca_rows : {"train", "all"}
        Rows whose principal components are taken: those that train each fold (ridge only), or all of the submission; no
        label is looked at.
    alphas : sequence of float, optional
        Strengths, each of them scored. With ``alpha="auto"`` those that are chosen from.
    alpha : float or "auto", optional
        Overrides the strength of the protocol. ``auto`` chooses one for every size, inside the training rows of every
        fold, from `alphas` or the protocol's grid.
    bits : sequence of int, optional
        Bits of a stored number: 32 (float32), 16, 8, 4, 2, 1; by default the embedding as it was read.
    quantizers : sequence of str, optional
        ``uniform`` (one range), ``dimension`` (a range per dimension; ridge only), ``sign`` (1 bit only); by default
        ``sign`` for 1 bit and ``uniform`` for more. See :func:`fastprobe.quantize`.
    fractions : sequence of float
        Shares of the training rows of every fold, ascending, above 0 and up to 1; a smaller share is part of a larger.
    join : int
        Also score sets of 2 to `join` submissions, joined dimension by dimension, each divided by its own standard
        deviation (ridge only). They are all held in memory.
    protocol : str or Protocol
        One whose probe is ``ridge``, ``logistic`` or ``closed-form``.
    folds, device, lenient
        As in :func:`fastprobe.score`.
    out : path, optional
        Folder in which finished units are kept: the same call goes on where it was interrupted.
    progress : callable, optional
        Called with (submission, units done, units in all).

    Returns
    -------
    Sweep

    Raises
    ------
    InputError
        If a submission, the benchmark, an option or their combination is wrong.
    """
    spec = SweepSpec(
        sizes=sizes if sizes is None or isinstance(sizes, str) else _plain(sizes),
        orders=tuple(orders),
        random_orders=random_orders,
        pca_rows=pca_rows,
        alphas=None if alphas is None else _plain(alphas),
        bits=None if bits is None else _plain(bits),
        quantizers=None if quantizers is None else tuple(quantizers),
        fractions=_plain(fractions),
        join=join,
    )  # fmt: skip
    chosen = protocol if isinstance(protocol, Protocol) else Protocol.load(protocol)
    spec.require_scorable(chosen)
    if alphas is not None and alpha not in (None, "auto"):
        raise InputError("alpha", found=f"{alpha} beside alphas", expected="one of them, or auto", fix="leave one out")
    chosen = chosen.with_options(alpha=alpha, folds=folds)
    if spec.alphas is not None:  # what the hash covers is the strength of a row, which stands beside it
        chosen = replace(chosen, alpha_grid=spec.alphas) if alpha == "auto" else replace(chosen, alpha=spec.alphas[0])
    if isinstance(device, str):
        check_device(device)
    scored = scored_tasks(benchmark, [chosen])
    if left_out := [task.name for task in benchmark.tasks if task not in scored.tasks]:
        _log.warning("the protocol %s leaves out the regression tasks %s", chosen.name, ", ".join(left_out))
    if any(chosen.probe_for(task.kind) == "logistic" for task in scored.tasks):
        spec.require_one_scale()
    listed = submissions if isinstance(submissions, Collection | ReadAhead) else list(submissions)
    spec.require_members(len(listed))
    parts = Parts(None if out is None else Path(out))
    backend = get_backend(device) if isinstance(device, str) else device
    job = _Job(spec, chosen, scored, backend, parts, lenient, progress, len(listed))
    with backend.session(), closing(job):
        tables = list(job.run(in_turn(listed, lenient=lenient)))
    return Sweep.concat(tables, chosen.to_dict())


def _plain(numbers: Iterable[Any]) -> tuple[Any, ...]:
    """Make numbers of NumPy numbers of Python; what else there is stays, to be refused."""
    return tuple(number.item() if isinstance(number, np.generic) else number for number in numbers)


@dataclass(eq=False)
class _Source:
    """A submission whose labelled rows are known.

    Attributes
    ----------
    submission : Submission
    benchmark : Benchmark
        The tasks, of the samples that the submission has.
    rows_of : ndarray of int64
        See :func:`fastprobe.units.locate`.
    digest : callable
        Returns the hash of the submission, which is computed beside the work on it.
    """

    submission: Submission
    benchmark: Benchmark
    rows_of: Ints
    digest: Callable[[], str]


class _Job:
    """A sweep under way."""

    def __init__(
        self,
        spec: SweepSpec,
        protocol: Protocol,
        benchmark: Benchmark,
        backend: Backend,
        parts: Parts,
        lenient: bool,
        progress: Progress | None,
        count: int,
    ) -> None:
        self._spec, self._protocol, self._benchmark, self._backend = spec, protocol, benchmark, backend
        self._parts, self._lenient, self._progress = parts, lenient, progress
        self._assignment = read_assignment(protocol.folds)
        self._groups = sample_groups(benchmark, protocol.folds, self._assignment)
        self._choose = protocol.alpha == "auto"
        self._alphas = spec.alphas if spec.alphas is not None and not self._choose else protocol.strengths
        self._done, self._found = 0, 0
        combinations = [c for size in range(2, spec.join + 1) for c in itertools.combinations(range(count), size)]
        matrices = len(list(spec.all_orders())) * len(spec.widths())
        per_matrix = sum(len(self._split(group)) for group in self._groups)
        self._in_place = [o for o in spec.all_orders() if o.name != "pca" or spec.pca_rows == "train"]
        self._turned = "pca" in spec.orders and spec.pca_rows == "all"
        self._labelled = key_of({"ids": benchmark.labelled_ids.tolist()})
        self._total = (count + len(combinations)) * matrices * per_matrix
        self._combinations = combinations
        self._needed = needed_ids(benchmark)
        self._hashing = ThreadPoolExecutor(1, thread_name_prefix="fastprobe-digest")

    def close(self) -> None:
        """Let go of the thread that hashes."""
        self._hashing.shutdown(wait=False, cancel_futures=True)

    def run(self, submissions: Iterable[Submission]) -> Iterator[pa.Table]:
        """Give the tables of all units."""
        held: list[_Source] = []
        names: set[str] = set()
        for submission in submissions:
            if submission.name in names:
                raise InputError(
                    "submissions", found=f"two with the name {submission.name!r}", expected="one name each",
                    fix="rename one",
                )  # fmt: skip
            names.add(submission.name)
            source = self._source(submission)
            yield from self._swept(source)
            if self._combinations:
                held.append(source)
        if held:
            yield from self._joined(held)
        if self._found:
            _log.info("%d of %d units were there already", self._found, self._done)

    def _source(self, submission: Submission) -> _Source:
        submission = submission.on_host()
        digest = self._hashing.submit(getattr, submission, "digest")
        there = located(self._benchmark, self._needed, submission, lenient=self._lenient)
        return _Source(submission, there.benchmark, there.rows_of, digest.result)

    def _swept(self, source: _Source) -> Iterator[pa.Table]:
        """Sweep one submission: bit widths, orders, sample groups in turn."""
        read = self._as_read(source)
        sizes, groups = self._spec.sizes_of(read.name, read.d), self._groups_of(source.benchmark)
        variances = self._variances(read)
        for width in self._spec.widths():
            stored = in_width(read, width, self._backend) if self._in_place else read
            on_device = cache(partial(self._backend.asarray, stored.x))
            for order in self._in_place:
                permutation = stored.permutation(order, variances)
                for group in groups:
                    yield from self._tables(stored, order, width, permutation, sizes, group, source.rows_of, on_device)
            if self._turned:
                yield from self._components(read, width, sizes, groups, source.rows_of)

    def _joined(self, sources: Sequence[_Source]) -> Iterator[pa.Table]:
        """Sweep sets of submissions, joined, on the samples that all submissions have.

        Every set is a choice of columns of one pool, and its Gram matrices are blocks of the pool's.
        """
        everywhere = np.all([source.rows_of >= 0 for source in sources], axis=0)
        rows = [source.rows_of[everywhere] for source in sources]
        rows_of = np.where(everywhere, np.cumsum(everywhere) - 1, -1)
        groups = self._groups_of(self._common(everywhere))
        read = [self._as_read(source) for source in sources]
        whole = joined(read, rows)
        variances = self._variances(whole)
        ends = np.cumsum([0, *(matrix.d for matrix in read)])
        columns = [np.arange(lo, hi) for lo, hi in itertools.pairwise(ends.tolist())]
        for width in self._spec.widths():
            stored = joined([in_width(m, width, self._backend) for m in read], rows) if self._in_place else whole
            on_device = cache(partial(self._backend.asarray, stored.x))
            shared = _GRAM_BYTES * stored.d**2 <= self._backend.memory() / 2
            grams: dict[int, Any] | None = {} if shared else None
            for group, members in itertools.product(groups, self._combinations):
                taken = np.concatenate([columns[i] for i in members])
                matrix = stored.only(taken, *named([read[i] for i in members]))
                sizes = self._spec.sizes_of(matrix.name, matrix.d)
                pool = Pool(self._backend, taken, grams)
                for order in self._in_place:
                    permutation = matrix.permutation(order, variances[taken] if len(variances) else variances)
                    yield from self._tables(matrix, order, width, permutation, sizes, group, rows_of, on_device, pool)
            for members in self._combinations if self._turned else ():
                matrix = joined([read[i] for i in members], [rows[i] for i in members])
                sizes = self._spec.sizes_of(matrix.name, matrix.d)
                yield from self._components(matrix, width, sizes, groups, rows_of)

    def _components(
        self, read: Matrix, width: Width, sizes: Ints, groups: Sequence[SampleGroup], rows_of: Ints
    ) -> Iterator[pa.Table]:
        """Sweep the principal components of all rows."""
        turned = in_width(principal(read, self._backend), width, self._backend)
        on_device = cache(partial(self._backend.asarray, turned.x))
        for group in groups:
            yield from self._tables(turned, Order("pca"), width, None, sizes, group, rows_of, on_device)

    def _common(self, everywhere: NDArray[np.bool_]) -> Benchmark:
        """Give the tasks, of the samples that are everywhere."""
        known = self._benchmark.labelled_ids[everywhere]
        if np.isin(np.concatenate([task.ids for task in self._benchmark.tasks]), known).all():
            return self._benchmark
        common = Submission("all joined", known, np.zeros((len(known), 1), dtype=np.int8))
        return restrict(self._benchmark, common, lenient=self._lenient)[0]

    def _groups_of(self, benchmark: Benchmark) -> Sequence[SampleGroup]:
        if benchmark is self._benchmark:
            return self._groups
        return sample_groups(benchmark, self._protocol.folds, self._assignment)

    def _variances(self, matrix: Matrix) -> NDArray[np.float64]:
        """Variances of the dimensions, if an order goes by them."""
        return matrix.column_moments()[1] if any(order.name == "variance" for order in self._in_place) else np.empty(0)

    def _as_read(self, source: _Source) -> Matrix:
        labelled = np.sort(source.rows_of[source.rows_of >= 0])
        return as_read(
            source.submission, labelled, self._backend, source.digest, standardize=self._protocol.standardize
        )

    def _tables(
        self,
        matrix: Matrix,
        order: Order,
        width: Width,
        permutation: Ints | None,
        sizes: Ints,
        group: SampleGroup,
        rows_of: Ints,
        on_device: Callable[[], Any],
        pool: Pool | None = None,
    ) -> Iterator[pa.Table]:
        """Score the units of a sample group, a probe each, or get them from where they are kept."""
        spec, backend, protocol = self._spec, self._backend, self._protocol
        for probe, tasks in self._split(group).items():
            components = order.name == "pca" and spec.pca_rows == "train"
            kept = self._parts.kept
            key = self._key(matrix, order, width, sizes, group, probe, tasks) if kept else ""
            table = self._parts.get(key)
            self._found += table is not None
            if table is None:
                unit = Unit(
                    backend, matrix, on_device(), rows_of[group.positions], group, tasks, probe, permutation, pool,
                    components, sizes, self._alphas, self._choose, spec.fractions, protocol,
                )  # fmt: skip
                table = table_of(
                    list(blocks_of(unit)),
                    matrix=matrix,
                    order=order,
                    sizes=sizes,
                    bytes_per_sample=matrix.bytes_per_sample(permutation, sizes),
                    probe=probe,
                    device=backend.device,
                    protocol=protocol,
                )
                self._parts.put(key, table)
            self._done += 1
            if self._progress is not None:
                self._progress(matrix.name, self._done, max(self._done, self._total))
            yield table

    def _split(self, group: SampleGroup) -> dict[str, tuple[int, ...]]:
        """Numbers of the tasks by the probe that scores them."""
        by_probe: dict[str, tuple[int, ...]] = {}
        for j, task in enumerate(group.tasks):
            probe = self._protocol.probe_for(task.kind)
            assert probe is not None  # scored_tasks left those out
            by_probe[probe] = (*by_probe.get(probe, ()), j)
        return by_probe

    def _key(
        self,
        matrix: Matrix,
        order: Order,
        width: Width,
        sizes: Ints,
        group: SampleGroup,
        probe: str,
        tasks: tuple[int, ...],
    ) -> str:
        spec = self._spec
        return key_of(
            {
                "submission": matrix.name,
                "embedding": matrix.digest,
                "labelled": self._labelled,
                "samples": key_of({"ids": group.ids.tolist()}),
                "order": [order.name, order.seed, spec.pca_rows if order.name == "pca" else None],
                "width": [width.bits, width.quantizer],
                "sizes": sizes.tolist(),
                "alphas": list(self._alphas),
                "fractions": list(spec.fractions),
                "protocol": self._protocol.hash,
                "probe": probe,
                "tasks": [[group.tasks[j].name, group.tasks[j].digest] for j in tasks],
            }
        )
