"""Normalisations as Keras says them. Their affine part is apart, as the core reads it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras

from isometry.keras.trace import Step, is_symbol
from isometry.views import View

if TYPE_CHECKING:
    from isometry.keras.reader import Reader

__all__ = ["NORMS"]

Rule = Callable[["Reader", Step], "View | Sequence[View]"]


def _norm(kind: str) -> Rule:
    """Normalise, then multiply and add: the affine part is apart, as the core reads it."""

    def read(reader: Reader, step: Step) -> View:
        names = ("x", "scale") if kind == "rms" else ("x", "gamma", "beta")
        given = {**dict(zip(names, step.args, strict=False)), **step.kwargs}
        found = "rms" if getattr(step.operation, "rms_scaling", False) else kind
        eps = float(step.operation.epsilon or keras.config.epsilon())
        attrs: dict[str, Any] = {"kind": found, "eps": eps}
        if kind == "group":
            x, axis = step.args[0], step.operation.axis % len(step.args[0].shape)
            attrs["channels"] = x.shape[axis] // step.operation.groups
        made = reader.emit("norm", step, [given["x"]], attrs)
        for op, name in (("mul", names[1]), ("add", "beta")):
            if is_symbol(given.get(name)):
                made = reader.emit(op, step, [made, given[name]], {})
        return made

    return read


def _fixed_norm(reader: Reader, step: Step) -> View:
    """Batch normalisation by statistics that are kept."""
    names = ("x", "mean", "variance", "offset", "scale")
    given = {**dict(zip(names, step.args, strict=False)), **step.kwargs}
    attrs = {"kind": "batch", "eps": float(step.operation.epsilon)}
    made = reader.emit("norm", step, [given["x"]], attrs)
    for op, name in (("mul", "scale"), ("add", "offset")):
        if is_symbol(given.get(name)):
            made = reader.emit(op, step, [made, given[name]], {})
    return made


def _unit_length(reader: Reader, step: Step) -> View | Sequence[View]:
    """x / |x|: rms normalisation, less the square root of how many there are."""
    axis = step.operation.axis
    if step.operation.order != 2 or not isinstance(axis, int):
        return reader.opaque(step)
    attrs = {"kind": "rms", "eps": float(step.operation.epsilon or 0.0)}
    made = reader.emit("norm", step, step.args[:1], attrs)
    size = step.args[0].shape[axis]
    return reader.emit("pointwise", step, [made], {"fn": "mul", "args": (size**-0.5,)})


NORMS: dict[str, Rule] = {
    "LayerNorm": _norm("layer"), "RMSNorm": _norm("rms"),
    "BatchNormalised": _norm("batch"), "GroupNormalised": _norm("group"),
    "BatchNorm": _fixed_norm, "Normalize": _unit_length,
}  # fmt: skip
