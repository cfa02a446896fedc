"""What each parameter of an Equinox layer is: as PyTorch has it, all but ConvTranspose, whose weight
is (out, in/g, k...) and runs backwards."""

from __future__ import annotations

from typing import Any

from isometry.fan import fans_of
from isometry.graph import Hint
from isometry.jax.layout import (
    GATES,
    Layout,
    flat,
    gate_bias,
    gate_blocks,
    numbers,
    same,
    table,
)
from isometry.types import Axes, Stored

__all__ = ["equinox_layout"]


def equinox_layout(
    module: Any, names: list[str], slot: str, shape: tuple[int, ...]
) -> Layout | None:
    for name in names:
        if name == "Embedding":
            return table(shape)
        if name == "Linear":
            axes = Axes((len(shape) - 1,), (len(shape) - 2,), tuple(range(len(shape) - 2)))
            if slot == "bias":
                return flat(shape, 1)
            return Layout(shape, same(shape), Hint("linear", axes, fans_of(shape, axes)))
        if name in ("Conv", "ConvTranspose"):
            if slot == "bias":
                return flat(shape, len(shape))
            return _equinox_conv(module, shape, name == "ConvTranspose")
        if name in ("GRUCell", "LSTMCell"):
            if slot == "bias" or slot == "bias_n":
                gates = GATES[name] if slot == "bias" else ()
                return gate_bias(Layout(shape, same(shape)), gates, name)
            axes = Axes((1,), (0,))
            each = (shape[0] // len(GATES[name]), shape[1])
            role = "recurrent" if slot == "weight_hh" else "gates"
            blocks = gate_blocks(GATES[name], shape[0])
            return Layout(
                shape, same(shape), Hint(role, axes, fans_of(each, axes), blocks, recurrent=True)
            )
    return None


def _equinox_conv(module: Any, shape: tuple[int, ...], transposed: bool) -> Layout | None:
    k, groups = module.num_spatial_dims, int(module.groups)
    stride = numbers(module.stride, k)
    if not transposed:
        axes = Axes((1,), (0,))
        return Layout(shape, same(shape), Hint("conv", axes, fans_of(shape, axes, groups, stride)))
    if groups > 1:  # PyTorch's (in, out/groups) is no reordering of whole axes
        return None
    order = (1, 0, *range(2, 2 + k))
    whole, axes = tuple(shape[a] for a in order), Axes((0,), (1,))
    hint = Hint("conv_transpose", axes, fans_of(whole, axes, 1, stride, True))
    return Layout(whole, Stored(shape, order, tuple(range(2, 2 + k))), hint)
