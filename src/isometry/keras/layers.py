"""What each variable of a Keras layer is: one table from class to PyTorch's layout.

    Dense               kernel (in, out)                -> weight (out, in)
    EinsumDense         kernel, axes by its equation    -> weight (out, in), batch axes first
    Conv                kernel (k..., in/g, out)        -> weight (out, in/g, k...)
    DepthwiseConv       kernel (k..., in, mult)         -> weight (in mult, 1, k...), a group a channel
    ConvTranspose       kernel (k..., out, in)          -> weight (in, out, k...)
    LSTM, GRU           kernel (in, gates units)        -> weight_ih (gates units, in); i f g o, r z n

Keras counts fans off the last two axes whatever the layer, and so takes a depthwise kernel for a
full one and swaps those of a transposed convolution.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isometry.errors import ArgumentError
from isometry.fan import fans_of
from isometry.graph import Hint, Range
from isometry.types import Axes, Fans, Stored

__all__ = ["Layout", "fans", "is_norm", "layout_of", "library_names", "recurrent_slot"]

NORMS = (
    "LayerNormalization", "RMSNormalization", "GroupNormalization", "BatchNormalization",
)  # fmt: skip
GATES = {"LSTMCell": ("i", "f", "g", "o"), "GRUCell": ("r", "z", "n"), "SimpleRNNCell": ()}
PLACES = {"GRUCell": (1, 0, 2)}  # Keras stacks z r n
_MATRIX = Axes((1,), (0,))


@dataclass(frozen=True, slots=True)
class Layout:
    """A variable in PyTorch's layout: its shape, how the array lies, what its class says of it, and
    PyTorch's word for it where that is no matter of spelling."""

    shape: tuple[int, ...]
    stored: Stored | None = None
    hint: Hint | None = None
    slot: str = ""


def library_names(layer: Any) -> list[str]:
    """Keras's classes that a layer is one of, the nearest first."""
    return [
        c.__name__
        for c in type(layer).__mro__
        if c.__module__.partition(".")[0] == "keras" and c.__name__ not in ("Layer", "Operation")
    ]


def is_norm(layer: Any) -> bool:
    """A normalisation, whose gamma is PyTorch's weight?"""
    return any(name in NORMS for name in library_names(layer))


def recurrent_slot(layer: Any, attribute: str, child: Any, suffix: str) -> str | None:
    """What PyTorch adds to the names of a recurrent layer's parameters: of layer 0, of layer 1, of
    the one that runs backwards. None where the part is none of these."""
    names = library_names(layer)
    back = suffix.removeprefix("_l0")
    if not _is_recurrent(child):
        return None
    if "Bidirectional" in names and attribute in ("forward_layer", "backward_layer"):
        return "_l0_reverse" if attribute == "backward_layer" else "_l0"
    if "StackedRNNCells" in names and attribute.startswith("cells."):
        return f"_l{attribute.partition('.')[2]}{back}"
    return f"_l0{back}" if attribute == "cell" and "RNN" in names else None


def _is_recurrent(layer: Any) -> bool:
    """A cell that PyTorch has too, a stack of such, or a layer that runs one."""
    names = library_names(layer)
    if "RNN" in names:
        return _is_recurrent(layer.cell)
    if "StackedRNNCells" in names:
        return all(_is_recurrent(cell) for cell in layer.cells)
    return any(name in GATES for name in names)


def layout_of(layer: Any, slot: str, shape: tuple[int, ...]) -> Layout:
    """What is known of a variable from the layer that holds it.

    Args:
        layer: that holds the variable.
        slot: Keras's word for the variable.
        shape: of the array.
    """
    for name in library_names(layer):
        if name in NORMS and slot in ("gamma", "scale", "beta"):
            return Layout(shape, None, Hint("bias" if slot == "beta" else "norm_gain"))
        found = _of_class(name, layer, slot, shape)
        if found is not None:
            return found
    return Layout(shape)


def _of_class(name: str, layer: Any, slot: str, shape: tuple[int, ...]) -> Layout | None:
    if name in ("Dense", "EinsumDense", "Embedding") and slot in ("lora_kernel_a", "lora_kernel_b"):
        return _matrix(shape, range(len(shape) - 1), (len(shape) - 1,)) if slot.endswith("a") else (
            _matrix(shape, (0,), range(1, len(shape)))
        )  # fmt: skip
    if name == "Dense":
        return _matrix(shape, (0,), (1,)) if slot == "kernel" else _bias(shape)
    if name == "EinsumDense":
        return _einsum(layer.equation, shape) if slot == "kernel" else _bias(shape)
    if name == "Embedding" and slot == "embeddings":
        axes = Axes((), (1,), (0,))
        return Layout(shape, None, Hint("embedding", axes, Fans(1.0, float(shape[-1]))))
    if name in GATES:
        return _gated(name, layer, slot, shape)
    if name == "PReLU":
        return Layout(shape, slot="weight")
    if slot == "bias" and name.startswith(("Base", "Conv", "Depthwise", "Separable")):
        return _bias(shape)
    if name == "BaseConv":
        return _conv(shape, layer.groups, layer.strides)
    if name == "BaseDepthwiseConv":
        return _depthwise(shape, layer.strides)
    if name == "BaseSeparableConv":
        return (
            _depthwise(shape, layer.strides) if slot == "depthwise_kernel" else _conv(shape, 1, 1)
        )
    if name == "BaseConvTranspose":
        return _transposed(shape, layer.strides)
    if name == "ConvLSTMCell" and slot in ("kernel", "recurrent_kernel"):
        return _conv(shape, 1, layer.strides if slot == "kernel" else 1)
    return None


