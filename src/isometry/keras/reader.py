"""Read a program as a Graph: each step by the table of Keras's operations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from isometry.graph import Leaf
from isometry.keras.leaves import leaf_of
from isometry.keras.ops import OPS
from isometry.keras.structure import Owned, snake_case
from isometry.keras.trace import Program, Step, is_symbol
from isometry.recording import Recording
from isometry.views import Layout, View, row_major

__all__ = ["Reader"]

FLOATS = ("float", "bfloat")


class Reader:
    """Follows the symbols of a program; `recording` holds what was read so far.

    `made` says which node made a symbol, `orders` the axes of its value in the order in which the
    node has them, where that is another.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.recording = Recording()
        self.made: dict[int, int] = {}
        self.orders: dict[int, tuple[int, ...]] = {}
        self.transposed: set[int] = set()  # roots of weights of transposed convolutions
        self._views: dict[int, View] = {}
        self._constants: dict[int, tuple[View, Any]] = {}

    # -- values ------------------------------------------------------------------------------

    def adopt(self, owned: Sequence[Owned]) -> tuple[Leaf, ...]:
        """Make every variable of the model a value; the leaves."""
        leaves = []
        for entry in owned:
            layout, dtype = entry.layout, keras.backend.standardize_dtype(entry.variable._dtype)
            if entry.kind == "buffer":
                view = self.recording.constant(layout.shape, dtype)
            else:
                view = self.recording.parameter(layout.shape, dtype, entry.owner, layout.stored)
            weight = self.program.weights.get(id(entry.variable))
            if weight is not None:
                self._views[id(weight)] = view
            leaves.append(leaf_of(entry, layout, view.root))
        return tuple(leaves)

    def inputs(self) -> None:
        """Make every input of the model a value; images as PyTorch has them."""
        images = self._images()
        for symbol in self.program.inputs:
            last = len(symbol.shape) in images
            self._views[id(symbol)] = self.recording.input(
                tuple(symbol.shape), symbol.dtype, channels_last=last
            )

    def _images(self) -> set[int]:
        """How many axes an image has, where a convolution reads its channels from the last."""
        return {
            len(step.args[0].shape)
            for step in self.program.steps
            if step.name in ("Conv", "DepthwiseConv", "SeparableConv", "ConvTranspose")
            and (step.operation.data_format or keras.config.image_data_format()) == "channels_last"
        }

    def view(self, value: Any) -> View:
        """What a symbol shows; a tensor that nothing was read of is a constant."""
        if id(value) in self._views:
            return self._views[id(value)]
        if id(value) not in self._constants:  # kept, so that no other object has its id
            shape = tuple(getattr(value, "shape", ()))
            dtype = keras.backend.standardize_dtype(getattr(value, "dtype", "float32"))
            self._constants[id(value)] = (self.recording.constant(shape, dtype), value)
        return self._constants[id(value)][0]

    def number(self, value: Any) -> float | None:
        """The number that a value is known to be: a Python number, or a tensor of one element."""
        if isinstance(value, (bool, int, float, np.number)):
            return float(value)
        if value is None or is_symbol(value) or not hasattr(value, "shape"):
            return None
        if isinstance(value, keras.Variable) or math.prod(tuple(value.shape)) != 1:
            return None
        host = np.asarray(keras.ops.convert_to_numpy(value))
        return None if host.dtype.kind not in "fiub" else _shortest(host)

    def floating(self, value: Any) -> bool:
        dtype = getattr(value, "dtype", None)
        return dtype is not None and keras.backend.standardize_dtype(dtype).startswith(FLOATS)

    # -- operations --------------------------------------------------------------------------

    def emit(
        self, op: str, step: Step, operands: Sequence[Any], attrs: dict[str, Any], *,
        place: int = 0, channels_last: bool | None = None,
    ) -> View:  # fmt: skip
        """One operation for an output of a step; operands are symbols, tensors or views."""
        out = step.outputs[place]
        views = [v if isinstance(v, View) else self.view(v) for v in operands]
        if not self.floating(out):
            return self._hanging(out, views)
        before = len(self.recording.nodes)
        made = self.recording.apply(
            op, views, attrs, tuple(out.shape), out.dtype, channels_last=channels_last
        )
        return self.noted(before, out, made)

    def noted(self, before: int, out: Any, view: View) -> View:
        """Note which symbol the last node recorded made; of several for one, the last."""
        if len(self.recording.nodes) > before:
            self.made[id(out)] = len(self.recording.nodes) - 1
        return view

    def _hanging(self, out: Any, views: Sequence[View]) -> View:
        """What is no floating-point number, but hangs on an input: an index, a mask."""
        recording, shape = self.recording, tuple(out.shape)
        for view in views:
            if not recording.is_constant(view) and not recording.is_weight(view):
                return View(Layout(view.root, (), known=False), shape, row_major(shape))
        return recording.constant(shape, out.dtype)

    def opaque(self, step: Step) -> list[View]:
        """An operation that the graph has no word for; each of its outputs apart."""
        arguments = keras.tree.flatten((step.args, step.kwargs))
        signals = [x for x in arguments if is_symbol(x)]
        name = snake_case(step.name)
        floats = [x for x in signals if self.floating(x)] or signals
        return [
            self.emit("opaque", step, floats, {"name": name}, place=i)
            for i in range(len(step.outputs))
        ]

    def read(self) -> None:
        """Read every step in order."""
        for step in self.program.steps:
            self.recording.scope = step.scope
            rule = None if step.is_layer else OPS.get(step.name)
            if rule is None:
                found = self.opaque(step)
            else:
                made = rule(self, step)
                found = [made] if isinstance(made, View) else list(made)
            for out, view in zip(step.outputs, found, strict=True):
                self._views[id(out)] = view


def _shortest(host: Any) -> float:
    """As the shortest decimal that it stands for: .1 and not .10000000149."""
    if host.dtype == np.float32:
        return float(str(host.reshape(())))
    return float(host.astype(np.float64).reshape(()))
