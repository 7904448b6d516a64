"""A store of many submissions: one Zarr hierarchy, with an index that says what is in it and what each one holds.

    STORE.zarr/zarr.json             a group, with an attribute that names the format and its version
    STORE.zarr/KEY/{id,x}            the arrays of one submission
    STORE.zarr/index/NUMBER.jsonl    what is in the store: a line for each submission, the last one of a name counts
    STORE.zarr/index/lock            held by who writes

A submission is there once a line of the index says so, and its arrays are written before. Whatever a crash leaves is
named by no line; the next who writes removes it.
"""

from __future__ import annotations

from fastprobe.store.entry import Entry
from fastprobe.store.ingest import Failure, IngestResult, ingest
from fastprobe.store.location import is_store
from fastprobe.store.store import Store

__all__ = ["Entry", "Failure", "IngestResult", "Store", "ingest", "is_store"]
