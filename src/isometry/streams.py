"""Residual streams: which values carry one, which weights write it, and how many times.

    x_{k+1} = x_k + f_k(x_k)

An addition is residual where one operand is an ancestor of the other. Additions whose skip operand
is the sum of the one before, but for reindexing and elementwise functions, are one stream; a
normalisation on the stream itself (post-norm) begins another.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from isometry.graph import Graph, Node

__all__ = ["SCALARS", "Stream", "Streams", "read_streams", "weight_values"]

# Operations through which a value stays the same signal, rescaled or rearranged.
CARRIERS = frozenset("view dropout where lookup".split())
SCALARS = frozenset("mul add sub div neg radd rmul rsub".split())


@dataclass(slots=True)
class Stream:
    """One residual stream: the value it starts from, its additions, how often it is written."""

    start: int
    additions: list[int] = field(default_factory=list)
    writes: int = 0


@dataclass(frozen=True, slots=True)
class Streams:
    """`of_addition`: node -> (stream, skip, branch). `of_writer`: node of a weight -> stream."""

    streams: tuple[Stream, ...]
    of_addition: dict[int, tuple[Stream, int, int]]
    of_writer: dict[int, Stream]


def weight_values(graph: Graph) -> set[int]:
    """Values that follow from parameters alone: weights as they are used, learned tables."""
    weights = {leaf.value for leaf in graph.leaves if leaf.kind == "parameter"}
    inputs = set(graph.inputs)
    computed: set[int] = set()
    for node in graph:
        fixed = all(v in weights or (v not in computed and v not in inputs) for v in node.inputs)
        # Queries that are parameters, or a table of constants, read by a projection; but W v beside
        # another use of W is a number worked out of W (its spectral norm).
        about = node.op == "linear" and node.inputs[0] not in weights
        learned_input = node.op == "linear" and not (
            about
            and (graph.leaf_of(node.inputs[1]) is None or len(graph.readers(node.inputs[1])) > 1)
        )
        if fixed and not learned_input and any(v in weights for v in node.inputs):
            weights.update(node.outputs)
        else:
            computed.update(node.outputs)
    return weights


def read_streams(graph: Graph, weights: set[int]) -> Streams:
    """Find the residual streams of a graph."""
    of_addition: dict[int, tuple[Stream, int, int]] = {}
    of_value: dict[int, Stream] = {}
    of_writer: dict[int, Stream] = {}
    streams: list[Stream] = []
    origins: dict[int, int] = {}  # addition -> what its branches are computed from
    for node in graph:
        if node.op != "add" or len(node.inputs) != 2 or any(v in weights for v in node.inputs):
            continue
        first, second = sorted(node.inputs, key=lambda v: graph.values[v].producer)
        skip, branch, origin = first, second, first
        if graph.values[second].producer < 0 or not _reaches(graph, first, second):
            beside = _beside(graph, first, second, of_value, origins)
            if beside is None:
                continue
            skip, branch, origin = beside
        stream = of_value.get(_carried(graph, skip, of_value))
        if stream is None:
            stream = Stream(skip)
            streams.append(stream)
        writers = _writers(graph, branch, graph.values[origin].producer, weights)
        stream.additions.append(node.index)
        stream.writes += max(1, len(writers))
        for writer in writers:
            of_writer.setdefault(writer.index, stream)
        of_addition[node.index] = (stream, skip, branch)
        of_value[node.output] = stream
        origins[node.index] = origin
    return Streams(tuple(streams), of_addition, of_writer)


def _beside(
    graph: Graph, first: int, second: int, known: dict[int, Stream], origins: dict[int, int]
) -> tuple[int, int, int] | None:
    """A further branch of the skip just added to, (x + f(x)) + g(x): the sum, g(x) and x."""
    for total, branch in ((first, second), (second, first)):
        last = graph.producer(_carried(graph, total, known))
        origin = None if last is None else origins.get(last.index)
        if origin is not None and branch != origin and _reaches(graph, origin, branch):
            return total, branch, origin
    return None


def _reaches(graph: Graph, ancestor: int, value: int) -> bool:
    """Is `value` computed from `ancestor`? Only nodes after the ancestor's need looking at."""
    limit = graph.values[ancestor].producer
    seen: set[int] = set()
    stack = [value]
    while stack:
        current = stack.pop()
        if current == ancestor:
            return True
        node = graph.producer(current)
        if node is None or node.index <= limit or node.index in seen:
            continue
        seen.add(node.index)
        stack.extend(node.inputs)
    return False


def _carried(graph: Graph, value: int, known: dict[int, Stream]) -> int:
    """The stream's last sum behind a value, through what leaves it the same stream."""
    while value not in known:
        node = graph.producer(value)
        if node is None or node.op not in (*CARRIERS, "pointwise") or not node.inputs:
            return value
        value = node.inputs[0]
    return value


def _writers(graph: Graph, branch: int, limit: int, weights: set[int]) -> list[Node]:
    """The products with a weight whose results a branch adds to its stream."""
    found: dict[int, Node] = {}
    stack = [branch]
    seen: set[int] = set()
    while stack:
        node = graph.producer(stack.pop())
        if node is None or node.index <= limit or node.index in seen:
            continue
        seen.add(node.index)
        if node.op in ("linear", "conv", "bilinear"):
            found[node.index] = node
        elif node.op in CARRIERS:
            stack.append(node.inputs[0])
        elif node.op in ("add", "mul", "sum", "concat", "sub"):
            stack.extend(v for v in node.inputs if v not in weights)
        elif node.op == "pointwise" and node.attrs["fn"] in SCALARS:
            stack.append(node.inputs[0])
    return list(found.values())
