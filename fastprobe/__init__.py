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
    from fastprobe.embeddings import Submission
    from fastprobe.engine import ArrayScore, score, score_arrays
    from fastprobe.errors import DeviceError, FastprobeError, InputError
    from fastprobe.protocol import FoldSpec, Protocol
    from fastprobe.qscore import q_score
    from fastprobe.ranking import Leaderboard, leaderboard
    from fastprobe.results import Scores, TaskScore
    from fastprobe.tasks import Benchmark, Task

_HOME = {
    "ArrayScore": "engine",
    "Benchmark": "tasks",
    "DeviceError": "errors",
    "FastprobeError": "errors",
    "FoldSpec": "protocol",
    "InputError": "errors",
    "Leaderboard": "ranking",
    "Protocol": "protocol",
    "Scores": "results",
    "Submission": "embeddings",
    "Task": "tasks",
    "TaskScore": "results",
    "leaderboard": "ranking",
    "q_score": "qscore",
    "score": "engine",
    "score_arrays": "engine",
}

__all__ = [
    "ArrayScore",
    "Benchmark",
    "DeviceError",
    "FastprobeError",
    "FoldSpec",
    "InputError",
    "Leaderboard",
    "Protocol",
    "Scores",
    "Submission",
    "Task",
    "TaskScore",
    "__version__",
    "leaderboard",
    "q_score",
    "score",
    "score_arrays",
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
