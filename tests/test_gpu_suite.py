"""The GPU suite, on the CPU: everything but the numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from benchmarks.gpu import batches, examples
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.batches import pace, repeated, throughput
from benchmarks.gpu.cases import PARTS, neuco, run_part, runs, sweep_parity
from benchmarks.gpu.cases.ceilings import Ceilings, Floor
from benchmarks.gpu.cases.kernels import measure_kernel
from benchmarks.gpu.cases.parity import difference
from benchmarks.gpu.cases.tests import modules_with_marker, run_pytest
from benchmarks.gpu.context import Context, turned
from benchmarks.gpu.kernel_cases import KernelCase, kernel_cases
from benchmarks.gpu.ledger import Entry, Finding, Ledger, Missed, Skipped
from benchmarks.gpu.options import Options
from benchmarks.gpu.peers.neuco_bench import NeucoTimes
from benchmarks.gpu.probes import KERNEL_PATH, LANDCOVER, KernelPath, kernel_benchmark
from benchmarks.gpu.rotation import versus
from benchmarks.gpu.stages import STAGES
from benchmarks.gpu.stopwatch import HOST, OPERATIONS, Stopwatch
from benchmarks.gpu.suite import NoDevice, PartResult, Suite, share
from benchmarks.gpu.summary import failures, to_markdown
from benchmarks.gpu.target import Target, open_target
from benchmarks.gpu.timing import measure, readable
from benchmarks.problem import largest_difference, make_problem, restrict
from benchmarks.workload import make_workload
from fastprobe.backend.cuda.presence import Presence
from fastprobe.cluster import ClusterSpec
from fastprobe.kernels import reference
from fastprobe.results import Scores
from fastprobe.runs import Failure, RunReport
from fastprobe.sweeps.table import Sweep

ROOT = Path(__file__).resolve().parents[1]
TINY = Options(device="cpu", budget=60.0, scale=0.02, parity_scale=0.02, folds=4, repeat=2)
ENVIRONMENT = {
    "rehearsal": True, "revision": None, "modified": False, "device": {"name": "a device"}, "cpu": "a processor",
    "cores": 2, "memory_gib": 8.0, "system": "Linux", "python": "3.12.0", "versions": {"numpy": "2.0.0"}, "date": "now",
}  # fmt: skip


def quiet(line: str) -> None:
    """Log nothing."""


def ledger(seconds: float = 30.0) -> Ledger:
    return Ledger(time.monotonic() + seconds, lambda entries: None, quiet)


def done(part: str, options: Options = TINY, *, seconds: float = 30.0) -> dict[str, Entry]:
    """Entries of a part, done in this process on the array backend."""
    context = Context(options, open_target("cpu"), ledger(seconds))
    run_part(part, context)
    return context.ledger.entries


def statuses(entries: Mapping[str, Entry]) -> dict[str, str]:
    return {name: entry.status for name, entry in entries.items()}


# --- command line ---------------------------------------------------------------------------------------------------


def test_parts_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(PARTS)
    assert len(PARTS) + 1 <= 9, "no more files than are worth carrying"


def test_without_a_gpu_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = Presence(0, "CuPy is not installed", "run pip install 'fastprobe[cuda13]'")
    monkeypatch.setattr("fastprobe.backend.cuda.presence.find_gpus", lambda: absent)
    assert main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert "CuPy is not installed" in said.err
    assert "pip install 'fastprobe[cuda13]'" in said.err
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_does_not_open_is_no_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.gpu.__main__.check_device", lambda device: None)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # for the process that opens it
    assert main(["--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "found 'cuda', but" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("benchmarks.gpu.__main__.missing_modules", lambda: ["numba", "scikit-learn"])
    assert main(["--device", "cpu"]) == 2
    assert "pip install numba scikit-learn" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--only", "ridge,rigde"], "'rigde' is none of tests, kernels"),
        (["--only", ","], "no part is named"),
        (["--budget", "0"], "above 0"),
        (["--budget", "nan"], "above 0"),
        (["--scale", "soon"], "invalid"),
        (["--data", "no-such-folder"], "no-such-folder is not a folder"),
        (["--neuco-python", "python"], "--neuco-python goes with --neuco"),
        (["--device", "auto"], "say cuda"),
        (["--repeat", "3"], "unrecognized"),
    ],
)
def test_wrong_arguments(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert words in capsys.readouterr().err


def test_a_device_of_another_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--device", "gpu"]) == 2
    assert "'gpu'" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not on PATH")
def test_make_takes_the_python_that_is_there_and_installs_nothing() -> None:
    command = ["make", "-s", "-C", str(ROOT), "gpu", "PYTHON=echo", "VENV=no-such-folder", "GPU_OPTIONS=--quick"]
    env = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    assert "-m benchmarks.gpu --quick" in said
    assert "pip" not in said


# --- ledger ---------------------------------------------------------------------------------------------------------


def test_every_outcome_is_entered_and_saved_at_once() -> None:
    saved: list[list[str]] = []
    book = Ledger(time.monotonic() + 60, lambda entries: saved.append(list(entries)), quiet)

    def skip() -> Finding:
        raise Skipped("not here")

    def miss() -> Finding:
        raise Missed(Finding("too far", {"by": 2.0}))

    def fail() -> Finding:
        raise ValueError("first line\nsecond line")

    found = book.measure("good", lambda: Finding("well", {"a": 1}))
    assert found is not None
    assert found.values == {"a": 1}
    assert [book.measure(name, work) for name, work in (("skip", skip), ("miss", miss), ("fail", fail))] == [None] * 3
    assert statuses(book.entries) == {"good": "ok", "skip": "skipped", "miss": "failed", "fail": "failed"}
    assert book.entries["skip"].text == "not here"
    assert book.entries["miss"].values == {"by": 2.0}
    assert book.entries["miss"].traceback is None
    assert book.entries["fail"].text == "ValueError: first line"
    assert "in fail" in str(book.entries["fail"].traceback)
    assert saved == [["good"], ["good", "skip"], ["good", "skip", "miss"], ["good", "skip", "miss", "fail"]]


def test_nothing_is_begun_after_the_deadline() -> None:
    book = ledger(0.0)
    assert book.measure("late", lambda: pytest.fail("was begun")) is None
    assert book.entries["late"].status == "skipped"
    assert book.left == 0


# --- suite ----------------------------------------------------------------------------------------------------------

STAND_IN = """
import json, os, signal, sys, time
name, options, result, seconds = sys.argv[1:]
entry = {"status": "ok", "text": "found", "seconds": 0.1, "values": {"x": float("nan")}, "traceback": None}
if name == "environment":
    entry = {"device": "stand-in"}
