"""Words for what stands in the columns of a sweep: metrics, and what tells one curve from another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["METRICS", "describe", "key_value", "percent", "shorten"]

METRICS = {"r2": "R2", "f1": "F1", "macro_f1": "macro F1"}

_ELLIPSIS = "\N{HORIZONTAL ELLIPSIS}"


def key_value(key: str, value: Any) -> str:
    """Return a value of a key column by itself, as ``0.1``, ``auto`` for a strength that was chosen, or ``-``."""
    if value is None:
        return "auto" if key == "alpha" else "-"
    return format(value, "g") if isinstance(value, float) else str(value)


def describe(keys: Sequence[str], values: Mapping[str, Any]) -> str:
    """Return what tells a curve from others, as ``team, pca, alpha 10, 4 bits``; a key that does not apply is left out.

    Parameters
    ----------
    keys : sequence of str
        Key columns, in the order in which they are named.
    values : mapping
        Their values.
    """
    return ", ".join(word for key in keys if (word := _word(key, values[key])))


def percent(share: float) -> str:
    """Return a share as ``99 %``."""
    return f"{100 * share:.6g} %"


def shorten(text: str, width: int) -> str:
    """Return `text` in at most `width` characters, its middle replaced by an ellipsis, and all of them printable.

    The end is kept, for names of one family often differ there.
    """
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return text[: width - 1 - tail] + _ELLIPSIS + text[len(text) - tail :]


def _word(key: str, value: Any) -> str:
    if (value is None and key != "alpha") or (key == "quantizer" and value == "none"):
        return ""
    if isinstance(value, str):
        return value
    if key == "bits":
        return f"{value} bit" if value == 1 else f"{value} bits"
    return f"{key} {key_value(key, value)}"
