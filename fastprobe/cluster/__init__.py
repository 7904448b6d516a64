"""Runs on several workers: processes of this machine, GPUs, or a cluster of machines, with Dask.

Dask starts the workers, hands them work and replaces those that are lost. What fastprobe adds: a worker gets the
labels once and makes folds and draws once (:mod:`~fastprobe.cluster.worker`), submissions are handed out in batches,
and one that takes workers down with it is set aside (:mod:`~fastprobe.cluster.driver`).
"""

from __future__ import annotations

from fastprobe.cluster.driver import on_cluster
from fastprobe.cluster.spec import ClusterSpec

__all__ = ["ClusterSpec", "on_cluster"]
