"""TARGET: `package.module:attribute` or `path/file.py:attribute`, as a model and its inputs."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from isometry.adapters import framework_of
from isometry.cli.source import line_of
from isometry.errors import ArgumentError, ModelError
from isometry.types import Location

__all__ = ["Target", "load"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a TARGET names: a model, the inputs that came with it, how to build it again, and
    where that is written."""

    model: Any
    inputs: Any = None
    build: Callable[[], Any] | None = None
    location: Location | None = None


def load(target: str) -> Target:
    """Import what TARGET names.

    The attribute is a model, `(model, inputs)`, or a callable without arguments that returns
    either; a model is never called. The working directory (or the file's own) can be imported from.

    Raises:
        ArgumentError: TARGET is not written as it should be, or names nothing.
        ModelError: what it names cannot be imported or built, or is no model.
    """
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not attribute:
        raise ArgumentError(
            f"TARGET is {target!r}; expected package.module:attribute or path/to/file.py:attribute, "
            "such as train.py:make_model"
        )
    module = _from_file(Path(place)) if place.endswith(".py") else _from_name(place)
    value = _attribute(module, place, attribute)
    location = line_of(module, attribute)
    if is_model(value):
        return Target(value, location=location)
    if isinstance(value, tuple):
        return Target(*_pair(target, value), location=location)
    if not callable(value):
        raise ModelError(
            f"{target} is a {type(value).__name__}; expected a model, (model, inputs), or a "
            "function that returns one of them"
        )
    model, inputs = _build(target, value)
    return Target(model, inputs, lambda: _build(target, value)[0], location)


def is_model(value: object) -> bool:
    """Is it an instance of a framework's module?"""
    return framework_of(value) is not None


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ArgumentError(f"there is no file {path}; expected path/to/file.py:attribute")
    name = path.stem if path.stem not in sys.modules else f"{path.stem} (target)"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None  # the file ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    _prepend(path.parent)
    sys.modules[name] = module  # what the file defines looks itself up there
    _run(str(path), partial(spec.loader.exec_module, module))
    return module


def _from_name(name: str) -> ModuleType:
    _prepend(Path())
    module: ModuleType = _run(name, partial(importlib.import_module, name))
    return module


def _prepend(folder: Path) -> None:
    if (entry := str(folder.resolve())) not in sys.path:
        sys.path.insert(0, entry)


def _run(what: str, action: Callable[[], Any]) -> Any:
    """Someone else's code: whatever it raises is one line for the person who named it."""
    try:
        return action()
    except ModuleNotFoundError as error:
        raise ModelError(
            f"{what} could not be imported: {error}. Is it spelled as in an import statement, "
            "and installed in this environment?"
        ) from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{what} raised {type(error).__name__}: {error}") from error


def _attribute(module: ModuleType, place: str, path: str) -> Any:
    value: Any = module
    for name in path.split("."):
        if not hasattr(value, name):
            close = difflib.get_close_matches(name, dir(value), n=3)
            hint = f"; did you mean {' or '.join(close)}?" if close else ""
            raise ArgumentError(f"{place} has no attribute {name!r}{hint}")
        value = getattr(value, name)
    return value


def _build(target: str, factory: Callable[[], Any]) -> tuple[Any, Any]:
    value = _run(f"{target}()", factory)
    return _pair(target, value if isinstance(value, tuple) else (value, None))


def _pair(target: str, value: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(value) != 2 or not is_model(value[0]):
        got = ", ".join(type(v).__name__ for v in value if v is not None)
        raise ModelError(f"{target} gave {got or 'None'}; expected a model, or (model, inputs)")
    return value[0], value[1]
