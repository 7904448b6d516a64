"""Scoring embeddings while a model trains.

In a training loop, ``callback = ProbeCallback(y, every=500)`` and at every step ``callback(step, lambda:
encoder(samples))``; then ``callback.history[-1].q`` is the latest score. This module does not load torch: what has
DLPack will do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastprobe.backend import Backend, get_backend
from fastprobe.backend.cuda.foreign import gpu_of
from fastprobe.engine import Alpha, ArrayScore, score_arrays
from fastprobe.errors import InputError
from fastprobe.protocol import DEFAULT, Protocol
from fastprobe.tasks import Kind

__all__ = ["ProbeCallback", "ProbeScore"]


@dataclass(frozen=True, eq=False)
class ProbeScore:
    """The score at one step of training.

    Attributes
    ----------
    step : int
    score : ArrayScore
    """

    step: int
    score: ArrayScore

    @property
    def q(self) -> float | None:
        """Q of the step."""
        return self.score.q

    @property
    def mean(self) -> float | None:
        """Mean R2 or F1 over the folds."""
        return self.score.mean


class ProbeCallback:
    """Scores a set of samples every few steps of a training loop.

    The embeddings stay where they are: those of a model on a GPU are scored there, and only the scores come to the
    host. No gradient flows through the score. The GPU works on it after all that the loop has begun, and has finished
    when the call returns.

    Parameters
    ----------
    y : array, shape (n,)
        Labels of the samples; two or more values for classification.
    kind : {"regression", "classification"}
    every : int
        Steps from score to score; the first is that of step 0.
    protocol : str or Protocol
    alpha : float or "auto", optional
        Overrides the strength of the protocol.
    folds : int, optional
        Overrides its number of folds.
    device : str
        ``auto`` scores where the embeddings are; see :func:`fastprobe.score_arrays`.

    Attributes
    ----------
    history : list of ProbeScore

    Raises
    ------
    InputError
        If `every` is below 1; when called, what :func:`fastprobe.score_arrays` raises.
    """

    def __init__(
        self,
        y: Any,
        *,
        kind: Kind = "regression",
        every: int = 1,
        protocol: str | Protocol = DEFAULT,
        alpha: Alpha | None = None,
        folds: int | None = None,
        device: str = "auto",
    ) -> None:
        if every < 1:
            raise InputError(
                "every", found=repr(every), expected="a number of steps above 0", fix="use 1 for each step"
            )
        self.history: list[ProbeScore] = []
        self._y, self._every, self._device = y, every, device
        self._options: dict[str, Any] = {"kind": kind, "protocol": protocol, "alpha": alpha, "folds": folds}
        self._backends: dict[str, Backend] = {}

    def __call__(self, step: int, embeddings: Any | Callable[[], Any]) -> ProbeScore | None:
        """Score the embeddings if their turn has come.

        Parameters
        ----------
        step : int
        embeddings : tensor, shape (n, d), or a function without arguments that returns one
            A function is called only for the steps that are scored. bfloat16 is scored as float32.

        Returns
        -------
        ProbeScore or None
            Also the last of `history`; None if nothing was due.
        """
        if step % self._every:
            return None
        x = embeddings() if callable(embeddings) else embeddings
        if str(getattr(x, "dtype", "")) == "torch.bfloat16":  # NumPy and CuPy have no such type
            x = x.float()
        found = ProbeScore(step, score_arrays(x, self._y, device=self._backend(x), **self._options))
        self.history.append(found)
        return found

    @property
    def steps(self) -> Sequence[int]:
        """Steps that were scored."""
        return [found.step for found in self.history]

    def _backend(self, x: Any) -> Backend:
        """Backend for the embeddings, set up once: a GPU takes longer to set up than to score."""
        number = gpu_of(x)
        device = f"cuda:{number}" if number is not None and self._device == "auto" else self._device
        if device not in self._backends:
            self._backends[device] = get_backend(device)
        return self._backends[device]
