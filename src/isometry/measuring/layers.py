"""What each operation gave, and the gradient that came back: from one pass to measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isometry.graph import Graph, Leaf, Node
from isometry.measuring.runner import Pass
from isometry.measuring.statistics import (
    Samples,
    Statistics,
    dead_fraction,
    moment,
    one_hot_share,
    statistics,
)
from isometry.streams import weight_values
from isometry.types import Measurement

__all__ = ["UNMEASURED", "as_measurement", "measure_layers"]

UNMEASURED = ("view", "constant", "dropout")
AFFINE = {"linear": ("add",), "conv": ("add",), "bilinear": ("add",), "norm": ("mul", "add")}


def measure_layers(
    graph: Graph, run: Pass, samples: Samples, channels: Mapping[int, int]
) -> tuple[tuple[Measurement, ...], dict[int | str, Any]]:
    """Measure a pass.

    Args:
        graph: of the run.
        run: its values and gradients.
        samples: what counts as one.
        channels: node -> the axis of its units, where not the last.

    Returns:
        The measurements in execution order, and node -> a few values of its output. A bias, or the
        gain and bias of a normalisation, belong to the operation before them.
    """
    weights = weight_values(graph)
    layers: list[Measurement] = []
    shown: dict[int | str, Any] = {}
    folded: set[int] = set()
    for head in graph:
        if head.index in folded or head.op in UNMEASURED or head.output in weights:
            continue
        node = head
        for op in AFFINE.get(head.op, ()):
            if (after := _affine(graph, head, node, op)) is not None:
                folded.add(after.index)
                node = after
        array = run.values.get(node.index)
        if array is None or array.size == 0:
            continue
        fn = head.attrs.get("fn") if head.op == "pointwise" else None
        found = statistics(array, samples, fn)
        axis = channels.get(node.index, -1)
        dead = None
        if fn is not None and found.zeros > 0 and not found.nonfinite:
            dead = dead_fraction(array, axis, samples, head.attrs)
        if head.op == "softmax":
            found.saturated = one_hot_share(array, int(head.attrs.get("axis", -1)))
        gradient = run.gradients.get(node.index)
        grad, lost = (None, 0.0) if gradient is None else moment(gradient)
        layers.append(as_measurement(graph, head, node, array.shape, found, dead, grad, lost))
        if found.values is not None:
            shown[node.index] = np.asarray(found.values)
    return tuple(layers), shown


def _affine(graph: Graph, head: Node, node: Node, op: str) -> Node | None:
    """The bias, or a normalisation's gain, that is all that reads a node's output."""
    readers = graph.readers(node.output)
    if len(readers) != 1 or node.output in graph.outputs.values():
        return None
    after, place = readers[0]
    if after.op != op or len(after.inputs) != 2:
        return None
    leaf, weight = _leaf(graph, after.inputs[1 - place]), _weight(graph, head)
    if leaf is None:
        return None
    # A vector, or another parameter of the module: not a table of positions.
    own = weight is not None and leaf.owner_name == weight.owner_name
    return after if own or len(leaf.shape) == 1 else None


def _leaf(graph: Graph, value: int) -> Leaf | None:
    """The parameter or buffer that a value is, or shows."""
    node = graph.producer(value)
    while node is not None and node.op == "view" and node.inputs:
        value = node.inputs[0]
        node = graph.producer(value)
    return graph.leaf_of(value)


def as_measurement(
    graph: Graph,
    head: Node,
    node: Node,
    shape: tuple[int, ...],
    found: Statistics,
    dead: float | None,
    grad: float | None,
    grad_nonfinite: float,
) -> Measurement:
    """One operation, `head`, whose output is that of `node`: itself, or the bias added to it."""
    leaf = _weight(graph, head)
    op = f"pointwise:{head.attrs['fn']}" if head.op == "pointwise" else head.op
    return Measurement(
        layer=head.scope
        if leaf is None or _inside(head.scope, leaf.owner_name)
        else leaf.owner_name,
        op=op if head.op != "opaque" else str(head.attrs.get("name", "opaque")),
        node=node.index,
        shape=shape,
        samples=found.samples,
        mean=found.mean,
        q=found.q,
        std=found.std,
        c=found.c,
        zeros=found.zeros,
        saturated=found.saturated,
        dead=dead,
        nonfinite=found.nonfinite,
        grad=grad,
        grad_nonfinite=grad_nonfinite,
        tokens=found.tokens,
    )


def _weight(graph: Graph, head: Node) -> Leaf | None:
    """The parameter that an operation multiplies by, where it is one as it stands."""
    place = {"linear": 1, "conv": 1, "bilinear": 2, "lookup": 0}.get(head.op)
    return None if place is None else graph.leaf_of(head.inputs[place])


def _inside(scope: str, owner: str) -> bool:
    """Does the module that ran lie in the weight's owner? Then its own path says more."""
    return scope == owner or scope.startswith(f"{owner}.")