with open(result, "w") as file:
    json.dump(entry if name == "environment" else {"first": entry}, file)
print("last words", file=sys.stderr, flush=True)
if name == "ridge":
    os.kill(os.getpid(), signal.SIGSEGV)
if name == "parity":
    if os.fork() == 0:
        open(os.environ["GRANDCHILD"], "w").write(str(os.getpid()))
    time.sleep(60)
sys.exit(7 if name == "sweep" else 0)
"""


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], Suite]:
    """A suite whose parts are done by a script: one hangs, one crashes, one gives up, the others find something."""
    (tmp_path / "suite_stand_in.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("GRANDCHILD", str(tmp_path / "pid"))

    def make(budget: float) -> Suite:
        options = replace(TINY, budget=budget, data=str(tmp_path))
        return Suite(options, tmp_path / "out", quiet, child="suite_stand_in")

    return make


def test_time_is_shared_by_weight_and_what_is_saved_is_passed_on() -> None:
    parts = list(PARTS)
    left, given = 480.0, []
    for i, name in enumerate(parts):
        given.append(share(left, name, parts[i:]))
        left -= given[-1]
    assert sum(given) == pytest.approx(480.0)
    weights = [PARTS[name].weight for name in parts]
    assert given == pytest.approx([480.0 * w / sum(weights) for w in weights])
    assert share(480.0, parts[-1], parts[-1:]) == 480.0


def test_a_crash_or_a_hang_loses_nothing_and_no_other_part(
    stand_in: Callable[[float], Suite], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.gpu.suite._LEAST", 0.1)
    suite = stand_in(6.0)
    suite.describe()
    results = {result.part: result for result in suite.run(["parity", "ridge", "sweep", "kernels"])}
    assert {name: result.status for name, result in results.items()} == {
        "parity": "failed", "ridge": "failed", "sweep": "failed", "kernels": "ok",
    }  # fmt: skip
    assert results["parity"].reason.startswith("stopped after 2 seconds: last words")  # 4 of 10.5 by weight, of 6 s
    assert results["ridge"].reason == "ended by signal 11: last words"
    assert results["sweep"].reason == "ended with exit status 7: last words"
    for name in results:
        document = json.loads((tmp_path / "out" / f"gpu-{name}.json").read_text(), parse_constant=pytest.fail)
        assert document["entries"]["first"]["text"] == "found"
        assert document["entries"]["first"]["values"] == {"x": "NaN"}
        assert document["environment"] == {"device": "stand-in"}
        assert document["options"]["data"] is True, "of a path only that it was given"
    assert str(tmp_path) not in (tmp_path / "out" / "gpu-kernels.json").read_text()
    with pytest.raises(ProcessLookupError):
        _wait_for_end(int((tmp_path / "pid").read_text()))


def _wait_for_end(pid: int) -> None:
    for _ in range(100):
        os.kill(pid, 0)
        if Path(f"/proc/{pid}/stat").is_file() and ") Z " in Path(f"/proc/{pid}/stat").read_text():
            raise ProcessLookupError
        time.sleep(0.02)


def test_parts_without_time_are_left_out_and_say_so(stand_in: Callable[[float], Suite], tmp_path: Path) -> None:
    results = stand_in(4.0).run(["kernels", "peers"])
    assert [result.status for result in results] == ["skipped", "skipped"]
    assert all("were left for it" in result.reason for result in results)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["gpu-kernels.json", "gpu-peers.json"]
    assert failures(results) == []


def test_a_device_that_cannot_be_described_is_an_error(stand_in: Callable[[float], Suite], tmp_path: Path) -> None:
    (tmp_path / "suite_stand_in.py").write_text("raise SystemExit('no device')")
    with pytest.raises(NoDevice, match="ended with exit status 1: no device"):
        stand_in(60.0).describe()


def test_summary_names_what_failed() -> None:
    entries = {
        "fast": {"status": "ok", "text": "1 | 2"},
        "wrong": {"status": "failed", "text": "off by 3"},
        "absent": {"status": "skipped", "text": "not installed"},
    }
    results = [PartResult("ridge", "failed", "", 1.0, entries), PartResult("sweep", "failed", "ended by signal 11")]
    assert failures(results) == ["ridge, wrong: off by 3", "sweep: ended by signal 11"]
    page = to_markdown(results, ENVIRONMENT, TINY.shown())
    assert "2 failed" in page
    assert "rehearsal without a GPU" in page
    assert "| fast | ok | 1 \\| 2 |" in page
    assert "| absent | skipped | not installed |" in page
    assert "Nothing failed" in to_markdown([], {**ENVIRONMENT, "rehearsal": False}, {})


def test_rehearsal_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "results"
    chosen = ["--device", "cpu", "--scale", "0.02", "--only", "tests,kernels", "--budget", "90"]
    assert main([*chosen, "--out", str(out), "--commit", "0123"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "gpu-kernels.json", "gpu-tests.json", "gpu.md",
    ]  # fmt: skip
    assert (out / "gpu.md").read_text() == capsys.readouterr().out.rstrip("\n") + "\n"
    found = {part: json.loads((out / f"gpu-{part}.json").read_text()) for part in ("tests", "kernels")}
    assert {part: document["status"] for part, document in found.items()} == {
        "tests": "skipped", "kernels": "ok",
    }  # fmt: skip
    assert found["tests"]["entries"]["pytest -m gpu"]["text"] == "needs a GPU"
    environment = found["kernels"]["environment"]
    assert environment["rehearsal"] is True
    assert environment["versions"]["numpy"] == np.__version__
    assert environment["revision"]
    rates = [e["values"] for e in found["kernels"]["entries"].values() if e["status"] == "ok"]
    assert len(rates) == 6
    assert all(value.get("bytes_per_second", value.get("flops_per_second")) > 0 for value in rates)
    assert str(tmp_path) not in (out / "gpu-kernels.json").read_text()


def test_options_survive_the_way_to_a_part(tmp_path: Path) -> None:
    options = replace(TINY, data="some/folder", commit="0123")
    options.write(tmp_path / "options.json")
    assert Options.read(tmp_path / "options.json") == options


# --- tests marked gpu -----------------------------------------------------------------------------------------------


def test_only_modules_that_use_the_marker_are_loaded(tmp_path: Path) -> None:
    (tmp_path / "helpers").mkdir()
    texts = {
        "test_direct.py": "@pytest.mark.gpu\ndef test(): ...",
        "helpers/targets.py": "TARGETS = [pytest.param('cuda', marks=pytest.mark.gpu)]",
        "test_indirect.py": "from helpers.targets import TARGETS",
        "test_other.py": "import torch",
        "test_words.py": "# benchmark.gpu_speed",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    assert [path.name for path in modules_with_marker(tmp_path)] == ["test_direct.py", "test_indirect.py"]
    assert ROOT / "tests" / "test_cuda_kernels_ridge.py" in modules_with_marker(ROOT / "tests")


def test_without_pytest_the_tests_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    hide = "import sys; sys.modules['pytest'] = None; import benchmarks.gpu.cases.tests"
    subprocess.run([sys.executable, "-c", hide], check=True, cwd=ROOT)
    monkeypatch.setattr("benchmarks.gpu.cases.tests.find_spec", lambda name: None)
    assert done("tests")["pytest -m gpu"] == Entry("skipped", "pytest is not installed")


MIXED = """
import os, time
import pytest
pytestmark = pytest.mark.gpu
def test_good(): pass
def test_bad(): assert 1 == 2, "one is not two"
def test_absent(): pytest.importorskip("no_such_module", reason="no such module")
@pytest.fixture
def broken(): raise RuntimeError("no fixture")
def test_broken(broken): pass
"""


def run_tests(folder: Path, text: str, *, seconds: float = 30.0) -> Finding:
    (folder / "test_it.py").write_text(text)
    return run_pytest([folder / "test_it.py"], "gpu", seconds)


def test_failures_and_skips_keep_their_reasons(tmp_path: Path) -> None:
    with pytest.raises(Missed) as missed:
        run_tests(tmp_path, MIXED)
    values = missed.value.finding.values
    assert missed.value.finding.text.startswith("1 passed, 2 failed, 1 skipped; first ")
    assert values["passed"] == 1
    reasons = {line["test"].partition("::")[2]: line["reason"] for line in values["failed"]}
    assert reasons.keys() == {"test_bad", "test_broken"}
    assert "one is not two" in reasons["test_bad"]
    assert "no fixture" in reasons["test_broken"]
    assert values["skipped"] == {"no such module": 1}


def test_a_crash_keeps_what_was_found_and_names_the_test(tmp_path: Path) -> None:
    with pytest.raises(Missed, match=r"1 passed, 0 failed.*pytest ended with 3 in .*test_dies") as missed:
        run_tests(tmp_path, "import os, pytest\npytestmark = pytest.mark.gpu\ndef test_good(): pass\n"
                  "def test_dies(): os._exit(3)\ndef test_after(): pass\n")  # fmt: skip
    assert missed.value.finding.values["exit_status"] == 3


def test_a_hang_is_ended(tmp_path: Path) -> None:
    with pytest.raises(Missed, match=r"stopped after 2 seconds in .*test_hangs"):
        run_tests(tmp_path, "import time, pytest\npytestmark = pytest.mark.gpu\ndef test_hangs(): time.sleep(60)\n",
                  seconds=2.0)  # fmt: skip


def test_a_module_that_cannot_be_loaded_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Missed, match="No module named 'no_such_module'"):
        run_tests(tmp_path, "import pytest, no_such_module\npytestmark = pytest.mark.gpu\ndef test(): pass\n")


def test_nothing_but_skips_is_a_failure(tmp_path: Path) -> None:
    with pytest.raises(Missed, match="0 passed, 0 failed, 1 skipped: nothing was tested"):
        run_tests(tmp_path, "import pytest\npytestmark = pytest.mark.gpu\ndef test(): pytest.skip('no')\n")


def property_tests() -> dict[str, Any]:
    text = """
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
import pytest
seen = []
few = settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("where", ["a"])
@given(n=st.integers(1, 5), pick=st.sampled_from("xy"), many=st.lists(st.booleans(), min_size=1, max_size=3))
@few
def test_named(where, n, pick, many):
    assume(n != 3)
    seen.append((where, n, pick, len(many)))
