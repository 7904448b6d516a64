"""The history of a run's leaderboard: what is noted, what a state was, and how the command line shows it."""

from __future__ import annotations

import csv
import json
import os
import re
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from score_rows import PROTOCOL, regression_row, table
from small_runs import Case, make_benchmark, write_submission
from typer.testing import CliRunner

import fastprobe
from fastprobe.cli import app
from fastprobe.cli.movement_tables import movement_lines
from fastprobe.errors import InputError
from fastprobe.movement import compare
from fastprobe.pool import Pool
from fastprobe.ranking import leaderboard, rank_pool
from fastprobe.results import Scores, TaskScore
from fastprobe.runs import RunFolder, history, score_files
from fastprobe.runs.history import History, note
from fastprobe.runs.score_files import Key
from fastprobe.runs.timeline import timeline

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def rows_of(name: str, qs: dict[str, float | None], *, seed: int = 0, protocol: str = PROTOCOL.hash) -> list[TaskScore]:
    """Scores of a submission whose content is told by a seed."""
    changes = {"embedding_hash": f"{name} {seed}", "protocol_hash": protocol}
    return [regression_row(name, task, q, **changes) for task, q in qs.items()]


def key_of(row: TaskScore) -> Key:
    return Key(row.submission, row.task, row.protocol_hash, row.embedding_hash, f"terms of {row.label_hash}")


def put(folder: RunFolder, rows: list[TaskScore]) -> None:
    """Write scores of one submission, in place of those that it has on the same tasks, as a run does."""
    tasks = {row.task for row in rows}
    folder.scores.drop([key for key in folder.scores.of(rows[0].submission) if key.task in tasks])
    protocol = {**PROTOCOL.to_dict(), "hash": rows[0].protocol_hash}
    folder.scores.put(Scores(rows, protocol).to_arrow(), [key_of(row) for row in rows])


