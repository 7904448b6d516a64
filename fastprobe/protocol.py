"""Protocols: everything that decides a score, named, versioned and hashed."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from fastprobe.errors import InputError
from fastprobe.specs import FOLD_SCHEMES, FoldSpec, ReplaySpec, expect, is_int, is_real, is_strength

__all__ = ["ALPHA_GRID", "FOLD_SCHEMES", "PROTOCOLS", "FoldSpec", "Protocol", "ReplaySpec"]

ALPHA_GRID: tuple[float, ...] = tuple(10.0**e for e in range(-2, 7))
"""Strengths that ``alpha = "auto"`` chooses from: the decades 0.01 to 1e6, for embeddings of unit variance."""

PROTOCOLS: tuple[str, ...] = ("ridge", "neuco", "neuco-independent")
"""Names of the protocols that this version can score."""

PLANNED: tuple[str, ...] = ("closed-form", "logistic", "kernel")
"""Names that the contract promises and that are not there yet."""

_FIELDS_OF: dict[str, tuple[str, ...]] = {
    "ridge": ("alpha", "alpha_grid", "inner_folds", "max_failed"),
    "neuco": ("replay",),
}
"""Fields that matter to one probe only."""


@dataclass(frozen=True)
class Protocol:
    """Everything that decides a score.

    Attributes
    ----------
    name : str
        Name of the protocol.
    version : int
        Raised when the same fields would give other numbers.
    probe : {"ridge", "neuco"}
        ``ridge``: least squares with an L2 penalty; classification as least squares on -1/+1 with threshold 0.
        ``neuco``: NeuCo-Bench's linear probe, trained by AdamW, replayed draw for draw. Its folds are ``shuffle`` with
        10 % held out and seed 42, and a task with a failed fold has no Q.
    alpha : float or "auto"
        Penalty ``alpha ||w||^2`` beside the sum of squares; the intercept is not penalised. ``auto`` chooses from
        `alpha_grid` inside the training rows of every fold and task.
    alpha_grid : tuple of float
        Strengths for ``auto``, ascending.
    inner_folds : int
        Validation blocks for ``auto``, per fold (see :mod:`fastprobe.probes.ridge.select`).
    standardize : bool
        Subtract one global mean from the embedding and divide by one global standard deviation (ddof 0), both taken
        over the rows whose id has a label in any task. A constant embedding is only centred.
    folds : FoldSpec
    eps : float
        Stability constant of Q.
    max_failed : float
        Largest share of failed folds for which a task still has a Q (``ridge``).
    replay : ReplaySpec or None
        How the probe is trained (``neuco``); None for other probes.
    """

    name: str = "ridge"
    version: int = 1
    probe: Literal["ridge", "neuco"] = "ridge"
    alpha: float | Literal["auto"] = 100.0
    alpha_grid: tuple[float, ...] = ALPHA_GRID
    inner_folds: int = 4
    standardize: bool = True
    folds: FoldSpec = field(default_factory=FoldSpec)
    eps: float = 0.02
    max_failed: float = 0.3
    replay: ReplaySpec | None = None

    def __post_init__(self) -> None:
        expect(isinstance(self.name, str) and bool(self.name), "name", self.name, "a name")
        expect(self.version == 1, "version", self.version, "1, the version that this fastprobe knows")
        expect(self.probe in _FIELDS_OF, "probe", self.probe, f"one of {', '.join(_FIELDS_OF)}")
        positive = "a finite number above 0, or auto"
        expect(self.alpha == "auto" or is_strength(self.alpha), "alpha", self.alpha, positive)
        grid = self.alpha_grid
        expect(
            isinstance(grid, (list, tuple))
            and len(grid) > 0
            and all(is_strength(a) for a in grid)
            and list(grid) == sorted(set(grid)),
            "alpha_grid",
            grid,
            "ascending finite numbers above 0, each once",
        )
        object.__setattr__(self, "alpha_grid", tuple(float(a) for a in grid))
        if self.alpha != "auto":
            object.__setattr__(self, "alpha", float(self.alpha))
        expect(
            is_int(self.inner_folds) and self.inner_folds >= 2,
            "inner_folds",
            self.inner_folds,
            "a whole number of at least 2",
        )
        expect(isinstance(self.standardize, bool), "standardize", self.standardize, "true or false")
        expect(isinstance(self.folds, FoldSpec), "folds", self.folds, "a [folds] table")
        expect(is_real(self.eps) and 0 < self.eps < math.inf, "eps", self.eps, "a finite number above 0")
        expect(
            is_real(self.max_failed) and 0 <= self.max_failed < 1,
            "max_failed",
            self.max_failed,
            "a number from 0 to below 1",
        )
        if self.probe == "neuco":
            self._check_replay()
        else:
            expect(self.replay is None, "replay", self.replay, f"no [replay] table for the probe {self.probe}")

    def _check_replay(self) -> None:
        if self.replay is None:
            object.__setattr__(self, "replay", ReplaySpec())
        expect(isinstance(self.replay, ReplaySpec), "replay", self.replay, "a [replay] table")
        for f in fields(self):
            if f.name in _FIELDS_OF["ridge"]:
                value = getattr(self, f.name)
                expect(value == f.default, f.name, value, "nothing: the probe neuco does not use it")
        of_neuco = FoldSpec(n_folds=self.folds.n_folds)
        for f in fields(FoldSpec):
            value, only = getattr(self.folds, f.name), getattr(of_neuco, f.name)
            expect(value == only, f"folds.{f.name}", value, f"{only!r}, NeuCo-Bench's, for the probe neuco")

    @classmethod
    def named(cls, name: str) -> Protocol:
        """Return a built-in protocol by name.

        Raises
        ------
        InputError
            If there is no such protocol, or it is planned and not there yet.
        """
        if name in PLANNED:
            raise InputError(
                "--protocol",
                found=f"{name!r}, which is planned and not part of this version",
                expected=f"one of {', '.join(PROTOCOLS)}",
                fix="use --protocol ridge, or a newer fastprobe",
            )
        if name not in PROTOCOLS:
            raise InputError(
                "--protocol",
                found=repr(name),
                expected=f"one of {', '.join(PROTOCOLS)}, or the path of a .toml file",
                fix="correct the name; a file must end in .toml",
            )
        if name == "ridge":
            return cls(name=name)
        stream: Literal["shared", "independent"] = "shared" if name == "neuco" else "independent"
        return cls(name=name, probe="neuco", replay=ReplaySpec(stream=stream))

    @classmethod
    def load(cls, name_or_file: str | Path) -> Protocol:
        """Return a built-in protocol, or read one from a file whose name ends in ``.toml``."""
        return cls.from_toml(name_or_file) if str(name_or_file).endswith(".toml") else cls.named(str(name_or_file))

    @classmethod
    def from_toml(cls, path: str | Path) -> Protocol:
        """Read a protocol file, as :meth:`to_toml` writes it. Missing fields take their defaults.

        A relative ``folds.file`` is looked for beside the protocol file.

        Raises
        ------
        InputError
            If the file cannot be read, is not TOML, or has an unknown or invalid field.
        """
        path = Path(path)
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(
                str(path), found=error.strerror or str(error), expected="a protocol file", fix="correct the path"
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(
                str(path), found=f"text that is not TOML ({error})", expected="a TOML file", fix="correct that place"
            ) from None
        try:
            return cls._from_dict(data, base=path.parent)
        except InputError as error:
            raise InputError(
                f"{path}, {error.where}", found=error.found, expected=error.expected, fix=error.fix
            ) from None

    @classmethod
    def _from_dict(cls, data: dict[str, Any], base: Path) -> Protocol:
        _known(data, cls, prefix="")
        tables: dict[str, type[FoldSpec | ReplaySpec]] = {"folds": FoldSpec, "replay": ReplaySpec}
        values = dict(data)
        for name, spec in tables.items():
            table = data.get(name, {})
            expect(isinstance(table, dict), name, table, f"a [{name}] table")
            _known(table, spec, prefix=f"{name}.")
            if isinstance(table.get("file"), str):
                table = {**table, "file": str(base / table["file"])}
            if name in data:
                values[name] = spec(**table)
        return cls(**values)

    def to_toml(self) -> str:
        """Return the protocol as the text of a TOML file that :meth:`from_toml` reads back."""
        tables = {"folds": self.folds, "replay": self.replay}
        lines = [f"{name} = {_toml(getattr(self, name))}" for name in self._field_names() if name not in tables]
        for name, spec in tables.items():
            if spec is not None:
                lines += ["", f"[{name}]"]
                lines += [f"{f.name} = {_toml(v)}" for f in fields(spec) if (v := getattr(spec, f.name)) is not None]
        return "\n".join([*lines, ""])

    def _field_names(self) -> list[str]:
        """Names of the fields that this probe uses."""
        foreign = {name for probe, names in _FIELDS_OF.items() if probe != self.probe for name in names}
        return [f.name for f in fields(self) if f.name not in foreign]

    def to_dict(self) -> dict[str, Any]:
        """Return every field as JSON values, with the hash."""
        return {**self._deciding_fields(), "name": self.name, "hash": self.hash, "folds": self.folds.to_dict()}

    def _deciding_fields(self) -> dict[str, Any]:
        decides = {name: getattr(self, name) for name in self._field_names() if name not in ("name", "folds")}
        if self.replay is not None:
            decides["replay"] = self.replay.to_dict()
        elif self.alpha == "auto":
            decides["alpha_grid"] = list(self.alpha_grid)
        else:  # the choice of a strength that is not chosen cannot decide a score
            del decides["alpha_grid"], decides["inner_folds"]
        folds = self.folds.to_dict()
        folds.pop("file", None)
        return {**decides, "folds": folds}

    @cached_property
    def hash(self) -> str:
        """Hash of everything that decides a score (16 hexadecimal digits): not of the name, nor of a file's path."""
        text = json.dumps(self._deciding_fields(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def with_options(
        self, *, alpha: float | str | None = None, folds: int | None = None, spec: FoldSpec | None = None
    ) -> Protocol:
        """Return a copy with other settings; None leaves a setting as it is.

        Parameters
        ----------
        alpha : float or "auto", optional
        folds : int, optional
            Number of folds K.
        spec : FoldSpec, optional
            Replaces the whole description of the folds; `folds` is applied after it.
        """
        new = self if spec is None else replace(self, folds=spec)
        if folds is not None:
            if new.folds.scheme == "fixed" and folds != 1:
                raise InputError("folds", found=str(folds), expected="1 with a fixed split", fix="leave --folds out")
            new = replace(new, folds=replace(new.folds, n_folds=folds))
        expect(alpha is None or self.probe == "ridge", "alpha", alpha, f"no strength: {self.name} has none")
        return new if alpha is None else replace(new, alpha=alpha)  # type: ignore[arg-type]  # __post_init__ checks it

    def bound_to(self, tasks: Iterable[tuple[str, int]]) -> Protocol:
        """Return the protocol with the tasks that share its stream of random numbers, if there is such a stream.

        A score by the probe ``neuco`` depends on the tasks before it, so they belong to what the hash covers.

        Parameters
        ----------
        tasks : iterable of (str, int)
            Names and sizes, in the order in which they draw. A protocol that lists tasks keeps its own.
        """
        if self.replay is None or self.replay.stream != "shared" or self.replay.tasks is not None:
            return self
        return replace(self, replay=replace(self.replay, tasks=tuple(tasks)))


def _known(data: dict[str, Any], cls: type, prefix: str) -> None:
    names = [f.name for f in fields(cls)]
    for key in data:
        expect(key in names, f"{prefix}{key}", key, f"a field among {', '.join(names)}")


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value)  # TOML's strings, numbers and booleans are JSON's
