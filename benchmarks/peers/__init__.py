"""Contestants, one module each. All of them solve the same problem; none is imported before it runs."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["PEERS", "why_missing"]

PEERS: dict[str, str | None] = {
    "sklearn": "scikit-learn",
    "himalaya": "himalaya",
    "cvmatrix": "cvmatrix",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "floor": None,
    "neuco": None,
}
"""Names for ``--peers``. Where there is a value, it is the name for pip of the package that is imported by the key."""


def why_missing(peer: str) -> str | None:
    """Return why a peer cannot run here, or None if it can. Nothing is imported."""
    pip_name = PEERS[peer]
    if pip_name is None or find_spec(peer) is not None:
        return None
    return f"not installed (pip install {pip_name})"
