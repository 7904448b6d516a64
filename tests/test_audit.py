"""Audits of runs: every protocol passes, and everything that is tampered with is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_inputs import write_csv, write_inputs

import fastprobe
from fastprobe.audit import Audit, Finding, verify
from fastprobe.kernel_spec import KernelSpec
from fastprobe.protocol import FoldSpec, Protocol, ReplaySpec
from fastprobe.runs import RunFolder, find_items, run

K5 = FoldSpec(n_folds=5)
RIDGE = Protocol(probe="ridge", folds=K5)
AUTO = Protocol(probe="ridge", alpha="auto", folds=K5)
CLOSED = Protocol(folds=K5, alpha_grid=(0.1, 10.0))
PROTOCOLS: dict[str, Protocol] = {
    "ridge": RIDGE,
    "ridge auto": AUTO,
    "ridge at a weak strength": Protocol(probe="ridge", alpha=1e-6, folds=K5),
    "ridge of the values as they are": Protocol(probe="ridge", alpha=2.0, folds=K5, standardize=False),
    "closed-form": Protocol(folds=K5),
    "logistic": Protocol(probe="logistic", alpha=1.0, folds=K5),
    "kernel": Protocol(probe="kernel", folds=FoldSpec(n_folds=3), alpha_grid=(0.1, 10.0)),
    "kernel with landmarks": Protocol(probe="kernel", alpha=1.0, folds=K5, kernel=KernelSpec(landmarks=20)),
    "polynomial kernel": Protocol(probe="kernel", alpha=1.0, folds=K5, kernel=KernelSpec("polynomial")),
    "neuco": Protocol.named("neuco").with_options(folds=4),
    "neuco-independent": Protocol.named("neuco-independent").with_options(folds=4),
    "neuco, other settings": Protocol(
        probe="neuco",
        folds=FoldSpec(n_folds=3),
        replay=ReplaySpec(epochs=3, batch_size=7, learning_rate=0.05, embedding_dim=9, store_probes=True),
    ),
    "k folds": Protocol(probe="ridge", alpha="auto", folds=FoldSpec("kfold", n_folds=4)),
    "two stratified folds": Protocol(folds=FoldSpec("stratified-kfold", n_folds=2), alpha_grid=(0.1, 10.0)),
    "stratified shuffles": Protocol(probe="ridge", folds=FoldSpec("stratified-shuffle", n_folds=4)),
    "folds of groups": Protocol(
        probe="ridge", alpha="auto", folds=FoldSpec("group-kfold", n_folds=2, file="groups.csv")
    ),
    "shuffled groups": Protocol(probe="ridge", folds=FoldSpec("group-shuffle", n_folds=4, file="groups.csv")),
    "a fixed split": Protocol(probe="ridge", alpha="auto", folds=FoldSpec("fixed", file="split.csv")),
}


class Case:
    """A run of two submissions on four tasks, one of them of three classes."""

    def __init__(self, folder: Path) -> None:
        self.folder = write_inputs(folder)
        self.labels, self.submissions, self.out = folder / "labels", folder / "subs", folder / "out"
        self.submissions.mkdir()
        (folder / "a.npz").rename(self.submissions / "a.npz")
        (folder / "b.csv").rename(self.submissions / "b.csv")
        self.ids = [f"s{i:03d}" for i in range(60)]
        write_csv(self.labels / "crops__cls.csv", "id,label", ((i, k * k % 3) for k, i in enumerate(self.ids[:50])))

    def run(self, protocol: Protocol = RIDGE, *, places: list[Path] | None = None, lenient: bool = False) -> None:
        tasks = ["height", "ships", "width"] if protocol.probe == "neuco" else None
        bench = fastprobe.Benchmark.from_folder(self.labels, tasks=tasks, lenient=lenient)
        items = find_items(places or [self.submissions], lenient=lenient)
        run(items, bench, self.out, protocol=protocol, device="cpu", lenient=lenient)

    def verify(self, **options: Any) -> Audit:
        return verify(self.out, **{"sample": "all", "seed": 1, **options})

    def tamper(self, submission: str, task: str, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change the record of a score in its file, which stays what it was otherwise."""
        for path in sorted((self.out / "scores").glob("*.parquet")):
            table = pq.ParquetFile(path).read()
            records = table.to_pylist()
            for record in records:
                if (record["submission"], record["task"]) == (submission, task):
                    change(record)
            pq.write_table(pa.Table.from_pylist(records, schema=table.schema), path)


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.chdir(tmp_path)  # where files of groups are named
    return Case(tmp_path)


