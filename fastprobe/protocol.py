"""Protocols: everything that decides a score, named, versioned and hashed."""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from fastprobe.errors import InputError

__all__ = ["ALPHA_GRID", "FOLD_SCHEMES", "PROTOCOLS", "FoldSpec", "Protocol"]

ALPHA_GRID: tuple[float, ...] = tuple(10.0**e for e in range(-2, 7))
"""Strengths that ``alpha = "auto"`` chooses from: the decades 0.01 to 1e6, for embeddings of unit variance."""

FoldScheme = Literal[
    "shuffle", "kfold", "stratified-shuffle", "stratified-kfold", "group-shuffle", "group-kfold", "fixed"
]
FOLD_SCHEMES: tuple[str, ...] = (
    "shuffle",
    "kfold",
    "stratified-shuffle",
    "stratified-kfold",
    "group-shuffle",
    "group-kfold",
    "fixed",
)
"""How samples are held out; the rows are those of scikit-learn's splitter of the same name."""

PROTOCOLS: tuple[str, ...] = ("ridge",)
"""Names of the protocols that this version can score."""

PLANNED: tuple[str, ...] = ("closed-form", "logistic", "kernel", "neuco", "neuco-independent")
"""Names that the contract promises and that are not there yet."""


@dataclass(frozen=True)
class FoldSpec:
    """How the samples of a task are split, again and again.

    Attributes
    ----------
    scheme : str
        One of :data:`FOLD_SCHEMES`. Stratified schemes keep class shares in classification tasks; regression tasks use
        the plain scheme of the same kind. Group schemes keep all samples of a group on one side. ``fixed`` is one
        split.
    n_folds : int
        Retrainings K; 1 for ``fixed``.
    test_size : float
        Share of samples (of groups, for ``group-shuffle``) held out by the shuffle schemes.
    seed : int
        Seed of the legacy MT19937 generator (``numpy.random.RandomState``), as in scikit-learn.
    file : str or None
        CSV ``id,group`` for the group schemes, ``id,split`` with ``dev`` or ``eval`` for ``fixed``.
    """

    scheme: FoldScheme = "shuffle"
    n_folds: int = 40
    test_size: float = 0.1
    seed: int = 42
    file: str | None = None

    def __post_init__(self) -> None:
        _expect(self.scheme in FOLD_SCHEMES, "folds.scheme", self.scheme, f"one of {', '.join(FOLD_SCHEMES)}")
        _expect(
            _is_int(self.n_folds) and 1 <= self.n_folds <= 10_000,
            "folds.n_folds",
            self.n_folds,
            "a whole number from 1 to 10000",
        )
        _expect(
            _is_real(self.test_size) and 0 < self.test_size < 1,
            "folds.test_size",
            self.test_size,
            "a number between 0 and 1",
        )
        _expect(
            _is_int(self.seed) and 0 <= self.seed < 2**32,
            "folds.seed",
            self.seed,
            "a whole number from 0 to 4294967295",
        )
        if self.scheme.endswith("kfold"):
            _expect(self.n_folds >= 2, "folds.n_folds", self.n_folds, f"at least 2 folds for {self.scheme}")
        if self.needs_file:
            columns = "id,split" if self.scheme == "fixed" else "id,group"
            _expect(
                isinstance(self.file, str),
                "folds.file",
                self.file,
                f"a CSV file with the columns {columns} for {self.scheme}",
            )
        else:
            _expect(self.file is None, "folds.file", self.file, f"no file: {self.scheme} folds do not read one")
        if self.scheme == "fixed":
            object.__setattr__(self, "n_folds", 1)

    @property
    def needs_file(self) -> bool:
        """Whether the scheme reads groups or a split from a file."""
        return self.scheme == "fixed" or self.scheme.startswith("group-")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields that decide the folds; a file counts by its content, not by its path."""
        fields_ = asdict(self)
        if self.file is not None:
            fields_["file_digest"] = _file_digest(self.file)
        return fields_


@dataclass(frozen=True)
class Protocol:
    """Everything that decides a score.

    Attributes
    ----------
    name : str
        Name of the protocol.
    version : int
        Raised when the same fields would give other numbers.
    probe : str
        ``ridge``: least squares with an L2 penalty; classification as least squares on -1/+1 with threshold 0.
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
        Largest share of failed folds for which a task still has a Q.
    """

    name: str = "ridge"
    version: int = 1
    probe: str = "ridge"
    alpha: float | Literal["auto"] = 100.0
    alpha_grid: tuple[float, ...] = ALPHA_GRID
    inner_folds: int = 4
    standardize: bool = True
    folds: FoldSpec = field(default_factory=FoldSpec)
    eps: float = 0.02
    max_failed: float = 0.3

    def __post_init__(self) -> None:
        _expect(isinstance(self.name, str) and bool(self.name), "name", self.name, "a name")
        _expect(self.version == 1, "version", self.version, "1, the version that this fastprobe knows")
        _expect(self.probe == "ridge", "probe", self.probe, "ridge")
        positive = "a finite number above 0, or auto"
        _expect(self.alpha == "auto" or _is_strength(self.alpha), "alpha", self.alpha, positive)
        grid = self.alpha_grid
        _expect(
            isinstance(grid, (list, tuple))
            and len(grid) > 0
            and all(_is_strength(a) for a in grid)
            and list(grid) == sorted(set(grid)),
            "alpha_grid",
            grid,
            "ascending finite numbers above 0, each once",
        )
        object.__setattr__(self, "alpha_grid", tuple(float(a) for a in grid))
        if self.alpha != "auto":
            object.__setattr__(self, "alpha", float(self.alpha))
        _expect(
            _is_int(self.inner_folds) and self.inner_folds >= 2,
            "inner_folds",
            self.inner_folds,
            "a whole number of at least 2",
        )
        _expect(isinstance(self.standardize, bool), "standardize", self.standardize, "true or false")
        _expect(isinstance(self.folds, FoldSpec), "folds", self.folds, "a [folds] table")
        _expect(_is_real(self.eps) and 0 < self.eps < math.inf, "eps", self.eps, "a finite number above 0")
        _expect(
            _is_real(self.max_failed) and 0 <= self.max_failed < 1,
            "max_failed",
            self.max_failed,
            "a number from 0 to below 1",
        )

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
        return cls(name=name)

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
        folds = data.get("folds", {})
        _expect(isinstance(folds, dict), "folds", folds, "a [folds] table")
        _known(folds, FoldSpec, prefix="folds.")
        if isinstance(folds.get("file"), str):
            folds = {**folds, "file": str(base / folds["file"])}
        return cls(**{**data, "folds": FoldSpec(**folds)})

    def to_toml(self) -> str:
        """Return the protocol as the text of a TOML file that :meth:`from_toml` reads back."""
        lines = [f"{f.name} = {_toml(getattr(self, f.name))}" for f in fields(self) if f.name != "folds"]
        folds = [f"{f.name} = {_toml(v)}" for f in fields(FoldSpec) if (v := getattr(self.folds, f.name)) is not None]
        return "\n".join([*lines, "", "[folds]", *folds, ""])

    def to_dict(self) -> dict[str, Any]:
        """Return every field as JSON values, with the hash."""
        return {**self._deciding_fields(), "name": self.name, "hash": self.hash, "folds": self.folds.to_dict()}

    def _deciding_fields(self) -> dict[str, Any]:
        decides = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "folds")}
        if self.alpha == "auto":
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
        return new if alpha is None else replace(new, alpha=alpha)  # type: ignore[arg-type]  # __post_init__ checks it


def _expect(holds: bool, where: str, found: object, expected: str) -> None:
    if not holds:
        raise InputError(where, found=repr(found), expected=expected, fix=f"correct {where}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_strength(value: object) -> bool:
    return _is_real(value) and 0 < value < math.inf  # type: ignore[operator]


def _known(data: dict[str, Any], cls: type, prefix: str) -> None:
    names = [f.name for f in fields(cls)]
    for key in data:
        _expect(key in names, f"{prefix}{key}", key, f"a field among {', '.join(names)}")


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(value)  # TOML's strings, numbers and booleans are JSON's


def _file_digest(path: str) -> str:
    try:
        return hashlib.blake2b(Path(path).read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise InputError(
            path, found=error.strerror or str(error), expected="a readable CSV file", fix="correct the path"
        ) from None
