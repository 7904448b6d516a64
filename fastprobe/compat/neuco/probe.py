"""Stored probes: the weights that ``store_probes`` asks for, with all that is needed to predict from raw embeddings."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastprobe.errors import InputError
from fastprobe.readers.label_folder import Kind
from fastprobe.readers.table import undamaged

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

__all__ = ["LinearProbe", "load_probe"]

_FORMAT = "fastprobe linear probe 1"


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A linear probe that was trained on all samples of a task.

    Attributes
    ----------
    task : str
    kind : {"regression", "classification"}
    weight : ndarray of float32, shape (D,)
        For padded and standardised embeddings.
    bias : float
    n_features : int
        Dimensions d of the submission, before it was padded to D.
    mean, std : float
        What standardised the embeddings: ``(x - mean) / std``, after padding; 0 and 1 if they were left as they are.
    label_min, label_max : float
        Least and greatest label of the task.
    normalize_labels : bool
        Whether the probe was trained on labels mapped from ``label_min .. label_max`` to 0 .. 1.
    epochs, batch_size : int
    learning_rate : float
        Of the training.
    n_samples : int
        Samples that it was trained on.
    """

    task: str
    kind: Kind
    weight: NDArray[np.float32]
    bias: float
    n_features: int
    mean: float
    std: float
    label_min: float
    label_max: float
    normalize_labels: bool
    epochs: int
    batch_size: int
    learning_rate: float
    n_samples: int

    def predict(self, x: ArrayLike) -> NDArray[np.float32]:
        """Predict from raw embeddings: pad, standardise, apply the probe, undo the normalisation of labels.

        Parameters
        ----------
        x : array_like of numbers, shape (n, d)
            As they stand in the submission; or padded already, (n, D).

        Returns
        -------
        ndarray of float32, shape (n,)
            Labels on their original scale; for classification the logit of the positive class.

        Raises
        ------
        InputError
            If the embeddings have other dimensions.
        """
        import numpy as np

        outputs = self._outputs(x)
        if self.kind == "classification" or not self.normalize_labels:
            return outputs
        return outputs * np.float32(self.label_max - self.label_min) + np.float32(self.label_min)

    def predict_class(self, x: ArrayLike) -> NDArray[np.float64]:
        """Predict classes: the greater label of the task where the logit is above 0, the smaller one elsewhere.

        Parameters
        ----------
        x : array_like of numbers, shape (n, d) or (n, D)

        Returns
        -------
        ndarray of float64, shape (n,)
            0 and 1, or the two labels that stood for them.

        Raises
        ------
        InputError
            If this is the probe of a regression task, or the embeddings have other dimensions.
        """
        import numpy as np

        if self.kind != "classification":
            raise InputError(
                f"probe of the task {self.task!r}",
                found="a regression task",
                expected="a classification task for predict_class",
                fix="use predict",
            )
        negative, positive = (self.label_min, self.label_max) if self.normalize_labels else (0.0, 1.0)
        return np.where(self._outputs(x) > 0, positive, negative)

    def _outputs(self, x: ArrayLike) -> NDArray[np.float32]:
        import numpy as np

        size = len(self.weight)
        try:
            single = np.asarray(x, dtype=np.float32)
            found = f"embeddings of shape {single.shape}"
        except (TypeError, ValueError) as error:
            single, found = np.empty(0, np.float32), f"no array of numbers ({error})"
        if single.ndim != 2 or single.shape[1] not in (self.n_features, size):
            or_padded = f" (or {size}, padded)" if size != self.n_features else ""
            raise InputError(
                f"probe of the task {self.task!r}",
                found=found,
                expected=f"embeddings of shape (n, {self.n_features}){or_padded}",
                fix="give the embeddings of the submission that the probe was trained on, one row per sample",
            )
        padded = np.pad(single, ((0, 0), (0, size - single.shape[1])))
        z = (padded - np.float32(self.mean)) / np.float32(self.std)
        outputs: NDArray[np.float32] = np.matmul(z, self.weight) + np.float32(self.bias)
        return outputs

    def save(self, path: str | Path) -> None:
        """Write the probe as ``.npz``, without pickle."""
        import numpy as np

        fields: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in _DTYPES}
        np.savez(path, format=np.asarray(_FORMAT), **fields)


_DTYPES = {
    "task": "U", "kind": "U", "weight": "f", "bias": "f", "n_features": "i", "mean": "f", "std": "f", "label_min": "f",
    "label_max": "f", "normalize_labels": "b", "epochs": "i", "batch_size": "i", "learning_rate": "f", "n_samples": "i",
}  # fmt: skip
"""Arrays of the file, which are the fields of the class, with the kinds of their types."""


def load_probe(path: str | Path) -> LinearProbe:
    """Load a probe that ``fastprobe neuco`` stored.

    Parameters
    ----------
    path : path
        ``probe.npz``, or the folder that it lies in.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged or of another kind. Nothing in it is run: pickled data is refused.
    """
    path = Path(path)
    path = path / "probe.npz" if path.is_dir() else path
    if not path.is_file():
        raise _not_a_probe(path, "nothing there")
    if not zipfile.is_zipfile(path):
        raise _not_a_probe(path, "a file that is no .npz archive, or only a part of one")
    arrays = _arrays(path)
    if "format" not in arrays or arrays["format"].tolist() != _FORMAT:
        raise _not_a_probe(path, f"an archive of {', '.join(map(repr, sorted(arrays))) or 'nothing'}")
    fields: dict[str, Any] = {}
    for name, kind in _DTYPES.items():
        if name not in arrays:
            raise _not_a_probe(path, f"no array {name!r}")
        array = arrays[name]
        if array.dtype.kind != kind or array.ndim != (name == "weight"):
            raise _not_a_probe(path, f"the array {name!r} with values of type {array.dtype} and shape {array.shape}")
        fields[name] = array if name == "weight" else array.item()
    if fields["kind"] not in ("regression", "classification") or not 1 <= fields["n_features"] <= len(fields["weight"]):
        raise _not_a_probe(
            path, f"the kind {fields['kind']!r}, {fields['n_features']} features and {len(fields['weight'])} weights"
        )
    return LinearProbe(**fields)


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    import numpy as np

    with undamaged(path, ".npz"), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _not_a_probe(path: Path, found: str) -> InputError:
    return InputError(
        str(path),
        found=found,
        expected="a probe.npz that `fastprobe neuco` wrote with store_probes: true",
        fix="name the file or its folder, or store the probe again",
    )