def kinds(audit: Audit) -> set[tuple[str, str, str]]:
    return {(f.kind, f.submission, f.task) for f in audit.findings}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_run_by_any_protocol_passes(case: Case, name: str) -> None:
    protocol = PROTOCOLS[name]
    case.run(protocol)
    audit = case.verify()
    assert audit.findings == ()
    assert audit.ok
    tasks = {"neuco": 3, "logistic": 2}.get(protocol.probe, 4)
    assert (audit.n_checked, audit.n_scores, len(audit.rows)) == (2 * tasks, 2 * tasks, 2 * tasks)
    scores = fastprobe.Scores.read(case.out)
    for row in audit.rows:
        record = scores.get(row.submission, row.task)
        assert row.agrees
        assert row.probe == protocol.probe_for(record.kind)
        assert row.n_refitted == row.n_folds == len(record.fold_scores)
        assert row.difference <= row.tolerance
        assert (row.q is None) == (row.q_refitted is None)
        assert row.read == str(case.submissions / ("a.npz" if row.submission == "a" else "b.csv"))
    # What the engine reaches is far below what is allowed for: float32 for the replay, float64 for the others.
    assert audit.largest_difference <= (1e-4 if protocol.probe == "neuco" else 1e-9)


def test_a_fold_score_that_was_changed_is_found(case: Case) -> None:
    case.run()

    def change(record: dict[str, Any]) -> None:
        record["fold_scores"][2] += 1e-6

    case.tamper("a", "height", change)
    audit = case.verify()
    # Mean, deviation and Q do not follow from the fold scores any more.
    assert kinds(audit) == {("fold score", "a", "height"), ("Q", "a", "height")}
    assert audit.findings[0].message.startswith("1 of 5 refitted folds differ; fold 2: recorded ")
    assert not audit.ok
    assert (audit.largest.submission, audit.largest.task, audit.largest.fold) == ("a", "height", 2)
    assert audit.largest_difference == pytest.approx(1e-6, rel=1e-6)
    assert [row.agrees for row in audit.rows].count(False) == 1


def test_a_whole_record_that_was_made_up_to_fit_is_found(case: Case) -> None:
    case.run()

    def change(record: dict[str, Any]) -> None:
        better = [s + 1e-4 for s in record["fold_scores"]]
        q = fastprobe.q_score(better)
        record.update(fold_scores=better, mean=q.mean, std=q.std, q=q.q)

    case.tamper("b", "width", change)
    audit = case.verify()
    assert kinds(audit) == {("fold score", "b", "width"), ("Q", "b", "width")}
    assert "5 of 5 refitted folds differ" in str(audit.findings)
    one_fold = case.verify(folds=1)
    assert kinds(one_fold) == {("fold score", "b", "width")}  # Q needs all of them
    assert all(row.n_refitted == 1 and row.q_refitted is None for row in one_fold.rows)


@pytest.mark.parametrize("protocol", [AUTO, PROTOCOLS["neuco"]], ids=["ridge", "neuco"])
def test_a_changed_q_is_found_whichever_folds_are_refitted(case: Case, protocol: Protocol) -> None:
    case.run(protocol)
    case.tamper("a", "ships", lambda record: record.update(q=record["q"] + 1e-3))
    assert kinds(case.verify(folds=1)) == {("Q", "a", "ships")}
    messages = [f.message for f in case.verify().findings]
    assert any("the Q of the fold scores in the record is" in message for message in messages)
    assert any(message.startswith("recorded") and "refitted" in message for message in messages)
    case.tamper("a", "ships", lambda record: record.update(q=None))
    assert kinds(case.verify()) == {("Q", "a", "ships")}


def test_a_changed_classification_is_found(case: Case) -> None:
    for protocol in (RIDGE, PROTOCOLS["logistic"], PROTOCOLS["neuco"]):
        case.run(protocol)
        case.tamper("b", "ships", lambda record: record["fold_scores"].__setitem__(0, 0.123))
        assert ("fold score", "b", "ships") in kinds(case.verify())


