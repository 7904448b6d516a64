"""Protocols: everything that decides a score, named, versioned and hashed."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from fastprobe.errors import InputError
from fastprobe.kernel_spec import KernelSpec
from fastprobe.specs import FOLD_SCHEMES, FoldSpec, ReplaySpec, expect, is_int, is_real, is_strength

__all__ = ["ALPHA_GRID", "DEFAULT", "FOLD_SCHEMES", "PROTOCOLS", "FoldSpec", "Protocol", "ReplaySpec"]

ALPHA_GRID: tuple[float, ...] = tuple(10.0**e for e in range(-2, 7))
"""Strengths that ``alpha = "auto"`` chooses from: the decades 0.01 to 1e6, for embeddings of unit variance."""

PROTOCOLS: tuple[str, ...] = ("closed-form", "ridge", "logistic", "kernel", "neuco", "neuco-independent")
"""Names of the protocols."""

DEFAULT = "closed-form"
"""Name of the protocol that is taken where none is named."""

ProbeName = Literal["closed-form", "ridge", "logistic", "kernel", "neuco"]

_STRENGTH = ("alpha", "alpha_grid", "inner_folds", "max_failed")
_UNUSED: Mapping[str, tuple[str, ...]] = {
    "closed-form": ("kernel", "replay"),
    "ridge": ("kernel", "replay"),
    "logistic": ("kernel", "replay"),
    "kernel": ("replay",),
    "neuco": (*_STRENGTH, "kernel"),
}
"""Fields that do not matter to a probe."""


@dataclass(frozen=True)
class Protocol:
    """Everything that decides a score.

    Attributes
    ----------
    name : str
        Name of the protocol; empty stands for that of the probe.
    version : int
        Raised when the same fields would give other numbers.
    probe : {"closed-form", "ridge", "logistic", "kernel", "neuco"}
        ``closed-form``: ridge for regression, logistic for classification. ``ridge``: least squares with an L2 penalty;
        classification as least squares on -1/+1, decided by the sign or by the largest value. ``logistic``: logistic
        regression with an L2 penalty, for classification only. ``kernel``: ridge in the space of a kernel, or of its
        Nyström features. ``neuco``: NeuCo-Bench's linear probe, trained by AdamW, replayed draw for draw; its folds
        are ``shuffle`` with 10 % held out and seed 42, and a task with a failed fold has no Q.
    alpha : float or "auto"
        Strength; the intercept is not penalised. Ridge and kernel: ``alpha |w|^2`` beside the sum of squares; logistic:
        ``alpha / 2 |w|^2`` beside the sum of log losses, scikit-learn's ``C = 1 / alpha``. ``auto`` chooses from
        `alpha_grid` inside the training rows of every fold and task. By default 100 for ``ridge``, ``auto`` for the
        other probes, and None for ``neuco``, which has none.
    alpha_grid : tuple of float
        Strengths for ``auto``, ascending.
    inner_folds : int
        Validation blocks for ``auto``, per fold (see :mod:`fastprobe.probes.inner`).
    standardize : bool
        Subtract one global mean from the embedding and divide by one global standard deviation (ddof 0), both taken
        over the rows whose id has a label in any task. A constant embedding is only centred.
    folds : FoldSpec
    eps : float
        Stability constant of Q.
    max_failed : float
        Largest share of failed folds for which a task still has a Q (all probes but ``neuco``).
    kernel : KernelSpec or None
        Kernel, its parameters and landmarks (``kernel``); None for other probes.
    replay : ReplaySpec or None
        How the probe is trained (``neuco``); None for other probes.
    """

    name: str = ""
    version: int = 1
    probe: ProbeName = "closed-form"
    alpha: float | Literal["auto"] | None = None
    alpha_grid: tuple[float, ...] = ALPHA_GRID
    inner_folds: int = 4
    standardize: bool = True
    folds: FoldSpec = field(default_factory=FoldSpec)
    eps: float = 0.02
    max_failed: float = 0.3
    kernel: KernelSpec | None = None
    replay: ReplaySpec | None = None

    def __post_init__(self) -> None:
        expect(isinstance(self.name, str), "name", self.name, "a name")
        expect(self.version == 1, "version", self.version, "1, the version that this fastprobe knows")
        expect(self.probe in _UNUSED, "probe", self.probe, f"one of {', '.join(_UNUSED)}")
        if not self.name:
            object.__setattr__(self, "name", self.probe)
        self._check_strength()
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
        self._check_tables()
        for f in fields(self):
            value, unused = getattr(self, f.name), f.name in _UNUSED[self.probe]
            expect(not unused or value == f.default, f.name, value, f"nothing: the probe {self.probe} does not use it")

    def _check_strength(self) -> None:
        if self.probe != "neuco" and self.alpha is None:
            object.__setattr__(self, "alpha", 100.0 if self.probe == "ridge" else "auto")
        if self.alpha in ("auto", None):
            return
        expect(is_strength(self.alpha), "alpha", self.alpha, "a finite number above 0, or auto")
        object.__setattr__(self, "alpha", float(self.alpha))

    def _check_tables(self) -> None:
        if self.probe == "kernel":
            if self.kernel is None:
                object.__setattr__(self, "kernel", KernelSpec())
            expect(isinstance(self.kernel, KernelSpec), "kernel", self.kernel, "a [kernel] table")
        if self.probe != "neuco":
            return
        if self.replay is None:
            object.__setattr__(self, "replay", ReplaySpec())
        expect(isinstance(self.replay, ReplaySpec), "replay", self.replay, "a [replay] table")
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
            If there is no such protocol.
        """
        if name not in PROTOCOLS:
            raise InputError(
                "--protocol",
                found=repr(name),
                expected=f"one of {', '.join(PROTOCOLS)}, or the path of a .toml file",
                fix="correct the name; a file must end in .toml",
            )
        if name == "neuco-independent":
            return cls(name=name, probe="neuco", replay=ReplaySpec(stream="independent"))
        return cls(probe=name)  # type: ignore[arg-type]  # the other protocols are called as their probes

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
        tables: dict[str, type[FoldSpec | KernelSpec | ReplaySpec]] = {
            "folds": FoldSpec,
            "kernel": KernelSpec,
            "replay": ReplaySpec,
        }
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
        tables = {"folds": self.folds, "kernel": self.kernel, "replay": self.replay}
        lines = [f"{name} = {_toml(getattr(self, name))}" for name in self._field_names() if name not in tables]
        for name, spec in tables.items():
            if spec is not None:
                lines += ["", f"[{name}]"]
                lines += [f"{f.name} = {_toml(v)}" for f in fields(spec) if (v := getattr(spec, f.name)) is not None]
        return "\n".join([*lines, ""])

    def _field_names(self) -> list[str]:
        """Names of the fields that this probe uses."""
        return [f.name for f in fields(self) if f.name not in _UNUSED[self.probe]]

    def to_dict(self) -> dict[str, Any]:
        """Return every field as JSON values, with the hash."""
        return {**self._deciding_fields(), "name": self.name, "hash": self.hash, "folds": self.folds.to_dict()}

    def _deciding_fields(self) -> dict[str, Any]:
        decides = {name: getattr(self, name) for name in self._field_names() if name not in ("name", "folds")}
        for name, table in (("kernel", self.kernel), ("replay", self.replay)):
            if table is not None:
                decides[name] = table.to_dict()
        if self.alpha == "auto":
            decides["alpha_grid"] = list(self.alpha_grid)
        else:  # the choice of a strength that is not chosen cannot decide a score
            decides.pop("alpha_grid", None)
            if self.kernel is None:
                decides.pop("inner_folds", None)
        folds = self.folds.to_dict()
        folds.pop("file", None)
        return {**decides, "folds": folds}

    @cached_property
    def hash(self) -> str:
        """Hash of everything that decides a score (16 hexadecimal digits): not of the name, nor of a file's path."""
        text = json.dumps(self._deciding_fields(), sort_keys=True, separators=(",", ":"))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def probe_for(self, kind: str) -> Literal["ridge", "logistic", "kernel", "neuco"] | None:
        """Return the probe for tasks of a kind, ``regression`` or ``classification``; None if they are left out."""
        if self.probe == "closed-form":
            return "ridge" if kind == "regression" else "logistic"
        return None if self.probe == "logistic" and kind == "regression" else self.probe

    @property
    def has_strength(self) -> bool:
        """Whether the probe has a strength alpha."""
        return self.alpha is not None

    @property
    def has_ridge(self) -> bool:
        """Whether some kind of task is scored by ridge, and so by one of its routes."""
        return "ridge" in (self.probe_for("regression"), self.probe_for("classification"))

    @property
    def strengths(self) -> tuple[float, ...]:
        """Strengths to solve for: the grid of ``auto``, or the one that is fixed; none for ``neuco``."""
        if self.alpha is None:
            return ()
        return self.alpha_grid if self.alpha == "auto" else (self.alpha,)

    def with_options(
        self,
        *,
        alpha: float | str | None = None,
        folds: int | None = None,
        spec: FoldSpec | None = None,
        kernel: KernelSpec | None = None,
    ) -> Protocol:
        """Return a copy with other settings; None leaves a setting as it is.

        Parameters
        ----------
        alpha : float or "auto", optional
        folds : int, optional
            Number of folds K.
        spec : FoldSpec, optional
            Replaces the whole description of the folds; `folds` is applied after it.
        kernel : KernelSpec, optional
            Replaces the whole description of the kernel.
        """
        new = self if spec is None else replace(self, folds=spec)
        if folds is not None:
            if new.folds.scheme == "fixed" and folds != 1:
                raise InputError("folds", found=str(folds), expected="1 with a fixed split", fix="leave --folds out")
            new = replace(new, folds=replace(new.folds, n_folds=folds))
        if kernel is not None:
            new = replace(new, kernel=kernel)
        expect(alpha is None or self.has_strength, "alpha", alpha, f"no strength: {self.name} has none")
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
