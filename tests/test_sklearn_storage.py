"""Fitted probes in files: what comes back, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.base import is_classifier
from sklearn.exceptions import NotFittedError

import fastprobe.compat.sklearn as estimators
from fastprobe.compat.sklearn import KernelRidgeProbe, LogisticProbe, RidgeProbe, RidgeProbeClassifier, load
from fastprobe.errors import InputError

CLASSES = [getattr(estimators, name) for name in estimators.__all__ if name != "load"]
RNG = np.random.default_rng(11)
X = RNG.standard_normal((40, 4))
Y = X @ RNG.standard_normal(4)
THREE = np.digitize(Y, [-1.0, 1.0])

KINDS: dict[str, Any] = {
    "int": np.array([-7, 0, 2**40]),
    "unsigned": np.array([1, 2, 3], dtype=np.uint8),
    "float": np.array([-1.0, 2.0, 1e15]),
    "str": np.array(["", "a b", "naïve"]),
    "object": np.array(["x", "y", "zz"], dtype=object),
}


@pytest.mark.parametrize("make", CLASSES, ids=lambda make: make.__name__)
def test_probes_come_back_as_they_were(make: type, tmp_path: Path) -> None:
    y = THREE if is_classifier(make()) else Y
    fitted = make(standardize=True, device="cpu").fit(X, y)
    fitted.save(tmp_path / "probe.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["probe.npz"]
    loaded = load(tmp_path / "probe.npz")
    assert type(loaded).__name__ == make.__name__.removesuffix("CV")
    np.testing.assert_array_equal(loaded.predict(X), fitted.predict(X))
    if is_classifier(fitted):
        np.testing.assert_array_equal(loaded.decision_function(X), fitted.decision_function(X))
        np.testing.assert_array_equal(loaded.classes_, fitted.classes_)
    assert loaded.alpha == getattr(fitted, "alpha_", getattr(fitted, "alpha", None))
    assert type(make.load(tmp_path / "probe.npz")) is type(loaded)


def test_several_outputs_come_back(tmp_path: Path) -> None:
    many = np.stack([Y, -Y, Y**2], axis=1)
    for probe in (RidgeProbe(2.0), KernelRidgeProbe(landmarks=9, kernel="polynomial", degree=2)):
        probe.fit(X, many).save(tmp_path / "probe.npz")
        np.testing.assert_array_equal(load(tmp_path / "probe.npz").predict(X), probe.predict(X))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("count", [2, 3])
def test_classes_of_any_type_come_back(kind: str, count: int, tmp_path: Path) -> None:
    values = KINDS[kind][:count]
    fitted = RidgeProbeClassifier().fit(X, values[THREE % count])
    fitted.save(tmp_path / "probe.npz")
    loaded = load(tmp_path / "probe.npz")
    assert loaded.classes_.dtype == fitted.classes_.dtype
    assert loaded.predict(X).tolist() == fitted.predict(X).tolist()


def test_names_of_features_come_back(tmp_path: Path) -> None:
    frame = pd.DataFrame(X, columns=["a", "b", "c", "d"])
    RidgeProbe().fit(frame, Y).save(tmp_path / "probe.npz")
    loaded = load(tmp_path / "probe.npz")
    assert loaded.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    with pytest.raises(ValueError, match="feature names"):
        loaded.predict(frame[["b", "a", "c", "d"]])


def test_numbers_of_numpy_are_parameters_too(tmp_path: Path) -> None:
    RidgeProbe(np.float32(0.5)).fit(X, Y).save(tmp_path / "probe.npz")
    assert load(tmp_path / "probe.npz").alpha == 0.5


@pytest.mark.slow
def test_another_process_reads_the_file(tmp_path: Path) -> None:
    fitted = KernelRidgeProbe(device="cpu").fit(X, Y)
    fitted.save(tmp_path / "probe.npz")
    root = Path(__file__).resolve().parents[1]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r})\n"
        "from fastprobe.compat.sklearn import load\n"
        f"print(load({str(tmp_path / 'probe.npz')!r}).predict([[0.5, 0.25, -1.0, 2.0]])[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert float(done.stdout) == pytest.approx(fitted.predict([[0.5, 0.25, -1.0, 2.0]])[0], rel=1e-12)


def test_what_is_not_fitted_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        RidgeProbe().save(tmp_path / "probe.npz")
    assert list(tmp_path.iterdir()) == []


def test_classes_that_are_other_objects_are_not_saved(tmp_path: Path) -> None:
    fitted = RidgeProbeClassifier().fit(X, THREE)
    fitted.classes_ = np.array([(0,), (1,), (2,), None], dtype=object)[:3]
    with pytest.raises(InputError, match="classes of type tuple"):
        fitted.save(tmp_path / "probe.npz")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "probe.npz"
    RidgeProbe(3.0).fit(X, Y).save(path)

    def break_off(file: Any, **arrays: Any) -> None:
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", break_off)
    with pytest.raises(OSError, match="disk full"):
        RidgeProbe(4.0).fit(X, Y).save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["probe.npz"]
    assert load(path).alpha == 3.0


# What is refused


def header(**changes: Any) -> Callable[[dict[str, Any]], None]:
    """Change fields of the header; None removes one."""

    def change(content: dict[str, Any]) -> None:
        found = json.loads(content["header"].item())
        for name, value in changes.items():
            found[name] = value
        content["header"] = np.array(json.dumps(found))

    return change


def array(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    """Replace an array; None removes it."""

    def change(content: dict[str, Any]) -> None:
        if value is None:
            del content[name]
        else:
            content[name] = np.asarray(value)

    return change


def packed(*values: Any, dtype: str = "<i8") -> dict[str, Any]:
    return {"dtype": dtype, "values": list(values)}


RIDGE = {
    "no header": (array("header", None), "an archive without the header of a probe"),
    "header is no JSON": (array("header", "{"), "an archive without the header of a probe"),
    "header is a list": (array("header", "[1]"), "an archive without the header of a probe"),
    "header is a number": (array("header", 3.0), "an archive without the header of a probe"),
    "another format": (header(format="fastprobe scores"), "an archive without the header of a probe"),
    "newer version": (header(version=2, fastprobe="9.0.0"), "version 2 of the format, by fastprobe '9.0.0'"),
    "no version": (header(version=None), "version None of the format"),
    "unknown class": (header(kind="Lasso"), "a probe of the class 'Lasso'"),
    "class is a number": (header(kind=3), "3 for 'kind'"),
    "CV form": (header(kind="RidgeProbeCV"), "a probe of the class 'RidgeProbeCV'"),
    "another family": (header(kind="KernelRidgeProbe"), "the parameters alpha, standardize"),
    "a classifier": (header(kind="RidgeProbeClassifier"), "classes None"),
    "unknown parameter": (header(parameters={"alpha": 1.0, "beta": 1.0}), "the parameters alpha, beta"),
    "no parameters": (header(parameters={}), "the parameters none"),
    "bad strength": (header(parameters={"alpha": -1.0, "standardize": False}), "-1.0"),
    "strength is text": (header(parameters={"alpha": "1", "standardize": False}), "'1'"),
    "no number of features": (header(n_features=None), "None for 'n_features'"),
    "no features": (header(n_features=0), "0 features"),
    "features are true": (header(n_features=True), "True features"),
    "other features": (header(n_features=5), "the array 'coef' of shape (4,)"),
    "too few names": (header(feature_names=["a"]), "names of features that are not one string for each"),
    "names are numbers": (header(feature_names=[1, 2, 3, 4]), "names of features that are not one string for each"),
    "classes of a regression": (header(classes=packed(0, 1)), "classes"),
    "no coefficients": (array("coef", None), "the arrays intercept"),
    "one array more": (array("scale", 1.0), "the arrays coef, intercept, scale"),
    "single precision": (array("coef", np.zeros(4, np.float32)), "the array 'coef' of type float32"),
    "other shape": (array("coef", np.zeros((2, 4))), "the array 'coef' of shape (2, 4)"),
    "NaN": (array("coef", [0.0, np.nan, 0.0, 0.0]), "the array 'coef' with NaN or infinity"),
    "infinity": (array("intercept", np.inf), "the array 'intercept' with NaN or infinity"),
    "intercept is a matrix": (array("intercept", [[1.0]]), "the array 'intercept' of shape (1, 1)"),
}
CLASSIFIER = {
    "one class": (header(classes=packed(0)), "classes {'dtype': '<i8', 'values': [0]}"),
    "one class more": (header(classes=packed(0, 1, 2, 3)), "intercepts of shape (3,)"),
    "two classes": (header(classes=packed(0, 1)), "intercepts of shape (3,)"),
    "a class twice": (header(classes=packed(0, 1, 1)), "classes {"),
    "descending": (header(classes=packed(2, 1, 0)), "classes {"),
    "no classes": (header(classes=None), "classes None"),
    "classes are a list": (header(classes=[0, 1, 2]), "[0, 1, 2] for 'classes'"),
    "no type": (header(classes={"values": [0, 1, 2]}), "classes {'values'"),
    "another type": (header(classes=packed(0, 1, 2, dtype="|u7")), "classes {"),
    "type is a number": (header(classes=packed(0, 1, 2, dtype=3)), "classes {"),  # type: ignore[arg-type]
    "values of another type": (header(classes=packed("a", "b", "c")), "classes {"),
    "values that do not fit": (header(classes=packed(0, 1, 300, dtype="|u1")), "classes {"),
    "objects": (header(classes=packed(0, 1, 2, dtype="|O")), "classes {"),
    "nested": (header(classes=packed([0], [1], [2])), "classes {"),
    "dates": (header(classes=packed(0, 1, 2, dtype="<M8[s]")), "classes {"),
    "NaN": (header(classes=packed(0.0, 1.0, float("nan"), dtype="<f8")), "classes {"),
}
KERNEL = {
    "no gamma": (header(numbers={"scale": 1.0}), "None for the number 'gamma'"),
    "gamma below 0": (header(numbers={"gamma": -1.0, "scale": 1.0}), "-1.0 for the number 'gamma'"),
    "scale is NaN": (header(numbers={"gamma": 1.0, "scale": float("nan")}), "nan for the number 'scale'"),
    "numbers are a list": (header(numbers=[1.0]), "[1.0] for 'numbers'"),
    "no rows": (array("X_fit", np.zeros((0, 4))), "the array 'X_fit' of shape (0, 4)"),
    "too few coefficients": (array("dual_coef", np.zeros(3)), "the array 'dual_coef' of shape (3,)"),
    "center": (array("center", np.zeros(3)), "the array 'center' of shape (3,)"),
}
BROKEN = [
    pytest.param(probe, labels, change, found, id=f"{probe.__name__}, {name}")
    for probe, labels, cases in [
        (RidgeProbe, Y, RIDGE),
        (RidgeProbeClassifier, THREE, CLASSIFIER),
        (KernelRidgeProbe, Y, KERNEL),
    ]
    for name, (change, found) in cases.items()
]


@pytest.mark.parametrize(("probe", "labels", "change", "found"), BROKEN)
def test_changed_files_are_refused(
    probe: type, labels: np.ndarray, change: Callable[[dict[str, Any]], None], found: str, tmp_path: Path
) -> None:
    path = tmp_path / "probe.npz"
    probe(device="cpu").fit(X, labels).save(path)
    with np.load(path) as archive:
        content = dict(archive)
    change(content)
    np.savez(path, **content)
    with pytest.raises(InputError) as caught:
        load(path)
    assert found in caught.value.found
    assert str(path) in caught.value.where
    assert caught.value.fix


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "probe.npz"
    with pytest.raises(InputError, match="nothing there"):
        load(path)
    with pytest.raises(InputError, match="nothing there"):
        load(tmp_path)
    path.write_bytes(b"\x80\x04N.")
    with pytest.raises(InputError, match=r"no \.npz archive"):
        load(path)
    fitted = RidgeProbe().fit(X, Y)
    fitted.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=r"no \.npz archive"):
        load(path)
    damaged = bytearray(whole)
    damaged[whole.index(fitted.coef_.tobytes())] ^= 255
    path.write_bytes(bytes(damaged))
    with pytest.raises(InputError, match="cannot be read"):
        load(path)


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "probe.npz"
    RidgeProbe().fit(X, Y).save(path)
    with np.load(path) as archive:
        content = dict(archive)
    content["coef"] = np.array([{"a": 1}], dtype=object)
    np.savez(path, allow_pickle=True, **content)
    with pytest.raises(InputError, match="allow_pickle"):
        load(path)


def test_a_class_reads_its_own_probes_only(tmp_path: Path) -> None:
    RidgeProbe().fit(X, Y).save(tmp_path / "probe.npz")
    with pytest.raises(InputError, match="found a RidgeProbe; expected a LogisticProbe"):
        LogisticProbe.load(tmp_path / "probe.npz")
