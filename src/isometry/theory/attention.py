"""Averages by attention at initialisation: what they do to values, queries and keys.

    o_i = sum_j a_ij v_j,   a_i = softmax_j(s q_i k_j)

The logits are Gaussian, of variance t = d s² E[q²] (E[k²] - E[k k']) along the keys j, and weights
and values are independent. With s_n = E[sum_j a_ij²] (exp(t)/n; for a causal mask of harmonic mean)

    E[o²] = p + (E[v²] - p) s_n,      p = E[v v'] over two positions.

Source: Noci et al. 2022, "Signal propagation in transformers", sec. 3 (uniform attention).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from isometry.graph import Graph, Node
from isometry.theory.signal import POSITION, Signal
from isometry.theory.walk import Walk

__all__ = ["Attention", "attention_at", "averaged", "inner_size"]

WIDE = 1.0  # variance of the logits up to which exp(t)/n describes a softmax


@dataclass(frozen=True, slots=True)
class Attention:
    """One average: places and signals of query, key and value, and how much the weights vary.

    `own` is E[sum_j a_ij²], `shared` E[sum_j a_ij a_i'j] of two queries, `column` the mean square
    of what one value gives to all queries, sum_i a_ij; `spread` the variance of the logits.
    """

    query: tuple[Node, int] | None
    key: tuple[Node, int] | None
    value: tuple[Node, int]
    size: int  # of a head
    scale: float
    count: int
    own: float
    shared: float
    column: float
    spread: float


def averaged(walk: Walk, node: Node) -> Signal | None:
    """What an average by attention makes of its values."""
    value = walk.operand(node, _value_place(walk, node))
    if value is None:
        return None
    mean, _ = value.moments
    if not walk.paired:  # a bound, reached when tokens agree
        return walk.fresh(node, mean, value.seconds, value.known)
    found = attention_at(walk, node)
    q, sample, position, both = value.seconds
    made = np.array([
        position + (q - position) * found.own,
        both + (sample - both) * found.own,
        position + (q - position) * found.shared,
        both + (sample - both) * found.shared,
    ])  # fmt: skip
    return walk.fresh(node, mean, made, value.known and found.spread <= WIDE)


def attention_at(walk: Walk, node: Node) -> Attention:
    """Read an average by attention: fused, or a product with what a softmax made."""
    if node.op == "attention":
        query, key, value = ((node, place) for place in range(3))
        shape = walk.graph.values[node.inputs[1]].shape
        size = node.attrs.get("size", shape[-1] if shape else 1)
        scale = node.attrs.get("scale") or 1.0 / math.sqrt(size)
        count, causal = node.attrs.get("count", 0), node.attrs.get("causal", False)
        return _weights(walk, query, key, value, size, scale, count, causal)
    place = _value_place(walk, node)
    softmax, scores, scale, causal = _behind(walk.graph, node.inputs[1 - place])
    count = 1 if softmax is None else softmax.attrs["count"]
    if scores is None:
        return _weights(walk, None, None, (node, place), 1, 0.0, count, causal)
    size = scores.attrs.get("inner") or inner_size(walk.graph, scores)
    scale *= scores.attrs.get("scale", 1.0)
    return _weights(walk, (scores, 0), (scores, 1), (node, place), size, scale, count, causal)


def _value_place(walk: Walk, node: Node) -> int:
    if node.op == "attention":
        return 2
    first = walk.signals.get(node.inputs[0])
    return 1 if first is not None and first.averaging else 0


def _behind(graph: Graph, value: int) -> tuple[Node | None, Node | None, float, bool]:
    """The softmax behind weights, the product behind its logits, their factor, and whether a
    square mask lies between."""
    softmax, scale, causal = None, 1.0, False
    for _ in range(12):
        node = graph.producer(value)
        if node is None or not node.inputs:
            break
        if node.op == "matmul":
            return softmax, node, scale, causal
        if node.op == "softmax":
            softmax = node
        elif softmax is not None and node.op == "pointwise":
            fn, args = node.attrs["fn"], node.attrs["args"]
            if fn in ("mul", "rmul"):
                scale *= args[0]
            elif fn == "div":
                scale /= args[0]
        causal = causal or bool(node.attrs.get("square", False))
        value = node.inputs[0]
    return softmax, None, scale, causal


def _weights(
    walk: Walk,
    query: tuple[Node, int] | None,
    key: tuple[Node, int] | None,
    value: tuple[Node, int],
    size: int,
    scale: float,
    count: int,
    causal: bool,
) -> Attention:
    count = max(count, 1)
    a = None if query is None else walk.operand(*query)
    b = None if key is None else walk.operand(*key)
    spread = alike = 0.0
    if a is not None and b is not None and a.paired and b.paired:
        apart = size * scale**2 * max(b.q - float(b.seconds[POSITION]), 0.0)
        spread, alike = apart * a.q, apart * float(a.seconds[POSITION])
    own, shared, column = _uniform(count, causal)
    own = min(own * math.exp(min(spread, 50.0)), 1.0)
    shared = min(shared * math.exp(min(max(alike, -50.0), 50.0)), own)
    return Attention(query, key, value, size, scale, count, own, shared, column, spread)


def _uniform(count: int, causal: bool) -> tuple[float, float, float]:
    """E[sum_j a_ij²], E[sum_j a_ij a_i'j] and E[(sum_i a_ij)²] of equal weights."""
    if not causal or count == 1:
        return 1.0 / count, 1.0 / count, 1.0
    inverse = 1.0 / np.arange(1, count + 1)
    harmonic = float(inverse.sum())
    columns = np.cumsum(inverse[::-1])
    return (
        harmonic / count,
        2.0 * (count - harmonic) / (count * (count - 1)),
        float((columns**2).mean()),
    )


def inner_size(graph: Graph, node: Node) -> int:
    """How many products a matrix product of two signals sums into one element."""
    out = math.prod(graph.values[node.output].shape) or 1
    a, b = (math.prod(graph.values[v].shape) or 1 for v in node.inputs[:2])
    return max(1, round(math.sqrt(a * b / out / max(_batch(graph, node), 1))))


def _batch(graph: Graph, node: Node) -> int:
    shape = graph.values[node.output].shape
    return math.prod(shape[:-2]) if len(shape) > 2 else 1
