"""Make the golden runs again: run NeuCo-Bench itself on the inputs of ``golden_cases.py``.

    python tests/make_golden.py --neuco CHECKOUT --neuco-python PYTHON [CASE ...]

CHECKOUT is a checkout of https://github.com/embed2scale/NeuCo-Bench, PYTHON the interpreter of an environment that has
what its ``requirements.txt`` asks for; this script itself runs where fastprobe is installed. One case after another
goes through its ``main.py`` in a process of its own, on one core (about ten minutes for all of them), and
``golden/CASE.json`` is written:

    {"case": ..., "inputs": hash of the input files, "config": ...,
     "source": {"neuco": commit, "torch": version, ...},
     "tasks": {task: {"q_stat": ..., "mean_score": ..., "std_dev": ..., "q_t": [score of every fold]}},
     "probes": {task: {"weight": [...], "bias": ...}}}            only where probes were stored

JSON has no infinities: they are the strings "Infinity" and "-Infinity", and NaN is "NaN". No test runs this script: the
golden runs are committed, and change only when a case does.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from golden_cases import CASES, Case

GOLDEN = Path(__file__).with_name("golden")

VERSIONS = """
import importlib.metadata as m, json, platform
names = ("torch", "torchmetrics", "numpy", "pandas", "scikit-learn")
print(json.dumps({"python": platform.python_version()} | {name: m.version(name) for name in names}))
"""

STORED_PROBE = """
import json, sys, torch
state = torch.load(sys.argv[1], weights_only=True)["state_dict"]
print(json.dumps({"weight": state["linear.weight"][0].tolist(), "bias": state["linear.bias"][0].item()}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--neuco", type=Path, required=True, help="checkout of NeuCo-Bench")
    parser.add_argument("--neuco-python", type=Path, required=True, help="interpreter that can run it")
    parser.add_argument("cases", nargs="*", metavar="CASE", help="cases to make; all if none is given")
    options = parser.parse_args()
    python = options.neuco_python.absolute()
    source = {"neuco": _output("git", "-C", options.neuco, "rev-parse", "HEAD").strip()}
    source |= json.loads(_output(python, "-c", VERSIONS))
    for name in options.cases or CASES:
        record = run(CASES[name], options.neuco.absolute(), python, source)
        (GOLDEN / f"{name}.json").write_text(json.dumps(_plain(record), indent=1, allow_nan=False) + "\n")
        print(name, {task: scores["q_stat"] for task, scores in record["tasks"].items()}, flush=True)


def run(case: Case, neuco: Path, python: Path, source: dict[str, str]) -> dict[str, Any]:
    """Run one case, and return its record."""
    with tempfile.TemporaryDirectory() as name:
        folder, out = Path(name) / "inputs", Path(name) / "out"
        folder.mkdir()
        paths = case.write(folder)
        command: list[str | Path] = [python, "main.py", "--annotation_path", paths.labels, "--output_dir", out]
        command += ["--submission_file", paths.submission, "--config", paths.config]
        if paths.exclude is not None:
            command += ["--exclude_file", paths.exclude]
        _output(*command, cwd=neuco / "benchmark")
        results = {path.parent.name: path.parent for path in out.glob("results/*/*/*_result.json")}
        keys = ("q_stat", "mean_score", "std_dev", "q_t")
        tasks, probes = {}, {}
        for task in sorted(results):
            found = json.loads((results[task] / f"{task}_result.json").read_text())
            tasks[task] = {key: found[key] for key in keys}
            if case.config["store_probes"]:
                probes[task] = json.loads(_output(python, "-c", STORED_PROBE, results[task] / "probe" / "probe.pth"))
    record = {"case": case.name, "inputs": case.digest, "config": case.config, "source": source, "tasks": tasks}
    return record | ({"probes": probes} if probes else {})


def _output(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command on one core without a GPU or a screen; return what it prints."""
    quiet = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"}
    done = subprocess.run(command, cwd=cwd, env=os.environ | quiet, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return done.stdout


def _plain(value: Any) -> Any:
    """Return a copy in which numbers that JSON cannot say are strings."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value


if __name__ == "__main__":
    main()
