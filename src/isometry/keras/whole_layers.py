"""Layers whose own call symbols cannot follow, or that are one operation of the graph.

Recurrent layers hand their steps to a loop of the backend: here the cell runs step by step. Batch
and group normalisation, which Keras writes out, are one operation each; what they compute while a
model is measured is what they compute in a training step: statistics of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

__all__ = ["BatchNormalised", "Fixed", "GroupNormalised", "rule_for"]


class BatchNormalised(keras.Operation):  # type: ignore[misc]
    """(x - mean) / sqrt(variance + eps) over all axes but one, by the batch's own statistics."""

    def __init__(self, axis: int, epsilon: float) -> None:
        super().__init__()
        self.axis, self.epsilon = axis, epsilon

    def call(self, x: Any, gamma: Any = None, beta: Any = None) -> Any:
        axes = [a for a in range(len(x.shape)) if a != self.axis % len(x.shape)]
        shape = [1 if a in axes else n for a, n in enumerate(x.shape)]
        wide = ops.cast(x, "float32") if x.dtype != "float64" else x
        mean, variance = ops.moments(wide, axes=axes, keepdims=True)
        out = (wide - mean) * ops.rsqrt(variance + self.epsilon)
        out = out if gamma is None else out * ops.reshape(gamma, shape)
        out = out if beta is None else out + ops.reshape(beta, shape)
        return ops.cast(out, x.dtype)

    def compute_output_spec(self, x: Any, gamma: Any = None, beta: Any = None) -> Any:
        return keras.KerasTensor(x.shape, dtype=x.dtype)


