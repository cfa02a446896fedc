"""Run a model as it was read: its operations one by one, on the backend's own tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from isometry.graph import Graph
from isometry.keras.gradients import differentiated, on_host
from isometry.keras.inputs import Call, dtype_of
from isometry.keras.read import Reading, float_outputs
from isometry.keras.structure import Owned
from isometry.keras.trace import Step, is_symbol
from isometry.measuring import Goal, Pass
from isometry.measuring.channels import unit_axes_of
from isometry.stored import as_stored, as_torch

__all__ = ["KerasRunner"]

COMPILED = 400  # steps at most, for JAX to compile them as one
Change = Callable[[int, Any], "tuple[Any, str, float]"]


class KerasRunner:
    """One call of a model, run as often as it takes; nothing of the model is changed. `outputs`:
    name -> a symbol to look at in place of what the model returns (its logits)."""

    def __init__(
        self, call: Call, reading: Reading, outputs: Mapping[str, Any] | None = None
    ) -> None:
        self.graph: Graph = reading.graph
        self._reading = reading
        self._given = [
            keras.ops.convert_to_tensor(on_host(a), dtype=dtype_of(a)) for a in call.arrays
        ]
        self.inputs = tuple(on_host(t) for t in self._given)
        self._owned: dict[str, Owned] = {o.names[0]: o for o in reading.owned}
        self.parameters = {
            name: as_torch(on_host(o.variable.value), o.layout.stored, o.layout.shape)
            for name, o in self._owned.items()
        }
        leaves = [x for x in self.graph.leaves if x.kind == "parameter" and x.trainable]
        self._trained = [leaf.name for leaf in leaves]
        symbols = {id(x): x for step in reading.program.steps for x in step.outputs}
        self._taps = {k: symbols[k] for k in reading.made if k in symbols}
        self._outputs = dict(outputs or float_outputs(reading.program.output))
        shown = {reading.made[k]: reading.reader.view(x) for k, x in self._taps.items()}
        self.channels = unit_axes_of(reading.graph, shown, reading.orders)
        self._evaluators: dict[bool, Any] = {}

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
        values = {name: self._tensor(name, parameters) for name in self._owned}
        trained = [values[name] for name in self._trained]
        taps = self._taps if nodes else {}
        evaluate = self._evaluator(nodes)

        def forward(given: Sequence[Any], add: Mapping[int, Any]) -> Any:
            return evaluate({**values, **dict(zip(self._trained, given, strict=True))}, add)

        if goal is None:
            outputs, made = forward(trained, {})
            hosts = {n: on_host(o) for n, o in outputs.items()}
            return Pass(self._by_node(made), {}, hosts, {}, None)
        loss, hosts, made, by_tensor, by_tap = differentiated(forward, trained, taps, goal)
        gradients = {
            name: as_torch(on_host(g), self._owned[name].layout.stored, self.parameters[name].shape)
            for name, g in zip(self._trained, by_tensor, strict=True)
            if g is not None
        }
        return Pass(self._by_node(made), self._by_node(by_tap), hosts, gradients, loss)

    def run_changed(self, values: Mapping[str, Any], change: Change) -> None:
        """Run it forward on other values, which `change` rescales as their products are made.

        Args:
            values: name -> a tensor, as the variable keeps it.
            change: node, its value -> the value to go on with, a weight and its factor.
        """
        own = {name: values.get(name, None) for name in self._owned}
        own = {n: self._tensor(n, None) if t is None else t for n, t in own.items()}
        self._evaluate(own, {}, self._taps, change)

    # -- inside ------------------------------------------------------------------------------

    def _evaluator(self, nodes: bool) -> Any:
        """(values, what to add at taps) -> outputs, taps. JAX compiles it, once for all runs."""
        if nodes not in self._evaluators:
            taps = self._taps if nodes else {}

            def evaluate(own: Mapping[str, Any], add: Mapping[int, Any]) -> Any:
                return self._evaluate(own, add, taps)

            small = len(self._reading.program.steps) <= COMPILED
            if keras.backend.backend() == "jax" and small:
                import jax

                self._evaluators[nodes] = jax.jit(evaluate)
            else:
                self._evaluators[nodes] = evaluate
        return self._evaluators[nodes]

    def _tensor(self, name: str, others: Mapping[str, NDArray[Any]] | None) -> Any:
        """A parameter's value, as its variable keeps it."""
        entry = self._owned[name]
        variable, layout = entry.variable, entry.layout
        dtype = keras.backend.standardize_dtype(variable._dtype)
        if others is None or name not in others:
            return keras.ops.convert_to_tensor(variable.value, dtype=dtype)
        own = as_stored(np.ascontiguousarray(others[name]).reshape(layout.shape), layout.stored)
        whole = np.ascontiguousarray(own).reshape(tuple(variable.shape))
        return keras.ops.convert_to_tensor(whole, dtype=dtype)

    def _evaluate(
        self, own: Mapping[str, Any], add: Mapping[int, Any], wanted: Mapping[int, Any],
        change: Change | None = None,
    ) -> tuple[dict[str, Any], dict[int, Any]]:  # fmt: skip
        program = self._reading.program
        table: dict[int, Any] = {
            id(s): t for s, t in zip(program.inputs, self._given, strict=True)
        }  # fmt: skip
        place = {n: id(program.weights[id(o.variable)]) for n, o in self._owned.items()}
        table.update({place[n]: own[n] for n in self._owned})
        made: dict[int, Any] = {}
        for step in program.steps:
            outs = keras.tree.flatten(self._one(step, table))
            shown = keras.tree.flatten(step.structure)
            for symbol, tensor in zip(shown, outs, strict=True):
                if not is_symbol(symbol):
                    continue
                if id(symbol) in wanted:
                    if id(symbol) in add:
                        tensor = tensor + add[id(symbol)]
                    if change is not None:
                        tensor, name, factor = change(self._reading.made[id(symbol)], tensor)
                        if name:
                            table[place[name]] = table[place[name]] * factor
                    made[id(symbol)] = tensor
                table[id(symbol)] = tensor
        outputs = {name: table[id(s)] for name, s in self._outputs.items()}
        return outputs, made

    def _one(self, step: Step, table: Mapping[int, Any]) -> Any:
        """One step on tensors; a layer that runs as a whole is given its variables' values."""

        def filled(x: Any) -> Any:
            if not is_symbol(x):
                return x
            tensor = table[id(x)]
            dtype = step.dtypes.get(id(x))
            return tensor if dtype is None else keras.ops.cast(tensor, dtype)

        args, kwargs = keras.tree.map_structure(filled, (step.args, step.kwargs))
        if not step.is_layer:
            return _called(step.operation, args, kwargs)
        symbols = self._reading.program.weights
        mapping = [
            (v, table[id(symbols[id(v)])]) for v in step.operation.weights if id(v) in symbols
        ]
        with keras.StatelessScope(state_mapping=mapping):
            return step.operation(*args, **kwargs)

    def _by_node(self, values: Mapping[int, Any]) -> dict[int, NDArray[Any]]:
        """node -> its value, the axes as the node has them."""
        found = {}
        for key, tensor in values.items():
            node = self._reading.made[key]
            order = self._reading.orders.get(node)
            host = on_host(tensor)
            found[node] = host if order is None else host.transpose(order)
        return found


def _called(operation: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation on tensors. (Keras's own transposed convolution hands its paddings on in the wrong
    order when it is called so.)"""
    if type(operation).__name__ == "ConvTranspose":
        return keras.ops.conv_transpose(
            *args, strides=operation.strides, padding=operation.padding,
            output_padding=operation.output_padding, data_format=operation.data_format,
            dilation_rate=operation.dilation_rate, **kwargs,
        )  # fmt: skip
    return operation.call(*args, **kwargs)
