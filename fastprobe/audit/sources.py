"""What a run was made of: its protocol, its labels, and the files of its submissions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from fastprobe.embeddings import Submission
from fastprobe.errors import InputError
from fastprobe.folds import read_assignment
from fastprobe.kernel_spec import KernelSpec
from fastprobe.protocol import Protocol
from fastprobe.runs import Item, KnownInput, RunFolder, Terms, find_items
from fastprobe.runs.inputs import StoreItem
from fastprobe.specs import FoldSpec, ReplaySpec
from fastprobe.tasks import Benchmark, Task

__all__ = ["Labels", "Original", "Originals", "protocol_of", "read_labels"]


def protocol_of(record: Mapping[str, Any], fold_file: str | None) -> Protocol:
    """Return the protocol that a score table carries.

    Parameters
    ----------
    record : mapping
        What :meth:`Protocol.to_dict` gave.
    fold_file : str or None
        Where the file of groups, or of the split, is now; by default where it was.

    Raises
    ------
    InputError
        If it is none, or that file cannot be read.
    """
    folds = dict(record.get("folds", {}))
    if fold_file is not None:
        folds["file"] = fold_file
    file = folds.get("file")
    if file is not None and not Path(file).is_file():
        raise InputError(
            str(file), found="no such file", expected="the file of groups, or of the split, that the run used",
            fix="name it: --fold-file FILE",
        )  # fmt: skip
    tables = {"folds": FoldSpec, "kernel": KernelSpec, "replay": ReplaySpec}
    values = {name: _known(spec, {**record, "folds": folds}[name]) for name, spec in tables.items() if name in record}
    return _known(Protocol, {**record, **values})


def _known(spec: type[Any], values: Mapping[str, Any]) -> Any:
    """Make a dataclass of those values that are fields of it."""
    names = {f.name for f in fields(spec)}
    return spec(**{name: value for name, value in values.items() if name in names})


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels as they are now.

    Attributes
    ----------
    tasks : mapping of str to Task
    labelled : frozenset of str
        Ids with a label in any task, which standardise embeddings.
    keys : mapping of str to str
        See :attr:`fastprobe.runs.Terms.labels`.
    assignment : mapping of str to str
        Group or side of every sample, if the protocol has such.
    """

    tasks: Mapping[str, Task]
    labelled: frozenset[str]
    keys: Mapping[str, str]
    assignment: Mapping[str, str]


def read_labels(folder: RunFolder, protocol: Protocol, labels: str | Path | None) -> Labels:
    """Read the labels of a run.

    Parameters
    ----------
    folder : RunFolder
    protocol : Protocol
    labels : path or None
        Where they are now; by default where they were.

    Raises
    ------
    InputError
        If they are nowhere, or cannot be read.
    """
    settings = folder.settings()
    place = labels if labels is not None else settings.labels if settings is not None else None
    if place is None or (labels is None and not Path(place).is_dir()):
        raise InputError(
            "--labels", found=f"none, and {folder.path} does not say where they are" if place is None
            else f"none, and they are not at {place} any more",
            expected="the folder of labels that the run was made with", fix="name it: --labels DIR",
        )  # fmt: skip
    benchmark = Benchmark.from_folder(place, lenient=settings is not None and settings.lenient)
    return Labels(
        tasks={task.name: task for task in benchmark.tasks},
        labelled=frozenset(benchmark.labelled_ids.tolist()),
        keys=Terms.of(benchmark, protocol).labels,
        assignment=read_assignment(protocol.folds) or {},
    )


@dataclass(frozen=True, eq=False)
class Original:
    """A submission, read from where it came from.

    Attributes
    ----------
    submission : Submission
    place : str
    remarks : tuple of str
    """

    submission: Submission
    place: str
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Originals:
    """The submissions of a run.

    Attributes
    ----------
    folder : RunFolder
    places : sequence of str or Path
        Where they are now; if there are none, where they were.
    """

    folder: RunFolder
    places: Sequence[str | Path] = ()
    _found: dict[tuple[Any, ...], dict[str, Item]] = field(init=False, repr=False, default_factory=dict)

    def read(self, name: str) -> Original:
        """Read a submission: of a store the file that it was made of, if that is there.

        Raises
        ------
        InputError
            If it is not there, or cannot be read.
        """
        item = self._item(name)
        if not isinstance(item, StoreItem):
            return Original(item.read(), item.place)
        entry = item.entry
        remark = f"{name}: the file {entry.source} that it was made of is not there; read from {item.place}"
        if Path(entry.source).exists():
            try:
                read = Submission.read(entry.source, name=name, lenient=bool(entry.repairs))
                return Original(read, entry.source)
            except InputError as error:
                remark = f"{name}: the file that it was made of cannot be read ({error}); read from {item.place}"
        return Original(item.store.read(name, verify=True), item.place, (remark,))

    def _item(self, name: str) -> Item:
        known = self._known.get(name, KnownInput("", ""))
        places = tuple(self.places) or tuple(filter(None, [known.source]))
        if not places:
            raise InputError(
                name, found="no note of where it came from", expected="the file or the store that was scored",
                fix="name it: --submissions PLACE",
            )  # fmt: skip
        key = (*places, known.lenient)
        if key not in self._found:
            self._found[key] = {item.name: item for item in find_items(places, lenient=known.lenient)}
        if name not in self._found[key]:
            raise InputError(
                ", ".join(map(str, places)), found=f"no submission {name!r}", expected="what was scored",
                fix="name the place that has it: --submissions PLACE",
            )  # fmt: skip
        return self._found[key][name]

    @cached_property
    def _known(self) -> Mapping[str, KnownInput]:
        return self.folder.known_inputs()