@pytest.mark.parametrize("protocol", [RIDGE, AUTO, PROTOCOLS["kernel"]], ids=["ridge", "auto", "kernel"])
def test_a_changed_strength_is_found(case: Case, protocol: Protocol) -> None:
    case.run(protocol)

    chosen = fastprobe.Scores.read(case.out).get("a", "height").fold_alphas[1]
    case.tamper("a", "height", lambda record: record["fold_alphas"].__setitem__(1, chosen / 10))
    audit = case.verify()
    assert kinds(audit) == {("strength", "a", "height")}
    assert f"1 of {protocol.folds.n_folds} refitted folds differ; fold 1: recorded alpha {chosen / 10:g}" in str(audit)
    for without in ({"fold_alphas": []}, {"fold_kernels": ["rbf"]}):
        case.tamper("a", "height", lambda record, without=without: record.update(without))
        assert "recorded none" in case.verify().findings[0].message


def test_a_score_that_is_missing_is_found_with_its_reason(case: Case) -> None:
    case.run()

    def change(record: dict[str, Any]) -> None:
        record["fold_scores"][0], record["fold_reasons"][0] = None, "no route solved it"
        q = fastprobe.q_score(record["fold_scores"])
        record.update(mean=q.mean, std=q.std, q=q.q, n_failed=1)

    case.tamper("a", "height", change)
    audit = case.verify()
    assert ("fold score", "a", "height") in kinds(audit)
    assert "recorded none (no route solved it), refitted" in str(audit.findings)
    case.tamper("a", "height", lambda record: record.update(fold_scores=record["fold_scores"][:4]))
    assert "4 in the record, 5 by the protocol" in str(case.verify().findings)


def test_folds_without_a_score_agree(case: Case) -> None:
    write_csv(case.labels / "rare__cls.csv", "id,label", ((i, int(k == 7)) for k, i in enumerate(case.ids)))
    write_csv(case.labels / "flat__regr.csv", "id,label", ((i, 2.5) for i in case.ids))
    for protocol in (AUTO, CLOSED, PROTOCOLS["kernel"]):
        case.run(protocol)
        scores = fastprobe.Scores.read(case.out)
        assert scores.get("a", "rare").n_failed == scores.get("a", "flat").n_failed == protocol.folds.n_folds
        audit = case.verify()
        assert audit.findings == ()
        assert next(row for row in audit.rows if row.task == "flat").difference is None


@pytest.mark.parametrize("protocol", [AUTO, CLOSED, PROTOCOLS["neuco"]], ids=["ridge", "closed-form", "neuco"])
def test_embeddings_that_are_constant_or_repeat_themselves_agree(case: Case, protocol: Protocol) -> None:
    x = np.random.default_rng(3).normal(size=(60, 3)).astype(np.float32)
    np.savez(case.submissions / "constant.npz", id=case.ids, x=np.full((60, 3), 0.1, dtype=np.float32))
    np.savez(case.submissions / "twice.npz", id=case.ids, x=np.hstack([x, x, np.zeros_like(x)]))
    np.savez(case.submissions / "few.npz", id=case.ids, x=(8 * x).round().clip(-128, 127).astype(np.int8))
    np.savez(case.submissions / "wide.npz", id=case.ids, x=np.random.default_rng(4).normal(size=(60, 90)))
    case.run(protocol)
    assert case.verify().findings == ()


# --- inputs that are not what was scored -----------------------------------------------------------------------------


def test_an_embedding_that_was_changed_is_found(case: Case) -> None:
    case.run()
    with np.load(case.submissions / "a.npz") as before:
        x = before["x"].copy()
    x[3, 1] += 1e-3
    np.savez(case.submissions / "a.npz", id=case.ids, x=x)
    audit = case.verify()
    assert kinds(audit) == {("embedding", "a", task) for task in ("crops", "height", "ships", "width")}
    assert f"{case.submissions / 'a.npz'} is not what was scored: it has the hash " in audit.findings[0].message
    assert audit.n_checked == 4  # those of the other one
    np.savez(case.submissions / "a.npz", id=[f"other{i}" for i in range(9)], x=np.ones((9, 2)))
    assert kinds(audit) <= kinds(case.verify())


def test_labels_that_were_changed_are_found(case: Case) -> None:
    case.run()
    path = case.labels / "width__regr.csv"
    path.write_text(path.read_text().replace("s004,-", "s004,"))
    audit = case.verify()
    assert kinds(audit) == {("labels", "a", "width"), ("labels", "b", "width")}
    assert audit.findings[0].message.startswith("they are not what was scored: they have the hash ")
    # A sample that had no label standardises from now on, in every task.
    write_csv(case.labels / "width__regr.csv", "id,label", ((i, k % 7) for k, i in enumerate([*case.ids, "s060"])))
    np.savez(case.submissions / "a.npz", id=case.ids, x=np.zeros((60, 2)))
    changed = case.verify()
    assert ("labels", "b", "height") in kinds(changed)
    assert "labels of other tasks have changed, whose samples standardise the embedding" in str(changed.findings)


