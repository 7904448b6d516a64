"""Codes of 1, 2, 4 or 8 bits packed into bytes, and the ``.npz`` archives that hold them.

A row of d codes takes ceil(d * bits / 8) bytes. Within a byte the first code stands in the lowest bits (little end
first), so that 1 bit is the layout of ``numpy.packbits(..., bitorder="little")``. The bits left over in the last byte
of a row are 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastprobe.errors import InputError
from fastprobe.readers.table import shorten
from fastprobe.readers.validation import MAX_FEATURES

__all__ = ["PACKED_BITS", "decode", "is_packed", "pack", "packed_width", "read_packed", "row_blocks", "unpack"]

PACKED_BITS = (8, 4, 2, 1)
"""Widths of a code that fill bytes without a remainder."""

_BLOCK = 2**17  # entries of a block of rows: a megabyte in float64


def row_blocks(n: int, d: int) -> Iterator[slice]:
    """Cut the rows of an n x d matrix into blocks whose float64 copy is about a megabyte."""
    rows = max(1, _BLOCK // max(1, d))
    for start in range(0, n, rows):
        yield slice(start, min(start + rows, n))


def packed_width(d: int, bits: int) -> int:
    """Bytes of a row of `d` numbers of `bits` bits each, ceil(d * bits / 8)."""
    return -(-d * bits // 8)


def pack(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Pack codes into bytes.

    Parameters
    ----------
    codes : ndarray of uint8, shape (n, d)
        All below 2**bits.
    bits : int
        One of :data:`PACKED_BITS`.

    Returns
    -------
    ndarray of uint8, shape (n, ceil(d * bits / 8))
    """
    n, d = codes.shape
    packed = np.zeros((n, packed_width(d, bits)), dtype=np.uint8)
    per_byte = 8 // bits
    for rows in row_blocks(n, d):
        for place in range(min(per_byte, d)):
            part = codes[rows, place::per_byte]
            packed[rows, : part.shape[1]] |= part << np.uint8(place * bits)
    return packed


def unpack(packed: NDArray[np.uint8], bits: int, d: int) -> NDArray[np.uint8]:
    """Give the codes that :func:`pack` packed.

    Parameters
    ----------
    packed : ndarray of uint8, shape (n, ceil(d * bits / 8))
    bits : int
        One of :data:`PACKED_BITS`.
    d : int
        Codes of a row.

    Returns
    -------
    ndarray of uint8, shape (n, d)

    Raises
    ------
    InputError
        If type, shape or `bits` are otherwise, or a bit after the last code of a row is set.
    """
    return _unpacked(packed, _as_bits(bits, "bits"), _as_dimensions(d, "d"), "packed")


def decode(
    codes: NDArray[Any], offset: float | NDArray[np.float64], step: float | NDArray[np.float64], dtype: DTypeLike
) -> NDArray[Any]:
    """Compute ``offset + codes * step`` in float64, block of rows by block of rows, and keep it as `dtype`."""
    values = np.empty(codes.shape, dtype=dtype)
    for rows in row_blocks(*codes.shape):
        block = np.multiply(codes[rows], step, dtype=np.float64)
        block += offset
        values[rows] = block
    return values


def is_packed(names: Collection[str], x: NDArray[Any]) -> bool:
    """Whether an archive of these arrays holds packed codes: integers, with ``bits`` or ``d`` beside them."""
    return x.dtype.kind in "iu" and ("bits" in names or "d" in names)


def read_packed(arrays: Mapping[str, NDArray[Any]], x: NDArray[Any], path: Path) -> NDArray[Any]:
    """Give the features of a packed archive.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        The archive: ``bits`` and ``d``, and both or none of ``offset`` and ``step``.
    x : ndarray of uint8, shape (n, ceil(d * bits / 8))
        Its array ``x``.
    path : Path
        Named in messages.

    Returns
    -------
    ndarray, shape (n, d)
        The codes as uint8 where ``offset`` and ``step`` are one number each or absent: features that differ by them
        are the same once they are standardised. ``offset + code * step`` as float32 where they differ by dimension.

    Raises
    ------
    InputError
        If an array is missing, or what it holds cannot be.
    """

    def place(name: str) -> str:
        return f"{path}, array '{name}'"

    affine = ("offset", "step") if "offset" in arrays or "step" in arrays else ()
    for name, other in (("bits", "d"), ("d", "bits"), *zip(affine, reversed(affine), strict=True)):
        if name not in arrays:
            raise InputError(
                place(name),
                found=f"only the arrays {', '.join(map(repr, arrays))}",
                expected="'bits' and 'd' beside packed codes, and 'offset' and 'step' both or not at all",
                fix=f"add '{name}', or leave '{other}' out if x holds numbers, one per dimension",
            )
    d = _as_dimensions(arrays["d"], place("d"))
    scales = {name: _as_scale(arrays[name], d, place(name)) for name in affine}
    if affine and not (scales["step"] > 0).all():
        worst = int(scales["step"].argmin())
        raise InputError(
            place("step") + (f", dimension {worst}" if scales["step"].ndim else ""),
            found=str(scales["step"].min()),
            expected="a number above 0",
            fix="for a dimension whose codes are all 0 any step will do, 1 for example; else correct it",
        )
    codes = _unpacked(x, _as_bits(arrays["bits"], place("bits")), d, place("x"))
    if not any(scale.ndim for scale in scales.values()):
        return codes
    with np.errstate(over="ignore"):  # an infinite value is found, and its place named, with the others
        return decode(codes, scales["offset"], scales["step"], np.float32)


