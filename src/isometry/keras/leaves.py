"""A model's variables as leaves of its graph."""

from __future__ import annotations

import math
from typing import Any

import keras

from isometry.graph import Leaf
from isometry.keras.gradients import on_host
from isometry.keras.layers import Layout
from isometry.keras.structure import Owned

__all__ = ["constant_value", "leaf_of"]

LARGE = 1 << 16  # elements


def leaf_of(entry: Owned, layout: Layout, value: int) -> Leaf:
    """The leaf of a variable, whose value in the graph is this."""
    parameter = entry.kind == "parameter"
    return Leaf(
        name=entry.names[0],
        aliases=tuple(entry.names[1:]),
        kind=entry.kind,
        shape=layout.shape,
        dtype=keras.backend.standardize_dtype(entry.variable._dtype),
        value=value,
        owner=type(entry.layer).__name__,
        owner_name=entry.owner,
        slot=entry.names[0].rpartition(".")[2],
        trainable=parameter and bool(entry.variable.trainable),
        constant=constant_value(entry.variable),
        hint=layout.hint,
        stored=layout.stored,
    )


def constant_value(variable: Any) -> float | None:
    """The finite value all elements share; None where they share none, or it is not known."""
    dtype = keras.backend.standardize_dtype(variable._dtype)
    if not dtype.startswith(("float", "bfloat")) or 0 in tuple(variable.shape):
        return None
    array = variable.value
    # Most tensors differ within the first elements: of a large one look at a few before all.
    large = math.prod(variable.shape) > LARGE and len(variable.shape) > 1
    for part in (array[0], array) if large else (array,):
        host = on_host(part).reshape(-1)
        if not bool((host == host[0]).all()):
            return None
    value = float(host[0])
    return value if math.isfinite(value) else None
