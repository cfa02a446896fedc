"""Where TARGET's attribute is written: its line in the source, found without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType

from isometry.types import Location

__all__ = ["line_of"]


def line_of(module: ModuleType, attribute: str) -> Location | None:
    """The line that defines, assigns or imports an attribute of a module.

    The first line of the file where none is found; None for a module without a file of source.
    """
    file = getattr(module, "__file__", None)
    if file is None or not file.endswith(".py"):
        return None
    path = Path(file)
    try:
        body: Iterable[ast.stmt] = ast.parse(path.read_bytes()).body
    except (OSError, SyntaxError, ValueError):
        return None
    line = 1
    for name in attribute.split("."):
        bound = [s for s in _statements(body) if name in _names(s)]
        if not bound:
            break
        line = bound[-1].lineno
        body = bound[-1].body if isinstance(bound[-1], ast.ClassDef) else ()
    return Location(_shown(path), line)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """The statements of one scope: also those under if, try, with and for."""
    for statement in body:
        yield statement
        if not isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            inside = [c for c in ast.iter_child_nodes(statement) if isinstance(c, ast.stmt)]
            yield from _statements(inside)


def _names(statement: ast.stmt) -> set[str]:
    """The names that a statement binds."""
    if isinstance(statement, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        return {statement.name}
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return {a.asname or a.name.partition(".")[0] for a in statement.names}
    targets: list[ast.expr] = []
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    return {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}


def _shown(path: Path) -> str:
    """Relative to the working directory where it lies in it, with forward slashes."""
    path = path.resolve()
    here = Path.cwd().resolve()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()
