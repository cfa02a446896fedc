"""From axes, groups and stride to fans: what a tensor's shape alone cannot tell.

fan_in is the number of terms one output sums, fan_out the number of outputs that one input
reaches (equally, the number of terms one input's gradient sums). Both are effective counts: with
a stride s, only one output in s^d sees a given kernel position, so a stride divides.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

from isometry.errors import ArgumentError
from isometry.types import Axes, Fans
from isometry.types._late import late

__all__ = ["AxisArgument", "fans", "fans_of", "normalise_axes"]

AxisArgument = int | Sequence[int]


def fans(
    layer_or_shape: Any,
    in_axis: AxisArgument = -2,
    out_axis: AxisArgument = -1,
    batch_axis: AxisArgument = (),
    groups: int = 1,
    stride: int | Sequence[int] = 1,
) -> Fans | Mapping[str, Fans]:
    """The fans of a layer, or of a weight's shape whose axes are named.

        fan_in  = in * receptive field                       one output sums so many terms
        fan_out = out / groups * receptive field / stride^d  one input reaches so many outputs

    Args:
        layer_or_shape: a layer of a supported framework, which says everything else itself; or
            the shape of a weight, a tuple of integers.
        in_axis: the axis (or axes) summed over; for grouped convolutions the size per group.
        out_axis: the axis (or axes) of the outputs.
        batch_axis: axes that count independent matrices, such as experts. Every axis not named is
            receptive field.
        groups: of a convolution.
        stride: of a convolution, one number or one for each axis of the receptive field.

    Returns:
        Fans(fan_in, fan_out); for a layer with several weights, a mapping from name to Fans.

    Raises:
        ArgumentError: an axis is out of range, missing or named twice; groups or stride do not
            fit; the layer is not known, or axes are given for a layer.

    Example:
        >>> fans((256, 128))
        Fans(fan_in=256.0, fan_out=128.0)
        >>> fans((64, 1, 3, 3), in_axis=1, out_axis=0, groups=64)  # depthwise
        Fans(fan_in=9.0, fan_out=9.0)

    Source: LeCun et al. 1998; Glorot & Bengio 2010, eq. 10-11; He et al. 2015, sec. 2.2.

    PyTorch reads axes (1, 0) off any shape and leaves groups out of fan_out; JAX and Keras read
    (-2, -1). None of them divides by a stride.
    """
    if isinstance(layer_or_shape, Sequence) and not isinstance(layer_or_shape, str):
        shape = _checked_shape(layer_or_shape)
        axes = normalise_axes(shape, in_axis, out_axis, batch_axis)
        return fans_of(shape, axes, groups=groups, stride=stride)
    if (in_axis, out_axis, batch_axis, groups, stride) != (-2, -1, (), 1, 1):
        raise ArgumentError(
            f"a {type(layer_or_shape).__name__} says its own axes, groups and stride; pass the "
            "layer alone, or the shape of its weight with the axes"
        )
    found: Fans | Mapping[str, Fans] = late("isometry.adapters.adapter_for")(layer_or_shape).fans(
        layer_or_shape
    )
    return found


def fans_of(
    shape: Sequence[int],
    axes: Axes,
    groups: int = 1,
    stride: int | Sequence[int] = 1,
    transposed: bool = False,
) -> Fans:
    """The fans of a weight whose axes are known.

        convolution             fan_in = in * k           fan_out = out / groups * k / stride^d
        transposed convolution  fan_in = in / groups * k / stride^d        fan_out = out * k

    where `in` and `out` are the sizes of the axes as they lie in the tensor (a grouped
    convolution's weight is (out, in/groups, k...), a transposed one's (in, out/groups, k...)) and
    k is the size of the receptive field, every axis not named.

    Args:
        shape: of the weight.
        axes: what its axes are for. A table that is looked up has no in_axis: each output sums
            one term, so `Axes(in_axis=(), out_axis=(1,), batch_axis=(0,))`.
        groups: of a convolution whose groups share an axis with the channels.
        stride: one number or one for each axis of the receptive field.
        transposed: True for a transposed convolution.

    Returns:
        Fans(fan_in, fan_out).

    Raises:
        ArgumentError: groups does not divide the channels, or a stride is not positive.

    Example:
        >>> fans_of((64, 32, 4, 4), Axes(in_axis=(0,), out_axis=(1,)), stride=2, transposed=True)
        Fans(fan_in=256.0, fan_out=512.0)
    """
    named = {*axes.in_axis, *axes.out_axis, *axes.batch_axis}
    field = [size for axis, size in enumerate(shape) if axis not in named]
    n_in = math.prod(shape[a] for a in axes.in_axis)
    n_out = math.prod(shape[a] for a in axes.out_axis)
    k = math.prod(field)
    shared, role = (n_in, "in") if transposed else (n_out, "out")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or shared % groups:
        raise ArgumentError(
            f"groups={groups!r} does not divide the {shared} {role} channels of shape "
            f"{tuple(shape)}; expected the layer's own `groups`"
        )
    steps = [stride] * len(field) if isinstance(stride, int) else list(stride)
    if len(steps) != len(field) or any(isinstance(s, bool) or s < 1 for s in steps):
        raise ArgumentError(
            f"stride={stride!r} for a receptive field of {len(field)} axes (shape {tuple(shape)}); "
            "expected a positive integer, or one for each of those axes"
        )
    density = math.prod(steps)
    if transposed:
        return Fans(n_in / groups * k / density, float(n_out * k))
    return Fans(float(n_in * k), n_out / groups * k / density)


def normalise_axes(
    shape: Sequence[int],
    in_axis: AxisArgument = -2,
    out_axis: AxisArgument = -1,
    batch_axis: AxisArgument = (),
) -> Axes:
    """Axes as JAX takes them (negative, an integer or several) as non-negative positions.

    Raises:
        ArgumentError: an axis is not one of the shape's, or is named twice.

    Example:
        >>> normalise_axes((3, 3, 16, 32))
        Axes(in_axis=(2,), out_axis=(3,), batch_axis=())
    """
    given = {"in_axis": in_axis, "out_axis": out_axis, "batch_axis": batch_axis}
    found = {name: _positions(shape, name, value) for name, value in given.items()}
    everything = [a for axes in found.values() for a in axes]
    twice = sorted({a for a in everything if everything.count(a) > 1})
    if twice:
        raise ArgumentError(
            f"axis {twice[0]} of shape {tuple(shape)} is named twice: in_axis={in_axis}, "
            f"out_axis={out_axis}, batch_axis={batch_axis}. Name each axis once; an axis left out "
            "is receptive field, one that counts independent matrices is batch_axis"
        )
    return Axes(**found)


def _positions(shape: Sequence[int], name: str, value: AxisArgument) -> tuple[int, ...]:
    axes = (value,) if isinstance(value, int) else tuple(value)
    for axis in axes:
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise ArgumentError(f"{name}={value!r}: expected an integer, or a tuple of integers")
        if not -len(shape) <= axis < len(shape):
            raise ArgumentError(
                f"{name}={value!r} does not exist in shape {tuple(shape)}, which has {len(shape)} "
                f"{'axis' if len(shape) == 1 else 'axes'}. Fans need an in and an out axis: name "
                "axes that the array has (in_axis=, out_axis=, () for none), or choose a law that "
                "needs no fans, such as normal(std=0.02) or zeros"
            )
    return tuple(axis % len(shape) for axis in axes)


def _checked_shape(shape: Sequence[Any]) -> tuple[int, ...]:
    try:
        sizes = tuple(operator.index(n) for n in shape if not isinstance(n, bool))
    except TypeError:
        sizes = ()
    if len(sizes) != len(shape) or any(n < 0 for n in sizes):
        raise ArgumentError(f"shape {shape!r}: expected a tuple of non-negative integers")
    return sizes
