"""Convolutions as Keras says them, their kernels as PyTorch lays them out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras

from isometry.keras.trace import Step
from isometry.views import View

if TYPE_CHECKING:
    from isometry.keras.reader import Reader

__all__ = ["CONVOLUTIONS"]


def convolution(reader: Reader, step: Step) -> View:
    x, kernel = (reader.view(a) for a in step.args[:2])
    weight = _channels_first(kernel)
    last = _is_last(step)
    groups = x.sizes[-1 if last else 1] // kernel.sizes[-2]
    return _conv(reader, step, x, weight, step.outputs[0], groups)


def depthwise(reader: Reader, step: Step) -> View:
    x, kernel = (reader.view(a) for a in step.args[:2])
    return _conv(reader, step, x, _each_channel(kernel), step.outputs[0], kernel.sizes[-2])


def separable(reader: Reader, step: Step) -> View:
    """A depthwise convolution, then one of single positions."""
    x, kernel, points = (reader.view(a) for a in step.args[:3])
    out, last = step.outputs[0], _is_last(step)
    shape, channels = list(out.shape), kernel.sizes[-1] * kernel.sizes[-2]
    shape[-1 if last else 1] = channels
    between = keras.KerasTensor(tuple(shape), dtype=out.dtype)
    middle = _conv(reader, step, x, _each_channel(kernel), between, kernel.sizes[-2])
    return _conv(reader, step, middle, _channels_first(points), out, 1, plain=True)


def transposed(reader: Reader, step: Step) -> View:
    x, kernel = (reader.view(a) for a in step.args[:2])
    return _conv(reader, step, x, _channels_first(kernel), step.outputs[0], 1, transposed=True)


def _conv(
    reader: Reader, step: Step, x: View, weight: View, out: Any, groups: int, *,
    transposed: bool = False, plain: bool = False,
) -> View:  # fmt: skip
    """`plain`: of single positions, whatever the operation says. Padding that differs before and
    after is an operation of its own."""
    operation, count, last = step.operation, len(out.shape) - 2, _is_last(step)
    size = x.sizes[1:-1] if last else x.sizes[2:]
    taps = weight.sizes[2:]
    stride = (1,) * count if plain else _numbers(operation.strides, count)
    dilation = (1,) * count if plain else _numbers(operation.dilation_rate, count)
    same = operation.padding == "same" and not plain and not transposed
    pads = [_same_padding(*s) if same else (0, 0) for s in zip(size, taps, stride, dilation, strict=True)]  # fmt: skip
    if any(lo != hi for lo, hi in pads):
        x, pads = _padded(reader, x, pads, last, out.dtype), [(0, 0)] * count
        size = x.sizes[1:-1] if last else x.sizes[2:]
    attrs = {
        "stride": stride, "padding": tuple(lo for lo, _ in pads), "dilation": dilation,
        "transposed": transposed, "groups": groups, "size": tuple(size), "kernel": tuple(taps),
    }  # fmt: skip
    before = len(reader.recording.nodes)
    made = reader.recording.apply(
        "conv", [x, weight], attrs, tuple(out.shape), out.dtype, channels_last=last
    )
    return reader.noted(before, out, made)


def _padded(
    reader: Reader, x: View, pads: Sequence[tuple[int, int]], last: bool, dtype: str
) -> View:
    """Zeros around the positions of an image."""
    whole = [(0, 0), *pads, (0, 0)] if last else [(0, 0), (0, 0), *pads]
    sizes = [n + lo + hi for n, (lo, hi) in zip(x.sizes, whole, strict=True)]
    return reader.recording.apply("view", [x], {"pad": tuple(pads)}, sizes, dtype)


def _same_padding(size: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """As TensorFlow pads, so that there is an output for each stride; the odd one goes last."""
    total = max((math.ceil(size / stride) - 1) * stride + dilation * (taps - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def _is_last(step: Step) -> bool:
    own = step.operation.data_format or keras.config.image_data_format()
    return bool(own == "channels_last")


def _numbers(value: Any, count: int) -> tuple[int, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (int(value),) * count


def _channels_first(kernel: View) -> View:
    """(k..., in, out) as (out, in, k...); of a transposed convolution (in, out, k...)."""
    n = len(kernel.sizes)
    return kernel.transpose((n - 1, n - 2, *range(n - 2)))


def _each_channel(kernel: View) -> View:
    """(k..., channels, multiplier) as (channels multiplier, 1, k...)."""
    n = len(kernel.sizes)
    front = kernel.transpose((n - 2, n - 1, *range(n - 2)))
    return front.reshape((front.sizes[0] * front.sizes[1], 1, *front.sizes[2:]))


CONVOLUTIONS: dict[str, Callable[[Reader, Step], View]] = {
    "Conv": convolution, "DepthwiseConv": depthwise, "SeparableConv": separable,
    "ConvTranspose": transposed,
}  # fmt: skip
