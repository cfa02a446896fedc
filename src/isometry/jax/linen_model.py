"""A Flax Linen module with its variables as a function of their arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
from flax import linen as nn
from flax.core import FrozenDict, meta

from isometry.errors import ArgumentError
from isometry.jax.held import Held, Mode, is_abstract
from isometry.jax.inputs import Call
from isometry.jax.scopes import Scopes

__all__ = ["LinenModel", "init_variables"]

KINDS = {"params": "parameter", "batch_stats": "buffer"}


class LinenModel:
    """Parameters are the collection "params", buffers "batch_stats". The variables are values:
    what is returned are new ones. Which module holds a variable is known once the module has run."""

    in_place = False
    runs = True

    def __init__(self, module: nn.Module, variables: Any, init: Call | None = None) -> None:
        self.module = module
        self._init = (
            init  # the call that the variables are to be made for, where they are but shapes
        )
        self.name = type(module).__name__
        self.variables = variables
        self.arrays, self._tree = jax.tree_util.tree_flatten(variables)
        # As jax numbers them: a tree of the same form that holds the numbers.
        numbers = jax.tree_util.tree_unflatten(self._tree, list(range(len(self.arrays))))
        self.modules: dict[tuple[str, ...], Any] = {}
        self.held: list[Held] = []
        for collection, kind in KINDS.items():
            for path, place in _leaves(numbers.get(collection, {})):
                self.held.append(
                    Held(
                        place, self.arrays[place], kind, ["/".join((collection, *path))],
                        ".".join(path[:-1]), path[-1],
                    )
                )  # fmt: skip

    def call(
        self, arrays: Sequence[Any], args: tuple[Any, ...], kwargs: dict[str, Any],
        scopes: Scopes, *, mode: Mode,
    ) -> Any:  # fmt: skip
        variables = jax.tree_util.tree_unflatten(self._tree, list(arrays))
        mutable = [c for c in variables if c != "params"]
        with nn.intercept_methods(self._watch(scopes)):
            out = self.module.apply(
                variables, *args, rngs=_rngs(), mutable=mutable or False, **kwargs
            )
        self._own()
        return out[0] if mutable else out

    def _watch(self, scopes: Scopes) -> Any:
        def intercept(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
            module = context.module
            path = tuple(str(p) for p in module.path)
            self.modules.setdefault(path, module)
            if context.method_name == "setup":
                return method(*args, **kwargs)
            with scopes.entered(module, ".".join(path), args[0] if args else None):
                return method(*args, **kwargs)

        return intercept

    def _own(self) -> None:
        """Note the module of each variable."""
        for held in self.held:
            path = tuple(held.paths[0].split("/")[1:-1])
            held.module = self.modules.get(path)
            held.parent = self.modules.get(path[:-1]) if path else None
        order = {path: i for i, path in enumerate(self.modules)}  # as they ran

        def place(held: Held) -> tuple[bool, int, bool]:
            path = tuple(held.paths[0].split("/")[1:-1])
            return held.kind == "buffer", order.get(path, len(order)), held.slot in ("bias", "var")

        self.held.sort(key=place)

    def values_for(self, written: set[int], seed: int) -> dict[int, Any]:
        """What the plan keeps, of variables that are but shapes: as the module's own init makes it,
        under a fixed key. What is written is not made before."""
        call = self._init
        places = [i for i, a in enumerate(self.arrays) if is_abstract(a) and i not in written]
        if call is None or not places:
            return {}

        def kept(arrays: Sequence[Any]) -> list[Any]:
            args, kwargs = call.arguments(arrays)
            leaves = jax.tree_util.tree_leaves(self.module.init(_rngs(seed), *args, **kwargs))
            return [leaves[i] for i in places]

        return dict(zip(places, jax.jit(kept)(call.arrays), strict=True))

    def replaced(self, arrays: Mapping[int, Any]) -> Any:
        new = [arrays.get(i, a) for i, a in enumerate(self.arrays)]
        lost = [h.names[0] for h in self.held if is_abstract(new[h.index])]
        if lost:
            raise ArgumentError(
                f"{lost[0]} has no value and the plan keeps it; make the variables with module.init "
                "and apply the plan to them, or let isometry.jax.initialize(module, inputs) do both"
            )
        return jax.tree_util.tree_unflatten(self._tree, new)


def _rngs(seed: int = 0) -> dict[str, Any]:
    """Streams for whatever a module draws; the same every time."""
    key = jax.random.key(seed % 2**63)
    return {"params": key, "dropout": jax.random.fold_in(key, 1)}


def init_variables(module: nn.Module, call: Call) -> Any:
    """The shapes of the variables that a module makes for a call; nothing is computed."""

    def init(arrays: Sequence[Any]) -> Any:
        args, kwargs = call.arguments(arrays)
        return module.init(_rngs(), *args, **kwargs)

    return jax.eval_shape(init, call.arrays)


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """(path, number), in the order in which the module made them."""
    if isinstance(tree, meta.AxisMetadata):
        tree = tree.unbox()
    if isinstance(tree, (dict, FrozenDict)):
        for key, child in tree.items():
            yield from _leaves(child, (*path, str(key)))
    else:
        for number in jax.tree_util.tree_leaves(tree):
            yield path, number
