"""How fast a device does each kind of work: what the planner weighs routes by.

Only ratios decide. Those of the CPU were fitted on two cores of a Skylake server. Those of GPUs are the peaks of data
sheets times a share that such work usually reaches, and stand in for measurements until there are any:

- H100 SXM (NVIDIA H100 data sheet): 67 TFLOP/s in float64 on tensor cores and in float32, 3.35 TB/s;
- GeForce RTX 4090 (NVIDIA Ada GPU architecture whitepaper): 82.6 TFLOP/s in float32, 1/64 of that in float64, 1.01
  TB/s. Other cards without units for float64 have 1/32 or 1/64, and the same order of routes.

Matrix products are taken to reach 70 % of the peak; triangular solves a third of that; Cholesky factorisations of a
thousand rows and eigendecompositions wait for the chip rather than work it; products with the rows of sets read 8 bytes
(4 in float32) for 4 flops at half of the memory's speed.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CONSUMER", "CPU", "H100", "Rates"]


@dataclass(frozen=True)
class Rates:
    """Flops per second by kind of work, multiplications and additions counted singly.

    Attributes
    ----------
    gemm, gemm32 : float
        Matrix products in float64 and float32, symmetric ones counted by half.
    trsm : float
        Triangular solves with many right-hand sides.
    potrf, potrf32 : float
        Cholesky factorisations of a thousand rows or less.
    eigh : float
        Eigendecompositions, counted as 6 d^3.
    rows, rows32 : float
        Products of few columns with the scattered rows of every set.
    """

    gemm: float
    gemm32: float
    trsm: float
    potrf: float
    potrf32: float
    eigh: float
    rows: float
    rows32: float

    @property
    def slow_float64(self) -> bool:
        """Whether the device has next to no units for float64."""
        return self.gemm32 > 8 * self.gemm


CPU = Rates(gemm=60e9, gemm32=150e9, trsm=32e9, potrf=12e9, potrf32=30e9, eigh=25e9, rows=6e9, rows32=7e9)
"""Two cores."""

H100 = Rates(
    gemm=47e12, gemm32=47e12, trsm=15e12, potrf=0.4e12, potrf32=0.5e12, eigh=0.1e12, rows=0.8e12, rows32=1.6e12
)
"""A GPU that is as fast in float64 as in float32: compute capability 8.0, 9.0 or 10.0."""

CONSUMER = Rates(
    gemm=0.9e12, gemm32=58e12, trsm=0.3e12, potrf=0.1e12, potrf32=0.4e12, eigh=0.05e12, rows=0.25e12, rows32=0.5e12
)
"""Any other GPU."""
