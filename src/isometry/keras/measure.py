"""Measure one forward and backward of a Keras model, by what every framework shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError, TraceError
from isometry.graph import Graph
from isometry.keras.gradients import on_host, value_and_gradients
from isometry.keras.inputs import Call, as_call, known_inputs
from isometry.keras.losses import as_loss, drawn_target, loss_kind
from isometry.keras.read import Reading, built, float_outputs, reading
from isometry.keras.run import KerasRunner
from isometry.keras.structure import check_parameters, owned_variables
from isometry.keras.trace import is_symbol
from isometry.measuring import measured
from isometry.types import Measurements, NotChecked

__all__ = ["measure"]

EVERY = 10**9  # steps of a recurrent layer


def measure(
    model: Any,
    inputs: Any = None,
    *,
    loss: Any = None,
    target: Any = None,
    build: Callable[[], Any] | None = None,
    probing: bool = True,
    jacobian: bool = False,
) -> tuple[Measurements, Graph]:
    """Measure a model; it is left as it was, but that one without variables is built.

    It runs in inference, without dropout, but batch normalisation uses the batch's own statistics,
    as in a first step of training.

    Args:
        model, inputs, build, probing, jacobian: as for `isometry.check`.
        loss: None takes the loss that the model was compiled with, where it was; else as for
            `isometry.check`, or a Keras loss.
        target: for the loss; drawn where it is None and the loss is a named one or Keras's.

    Returns:
        What was measured, and the graph of the run.

    Raises:
        ModelError: no parameters, or not built.
        TraceError: no inputs, or the model's own call failed.
        ArgumentError: the loss is not one, or failed.
    """
    objective = as_loss(model, loss)
    given = None if inputs is None else as_call(inputs, model)
    built(model, given)
    owned = owned_variables(model)
    check_parameters(owned, model)
    call = given or known_inputs(model)
    _check_values(model, call)
    assert call is not None
    read = reading(model, owned, call, loss_kind(model, loss), steps=EVERY)
    missed = [NotChecked("layers", note) for note in read.program.notes]
    outputs = float_outputs(read.program.output)
    name = None if objective is None else objective.name
    if objective is not None and objective.before:
        logits = _before(read, outputs, objective.before)
        name, outputs = (None, outputs) if logits is None else (name, logits)
    goal = None
    if name is None and objective is not None and objective.function is not None:
        goal = _goal(read, objective.function, target)
    found = measured(
        KerasRunner(call, read, outputs), model=type(model).__name__, loss=name,
        target=_as_array(outputs, target, name), goal=goal, probing=probing, jacobian=jacobian,
        not_checked=missed,
    )  # fmt: skip
    return found, read.graph


def _before(read: Reading, outputs: dict[str, Any], operation: str) -> dict[str, Any] | None:
    """What goes into the softmax or sigmoid that a model ends in; None where it does not."""
    if len(outputs) != 1:
        return None
    maker = {id(x): step for step in read.program.steps for x in step.outputs}
    ((name, symbol),) = outputs.items()
    step = maker.get(id(symbol))
    while step is not None and step.name == "Cast":
        step = maker.get(id(step.args[0]))
    if step is None or step.name != operation or getattr(step.operation, "axis", -1) != -1:
        return None
    return {name: step.args[0]}


def _check_values(model: Any, call: Call | None) -> None:
    if call is None:
        raise TraceError(
            f"no inputs were given for {type(model).__name__} and none could be made up; pass inputs: "
            "a tensor, a tuple of positional or a dict of keyword arguments"
        )
    if any(is_symbol(a) for a in call.arrays):
        raise ArgumentError(
            "inputs are keras.KerasTensor, which have no values to measure; pass a batch of data"
        )


def _as_array(outputs: Mapping[str, Any], target: Any, name: str | None) -> Any:
    """A target in NumPy, of the output's shape where it has as many elements."""
    if target is None or isinstance(target, (dict, list, tuple)) or callable(target):
        return None
    host = on_host(target) if keras.ops.is_tensor(target) else np.asarray(target)
    if name in ("mse", "bce_with_logits") and outputs:
        shape = tuple(next(iter(outputs.values())).shape)
        return host.reshape(shape) if host.size == np.prod(shape) else host
    return host


def _goal(read: Reading, loss: Callable[..., Any], target: Any) -> Any:
    """The objective of a loss that is a function: loss(output, target), differentiated by the
    backend."""
    symbols = float_outputs(read.program.output)
    names = {id(s): n for n, s in symbols.items()}
    dtypes = {n: keras.backend.standardize_dtype(s.dtype) for n, s in symbols.items()}
    if target is None:
        target = drawn_target(loss, read.program.output)
    wanted = keras.tree.map_structure(
        lambda x: keras.ops.convert_to_tensor(x) if isinstance(x, np.ndarray) else x, target
    )

    def goal(outputs: Mapping[str, NDArray[Any]]) -> tuple[float | None, dict[str, NDArray[Any]]]:
        def value(tensors: dict[str, Any]) -> Any:
            def filled(x: Any) -> Any:
                if not is_symbol(x):
                    return x
                return (
                    tensors[names[id(x)]] if id(x) in names else keras.ops.zeros(x.shape, x.dtype)
                )

            return loss(keras.tree.map_structure(filled, read.program.output), wanted)

        try:
            return value_and_gradients(value, outputs, dtypes)
        except Exception as error:  # the loss's own
            raise ArgumentError(
                f"the loss failed: {type(error).__name__}: {error}; pass target= as your loss expects "
                "it, or a loss(output, target) that takes this output"
            ) from error

    return goal
