"""What a value needs of the parts above it, found when it is first used: importing stays cheap, and
no part imports another that rests on it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["late", "require"]


def late(path: str) -> Any:
    """The object of that dotted path."""
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def require(package: str, what: str, install: str) -> None:
    """Raise ImportError, with the line to type, where a framework cannot be imported."""
    try:
        import_module(package)
    except ImportError as error:
        raise ImportError(
            f"{what} needs {package} ({error}); run: pip install {install}"
        ) from error
