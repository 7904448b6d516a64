"""Embeddings in fewer bits: quantise, pack, write.

A quantised matrix is ``offset + code * step`` with integer codes. The codes are what is kept and scored; the matrix of
values is made only where it is asked for, and nothing here holds a float64 copy of more than a block of rows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastprobe.backend.cuda.foreign import first_not_finite, gpu_of
from fastprobe.errors import InputError
from fastprobe.files import atomic_path
from fastprobe.readers.packed import PACKED_BITS, decode, pack, row_blocks, unpack
from fastprobe.readers.table import ArrayPlaces
from fastprobe.readers.validation import as_ids, as_matrix, checked

__all__ = ["BITS", "QUANTIZERS", "Quantized", "quantize", "unpack"]

QUANTIZERS = ("uniform", "dimension", "sign")
"""One range for all entries, a range for every dimension, or the sign alone."""

BITS = (32, 16, 8, 4, 2, 1)
"""Bits of a number; 32 is float32, without codes."""

Scale = float | NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Quantized:
    """A matrix in few bits, as :func:`quantize` makes it: ``offset + codes * step``.

    Attributes
    ----------
    codes : ndarray, shape (n, d)
        uint8 up to 8 bits; for 16 bits float32 that holds whole numbers, exactly; for 32 bits the values as float32.
    bits : int
        Bits of a number.
    quantizer : str
        One of :data:`QUANTIZERS`; ``none`` for 32 bits.
    offset, step : float, or ndarray of float64, shape (d,)
        One for all entries, or one for every dimension; a step is 0 where the range is a single value.
    """

    codes: NDArray[Any]
    bits: int
    quantizer: str
    offset: Scale
    step: Scale

    def values(self, dtype: DTypeLike = np.float64) -> NDArray[Any]:
        """Return ``offset + codes * step``, computed in float64, shape (n, d); for 32 bits and float32 no copy."""
        if self.bits == 32:
            return self.codes.astype(dtype, copy=False)
        return decode(self.codes, self.offset, self.step, dtype)

    def packed(self) -> NDArray[np.uint8]:
        """Return the codes packed into bytes, shape (n, ceil(d * bits / 8)), the first code in the lowest bits.

        Raises
        ------
        InputError
            If a code has more than 8 bits.
        """
        if self.bits not in PACKED_BITS:
            raise InputError(
                "Quantized.packed",
                found=f"{self.bits} bits",
                expected="at most 8 bits",
                fix="save wider embeddings as numbers: numpy.savez(path, id=ids, x=quantized.values('float32'))",
            )
        return pack(self.codes, self.bits)

    def save(self, path: str | os.PathLike[str], ids: ArrayLike) -> None:
        """Write ids and packed codes as a submission file, atomically.

        Parameters
        ----------
        path : path
            Its name ends in ``.npz``.
        ids : array_like of str, shape (n,)

        Raises
        ------
        InputError
            If the name ends otherwise, the ids are not one for every row, each once, or a code has more than 8 bits.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise InputError(
                str(path), found=f"the ending {path.suffix!r}", expected="a name that ends in .npz", fix="rename it"
            )
        packed = self.packed()
        texts, _ = checked(ids, self.codes, ArrayPlaces(str(path), as_ids(ids, str(path))))
        # A single value has step 0 and codes 0: with any other step it is the same, and a step of 0 in a file is wrong.
        step = np.where(np.asarray(self.step) > 0, self.step, 1.0)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                allow_pickle=False,
                id=texts,
                x=packed,
                bits=np.array(self.bits),
                d=np.array(self.codes.shape[1]),
                offset=np.asarray(self.offset),
                step=step,
            )


