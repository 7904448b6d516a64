"""NeuCo-Bench's own linear probe on the GPU: its ``main.py`` as a process, on a few folds."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.gpu.ledger import Skipped
from benchmarks.measure import run_process
from benchmarks.peers.neuco import CONFIG
from benchmarks.problem import FoldScores
from benchmarks.workload import Workload, write_files

__all__ = ["NeucoTimes", "run_neuco_bench"]

_NEEDS = ("torch", "torchmetrics", "sklearn", "pandas", "matplotlib", "yaml", "tqdm")
_FEW, _MORE = 1, 3


@dataclass(frozen=True, eq=False)
class NeucoTimes:
    """Two runs with few folds.

    Attributes
    ----------
    few_seconds, more_seconds : float
        Whole processes.
    few, more : int
        Their folds.
    scores : FoldScores
        Of the longer run.
    """

    few_seconds: float
    more_seconds: float
    few: int
    more: int
    scores: FoldScores

    def training_seconds(self, folds: int) -> float:
        """Time for so many folds alone: what does not grow with them, starting and reading, is taken off."""
        return folds * (self.more_seconds - self.few_seconds) / (self.more - self.few)


def run_neuco_bench(workload: Workload, checkout: str, python: str, device: str) -> NeucoTimes:
    """Score a submission with NeuCo-Bench, twice.

    Parameters
    ----------
    workload : Workload
    checkout, python : str
        The repository, and an interpreter that has what it needs.
    device : str
        As torch names it.

    Raises
    ------
    Skipped
        If that interpreter lacks something, or there is no program.
    """
    main = Path(checkout) / "benchmark" / "main.py"
    if not main.is_file():
        raise Skipped("there is no benchmark/main.py in the folder given with --neuco")
    lacking = _lacking(python)
    if lacking:
        raise Skipped(f"the interpreter for NeuCo-Bench has no {', '.join(lacking)}")
    with tempfile.TemporaryDirectory(prefix="fastprobe-gpu-") as name:
        folder = Path(name)
        files = write_files(workload, folder)
        seconds = {}
        for folds in (_FEW, _MORE):
            config, output = folder / f"{folds}.yaml", folder / str(folds)
            params = {**CONFIG["probe_params"], "device": device}
            config.write_text(json.dumps({**CONFIG, "k_folds": folds, "probe_params": params}))  # JSON is YAML
            options = {
                "--annotation_path": files.labels, "--submission_file": files.csv, "--output_dir": output,
                "--config": config, "--method_name": "e2s",
            }  # fmt: skip
            words = [str(word) for option in options.items() for word in option]
            process = run_process(
                [python, str(main), *words], threads=os.cpu_count() or 1, cwd=main.parent, env={"MPLBACKEND": "Agg"}
            )
            seconds[folds] = process.seconds
        scores = {
            path.parent.name: np.array(json.loads(path.read_text())["q_t"], dtype=np.float64)
            for path in (folder / str(_MORE)).glob("results/e2s_*/*/*_result.json")
        }
    return NeucoTimes(seconds[_FEW], seconds[_MORE], _FEW, _MORE, scores)


def _lacking(python: str) -> list[str]:
    code = "import sys; from importlib.util import find_spec; print([m for m in sys.argv[1:] if not find_spec(m)])"
    try:
        done = subprocess.run([python, "-c", code, *_NEEDS], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise Skipped(f"the interpreter for NeuCo-Bench does not start ({type(error).__name__})") from error
    return json.loads(done.stdout.replace("'", '"'))
