"""Which workers a run has."""

from __future__ import annotations

from dataclasses import dataclass

from fastprobe.errors import InputError

__all__ = ["ClusterSpec"]


@dataclass(frozen=True)
class ClusterSpec:
    """The workers of a run; exactly one of the three.

    Attributes
    ----------
    workers : int or None
        Processes of this machine that score on the CPU. They share its cores.
    gpus : int, ``"all"`` or None
        GPUs of this machine, with a process for each.
    scheduler : str or None
        Address of a Dask scheduler, ``tcp://HOST:PORT``, whose workers have fastprobe and see the submissions at the
        same paths.

    Raises
    ------
    InputError
        If it is none of them, or several.
    """

    workers: int | None = None
    gpus: int | str | None = None
    scheduler: str | None = None

    def __post_init__(self) -> None:
        """Validate."""
        options = {"--workers": self.workers, "--gpus": self.gpus, "--scheduler": self.scheduler}
        given = [name for name, value in options.items() if value is not None]
        if len(given) != 1:
            raise InputError(
                " and ".join(given) or "cluster", found="both" if given else "no workers",
                expected=f"one of {', '.join(options)}", fix="leave out all but one" if given else "name one of them",
            )  # fmt: skip
        for name, count, more in (("--workers", self.workers, ""), ("--gpus", self.gpus, ", or all")):
            if count is not None and not (isinstance(count, int) and count >= 1) and not (more and count == "all"):
                raise InputError(name, found=repr(count), expected=f"1 or more{more}", fix="correct the number")