def quantize(x: ArrayLike, bits: int, quantizer: str = "uniform") -> Quantized:
    """Quantise an embedding to fewer bits.

    With lo and hi the least and the largest value of the range, ``uniform`` and ``dimension`` have 2**bits levels of
    distance ``step = (hi - lo) / (2**bits - 1)``, and the code of a value is ``floor((x - lo) / step + 0.5)``, all in
    float64. ``sign`` has the code 1 where x > 0 and stands for -1 and +1.

    Parameters
    ----------
    x : array_like, shape (n, d)
        Numbers of the host, of any type that a submission may have.
    bits : {32, 16, 8, 4, 2, 1}
        32 is float32 without codes: the array itself, if that is what `x` is.
    quantizer : {"uniform", "dimension", "sign"}
        One range over all entries; a range for every dimension; the sign alone, in 1 bit.

    Returns
    -------
    Quantized

    Raises
    ------
    InputError
        If there is no such quantizer, it cannot do these bits, a value is not finite, or the range is wider than
        float64 (for 32 bits: a value is larger than float32) can hold.
    """
    bits = _checked_bits(bits, quantizer)
    if gpu_of(x) is not None:
        raise InputError(
            "quantize, x",
            found="an array on a GPU",
            expected="an array of the host",
            fix="copy it to the host first, with Submission.on_host() for example",
        )
    matrix = as_matrix(x, "quantize, x")
    lows, highs = _ranges(matrix)
    if bits == 32:
        return Quantized(_as_float32(matrix, lows, highs), 32, "none", 0.0, 1.0)
    if quantizer == "sign":
        return Quantized((matrix > 0).view(np.uint8), 1, "sign", -1.0, 2.0)
    if quantizer == "uniform":
        lows, highs = lows.min(keepdims=True), highs.max(keepdims=True)
    with np.errstate(over="ignore"):
        steps = (highs - lows) / (2**bits - 1)
    if not np.isfinite(steps).all():
        _raise_too_wide(lows, highs, "float64", float(np.finfo(np.float64).max))
    codes = _encode(matrix, lows, steps, bits)
    if quantizer == "uniform":
        return Quantized(codes, bits, quantizer, float(lows[0]), float(steps[0]))
    return Quantized(codes, bits, quantizer, lows, steps)


def _checked_bits(bits: int, quantizer: str) -> int:
    if quantizer not in QUANTIZERS:
        raise InputError(
            "quantizer", found=repr(quantizer), expected=f"one of {', '.join(QUANTIZERS)}", fix="choose one of these"
        )
    if isinstance(bits, bool) or not isinstance(bits, int | np.integer) or bits not in BITS:
        raise InputError(
            "bits", found=repr(bits), expected=f"one of {', '.join(map(str, BITS))}", fix="choose one of these"
        )
    if quantizer == "sign" and bits != 1:
        raise InputError(
            "bits",
            found=f"{bits} for the quantizer sign",
            expected="1: a sign is one bit",
            fix="choose 1 bit, or the quantizer uniform or dimension",
        )
    return int(bits)


def _ranges(x: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Least and largest value of every column; InputError at the first value that is not finite."""
    lows, highs = np.full(x.shape[1], np.inf), np.full(x.shape[1], -np.inf)
    for rows in row_blocks(*x.shape):
        block = x[rows]
        np.minimum(lows, block.min(axis=0), out=lows)
        np.maximum(highs, block.max(axis=0), out=highs)
        if not (np.isfinite(lows).all() and np.isfinite(highs).all()):  # NaN goes through both
            bad = first_not_finite(np, block)
            assert bad is not None
            where, found = ArrayPlaces("quantize, x").cell(rows.start + bad[0], bad[1], block[bad])
            raise InputError(where, found=found, expected="a finite number", fix="repair the value")
    return lows, highs


def _as_float32(x: NDArray[Any], lows: NDArray[np.float64], highs: NDArray[np.float64]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        fits = np.isfinite(lows.astype(np.float32)).all() and np.isfinite(highs.astype(np.float32)).all()
    if not fits:
        _raise_too_wide(lows, highs, "float32", float(np.finfo(np.float32).max))
    return x.astype(np.float32, copy=False)


def _raise_too_wide(lows: NDArray[np.float64], highs: NDArray[np.float64], dtype: str, limit: float) -> None:
    raise InputError(
        "quantize, x",
        found=f"values from {lows.min()} to {highs.max()}",
        expected=f"a range that {dtype} can hold (up to {limit:.4g})",
        fix="scale the embedding",
    )


def _encode(x: NDArray[Any], lows: NDArray[np.float64], steps: NDArray[np.float64], bits: int) -> NDArray[Any]:
    """Give the codes of all entries; `lows` and `steps` are of shape (1,) or (d,)."""
    divisors = np.where(steps > 0, steps, 1.0)  # a single value: x - lo is 0, and so is the code
    codes = np.empty(x.shape, dtype=np.uint8 if bits <= 8 else np.float32)
    for rows in row_blocks(*x.shape):
        block = np.subtract(x[rows], lows, dtype=np.float64)
        block /= divisors
        block += 0.5
        np.floor(block, out=block)
        codes[rows] = np.clip(block, 0, 2**bits - 1, out=block)
    return codes