def test_what_is_missing_cannot_be_checked(case: Case) -> None:
    case.run()
    (case.submissions / "b.csv").unlink()
    (case.labels / "crops__cls.csv").unlink()
    audit = case.verify()
    missing = {("b", task) for task in ("crops", "height", "ships", "width")} | {("a", "crops")}
    assert kinds(audit) == {("not checked", *which) for which in missing}
    assert "there is no file of labels of the task" in str(audit.findings)
    assert "nothing there" in str(audit.findings)
    assert audit.n_checked == 3
    assert audit.rows[-1].read == ""


def test_a_run_that_lacks_notes_takes_places(case: Case) -> None:
    case.run()
    (case.out / "run.json").unlink()
    (case.out / "inputs.jsonl").unlink()
    with pytest.raises(fastprobe.InputError, match="--labels"):
        case.verify()
    audit = case.verify(labels=case.labels)
    assert {f.kind for f in audit.findings} == {"not checked"}
    assert "no note of where it came from" in audit.findings[0].message
    assert case.verify(labels=case.labels, submissions=[case.submissions]).ok
    one = case.verify(labels=case.labels, submissions=[case.submissions / "a.npz"])
    assert {f.submission for f in one.findings} == {"b"}
    assert "no submission 'b'" in one.findings[0].message


def test_a_score_file_is_audited_as_well(case: Case) -> None:
    bench = fastprobe.Benchmark.from_folder(case.labels)
    scores = fastprobe.score([case.submissions / "a.npz"], bench, protocol=RIDGE, device="cpu")
    scores.to_parquet(case.folder / "board.parquet")
    options = {"labels": case.labels, "submissions": [case.submissions], "sample": "all"}
    assert verify(case.folder / "board.parquet", **options).n_checked == 4


def test_the_file_of_groups_may_be_moved_and_must_be_the_same(case: Case) -> None:
    case.run(PROTOCOLS["shuffled groups"])
    (case.folder / "groups.csv").rename(case.folder / "moved.csv")
    with pytest.raises(fastprobe.InputError, match="--fold-file"):
        case.verify()
    assert case.verify(fold_file=case.folder / "moved.csv").ok
    (case.folder / "groups.csv").write_text((case.folder / "moved.csv").read_text().replace("g1", "g2"))
    audit = case.verify()
    (finding,) = audit.findings
    assert finding == Finding(
        "protocol", "", "", "groups.csv is not the file of groups, or of the split, that was used"
    )
    assert audit.n_checked == 0
    assert [*audit.about(audit.rows[0])] == [f"protocol: {finding.message}"]


def test_a_protocol_that_was_changed_is_found(case: Case) -> None:
    case.run()
    scores = fastprobe.Scores.read(case.out)
    forged = fastprobe.Scores(scores.rows, {**scores.protocol, "alpha": 1.0})
    forged.to_parquet(case.folder / "board.parquet")
    options = {"labels": case.labels, "submissions": [case.submissions], "sample": "all"}
    (finding,) = verify(case.folder / "board.parquet", **options).findings
    assert finding.kind == "protocol"
    assert "its fields give the hash" in finding.message
    other = fastprobe.Scores([replace(row, protocol_hash="0" * 16) for row in scores.rows], scores.protocol)
    other.to_parquet(case.folder / "board.parquet")
    audit = verify(case.folder / "board.parquet", **options)
    assert {f.kind for f in audit.findings} == {"protocol"}
    assert len(audit.findings) == 8


# --- lenient reading, and stores -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ridge", "neuco"])
def test_repaired_submissions_pass(case: Case, name: str) -> None:
    lines = (case.submissions / "b.csv").read_text().splitlines()
    lines[5] = lines[5].split(",")[0] + ",nan,x,1.0,2.0"
    (case.submissions / "b.csv").write_text("\n".join([*lines[:-4], lines[9]]) + "\n")  # fewer samples, one twice
    case.run(PROTOCOLS[name], lenient=True)
    record = fastprobe.Scores.read(case.out).get("b", "ships")
    assert record.repairs["samples_without_embedding_dropped"] == 4
    assert record.repairs["duplicate_ids_dropped"] == 1
    assert case.verify().findings == ()
    case.tamper("b", "ships", lambda record: record.update(repairs=[]))
    assert "lacks 4 labelled samples; the record says 0" in str(case.verify().findings)