def _unpacked(packed: NDArray[np.uint8], bits: int, d: int, where: str) -> NDArray[np.uint8]:
    if not isinstance(packed, np.ndarray) or packed.dtype != np.uint8:
        raise InputError(
            where,
            found=f"values of type {getattr(packed, 'dtype', type(packed).__name__)}",
            expected=f"uint8: bytes that hold {8 // bits} codes of {bits} bits each",
            fix="pack the codes with fastprobe.quantize(x, bits).packed()",
        )
    width = packed_width(d, bits)
    if packed.ndim != 2 or packed.shape[1] != width:
        raise InputError(
            where,
            found=f"the shape {packed.shape}",
            expected=f"(n, {width}): {d:,} codes of {bits} bits each are {width:,} bytes",
            fix="correct 'bits' and 'd', or pack every row by itself",
        )
    used = d * bits - 8 * (width - 1)
    surplus = np.flatnonzero(packed[:, width - 1] >= 2**used)
    if len(surplus):
        row = int(surplus[0])
        raise InputError(
            f"{where}, row {row}, byte {width - 1}",
            found=f"{int(packed[row, width - 1]):#010b}, with bits set after the last code",
            expected=f"only the lowest {used} bits: {d:,} codes of {bits} bits each, little end first",
            fix="correct 'd', or pack the bits in little order (numpy.packbits with bitorder='little')",
        )
    codes = np.empty((len(packed), d), dtype=np.uint8)
    per_byte, mask = 8 // bits, np.uint8(2**bits - 1)
    for rows in row_blocks(*codes.shape):
        for place in range(min(per_byte, d)):
            target = codes[rows, place::per_byte]
            np.right_shift(packed[rows, : target.shape[1]], np.uint8(place * bits), out=target)
            target &= mask
    return codes


def _as_bits(value: ArrayLike, where: str) -> int:
    bits = _as_integer(value)
    if bits not in PACKED_BITS:
        raise InputError(
            where,
            found=shorten(str(value)),
            expected="one of the integers 1, 2, 4 and 8",
            fix="give the number of bits of a code, or save x as numbers, one per dimension",
        )
    return bits


def _as_dimensions(value: ArrayLike, where: str) -> int:
    d = _as_integer(value)
    if d is None or not 1 <= d <= MAX_FEATURES:
        raise InputError(
            where,
            found=shorten(str(value)),
            expected=f"an integer from 1 to {MAX_FEATURES:,}",
            fix="give the number of dimensions of the embedding, which is that of the codes in a row",
        )
    return d


def _as_integer(value: ArrayLike) -> int | None:
    number = np.asarray(value)
    return int(number) if number.ndim == 0 and number.dtype.kind in "iu" else None


def _as_scale(value: NDArray[Any], d: int, where: str) -> NDArray[np.float64]:
    """Check what turns codes into numbers: one finite number, or one for every dimension."""
    if not (value.ndim == 0 or value.shape == (d,)) or value.dtype.kind not in "fiu":
        raise InputError(
            where,
            found=f"{value.dtype} values of shape {value.shape}",
            expected=f"one number, or {d:,} numbers: one per dimension",
            fix="save what turns codes into numbers: offset + code * step",
        )
    finite = np.isfinite(value)
    if not finite.all():
        worst = int(finite.argmin())
        raise InputError(
            where + (f", dimension {worst}" if value.ndim else ""),
            found=str(value.flat[worst]),
            expected="a finite number",
            fix="repair the value",
        )
    return value.astype(np.float64)
