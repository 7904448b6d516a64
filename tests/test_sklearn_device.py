"""The estimators on other devices: on arrays that refuse what a GPU's would refuse, and with little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import is_classifier
from strict_namespace import Namespace

import fastprobe.compat.sklearn as estimators
import fastprobe.compat.sklearn.base as base
from fastprobe.backend.array import ArrayBackend
from fastprobe.compat.sklearn import KernelRidgeProbe, LogisticProbe, RidgeProbe
from fastprobe.errors import InputError
from fastprobe.probes.logistic.newton import ACCEPTED

CV_FORMS = [getattr(estimators, name) for name in estimators.__all__ if name.endswith("CV")]
RNG = np.random.default_rng(3)
X = RNG.standard_normal((45, 4))
Y = X @ RNG.standard_normal(4) + 0.5 * RNG.standard_normal(45)
THREE = np.digitize(Y, np.quantile(Y, [0.3, 0.6]))


def use(monkeypatch: pytest.MonkeyPatch, budget: int) -> None:
    backend = ArrayBackend(Namespace(), device="strict", budget=budget)
    monkeypatch.setattr(base, "get_backend", lambda name: backend)


def held_out(fitted: Any) -> np.ndarray:
    return np.concatenate(getattr(fitted, "cv_decisions_", None) or fitted.cv_predictions_, axis=1)


@pytest.mark.parametrize("parameters", [{}, {"standardize": True, "landmarks": 10}], ids=["plain", "scaled"])
@pytest.mark.parametrize("make", CV_FORMS, ids=lambda make: make.__name__)
def test_host_and_device_do_not_mix(make: type, parameters: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    known = make().get_params()
    estimator = make(
        (0.1, 10.0), cv=3, device="cpu", **{name: parameters[name] for name in parameters if name in known}
    )
    y = THREE if is_classifier(estimator) else Y
    on_cpu = estimator.fit(X, y)
    expected = held_out(on_cpu), getattr(on_cpu, "decision_function", on_cpu.predict)(X)
    use(monkeypatch, 2**20)
    on_device = estimator.fit(X, y)
    found = held_out(on_device), getattr(on_device, "decision_function", on_device.predict)(X)
    # Condition numbers are below 1e4, so that direct solves agree to about 1e-11; iterations as they say themselves.
    close = {"rtol": 0, "atol": ACCEPTED * np.abs(expected[0]).max() if "Logistic" in make.__name__ else 1e-10}
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, **close)


@pytest.mark.parametrize(
    ("shape", "expected"), [((30, 4), "primal"), ((4, 30), "dual")], ids=["more-rows", "more-features"]
)
def test_ridge_is_solved_in_the_smaller_space(
    shape: tuple[int, int], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    use(monkeypatch, 2**20)
    solve = ArrayBackend.cholesky
    monkeypatch.setattr(ArrayBackend, "cholesky", lambda self, a: sizes.append(a.shape[-1]) or solve(self, a))
    x = RNG.standard_normal(shape)
    RidgeProbe().fit(x, x[:, 0])
    assert sizes == [4], expected


def test_a_kernel_that_would_not_fit_names_the_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, 30_000)
    with pytest.raises(InputError, match=r"KernelRidgeProbe: found 30000 bytes.*45 x 45 samples.*landmarks"):
        KernelRidgeProbe().fit(X, Y)


def test_linear_probes_predict_without_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = [RidgeProbe(device="cpu").fit(X, Y), LogisticProbe(device="cpu").fit(X, THREE)]

    def no_device(name: str) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(base, "get_backend", no_device)
    assert [len(probe.predict(X)) for probe in fitted] == [45, 45]