def test_of_a_store_the_files_that_it_was_made_of_are_read_while_they_are_there(case: Case) -> None:
    store = fastprobe.Store.create(case.folder / "all.zarr")
    fastprobe.ingest([case.submissions], store)
    case.run(places=[case.folder / "all.zarr"])
    audit = case.verify()
    assert audit.ok
    assert {row.read for row in audit.rows} == {str(case.submissions / "a.npz"), str(case.submissions / "b.csv")}
    assert audit.remarks == ()
    (case.submissions / "a.npz").unlink()
    (case.submissions / "b.csv").write_text("nonsense")
    without = case.verify()
    assert without.ok
    assert {row.read for row in without.rows} == {f"{case.folder / 'all.zarr'}, submission {name!r}" for name in "ab"}
    assert len(without.remarks) == 2
    assert "a.npz that it was made of is not there; read from" in without.remarks[0]
    assert "the file that it was made of cannot be read" in without.remarks[1]
    np.savez(case.submissions / "a.npz", id=case.ids, x=np.ones((60, 2)))
    assert {(f.kind, f.submission) for f in case.verify().findings} == {("embedding", "a")}


# --- the sample, and what comes out ----------------------------------------------------------------------------------


def test_the_same_seed_draws_the_same_sample(case: Case) -> None:
    case.run()
    first, again, other = (case.verify(sample=3, folds=2, seed=seed) for seed in (5, 5, 6))
    assert first == again
    assert len(first.rows) == 3
    assert first.seed == 5
    assert {(r.submission, r.task) for r in first.rows} != {(r.submission, r.task) for r in other.rows}
    assert {row.n_refitted for row in first.rows} == {2}
    assert len(case.verify(sample=100).rows) == 8
    unseeded = verify(case.out, sample=2)
    assert unseeded == verify(case.out, sample=2, seed=unseeded.seed)
    for options in ({"sample": 0}, {"folds": 0}, {"seed": -1}):
        with pytest.raises(fastprobe.InputError, match="a number from"):
            case.verify(**options)


def test_progress_counts_folds_to_the_end(case: Case) -> None:
    case.run()
    (case.submissions / "a.npz").unlink()
    told: list[tuple[str, int, int]] = []
    case.verify(progress=lambda *what: told.append(what))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert told[-1] == ("b, width", 40, 40)


def test_views_of_an_audit(case: Case) -> None:
    case.run()
    case.tamper("a", "height", lambda record: record.update(q=1.0))
    audit = case.verify()
    document = json.loads(audit.to_json())
    assert list(document) == [
        "run", "seed", "n_scores", "n_checked", "ok", "largest_difference", "protocol", "rows", "findings", "remarks",
    ]  # fmt: skip
    assert (document["seed"], document["n_scores"], document["n_checked"], document["ok"]) == (1, 8, 8, False)
    assert document["largest_difference"] == audit.largest_difference
    assert document["findings"][0].keys() == {"kind", "submission", "task", "message"}
    table = audit.to_arrow()
    assert table.num_rows == 8
    assert table.column_names == [*document["rows"][0], "findings"]
    for record, row in zip(table.to_pylist(), document["rows"], strict=True):
        assert {name: value for name, value in record.items() if name != "findings"} == row
        assert bool(record["findings"]) == (not row["agrees"])


def test_reading_changes_nothing_in_the_folder_of_the_run(case: Case) -> None:
    case.run()
    before = {path: path.read_bytes() for path in case.out.rglob("*") if path.is_file()}
    case.verify()
    assert {path: path.read_bytes() for path in case.out.rglob("*") if path.is_file()} == before
    assert RunFolder(case.out).settings().labels == str(case.labels)


@pytest.mark.slow
def test_real_embeddings_pass(data: Path, tmp_path: Path) -> None:
    """One fold of a few scores by each protocol on real, ill-conditioned embeddings."""
    folder, four = data / "presto", FoldSpec(n_folds=4)
    bench = fastprobe.Benchmark.from_folder(folder / "labels")
    for protocol, name in (
        (Protocol(probe="ridge", folds=four), "trained"),
        (PROTOCOLS["neuco"], "trained"),
        (Protocol(folds=four, alpha_grid=(0.1, 10.0)), "rawbands"),
    ):
        out = tmp_path / protocol.name
        run(find_items([folder / "submissions" / f"{name}.npz"]), bench, out, protocol=protocol, device="cpu")
        audit = verify(out, sample=3, folds=1, seed=2)
        assert audit.findings == ()
        assert audit.n_checked == 3
