"""docs/sklearn.md: its examples run, and it names what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fastprobe.compat.sklearn as estimators

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "sklearn.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: re.findall(r"import (\w+)", text)[-1])
def test_examples_run(example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "docs/sklearn.md", "exec"), {})


def test_every_public_name_is_documented() -> None:
    assert [name for name in estimators.__all__ if f"`{name}`" not in TEXT and f"`{name}(" not in TEXT] == []
    for name in estimators.__all__:
        assert getattr(estimators, name).__doc__, name
