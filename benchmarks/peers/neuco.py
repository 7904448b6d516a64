"""NeuCo-Bench's own linear probe, as a whole process on the files that a participant hands in.

Its ``main.py`` runs in its own environment; ``fastprobe neuco`` takes the same options and config and leaves the same
files, so that both are run and read alike.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import ROOT, BenchmarkError, ProcessRun, run_process
from benchmarks.problem import FoldScores
from benchmarks.workload import WorkloadFiles

__all__ = ["CONFIG", "NeucoCheckout", "NeucoRun", "run_drop_in", "run_linear_probe"]

CONFIG: dict[str, Any] = {
    "k_folds": 40,
    "probe_type": "linear",
    "probe_params": {"batch_size": 64, "epochs": 10, "learning_rate": 0.001, "device": "cpu"},
    "embedding_dim": None,
    "standardize_embeddings": True,
    "normalize_labels": True,
    "enable_plots": False,
    "update_leaderboard": False,
    "output_fold_results": True,
    "store_probes": False,
    "task_filter": None,
}
"""Its ``configs/sample_config_linear.yaml``, with the device pinned to the processor that everyone else runs on, and
with the scores of the folds in the result files."""


@dataclass(frozen=True)
class NeucoCheckout:
    """Where NeuCo-Bench is.

    Attributes
    ----------
    folder : Path
        A checkout of the repository.
    python : Path
        Interpreter of an environment that has what it needs.
    """

    folder: Path
    python: Path


@dataclass(frozen=True)
class NeucoRun:
    """One run of the whole program.

    Attributes
    ----------
    process : ProcessRun
    scores : FoldScores
        Shape (folds,) per task.
    q : dict of str to float
        Q-score by task.
    mean : dict of str to float
        Mean score by task.
    """

    process: ProcessRun
    scores: FoldScores
    q: dict[str, float]
    mean: dict[str, float]


def run_linear_probe(checkout: NeucoCheckout, files: WorkloadFiles, *, n_folds: int, threads: int) -> NeucoRun:
    """Score the submission with NeuCo-Bench.

    Parameters
    ----------
    checkout : NeucoCheckout
    files : WorkloadFiles
    n_folds : int
    threads : int
        Threads that its torch may use.

    Returns
    -------
    NeucoRun

    Raises
    ------
    BenchmarkError
        If the checkout has no ``benchmark/main.py``, or the run fails.
    """
    main = checkout.folder / "benchmark" / "main.py"
    if not main.is_file():
        raise BenchmarkError("there is no benchmark/main.py below the folder given with --neuco")
    command = [str(checkout.python), str(main)]
    return _run(command, files, n_folds, threads=threads, cwd=main.parent, env={"MPLBACKEND": "Agg"})


def run_drop_in(files: WorkloadFiles, *, n_folds: int, threads: int) -> NeucoRun:
    """Score the submission with ``fastprobe neuco`` by this interpreter; as :func:`run_linear_probe`."""
    command = [sys.executable, "-m", "fastprobe", "neuco"]
    return _run(command, files, n_folds, threads=threads, cwd=ROOT, env={})


def _run(
    command: Sequence[str], files: WorkloadFiles, n_folds: int, *, threads: int, cwd: Path, env: Mapping[str, str]
) -> NeucoRun:
    with tempfile.TemporaryDirectory(prefix="fastprobe-neuco-") as name:
        config, output = Path(name) / "config.yaml", Path(name) / "output"
        config.write_text(json.dumps(CONFIG | {"k_folds": n_folds}))  # JSON is YAML
        arguments = {
            "--annotation_path": files.labels,
            "--submission_file": files.csv,
            "--output_dir": output,
            "--config": config,
            "--method_name": "e2s",
        }
        options = [str(word) for option in arguments.items() for word in option]
        process = run_process([*command, *options], threads=threads, cwd=cwd, env=env)
        return _read(process, output)


def _read(process: ProcessRun, output: Path) -> NeucoRun:
    (summary,) = output.glob("results/e2s_*/results_summary.json")
    found = json.loads(summary.read_text())
    scores = {}
    for task in found["task_q_scores"]:
        result = json.loads((summary.parent / task / f"{task}_result.json").read_text())
        scores[task] = np.array(result["q_t"], dtype=np.float64)
    return NeucoRun(process, scores, q=found["task_q_scores"], mean=found["task_acc_scores"])
