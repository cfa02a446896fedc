"""Where a layer comes from: the line of source that makes it, or its class."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from isometry.types import Location

__all__ = ["locate"]

LIBRARIES = ("flax", "equinox", "jax", "builtins")


def locate(modules: Mapping[str, Any], names: Iterable[str]) -> dict[str, Location]:
    """The source of each name (of a module or a parameter), where it can be found.

    `blocks.3.fc1` is looked for in the class of `blocks.3`, as `self.fc1 = ...`, as a field
    `fc1: ...`, or as `name="fc1"`, then as `blocks` in the class of the whole; at last it is the
    line of the nearest class. Classes of Flax and Equinox hold no line that anyone would change.

    Args:
        modules: path -> module; "" is the whole.
        names: what is looked for.
    """
    found = {}
    for name in dict.fromkeys(names):
        place = _place(modules, name.split(".") if name else [])
        if place is not None:
            found[name] = place
    return found


def _place(modules: Mapping[str, Any], parts: list[str]) -> Location | None:
    nearest: Location | None = None
    for k in range(len(parts), -1, -1):
        owner = modules.get(".".join(parts[:k]))
        if owner is None or type(owner).__module__.partition(".")[0] in LIBRARIES:
            continue
        lines, first, file = _source(type(owner))
        if file is None:
            continue
        if k < len(parts):
            pattern = re.compile(
                rf"\bself\.{re.escape(parts[k])}\b[^=]*=|^\s+{re.escape(parts[k])}\s*:"
                rf"|name=[\"']{re.escape(parts[k])}[\"']"
            )
            for i, line in enumerate(lines):
                if pattern.search(line):
                    return Location(file, first + i)
        nearest = nearest or Location(file, first)
    return nearest


def _source(cls: type) -> tuple[list[str], int, str | None]:
    try:
        lines, first = inspect.getsourcelines(cls)
        file = inspect.getsourcefile(cls)
    except (OSError, TypeError):  # made at a prompt, or by exec
        return [], 0, None
    if file is None or not Path(file).is_file():
        return [], 0, None
    try:
        shown = Path(file).resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        shown = Path(file).as_posix()
    return lines, first, shown
