"""A small YAML file, with the line of every key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastprobe.errors import InputError
from fastprobe.readers.table import shorten

if TYPE_CHECKING:
    import yaml

__all__ = ["YamlFile"]

_MAX_BYTES = 1_000_000


@dataclass(frozen=True)
class YamlFile:
    """Where the keys of a YAML file stand.

    Attributes
    ----------
    path : str
    lines : mapping of str to int
        Line of every key, from 1; keys of a mapping in a mapping as ``outer.inner``.
    """

    path: str
    lines: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> tuple[YamlFile, Any]:
        """Read a file; returns the places and the content, made of plain Python objects.

        Raises
        ------
        InputError
            If the file cannot be read, is not YAML in UTF-8, or a mapping has a key twice.
        """
        import yaml

        text = _text(path)
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
            lines = dict(_keys(path, root)) if isinstance(root, yaml.MappingNode) else {}
            return cls(str(path), lines), yaml.safe_load(text)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
            raise _not_yaml(where, " ".join(filter(None, (error.context, error.problem)))) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # a ValueError for a date such as 2025-99-99
            raise _not_yaml(str(path), " ".join(str(error).split())[:200]) from None

    def place(self, key: str) -> str:
        """Name the place of a key."""
        return f"{self.path}, line {self.lines[key]}, {key}" if key in self.lines else f"{self.path}, {key}"


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(
            str(path),
            found="nothing there" if isinstance(error, FileNotFoundError) else error.strerror or str(error),
            expected="a readable YAML file",
            fix="correct the path, or name the file with --config",
        ) from None
    if len(data) > _MAX_BYTES:
        raise InputError(
            str(path), found=f"{len(data):,} bytes", expected="a small YAML file", fix="name the config itself"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line}",
            found=f"the byte 0x{data[error.start]:02x}, which is not UTF-8",
            expected="a text file in UTF-8",
            fix="save the file with the encoding UTF-8",
        ) from None


def _not_yaml(where: str, problem: str) -> InputError:
    return InputError(where, found=f"text that is not YAML ({problem})", expected="YAML", fix="correct that place")


def _keys(path: Path, node: yaml.MappingNode, prefix: str = "", depth: int = 2) -> Iterator[tuple[str, int]]:
    """Give the keys of a mapping, and of the mappings in it, with their lines; refuse keys that stand there twice."""
    import yaml

    first: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in first:
            raise InputError(
                f"{path}, line {line}, {name}",
                found=f"the key {shorten(key.value)} again; it is already on line {first[name]}",
                expected="every key once",
                fix="remove one of the two",
            )
        first[name] = line
        yield name, line
        if isinstance(value, yaml.MappingNode) and depth > 1:
            yield from _keys(path, value, f"{name}.", depth - 1)