class GroupNormalised(BatchNormalised):
    """The same over positions and the channels of a group."""

    def __init__(self, axis: int, epsilon: float, groups: int) -> None:
        super().__init__(axis, epsilon)
        self.groups = groups

    def call(self, x: Any, gamma: Any = None, beta: Any = None) -> Any:
        axis, shape = self.axis % len(x.shape), list(x.shape)
        apart = [*shape[:axis], self.groups, shape[axis] // self.groups, *shape[axis + 1 :]]
        own = [n if a == axis else 1 for a, n in enumerate(shape)]
        wide = ops.reshape(ops.cast(x, "float32"), apart)
        axes = [a for a in range(1, len(apart)) if a != axis]
        mean, variance = ops.moments(wide, axes=axes, keepdims=True)
        out = ops.reshape((wide - mean) * ops.rsqrt(variance + self.epsilon), shape)
        out = out if gamma is None else out * ops.reshape(gamma, own)
        out = out if beta is None else out + ops.reshape(beta, own)
        return ops.cast(out, x.dtype)


class Fixed(keras.Operation):  # type: ignore[misc]
    """A tensor as a symbol, beside one that already is: `ops.conv` looks at the image alone to tell
    whether its kernel is a symbol."""

    def call(self, x: Any, beside: Any) -> Any:
        return x

    def compute_output_spec(self, x: Any, beside: Any) -> Any:
        return keras.KerasTensor(tuple(x.shape), dtype=keras.backend.standardize_dtype(x.dtype))


Rule = Callable[..., Any]


def rule_for(layer: Any) -> Rule | None:
    """What stands for a layer's own call: rule(layer, steps, *args, **kwargs)."""
    if "BatchNormalization" in (c.__name__ for c in type(layer).__mro__) and not layer.trainable:
        return None  # a frozen one normalises by what it has seen
    for cls in type(layer).__mro__:
        if "call" in vars(cls) and cls.__module__.partition(".")[0] != "keras":
            return None  # a call of the user's own
        if cls.__name__.startswith("Random") and cls.__module__.partition(".")[0] == "keras":
            return _unchanged
        if cls.__name__ in RULES and cls.__module__.partition(".")[0] == "keras":
            return RULES[cls.__name__]
    return None


def _batch_norm(layer: Any, steps: int, x: Any, training: Any = None, mask: Any = None) -> Any:
    operation = BatchNormalised(layer.axis, layer.epsilon)
    gamma = layer.gamma if layer.scale else None
    out = operation(x, gamma, layer.beta if layer.center else None)
    return ops.cast(out, layer.compute_dtype)


def _group_norm(layer: Any, steps: int, x: Any) -> Any:
    axis = layer.axis if isinstance(layer.axis, int) else layer.axis[0]
    operation = GroupNormalised(axis, layer.epsilon, layer.groups)
    gamma = layer.gamma if layer.scale else None
    out = operation(x, gamma, layer.beta if layer.center else None)
    return ops.cast(out, layer.compute_dtype)


def _softmax(layer: Any, steps: int, x: Any, mask: Any = None) -> Any:
    axis = layer.axis
    if isinstance(axis, (tuple, list)) and len(axis) == 1:
        axis = axis[0]
    if mask is not None:
        low = -3e4 if layer.compute_dtype == "float16" else -1e9
        x = ops.where(mask, x, ops.cast(low, x.dtype))
    return ops.softmax(x, axis=axis)


def _unchanged(layer: Any, steps: int, x: Any, training: Any = None) -> Any:
    """Augmentation is for training alone."""
    return x


def _normalization(layer: Any, steps: int, x: Any) -> Any:
    """By means and variances known beforehand."""
    mean, variance = layer.mean, layer.variance
    if layer.input_mean is None:
        mean, variance = (
            ops.reshape(v, layer._broadcast_shape) for v in (layer.adapt_mean, layer.adapt_variance)
        )
    deviation = ops.maximum(ops.sqrt(variance), keras.config.epsilon())
    x = ops.cast(x, layer.compute_dtype)
    return x * deviation + mean if layer.invert else (x - mean) / deviation


def _rescaling(layer: Any, steps: int, x: Any) -> Any:
    """By numbers that suit the data, one for each feature: what comes out counts as an input does,
    of second moment 1, and not as an input made 255 times smaller."""
    dtype = layer.compute_dtype
    scale, offset = (
        ops.broadcast_to(ops.convert_to_tensor(v, dtype=dtype), x.shape[-1:])
        for v in (layer.scale, layer.offset)
    )
    return ops.cast(x, dtype) * scale + offset


def _time_distributed(
    layer: Any, steps: int, x: Any, training: Any = None, mask: Any = None
) -> Any:
    """The layer on all steps at once."""
    extra = {"training": training} if layer.layer._call_has_training_arg else {}
    merged = ops.reshape(x, (x.shape[0] * x.shape[1], *x.shape[2:]))
    out = layer.layer(merged, **extra)
    return ops.reshape(out, (x.shape[0], x.shape[1], *out.shape[1:]))


def _rnn(
    layer: Any, steps: int, sequences: Any, initial_state: Any = None, mask: Any = None,
    training: Any = False,
) -> Any:  # fmt: skip
    """A recurrent layer, its cell called step by step; at most so many steps, of which the last
    then stands for the rest."""
    mask = mask[0] if isinstance(mask, (list, tuple)) else mask
    if initial_state is None:
        initial_state = (
            layer.states if layer.stateful else layer.get_initial_state(sequences.shape[0])
        )
    state = list(initial_state) if keras.tree.is_nested(initial_state) else [initial_state]
    state = keras.tree.map_structure(lambda s: Fixed()(s, sequences), state)
    length = sequences.shape[1]
    order = range(length - 1, -1, -1) if layer.go_backwards else range(length)
    outputs: list[Any] = []
    for t in list(order)[:steps]:
        out, new = layer.cell(sequences[:, t], state)
        new = list(new) if keras.tree.is_nested(new) else [new]
        if mask is not None:
            here = mask[:, t]
            rest = outputs[-1] if outputs else ops.zeros_like(out)
            rest = ops.zeros_like(out) if layer.zero_output_for_mask else rest
            out = _held(here, out, rest)
            new = keras.tree.map_structure(lambda n, s, m=here: _held(m, n, s), new, state)
        outputs.append(out)
        state = new
    if layer.return_sequences:
        last = ops.stack([*outputs, *outputs[-1:] * (length - len(outputs))], axis=1)
    else:
        last = outputs[-1]
    last = ops.cast(last, layer.compute_dtype)
    return (last, *state) if layer.return_state else last


def _held(mask: Any, new: Any, old: Any) -> Any:
    """The new value where there is a token, else the old one."""
    return ops.where(ops.reshape(mask, (*mask.shape, *(1,) * (len(new.shape) - 1))), new, old)


RULES: dict[str, Rule] = {
    "BatchNormalization": _batch_norm, "GroupNormalization": _group_norm, "Softmax": _softmax,
    "TimeDistributed": _time_distributed, "RNN": _rnn, "Rescaling": _rescaling,
    "Normalization": _normalization,
}  # fmt: skip
