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
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isometry.graph import Graph, Node
from isometry.theory.signal import BOTH, POSITION, SAMPLE, Seconds, Signal
from isometry.theory.walk import Walk

__all__ = ["Attention", "attention_at", "averaged", "inner_size"]

WIDE = 6.0  # variance of the logits up to which weights and values may be taken apart


@dataclass(frozen=True, slots=True)
class Attention:
    """One average: where its query, key and value are read, and how its weights vary.

    `overlaps` are E[sum_j a_j b_j] of two sets of weights: one and itself, those of the same place in
    another sample, of another position, and of both. `column` is E[(sum_i a_ij)²], what one value
    gives to all queries; `spread` the variance of the logits along the keys.
    """

    query: tuple[Node, int] | None
    key: tuple[Node, int] | None
    value: tuple[Node, int]
    size: int  # of a head
    scale: float
    count: int
    overlaps: Seconds
    column: float
    apart: float  # E[sum_j a_j² (1 - 2 a_j + sum_k a_k²)]: what a change of the logits changes
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
    base, differing = np.array([position, both] * 2), np.array([q - position, sample - both] * 2)
    made = base + differing * found.overlaps
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
        causal = causal or bool(node.attrs.get("square", False)) or _masks(graph, node)
        value = node.inputs[0]
    return softmax, None, scale, causal


def _masks(graph: Graph, node: Node) -> bool:
    """Is a constant with a place for each pair of positions added?"""
    if node.op != "add" or len(node.inputs) != 2:
        return False
    value = node.inputs[1]
    shape = graph.values[value].shape
    known = graph.producer(value) is None and graph.leaf_of(value) is None
    square = len(shape) > 1 and shape[-1] == shape[-2] > 1
    return known and square and value not in graph.inputs


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
    alike = np.zeros(4)
    if a is not None and b is not None and a.paired and b.paired:
        k = b.seconds
        along = np.array([k[0] - k[POSITION], k[SAMPLE] - k[BOTH]] * 2)
        alike = size * scale**2 * a.seconds * along
    spread = max(float(alike[0]), 0.0)
    seen = concentration(count, causal, round(min(spread, 2.0 * WIDE), 3))
    even = concentration(count, causal, 0.0)
    c = np.clip(alike / spread, 0.0, 1.0) if spread > 0.0 else np.zeros(4)
    overlaps = np.array([even.own, even.own, even.other, even.other]) * (seen.own / even.own) ** c
    overlaps[0] = seen.own
    return Attention(
        query, key, value, size, scale, count, overlaps, even.column, seen.apart, spread
    )


class Concentration(NamedTuple):
    """Of a softmax's weights: E[sum_j a_ij²]; E[sum_j a_ij a_i'j] and E[(sum_i a_ij)²] of equal ones;
    and E[sum_j a_j² E_a[(1_j - a)²]], the squared length of the softmax's derivatives."""

    own: float
    other: float
    column: float
    apart: float


@lru_cache(maxsize=256)
def concentration(count: int, causal: bool, spread: float) -> Concentration:
    """How unequal the weights of a softmax over Gaussian logits are.

        E[sum_j a_j²] = n int_0^inf t E[e^{2l} exp(-t e^l)] E[exp(-t e^l)]^{n-1} dt

    from 1/S² = int t exp(-t S) dt, S = sum_j e^{l_j}. Under a causal mask query i sees i keys.

    Args:
        count: keys.
        causal: is there a causal mask?
        spread: the variance of the logits.

    Example:
        >>> [round(v, 3) for v in concentration(4, True, 0.0)]
        [0.521, 0.319, 1.479, 0.165]
    """
    sizes = np.arange(1, count + 1) if causal else np.array([count])
    other, column = 1.0 / count, 1.0
    if causal and count > 1:
        harmonic = float((1.0 / sizes).sum())
        other = 2.0 * (count - harmonic) / (count * (count - 1))
        column = float((np.cumsum(1.0 / sizes[::-1]) ** 2).mean())
    own = 1.0 / sizes
    apart = own * (1.0 - own)
    if spread > 0.0:
        sizes = sizes[:: -(-len(sizes) // 512)]
        own, apart = _unequal(sizes, spread)
    return Concentration(float(own.mean()), other, column, float(apart.mean()))


def _unequal(sizes: NDArray[np.int64], spread: float) -> tuple[Seconds, Seconds]:
    """E[sum_j a_j²] and E[sum_j a_j² (1 - 2 a_j + sum_k a_k²)] for each number of keys."""
    z, weight = np.polynomial.hermite_e.hermegauss(64)
    terms, weight = np.exp(math.sqrt(spread) * z), weight / weight.sum()
    reach = 4.0 * math.sqrt(spread)
    u = np.linspace(-14.0 - reach, 8.0 + reach, 800)  # t = e^u
    t, step = np.exp(u), u[1] - u[0]
    decay = np.exp(-t[:, None] * terms)
    one, two, three, four = (decay @ (weight * terms**k) for k in (0, 2, 3, 4))
    rest = one[:, None] ** (sizes - 1)
    rest_of_two = one[:, None] ** np.maximum(sizes - 2, 0)
    own = sizes * ((step * t**2 * two) @ rest)
    cubes = sizes * ((step * t**3 / 2.0 * three) @ rest)
    fourths = sizes * ((step * t**4 / 6.0 * four) @ rest)
    squares = sizes * (sizes - 1) * ((step * t**4 / 6.0 * two**2) @ rest_of_two)
    apart = own - 2.0 * cubes + fourths + squares
    return np.clip(own, 0.0, 1.0), np.clip(apart, 0.0, 1.0)


def inner_size(graph: Graph, node: Node) -> int:
    """How many products a matrix product of two signals sums into one element."""
    out = math.prod(graph.values[node.output].shape) or 1
    a, b = (math.prod(graph.values[v].shape) or 1 for v in node.inputs[:2])
    return max(1, round(math.sqrt(a * b / out / max(_batch(graph, node), 1))))


def _batch(graph: Graph, node: Node) -> int:
    shape = graph.values[node.output].shape
    return math.prod(shape[:-2]) if len(shape) > 2 else 1
