"""Questions about a graph: what made a value, and what it is for."""

from __future__ import annotations

from isometry.graph import Graph, Leaf, Node
from isometry.roles.usage import REINDEXING
from isometry.streams import SCALARS, Streams

__all__ = [
    "after_bias",
    "feeds",
    "head_nodes",
    "is_normalised",
    "leaf_behind",
    "normalised_next",
]


def leaf_behind(graph: Graph, value: int) -> Leaf | None:
    """The leaf that a weight operand is, through reindexing."""
    while (leaf := graph.leaf_of(value)) is None:
        node = graph.producer(value)
        if node is None or node.op not in REINDEXING or not node.inputs:
            return None
        value = node.inputs[0]
    return leaf


def is_normalised(graph: Graph, value: int) -> bool:
    """Did a normalisation make this value: the operation itself, or x / rms(x) written out, with
    or without the gain and bias that follow it?"""
    node = graph.producer(value)
    while node is not None and node.op in ("view", "mul", "div", "add"):
        if _divides_by_statistic(graph, node):
            return True
        learned = [v for v in node.inputs if _is_leaf(graph, v)]
        if node.op != "view" and not learned:
            break
        node = graph.producer(next(v for v in node.inputs if v not in learned))
    return node is not None and node.op == "norm"


def _divides_by_statistic(graph: Graph, node: Node) -> bool:
    if node.op not in ("mul", "div") or len(node.inputs) != 2:
        return False
    return any(_is_statistic(graph, a, b) for a, b in (node.inputs, tuple(reversed(node.inputs))))


def _is_leaf(graph: Graph, value: int) -> bool:
    node = graph.producer(value)
    return graph.leaf_of(value if node is None or node.op != "view" else node.inputs[0]) is not None


def _is_statistic(graph: Graph, value: int, of: int) -> bool:
    """Is `value` an inverse root mean square, a standard deviation or a length of `of`?"""
    for _ in range(6):
        node = graph.producer(value)
        if node is None:
            return False
        if node.op in ("mean", "sum", "variance", "deviation", "length"):
            return _same_signal(graph, node.inputs[0], of)
        if node.op not in ("pointwise", "view", "max", "where"):
            return False
        value = node.inputs[0]
    return False


def _same_signal(graph: Graph, value: int, of: int) -> bool:
    for _ in range(4):
        if value == of:
            return True
        node = graph.producer(value)
        if node is None or node.op not in ("pointwise", "view", "mul", "sub"):
            return False
        value = node.inputs[0]
    return False


def after_bias(graph: Graph, node: Node) -> int:
    """The value once a bias has been added, where the next thing that happens is that."""
    readers = graph.readers(node.output)
    if len(readers) == 1 and readers[0][0].op == "add":
        after = readers[0][0]
        other = after.inputs[1 - readers[0][1]] if len(after.inputs) == 2 else None
        if other is not None and leaf_behind(graph, other) is not None:
            return after.output
    return node.output


def feeds(graph: Graph, value: int, what: str, depth: int) -> bool:
    """Does a value reach an operation or function of that name within a few steps?"""
    level = [value]
    for _ in range(depth):
        readers = [n for v in level for n, _ in graph.readers(v)]
        if any(what in (n.op, n.attrs.get("fn")) for n in readers):
            return True
        passing = ("pointwise", "view", "add", "mul", "where", "dropout", "lookup", "concat")
        level = [n.output for n in readers if n.op in passing][:8]
    return False


def normalised_next(graph: Graph, value: int | None) -> bool:
    """Is a value normalised before anything nonlinear reads it?"""
    for _ in range(4):
        readers = [n for n, _ in graph.readers(value)] if value is not None else []
        if not readers:
            return False
        if any(n.op == "norm" for n in readers) or is_normalised(graph, readers[-1].output):
            return True
        if len(readers) != 1 or readers[0].op not in ("view", "dropout"):
            return False
        value = readers[0].output
    return False


def head_nodes(graph: Graph, weights: set[int], streams: Streams) -> dict[int, tuple[str, ...]]:
    """Node of a weight -> names of the model outputs that it makes, last in its path."""
    found: dict[int, tuple[str, ...]] = {}
    for name, value in graph.outputs.items():
        stack = [value]
        for _ in range(16):
            if not stack:
                break
            node = graph.producer(stack.pop())
            if node is None:
                continue
            if node.op in ("linear", "conv", "bilinear"):
                found[node.index] = (*found.get(node.index, ()), name)
            elif node.op in ("view", "dropout", "where", "lookup", "pool", "mean", "softmax"):
                stack.append(node.inputs[0])
            elif node.op == "add" and node.index not in streams.of_addition:
                stack.extend(v for v in node.inputs if v not in weights)
            elif node.op == "pointwise" and node.attrs["fn"] in (*SCALARS, "tanh"):
                stack.append(node.inputs[0])
    return found
