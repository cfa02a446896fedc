"""model, inputs -> Graph: the model's own call as a jaxpr, and the jaxpr as a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from isometry.errors import IsometryError, TraceError
from isometry.graph import Graph
from isometry.jax.activations import whole_call
from isometry.jax.held import Mode, Model, check_parameters
from isometry.jax.inputs import Call, as_call
from isometry.jax.leaves import adopt, leaf_of
from isometry.jax.models import model_of
from isometry.jax.program import Program, flattened
from isometry.jax.scopes import Scopes
from isometry.jax.trace import Reader
from isometry.measuring.losses import kind_of
from isometry.recording import Recording
from isometry.views import View

__all__ = ["Reading", "failed_run", "read_graph", "reading"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A graph, and what it was read from: the program, and the node that made each of its values."""

    graph: Graph
    program: Program
    made: dict[int, int]  # value of the program -> node
    orders: dict[int, tuple[int, ...]]  # node -> the order of its axes, where it is another
    outputs: tuple[str, ...]  # names of the program's floating-point outputs, "" for the others
    views: dict[int, View]  # what each value of the program shows
    rebuild: Callable[[Sequence[Any]], Any]  # the program's outputs -> what the model returned


def read_graph(target: Any, inputs: Any = None, loss: Any = None) -> Graph:
    """The graph of one call of a model; nothing is computed.

    Args:
        target: an NNX module, a Linen module (with its variables, or alone: then those that `init`
            would make), an Equinox module, (function, tree of arrays), or a tree of arrays.
        inputs: an array (or the shape of one), a tuple of positional or a dict of keyword
            arguments. None, or a tree that no function reads: the leaves stand alone.
        loss: as for `isometry.plan`.

    Raises:
        ArgumentError: the loss or the inputs are not such.
        ModelError: no parameters, or of a kind that cannot be initialised.
        TraceError: the model's own call failed on the inputs.
    """
    kind_of(loss)  # a loss of no known kind is refused before anything runs
    call = None if inputs is None else as_call(inputs)
    model = _model(target, call)
    check_parameters(model)
    if call is None:
        return _alone(model, loss, "no inputs were given")
    if not model.runs:
        return _alone(model, loss, "a tree of arrays has no call")
    return reading(model, call, loss, mode="evaluation").graph


def _model(target: Any, call: Call | None) -> Model:
    try:
        return model_of(target, call)
    except IsometryError:
        raise
    except Exception as error:  # a module's own init
        if call is None:
            raise
        raise failed_run(type(target).__name__, call, error) from error


def reading(model: Model, call: Call, loss: Any, *, mode: Mode) -> Reading:
    """Trace a call and read it."""
    scopes = Scopes()
    outputs: list[tuple[tuple[str, ...], Callable[[Sequence[Any]], Any]]] = []

    def run(arrays: Sequence[Any], given: Sequence[Any]) -> Any:
        args, kwargs = call.arguments(given)
        output = model.call(arrays, args, kwargs, scopes, mode=mode)
        leaves, names = _named_outputs(output)
        outputs.append((names, _rebuilder(output)))
        return leaves

    try:
        closed = jax.make_jaxpr(run)(model.arrays, call.arrays)
    except IsometryError:
        raise
    except Exception as error:  # a model may raise anything
        raise failed_run(model.name, call, error) from error
    program = flattened(closed, whole_call)
    reader = Reader(program, scopes)
    leaves = adopt(reader, model, program)
    images = _images(program)
    for value in program.inputs[len(model.arrays) :]:
        shape = reader.shape(value)
        reader.views[value] = reader.recording.input(
            shape, reader.dtype(value), channels_last=len(shape) in images
        )
    reader.read(program.steps, program.outputs)
    names, rebuild = outputs[-1]
    found = zip(names, program.outputs, strict=True)
    graph = reader.recording.graph(
        model.name, leaves, {n: reader.view(v) for n, v in found if n}, kind_of(loss)
    )
    return Reading(graph, program, reader.made, reader.orders, names, reader.views, rebuild)


def _images(program: Program) -> set[int]:
    """How many axes an image has, where a convolution reads its channels from the last."""
    found = set()
    for step in program.steps:
        if step.op == "conv_general_dilated":
            lhs = step.params["dimension_numbers"][0]
            if lhs[1] == len(lhs) - 1:
                found.add(len(lhs))
    return found


def _named_outputs(output: Any) -> tuple[list[Any], tuple[str, ...]]:
    """A call's arrays, and the names of those of floating-point numbers ("" for the others)."""
    paths, _ = jax.tree_util.tree_flatten_with_path(output)
    leaves, names = [], []
    for path, leaf in paths:
        if not hasattr(leaf, "dtype"):
            continue
        floating = jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating)
        name = ".".join(str(getattr(k, "key", getattr(k, "idx", getattr(k, "name", k)))) for k in path)  # fmt: skip
        leaves.append(leaf)
        names.append((name or "output") if floating else "")
    return leaves, tuple(names)


def _rebuilder(output: Any) -> Callable[[Sequence[Any]], Any]:
    """What puts other arrays in the places of an output's."""
    leaves, tree = jax.tree_util.tree_flatten(output)
    fixed = [None if hasattr(leaf, "dtype") else leaf for leaf in leaves]
    places = [i for i, leaf in enumerate(leaves) if hasattr(leaf, "dtype")]

    def rebuild(arrays: Sequence[Any]) -> Any:
        new = list(fixed)
        for place, array in zip(places, arrays, strict=True):
            new[place] = array
        return jax.tree_util.tree_unflatten(tree, new)

    return rebuild


def _alone(model: Model, loss: Any, why: str) -> Graph:
    """A graph without operations: the leaves, and why there is no more."""
    recording = Recording()
    leaves = []
    for held in model.held:
        layout = held.layout
        view = recording.parameter(layout.shape, str(held.array.dtype), held.owner)
        leaves.append(leaf_of(held, layout, view.root))
    note = f"planned from the module types alone: {why}; pass inputs for a plan by graph"
    return recording.graph(model.name, leaves, {}, kind_of(loss), "modules", (note,))


def failed_run(name: str, call: Call, error: Exception) -> TraceError:
    text = str(error).strip().splitlines()
    line = f"{type(error).__name__}: {text[0] if text else ''}".rstrip(".")
    return TraceError(
        f"{name} could not be run on the inputs given ({call}): {line}. Pass inputs that the "
        "model's own call accepts: an array, a tuple of positional or a dict of keyword arguments"
    )
