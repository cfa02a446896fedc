"""Products: with a weight, which make a signal Gaussian again, and of two signals."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from isometry.graph import Node
from isometry.pointwise import Z, moments_of, substituted
from isometry.theory.attention import averaged, inner_size
from isometry.theory.padding import reach, reach_of_pairs
from isometry.theory.signal import BOTH, POSITION, Seconds, Signal
from isometry.theory.walk import LeafMoments, Rule, Walk

__all__ = ["RULES", "as_read", "as_used"]


def matrix(walk: Walk, node: Node) -> Signal | None:
    inputs = walk.inputs(node)
    leaf = walk.leaf_behind(node.inputs[-1])
    found = walk.leaf_moments(leaf, node) if leaf is not None else None
    read = [as_read(s, found.reads) for s in inputs] if found is not None else inputs
    seconds = math.prod((s.seconds for s in read), start=_ONE if inputs else _learned(walk))
    known = all(s.known for s in inputs)
    if found is None:
        return walk.fresh(node, 0.0, seconds, known=False)
    fan_in = found.fan_in
    mean, second = as_used(walk, node, found)
    if node.op == "conv" and inputs:
        return _convolved(walk, node, read[0], second, fan_in, found.delta)
    centre = math.prod(s.moments[0] for s in read) if inputs else 0.0
    shift = fan_in * mean * centre
    spread = fan_in * (second - mean * mean) * seconds + shift * shift
    return walk.fresh(node, shift, spread, known)


def as_used(walk: Walk, node: Node, found: LeafMoments) -> tuple[float, float]:
    """E[w] and E[w²] of a weight, after what is done to it before it is used."""
    mean, second = found.mean, found.second
    used = moments_of(walk.applied(node.inputs[-1]), mean, max(second - mean * mean, 0.0))
    return used or (mean, second)


def as_read(signal: Signal, reads: str) -> Signal:
    """A signal as a matrix sees it whose columns are no independent draws.

    Of mirrored pairs, whose Gaussians are z and -z, it sees (f(z) - f(-z))/sqrt(2) in place of f(z);
    where its rows sum to zero, f(z) - E[f(z)].
    """
    if reads == "pairs":
        other = substituted(signal.expression, ("neg", Z))
        pair = ("mul", ("sub", signal.expression, other), math.sqrt(0.5))
        return replace(signal, expression=pair)
    if reads == "centred":
        return replace(signal, expression=("sub", signal.expression, signal.moments[0]))
    return signal


def _learned(walk: Walk) -> Seconds:
    """Learned queries: those of one sample are those of all."""
    return np.array([1.0, 1.0, 0.0, 0.0] if walk.paired else [1.0])


def _convolved(
    walk: Walk, node: Node, signal: Signal, second: float, fan_in: float, delta: bool
) -> Signal:
    share, profile = (1.0, None) if delta else reach(node, signal)
    seconds = fan_in * share * second * signal.seconds
    if not walk.paired or profile is None:
        out = walk.fresh(node, 0.0, seconds, signal.known)
        return replace(out, profile=profile)
    both, joint = reach_of_pairs(node, signal)
    seconds[[POSITION, BOTH]] *= both / share
    return replace(walk.fresh(node, 0.0, seconds, signal.known), profile=profile, joint=joint)


def lookup(walk: Walk, node: Node) -> Signal | None:
    if node.inputs[0] in walk.weights:
        found = walk.table(node, node.inputs[0])
        mean, second = (0.0, 1.0) if found is None else found
        count, bag = node.attrs.get("count", 1), node.attrs.get("bag", "max")
        if bag != "max":  # the sum or mean of so many rows
            total = count**2 * mean**2 + count * (second - mean**2)
            scale = 1 if bag == "sum" else count
            mean, second = count * mean / scale, total / scale**2
        return walk.fresh(node, mean, _rows(walk, node, mean, second), known=found is not None)
    return walk.signals.get(node.inputs[0])


def _rows(walk: Walk, node: Node, mean: float, second: float) -> Seconds:
    """Rows of a table, looked up at random: two of them are one row in one of so many pairs."""
    if not walk.paired:
        return np.array([second])
    rows = walk.graph.values[node.inputs[0]].shape[0]
    same = mean * mean + (second - mean * mean) / max(rows, 1)
    return np.array([second, same, same, same])


def matmul(walk: Walk, node: Node) -> Signal | None:
    inputs = walk.inputs(node)
    if len(inputs) < 2:
        return inputs[0] if inputs else None
    a, b = inputs
    if a.averaging or b.averaging:
        return averaged(walk, node)
    if not (a.known and b.known):
        return walk.fresh(node, 0.0, max(a.q, b.q), False)
    # Scores: a sum of products over the inner axis, whose size the shapes give.
    scale: float = inner_size(walk.graph, node) * node.attrs.get("scale", 1.0) ** 2
    return walk.fresh(node, 0.0, scale * a.seconds * b.seconds)


def attention(walk: Walk, node: Node) -> Signal | None:
    return None if walk.signals.get(node.inputs[2]) is None else averaged(walk, node)


_ONE = np.ones(1)

RULES: dict[str, Rule] = {
    "linear": matrix,
    "conv": matrix,
    "bilinear": matrix,
    "lookup": lookup,
    "matmul": matmul,
    "attention": attention,
}
