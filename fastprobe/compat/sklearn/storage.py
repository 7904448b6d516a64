"""Fitted probes as files: one ``.npz`` archive with a JSON header and float64 arrays, written and read without pickle.

Everything in a file is checked when it is read; whatever does not fit is an InputError that names the file.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastprobe import __version__
from fastprobe.compat.sklearn.errors import ParameterError
from fastprobe.errors import InputError
from fastprobe.files import atomic_path
from fastprobe.readers.table import undamaged
from fastprobe.specs import is_int, is_strength

__all__ = ["Saved", "pack_classes", "read_probe", "write_probe"]

_FORMAT = "fastprobe probe"
_VERSION = 1
_HEADER = "header"

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Saved:
    """What a file holds.

    Attributes
    ----------
    kind : str
        Name of the class of the probe.
    parameters : dict
        Those of its constructor, without the device.
    n_features : int
    feature_names : list of str or None
        Names of the columns, where the probe was fitted on a data frame.
    classes : dict or None
        Type and values of the classes; see :func:`pack_classes`.
    numbers : dict of str to float
        Fitted scalars.
    arrays : dict of str to ndarray of float64
        Fitted arrays.
    source : str
        The file, for messages.
    """

    kind: str
    parameters: dict[str, Any]
    n_features: int
    feature_names: list[str] | None
    classes: dict[str, Any] | None = None
    numbers: dict[str, float] = field(default_factory=dict)
    arrays: Mapping[str, Floats] = field(default_factory=dict)
    source: str = ""

    def expect(self, holds: bool, found: str, expected: str) -> None:
        """Raise InputError about the file unless a condition holds."""
        if not holds:
            raise _unreadable(self.source, found, expected)

    def check(self, parameters: Callable[[], None]) -> None:
        """Run a check of parameters, and blame the file for what it finds."""
        try:
            parameters()
        except ParameterError as error:
            raise _unreadable(f"{self.source}, {error.where}", error.found, error.expected) from error

    def array(self, name: str, *shape: int | None) -> Floats:
        """Return a finite array of this shape; None stands for any size above 0."""
        array = self._any(name)
        fits = array.ndim == len(shape) and all(
            size == wanted or (wanted is None and size > 0) for size, wanted in zip(array.shape, shape, strict=True)
        )
        text = ", ".join("any" if size is None else str(size) for size in shape)
        self.expect(fits, f"the array {name!r} of shape {array.shape}", f"the shape ({text})")
        return array

    def intercept(self) -> Floats:
        """Return the array of intercepts: one number, or one for each output."""
        array = self._any("intercept")
        self.expect(array.ndim <= 1 and array.size > 0, f"the array 'intercept' of shape {array.shape}", "() or (t,)")
        return array

    def number(self, name: str) -> float:
        """Return a fitted scalar, which is above 0."""
        value = self.numbers.get(name)
        self.expect(is_strength(value), f"{value!r} for the number {name!r}", "a finite number above 0")
        return float(value)  # type: ignore[arg-type]

    def only(self, *arrays: str) -> None:
        """Refuse a file with other arrays than these."""
        found = ", ".join(sorted(self.arrays)) or "none"
        self.expect(set(self.arrays) == set(arrays), f"the arrays {found}", ", ".join(sorted(arrays)))

    def class_values(self) -> NDArray[Any]:
        """Return the classes, ascending and distinct, in the type that they had."""
        packed = self.classes
        well_formed = isinstance(packed, dict) and set(packed) == {"dtype", "values"}
        self.expect(well_formed, f"classes {_cut(packed)}", "a dtype and values")
        assert packed is not None
        try:
            dtype = np.dtype(packed["dtype"])
            values = np.array(packed["values"], dtype=dtype)
            same = values.ndim == 1 and values.tolist() == packed["values"]
        except (TypeError, ValueError, OverflowError):
            dtype, values, same = np.dtype(object), np.empty(0), False
        typed = dtype.kind in "biufU" or (dtype.kind == "O" and all(isinstance(value, str) for value in values))
        ascending = same and typed and len(values) >= 2 and bool((values[1:] > values[:-1]).all())
        self.expect(ascending, f"classes {_cut(packed)}", "two or more classes, each once, ascending")
        return values

    def _any(self, name: str) -> Floats:
        self.expect(name in self.arrays, f"no array {name!r}", f"an array {name!r}")
        array = self.arrays[name]
        self.expect(array.dtype == np.float64, f"the array {name!r} of type {array.dtype}", "float64")
        self.expect(bool(np.isfinite(array).all()), f"the array {name!r} with NaN or infinity", "finite numbers")
        return array


def pack_classes(classes: NDArray[Any]) -> dict[str, Any]:
    """Return the type and the values of classes in a form that JSON holds.

    Raises
    ------
    InputError
        If they are objects other than strings.
    """
    values = classes.tolist()
    if classes.dtype.kind not in "biufU" and not all(type(value) is str for value in values):
        raise InputError(
            "classes_",
            found=f"classes of type {type(values[0]).__name__}",
            expected="numbers or strings, which can be written without pickle",
            fix="fit the probe on labels that are numbers or strings",
        )
    return {"dtype": classes.dtype.str, "values": values}


def write_probe(path: str | Path, saved: Saved) -> None:
    """Write a probe, atomically."""
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "fastprobe": __version__,
        **{name: getattr(saved, name) for name in _FIELDS},
    }
    text = json.dumps(header, default=lambda scalar: scalar.item(), allow_nan=False)  # scalars of NumPy
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **{_HEADER: np.array(text)}, **saved.arrays)


def read_probe(path: str | Path) -> Saved:
    """Read a probe; its class checks the rest (:meth:`Saved.array` and the others).

    Raises
    ------
    InputError
        If there is no such file, it is damaged or no probe, or a newer fastprobe wrote it.
    """
    source = str(path)
    if not Path(path).is_file():
        raise _unreadable(source, "nothing there", "a file")
    if not zipfile.is_zipfile(path):
        raise _unreadable(source, "a file that is no .npz archive, or only a part of one", "a saved probe")
    with undamaged(Path(path), ".npz"), np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    header = _header(source, arrays.pop(_HEADER, None))
    types: dict[str, Any] = {
        "kind": str, "parameters": dict, "n_features": int, "feature_names": (list, type(None)),
        "classes": (dict, type(None)), "numbers": dict,
    }  # fmt: skip
    for name, kind in types.items():
        if not isinstance(header.get(name), kind):
            raise _unreadable(source, f"{_cut(header.get(name))} for {name!r}", "what fastprobe writes there")
    saved = Saved(**{name: header[name] for name in _FIELDS}, arrays=arrays, source=source)
    names = saved.feature_names
    named = names is None or (len(names) == saved.n_features and all(isinstance(name, str) for name in names))
    saved.expect(is_int(saved.n_features) and saved.n_features > 0, f"{saved.n_features} features", "1 or more")
    saved.expect(named, "names of features that are not one string for each", f"{saved.n_features} strings, or none")
    return saved


def _header(source: str, array: NDArray[Any] | None) -> dict[str, Any]:
    try:
        header = json.loads(array.item()) if array is not None and array.dtype.kind == "U" and array.ndim == 0 else None
    except ValueError:
        header = None
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise _unreadable(source, "an archive without the header of a probe", "a saved probe")
    if header.get("version") != _VERSION:
        raise InputError(
            source,
            found=f"version {header.get('version')!r} of the format, by fastprobe {header.get('fastprobe')!r}",
            expected=f"version {_VERSION}",
            fix="read it with the fastprobe that wrote it, or a newer one",
        )
    return header


def _cut(value: object) -> str:
    """Show what was found, cut to a length that a message can hold."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unreadable(source: str, found: str, expected: str) -> InputError:
    return InputError(source, found=found, expected=expected, fix="name a file that save() of a probe wrote, unchanged")


_FIELDS = tuple(f.name for f in fields(Saved) if f.name not in ("arrays", "source"))
"""What the header of a file holds, beside format and versions."""
