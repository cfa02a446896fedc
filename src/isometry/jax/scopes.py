"""Which module runs while a model is traced: its path, as the name of a scope on every equation.

JAX keeps the names of scopes with the equations that were made in them, through vmap and remat.
While a model is traced, each call of a module has a scope of its own. A normalisation and a dropout
are thereby known as such, though what they compute is written out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import jax

from isometry.jax.program import MARK

__all__ = ["Call", "Scopes", "watched"]

# Class, whatever its package -> the kind of normalisation.
NORMS = {
    "LayerNorm": "layer", "RMSNorm": "rms", "BatchNorm": "batch", "GroupNorm": "group",
    "InstanceNorm": "group",
}  # fmt: skip
LIBRARIES = ("flax", "equinox")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a module: its path, and what it does as a whole ("norm", "dropout" or "")."""

    path: str
    op: str = ""
    attrs: Mapping[str, Any] = field(default_factory=dict)


class Scopes:
    """The calls seen while a model was traced, by the name of their scope."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}

    def of(self, mark: str) -> Call:
        """The call of a scope's name, as a step has it."""
        return self.calls[mark.partition("#")[0]]

    @contextmanager
    def entered(self, module: Any, path: str, argument: Any = None) -> Iterator[None]:
        """Give what is traced meanwhile the scope of one call of a module."""
        mark = f"{MARK}{len(self.calls)}"
        self.calls[mark] = Call(path, *_whole(module, argument))
        with jax.named_scope(mark):
            yield


def _whole(module: Any, argument: Any) -> tuple[str, dict[str, Any]]:
    """What a module of a library does that is written out operation by operation."""
    for cls in type(module).__mro__:
        if cls.__module__.partition(".")[0] not in LIBRARIES:
            if "__call__" in cls.__dict__:
                return "", {}  # it does something of its own
            continue
        if cls.__name__ == "Dropout":
            return "dropout", {}
        kind = NORMS.get(cls.__name__)
        if kind is not None:
            eps = getattr(module, "epsilon", getattr(module, "eps", 0.0))
            attrs = {"kind": kind, "eps": float(eps)}
            if kind == "group":
                attrs["channels"] = _grouped(module, argument)
            return "norm", attrs
    return "", {}


def _grouped(module: Any, argument: Any) -> int:
    """Channels in a group."""
    size = getattr(module, "group_size", None)
    groups = getattr(module, "num_groups", getattr(module, "groups", None))
    if size:
        return int(size)
    channels = getattr(module, "num_features", getattr(module, "channels", None))
    if channels is None:
        channels = argument.shape[-1]
    return 1 if groups is None else int(channels) // int(groups)


@contextmanager
def watched(
    classes: Iterator[type] | list[type], path_of: Callable[[Any], str | None], scopes: Scopes
) -> Iterator[None]:
    """Put a scope around every call of an instance of these classes; afterwards they are as before.

    Args:
        classes: of modules; those without a `__call__` of their own are left out.
        path_of: a module's path; None where it is not one of the model's.
        scopes: where the calls are noted.
    """
    with ExitStack() as undo:
        for cls in dict.fromkeys(classes):
            own = cls.__dict__.get("__call__")
            if own is not None:
                type.__setattr__(cls, "__call__", _scoped(own, path_of, scopes))
                undo.callback(type.__setattr__, cls, "__call__", own)
        yield


def _scoped(own: Any, path_of: Callable[[Any], str | None], scopes: Scopes) -> Any:
    inside: list[int] = []  # modules whose call runs: one that calls its base class's enters once

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        function = own.__get__(self, type(self)) if hasattr(own, "__get__") else own
        path = path_of(self)
        if path is None and _whole(self, args[0] if args else None)[0]:
            path = ""  # a copy, as nnx.remat and nnx.jit make: what it does is known all the same
        if path is None or id(self) in inside:
            return function(*args, **kwargs)
        inside.append(id(self))
        try:
            with scopes.entered(self, path, args[0] if args else None):
                return function(*args, **kwargs)
        finally:
            inside.pop()

    return call
