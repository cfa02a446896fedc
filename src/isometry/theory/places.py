"""Which axis of a value counts features, which samples, and which positions."""

from __future__ import annotations

import math

from isometry.graph import Graph, Node

__all__ = ["feature_axis", "over", "positions", "samples"]

SAME = frozenset("pointwise add sub mul div max min norm where dropout pool softmax glu".split())


def feature_axis(graph: Graph, value: int) -> int:
    """1 after a convolution and in images, the last elsewhere."""
    for _ in range(64):
        node = graph.producer(value)
        shape = graph.values[value].shape
        if node is None:
            return 1 if len(shape) > 3 else len(shape) - 1
        if node.op == "conv" or (node.op == "norm" and node.attrs["kind"] in ("batch", "group")):
            return 1 if len(shape) > 2 else len(shape) - 1
        same = (v for v in node.inputs if len(graph.values[v].shape) == len(shape))
        before = next(same, None)
        if node.op not in SAME or before is None:
            break
        value = before
    return len(shape) - 1


def samples(graph: Graph, value: int) -> int:
    """How many samples a value holds."""
    shape = graph.values[value].shape
    return max(shape[0], 1) if len(shape) > 1 else 1


def positions(graph: Graph, value: int) -> int:
    """How many positions a sample of a value has."""
    shape = graph.values[value].shape
    if len(shape) < 3:
        return 1
    return max(math.prod(shape[1:]) // max(shape[feature_axis(graph, value)], 1), 1)


def over(graph: Graph, node: Node) -> str | None:
    """What a reduction runs over: "features", "positions" or "samples"; None where unknown."""
    axes = node.attrs.get("over")
    if axes is None:
        return "positions" if node.op == "pool" else None
    value = node.inputs[0]
    if feature_axis(graph, value) in axes:
        return "features"
    if 0 in axes:
        return "samples"
    return "positions"
