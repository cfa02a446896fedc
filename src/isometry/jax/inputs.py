"""What a model is called with: its arrays apart from everything else, so that they can be traced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from isometry.errors import ArgumentError

__all__ = ["Call", "as_call", "is_array"]


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of a model: `arrays` in order, and where they go in (args, kwargs)."""

    arrays: tuple[Any, ...]
    leaves: tuple[Any, ...]
    places: tuple[int, ...]  # of the arrays among the leaves
    tree: Any

    def arguments(self, arrays: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """(args, kwargs) with other arrays in their places."""
        leaves = list(self.leaves)
        for place, array in zip(self.places, arrays, strict=True):
            leaves[place] = array
        args, kwargs = jax.tree_util.tree_unflatten(self.tree, leaves)
        return args, kwargs

    def __str__(self) -> str:
        shapes = (f"{tuple(a.shape)} {a.dtype}" for a in self.arrays)
        return ", ".join(shapes) or "no array"


def is_array(value: Any) -> bool:
    """An array of JAX's or NumPy's, or the shape of one."""
    return isinstance(value, (jax.Array, jax.ShapeDtypeStruct, np.ndarray))


def as_call(inputs: Any) -> Call:
    """An array is one positional argument, a tuple several, a dict keyword arguments.

    Raises:
        ArgumentError: inputs of another kind.
    """
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}
    if is_array(inputs):
        args = (inputs,)
    elif isinstance(inputs, Mapping):
        kwargs = dict(inputs)
    elif isinstance(inputs, (tuple, list)):
        args = tuple(inputs)
    else:
        raise ArgumentError(
            f"inputs is {type(inputs).__name__}; expected an array, a tuple (positional arguments) "
            "or a dict (keyword arguments)"
        )
    leaves, tree = jax.tree_util.tree_flatten((args, kwargs))
    places = tuple(i for i, leaf in enumerate(leaves) if is_array(leaf))
    return Call(tuple(leaves[i] for i in places), tuple(leaves), places, tree)
