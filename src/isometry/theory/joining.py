"""Signals side by side in one value."""

from __future__ import annotations

import math

import numpy as np

from isometry.graph import Node
from isometry.theory.places import feature_axis, samples
from isometry.theory.signal import BOTH, POSITION, Seconds, Signal
from isometry.theory.walk import Rule, Walk

__all__ = ["RULES"]


def concat(walk: Walk, node: Node) -> Signal | None:
    inputs = walk.inputs(node)
    if not inputs:
        return None
    if len({(s.root, s.expression) for s in inputs}) == 1:
        return inputs[0]
    if walk.paired:
        return joined(walk, node)
    moments = [s.moments for s in inputs]
    count = len(moments)
    return walk.fresh(
        node, sum(m for m, _ in moments) / count, sum(q for _, q in moments) / count,
        all(s.known for s in inputs),
    )  # fmt: skip


def joined(walk: Walk, node: Node) -> Signal:
    """Signals side by side: means over the elements of each. Along positions the pairs of two kinds
    have nothing in common but their means, and what is learned is the same for all samples."""
    found: list[tuple[float, float, Seconds]] = []  # share, mean, second moments
    known = True
    for place, value in enumerate(node.inputs):
        signal = walk.operand(node, place)
        size = float(math.prod(walk.graph.values[value].shape) or 1)
        for axis, (start, stop) in node.parts[place].ranges.items():
            size *= (stop - start) / max(walk.graph.values[value].shape[axis], 1)
        if signal is not None:
            found.append((size, signal.moments[0], signal.seconds))
            known = known and signal.known
        elif (learned := walk.table(node, value)) is not None:
            batch = samples(walk.graph, node.output) if len(node.inputs) > 1 else 1
            found.append((size * batch, learned[0], walk.shared(value, *learned)))
        else:
            known = False
    whole = sum(size for size, _, _ in found)
    mean = sum(size * m for size, m, _ in found) / whole
    seconds = np.add.reduce([size * s for size, _, s in found]) / whole
    shape = walk.graph.values[node.output].shape
    along = node.attrs.get("axis", 0) % max(len(shape), 1)
    if along not in (0, feature_axis(walk.graph, node.inputs[0])):
        across = sum(
            a * b * m * n for i, (a, m, _) in enumerate(found) for j, (b, n, _) in enumerate(found)
            if i != j
        ) / whole**2  # fmt: skip
        for pair in (POSITION, BOTH):
            seconds[pair] = sum((a / whole) ** 2 * s[pair] for a, _, s in found) + across
    return walk.fresh(node, mean, seconds, known)


RULES: dict[str, Rule] = {"concat": concat}
