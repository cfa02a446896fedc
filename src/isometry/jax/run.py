"""Run a model as it was read: every value that a node made, and the gradient there.

A zero is added at each of those values; the gradient by it is the gradient there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from isometry.graph import Graph
from isometry.jax.held import Model
from isometry.jax.inputs import Call
from isometry.jax.layers import Layout
from isometry.jax.leaves import used_as
from isometry.jax.read import Reading
from isometry.measuring.channels import unit_axes_of
from isometry.measuring.runner import Goal, Pass
from isometry.stored import as_stored, as_torch

__all__ = ["JaxRunner"]


class JaxRunner:
    """One call of a model, run as often as it takes; nothing of the model is changed."""

    def __init__(self, model: Model, call: Call, reading: Reading) -> None:
        self.graph: Graph = reading.graph
        self.inputs = tuple(_host(a) for a in call.arrays)
        self._reading = reading
        self._model = model
        self._given = [jnp.asarray(a) for a in call.arrays]
        self._nodes = {v: n for v, n in reading.made.items() if n < len(self.graph.nodes)}
        self._layouts: dict[str, tuple[int, Layout]] = {}
        for leaf, held in zip(self.graph.leaves, model.held, strict=True):
            layout = held.layout
            if layout.hint is None and leaf.stored is not None:
                layout = used_as(reading.program, held.index, layout.shape) or layout
            self._layouts[leaf.name] = (held.index, layout)
        self.parameters = {
            name: as_torch(_host(model.arrays[i]), layout.stored, layout.shape)
            for name, (i, layout) in self._layouts.items()
        }
        shown = {n: reading.views[v] for v, n in reading.made.items() if v in reading.views}
        self.channels = unit_axes_of(reading.graph, shown, reading.orders)
        self._trained = [
            i for leaf in self.graph.leaves if leaf.kind == "parameter"
            for i in [self._layouts[leaf.name][0]]
        ]  # fmt: skip
        self._reaching = _reaching(reading)
        self._forward = {nodes: jax.jit(self._evaluator(nodes)) for nodes in (True, False)}

    def run(
        self,
        parameters: Mapping[str, NDArray[Any]] | None,
        goal: Goal | None,
        *,
        nodes: bool = True,
    ) -> Pass:
        """One run, forward and, where there is a goal, backward.

        Args:
            parameters: other values for some, in PyTorch's layout.
            goal: outputs -> loss, the gradient of the objective by each output; None: forward only.
            nodes: whether values and gradients of nodes are wanted.
        """
        arrays = list(self._model.arrays)
        for name, values in (parameters or {}).items():
            index, layout = self._layouts[name]
            old = arrays[index]
            own = as_stored(np.ascontiguousarray(values).reshape(layout.shape), layout.stored)
            arrays[index] = jnp.asarray(own.reshape(old.shape), old.dtype)
        trained = [arrays[i] for i in self._trained]
        zeros = self._zeros() if nodes and goal is not None else {}
        run = self._forward[nodes]

        def forward(trained: Sequence[Any], zeros: Mapping[int, Any]) -> Any:
            return run(trained, zeros, arrays, self._given)

        if goal is None:
            outputs, values = forward(trained, zeros)
            return Pass(self._by_node(values), {}, self._named(outputs), {}, None)
        outputs, pull, made = jax.vjp(forward, trained, zeros, has_aux=True)
        named = self._named(outputs)
        loss, wanted = goal(named)
        cotangents = [
            jnp.asarray(wanted[n], o.dtype) if n in wanted else _no_cotangent(o)
            for n, o in zip(self._reading.outputs, outputs, strict=True)
        ]
        by_trained, by_zero = pull(cotangents)
        leaves = [leaf for leaf in self.graph.leaves if leaf.kind == "parameter"]
        inputs, reached = self._reading.program.inputs, self._reaching
        gradients = {
            leaf.name: as_torch(_host(g), self._layouts[leaf.name][1].stored, leaf.shape)
            for leaf, g in zip(leaves, by_trained, strict=True)
            if inputs[self._layouts[leaf.name][0]] in reached
        }
        return Pass(
            self._by_node(made),
            self._by_node({v: g for v, g in by_zero.items() if v in reached}),
            named,
            gradients,
            loss,
        )

    def _evaluator(self, nodes: bool) -> Any:
        program, wanted = self._reading.program, set(self._nodes) if nodes else set()

        def evaluate(
            trained: Sequence[Any], zeros: Mapping[int, Any], arrays: Sequence[Any],
            given: Sequence[Any],
        ) -> Any:  # fmt: skip
            values: dict[int, Any] = {}

            def seen(value: int, made: Any) -> Any:
                if value not in wanted:
                    return made
                out = made + zeros[value] if value in zeros else made
                values[value] = out
                return out

            own = list(arrays)
            for i, array in zip(self._trained, trained, strict=True):
                own[i] = array
            return program.run([*own, *given], seen), values

        return evaluate

    def _zeros(self) -> dict[int, Any]:
        shapes = self._reading.program.shapes
        return {v: jnp.zeros(shapes[v].shape, shapes[v].dtype) for v in self._nodes}

    def _by_node(self, values: Mapping[int, Any]) -> dict[int, NDArray[Any]]:
        """node -> its value, the axes as the node has them."""
        found = {}
        for value, array in values.items():
            node = self._nodes[value]
            order = self._reading.orders.get(node)
            host = _host(array)
            found[node] = host if order is None else host.transpose(order)
        return found

    def _named(self, outputs: Sequence[Any]) -> dict[str, NDArray[Any]]:
        named = zip(self._reading.outputs, outputs, strict=True)
        return {n: _host(o) for n, o in named if n}


def _host(array: Any) -> NDArray[Any]:
    """In NumPy; floating-point numbers that NumPy does not know as float32."""
    own = np.asarray(array)
    if own.dtype.kind == "V" or own.dtype.name not in np.sctypeDict:
        return own.astype(np.float32)
    return own


def _reaching(reading: Reading) -> set[int]:
    """The values that a gradient reaches, from the floating-point outputs back."""
    program = reading.program
    found = {v for n, v in zip(reading.outputs, program.outputs, strict=True) if n}
    for step in reversed(program.steps):
        if step.op != "stop_gradient" and any(v in found for v in step.outputs):
            found.update(step.inputs)
    return found


def _no_cotangent(array: Any) -> Any:
    if jnp.issubdtype(array.dtype, jnp.inexact):
        return jnp.zeros(array.shape, array.dtype)
    return np.zeros(array.shape, jax.dtypes.float0)
