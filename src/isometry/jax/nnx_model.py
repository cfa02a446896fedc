"""A Flax NNX module as a function of its arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from flax import nnx
from flax.nnx import graph

from isometry.errors import MaterialiseError
from isometry.jax.held import Held, Mode, is_abstract
from isometry.jax.scopes import Scopes, watched

__all__ = ["NNXModel"]

INTERNAL = ("_pytree__state", "_pytree__nodes", "_length")


class NNXModel:
    """Parameters are the variables of kind nnx.Param, buffers those of kind nnx.BatchStat; others
    (the state of random streams, caches) are the model's own affair. Written in place."""

    in_place = True
    runs = True

    def __init__(self, module: nnx.Module) -> None:
        self.module = module
        self.name = type(module).__name__
        self._graphdef, state = nnx.split(module)
        self.arrays, self._tree = jax.tree_util.tree_flatten(state)
        flat = nnx.to_flat_state(state)
        index = {_dotted(path): i for i, (path, _) in enumerate(flat)}
        paths = list(_variables(module))
        # A tied variable is in the state once, under one of its paths.
        places = {id(v): index[_dotted(p)] for p, v, _, _ in paths if _dotted(p) in index}
        self.variables: dict[int, Any] = {}
        found: dict[int, Held] = {}
        for path, variable, owner, parent in paths:
            kind, name = _kind(variable), _dotted(path)
            if id(variable) in found:
                found[id(variable)].paths.append(name)
            elif kind is not None:
                place = places[id(variable)]
                self.variables[place] = variable
                found[id(variable)] = Held(
                    place, self.arrays[place], kind, [name], _dotted(path[:-1]), str(path[-1]),
                    owner, parent,
                )  # fmt: skip
        self.held = sorted(found.values(), key=lambda h: h.kind == "buffer")

    def call(
        self, arrays: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any],
        scopes: Scopes, *, mode: Mode,
    ) -> Any:  # fmt: skip
        module = nnx.merge(self._graphdef, jax.tree_util.tree_unflatten(self._tree, list(arrays)))
        if mode != "given":
            module.eval()  # type: ignore[no-untyped-call]
        if mode == "calibration":
            for _, part in [((), module), *_modules(module)]:
                if isinstance(part, nnx.BatchNorm):
                    part.use_running_average = False
        paths: dict[int, str] = {id(module): ""}
        classes = {type(module)}
        for path, node in _modules(module):
            paths.setdefault(id(node), _dotted(path))
            classes.update(c for c in type(node).__mro__ if issubclass(c, nnx.Module))
        classes.update(c for c in type(module).__mro__ if issubclass(c, nnx.Module))
        with watched(list(classes), lambda m: paths.get(id(m)), scopes):
            return module(*args, **kwargs)

    def replaced(self, arrays: Mapping[int, Any]) -> nnx.Module:
        for place, array in arrays.items():
            self.variables[place].set_value(array)
        return self.module

    def values_for(self, written: set[int], seed: int) -> dict[int, Any]:
        """Values for what has none and is not written: running statistics, random streams.

        Raises:
            MaterialiseError: something else has no value.
        """
        made: dict[int, Any] = {}
        lost = []
        for place, (path, variable) in enumerate(_first_paths(self.module)):
            array = variable.get_value()
            if not is_abstract(array) or place in written:
                continue
            value = _recreated(path, variable, array, seed)
            if value is None:
                lost.append(_dotted(path))
            else:
                made[place] = value
                self.variables[place] = variable
        if lost:
            raise MaterialiseError(
                f"{', '.join(lost[:5])}{', ...' if len(lost) > 5 else ''}: kept by the plan, and "
                "without a value to keep; build the model without nnx.eval_shape, or give a law "
                "with overrides={...}"
            )
        return made


def _first_paths(module: Any) -> list[tuple[tuple[Any, ...], Any]]:
    """The variables in the order of the state's leaves."""
    _, state = nnx.split(module)
    by_path = {_dotted(p): v for p, v, _, _ in _variables(module)}
    return [(p, by_path[_dotted(p)]) for p, _ in nnx.to_flat_state(state)]


def _recreated(path: tuple[Any, ...], variable: Any, array: Any, seed: int) -> Any:
    if isinstance(variable, nnx.BatchStat):
        fill = jax.numpy.ones if str(path[-1]) == "var" else jax.numpy.zeros
        return fill(array.shape, array.dtype)
    if isinstance(variable, nnx.RngCount):
        return jax.numpy.zeros(array.shape, array.dtype)
    if isinstance(variable, nnx.RngKey):
        impl = str(jax.random.key_impl(array)) if hasattr(array, "dtype") else None
        return jax.random.key(seed % 2**63, impl=impl) if not array.shape else None
    return None


def _kind(variable: Any) -> str | None:
    if isinstance(variable, nnx.Param):
        return "parameter"
    return "buffer" if isinstance(variable, nnx.BatchStat) else None


def _dotted(path: Sequence[Any]) -> str:
    return ".".join(str(p) for p in path)


def _children(node: Any) -> Iterator[tuple[Any, Any]]:
    """A node's children, modules' in the order in which they were set."""
    children = graph.get_node_impl(node).node_dict(node)  # type: ignore[union-attr]
    order = {k: i for i, k in enumerate(vars(node))} if isinstance(node, nnx.Module) else {}
    for key in sorted(children, key=lambda k: order.get(str(k), -1)):
        if key not in INTERNAL:
            yield key, children[key]


def _variables(
    node: Any, path: tuple[Any, ...] = (), owner: Any = None, parent: Any = None,
    above: tuple[int, ...] = (),
) -> Iterator[tuple[tuple[Any, ...], Any, Any, Any]]:  # fmt: skip
    """(path, variable, the module that holds it, the module that holds that), all paths."""
    if id(node) in above:
        return
    is_module = isinstance(node, nnx.Module) and not isinstance(node, (nnx.List, nnx.Dict))
    own, holder = (node, owner) if is_module else (owner, parent)
    for key, child in _children(node):
        if isinstance(child, nnx.Variable):
            yield (*path, key), child, own, holder
        elif graph.is_node(child):
            yield from _variables(child, (*path, key), own, holder, (*above, id(node)))


def _modules(
    node: Any, path: tuple[Any, ...] = (), above: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if id(node) in above:
        return
    for key, child in _children(node):
        if graph.is_node(child) and not isinstance(child, nnx.Variable):
            if isinstance(child, nnx.Module):
                yield (*path, key), child
            yield from _modules(child, (*path, key), (*above, id(node)))
