"""What each parameter of a Flax layer is, NNX's and Linen's alike.

    Linear, Dense      kernel (in, out)            -> weight (out, in)
    Conv               kernel (k..., in/g, out)    -> weight (out, in/g, k...)
    ConvTranspose      kernel (k..., in, out)      -> weight (in, out, k...), k running backwards
        transpose_kernel=True    (k..., out, in)   -> weight (in, out, k...)
    LinearGeneral, DenseGeneral, Einsum            -> one matrix (out, in), batch axes first

Further axes in front (layers stacked by vmap or scan) count matrices.
"""

from __future__ import annotations

import math
from typing import Any

from isometry.fan import fans_of
from isometry.graph import Hint
from isometry.jax.layout import Layout, flat, numbers, table
from isometry.types import Axes, Stored

__all__ = ["flax_layout"]


def flax_layout(module: Any, names: list[str], slot: str, shape: tuple[int, ...]) -> Layout | None:
    for name in names:
        if name in ("Linear", "Dense", "DenseParams") and slot in ("kernel", "bias"):
            return _matrix(shape, 1, 1) if slot == "kernel" else flat(shape, 1)
        if name in ("LoRA", "LoRALinear") and slot in ("lora_a", "lora_b"):
            return _matrix(shape, 1, 1)
        if name in ("LinearGeneral", "DenseGeneral"):
            return _general(module, slot, shape)
        if name == "Einsum":
            return _einsum(module, slot, shape)
        if name in ("Conv", "ConvTranspose"):
            return _conv(module, slot, shape, name == "ConvTranspose")
        if name == "Embed" and slot == "embedding":
            return table(shape)
    return None


def _matrix(
    shape: tuple[int, ...], n_in: int, n_out: int, inputs: tuple[int, ...] | None = None,
    outputs: tuple[int, ...] | None = None,
) -> Layout:  # fmt: skip
    """A kernel whose last axes are the inputs, then the outputs, unless told; the others count."""
    ndim = len(shape)
    if inputs is None or outputs is None:
        inputs = tuple(range(ndim - n_in - n_out, ndim - n_out))
        outputs = tuple(range(ndim - n_out, ndim))
    batch = tuple(a for a in range(ndim) if a not in (*inputs, *outputs))
    whole = (
        *(shape[a] for a in batch), math.prod(shape[a] for a in outputs),
        math.prod(shape[a] for a in inputs),
    )  # fmt: skip
    count = len(batch)
    axes = Axes((count + 1,), (count,), tuple(range(count)))
    role = "experts" if batch else "linear"
    hint = Hint(role, axes, fans_of(whole, axes))
    return Layout(whole, Stored(shape, (*batch, *outputs, *inputs)), hint)


def _general(module: Any, slot: str, shape: tuple[int, ...]) -> Layout:
    outs = module.out_features if hasattr(module, "out_features") else module.features
    n_out = len(outs) if isinstance(outs, (tuple, list)) else 1
    axis = module.axis if isinstance(module.axis, (tuple, list)) else (module.axis,)
    return _matrix(shape, len(axis), n_out) if slot == "kernel" else flat(shape, n_out)


def _einsum(module: Any, slot: str, shape: tuple[int, ...]) -> Layout | None:
    equation = (module.einsum_str or "").replace(" ", "").replace("...", "")
    if slot != "kernel":
        return flat(shape, len(shape))
    if "->" not in equation or len(equation.partition("->")[0].partition(",")[2]) != len(shape):
        return None  # given where it is called
    terms, _, out = equation.partition("->")
    signal, _, kernel = terms.partition(",")
    inputs = tuple(i for i, c in enumerate(kernel) if c not in out)
    outputs = tuple(i for i, c in enumerate(kernel) if c in out and c not in signal)
    return _matrix(shape, len(inputs), len(outputs), inputs, outputs)


def _conv(module: Any, slot: str, shape: tuple[int, ...], transposed: bool) -> Layout:
    if slot != "kernel":
        return flat(shape, 1)
    size = module.kernel_size
    k = len(size) if isinstance(size, (tuple, list)) else 1
    front = len(shape) - k - 2
    batch, field = tuple(range(front)), tuple(range(front, front + k))
    first, last = front + k, front + k + 1
    swapped = transposed and not module.transpose_kernel
    rows, columns = (first, last) if swapped else (last, first)
    order = (*batch, rows, columns, *field)
    whole = tuple(shape[a] for a in order)
    axes = (
        Axes((front,), (front + 1,), batch) if transposed else Axes((front + 1,), (front,), batch)
    )
    groups = 1 if transposed else int(module.feature_group_count)
    strides = numbers(module.strides, k)
    hint = Hint(
        "conv_transpose" if transposed else "conv", axes,
        fans_of(whole, axes, groups, strides, transposed),
    )  # fmt: skip
    return Layout(whole, Stored(shape, order, field if swapped else ()), hint)
