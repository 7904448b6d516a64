"""The parts of the suite, one module each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module

from benchmarks.gpu.context import Context

__all__ = ["PARTS", "Part", "run_part"]


@dataclass(frozen=True)
class Part:
    """A part.

    Attributes
    ----------
    text : str
        What it does, for ``--list``.
    weight : float
        Its share of the time: what is left is divided by weight among the parts that are left.
    """

    text: str
    weight: float


PARTS: Mapping[str, Part] = {
    "tests": Part("the tests marked gpu, by pytest", 4.0),
    "kernels": Part(
        "what this device can do (copies, products, transfers, launches); our kernels as shares of it", 1.5
    ),
    "parity": Part("the CPU's fold scores and Q beside the GPU's, on the synthetic workload and on real data", 4.0),
    "ridge": Part("time per submission: one, 20 and chosen strengths, from device and host memory; stages", 2.5),
    "sweep": Part("time per submission of every embedding size, with strengths, bits, fractions; operations", 2.5),
    "probes": Part(
        "time per submission of logistic probes, kernel ridge, the default protocol, the replay of NeuCo-Bench", 4.5
    ),
    "runs": Part("bulk runs from files, a store and by a worker, beside one call in memory; where they wait", 2.0),
    "peers": Part("torch refits, himalaya, cuML, NeuCo-Bench on the same GPU", 2.5),
}
"""Every part by its name on the command line, in the order of a full run. A part is a module of the same name here."""


def run_part(name: str, context: Context) -> None:
    """Do a part in this process; it enters what it finds."""
    with context.target.session():
        import_module(f"{__name__}.{name}").run(context)
