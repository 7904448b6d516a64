"""NeuCo-Bench's own linear probe: its ``main.py``, in its own environment, on the files that a participant hands in."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import BenchmarkError, ProcessRun, run_process
from benchmarks.workload import WorkloadFiles

__all__ = ["CONFIG", "NeucoCheckout", "NeucoRun", "run_linear_probe"]

CONFIG: dict[str, Any] = {
    "k_folds": 40,
    "probe_type": "linear",
    "probe_params": {"batch_size": 64, "epochs": 10, "learning_rate": 0.001, "device": "cpu"},
    "embedding_dim": None,
    "standardize_embeddings": True,
    "normalize_labels": True,
    "enable_plots": False,
    "update_leaderboard": False,
    "store_probes": False,
    "task_filter": None,
}
"""Its ``configs/sample_config_linear.yaml``, with the device pinned to the processor that everyone else runs on."""


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
    q : dict of str to float
        Q-score by task.
    mean : dict of str to float
        Mean score by task.
    """

    process: ProcessRun
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
        command = [str(checkout.python), str(main)]
        for option, value in arguments.items():
            command += [option, str(value)]
        process = run_process(command, threads=threads, cwd=checkout.folder / "benchmark", env={"MPLBACKEND": "Agg"})
        (summary,) = output.glob("results/e2s_*/results_summary.json")
        found = json.loads(summary.read_text())
    return NeucoRun(process, q=found["task_q_scores"], mean=found["task_acc_scores"])
