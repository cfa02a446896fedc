"""A model's parameters and buffers as leaves of its graph."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from isometry.fan import fans_of
from isometry.graph import Hint, Leaf
from isometry.jax.held import Held, Model, is_abstract
from isometry.jax.layers import Layout
from isometry.jax.program import Program, Step
from isometry.jax.trace import Reader
from isometry.types import Axes, Stored

__all__ = ["adopt", "leaf_of", "used_as"]

CASTS = ("convert_element_type", "copy", "reduce_precision")


def used_as(program: Program, place: int, shape: tuple[int, ...]) -> Layout | None:
    """The layout of a parameter of a model's own that a convolution reads as its kernel."""
    shown = {program.inputs[place]}
    for step in _all(program.steps):
        if step.op in CASTS and step.inputs[0] in shown:
            shown.add(step.outputs[0])
        elif step.op == "conv_general_dilated" and step.inputs[1] in shown:
            rhs = tuple(step.params["dimension_numbers"][1])
            stride = tuple(step.params["lhs_dilation"])
            if any(d > 1 for d in stride) and step.params["feature_group_count"] == 1:
                return _transposed(shape, rhs, stride)
            return Layout(tuple(shape[a] for a in rhs), Stored(shape, rhs))
    return None


def _transposed(shape: tuple[int, ...], rhs: tuple[int, ...], stride: tuple[int, ...]) -> Layout:
    """The kernel of a convolution over a dilated signal: PyTorch's runs the other way."""
    order = (rhs[1], rhs[0], *rhs[2:])
    whole, axes = tuple(shape[a] for a in order), Axes((0,), (1,))
    hint = Hint("conv_transpose", axes, fans_of(whole, axes, 1, stride, True))
    return Layout(whole, Stored(shape, order, rhs[2:]), hint)


def _all(steps: list[Step]) -> list[Step]:
    return [s for step in steps for s in (step, *(t for b in step.inside for t in _all(b.steps)))]


def adopt(reader: Reader, model: Model, program: Program) -> tuple[Leaf, ...]:
    """Make every array that the model holds a value of the graph; the leaves."""
    leaves = []
    for held in model.held:
        layout = held.layout
        if layout.hint is None and held.kind == "parameter":
            layout = used_as(program, held.index, layout.shape) or layout
        dtype, value = str(held.array.dtype), program.inputs[held.index]
        if held.kind == "buffer":
            view = reader.recording.constant(layout.shape, dtype)
        else:
            view = reader.recording.parameter(layout.shape, dtype, held.owner, layout.stored)
            hint = layout.hint
            if hint is not None and hint.role == "conv_transpose":
                reader.transposed_kernels.add(view.root)
            if hint is not None and hint.role == "bias":
                reader.biases.add(view.root)
        reader.views[value] = view
        leaves.append(leaf_of(held, layout, view.root))
    return tuple(leaves)


def leaf_of(held: Held, layout: Layout, value: int) -> Leaf:
    """The leaf of an array, whose value in the graph is this."""
    names = held.names
    stored = layout.stored
    if stored is not None and stored == Stored(layout.shape, tuple(range(len(layout.shape)))):
        stored = None
    return Leaf(
        name=names[0],
        aliases=tuple(names[1:]),
        kind=held.kind,
        shape=layout.shape,
        dtype=str(held.array.dtype),
        value=value,
        owner=layout.owner or ("" if held.module is None else type(held.module).__name__),
        owner_name=held.owner,
        slot=layout.slot or names[0].rpartition(".")[2],
        trainable=held.kind == "parameter",
        on_meta=is_abstract(held.array),
        constant=constant_value(held.array),
        hint=layout.hint,
        stored=stored,
    )


def constant_value(array: Any) -> float | None:
    """The finite value all elements share; None where they share none, or it is not known."""
    if is_abstract(array) or not array.size or not jnp.issubdtype(array.dtype, jnp.floating):
        return None
    if isinstance(array, jax.Array) and not array.is_fully_addressable:
        return None
    # Most tensors differ within the first elements: look at a few before looking at all.
    first = array[(0,) * array.ndim]
    head = array[0] if array.ndim > 1 else array
    if not bool((head == first).all()) or not bool((array == first).all()):
        return None
    value = float(np.asarray(first))
    return value if math.isfinite(value) else None
