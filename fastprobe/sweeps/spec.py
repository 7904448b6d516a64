"""What a sweep goes through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fastprobe.errors import InputError
from fastprobe.protocol import Protocol
from fastprobe.quantization import BITS, QUANTIZERS
from fastprobe.specs import expect, is_int, is_real, is_strength

__all__ = ["ORDERS", "Order", "SweepSpec", "Width"]

ORDERS: tuple[str, ...] = ("given", "variance", "pca", "random")
"""Orders of the dimensions, of which a size takes the first."""


@dataclass(frozen=True)
class Order:
    """An order of the dimensions.

    Attributes
    ----------
    name : str
        One of :data:`ORDERS`.
    seed : int or None
        Of a random order.
    """

    name: str
    seed: int | None = None


@dataclass(frozen=True)
class Width:
    """How a number of an embedding is stored.

    Attributes
    ----------
    bits : int or None
        None for the embedding as it was read.
    quantizer : str
        ``none`` for 32 bits and the embedding as it was read.
    """

    bits: int | None = None
    quantizer: str = "none"


@dataclass(frozen=True)
class SweepSpec:
    """What a sweep goes through; every combination is scored.

    Attributes
    ----------
    sizes : tuple of int, "all" or None
        Numbers of leading dimensions, ascending; None for all dimensions only.
    orders : tuple of str
        Of :data:`ORDERS`.
    random_orders : int
        Random orders, with the seeds 0, 1, ....
    pca_rows : {"train", "all"}
        Rows whose principal components are taken: those that train each fold, or all of the submission, without labels.
    alphas : tuple of float or None
        Strengths; None for that of the protocol.
    bits : tuple of int or None
        None for the embedding as it was read.
    quantizers : tuple of str or None
        None takes ``sign`` for 1 bit and ``uniform`` for more.
    fractions : tuple of float
        Shares of the training rows, ascending.
    join : int
        Largest number of submissions that are joined to one; 1 joins none.

    Raises
    ------
    InputError
        If a value is wrong.
    """

    sizes: tuple[int, ...] | Literal["all"] | None = None
    orders: tuple[str, ...] = ("given",)
    random_orders: int = 3
    pca_rows: Literal["train", "all"] = "train"
    alphas: tuple[float, ...] | None = None
    bits: tuple[int, ...] | None = None
    quantizers: tuple[str, ...] | None = None
    fractions: tuple[float, ...] = (1.0,)
    join: int = 1

    def __post_init__(self) -> None:
        if self.sizes is not None and not isinstance(self.sizes, str):
            _ascending("sizes", self.sizes, is_int, 1, "whole numbers of at least 1")
        expect(not isinstance(self.sizes, str) or self.sizes == "all", "sizes", self.sizes, "whole numbers, or all")
        _distinct("orders", self.orders, ORDERS)
        expect(
            is_int(self.random_orders) and self.random_orders >= 1, "random_orders", self.random_orders,
            "a whole number of at least 1",
        )  # fmt: skip
        expect(self.pca_rows in ("train", "all"), "pca_rows", self.pca_rows, "train or all")
        if self.alphas is not None:
            expect(
                len(set(self.alphas)) == len(self.alphas) > 0 and all(map(is_strength, self.alphas)),
                "alphas", list(self.alphas), "finite numbers above 0, each once",
            )  # fmt: skip
            object.__setattr__(self, "alphas", tuple(sorted(map(float, self.alphas))))
        if self.bits is not None:
            _distinct("bits", self.bits, BITS)
        if self.quantizers is not None:
            _distinct("quantizers", self.quantizers, QUANTIZERS)
            expect(self.bits is not None, "quantizers", list(self.quantizers), "quantizers only where there are bits")
        _ascending("fractions", self.fractions, is_real, 0.0, "shares above 0 and up to 1")
        expect(
            max(self.fractions) <= 1 and min(self.fractions) > 0,
            "fractions",
            list(self.fractions),
            "shares above 0 and up to 1",
        )
        object.__setattr__(self, "fractions", tuple(map(float, self.fractions)))
        expect(is_int(self.join) and self.join >= 1, "join", self.join, "a whole number of at least 1")
        widths = self.widths()
        if self._turns_per_fold and any(width.bits is not None for width in widths):
            raise InputError(
                "bits",
                found="bits with principal components of the training rows, which are others in every fold",
                expected="one matrix to quantise",
                fix="use pca_rows='all' (--pca-rows all), or leave the bits or the order pca out",
            )

    @property
    def _turns_per_fold(self) -> bool:
        """Whether every fold has principal components of its own."""
        return "pca" in self.orders and self.pca_rows == "train"

    def widths(self) -> list[Width]:
        """Give the bit widths, each with the quantisers that it has."""
        if self.bits is None:
            return [Width()]
        found = []
        for bits in self.bits:
            if bits == 32:
                found.append(Width(32))
                continue
            allowed = [q for q in QUANTIZERS if q != "sign" or bits == 1]
            wanted = ("sign" if bits == 1 else "uniform",) if self.quantizers is None else self.quantizers
            found += [Width(bits, quantizer) for quantizer in wanted if quantizer in allowed]
        if self.quantizers is not None:
            for quantizer in self.quantizers:
                expect(
                    any(width.quantizer == quantizer for width in found), "quantizers", quantizer,
                    "quantizers for which there are bits: sign has 1 bit only",
                )  # fmt: skip
            lacking = [bits for bits in self.bits if not any(width.bits == bits for width in found)]
            expect(not lacking, "quantizers", list(self.quantizers), f"a quantizer for {lacking} bits, too")
        return found

    def all_orders(self) -> Iterator[Order]:
        """Give the orders, the random ones with their seeds."""
        for name in self.orders:
            if name == "random":
                yield from (Order(name, seed) for seed in range(self.random_orders))
            else:
                yield Order(name)

    def sizes_of(self, name: str, d: int) -> np.ndarray:
        """Give the sizes for a submission of d dimensions.

        Raises
        ------
        InputError
            If one is larger than d.
        """
        if self.sizes is None:
            return np.array([d])
        if self.sizes == "all":
            return np.arange(1, d + 1)
        sizes = np.array(self.sizes)
        if sizes[-1] > d:
            raise InputError(
                "sizes",
                found=f"{sizes[-1]}, and submission {name!r} with {d} dimensions",
                expected=f"sizes from 1 to {d}",
                fix="leave out what is larger, or give all",
            )
        return sizes

    def require_members(self, count: int) -> None:
        """Raise InputError if there are too few submissions to join."""
        if self.join > 1 and count < 2:
            raise InputError(
                "join", found=f"{self.join} with one submission", expected="two or more submissions to join",
                fix="give more submissions, or leave join out",
            )  # fmt: skip

    def require_one_scale(self) -> None:
        """Raise InputError unless all folds and dimensions share one matrix and one scale, as logistic probes must."""
        for where, found, wrong, fix in (
            (
                "orders", "pca of the training rows, with logistic probes", self._turns_per_fold,
                "use pca_rows='all' (--pca-rows all), or the protocol ridge",
            ),
            (
                "quantizers", "dimension, a range for every dimension, with logistic probes",
                any(width.quantizer == "dimension" for width in self.widths()),
                "use the quantizer uniform, or the protocol ridge",
            ),
            (
                "join", f"{self.join}, submissions with a scale each, with logistic probes", self.join > 1,
                "use the protocol ridge, or leave join out",
            ),
        ):  # fmt: skip
            if wrong:
                raise InputError(where, found=found, expected="features of one scale, the same for all folds", fix=fix)

    def require_scorable(self, protocol: Protocol) -> None:
        """Raise InputError if a protocol cannot be swept in this way."""
        if protocol.probe not in ("ridge", "logistic", "closed-form"):
            raise InputError(
                "protocol",
                found=f"{protocol.name}, whose probe is {protocol.probe}",
                expected="one whose probe is ridge, logistic or closed-form",
                fix="use the protocol ridge for a sweep",
            )


def _ascending(where: str, values: Sequence[float], is_one: object, least: float, expected: str) -> None:
    found = list(values)
    fits = len(found) > 0 and all(is_one(v) and v >= least for v in found)  # type: ignore[operator]
    expect(fits and found == sorted(set(found)), where, found, f"{expected}, ascending, each once")


def _distinct(where: str, values: Sequence[object], known: Sequence[object]) -> None:
    found = list(values)
    fits = (
        len(found) > 0 and all(v in known and not isinstance(v, bool) for v in found) and len(set(found)) == len(found)
    )
    expect(fits, where, found, f"some of {', '.join(map(str, known))}, each once")
