"""Probes as estimators of scikit-learn, solved by the engine.

Importing this needs scikit-learn, which fastprobe does not depend on otherwise.
"""

from __future__ import annotations

try:
    from sklearn.utils.validation import validate_data as _  # noqa: F401 - from release 1.6 on
except ImportError as error:
    from fastprobe.compat.sklearn.errors import MissingPackageError

    raise MissingPackageError(
        "fastprobe.compat.sklearn",
        found=f"no usable scikit-learn ({error})",
        expected="scikit-learn 1.6 or newer",
        fix="run: pip install 'scikit-learn>=1.6'",
    ) from error

from fastprobe.compat.sklearn.kernel import (
    KernelRidgeProbe,
    KernelRidgeProbeClassifier,
    KernelRidgeProbeClassifierCV,
    KernelRidgeProbeCV,
)
from fastprobe.compat.sklearn.loading import load
from fastprobe.compat.sklearn.logistic import LogisticProbe, LogisticProbeCV
from fastprobe.compat.sklearn.ridge import RidgeProbe, RidgeProbeClassifier, RidgeProbeClassifierCV, RidgeProbeCV

__all__ = [
    "KernelRidgeProbe",
    "KernelRidgeProbeCV",
    "KernelRidgeProbeClassifier",
    "KernelRidgeProbeClassifierCV",
    "LogisticProbe",
    "LogisticProbeCV",
    "RidgeProbe",
    "RidgeProbeCV",
    "RidgeProbeClassifier",
    "RidgeProbeClassifierCV",
    "load",
]
