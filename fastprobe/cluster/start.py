"""Workers are started, or found, and left."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from threading import Thread
from types import ModuleType
from typing import Any

from fastprobe.backend.select import check_device, cores
from fastprobe.cluster.spec import ClusterSpec
from fastprobe.errors import DeviceError, InputError

__all__ = ["Crew", "crew"]

_log = logging.getLogger(__name__)

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_CONFIG = {
    "distributed.scheduler.worker-saturation": 1.0,  # or batches that wait would count as what killed a worker
    "distributed.scheduler.work-stealing": False,
    "distributed.deploy.lost-worker-timeout": "1h",  # it is replaced, however long that takes
    # The features are not Dask's to spill. A worker whose memory runs out is ended, and what it was working on redone.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
}
_ANSWER = 10  # seconds that a scheduler has to answer in
_FAREWELL = 10  # seconds that workers have to end in
_PATIENCE = 1  # as much after an interrupt


@dataclass(frozen=True, eq=False)
class Crew:
    """Workers that are there.

    Attributes
    ----------
    client : distributed.Client
    device : str
        Of each worker.
    threads : int or None
        That each worker may use; None leaves it to Dask.
    cluster : distributed.LocalCluster or None
        What has started them, if that was here; None if they go on when the run has ended.
    """

    client: Any
    device: str
    threads: int | None
    cluster: Any = None

    def refill(self, there: int) -> None:
        """Replace workers whose replacements were lost before they were up, if fewer are there than there should be."""
        if self.cluster is not None and there < (wanted := len(self.cluster.worker_spec)):
            self.cluster.loop.add_callback(self._forget_dead)
            self.cluster.scale(wanted)

    def _forget_dead(self) -> None:
        """Have workers that nobody restarts any more count as missing."""
        workers = self.cluster.workers
        for name in [name for name, worker in workers.items() if worker.status.name in ("closed", "failed")]:
            del workers[name]


@contextmanager
def crew(spec: ClusterSpec, device: str) -> Iterator[Crew]:
    """Have workers, those of this machine for as long as the block lasts.

    Parameters
    ----------
    spec : ClusterSpec
    device : str
        As the user named it; see :func:`fastprobe.backend.get_backend`.

    Yields
    ------
    Crew

    Raises
    ------
    InputError
        If Dask is missing, nothing answers at the address, or the device does not go with the workers.
    DeviceError
        If there are no such GPUs.
    """
    distributed = _distributed()
    if spec.scheduler is not None:
        with _connected(distributed, spec.scheduler) as client:
            yield Crew(client, device, None)
    elif spec.workers is not None:
        if device not in ("auto", "cpu"):
            raise InputError(
                "--device", found=f"{device!r} with --workers, which score on the CPU", expected="cpu, or auto",
                fix="ask for --gpus instead of --workers",
            )  # fmt: skip
        threads = max(1, cores() // spec.workers)
        with _own(distributed, distributed.LocalCluster, threads, n_workers=spec.workers) as (client, cluster):
            yield Crew(client, "cpu", threads, cluster)
    else:
        assert spec.gpus is not None
        kind, gpus = _cuda_cluster(device), _gpus(spec.gpus)
        from pynvml import NVMLError  # which dask-cuda brings

        try:
            with _own(distributed, kind, 1, CUDA_VISIBLE_DEVICES=gpus) as (client, cluster):
                yield Crew(client, "cuda", None, cluster)
        except NVMLError as error:
            raise DeviceError(
                "--gpus", found=f"dask-cuda cannot ask the driver ({error})", expected="an NVIDIA driver with NVML",
                fix="install libnvidia-ml.so.1 of the driver, or use --device cuda without --gpus",
            ) from None  # fmt: skip


@contextmanager
def _own(distributed: ModuleType, kind: Any, threads: int, **options: Any) -> Iterator[tuple[Any, Any]]:
    """Start workers on this machine; whatever happens, they end with this process."""
    import dask

    environ = {"distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREADS, threads)}
    with dask.config.set({**_CONFIG, **environ}), _environment_kept():  # while they last: Dask looks when one is lost
        with _no_interrupts():
            cluster = kind(
                threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=logging.CRITICAL,
                scheduler_kwargs={"allowed_failures": 0, "dashboard": False}, **options,
            )  # fmt: skip
        try:
            with distributed.Client(cluster) as client:
                yield client, cluster
        except BaseException:
            _abandon(cluster)
            raise
        else:
            _close(cluster)


@contextmanager
def _environment_kept() -> Iterator[None]:
    """Take back what Dask sets in the environment of this process for those that it begins to inherit."""
    before = {name: os.environ.get(name) for name in _THREADS}
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from the processes that are begun in here, and by threads that are.

    A terminal sends it to all of them, and it is this process that ends them. Here it is answered when the block ends.
    """
    resource_tracker.ensure_running()  # or it would be begun in there, and let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _abandon(cluster: Any) -> None:
    """End workers without waiting for what they are busy with; at the latest they end with this process."""
    cluster.shutdown_on_close = False  # at exit, when there is nothing left to close
    pids = [worker.pid for worker in cluster.workers.values() if worker.pid]
    closing = Thread(target=_close, args=(cluster,), name="fastprobe-farewell", daemon=True)
    closing.start()
    closing.join(_PATIENCE / 2)  # until the one who replaces lost workers has been told
    for pid in pids if closing.is_alive() else ():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    closing.join(_PATIENCE / 2)


def _close(cluster: Any) -> None:
    with suppress(TimeoutError, RuntimeError):  # their work is done, and they end with this process
        cluster.close(timeout=_FAREWELL)


@contextmanager
def _connected(distributed: ModuleType, address: str) -> Iterator[Any]:
    try:
        client = distributed.Client(address, timeout=_ANSWER, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(
            "--scheduler", found=f"{address!r}: {error or 'no answer'}",
            expected="the address of a Dask scheduler that is running, as tcp://HOST:8786",
            fix="start one with `dask scheduler`, or correct the address",
        ) from None  # fmt: skip
    with client:
        yield client


def _distributed() -> ModuleType:
    try:
        import distributed
    except ImportError as error:
        raise InputError(
            "--workers, --gpus and --scheduler", found=f"no Dask here ({error})", expected="dask and distributed",
            fix="pip install 'fastprobe[cluster]'",
        ) from None  # fmt: skip
    return distributed


def _cuda_cluster(device: str) -> Any:
    if device not in ("auto", "cuda"):
        raise InputError(
            "--device", found=f"{device!r} with --gpus", expected="cuda, or auto",
            fix="leave out --device, or ask for --workers instead of --gpus",
        )  # fmt: skip
    check_device("cuda")
    try:
        from dask_cuda import LocalCUDACluster
    except ImportError as error:
        raise InputError(
            "--gpus", found=f"no dask-cuda here ({error})", expected="dask-cuda",
            fix="pip install 'fastprobe[cluster-cuda]'",
        ) from None  # fmt: skip
    return LocalCUDACluster


def _gpus(wanted: int | str) -> list[str]:
    """Names of the GPUs, as CUDA_VISIBLE_DEVICES has them: the first ones that this process sees."""
    from fastprobe.backend.cuda.presence import find_gpus

    count = find_gpus().count
    if wanted != "all" and int(wanted) > count:
        raise DeviceError(
            "--gpus", found=f"{count} GPUs", expected=f"{wanted}, as asked for", fix=f"ask for {count} at most, or all"
        )
    seen = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    return seen.split(",")[: count if wanted == "all" else int(wanted)]
