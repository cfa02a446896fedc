"""Which matrices make the queries, keys and values of attention, and which reads the average.

    out = softmax(q k'/scale) v,     q = x W_Q, k = x W_K, v = x W_V,   y = out W_O

Read off the graph: what the softmax normalises, and what it averages. Names and shapes play no part,
so that a fused projection is told apart by the ranges of it that are used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from isometry.graph import Graph, Node, Part
from isometry.roles.search import leaf_behind

__all__ = ["Attention", "Projection", "read_attention"]

PASSING = frozenset("view dropout where lookup pointwise add mul sub div norm concat".split())
SEARCH = 40  # steps back from a score to the projection: rotary embeddings take a dozen


@dataclass(frozen=True, slots=True)
class Projection:
    """Rows [start, stop) of the out axis of a parameter."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Attention:
    """One attention: its projections, the matrix that reads it, and its number of heads."""

    q: Projection
    k: Projection
    v: Projection
    out: str | None
    heads: int


def read_attention(graph: Graph, weights: set[int]) -> tuple[Attention, ...]:
    """Every attention whose queries, keys and values are projections, in execution order."""
    found = []
    for node in graph:
        if node.op == "softmax":
            product, average = _scores(graph, node), _average(graph, node)
            if product is None or average is None:
                continue
            mixed, place = average
            q, k = (_projection(graph, weights, product, i) for i in (0, 1))
            v, result, scores = _projection(graph, weights, mixed, place), mixed, product.output
        elif node.op == "attention":
            q, k, v = (_projection(graph, weights, node, i) for i in (0, 1, 2))
            result, scores = node, -1
        else:
            continue
        if q is None or k is None or v is None:
            continue
        heads = _heads(graph, q[1], q[0], scores, node)
        found.append(Attention(q[0], k[0], v[0], _reader(graph, result.output), heads))
    return tuple(found)


def _scores(graph: Graph, softmax: Node) -> Node | None:
    """The product of queries and keys that a softmax normalises."""
    value = softmax.inputs[0]
    for _ in range(SEARCH):
        node = graph.producer(value)
        if node is None or node.op == "matmul":
            return node
        if node.op not in PASSING or not node.inputs:
            return None
        value = max(node.inputs, key=lambda v: graph.values[v].producer)  # not the mask
    return None


def _average(graph: Graph, softmax: Node) -> tuple[Node, int] | None:
    """The product that averages the values, and the place they have in it."""
    value = softmax.output
    for _ in range(8):
        readers = graph.readers(value)
        for node, place in readers:
            if node.op == "matmul":
                return node, 1 - place
        passing = [n for n, _ in readers if n.op in PASSING]
        if not passing:
            return None
        value = passing[0].output
    return None


def _projection(
    graph: Graph, weights: set[int], node: Node, place: int
) -> tuple[Projection, Node] | None:
    """The rows of a parameter that made an operand, and the product that read them."""
    part: Part = node.parts[place]
    seen: list[tuple[int, tuple[int, int]]] = []  # (size of the last axis, the range taken of it)
    for _ in range(SEARCH):
        shape = graph.values[part.root].shape
        if len(shape) - 1 in part.ranges:
            seen.append((shape[-1], part.ranges[len(shape) - 1]))
        made = graph.producer(part.root)
        if made is None:
            return None
        if made.op == "linear":
            leaf = leaf_behind(graph, made.parts[1].root)
            if leaf is None:
                return None
            (axis,) = made.attrs.get("out_axis", (0,))[:1] or (0,)
            size = leaf.shape[axis]
            taken = [r for last, r in seen if last == size]
            start, stop = made.parts[1].ranges.get(axis) or (taken[-1] if taken else (0, size))
            return Projection(leaf.name, start, stop), made
        if made.op not in PASSING:
            return None
        places = [i for i, v in enumerate(made.inputs) if v not in weights and not _fixed(graph, v)]
        if not places:
            return None
        part = made.parts[places[0]]
    return None


def _fixed(graph: Graph, value: int) -> bool:
    made = graph.producer(value)
    return value not in graph.inputs if made is None else made.op == "constant"


def _reader(graph: Graph, value: int) -> str | None:
    """The matrix that reads an average next."""
    for _ in range(8):
        readers = [n for n, _ in graph.readers(value)]
        for node in readers:
            if node.op == "linear":
                leaf = leaf_behind(graph, node.parts[1].root)
                return None if leaf is None else leaf.name
        passing = [n for n in readers if n.op in PASSING]
        if not passing:
            return None
        value = passing[0].output
    return None


def _heads(graph: Graph, product: Node, q: Projection, scores: int, node: Node) -> int:
    """Scores a pair of tokens: their number over tokens and keys."""
    made = graph.values[product.output].shape
    tokens = math.prod(made[:-1])
    if scores < 0:
        shape = graph.values[node.output].shape
        return max(1, (q.stop - q.start) // max(1, shape[-1]))
    shape = graph.values[scores].shape
    return max(1, math.prod(shape) // max(1, tokens * shape[-1]))
