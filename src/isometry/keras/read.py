"""model, inputs -> Graph: the model's own call as a program of Keras's operations, read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from isometry.errors import IsometryError, TraceError
from isometry.graph import Graph
from isometry.keras.inputs import Call, as_call, build, dtype_of, known_inputs
from isometry.keras.leaves import leaf_of
from isometry.keras.losses import loss_kind
from isometry.keras.reader import Reader
from isometry.keras.structure import Owned, check_parameters, owned_variables
from isometry.keras.trace import Program, is_symbol, traced
from isometry.recording import Recording

__all__ = ["Reading", "built", "failed_run", "float_outputs", "read_graph", "reading"]

STEPS = 8  # of a recurrent layer that a plan looks at


@dataclass(frozen=True, slots=True)
class Reading:
    """A graph, and what it was read from: the program, and the node that made each of its symbols."""

    graph: Graph
    program: Program
    owned: tuple[Owned, ...]
    made: Mapping[int, int]  # id of a symbol -> node
    orders: Mapping[int, tuple[int, ...]]  # node -> the order of its axes, where it is another
    reader: Reader


def read_graph(model: Any, inputs: Any = None, loss: Any = None) -> Graph:
    """The graph of one call of a model; nothing is computed, and nothing is changed but that a model
    without variables is built.

    Args:
        model: Sequential, functional or subclassed, or a layer.
        inputs: a tensor, a tuple of positional or a dict of keyword arguments. None: random ones,
            where the model says what it takes; else the leaves stand alone.
        loss: as for `isometry.plan`; None: what the model was compiled with.

    Raises:
        ArgumentError: the loss or the inputs are not such.
        ModelError: no parameters, not built, or of a kind that cannot be initialised.
        TraceError: the model's own call failed on the inputs.
    """
    kind = loss_kind(model, loss)  # a loss of no known kind is refused before anything runs
    call = None if inputs is None else as_call(inputs, model)
    built(model, call)
    owned = owned_variables(model)
    check_parameters(owned, model)
    call = call or known_inputs(model)
    if call is None:
        why = "no inputs were given and none could be made up"
        return _alone(model, owned, kind, why)
    return reading(model, owned, call, kind, steps=STEPS).graph


def built(model: Any, call: Call | None) -> None:
    """Give a model its variables where it has none yet."""
    try:
        build(model, call)
    except IsometryError:
        raise
    except Exception as error:  # the model's own
        if call is None:
            raise
        raise failed_run(model, call, error) from error


def reading(model: Any, owned: list[Owned], call: Call, kind: str | None, *, steps: int) -> Reading:
    """Trace a call and read it."""
    args, kwargs = call.map(lambda x: keras.KerasTensor(tuple(x.shape), dtype_of(x)))
    try:
        program = traced(model, owned, args, kwargs, steps=steps)
    except IsometryError:
        raise
    except Exception as error:  # a model may raise anything
        raise failed_run(model, call, error) from error
    reader = Reader(program)
    leaves = reader.adopt(owned)
    reader.inputs()
    reader.read()
    outputs = {k: reader.view(x) for k, x in float_outputs(program.output).items()}
    graph = reader.recording.graph(
        type(model).__name__, leaves, outputs, kind, notes=tuple(dict.fromkeys(program.notes))
    )
    return Reading(graph, program, tuple(owned), reader.made, reader.orders, reader)


def float_outputs(output: Any, prefix: str = "") -> dict[str, Any]:
    """The floating-point tensors in a model's output, by key or position."""
    if is_symbol(output):
        dtype = keras.backend.standardize_dtype(output.dtype)
        return {prefix or "output": output} if dtype.startswith(("float", "bfloat")) else {}
    if isinstance(output, Mapping):
        items = [(str(k), v) for k, v in output.items()]
    elif isinstance(output, (tuple, list)):
        names = getattr(output, "_fields", range(len(output)))
        items = [(str(k), v) for k, v in zip(names, output, strict=True)]
    else:
        items = []
    found: dict[str, Any] = {}
    for key, value in items:
        found.update(float_outputs(value, f"{prefix}.{key}" if prefix else key))
    return found


def _alone(model: Any, owned: list[Owned], kind: str | None, why: str) -> Graph:
    """A graph without operations: the leaves, and why there is no more."""
    recording = Recording()
    leaves = []
    for entry in owned:
        layout = entry.layout
        dtype = keras.backend.standardize_dtype(entry.variable._dtype)
        view = recording.parameter(layout.shape, dtype, entry.owner)
        leaves.append(leaf_of(entry, layout, view.root))
    note = f"planned from the layer types alone: {why}; pass inputs for a plan by graph"
    return recording.graph(type(model).__name__, leaves, {}, kind, "modules", (note,))


def failed_run(model: Any, call: Call, error: Exception) -> TraceError:
    text = str(error).strip().splitlines()
    line = f"{type(error).__name__}: {text[0] if text else ''}".rstrip(".")
    return TraceError(
        f"{type(model).__name__} could not be run on the inputs {call.origin} ({call}): {line}. Pass "
        "inputs that the model's own call accepts: a tensor, a tuple of positional or a dict of "
        "keyword arguments"
    )
