"""The call of a normalisation or a dropout: its steps as one operation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from isometry.jax.program import Step
from isometry.jax.scopes import Call
from isometry.views import View

if TYPE_CHECKING:
    from isometry.jax.trace import Reader

__all__ = ["after_call", "read_call"]


def after_call(steps: list[Step], stop: int, kept: tuple[int, ...]) -> set[int]:
    """The values read after a place."""
    return {v for s in steps[stop:] for v in s.inputs} | set(kept)


def read_call(reader: Reader, call: Call, members: list[Step], after: set[int]) -> bool:
    """Read the steps of one call as what it does; False where they do not look like that.

    Args:
        reader: what reads.
        call: the module's path, and the operation that it is.
        members: the steps that ran in it.
        after: values that are read afterwards. But for the signal they are constants: running
            statistics.
    """
    made = [v for s in members for v in s.outputs]
    inner = set(made)
    given = [v for v in dict.fromkeys(v for s in members for v in s.inputs) if v not in inner]
    signals = [
        v for v in given
        if reader.is_float(v) and not reader.is_constant(v)
        and not reader.recording.is_weight(reader.view(v))
    ]  # fmt: skip
    if not signals:
        return False
    x = max(signals, key=lambda v: math.prod(reader.shape(v)))
    outs = [v for v in made if v in after and reader.shape(v) == reader.shape(x)]
    if not outs:
        return False
    y = outs[-1]
    last = next(s for s in members if y in s.outputs)
    reader.recording.scope = call.path
    view = reader.apply(call.op, last, [reader.view(x)], dict(call.attrs))
    if call.op == "norm":
        for op, weight in _affine(reader, given):
            view = reader.apply(op, last, [view, weight], {})
    reader.views[y] = view
    for value in inner & after - {y}:
        reader.views[value] = reader.constant(value)
    return True


def _affine(reader: Reader, given: list[int]) -> list[tuple[str, View]]:
    """The gain and the bias among what a normalisation reads."""
    found = {}
    for value in given:
        view = reader.view(value)
        if reader.recording.is_weight(view):
            found["add" if view.root in reader.biases else "mul"] = view
    return [(op, found[op]) for op in ("mul", "add") if op in found]
