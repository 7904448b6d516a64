"""NeuCo-Bench's YAML config: the same keys and defaults, and an error for everything that it would pass over."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from fastprobe.compat.neuco.yaml_file import YamlFile
from fastprobe.errors import InputError
from fastprobe.protocol import Protocol, ReplaySpec
from fastprobe.readers.table import shorten
from fastprobe.specs import is_int, is_real

__all__ = ["NeucoConfig"]


@dataclass(frozen=True)
class NeucoConfig:
    """A config of NeuCo-Bench for its linear probe.

    Attributes
    ----------
    k_folds, epochs, batch_size : int
    learning_rate : float
    device : {"auto", "cpu", "cuda"}
    embedding_dim : int or None
        Pad embeddings with zeros to so many dimensions.
    standardize_embeddings, normalize_labels : bool
    enable_plots, update_leaderboard, output_fold_results, store_probes : bool
        What is written.
    task_filter : tuple of str or None
        Names of the only tasks to score.
    stored : mapping
        The config as NeuCo-Bench keeps it with its results: all keys of the file, in their order, less ``device``.
    source : YamlFile
        Where it was read; names the places of keys in messages.
    """

    k_folds: int
    epochs: int
    batch_size: int
    learning_rate: float
    device: str = "auto"
    embedding_dim: int | None = None
    standardize_embeddings: bool = True
    normalize_labels: bool = True
    enable_plots: bool = True
    update_leaderboard: bool = False
    output_fold_results: bool = False
    store_probes: bool = False
    task_filter: tuple[str, ...] | None = None
    stored: Mapping[str, Any] = field(default_factory=dict, repr=False)
    source: YamlFile = field(default_factory=lambda: YamlFile("config"), repr=False)

    @classmethod
    def read(cls, path: str | Path) -> NeucoConfig:
        """Read a config file.

        Raises
        ------
        InputError
            If the file cannot be read, is not YAML, or has a key that is unknown, missing, given twice or of a wrong
            value; or if it asks for the SVM probe.
        """
        source, data = YamlFile.read(Path(path))
        if not isinstance(data, dict):
            raise InputError(
                str(path),
                found="nothing" if data is None else f"{shorten(str(data))}, which is no mapping",
                expected="NeuCo-Bench's config: lines of `key: value`, with k_folds, probe_type and probe_params",
                fix="start from NeuCo-Bench's configs/sample_config_linear.yaml",
            )
        _require_linear(source, data)
        values = _checked(source, data, _KEYS, "")
        params = _checked(source, values.pop("probe_params"), _PARAMS, "probe_params.")
        del values["probe_type"]
        if values.get("task_filter") is not None:
            values["task_filter"] = tuple(values["task_filter"])
        kept = {key: value for key, value in data["probe_params"].items() if key != "device"}
        return cls(**values, **params, stored={**data, "probe_params": kept}, source=source)

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """The settings of the optimiser, as they stand in the config and in every result file."""
        params = self.stored.get("probe_params", {})
        return {name: params.get(name, getattr(self, name)) for name in ("epochs", "learning_rate", "batch_size")}

    def protocol(self) -> Protocol:
        """Return the protocol ``neuco`` with these settings, not yet bound to tasks."""
        spec = ReplaySpec(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            normalize_labels=self.normalize_labels,
            embedding_dim=self.embedding_dim,
            store_probes=self.store_probes,
        )
        named = Protocol.named("neuco").with_options(folds=self.k_folds)
        return replace(named, standardize=self.standardize_embeddings, replay=spec)


class _Key(NamedTuple):
    """What a key may hold."""

    holds: Callable[[Any], bool]
    expected: str
    required: bool = False


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: is_int(value) and low <= value <= high


def _or_null(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or holds(value)


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_rate(value: Any) -> bool:
    return is_real(value) and 0 < value < math.inf


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(name, str) for name in value)


_FLAG = _Key(_is_bool, "true or false")

_KEYS: dict[str, _Key] = {
    "k_folds": _Key(_whole(1, 10_000), "a whole number from 1 to 10000", required=True),
    "probe_type": _Key(lambda value: value == "linear", "linear", required=True),
    "probe_params": _Key(lambda value: isinstance(value, dict), "a mapping with epochs, learning_rate and batch_size",
                         required=True),
    "embedding_dim": _Key(_or_null(_whole(1, 65_536)), "a whole number from 1 to 65536, or null"),
    "standardize_embeddings": _FLAG,
    "normalize_labels": _FLAG,
    "enable_plots": _FLAG,
    "update_leaderboard": _FLAG,
    "output_fold_results": _FLAG,
    "store_probes": _FLAG,
    "task_filter": _Key(_or_null(_are_names), "a list of names of tasks, or null for all"),
}  # fmt: skip

_PARAMS: dict[str, _Key] = {
    "epochs": _Key(_whole(1, 2**31), "a whole number of at least 1", required=True),
    "batch_size": _Key(_whole(1, 2**31), "a whole number of at least 1", required=True),
    "learning_rate": _Key(_is_rate, "a finite number above 0", required=True),
    "device": _Key(lambda value: value in ("auto", "cpu", "cuda"), "auto, cpu or cuda"),
}


def _require_linear(source: YamlFile, data: Mapping[Any, Any]) -> None:
    probe = data.get("probe_type", "linear")
    if probe == "svm":
        raise InputError(
            source.place("probe_type"),
            found="'svm', NeuCo-Bench's search over support vector machines, which fastprobe does not replay",
            expected="linear",
            fix="score with its counterpart in closed form, fastprobe score --protocol kernel, or set probe_type: "
            "linear with epochs, learning_rate and batch_size",
        )
    if probe != "linear":
        raise InputError(
            source.place("probe_type"),
            found=shorten(str(probe)),
            expected="linear (or svm, which NeuCo-Bench knows too)",
            fix="set probe_type: linear",
        )


def _checked(source: YamlFile, data: Mapping[Any, Any], keys: Mapping[str, _Key], prefix: str) -> dict[str, Any]:
    """Return the values of a mapping, all of them known and right; those that are missing have defaults."""
    for key, value in data.items():
        if key not in keys:
            raise _unknown(source, key, keys, prefix)
        if not keys[key].holds(value):
            raise InputError(
                source.place(prefix + key),
                found=_named(value),
                expected=keys[key].expected,
                fix=_advice(value, f"{prefix}{key}"),
            )
    for name, key in keys.items():
        if key.required and name not in data:
            raise InputError(
                f"{source.path}, {prefix}{name}",
                found=f"no key {name!r}" + (f" in {prefix.rstrip('.')}" if prefix else ""),
                expected=key.expected,
                fix=f"add {name}",
            )
    return dict(data)


def _unknown(source: YamlFile, key: object, keys: Mapping[str, _Key], prefix: str) -> InputError:
    near = get_close_matches(str(key), keys, n=1)
    elsewhere = "probe_params" if key in _PARAMS else "the top level" if key in _KEYS else None
    if near:
        fix = f"write {near[0]}, if that is what is meant"
    elif elsewhere:
        fix = f"move it to {elsewhere}"
    else:
        fix = "remove it"
    return InputError(
        source.place(f"{prefix}{key}"),
        found=f"the unknown key {shorten(str(key))}",
        expected=f"one of {', '.join(keys)}",
        fix=fix,
    )


def _named(value: object) -> str:
    """Name a value with its type where that may be what is wrong."""
    text = repr(value)
    return "null" if value is None else f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _advice(value: object, name: str) -> str:
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return f"correct {name}"
        if value == value.strip() and math.isfinite(number):
            return f"write {number!r} without quotes: YAML takes numbers in quotes, and such as 1e-3, for text"
    return f"correct {name}"
