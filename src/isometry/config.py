"""`[tool.isometry]` of pyproject.toml: what the command line and the pytest fixture start from.

[tool.isometry]
select = ["ISO1", "ISO2"]               # only rules whose code begins so
ignore = ["ISO901", "ISO401:stem.*"]    # CODE, or CODE:PATTERN

[tool.isometry.per-path-ignores]
"blocks.*.gate" = ["ISO1", "ISO9"]      # the same as "ISO1:blocks.*.gate", ...
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from isometry.errors import ArgumentError

__all__ = ["Config", "load"]

KEYS = ("select", "ignore", "per-path-ignores")
CODE = re.compile(r"ISO\d{0,3}")  # a rule's code, or its beginning


@dataclass(frozen=True, slots=True)
class Config:
    """What a project has decided for every check of its models.

    `select` and `ignore` are what `isometry.check` takes under these names; `path` is the file
    they come from, None where there is none.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    path: Path | None = None


def load(start: Path | None = None) -> Config:
    """The settings of the nearest pyproject.toml, upwards, that has a table [tool.isometry].

    Args:
        start: a folder, or a file in it. None: the working directory.

    Returns:
        The settings; empty ones where no such file is found.

    Raises:
        ArgumentError: a file that cannot be read, a key that is not known, a value of the wrong
            type, or text that is not the beginning of a rule's code.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "pyproject.toml").write_text('[tool.isometry]\\nignore = ["ISO901"]')
        >>> load(folder).ignore
        ('ISO901',)
    """
    start = (start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        path = folder / "pyproject.toml"
        if path.is_file():
            table = _table(path)
            if table is not None:
                return _config(path, table)
    return Config()


def _table(path: Path) -> Mapping[str, Any] | None:
    """The table [tool.isometry] of a file; None where it has none."""
    try:
        tables = tomllib.loads(path.read_bytes().decode("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ArgumentError(f"{path} cannot be read as UTF-8 text: {error}") from error
    except tomllib.TOMLDecodeError as error:  # its message ends in the line and the column
        raise ArgumentError(f"{path} is not valid TOML: {error}") from error
    tool = tables.get("tool", {})
    table = tool.get("isometry") if isinstance(tool, dict) else None
    if table is None or isinstance(table, dict):
        return table
    raise ArgumentError(
        f"{path}: tool.isometry is {table!r}; expected a table, such as\n"
        '[tool.isometry]\nignore = ["ISO901"]'
    )


def _config(path: Path, table: Mapping[str, Any]) -> Config:
    for key in table:
        if key not in KEYS:
            near = difflib.get_close_matches(key.replace("_", "-"), KEYS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ArgumentError(
                f"{path}: [tool.isometry] has no key {key!r}; expected {', '.join(KEYS)}{hint}"
            )
    select = _codes(path, "select", table.get("select", []))
    ignore = _codes(path, "ignore", table.get("ignore", []), patterns=True)
    return Config(select, ignore + _per_path(path, table.get("per-path-ignores", {})), path)


def _per_path(path: Path, table: Any) -> tuple[str, ...]:
    """per-path-ignores as "CODE:PATTERN"."""
    example = 'a table of patterns, such as "blocks.*.gate" = ["ISO901"]'
    if not isinstance(table, dict):
        _refuse(path, "per-path-ignores", table, example)
    found: list[str] = []
    for pattern, codes in table.items():
        if not pattern.strip():
            _refuse(path, "per-path-ignores", table, example)
        found += [
            f"{code}:{pattern}" for code in _codes(path, f'per-path-ignores."{pattern}"', codes)
        ]
    return tuple(found)


def _codes(path: Path, key: str, value: Any, patterns: bool = False) -> tuple[str, ...]:
    """A list of codes; with `patterns`, each may go on with a colon and a pattern."""
    if not isinstance(value, list):
        _refuse(path, key, value, f'a list of codes, such as {key} = ["ISO901"]')
    form = 'a code or its beginning, such as "ISO901" or "ISO2"'
    if patterns:
        form += ', or one with a pattern, such as "ISO401:blocks.3.*"'
    for entry in value:
        if not isinstance(entry, str):
            _refuse(path, key, entry, form)
        code, colon, pattern = entry.partition(":")
        if not CODE.fullmatch(code) or (colon and not (patterns and pattern.strip())):
            _refuse(path, key, entry, form)
    return tuple(value)


def _refuse(path: Path, key: str, received: object, expected: str) -> NoReturn:
    raise ArgumentError(f"{path}: [tool.isometry] {key} has {received!r}; expected {expected}")
