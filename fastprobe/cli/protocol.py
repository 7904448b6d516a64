"""The protocols that the options of a command describe together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastprobe.cli.values import as_options
from fastprobe.errors import InputError
from fastprobe.protocol import FOLD_SCHEMES, FoldSpec, Protocol

__all__ = ["build_protocol", "build_protocols"]

_OPTION_OF = {
    "alpha": "--alpha",
    "kernel.degree": "--degree",
    "kernel.gamma": "--gamma",
    "kernel.kernel": "--kernel",
    "kernel.landmarks": "--landmarks",
    "folds.n_folds": "--folds",
    "folds.seed": "--seed",
    "folds.test_size": "--test-size",
}


def build_protocol(
    name: str,
    *,
    alpha: float | str | None = None,
    kernel: str | None = None,
    landmarks: int | None = None,
    gamma: float | None = None,
    degree: int | None = None,
    folds: int | None = None,
    scheme: str | None = None,
    groups: Path | None = None,
    split: Path | None = None,
    seed: int | None = None,
    test_size: float | None = None,
) -> Protocol:
    """Return the named protocol, changed by the options that are given.

    An option that would have no effect is an error, so that nobody believes in a setting that was not used.

    Raises
    ------
    InputError
        If an option is out of its range, or contradicts another one.
    """
    protocol = Protocol.load(name)
    if alpha is not None:
        _require_strength(alpha, [protocol])
    of_kernel = _of_kernel(kernel, landmarks, gamma, degree)
    _require_kernel(of_kernel, [protocol])
    spec = protocol.folds
    scheme = _scheme(spec, scheme, groups, split)
    changes: dict[str, Any] = {"scheme": scheme, "file": _fold_file(spec, scheme, groups, split)}
    for option, key, value, users in (
        ("--folds", "n_folds", folds, [s for s in FOLD_SCHEMES if s != "fixed"]),
        ("--seed", "seed", seed, [s for s in FOLD_SCHEMES if s not in ("fixed", "group-kfold")]),
        ("--test-size", "test_size", test_size, [s for s in FOLD_SCHEMES if s.endswith("shuffle")]),
    ):
        if value is not None:
            _require_use(option, value, scheme, users)
            changes[key] = value
    of_scheme = "--split" if split is not None else "--groups" if groups is not None else "--fold-scheme"
    with as_options({**_OPTION_OF, "folds.scheme": of_scheme}):
        changed = None if protocol.kernel is None else replace(protocol.kernel, **of_kernel)
        return protocol.with_options(alpha=alpha, spec=replace(spec, **changes), kernel=changed)


def build_protocols(
    compare: str,
    *,
    alpha: float | str | None = None,
    kernel: str | None = None,
    landmarks: int | None = None,
    gamma: float | None = None,
    degree: int | None = None,
    **settings: Any,
) -> list[Protocol]:
    """Return the protocols that ``--compare`` lists, each changed by the options that are given.

    Options of the folds apply to all of them, `alpha` to those that have a strength, those of the kernel to those that
    have one.

    Parameters
    ----------
    compare : str
        Names or ``.toml`` files with commas between them, the reference first.
    alpha, kernel, landmarks, gamma, degree, **settings
        As in :func:`build_protocol`.

    Raises
    ------
    InputError
        If fewer than two are listed, two are the same or have the same name, or an option does not suit all of them.
    """
    entries = [entry.strip() for entry in compare.split(",")]
    if len(entries) < 2 or "" in entries:
        raise InputError(
            "--compare",
            found=repr(compare),
            expected="two or more protocols, names or .toml files with commas between them",
            fix="write for example --compare neuco,closed-form",
        )
    with as_options({"--protocol": "--compare"}):
        named = [Protocol.load(entry) for entry in entries]
    if alpha is not None:
        _require_strength(alpha, named)
    of_kernel = _of_kernel(kernel, landmarks, gamma, degree)
    _require_kernel(of_kernel, named)
    protocols = [
        build_protocol(
            entry,
            alpha=alpha if protocol.has_strength else None,
            **(of_kernel if protocol.kernel is not None else {}),
            **settings,
        )
        for entry, protocol in zip(entries, named, strict=True)
    ]
    _require_different(entries, protocols)
    return protocols


def _require_strength(alpha: float | str, protocols: Sequence[Protocol]) -> None:
    if not any(protocol.has_strength for protocol in protocols):
        raise InputError(
            "--alpha",
            found=f"{alpha} with {', '.join(protocol.name for protocol in protocols)}",
            expected="--alpha only with a protocol that has a strength, such as ridge",
            fix="leave --alpha out",
        )


def _of_kernel(kernel: str | None, landmarks: int | None, gamma: float | None, degree: int | None) -> dict[str, Any]:
    """Return the fields of the kernel that are given."""
    fields = {"kernel": kernel and str(kernel), "landmarks": landmarks, "gamma": gamma, "degree": degree}
    return {name: value for name, value in fields.items() if value is not None}


def _require_kernel(options: Mapping[str, Any], protocols: Sequence[Protocol]) -> None:
    """Raise InputError if an option of the kernel is given and no protocol has one."""
    if options and not any(protocol.kernel is not None for protocol in protocols):
        name, value = next(iter(options.items()))
        raise InputError(
            f"--{name}",
            found=f"{value} with {', '.join(protocol.name for protocol in protocols)}",
            expected=f"--{name} only with a protocol that has a kernel",
            fix=f"add --protocol kernel, or leave --{name} out",
        )


def _require_different(entries: Sequence[str], protocols: Sequence[Protocol]) -> None:
    for i, protocol in enumerate(protocols):
        for entry, before in zip(entries[:i], protocols[:i], strict=True):
            if protocol.hash == before.hash:
                found = f"{entry} and {entries[i]}, which are the same protocol"
            elif protocol.name == before.name:
                found = f"{entry} and {entries[i]}, which are both named {protocol.name!r}"
            else:
                continue
            raise InputError(
                "--compare",
                found=found,
                expected="different protocols with different names",
                fix="leave one out, or give it another name = ... in its file",
            )


def _scheme(spec: FoldSpec, scheme: str | None, groups: Path | None, split: Path | None) -> str:
    """Return the fold scheme that the options ask for; a file alone says enough to choose one."""
    if groups is not None and split is not None:
        raise InputError(
            "--split",
            found="both --groups and --split",
            expected="one of them",
            fix="leave one out: groups for many folds, a split for one",
        )
    if scheme is not None and scheme not in FOLD_SCHEMES:
        raise InputError(
            "--fold-scheme", found=repr(scheme), expected=f"one of {', '.join(FOLD_SCHEMES)}", fix="correct the name"
        )
    if split is not None:
        return _agreeing("--split", scheme or "fixed", ["fixed"])
    if groups is not None:
        default = spec.scheme if spec.scheme.startswith("group-") else "group-shuffle"
        return _agreeing("--groups", scheme or default, ["group-shuffle", "group-kfold"])
    return scheme or spec.scheme


def _agreeing(option: str, scheme: str, users: Sequence[str]) -> str:
    _require_use(option, "a file", scheme, users)
    return scheme


def _require_use(option: str, value: object, scheme: str, users: Sequence[str]) -> None:
    if scheme not in users:
        raise InputError(
            option,
            found=f"{value} with the fold scheme {scheme}, which does not use it",
            expected=f"{option} only with {', '.join(users)}",
            fix=f"leave {option} out, or choose another --fold-scheme",
        )


def _fold_file(spec: FoldSpec, scheme: str, groups: Path | None, split: Path | None) -> str | None:
    """Return the file that a scheme reads: the option's, else the protocol's if it is of the same kind."""
    if not (scheme == "fixed" or scheme.startswith("group-")):
        return None
    given = split if scheme == "fixed" else groups
    if given is not None:
        return str(given)
    if spec.file is not None and (spec.scheme == "fixed") == (scheme == "fixed"):
        return spec.file
    option = "--split" if scheme == "fixed" else "--groups"
    raise InputError(
        "--fold-scheme",
        found=f"{scheme} without {option}",
        expected=f"a file with {option}",
        fix=f"add {option} FILE, a CSV with the columns {'id,split' if scheme == 'fixed' else 'id,group'}",
    )
