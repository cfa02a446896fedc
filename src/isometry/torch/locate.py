"""Where a module or parameter comes from: the line of source that assigns it, or its class."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterable
from pathlib import Path

from torch import nn

from isometry.torch.leaves import public_name
from isometry.types import Location

__all__ = ["locate"]


def locate(model: nn.Module, names: Iterable[str]) -> dict[str, Location]:
    """The source of each name (of a module or a parameter), where it can be found.

    `encoder.layers.3.fc1` is looked for as `self.fc1 = ...` in the class of `encoder.layers.3`,
    then as `self.layers` in the class of `encoder`, and so on; classes of torch itself hold no
    line that anyone would change. At last it is the line of the nearest class.
    """
    modules = {public_name(f"{path}._")[:-2]: m for path, m in model.named_modules()}
    found = {}
    for name in dict.fromkeys(names):
        place = _assignment(modules, name) or _class_of(modules, name)
        if place is not None:
            found[name] = place
    return found


def _assignment(modules: dict[str, nn.Module], name: str) -> Location | None:
    parts = name.split(".") if name else []
    for k in range(len(parts) - 1, -1, -1):
        owner = modules.get(".".join(parts[:k]))
        if owner is not None and not _of_torch(type(owner)):
            place = _line_of(type(owner), parts[k])
            if place is not None:
                return place
    return None


def _class_of(modules: dict[str, nn.Module], name: str) -> Location | None:
    parts = name.split(".") if name else []
    for k in range(len(parts), -1, -1):
        owner = modules.get(".".join(parts[:k]))
        if owner is not None and not _of_torch(type(owner)):
            found = _source(type(owner))
            return None if found is None else Location(found[0], found[1])
    return None


def _of_torch(cls: type) -> bool:
    return cls.__module__.partition(".")[0] == "torch"


def _line_of(cls: type, attribute: str) -> Location | None:
    """The line of `self.attribute = ...` in a class, or in one that it inherits from."""
    for base in cls.__mro__:
        if base is object or _of_torch(base):
            continue
        found = _source(base)
        line = None if found is None else found[2].get(attribute)
        if found is not None and line is not None:
            return Location(found[0], line)
    return None


def _source(cls: type) -> tuple[str, int, dict[str, int]] | None:
    """(file, line of the class, attribute -> line of its first assignment); None without source."""
    try:
        lines, first = inspect.getsourcelines(cls)
        file = inspect.getsourcefile(cls)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, TypeError, SyntaxError, IndexError):  # made at a prompt, or by exec
        return None
    if file is None or not Path(file).is_file():
        return None
    assigned: dict[str, int] = {}
    for node in ast.walk(tree):
        for attribute in _assigned(node):
            line = first + getattr(node, "lineno", 1) - 1
            assigned[attribute] = min(line, assigned.get(attribute, line))
    return _shown(Path(file)), first, assigned


def _assigned(node: ast.AST) -> Iterable[str]:
    """The attributes of self that a statement sets: by assignment, add_module, register_..."""
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = list(node.targets)
    elif isinstance(node, (ast.AnnAssign, ast.AugAssign)):
        targets = [node.target]
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        named = node.args[0] if node.args else None
        if node.func.attr in ("add_module", "register_module", "register_parameter") and (
            isinstance(named, ast.Constant) and isinstance(named.value, str)
        ):
            yield named.value
    while targets:
        target = targets.pop()
        if isinstance(target, (ast.Tuple, ast.List)):
            targets += target.elts
        elif isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
            yield target.attr


def _shown(file: Path) -> str:
    """Relative to the working directory where it lies in it, with forward slashes."""
    try:
        return file.resolve().relative_to(Path.cwd().resolve()).as_posix()
    except ValueError:
        return file.as_posix()
