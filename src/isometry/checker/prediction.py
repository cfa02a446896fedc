"""What the theory expects every operation's mean square to be, given the weights as they stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from isometry.checker.reading import Reading
from isometry.graph import Leaf, Node
from isometry.theory import LeafMoments, start

__all__ = ["predictions"]


def predictions(reading: Reading) -> Mapping[int, float]:
    """Node -> predicted mean square of its output; without those that the theory cannot follow.

    The weights count by their first two moments, as if they were drawn independently; the inputs
    by theirs.
    """
    graph, usages = reading.graph, reading.usages

    def moments(leaf: Leaf, node: Node) -> LeafMoments | None:
        parameter = reading.parameters.get(leaf.name)
        if parameter is None:  # a buffer
            value = leaf.constant
            return None if value is None else LeafMoments(value, value * value)
        if parameter.nonfinite > 0:
            return None
        usage = usages[leaf.name]
        used = next((u for u in (usage, *usage.others) if u.node is node), usage)
        fan_in = used.fans.fan_in if used.fans is not None else 1.0
        return LeafMoments(parameter.mean, parameter.q, fan_in)

    walk = start(graph, reading.weights, moments)
    for given in reading.measurements.inputs:
        if 0 < given.q < 1e30:
            signal = walk.signals[given.value]
            variance = max(given.q - given.mean**2, 0.0)
            walk.signals[given.value] = replace(signal, mean=given.mean, variance=variance)
    for node in graph:
        walk.visit(node)
    found = {}
    for measured in reading.measurements.layers:
        made = walk.signal(graph.nodes[measured.node].output)
        if made is not None and made.known:
            found[measured.node] = made.q
    return found
