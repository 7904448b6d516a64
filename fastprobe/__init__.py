"""fastprobe: exact, batched scoring of embeddings by linear probes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# The folder kernels/ lies at the top of the repository and is installed as fastprobe.kernels. In a checkout that was
# not installed (on a bare GPU machine, say) the same import finds it beside the package.
_here = Path(__file__).resolve().parent
if not (_here / "kernels").is_dir() and (_here.parent / "kernels" / "__init__.py").is_file():
    __path__.append(str(_here.parent))

if TYPE_CHECKING:
    from fastprobe.agreement import Agreement, compare_protocols
    from fastprobe.compat.neuco.probe import LinearProbe, load_probe
    from fastprobe.embeddings import Submission
    from fastprobe.engine import ArrayScore, score, score_arrays, score_protocols
    from fastprobe.errors import DeviceError, FastprobeError, InputError
    from fastprobe.kernel_spec import KernelSpec
    from fastprobe.protocol import Protocol
    from fastprobe.qscore import q_score
    from fastprobe.quantization import Quantized, quantize
    from fastprobe.ranking import Leaderboard, leaderboard
    from fastprobe.results import Scores, TaskScore
    from fastprobe.specs import FoldSpec, ReplaySpec
    from fastprobe.store.ingest import ingest
    from fastprobe.store.store import Store
    from fastprobe.sweeps.job import sweep
    from fastprobe.sweeps.table import Sweep
    from fastprobe.tasks import Benchmark, Task

_HOME = {
    "Agreement": "agreement",
    "ArrayScore": "engine",
    "Benchmark": "tasks",
    "DeviceError": "errors",
    "FastprobeError": "errors",
    "FoldSpec": "specs",
    "InputError": "errors",
    "KernelSpec": "kernel_spec",
    "Leaderboard": "ranking",
    "LinearProbe": "compat.neuco.probe",
    "Protocol": "protocol",
    "Quantized": "quantization",
    "ReplaySpec": "specs",
    "Scores": "results",
    "Store": "store.store",
    "Submission": "embeddings",
    "Sweep": "sweeps.table",
    "Task": "tasks",
    "TaskScore": "results",
    "compare_protocols": "agreement",
    "ingest": "store.ingest",
    "leaderboard": "ranking",
    "load_probe": "compat.neuco.probe",
    "q_score": "qscore",
    "quantize": "quantization",
    "score": "engine",
    "score_arrays": "engine",
    "score_protocols": "engine",
    "sweep": "sweeps.job",
}

__all__ = [
    "Agreement",
    "ArrayScore",
    "Benchmark",
    "DeviceError",
    "FastprobeError",
    "FoldSpec",
    "InputError",
    "KernelSpec",
    "Leaderboard",
    "LinearProbe",
    "Protocol",
    "Quantized",
    "ReplaySpec",
    "Scores",
    "Store",
    "Submission",
    "Sweep",
    "Task",
    "TaskScore",
    "__version__",
    "compare_protocols",
    "ingest",
    "leaderboard",
    "load_probe",
    "q_score",
    "quantize",
    "score",
    "score_arrays",
    "score_protocols",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that ``fastprobe --help`` does not wait for NumPy and Arrow."""
    if name not in _HOME:
        raise AttributeError(f"module 'fastprobe' has no attribute {name!r}")
    value = getattr(import_module(f"fastprobe.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
