"""An Equinox module, or a function with a tree of arrays, as a function of the arrays."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from isometry.errors import ArgumentError
from isometry.jax.held import Held, Mode
from isometry.jax.inputs import is_array
from isometry.jax.scopes import Scopes, watched
from isometry.types.names import dotted

__all__ = ["EquinoxModel", "TreeModel"]


class TreeModel:
    """A tree of arrays, and the function that reads it where one was given: function(tree, ...).
    Every array of floating-point numbers is a parameter; a new tree is returned."""

    in_place = False

    def __init__(self, tree: Any, function: Callable[..., Any] | None = None) -> None:
        self.tree = tree
        self.function = function
        self.runs = function is not None
        self.name = getattr(function, "__name__", type(tree).__name__)
        paths, self._tree = jax.tree_util.tree_flatten_with_path(tree)
        self._leaves = [leaf for _, leaf in paths]
        self._places = [i for i, leaf in enumerate(self._leaves) if is_array(leaf)]
        self.arrays = [self._leaves[i] for i in self._places]
        found: dict[int, Held] = {}
        for index, place in enumerate(self._places):
            path, array = paths[place]
            name = jax.tree_util.keystr(path).lstrip(".")
            tied = found.get(id(array))
            if tied is not None:
                tied.paths.append(name)
            elif self._is_parameter(array):
                owner, _, slot = dotted(name).rpartition(".")
                found[id(array)] = Held(index, array, "parameter", [name], owner, slot)
        self.held = list(found.values())

    def _is_parameter(self, array: Any) -> bool:
        return bool(jnp.issubdtype(array.dtype, jnp.inexact))

    def with_arrays(self, arrays: Sequence[Any]) -> Any:
        """The tree with these arrays."""
        leaves = list(self._leaves)
        for place, array in zip(self._places, arrays, strict=True):
            leaves[place] = array
        return jax.tree_util.tree_unflatten(self._tree, leaves)

    def call(
        self, arrays: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any],
        scopes: Scopes, *, mode: Mode,
    ) -> Any:  # fmt: skip
        if self.function is None:
            raise ArgumentError(
                f"a {type(self.tree).__name__} of arrays has no call of its own; pass (function, "
                "tree), function(tree, *inputs) being the forward pass"
            )
        return self.function(self.with_arrays(arrays), *args, **kwargs)

    def replaced(self, arrays: Mapping[int, Any]) -> Any:
        tied = {id(a): arrays[i] for i, a in enumerate(self.arrays) if i in arrays}
        return self.with_arrays([tied.get(id(a), a) for a in self.arrays])


class EquinoxModel(TreeModel):
    """An Equinox module. Its call is written for one sample: where the inputs do not fit it as
    they are, it is mapped over their first axis, as `jax.vmap(model)` does. Arrays of floating-
    point numbers are parameters. A state (`eqx.nn.State`) among the inputs is passed to every
    sample, and batch normalisation runs over the axis that is named "batch"."""

    def __init__(self, module: Any) -> None:
        super().__init__(module)
        self.runs = True
        self.name = type(module).__name__
        owners = {path: (m, parent) for path, m, parent in _modules(module)}
        for held in self.held:
            held.module, held.parent = owners.get(held.owner, (None, None))

    def call(
        self, arrays: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any],
        scopes: Scopes, *, mode: Mode,
    ) -> Any:  # fmt: skip
        import equinox as eqx

        module = self.with_arrays(arrays)
        if mode != "given":
            module = eqx.nn.inference_mode(module)
        paths: dict[int, str] = {}
        classes: list[type] = []
        for path, part, _ in _modules(module):
            paths.setdefault(id(part), path)
            classes += [c for c in type(part).__mro__ if issubclass(c, eqx.Module)]
        with watched(classes, lambda m: paths.get(id(m)), scopes):
            try:
                return module(*args, **kwargs)
            except (TypeError, ValueError, AssertionError, IndexError) as error:
                mapped = _mapped(module, args, kwargs)
                if mapped is None:
                    raise
                try:
                    return mapped()
                except (TypeError, ValueError, AssertionError, IndexError):
                    raise error from None


def _mapped(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The call over the first axis of its arrays; None where it has none."""
    import equinox as eqx

    stateful = [isinstance(a, eqx.nn.State) for a in args]
    axes = tuple(None if s else 0 for s in stateful)
    arrays = [a for a in jax.tree_util.tree_leaves(args) if is_array(a)]
    if not arrays or not any(getattr(a, "ndim", 0) for a in arrays):
        return None
    out = (0, None) if any(stateful) else 0
    run: Any = jax.vmap(
        lambda *a: module(*a, **kwargs), in_axes=axes, out_axes=out, axis_name="batch"
    )
    return lambda: run(*args)


def _modules(node: Any, path: str = "", parent: Any = None) -> Iterator[tuple[str, Any, Any]]:
    """(path, module, the module that holds it), in the order of the fields."""
    import equinox as eqx

    if isinstance(node, eqx.Module):
        yield path, node, parent
        for field in dataclasses.fields(node):
            child = getattr(node, field.name, None)
            yield from _modules(child, f"{path}.{field.name}" if path else field.name, node)
    elif isinstance(node, dict):
        for key, child in node.items():
            yield from _modules(child, f"{path}.{key}", parent)
    elif isinstance(node, (list, tuple)):
        for i, child in enumerate(node):
            yield from _modules(child, f"{path}.{i}", parent)
