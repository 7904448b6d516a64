"""Reading a probe of any class from its file."""

from __future__ import annotations

from pathlib import Path

from fastprobe.compat.sklearn.base import Probe
from fastprobe.compat.sklearn.kernel import KernelRidgeProbe, KernelRidgeProbeClassifier
from fastprobe.compat.sklearn.logistic import LogisticProbe
from fastprobe.compat.sklearn.ridge import RidgeProbe, RidgeProbeClassifier
from fastprobe.compat.sklearn.storage import read_probe

__all__ = ["load"]

_CLASSES: dict[str, type[Probe]] = {
    probe.__name__: probe
    for probe in (RidgeProbe, RidgeProbeClassifier, LogisticProbe, KernelRidgeProbe, KernelRidgeProbeClassifier)
}


def load(path: str | Path) -> Probe:
    """Read a fitted probe that ``save`` of an estimator wrote.

    Everything in the file is checked; nothing in it is run.

    Parameters
    ----------
    path : path

    Returns
    -------
    RidgeProbe, RidgeProbeClassifier, LogisticProbe, KernelRidgeProbe or KernelRidgeProbeClassifier
        As it was saved, with the device ``auto``.

    Raises
    ------
    InputError
        If there is no such file, it is damaged, not a probe, or by a newer fastprobe.
    """
    saved = read_probe(path)
    saved.expect(saved.kind in _CLASSES, f"a probe of the class {saved.kind!r}", f"one of {', '.join(_CLASSES)}")
    return _CLASSES[saved.kind]._restored(saved)
