"""The package itself: public names, documentation, light imports, and what a wheel holds."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

import fastprobe

ROOT = Path(__file__).resolve().parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def run_python(code: str, cwd: Path, *options: str) -> str:
    """Run code in a fresh interpreter that sees only what lies in `cwd` and what is installed."""
    command = [sys.executable, *options, "-c", code]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def public_members() -> Iterator[tuple[str, object]]:
    """Public names, and the public methods and properties of public classes."""
    for name in fastprobe.__all__:
        value = getattr(fastprobe, name)
        if name.startswith("__"):
            continue
        yield name, value
        if inspect.isclass(value):
            for attribute, member in vars(value).items():
                if attribute.startswith("_"):
                    continue
                if isinstance(member, (classmethod, staticmethod)):
                    yield f"{name}.{attribute}", member.__func__
                elif inspect.isfunction(member) or isinstance(member, property) or hasattr(member, "func"):
                    yield f"{name}.{attribute}", member


def code_blocks(document: str) -> list[str]:
    """Python code in a document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", fastprobe.__all__)
def test_public_names_resolve(name: str) -> None:
    assert getattr(fastprobe, name) is not None


def test_public_names_are_not_hidden_by_modules() -> None:
    """Importing a module binds its name in the package; a public function of that name would be gone."""
    modules = sorted(path.stem for path in (ROOT / "fastprobe").glob("[a-z]*.py"))
    code = (
        "import importlib, types, fastprobe\n"
        f"for name in {modules}: importlib.import_module('fastprobe.' + name)\n"
        "print([name for name in fastprobe.__all__ if isinstance(getattr(fastprobe, name), types.ModuleType)])"
    )
    assert run_python(code, ROOT) == "[]"


def test_public_names_are_sorted_and_listed() -> None:
    assert fastprobe.__all__ == sorted(fastprobe.__all__)
    assert set(dir(fastprobe)) == set(fastprobe.__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = fastprobe.no_such_name


def test_public_names_have_docstrings() -> None:
    def is_documented(name: str, member: object) -> bool:
        text = inspect.getdoc(member)
        return bool(text) and not text.startswith(f"{name}(")  # the signature that dataclass writes is none

    assert [name for name, member in public_members() if not is_documented(name, member)] == []


def test_every_public_name_is_in_the_documentation() -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE)
    assert sorted(listed) == sorted(fastprobe.__all__)


def test_every_command_is_in_the_readme() -> None:
    import typer

    from fastprobe.cli.app import app

    command = typer.main.get_command(app)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    built = set(command.commands)
    assert built >= {"score", "leaderboard", "check", "doctor", "demo"}
    assert [name for name in sorted(built) if f"    fastprobe {name}" not in readme] == []
    shown = set(re.findall(r"^    fastprobe (\w+)", readme, flags=re.MULTILINE))
    assert shown == built  # and the readme shows none that is not built


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert [target for target in targets if not (document.parent / target).exists()] == []


@pytest.mark.parametrize("block", code_blocks("docs/python.md"), ids=lambda block: block.splitlines()[2][:40])
def test_examples_of_the_python_api_run(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    ids = np.array([f"s{i}" for i in range(60)])
    (tmp_path / "labels").mkdir()
    label_lines = [f"{i},{value}" for i, value in zip(ids, rng.standard_normal(60), strict=True)]
    (tmp_path / "labels" / "height__regression.csv").write_text("\n".join(["id,label", *label_lines]))
    np.savez(tmp_path / "b.npz", id=ids, x=rng.standard_normal((60, 3)))
    rows = [f"{i},{a},{b}" for i, (a, b) in zip(ids, rng.standard_normal((60, 2)), strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["id,0,1", *rows]))
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/python.md", "exec"), {})


def test_example_of_the_readme_runs_on_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fastprobe import demo

    small = [recipe for recipe in demo.RECIPES if recipe.name == "pca-8"]
    monkeypatch.setattr(demo, "RECIPES", small)
    demo.run_demo(tmp_path / "fastprobe-demo", protocol="ridge")  # for the files
    monkeypatch.chdir(tmp_path)
    (block,) = code_blocks("README.md")
    exec(compile(block, "README.md", "exec"), {})


def test_version_is_one_and_has_a_changelog() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", fastprobe.__version__)
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "fastprobe.__version__"}
    assert "## [Unreleased]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_package_data_is_present() -> None:
    assert (files("fastprobe") / "py.typed").is_file()
    assert (files("fastprobe") / "data" / "satellite.npz").is_file()
    assert "CC BY 4.0" in (files("fastprobe") / "data" / "README.md").read_text(encoding="utf-8")


def test_import_is_light() -> None:
    heavy = ["cupy", "matplotlib", "numba", "numpy", "pandas", "pyarrow", "rich", "scipy", "sklearn", "typer", "zarr"]
    code = f"import sys, fastprobe; print([name for name in {heavy} if name in sys.modules])"
    assert run_python(code, ROOT) == "[]"


def test_listed_packages_are_those_of_the_tree() -> None:
    found = {"fastprobe.kernels"}
    for top in ("fastprobe", "kernels"):
        for init in (ROOT / top).rglob("__init__.py"):
            parts = init.parent.relative_to(ROOT).parts
            found.add(".".join(("fastprobe", *parts) if top == "kernels" else parts))
    assert sorted(PYPROJECT["tool"]["setuptools"]["packages"]) == sorted(found)


def test_checkout_works_without_installing() -> None:
    code = "import fastprobe.kernels as k, fastprobe; print(fastprobe.__file__); print(k.__file__)"
    without_site = ("-S",)  # nothing that is installed can be found
    assert run_python(code, ROOT, *without_site).splitlines() == [
        str(ROOT / "fastprobe" / "__init__.py"),
        str(ROOT / "kernels" / "__init__.py"),
    ]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build a wheel from a copy of the tree, with the setuptools that is installed."""
    source = tmp_path_factory.mktemp("source")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("fastprobe", "kernels", "benchmarks", "tests"):  # the last two must stay out
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "results"))
    out = tmp_path_factory.mktemp("wheel")
    code = f"from setuptools import build_meta; print(build_meta.build_wheel({str(out)!r}))"
    return out / run_python(code, source).splitlines()[-1]


def test_wheel_holds_every_file(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for pattern in ("*.py", "py.typed", "data/*")
        for path in (ROOT / "fastprobe").rglob(pattern)
    }
    expected |= {
        f"fastprobe/{path.relative_to(ROOT).as_posix()}"
        for pattern in ("*.py", "*.cu", "*.cuh", "*.h")
        for path in (ROOT / "kernels").rglob(pattern)
    }
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert held == expected


def test_installed_wheel_works_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        "import fastprobe, fastprobe.kernels as k, fastprobe.demo as d; "
        "print(fastprobe.__file__, k.__file__, len(d.load_scene().ids))"
    )
    assert run_python(code, tmp_path).split() == [
        str(tmp_path / "fastprobe" / "__init__.py"),
        str(tmp_path / "fastprobe" / "kernels" / "__init__.py"),
        "6435",
    ]


def test_wheel_metadata(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
        (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
        assert "fastprobe = fastprobe.cli:main" in archive.read(entry_points).decode()
        text = archive.read(metadata).decode()
    assert f"Version: {fastprobe.__version__}" in text
    assert "License-Expression: Apache-2.0" in text
    assert "Requires-Python: >=3.11" in text
