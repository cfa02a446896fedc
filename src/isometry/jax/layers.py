"""What each parameter of a Flax or Equinox layer is: from class to PyTorch's layout."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from isometry.errors import ArgumentError
from isometry.fan import fans_of
from isometry.graph import Hint
from isometry.jax.equinox_layers import equinox_layout
from isometry.jax.flax_layers import flax_layout
from isometry.jax.layout import GATES, Layout, gate_bias, gate_blocks, same
from isometry.types import Fans

__all__ = ["Layout", "fans", "is_norm", "layout_of"]

NORMS = ("LayerNorm", "RMSNorm", "BatchNorm", "GroupNorm", "InstanceNorm")
CELLS = ("LSTMCell", "OptimizedLSTMCell", "GRUCell", "SimpleCell", "MGUCell")
LIBRARIES = ("flax", "equinox")


def _names(module: Any) -> list[str]:
    """The library's classes that a module is one of, the nearest first."""
    return [
        c.__name__
        for c in type(module).__mro__
        if c.__module__.partition(".")[0] in LIBRARIES and c.__name__ not in ("Module", "object")
    ]


def is_norm(module: Any) -> bool:
    """A normalisation of Flax or Equinox, whose scale is PyTorch's weight?"""
    return any(name in NORMS for name in _names(module))


def layout_of(
    module: Any, slot: str, shape: tuple[int, ...], parent: Any = None, place: str = ""
) -> Layout:
    """What is known of a parameter from the layer that holds it.

    Args:
        module: the layer; None where nothing is known.
        slot: the parameter's name in it.
        shape: of the array.
        parent: the module that the layer is part of, and `place`, its name there: the cell of a
            recurrent layer holds its gates so.
    """
    names = [] if module is None else _names(module)
    torch_like = any(c.__module__.startswith("equinox") for c in type(module).__mro__)
    if any(n in NORMS for n in names):
        return Layout(
            shape, same(shape), Hint("norm_gain" if slot in ("scale", "weight") else "bias")
        )
    found = (equinox_layout if torch_like else flax_layout)(module, names, slot, shape)
    if found is None:
        return Layout(shape)
    cell = next((n for n in ([] if parent is None else _names(parent)) if n in CELLS), None)
    return _gated(found, slot, place, cell) if cell is not None else found


def _gated(found: Layout, slot: str, place: str, cell: str) -> Layout:
    """A matrix of a recurrent cell: of one gate (ii, hf, ...), or of all (dense_i, dense_h)."""
    gates = GATES.get(cell, ()) if place.startswith("dense_") else ()
    if slot == "bias" or found.hint is None:
        one = place.rstrip("_")[1:] if cell == "LSTMCell" else ""
        return gate_bias(found, gates or ((one,) if one else ()), cell)
    inner = place in ("dense_h",) or (place.startswith("h") and not place.startswith("hidden"))
    role, axes = "recurrent" if inner else "gates", found.hint.axes
    if axes is None or axes.batch_axis:
        return found
    each = (found.shape[0] // max(len(gates), 1), found.shape[1])
    hint = Hint(role, axes, fans_of(each, axes), gate_blocks(gates, found.shape[0]), recurrent=True)
    return Layout(found.shape, found.stored, hint)


def fans(layer: Any, arrays: Mapping[str, tuple[int, ...]]) -> Fans | Mapping[str, Fans]:
    """The fans of a layer's weight; of each weight by name where it has several.

    Args:
        layer: of Flax NNX or Equinox.
        arrays: name -> shape, of the arrays that the layer holds itself.

    Raises:
        ArgumentError: the layer is of a class that is not known.
    """
    found = {}
    for slot, shape in arrays.items():
        hint = layout_of(layer, slot, shape).hint
        if hint is not None and hint.fans is not None:
            found[slot] = hint.fans
    if not found:
        raise ArgumentError(
            f"{type(layer).__name__} is not a layer whose fans are known; pass the shape of its "
            "weight and its axes: fans(kernel.shape, in_axis=-2, out_axis=-1)"
        )
    return next(iter(found.values())) if len(found) == 1 else found
