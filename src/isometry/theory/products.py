"""Products: with a weight, which make a signal Gaussian again, and of two signals."""

from __future__ import annotations

import math
from dataclasses import replace

from isometry.graph import Graph, Node
from isometry.pointwise import moments_of
from isometry.theory.padding import reach
from isometry.theory.signal import Signal
from isometry.theory.walk import Rule, Walk

__all__ = ["RULES"]


def matrix(walk: Walk, node: Node) -> Signal | None:
    inputs = walk.inputs(node)
    leaf = walk.leaf_behind(node.inputs[-1])
    found = walk.leaf_moments(leaf, node) if leaf is not None else None
    q = math.prod(s.q for s in inputs) if inputs else 1.0
    known = all(s.known for s in inputs)
    if found is None:
        return walk.fresh(node, 0.0, q, known=False)
    mean, second, fan_in = found.mean, found.second, found.fan_in
    used = moments_of(walk.applied(node.inputs[-1]), mean, max(second - mean * mean, 0.0))
    mean, second = used or (mean, second)
    if node.op == "conv" and inputs:
        return _convolved(walk, node, inputs[0], second, fan_in, found.delta)
    centre = math.prod(s.moments[0] for s in inputs) if inputs else 0.0
    shift = fan_in * mean * centre
    spread = fan_in * (second - mean * mean) * q + shift * shift
    return walk.fresh(node, shift, spread, known)


def _convolved(
    walk: Walk, node: Node, signal: Signal, second: float, fan_in: float, delta: bool
) -> Signal:
    share, profile = (1.0, None) if delta else reach(node, signal)
    out = walk.fresh(node, 0.0, fan_in * share * second * signal.q, signal.known)
    return replace(out, profile=profile)


def lookup(walk: Walk, node: Node) -> Signal | None:
    if node.inputs[0] in walk.weights:
        found = walk.table(node, node.inputs[0])
        mean, second = (0.0, 1.0) if found is None else found
        count, bag = node.attrs.get("count", 1), node.attrs.get("bag", "max")
        if bag != "max":  # the sum or mean of so many rows
            total = count**2 * mean**2 + count * (second - mean**2)
            scale = 1 if bag == "sum" else count
            mean, second = count * mean / scale, total / scale**2
        return walk.fresh(node, mean, second, known=found is not None)
    return walk.signals.get(node.inputs[0])


def matmul(walk: Walk, node: Node) -> Signal | None:
    inputs = walk.inputs(node)
    if len(inputs) < 2:
        return inputs[0] if inputs else None
    a, b = inputs
    if a.averaging or b.averaging:
        value = b if a.averaging else a
        return walk.fresh(node, *value.moments, value.known)
    if not (a.known and b.known):
        return walk.fresh(node, 0.0, max(a.q, b.q), False)
    # Scores: a sum of products over the inner axis, whose size the shapes give.
    inner = _inner(walk.graph, node)
    return walk.fresh(node, 0.0, inner * a.q * b.q * node.attrs.get("scale", 1.0) ** 2)


def attention(walk: Walk, node: Node) -> Signal | None:
    value = walk.signals.get(node.inputs[2])
    return None if value is None else walk.fresh(node, *value.moments, value.known)


def _inner(graph: Graph, node: Node) -> int:
    """How many products a matrix product of two signals sums into one element."""
    out = math.prod(graph.values[node.output].shape) or 1
    a, b = (math.prod(graph.values[v].shape) or 1 for v in node.inputs[:2])
    return max(1, round(math.sqrt(a * b / out / max(_batch(graph, node), 1))))


def _batch(graph: Graph, node: Node) -> int:
    shape = graph.values[node.output].shape
    return math.prod(shape[:-2]) if len(shape) > 2 else 1


RULES: dict[str, Rule] = {
    "linear": matrix,
    "conv": matrix,
    "bilinear": matrix,
    "lookup": lookup,
    "matmul": matmul,
    "attention": attention,
}