def _bias(shape: tuple[int, ...]) -> Layout:
    """A bias, whose axes are one of PyTorch's."""
    whole = (math.prod(shape),)
    stored = None if whole == shape else Stored(shape, tuple(range(len(shape))))
    return Layout(whole, stored, Hint("bias"))


def _matrix(shape: tuple[int, ...], inputs: Any, outputs: Any) -> Layout:
    """A kernel by which of its axes are summed over and which index the outputs; others count."""
    ins, outs = tuple(inputs), tuple(outputs)
    batch = tuple(a for a in range(len(shape)) if a not in (*ins, *outs))
    whole = (
        *(shape[a] for a in batch), math.prod(shape[a] for a in outs),
        math.prod(shape[a] for a in ins),
    )  # fmt: skip
    count = len(batch)
    axes = Axes((count + 1,), (count,), tuple(range(count)))
    hint = Hint("experts" if batch else "linear", axes, fans_of(whole, axes))
    return Layout(whole, Stored(shape, (*batch, *outs, *ins)), hint)


def _einsum(equation: str, shape: tuple[int, ...]) -> Layout:
    terms, _, out = equation.replace(" ", "").replace("...", "").partition("->")
    signal, _, kernel = terms.partition(",")
    if len(kernel) != len(shape):
        return Layout(shape)
    ins = tuple(i for i, c in enumerate(kernel) if c not in out)
    outs = tuple(i for i, c in enumerate(kernel) if c in out and c not in signal)
    return _matrix(shape, ins, outs)


def _conv(shape: tuple[int, ...], groups: int, stride: Any) -> Layout:
    field = tuple(range(len(shape) - 2))
    order = (len(shape) - 1, len(shape) - 2, *field)
    whole = tuple(shape[a] for a in order)
    hint = Hint("conv", _MATRIX, fans_of(whole, _MATRIX, groups, stride))
    return Layout(whole, Stored(shape, order), hint)


def _depthwise(shape: tuple[int, ...], stride: Any) -> Layout:
    *size, channels, multiplier = shape
    field = tuple(range(len(size)))
    whole = (channels * multiplier, 1, *size)
    hint = Hint("conv", _MATRIX, fans_of(whole, _MATRIX, channels, stride))
    return Layout(whole, Stored(shape, (len(size), len(size) + 1, *field)), hint)


def _transposed(shape: tuple[int, ...], stride: Any) -> Layout:
    field = tuple(range(len(shape) - 2))
    order = (len(shape) - 1, len(shape) - 2, *field)
    whole, axes = tuple(shape[a] for a in order), Axes((0,), (1,))
    hint = Hint("conv_transpose", axes, fans_of(whole, axes, 1, stride, True))
    return Layout(whole, Stored(shape, order), hint)


def _gated(cell: str, layer: Any, slot: str, shape: tuple[int, ...]) -> Layout:
    gates, places = GATES[cell], PLACES.get(cell, ())
    if slot == "bias":
        pair = len(shape) == 2  # a GRU's two biases, in one array
        blocks = _blocks(gates, shape[-1], len(shape) - 1)
        stored = Stored(shape, tuple(range(len(shape))), (), places, len(shape) - 1)
        word = "bias" if pair else "bias_ih"
        hint = Hint("bias", blocks=blocks, recurrent=bool(gates))
        return Layout(shape, stored if places else None, hint, word)
    inner = slot == "recurrent_kernel"
    whole = (shape[1], shape[0])
    each = (shape[1] // max(len(gates), 1), shape[0])
    hint = Hint(
        "recurrent" if inner else "gates", _MATRIX, fans_of(each, _MATRIX),
        _blocks(gates, shape[1], 0), recurrent=True,
    )  # fmt: skip
    stored = Stored(shape, (1, 0), (), places, 1)
    return Layout(whole, stored, hint, "weight_hh" if inner else "weight_ih")


def _blocks(gates: tuple[str, ...], rows: int, axis: int) -> tuple[Range, ...]:
    size = rows // max(len(gates), 1)
    return tuple(Range(n, axis, i * size, (i + 1) * size) for i, n in enumerate(gates))


def fans(layer: Any, variables: Mapping[str, Any]) -> Fans | Mapping[str, Fans]:
    """The fans of a layer's weight; of each weight by name where it has several.

        fan_in: how many terms one output sums; fan_out: how many outputs one input reaches

    Args:
        layer: of Keras, built.
        variables: name -> (the layer that holds it, Keras's word, shape).

    Raises:
        ArgumentError: the layer is not built, or of a class that is not known.
    """
    found = {}
    for name, (holder, slot, shape) in variables.items():
        hint = layout_of(holder, slot, shape).hint
        if hint is not None and hint.fans is not None:
            found[name] = hint.fans
    if not found:
        why = "is not built; call layer.build(input_shape) first" if not layer.built else (
            "is not a layer whose fans are known; pass the shape of its weight and its axes: "
            "fans(kernel.shape, in_axis=-2, out_axis=-1)"
        )  # fmt: skip
        raise ArgumentError(f"{type(layer).__name__} {why}")
    return next(iter(found.values())) if len(found) == 1 else found
