"""Read a program as a Graph: each step by the table of primitives, or several as one operation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from isometry.jax.activations import WHOLE, shortest, unrounded
from isometry.jax.module_calls import after_call, read_call
from isometry.jax.ops import OPS
from isometry.jax.patterns import Group, groups_of
from isometry.jax.program import Body, Program, Step
from isometry.jax.scopes import Call, Scopes
from isometry.recording import Recording
from isometry.views import Layout, View, row_major

__all__ = ["Reader"]

FLOATS = ("float", "bfloat")
SPREADING = (
    "broadcast_in_dim",
    "reshape",
    "squeeze",
    "convert_element_type",
    "copy",
    "expand_dims",
)


class Reader:
    """Follows the values of a program; `recording` holds what was read so far.

    `made` says which node made a value of the program, `views` what each value shows, `orders` the
    axes of a node's value in the order in which the node has them, where that is another.
    """

    def __init__(self, program: Program, scopes: Scopes, kernels: set[int] | None = None) -> None:
        self.program = program
        self.recording = Recording()
        self.views: dict[int, View] = {}
        self.made: dict[int, int] = {}
        self.transposed_kernels = kernels or set()  # roots of weights of transposed convolutions
        self.orders: dict[int, tuple[int, ...]] = {}
        self.biases: set[int] = set()  # roots of the biases of normalisations
        self._scopes = scopes
        self._numbers: dict[int, float | None] = {}
        self._running = True  # False inside a step that runs as a whole

    # -- values ------------------------------------------------------------------------------

    def shape(self, value: int) -> tuple[int, ...]:
        return tuple(getattr(self.program.shapes[value], "shape", ()))

    def dtype(self, value: int) -> str:
        return str(getattr(self.program.shapes[value], "dtype", ""))

    def view(self, value: int) -> View:
        """What a value shows; one that nothing was read of is a constant."""
        if value not in self.views:
            self.views[value] = self.constant(value)
        return self.views[value]

    def constant(self, value: int) -> View:
        return self.recording.constant(self.shape(value), self.dtype(value))

    def is_float(self, value: int) -> bool:
        return self.dtype(value).startswith(FLOATS)

    def constants(self, step: Step) -> tuple[View, ...]:
        """What is no arithmetic on floating-point numbers; indices worked out of an input still
        hang on it, so that what they look up is no constant."""
        behind = next((r for v in step.inputs if (r := self._index(v)) is not None), None)
        return tuple(
            self.constant(v) if behind is None or self.dtype(v).startswith(FLOATS)
            else View(Layout(behind, (), known=False), self.shape(v), row_major(self.shape(v)))
            for v in step.outputs
        )  # fmt: skip

    def _index(self, value: int) -> int | None:
        """The root of a value of integers that hangs on an input."""
        if self.dtype(value).startswith(FLOATS) or self.number(value) is not None:
            return None
        view = self.view(value)
        fixed = self.recording.is_constant(view) or self.recording.is_weight(view)
        return None if fixed else view.root

    def is_constant(self, value: int) -> bool:
        return self.recording.is_constant(self.view(value))

    def is_input(self, value: int) -> bool:
        return self.view(value).root in self.recording.inputs and value in self.program.inputs

    def number(self, value: int) -> float | None:
        """The number that every element of a value is known to be."""
        if value not in self._numbers:
            known = self.program.known.get(value)
            single = known is not None and np.ndim(known) == 0 and self.dtype(value)[:3] != "key"
            found = float(np.asarray(known)) if single else None
            self._numbers[value] = found and unrounded(found, self.dtype(value))
        return self._numbers[value]

    def exact(self, value: int) -> float | None:
        """The same, as the shortest decimal that it stands for."""
        number = self.number(value)
        if number is None or not math.isfinite(number):
            return number
        dtype = self.dtype(value)
        return (
            shortest(np.float32(number)) if dtype in ("float32", "bfloat16", "float16") else number
        )

    # -- operations --------------------------------------------------------------------------

    def emit(
        self, op: str, step: Step, inputs: Sequence[int], attrs: dict[str, Any]
    ) -> tuple[View, ...]:
        """One operation for the first output of a step; further outputs are constants."""
        if not self.dtype(step.outputs[0]).startswith(FLOATS):
            return self.constants(step)
        first = self.apply(op, step, [self.view(v) for v in inputs], attrs)
        return (first, *(self.constant(v) for v in step.outputs[1:]))

    def apply(
        self, op: str, step: Step, operands: Sequence[View], attrs: dict[str, Any],
        *, channels_last: bool | None = None,
    ) -> View:  # fmt: skip
        out = step.outputs[0]
        before = len(self.recording.nodes)
        view = self.recording.apply(
            op, operands, attrs, self.shape(out), self.dtype(out), channels_last=channels_last
        )
        return self.noted(before, out, view)

    def noted(self, before: int, value: int, view: View) -> View:
        """Note which value the last node recorded made; of several for one value, the last."""
        if self._running and len(self.recording.nodes) > before:
            self.made[value] = len(self.recording.nodes) - 1
        return view

    # -- walking -----------------------------------------------------------------------------

    def read(self, steps: list[Step], kept: tuple[int, ...]) -> None:
        """Read steps in order; `kept` are values that are read elsewhere."""
        for step in steps:
            self._number(step)
        groups = groups_of(steps, kept, self.exact, self.shape)
        place = 0
        while place < len(steps):
            step = steps[place]
            mark, call = self._whole_call(step)
            if call is not None:
                stop = place
                while stop < len(steps) and mark in steps[stop].scope:
                    stop += 1
                if read_call(self, call, steps[place:stop], after_call(steps, stop, kept)):
                    place = stop
                    continue
            self.recording.scope = self._path(step)
            group = groups.get(step)
            if group is None:
                self._step(step)
            elif step is group.steps[-1]:
                self._group(group, step)
            place += 1

    def _path(self, step: Step) -> str:
        return self._scopes.of(step.scope[-1]).path if step.scope else ""

    def _whole_call(self, step: Step) -> tuple[str, Call | None]:
        for mark in step.scope:
            call = self._scopes.of(mark)
            if call.op:
                return mark, call
        return "", None

    def _step(self, step: Step) -> None:
        if step.name in WHOLE and step.op in ("jit", "pjit", "custom_jvp_call"):
            op, attrs = WHOLE[step.name](step)
            outs: Sequence[View] = self._activation(op, attrs, step)
        elif step.inside:
            outs = self._inside(step)
        elif step.op in OPS:
            outs = OPS[step.op](self, step)
        else:
            outs = self._opaque(step)
        self.views.update(zip(step.outputs, outs, strict=False))

    def _activation(self, op: str, attrs: dict[str, Any], step: Step) -> Sequence[View]:
        if op == "softmax":
            attrs = self._softmax(attrs["axes"], step.inputs[0])
        return self.emit(op, step, step.inputs[:1], attrs)

    def _softmax(self, axes: tuple[int, ...], source: int) -> dict[str, Any]:
        shape = self.shape(source)
        return {"count": math.prod(shape[a] for a in axes), "axis": axes[-1] % len(shape)}

    def _group(self, group: Group, step: Step) -> None:
        attrs = self._softmax(group.attrs["axes"], group.source) if group.op == "softmax" else group.attrs  # fmt: skip
        self.views[step.outputs[0]] = self.apply(
            group.op, step, [self.view(group.source)], dict(attrs)
        )

    def _opaque(self, step: Step) -> Sequence[View]:
        signals = [v for v in step.inputs if self.dtype(v).startswith(FLOATS) and self.number(v) is None]  # fmt: skip
        if not signals or not any(self.dtype(v).startswith(FLOATS) for v in step.outputs):
            return self.constants(step)
        out = []
        for value in step.outputs:
            one = Step(step.op, step.inputs, (value,), step.scope, step.params, step.run)
            out.append(
                self.apply("opaque", one, [self.view(v) for v in signals], {"name": step.op})
            )
        return out

    def _inside(self, step: Step) -> Sequence[View]:
        """A loop, a choice, or a function with its own derivative: what it does, once."""
        running, self._running = self._running, False
        bodies = [self._body(body) for body in step.inside]
        self._running = running
        out: list[View] = []
        for place, value in enumerate(step.outputs):
            found = [views[place] for views in bodies if place < len(views)]
            same = [v for v in found if v.sizes == self.shape(value)]
            if not same:
                one = Step(step.op, step.inputs, (value,), step.scope, step.params, step.run)
                out.append(
                    self.apply("view", one, found[:1], {}) if found else self.constant(value)
                )
                continue
            if len(same) == 1:
                out.append(same[0])
                node = self.recording.values[same[0].root].producer
                if running and node >= 0:
                    self.made[value] = node
            else:
                one = Step(step.op, step.inputs, (value,), step.scope, step.params, step.run)
                out.append(self.apply("where", one, same, {}))
        return out

    def _body(self, body: Body) -> list[View]:
        self.read(body.steps, body.outputs)
        return [self.view(v) for v in body.outputs]

    def _number(self, step: Step) -> None:
        """Follow what is known beforehand through a step."""
        numbers = [self.number(v) for v in step.inputs]
        if not step.outputs or any(n is None for n in numbers) or not numbers or step.inside:
            return
        if step.op in SPREADING:
            self._numbers[step.outputs[0]] = numbers[0]
        elif all(self.shape(v) == () for v in (*step.inputs, *step.outputs)):
            known = [self.program.known.get(v, np.asarray(n)) for v, n in zip(step.inputs, numbers, strict=True)]  # fmt: skip
            typed = [np.asarray(k).astype(self.program.shapes[v].dtype) for k, v in zip(known, step.inputs, strict=True)]  # fmt: skip
            for value, out in zip(step.outputs, step.run(*typed), strict=True):
                if self.dtype(value)[:3] != "key":
                    self._numbers[value] = float(np.asarray(out))