@given(st.integers(0, 3).map(lambda n: 2 * n), st.floats(0, 1))
def test_positional(even, part):
    assert even % 2 == 0 and 0 <= part <= 1
@given(n=st.integers(0, 9))
def test_wrong(n):
    assert n < 9
@given(a=arrays(float, 3))
def test_more(a): ...
"""
    names: dict[str, Any] = {}
    exec(text, names)
    return names


def test_property_tests_run_without_hypothesis(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, module in examples.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    tests = property_tests()
    tests["test_named"](where="a")
    drawn = tests["seen"]
    assert {n for _, n, _, _ in drawn} == {1, 2, 4, 5}
    assert {pick for _, _, pick, _ in drawn} == {"x", "y"}
    assert {size for *_, size in drawn} <= {1, 2, 3}
    assert len(drawn) > 20
    tests["test_positional"]()
    with pytest.raises(AssertionError) as failure:
        tests["test_wrong"]()
    assert failure.value.__notes__ == ["drawn: {'n': 9}"]
    (mark,) = tests["test_more"].pytestmark
    assert mark.name == "skip"
    assert "does not draw arrays" in mark.kwargs["reason"]
    import inspect

    assert list(inspect.signature(tests["test_named"]).parameters) == ["where"]


# --- timing ---------------------------------------------------------------------------------------------------------


class Clockwork:
    """A target on which every call takes as long as it says; the first ten times as long."""

    is_gpu = False

    def __init__(self, cost: float) -> None:
        self.cost, self.calls = cost, list[int]()

    def work(self, i: int) -> None:
        self.calls.append(i)

    def seconds(self, work: Callable[[], object]) -> float:
        before = len(self.calls)
        work()
        return self.cost * (len(self.calls) - before) * (10 if before == 0 else 1)


def test_short_calls_are_timed_together_and_inputs_take_turns() -> None:
    clock = Clockwork(1e-4)
    found = measure(clock, clock.work, inputs=3, repeat=4)  # type: ignore[arg-type]
    assert found.median_seconds == pytest.approx(1e-4)
    assert found.cold_seconds == pytest.approx(1e-3)
    assert (found.runs, found.calls_per_run) == (4, 10)
    timed = clock.calls[4:]  # after the first call and one of each
    assert len(timed) == 40
    assert timed == [i % 3 for i in range(40)]


def test_the_median_is_taken_and_long_calls_are_few() -> None:
    clock = Clockwork(2.0)
    assert measure(clock, clock.work, repeat=50, seconds=0.0).runs == 3  # type: ignore[arg-type]
    assert measure(clock, clock.work, repeat=2, seconds=0.0).runs == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.345, "12.3 s"), (0.0123, "12.3 ms"), (4.5e-6, "4.5 us"), (2e-9, "2 ns")]
)
def test_times_are_readable(seconds: float, text: str) -> None:
    assert readable(seconds) == text


def test_goals_are_told() -> None:
    assert versus(2e-3, 10e-3, 3e-3) == "(at most 10 ms, aim 3 ms: kept, aim reached)"
    assert versus(5e-3, 10e-3, 3e-3).endswith("kept)")
    assert versus(11e-3, 10e-3, 3e-3).endswith("missed)")
    assert versus(2e-3, 10e-3) == "(at most 10 ms: kept)"


def test_pace_of_submissions_that_end_in_another_order(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(batches.time, "perf_counter", lambda: now[0])

    def score(submissions: Sequence[Any], progress: Any) -> None:
        for pair in range(0, len(submissions), 2):  # two at the same time, the second is done first
            now[0] += 1.0
            for submission in reversed(submissions[pair : pair + 2]):
                progress(submission.name, 1, 1)

    found = pace(score, list(turned(make_workload(0.02).submission, 2)), seconds=0.0, most=60)
    assert (found.submissions, found.first_seconds, found.least_seconds) == (4, 1.0, 0.0)
    assert found.mean_seconds == pytest.approx(1 / 3)


def test_pace_is_the_time_between_last_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(batches.time, "perf_counter", lambda: now[0])
    counts = []

    def score(submissions: Sequence[Any], progress: Any) -> None:
        counts.append(len(submissions))
        now[0] += 1.0  # folds
        for submission in submissions:
            for unit in range(2):
                now[0] += 0.25
                progress(submission.name, unit, 2)

    inputs = list(turned(make_workload(0.02).submission, 2))
    found = pace(score, inputs, seconds=6.5, most=60)
    assert counts == [1, 4, 7]  # 6.5 seconds less the trial of four, half a second each
    assert found.first_seconds == pytest.approx(1.5)
    assert [found.mean_seconds, found.least_seconds, found.most_seconds] == pytest.approx([0.5, 0.5, 0.5])
    assert pace(score, inputs, seconds=0.0, most=60).submissions == 4
    assert pace(score, inputs, seconds=99.0, most=6).submissions == 6


def test_submissions_take_turns_in_their_data() -> None:
    inputs = list(turned(make_workload(0.02).submission, 2))
    assert not np.array_equal(inputs[0].x, inputs[1].x)
    assert np.array_equal(np.sort(inputs[0].x, axis=1), np.sort(inputs[1].x, axis=1))
    batch = repeated(inputs, 3)
    assert [submission.name for submission in batch] == ["s0", "s1", "s2"]
    assert batch[0].x is batch[2].x


def test_callers_score_at_the_same_time() -> None:
    import threading

    meeting = threading.Barrier(2, timeout=10)
    inputs = [make_workload(0.02).submission]
    assert throughput(lambda batch, progress: meeting.wait(), inputs, callers=2, each=3) > 0


def test_floor_is_the_slower_of_bytes_and_flops() -> None:
    ceilings = Ceilings(memory=100.0, cached=400.0, float64=10.0, float32=20.0)
    assert Floor(200.0, 10.0).seconds(ceilings) == 2.0
    assert Floor(200.0, 60.0).seconds(ceilings) == 6.0
    assert Floor(200.0, 60.0, "float32").seconds(ceilings) == 3.0
    assert Floor(800.0, 0.0, cached=True).seconds(ceilings) == 2.0


# --- parts ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_parity_of_the_array_backend() -> None:
    entries = done("parity")
    assert len(entries) == 16 + 7
    lacking = {"presto: reading", "alphaearth: reading"}
    assert {name for name, entry in entries.items() if entry.status == "skipped"} == lacking
    assert all(entry.status == "ok" for name, entry in entries.items() if name not in lacking), entries
    ridge = next(entry for name, entry in entries.items() if name.endswith("route direct"))
    assert ridge.values["routes"] == ["direct"]
    assert len(ridge.values["devices"]) == 2, "two engines were compared"
    sizes = entries["synthetic, scale 0.02: sweep, all sizes"].values
    assert len(sizes["devices"]) == 2
    assert sizes["rows"] == 11 * make_workload(TINY.parity_scale).submission.x.shape[1]


@pytest.fixture(scope="module")
def scores() -> Scores:
    import fastprobe

    workload = make_workload(0.02)
    return fastprobe.score(
        [workload.submission], workload.benchmark, protocol="ridge", alpha=100.0, folds=4, device="cpu"
    )


def changed(scores: Scores, task: str, fold: int, value: float | None) -> Scores:
    rows = []
    for row in scores.rows:
        by_fold = list(row.fold_scores)
        if row.task == task:
            by_fold[fold] = value
        rows.append(replace(row, fold_scores=tuple(by_fold)))
    return Scores(rows, scores.protocol)


def test_a_difference_is_found_and_named(scores: Scores) -> None:
    row = next(row for row in scores.rows if row.task == "crops")
    value = row.fold_scores[1]
    assert value is not None
    assert difference([scores], [scores], 1e-9, relative=False).values["fold_difference"] == 0
    near = changed(scores, "crops", 1, value + 1e-10)
    found = difference([near], [scores], 1e-9, relative=False)
    assert found.values["fold_difference"] == pytest.approx(1e-10, rel=1e-3)
    with pytest.raises(Missed, match=r"worst: .*crops"):
        difference([changed(scores, "crops", 1, value + 1e-8)], [scores], 1e-9, relative=False)
    with pytest.raises(Missed, match="inf"):
        difference([changed(scores, "crops", 1, None)], [scores], 1e-9, relative=False)
    with pytest.raises(Missed, match="no scores for"):
        difference([Scores(scores.rows[1:], scores.protocol)], [scores], 1e-9, relative=False)


def test_a_difference_of_large_scores_is_relative_where_that_was_asked_for(scores: Scores) -> None:
    far, farther = changed(scores, "crops", 0, -20.0), changed(scores, "crops", 0, -20.001)
    assert difference([farther], [far], 1e-4, relative=True).values["fold_difference"] == pytest.approx(5e-5)
    with pytest.raises(Missed):
        difference([farther], [far], 1e-4, relative=False)


@pytest.mark.slow
def test_ridge_and_its_stages_are_timed() -> None:
    entries = done("ridge", seconds=4.0)
    assert entries["one strength, from pinned memory"].text == "needs a GPU"
    device = entries["one strength, from the device"]
    assert device.values["submissions"] <= 6
    assert device.values["least_seconds"] <= device.values["mean_seconds"] <= device.values["most_seconds"]
    stages = entries["stages, as planned"].values
    assert set(stages["seconds"]) == set(STAGES)
    assert min(stages["seconds"].values()) > 0
    # five groups and one that is made of them: as many products as there are rows, six factorisations
    n, d = make_workload(TINY.scale).submission.x.shape
    assert stages["flops"]["gram"] == n * d * (d + 1)
    assert stages["share_of_product"]["gram"] == pytest.approx(
        n * d * (d + 1) / stages["seconds"]["gram"] / stages["product_flops_per_second"]
    )
    assert not [name for name, entry in entries.items() if entry.status == "failed"], entries


@pytest.mark.slow
def test_the_other_probes_are_timed() -> None:
    entries = done("probes", seconds=4.0)
    assert "failed" not in statuses(entries).values(), entries
    assert len(entries) == 8 + 3
    path = entries["logistic, ships, 10 strengths"].values
    assert path["least_seconds"] <= path["mean_seconds"] <= path["most_seconds"]


def test_the_kernel_path_is_refits() -> None:
    from benchmarks.peers import kernel_refits

    workload, target = make_workload(0.05), open_target("cpu")
    path = KernelPath(target.backend, kernel_benchmark(workload), 3)
    problem = make_problem(restrict(workload, LANDCOVER), 3).prepared()
    expected = kernel_refits.by_scipy(kernel_refits.make_kernels(problem), KERNEL_PATH, 3)
    with target.session():
        found = path(workload.submission)
    assert {scores.shape for scores in found.values()} == {(len(KERNEL_PATH), 3)}
    # a kernel with eigenvalues of at most n = 235 and strengths from 0.01 on: a condition number below 1e5
    assert largest_difference(found, expected) < 1e-9


@pytest.mark.slow
def test_the_replay_is_timed() -> None:
    context = Context(TINY, open_target("cpu"), ledger(4.0))
    with context.target.session():
        neuco.run(context)
    entries = context.ledger.entries
    replay = "replay of NeuCo-Bench, submissions in turn, from the host"
    assert statuses(entries)[replay] == "ok"
    assert entries[replay].values["work"]["steps"] > 0
    assert "failed" not in statuses(entries).values(), entries


# --- sweeps ---------------------------------------------------------------------------------------------------------


def test_sweeps_are_timed() -> None:
    entries = done("sweep", seconds=8.0)
    assert "failed" not in statuses(entries).values(), entries
    assert entries["all sizes, all tasks, from pinned memory"].text == "needs a GPU"
    every, score = (
        entries[name].values["mean_seconds"]
        for name in ("all sizes, all tasks, from the host", "one score of all dimensions, route direct, from the host")
    )
    assert entries["all sizes over one score"].values["ratio"] == pytest.approx(every / score)
    assert "at most" not in entries["all sizes, all tasks, from the host"].text, "the goal is for the full size"
    spent = entries["operations, each waited for"].values["seconds"]
    assert {HOST, "design", "gram", "prefix_scan", "prefix_confusion"} <= spent.keys() <= {HOST, *OPERATIONS}
    beside = [name for name in entries if name.startswith("all sizes, biomass, ")]
    assert len(beside) == 5


def test_the_stopwatch_tells_all_time_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("benchmarks.gpu.stopwatch.time.perf_counter", lambda: now[0])

    def takes(seconds: float, result: object = None) -> object:
        now[0] += seconds
        return result

    class Slow:
        device = "a device"

        def gram(self, design: object) -> object:
            return takes(2.0, design)

        def for_chunks(self, work: Callable[[slice], None], count: int, bytes_each: int) -> None:
            takes(0.25)
            for k in range(count):
                work(slice(k, k + 1))

        def cholesky(self, a: object) -> object:
            takes(0.5)
            raise ArithmeticError

    watch: Any = Stopwatch(Target("cpu", Slow(), np))  # type: ignore[arg-type]

    def work(chunk: slice) -> None:
        takes(1.0)
        watch.gram(chunk)

    takes(4.0)
    assert watch.device == "a device"
    assert watch.gram("design") == "design"
    watch.for_chunks(work, 3, 8)
    with pytest.raises(ArithmeticError):
        watch.cholesky(None)
    takes(8.0)
    assert watch.stop() == {HOST: 12.0, "gram": 8.0, "for_chunks": 3.25, "cholesky": 0.5}
    assert list(watch.stop()) == [HOST, "gram", "for_chunks", "cholesky"]


def test_operations_are_those_that_compute() -> None:
    assert {"asarray", "to_numpy", "moments", "whiten", "prefix_scan", "for_chunks"} <= OPERATIONS
    assert not {"session", "lane_pool", "memory", "xp", "device", "rates"} & OPERATIONS


@pytest.fixture(scope="module")
def swept() -> Sweep:
    import fastprobe

    workload = make_workload(0.02)
    options = {"sizes": (2, 20), "alphas": (1.0, 100.0), "folds": 4}
    return fastprobe.sweep([workload.submission], workload.benchmark, device="cpu", **options)


def swept_but(swept: Sweep, row: int, fold: int, value: float | None) -> Sweep:
    scores = swept.table["fold_scores"].to_pylist()
    scores[row][fold] = value
    place = swept.table.column_names.index("fold_scores")
    return Sweep(swept.table.set_column(place, "fold_scores", [scores]), swept.protocol)


def test_a_difference_of_sweeps_is_found_and_named(swept: Sweep) -> None:
    assert sweep_parity.difference(swept, swept, 1e-9).values["fold_difference"] == 0
    row, value = swept.rows[5], swept.rows[5]["fold_scores"][1]
    found = sweep_parity.difference(swept_but(swept, 5, 1, value + 1e-10), swept, 1e-9)
    assert found.values["fold_difference"] == pytest.approx(1e-10, rel=1e-3)
    where = f"task {row['task']}, order given, size {row['size']}, alpha {row['alpha']}"
    assert found.values["where"] == f"{where}, bits 32, quantizer none, fraction 1.0"
    with pytest.raises(Missed, match=f"worst: {where}"):
        sweep_parity.difference(swept_but(swept, 5, 1, value + 1e-8), swept, 1e-9)
    with pytest.raises(Missed, match="inf"):
        sweep_parity.difference(swept_but(swept, 5, 1, None), swept, 1e-9)
    lost = swept_but(swept, 5, 1, None)
    assert sweep_parity.difference(lost, lost, 1e-9).values["fold_difference"] == 0
    with pytest.raises(Missed, match=f"{len(swept) - 1} rows, which are not"):
        sweep_parity.difference(Sweep(swept.table.slice(1), swept.protocol), swept, 1e-9)


# --- bulk runs ------------------------------------------------------------------------------------------------------

FILES, STORE, WORKER = "run, from files", "run, from a store", "run, by a worker"


def hide(monkeypatch: pytest.MonkeyPatch, *modules: str) -> None:
    """Have packages count as not installed, and all others as installed."""
    monkeypatch.setattr("benchmarks.gpu.beside.find_spec", lambda name: None if name in modules else object())


def test_runs_are_timed_and_held_to_the_scores_from_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_START", float("inf"))  # the worker is for another test
    entries = done("runs")
    assert statuses(entries) == {
        "submissions": "ok", "in memory, one call": "ok", FILES: "ok", f"{FILES}: scores": "ok",
        f"{FILES}, once more": "ok", STORE: "ok", f"{STORE}: scores": "ok", WORKER: "skipped",
    }  # fmt: skip
    assert entries[WORKER].text.endswith("seconds were left, and a worker takes longer to start")
    count = entries["submissions"].values["submissions"]
    assert count == 8
    memory = entries["in memory, one call"].values
    assert memory["per_minute"] == pytest.approx(60 * count / memory["seconds"])
    for name in (FILES, STORE):
        values, text = entries[name].values, entries[name].text
        assert values["per_minute"] == pytest.approx(60 * count / values["seconds"])
        assert values["per_minute"] / memory["per_minute"] == pytest.approx(share_of_memory(text), abs=6e-4)
        assert values["seconds"] >= values["stages"]["all"] > 0
        assert values["shares"] == runs.shares(values["stages"], 1)
        assert values["shares"][values["waits_for"]] == max(values["shares"].values())
        assert f"it waits for {values['waits_for']}, " in text
        scores = entries[f"{name}: scores"]
        assert scores.text.startswith("48 scores: ")
        assert scores.values["fold_difference"] == 0, "the same operations on the same device"
    assert entries[f"{FILES}, once more"].values["finished"] == count


def share_of_memory(text: str) -> float:
    """Percentage that the text of a run tells, as a share."""
    return float(text.partition("% of those in memory")[0].rpartition(" ")[2]) / 100


@pytest.mark.slow
def test_a_worker_is_timed_and_a_store_is_left_out_without_zarr(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the extra cluster is not installed")
    hide(monkeypatch, "zarr")
    entries = done("runs")
    assert entries[STORE] == Entry("skipped", "missing: zarr is not installed")
    assert f"{STORE}: scores" not in entries
    assert entries[WORKER].status == entries[f"{WORKER}: scores"].status == "ok", entries
    values = entries[WORKER].values
    assert values["per_minute"] > 60 * 8 / values["seconds"], "without the start of the worker"
    assert len(entries[f"{WORKER}: scores"].values["devices"]) == 2, "another process, on the backend of the CPU"


def test_the_worker_has_the_device_that_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = open_target("cpu")
    gpus = [replace(cpu, name=name) for name in ("cuda", "cuda:0", "cuda:1")]
    hide(monkeypatch)
    assert runs.worker(cpu) == {"cluster": ClusterSpec(workers=1), "device": "cpu"}
    for target in gpus[:2]:
        assert runs.worker(target) == {"cluster": ClusterSpec(gpus=1), "device": "cuda"}
    with pytest.raises(Skipped, match="first GPU, and this is cuda:1"):
        runs.worker(gpus[2])
    hide(monkeypatch, "dask_cuda")
    assert runs.worker(cpu)["device"] == "cpu"
    with pytest.raises(Skipped, match="dask_cuda is not installed"):
        runs.worker(gpus[0])
    hide(monkeypatch, "distributed")
    with pytest.raises(Skipped, match="distributed is not installed"):
        runs.worker(cpu)


def test_a_run_that_leaves_submissions_out_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure("team", "place", "", "", "place: a bad file", "now", 1)

    def broken(*places: Any, **options: Any) -> RunReport:
        return RunReport(7, 0, (failure,), False)

    monkeypatch.setattr(runs, "run_all", broken)
    entries = done("runs")
    found = {name: entry.text for name, entry in entries.items() if entry.status == "failed"}
    assert found.keys() == {"submissions", FILES, f"{FILES}, once more", STORE, WORKER}
    assert found[FILES] == (
        "of 8 submissions 7 were scored, 0 were there (0 should have been), 1 failed; first place: a bad file"
    )
    assert "(8 should have been)" in found[f"{FILES}, once more"]
    assert not [name for name in entries if name.endswith("scores")]


def test_a_run_waits_for_the_thread_that_is_always_at_work() -> None:
    seconds = {"read": 1.0, "copy": 1.0, "solve": 8.0, "write": 0.5, "all": 2.0}
    assert runs.shares(seconds, 8) == {"reading": 1.0, "scoring": 0.5, "writing": 0.25}
    assert runs.shares(seconds, 4)["scoring"] == 1.0


def test_scores_of_a_run_that_differ_are_found_and_named(scores: Scores, tmp_path: Path) -> None:
    def compared(*parts: Scores) -> Finding:
        run = Path(tempfile.mkdtemp(dir=tmp_path))
        (run / "scores").mkdir()
        for i, part in enumerate(parts):
            pq.write_table(part.to_arrow(), run / "scores" / f"{i}.parquet")
        return runs.compared(run, scores)

    def but(**more: Any) -> Scores:
        return Scores([replace(scores.rows[0], **more), *scores.rows[1:]], scores.protocol)

    first, others = (Scores(rows, scores.protocol) for rows in (scores.rows[:1], scores.rows[1:]))
    assert compared(others, first).text.startswith(f"{len(scores.rows)} scores: fold scores 0.0e+00")
    with pytest.raises(Missed, match="1 scores missing, 0 that should not be there; first e2s-0, biomass_mean"):
        compared(others)
    with pytest.raises(Missed, match="0 scores missing, 1 that should not be there; first e2s-0, biomass_mean"):
        compared(first, scores)
    for name in ("submission", "embedding_hash", "label_hash"):
        with pytest.raises(Missed, match="1 scores missing, 1 that should not be there"):
            compared(but(**{name: "another"}))
    by_fold, q = scores.rows[0].fold_scores, scores.rows[0].q
    assert q is not None
    with pytest.raises(Missed, match="worst: e2s-0, biomass_mean"):
        compared(but(fold_scores=tuple(score + 2e-9 for score in by_fold)))  # type: ignore[operator]
    compared(but(q=q * (1 + runs.Q_TOLERANCE / 2)))
    for wrong in (q * (1 + runs.Q_TOLERANCE * 2), None):
        with pytest.raises(Missed, match="relative, which is more than 1e-04"):
            compared(but(q=wrong))


# --- kernels --------------------------------------------------------------------------------------------------------

KERNELS = kernel_cases(0.004, 1)


def host_target() -> Target:
    return open_target("cpu")


@pytest.mark.parametrize(
    "case",
    [
        # Compiled by g++ and stepped through by fibers, a training takes seconds.
        pytest.param(case, id=f"{case.kernel}-{i}", marks=pytest.mark.slow if case.kernel == "train_linear" else ())
        for i, case in enumerate(KERNELS)
    ],
)
def test_kernels_are_given_what_they_expect(case: KernelCase) -> None:
    """Each is run on the host from its source file, and gives what its twin gives."""
    from cuda_host import host_launch

    from fastprobe.kernels import gpu

    call = case.make(np, 1)
    twin = case.make(np, 1)
    more = {"empty": np.empty} if case.scratch else {}
    getattr(gpu, case.kernel)(host_launch, *call.arguments, **more)
    run_twin(case.kernel, twin.arguments)
    for mine, theirs in zip(call.written, twin.written, strict=True):
        close = 1e-4 if mine.dtype == np.float32 else 1e-10
        assert np.allclose(mine, theirs, rtol=close, atol=close), case.kernel


def run_twin(kernel: str, arguments: tuple[Any, ...]) -> None:
    twin = getattr(reference, kernel)
    if kernel == "train_linear":
        x, rows, y, order, *chosen, weights, fitted = arguments
        for k in range(len(order)):
            twin(x, rows, y, order[k], *chosen, weights[k], fitted[k])
    elif kernel == "predict_linear":
        x, rows, weights, out = arguments
        for k in range(len(rows)):
            twin(x, rows[k], weights[k], out[k])
    else:
        twin(*arguments)


def test_every_launcher_has_a_case() -> None:
    from fastprobe.kernels import gpu

    launchers = {name for name in gpu.__all__ if name[0].islower()} - {"max_block_press"}
    assert launchers == {case.kernel for case in KERNELS}


def test_kernels_are_left_to_a_gpu() -> None:
    found = statuses(done("kernels"))
    assert found.pop("ceilings") == "skipped"
    assert len(found) == 9, "what the device can do, and no kernel"


def test_a_kernel_is_timed_and_held_to_its_floor(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in KERNELS if case.kernel == "fold_metrics")
    ceilings = Ceilings(memory=1e9, cached=4e9, float64=1e9, float32=2e9)

    def by_twin(launch: object, *arguments: Any) -> None:
        reference.fold_metrics(*arguments)

    monkeypatch.setattr("fastprobe.kernels.gpu.fold_metrics", by_twin)
    found = measure_kernel(host_target(), case, quiet, ceilings, repeat=2)  # type: ignore[arg-type]
    floor = max(case.floor.bytes, case.floor.flops) / 1e9
    assert found.values["floor_seconds"] == pytest.approx(floor)
    assert found.values["share"] == pytest.approx(floor / found.values["median_seconds"])


@pytest.mark.parametrize("case", KERNELS, ids=lambda case: case.kernel)
def test_a_kernel_that_writes_nothing_is_found_out(case: KernelCase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"fastprobe.kernels.gpu.{case.kernel}", lambda *arguments, **more: None)
    with pytest.raises(Missed, match="unwritten"):
        measure_kernel(host_target(), case, quiet, Ceilings(1.0, 1.0, 1.0, 1.0), repeat=1)  # type: ignore[arg-type]


# --- peers ----------------------------------------------------------------------------------------------------------


def test_peers_that_are_missing_say_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("benchmarks.gpu.beside.find_spec", lambda name: None)
    entries = done("peers", replace(TINY, neuco=str(tmp_path), neuco_python="python"))
    assert set(statuses(entries).values()) == {"skipped"}
    assert "torch is not installed" in entries["torch linalg, refits batched over folds"].text
    assert "torch is not installed" in entries["torch Newton, logistic, 10 strengths"].text
    assert "torch is not installed" in entries["torch Cholesky, kernel ridge, 10 strengths"].text
    assert "cuml is not installed" in entries["cuML"].text
    assert "cuml is not installed" in entries["cuML, logistic"].text
    assert "no benchmark/main.py" in entries["NeuCo-Bench, linear probe"].text


def test_neuco_bench_needs_a_checkout_and_an_interpreter_with_its_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("benchmarks.gpu.beside.find_spec", lambda name: None)
    assert "no checkout" in done("peers")["NeuCo-Bench, linear probe"].text
    (tmp_path / "benchmark").mkdir()
    (tmp_path / "benchmark" / "main.py").touch()
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho \"['torchmetrics', 'tqdm']\"\n")
    python.chmod(0o755)
    entries = done("peers", replace(TINY, neuco=str(tmp_path), neuco_python=str(python)))
    assert entries["NeuCo-Bench, linear probe"].text == "the interpreter for NeuCo-Bench has no torchmetrics, tqdm"
    entries = done("peers", replace(TINY, neuco=str(tmp_path), neuco_python=str(tmp_path / "none")))
    assert "does not start" in entries["NeuCo-Bench, linear probe"].text


def test_starting_and_reading_are_left_out_of_neuco_bench_s_time() -> None:
    found = NeucoTimes(few_seconds=12.0, more_seconds=16.0, few=1, more=3, scores={})
    assert found.training_seconds(40) == 80.0


def test_torch_refits_are_scikit_learn_s() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from benchmarks.gpu.peers.torch_refits import Refits
    from benchmarks.peers import sklearn_ridge

    problem = make_problem(make_workload(0.1), 5)
    for chunk in (1, 1 << 30):  # one fold at a time, all at once
        refits = Refits(problem, 100.0, "cpu", chunk_bytes=chunk)
        found = refits.fold_scores(refits.tensor(problem.x))
        # float64, condition number below 1e6
        assert largest_difference(found, sklearn_ridge.fold_scores(problem, 100.0)) < 1e-9


def test_torch_newton_is_scikit_learn_s() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from benchmarks.binary import make_binary
    from benchmarks.gpu.peers import torch_logistic
    from benchmarks.peers import sklearn_logistic

    task = make_binary(make_problem(restrict(make_workload(0.1), ["ships"]), 5).prepared(), "ships")
    exact = [task.f1_scores(task.decisions(sklearn_logistic.exact(task, c, 5))) for c in (1.0, 0.01)]
    for chunk in (1, 1 << 30):
        found = torch_logistic.fold_scores(task, [1.0, 100.0], "cpu", chunk_bytes=chunk)
        assert np.array_equal(found["ships"], exact)


def test_torch_kernel_refits_are_scipy_s() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from benchmarks.gpu.peers import torch_kernel
    from benchmarks.peers import kernel_refits

    problem = make_problem(restrict(make_workload(0.05), LANDCOVER), 3).prepared()
    expected = kernel_refits.by_scipy(kernel_refits.make_kernels(problem), KERNEL_PATH, 3)
    for chunk in (1, 1 << 30):
        found = torch_kernel.fold_scores(problem, KERNEL_PATH, "cpu", chunk_bytes=chunk)
        assert largest_difference(found, expected) < 1e-9  # as for the path of fastprobe


def test_himalaya_refits_are_scikit_learn_s() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("himalaya", reason="himalaya is not installed")
    from benchmarks.gpu.peers import himalaya_torch
    from benchmarks.peers import sklearn_ridge

    problem = make_problem(make_workload(0.05), 5)
    found = himalaya_torch.fold_scores(problem.prepared(), 100.0, "cpu", 2)
    assert largest_difference(found, sklearn_ridge.fold_scores(problem, 100.0, 2)) < 1e-9


def test_peers_take_turns_with_fastprobe_and_answers_are_compared() -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    entries = done("peers", replace(TINY, scale=0.1), seconds=20.0)
    entry = entries["torch linalg, refits batched over folds"]
    assert entry.status == "ok", entry
    assert entry.values["difference"] < 1e-8
    assert entry.values["ratio"] == pytest.approx(
        entry.values["peer"]["median_seconds"] / entry.values["fastprobe"]["median_seconds"]
    )


def test_stand_in_modules_have_the_names_of_what_they_replace() -> None:
    found = examples.modules()
    assert all(isinstance(module, ModuleType) and module.__name__ == name for name, module in found.items())
