"""Along which axis of an array the units of an operation lie, where a framework puts channels last."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from isometry.graph import Graph, Node
from isometry.views import View

__all__ = ["unit_axes_of"]

CHANNEL_NORMS = ("batch", "group")
SAME_UNITS = ("pointwise", "add", "mul", "sub", "div", "where", "pool", "dropout", "norm")


def unit_axes_of(
    graph: Graph, shown: Mapping[int, View], unordered: Collection[int]
) -> dict[int, int]:
    """node -> the axis of its array along which its units lie, where that is not the last.

    Args:
        graph: which presents channels as its second axis after a convolution.
        shown: node -> its array, as a view of the node's value.
        unordered: nodes whose array has its axes in an order that the view does not tell.
    """
    axes: dict[int, int] = {}  # of a value of the graph: the axis in the graph's shape
    found: dict[int, int] = {}
    for node in graph:
        axis = _in_graph(graph, node, axes)
        if axis is None:
            continue
        axes[node.output] = axis
        view = shown.get(node.index)
        window = None if view is None or node.index in unordered else view.window
        if view is None or window is None or window.root != node.output:
            continue
        place = next((d for d in range(len(view.sizes)) if window.covers(d) == (axis,)), None)
        if place is not None and place != len(view.sizes) - 1:
            found[node.index] = place
    return found


def _in_graph(graph: Graph, node: Node, axes: Mapping[int, int]) -> int | None:
    """As the graph has the axes; None: the last."""
    shape = graph.values[node.output].shape
    if node.op == "conv" or (node.op == "norm" and node.attrs["kind"] in CHANNEL_NORMS):
        return 1 if len(shape) > 2 else None
    if node.op in SAME_UNITS:
        for value in node.inputs:
            if value in axes and len(graph.values[value].shape) == len(shape):
                return axes[value]
    return None
