"""Submissions are read one ahead, and what is wrong with one is said when its turn comes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastprobe import InputError, Submission
from fastprobe.reading import ReadAhead, in_turn


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    files = [tmp_path / f"{name}.npz" for name in "abcd"]
    for k, file in enumerate(files):
        np.savez(file, id=["x", "y"], x=np.full((2, 3), float(k)))
    return files


def test_one_ahead_and_no_more(paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    read = Submission.read

    def recorded(path: Path, **options) -> Submission:
        begun.append(Path(path).stem)
        return read(path, **options)

    monkeypatch.setattr(Submission, "read", recorded)
    ahead = ReadAhead(paths)
    assert len(ahead) == 4
    for turn, submission in enumerate(ahead):
        assert submission.name == "abcd"[turn]
        assert submission.x[0, 0] == turn
        assert len(begun) <= turn + 2
    assert begun == list("abcd")


def test_a_broken_submission_fails_at_its_turn(paths: list[Path]) -> None:
    paths[1].write_bytes(b"not a zip file")
    turns = iter(ReadAhead(paths))
    assert next(turns).name == "a"
    with pytest.raises(InputError, match=r"b\.npz"):
        next(turns)


def test_submissions_pass_through_and_iterators_are_asked_in_turn(paths: list[Path]) -> None:
    ready = Submission("ready", ["x"], np.ones((1, 1)))
    assert [s.name for s in in_turn([ready, paths[0]], lenient=False)] == ["ready", "a"]
    asked: list[str] = []

    def stream():
        for path in paths:
            asked.append(path.stem)
            yield path

    turns = iter(in_turn(stream(), lenient=False))
    assert asked == []
    assert next(turns).name == "a"
    assert asked == ["a"]


def test_ids_and_leniency_reach_the_reader(tmp_path: Path) -> None:
    np.save(tmp_path / "team.npy", np.array([[1.0, np.nan]]))
    (tmp_path / "names.csv").write_text("id\nx\n")
    (submission,) = ReadAhead([tmp_path / "team.npy"], ids=tmp_path / "names.csv", lenient=True)
    assert submission.ids.tolist() == ["x"]
    assert submission.repairs == {"nan_to_zero": 1}
