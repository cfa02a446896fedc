"""Where a layer or variable comes from: the line of source that assigns it, or its class."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from isometry.keras.structure import layer_paths
from isometry.types import Location

__all__ = ["locate"]


def locate(model: Any, names: Iterable[str]) -> Mapping[str, Location]:
    """The source of each name (of a layer or a variable), where it can be found.

    `encoder.blocks.3.fc1` is looked for as `self.fc1 = ...` in the class of `encoder.blocks.3`, then as
    `self.blocks` in the class of `encoder`, and so on; Keras's own classes hold no line that anyone
    would change. At last it is the line of the nearest class.
    """
    paths = layer_paths(model)
    layers = {paths[id(x)]: x for x in model._flatten_layers() if id(x) in paths}
    found = {}
    for name in dict.fromkeys(names):
        parts = name.split(".") if name else []
        ends = range(len(parts), -1, -1)
        owners = [(k, layers.get(".".join(parts[:k]))) for k in ends]
        own = [(k, type(x)) for k, x in owners if x is not None and not _of_keras(type(x))]
        place = next((p for k, c in own if k < len(parts) and (p := _line(c, parts[k]))), None)
        place = place or next((p for _, c in own if (p := _line(c, None))), None)
        if place is not None:
            found[name] = place
    return found


def _of_keras(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "keras"


def _line(cls: type, attribute: str | None) -> Location | None:
    """The line of `self.attribute = ...` in a class, or of the class itself."""
    for base in cls.__mro__:
        if base is object or base.__module__.partition(".")[0] != cls.__module__.partition(".")[0]:
            continue
        try:
            lines, first = inspect.getsourcelines(base)
            file = inspect.getsourcefile(base)
            tree = ast.parse(textwrap.dedent("".join(lines)))
        except (OSError, TypeError, SyntaxError, IndexError):  # made at a prompt, or by exec
            return None
        if file is None or not Path(file).is_file():
            return None
        if attribute is None:
            return Location(_shown(Path(file)), first)
        for node in ast.walk(tree):
            targets = node.targets if isinstance(node, ast.Assign) else (
                [node.target] if isinstance(node, ast.AnnAssign) else []
            )  # fmt: skip
            if any(ast.unparse(t) == f"self.{attribute}" for t in targets):
                return Location(_shown(Path(file)), first + getattr(node, "lineno", 1) - 1)
    return None


def _shown(file: Path) -> str:
    """Relative to the working directory where it lies in it, with forward slashes."""
    try:
        return file.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return file.as_posix()