class Run:
    """A folder of a run that is held for each change of it, as a process of its own would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def change(
        self, *rows: list[TaskScore], gone: tuple[str, ...] = (), at: datetime | None = None, **options: bool
    ) -> bool:
        """Put and drop scores, and note it; false if nothing had changed."""
        folder = RunFolder(self.path)
        with folder.locked():
            for of_one in rows:
                put(folder, of_one)
            folder.scores.drop([key for name in gone for key in folder.scores.of(name)])
            return note(folder, at=at, **options)

    @property
    def parts(self) -> list[Path]:
        return sorted((self.path / "history").glob("*.parquet"))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path / "run")


A, B = {"x": 1.0, "y": 5.0}, {"x": 2.0, "y": 3.0}

# --- what is noted ---------------------------------------------------------------------------------------------------


def test_every_change_adds_a_part_with_what_has_changed(run):
    assert run.change(rows_of("a", A), rows_of("b", B), at=NOON)
    assert run.change(rows_of("c", {"x": 9.0, "y": None}), at=NOON + HOUR)
    assert run.change(rows_of("a", {"x": 4.0}, seed=1), gone=("b",), at=NOON + 2 * HOUR)
    assert [path.name for path in run.parts] == ["00000001.parquet", "00000002.parquet", "00000003.parquet"]
    first, second, third = (pq.read_table(path).to_pylist() for path in run.parts)
    assert {(r["submission"], r["task"], r["q"], r["gone"]) for r in first} == {
        ("a", "x", 1.0, False), ("a", "y", 5.0, False), ("b", "x", 2.0, False), ("b", "y", 3.0, False),
    }  # fmt: skip
    assert [(r["task"], r["q"], r["q_reason"]) for r in second] == [
        ("x", 9.0, None), ("y", None, "2 of 3 folds failed, more than 30%"),
    ]  # fmt: skip
    assert [(r["submission"], r["task"], r["embedding_hash"], r["gone"]) for r in third] == [
        ("a", "x", "a 1", False), ("a", "x", "a 0", True), ("b", "x", "b 0", True), ("b", "y", "b 0", True),
    ]  # fmt: skip
    state = History(run.path).states[-1]
    assert (state.number, state.at, state.protocol) == (3, NOON + 2 * HOUR, PROTOCOL.name)
    assert (state.protocol_hash, state.version) == (PROTOCOL.hash, fastprobe.__version__)


def test_nothing_is_written_and_no_score_is_read_if_nothing_changed(run, monkeypatch):
    run.change(rows_of("a", A))
    monkeypatch.setattr(history, "_columns", lambda *_: pytest.fail("scores were read"))
    assert not run.change()
    assert len(run.parts) == 1


def test_only_files_with_new_scores_are_read(run, monkeypatch):
    run.change(rows_of("a", A), rows_of("b", B))
    read, columns = [], history._columns
    monkeypatch.setattr(history, "_columns", lambda path, rows: read.append(rows) or columns(path, rows))
    assert run.change(rows_of("c", {"x": 1.0}))
    assert read == [1]


def test_an_empty_run_has_no_history(run):
    assert not run.change()
    assert not (run.path / "history").exists()


def test_scores_that_were_put_together_are_the_same_scores(run, monkeypatch):
    monkeypatch.setattr(score_files, "_MANY", 3)
    for name in "abcd":
        folder = RunFolder(run.path)
        with folder.locked():
            put(folder, rows_of(name, A))
    assert run.change()
    folder = RunFolder(run.path)
    with folder.locked():
        folder.put_together()
        assert len(list((run.path / "scores").glob("*.parquet"))) == 1
        assert not note(folder)
    assert len(History(run.path).pool(History(run.path).states[0]).complete) == 4


def test_a_file_that_the_journal_names_and_that_is_gone_is_passed_over(run):
    folder = RunFolder(run.path)
    with folder.locked():
        both = [*rows_of("a", A), *rows_of("b", B)]
        folder.scores.put(table(*both).to_arrow(), [key_of(row) for row in both])
    (path,) = (run.path / "scores").glob("*.parquet")
    path.unlink()  # by the user, because it was damaged
    assert run.change(rows_of("a", A))
    (state,) = History(run.path).states
    assert History(run.path).pool(state).complete == {"a": A}


def test_scores_computed_again_under_their_keys_are_noted_on_demand(run):
    run.change(rows_of("a", A))
    again = rows_of("a", {"x": 1.0, "y": 5.5})
    assert not run.change(again)
    assert run.change(again, reread=True)
    assert not run.change(reread=True)
    assert [row["q"] for row in pq.read_table(run.parts[-1]).to_pylist()] == [5.5]


def test_another_protocol_begins_with_an_empty_pool(run):
    run.change(rows_of("a", A), rows_of("b", B))
    assert not run.change(rows_of("a", {"z": 9.0}, protocol="other"))  # a crash before the old ones were dropped
    folder = RunFolder(run.path)
    with folder.locked():
        folder.scores.drop([key for key in folder.scores if key.protocol != "other"])
        assert note(folder)
    states = History(run.path).states
    pool = History(run.path).pool(states[-1])
    assert (pool.protocol, pool.complete) == ("other", {"a": {"z": 9.0}})
    with pytest.raises(InputError, match="another scale"):
        compare(History(run.path).pool(states[0]), pool)
    assert movement_lines(run.path) == [
        "the leaderboard cannot be compared with the one before: scores of the protocol with hash other"
    ]


def test_a_state_begins_when_its_last_score_was_written(run):
    folder = RunFolder(run.path)
    with folder.locked():
        for name, ago in (("a", 300), ("b", 200)):
            there = set((run.path / "scores").iterdir())
            put(folder, rows_of(name, A))
            (path,) = set((run.path / "scores").iterdir()) - there
            os.utime(path, (NOON.timestamp() - ago + 0.7,) * 2)
        note(folder)
    before = datetime.now(UTC).replace(microsecond=0)
    run.change(gone=("a",))
    first, second = History(run.path).states
    assert first.at == NOON - timedelta(seconds=200)
    assert before <= second.at <= datetime.now(UTC)


def test_time_does_not_go_backwards(run):
    run.change(rows_of("a", A), at=NOON)
    run.change(rows_of("b", B), at=NOON - HOUR)
    assert [state.at for state in History(run.path).states] == [NOON, NOON]


# --- what a state was ------------------------------------------------------------------------------------------------

names = st.sampled_from("abcd")
qs = st.dictionaries(st.sampled_from("xyz"), st.sampled_from([-3.0, 0.5, 10.0, 30.0, None]), min_size=1)
changes = st.lists(
    st.tuples(st.dictionaries(names, st.tuples(qs, st.integers(0, 2)), max_size=3), st.sets(names, max_size=2)),
    min_size=1,
    max_size=6,
)


@settings(max_examples=10, deadline=None)
@given(steps=changes)
def test_every_state_is_the_board_of_its_time(steps):
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "run")
        kept = []
        for step, (come, gone) in enumerate(steps):
            rows = [
                # The content decides the score, as it does in a run.
                rows_of(name, {t: None if q is None else q + seed for t, q in of_one.items()}, seed=hash((seed, step)))
                for name, (of_one, seed) in come.items()
            ]
            changed = run.change(*rows, gone=tuple(gone), at=NOON + step * HOUR)
            there = list((run.path / "scores").glob("*.parquet"))
            board = rank_pool(Pool.read(run.path)) if there else rank_pool(Pool("", {}))
            if changed:
                kept.append((NOON + step * HOUR, board))
            elif kept:
                assert kept[-1][1] == board  # nothing noted, nothing changed
        seen = History(run.path)
        assert [state.at for state in seen.states] == [at for at, _ in kept]
        for (at, board), (state, _, pool) in zip(kept, seen.replay(), strict=True):
            assert rank_pool(seen.pool(state)) == board == rank_pool(pool)
            assert seen.at(at, where="--at") == state
            assert seen.at(at + HOUR / 2, where="--at") == state


def test_the_last_state_is_what_the_scores_are(run):
    run.change(rows_of("a", A), rows_of("b", {"x": 2.0, "y": None}))
    run.change(rows_of("c", {"x": 0.5}))
    seen = History(run.path)
    assert rank_pool(seen.pool(seen.states[-1])) == leaderboard(Scores.read(run.path))


def test_times_before_the_first_state(run):
    run.change(rows_of("a", A), at=NOON)
    seen = History(run.path)
    with pytest.raises(InputError, match=r"a time from .* on, when the history of"):
        seen.at(NOON - timedelta(seconds=1), where="--at")
    with pytest.raises(InputError, match="a history of one state"):
        seen.before_last(where="--since")
    nothing = History(run.path / "nowhere")
    with pytest.raises(InputError, match="no history in"):
        nothing.at(NOON, where="--at")
    with pytest.raises(InputError, match="no history in"):
        nothing.first(where="--since")


def test_real_runs_are_noted_as_they_change(tmp_path):
    case = Case(tmp_path / "case")
    boards = []

    def run_and_note(**changes: int) -> None:
        case.run(make_benchmark({"depth": 0, "height": 0, "width": 0} | changes))
        folder = RunFolder(case.out)
        with folder.locked():
            note(folder)
        boards.append(leaderboard(Scores.read(case.out)))

    case.write("a", "b")
    run_and_note()
    run_and_note()  # nothing changed
    case.write("c")
    run_and_note()
    write_submission(case.submissions, "a", seed=0)
    run_and_note()
    run_and_note(height=1)  # other labels of one task
    run_and_note(height=1, length=0)  # and a new one
    seen = list(History(case.out).replay())
    assert [(c.added, c.rescored, c.gone) for _, c, _ in seen] == [
        (2, 0, 0), (1, 0, 0), (0, 1, 0), (0, 3, 0), (0, 3, 0),
    ]  # fmt: skip
    assert [rank_pool(pool) for _, _, pool in seen] == [boards[0], *boards[2:]]
    moves = compare(seen[0][2], Pool.read(case.out))
    assert [move.submission for move in moves.entered] == ["c"]
    assert all(move.scored_anew for move in moves.moves if move.path)


# --- crashes and damage ----------------------------------------------------------------------------------------------


def test_what_a_crash_kept_from_being_noted_is_noted_by_the_next_run(run, monkeypatch):
    run.change(rows_of("a", A))
    monkeypatch.setattr(history, "write_part", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space left"):
        run.change(rows_of("b", B))
    monkeypatch.undo()
    assert len(run.parts) == 1
    assert run.change()
    assert set(History(run.path).pool(History(run.path).states[-1]).complete) == {"a", "b"}


def test_a_part_that_is_half_written_is_no_part(run, monkeypatch):
    run.change(rows_of("a", A))
    half = run.path / "history" / ".00000002.parquet.17.tmp"
    half.write_bytes(run.parts[0].read_bytes()[:-20])
    assert len(History(run.path).states) == 1
    assert run.change(rows_of("b", B))
    assert not half.exists()
    assert len(History(run.path).states) == 2


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def spoil(path: Path) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(b"submission one")
    data[at] ^= 1
    path.write_bytes(bytes(data))


def replace_metadata(path: Path, meta: dict) -> None:
    pq.write_table(pq.read_table(path).replace_schema_metadata(meta), path)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (cut, "found .*arquet"),
        (spoil, "found .*(CRC|checksum|corrupt)"),
        (lambda path: path.unlink(), "00000002.parquet: found this where 00000001.parquet should be"),
        (lambda path: table(regression_row()).to_parquet(path), "found the columns submission, task, kind"),
        (lambda path: replace_metadata(path, {}), "found KeyError"),
        (lambda path: replace_metadata(path, {b"fastprobe.history": b'{"format": 2}'}), "found format 2, of another"),
        (lambda path: replace_metadata(path, {b"fastprobe.history": b"[1]"}), "found TypeError"),
    ],
)
def test_a_damaged_part_is_an_error_that_names_it(run, damage, found):
    run.change(rows_of("submission one", A))
    run.change(rows_of("b", B))
    damage(run.parts[0])
    with pytest.raises(InputError, match=found) as error:
        History(run.path)
    assert "history" in error.value.where
    assert "remove the folder" in error.value.fix
    with pytest.raises(InputError, match=found):
        run.change(rows_of("c", A))


def test_damaged_scores_are_an_error_that_names_the_file(run):
    run.change(rows_of("a", A))
    folder = RunFolder(run.path)
    with folder.locked():
        put(folder, rows_of("b", B))
        path = next(p for p in (run.path / "scores").glob("*.parquet") if b"b 0" in p.read_bytes())
        kept = path.read_bytes()
        cut(path)
        with pytest.raises(InputError, match="not the scores of a run"):
            note(folder)
        path.write_bytes(kept)
        pq.write_table(pq.read_table(path).slice(1), path)
        with pytest.raises(InputError, match="1 rows instead of 2"):
            note(folder)


# --- the list of states, and the sentence ----------------------------------------------------------------------------


@pytest.fixture
def three(run: Run) -> Run:
    """A state a day: a and b; c besides, who is first; without b, and a scored anew."""
    run.change(rows_of("a", A), rows_of("b", B), at=NOON)
    run.change(rows_of("c", {"x": 9.0, "y": 9.0}), at=NOON + 24 * HOUR)
    run.change(rows_of("a", {"x": 10.0, "y": 10.0}, seed=1), gone=("b",), at=NOON + 48 * HOUR)
    return run


def test_the_timeline_says_what_each_state_changed_and_who_led(three):
    line = timeline(three.path, rank="mean")
    assert [(m.added, m.rescored, m.gone) for m in line.moments] == [(2, 0, 0), (1, 0, 0), (0, 1, 1)]
    assert [m.leaders for m in line.moments] == [("a",), ("c",), ("a",)]
    assert [m.mean_q for m in line.moments] == [3.0, 9.0, 10.0]
    assert [(m.submissions, m.ranked, m.tasks) for m in line.moments] == [(2, 2, 2), (3, 3, 2), (2, 2, 2)]
    document = json.loads(line.to_json())
    assert document["rank"] == "mean"
    assert document["states"][1]["at"] == (NOON + 24 * HOUR).isoformat()
    assert document["states"][1]["leaders"] == ["c"]
    arrow = line.to_arrow().to_pylist()
    assert [{**row, "leaders": row["leaders"].split("; ")} for row in arrow] == [
        {name: state[name] for name in row} for row, state in zip(arrow, document["states"], strict=True)
    ]


def test_all_who_share_the_first_place_lead(run):
    run.change(rows_of("b", A), rows_of("a", A))
    assert timeline(run.path).moments[0].leaders == ("a", "b")


def test_a_state_that_cannot_be_ranked_is_listed_with_the_reason(three):
    old = rows_of("d", A)
    three.change([regression_row("d", r.task, r.q, label_hash="others") for r in old], at=NOON + 72 * HOUR)
    last = timeline(three.path).moments[-1]
    assert (last.added, last.ranked, last.leaders) == (1, None, ())
    assert "another labels of the task" in last.problem


def test_who_moved_in_a_line(three, run):
    command = f"fastprobe leaderboard {three.path} --since last"
    assert movement_lines(three.path) == [f"b is not ranked any more; 2 others moved: {command}"]
    three.change(rows_of("d", {"x": 0.0, "y": 0.0}))
    assert movement_lines(three.path) == [f"d is new at place 3: {command}"]


def test_the_first_state_has_nobody_who_moved(run):
    run.change(rows_of("a", A))
    assert movement_lines(run.path) == []


# --- the command line ------------------------------------------------------------------------------------------------


@pytest.fixture
def command(three: Run, monkeypatch: pytest.MonkeyPatch) -> Callable:
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(three.path.parent)
    return lambda line: CliRunner().invoke(app, ["leaderboard", "run", *line.split()])


def words(text: str) -> str:
    return " ".join(text.split())


def test_since_last_says_who_moved_and_why(command):
    done = command("--since last")
    assert done.exit_code == 0, done.stderr
    text = words(done.stdout)
    assert "b is not ranked any more; 2 others moved." in text
    assert "1 3 a 10.00 3.00 up 1 by those who left, up 1 by new scores (its own" in text
    assert "- 2 b - 2.50 gone" in text
    assert "x 0.500 0.588" in text
    assert "to now" in text


@pytest.mark.parametrize("since", ["first", "2026-11-20T12:00+00:00", "2026-11-20T12:30:59+00:00", "2026-11-21T11:59Z"])
def test_since_a_time_is_since_the_state_of_that_time(command, since):
    document = json.loads(command(f"--since {since} --format json").stdout)
    assert document["before"] == NOON.isoformat()
    assert document["now"] is None
    assert document["summary"] == "c is new at place 2; b is not ranked any more"


def test_a_day_begins_for_since_and_ends_for_at(command, monkeypatch):
    for zone in ("UTC", "Asia/Tokyo", "America/Lima"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        document = json.loads(command("--since 2026-11-21 --at 2026-11-21 --format json").stdout)
        assert (document["before"], document["now"]) == (NOON.isoformat(), (NOON + 24 * HOUR).isoformat())
    monkeypatch.undo()
    time.tzset()


def test_at_is_the_board_of_that_time(command, three):
    done = command("--at 2026-11-21T13:00+00:00 --format json --rank uniform")
    seen = History(three.path)
    assert json.loads(done.stdout) == rank_pool(seen.pool(seen.states[1]), rank="uniform").to_dict()
    assert "as it was at 2026-11-21T13:00+00:00" in done.stderr
    assert command("--at 2026-11-21T13:00+00:00 --format json --quiet").stderr == ""


def test_without_options_it_is_the_board_of_now(command, three):
    assert json.loads(command("--format json").stdout) == leaderboard(Scores.read(three.path)).to_dict()


def test_the_history_as_a_table_and_in_files(command, three, tmp_path):
    text = words(command("--history --rank mean").stdout)
    assert "2 2 a 2 0 0" in text
    assert "3 3 c 1 0 0" in text
    assert "2 2 a 0 1 1" in text
    assert len(json.loads(command("--history --format json").stdout)["states"]) == 3
    rows = list(csv.DictReader(command("--history --format csv").stdout.splitlines()))
    assert [row["leaders"] for row in rows] == ["a", "c", "a"]
    assert command("--history --out states.parquet --quiet").exit_code == 0
    assert pq.read_table(tmp_path / "states.parquet").equals(timeline(three.path).to_arrow())


def test_movements_in_files(command, three, tmp_path):
    assert command("--since last --out moves.parquet").exit_code == 0
    seen = History(three.path)
    moves = compare(seen.pool(seen.states[1]), Pool.read(three.path))
    assert pq.read_table(tmp_path / "moves.parquet").equals(moves.to_arrow())
    assert command("--since last --format csv").stdout == moves.to_csv_text()


def test_a_history_that_has_not_begun(command, three):
    for path in three.parts:
        path.unlink()
    assert "no history yet" in command("--history").stdout
    done = command("--since first")
    assert done.exit_code == 2
    assert "no history in run" in done.stderr
    assert command("").exit_code == 0


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("--since 2026-11-19", "found 2026-11-19T00:00:00"),
        ("--at 2026-11-20T11:00+00:00", "a time from 2026-11-2"),
        ("--since yesterday", "expected last, first, a day or a time"),
        ("--at last", "expected a day or a time"),
        ("--at 9999-12-31T23:59-23:00", "expected a day or a time"),
        ("--since 2026-11-22T12:00Z --at 2026-11-21T12:00Z", "which is before --since"),
        ("--history --at 2026-11-21", "--since or --at beside it"),
    ],
)
def test_wrong_times(command, line, found):
    done = command(line)
    assert done.exit_code == 2, done.output
    assert found in words(done.stderr)


def test_a_file_of_scores_has_no_history(command, tmp_path):
    table(*rows_of("a", A)).to_parquet(tmp_path / "scores.parquet")
    done = CliRunner().invoke(app, ["leaderboard", "scores.parquet", "--since", "first"])
    assert done.exit_code == 2
    assert "no history in scores.parquet" in words(done.stderr)


DOCUMENT = (Path(__file__).resolve().parents[1] / "docs" / "leaderboard.md").read_text(encoding="utf-8")


def test_the_documentation_names_every_column(three):
    seen = History(three.path)
    tables = (
        pq.read_table(three.parts[0]),
        timeline(three.path).to_arrow(),
        compare(seen.pool(seen.states[0]), seen.pool(seen.states[1])).to_arrow(),
    )
    names = [name for of_one in tables for name in of_one.column_names]
    assert [name for name in names if f"`{name}`" not in DOCUMENT and f'"{name}"' not in DOCUMENT] == []


def test_the_example_of_the_documentation_runs(three, monkeypatch, capsys):
    monkeypatch.chdir(three.path.parent)
    (code,) = re.findall(r"^```python\n(.*?)^```", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    three.change(rows_of("a", A, seed=2))
    exec(compile(code, "docs/leaderboard.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 4 + 1
    assert printed[-1].startswith("a 1 2 {")
