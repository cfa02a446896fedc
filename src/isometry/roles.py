"""What each parameter does in its model, read off the graph: its role, axes, fans and blocks.

A role is a word of the field's own:

    linear conv conv_transpose bilinear experts recurrent gates    matrices, by how they are used
    embedding            rows looked up by an input
    positions            a table added to another signal; a class or mask token
    query                learned vectors that enter the network as if they were an input
    bias                 added to what a matrix or a normalisation gives
    norm_gain            multiplies what a normalisation gives
    scale                any other factor: LayerScale, ReZero, a gate, a temperature
    attention_bias       added to attention scores: relative positions
    state_space          decay rates and time steps of a state-space model
    magnitude            the length of a weight-normalised weight; `direction` is the weight itself
    special              used in a way that has no law of its own
    unused               not reached by the call that was traced
    buffer               a buffer
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from isometry.errors import ArgumentError
from isometry.fan import fans_of
from isometry.graph import Graph, Leaf, Node, Range
from isometry.streams import Stream, Streams
from isometry.types import Axes, Fans

__all__ = ["MATRICES", "Usage", "is_normalised", "read_usages"]

MATRICES = frozenset(
    "linear conv conv_transpose bilinear experts recurrent gates direction".split()
)
REINDEXING = frozenset("view lookup where concat dropout".split())
SEARCH = 12  # how many nodes ahead to look for what a signal is for


@dataclass(slots=True)
class Usage:
    """One leaf and what the graph says of it.

    `node` is where it meets the signal, `reads` the value it is applied to, `output` the value
    after its bias. `stream` is the residual stream it writes, `heads` the model outputs it makes.
    """

    leaf: Leaf
    role: str
    node: Node | None = None
    reads: int | None = None
    output: int | None = None
    axes: Axes | None = None
    fans: Fans | None = None
    blocks: tuple[Range, ...] = ()
    stream: Stream | None = None
    normalised: bool = False
    heads: tuple[str, ...] = ()
    others: list[Usage] = field(default_factory=list)  # what else the same leaf is used for
    via: tuple[str, ...] = ()  # operations between the leaf and the signal
    partner: Leaf | None = None  # bias: the matrix whose output it is added to
    padding: int | None = None  # embedding: a row that stays zero
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Meeting:
    """A node where something that follows from a leaf meets the signal."""

    node: Node
    place: int
    path: tuple[Node, ...]


def read_usages(graph: Graph, weights: set[int], streams: Streams) -> list[Usage]:
    """A usage for every leaf, in the leaves' order."""
    heads = _heads(graph, weights, streams)
    return [_read(graph, leaf, weights, streams, heads) for leaf in graph.leaves]


def _read(
    graph: Graph, leaf: Leaf, weights: set[int], streams: Streams, heads: dict[int, tuple[str, ...]]
) -> Usage:
    if leaf.kind == "buffer":
        return Usage(leaf, "buffer")
    uses = [_use(graph, leaf, m, weights) for m in _meetings(graph, leaf.value, weights)]
    if leaf.hint is not None and (not uses or leaf.hint.recurrent):
        return _from_hint(leaf, uses)
    if not uses:
        return Usage(leaf, "unused")
    # A tied table is a table first: how its rows look decides more than how they are read out.
    order = ("embedding", "linear", "conv", "conv_transpose", "experts", "bilinear", "direction")
    uses.sort(key=lambda u: order.index(u.role) if u.role in order else len(order))
    for use in uses:
        if use.node is not None and use.role in MATRICES:
            use.stream = streams.of_writer.get(use.node.index)
            use.heads = heads.get(use.node.index, ())
            use.normalised = _normalised_next(graph, use.output)
    first = uses[0]
    first.blocks = _blocks(graph, leaf, uses)
    first.others = uses[1:]
    return first


def _meetings(graph: Graph, value: int, weights: set[int], limit: int = 64) -> list[_Meeting]:
    """Where a leaf, or what is computed from it and other leaves, first meets the signal."""
    found: list[_Meeting] = []
    queue: list[tuple[int, tuple[Node, ...]]] = [(value, ())]
    seen: set[int] = set()
    while queue and len(found) < limit:
        current, path = queue.pop(0)
        for node, place in graph.readers(current):
            if node.output in weights:
                if node.index not in seen:
                    seen.add(node.index)
                    queue.append((node.output, (*path, node)))
            else:
                found.append(_Meeting(node, place, path))
    return found


def _use(graph: Graph, leaf: Leaf, met: _Meeting, weights: set[int]) -> Usage:
    node, place, path = met.node, met.place, met.path
    via = tuple(n.attrs.get("name", n.attrs.get("fn", n.op)) for n in path if n.op != "view")
    plain = all(n.op in REINDEXING for n in path)
    weight_place = {"linear": 1, "conv": 1, "bilinear": 2}.get(node.op)
    use = Usage(leaf, "special", node, via=via)
    if place == weight_place:
        _as_matrix(graph, use, plain)
    elif node.op == "linear" and place == 0:
        use.role, use.output = "query", node.output
    elif node.op == "lookup" and place == 0:
        use.role, use.output = "embedding", node.output
        use.padding = node.attrs.get("padding_idx")
        use.axes = Axes(in_axis=(), out_axis=tuple(range(1, len(leaf.shape))), batch_axis=(0,))
        use.fans = Fans(1.0, float(leaf.shape[-1])) if leaf.shape else None
    elif node.op in ("mul", "div"):
        _as_factor(graph, use, weights, plain)
    elif node.op in ("add", "sub"):
        _as_summand(graph, use, weights, plain)
    elif node.op in ("concat", "where"):
        use.role, use.output = "positions", node.output
    elif node.op == "opaque":
        use.note = f"used by {node.attrs.get('name', 'an operation')}"
    return use


def _as_matrix(graph: Graph, use: Usage, plain: bool) -> None:
    node, leaf = use.node, use.leaf
    assert node is not None
    use.reads, use.output = node.inputs[0], _after_bias(graph, node)
    if not plain:
        # Weight norm and its kin: the effective weight is computed from several leaves.
        root = graph.values[node.parts[-1].root]
        if len(leaf.shape) < 2 or leaf.shape != root.shape:
            use.role = "magnitude" if len(leaf.shape) == len(root.shape) else "special"
            if use.role == "special":
                use.note = f"part of a computed weight ({', '.join(use.via)})"
            return
    if node.op == "conv":
        transposed, groups = node.attrs["transposed"], node.attrs["groups"]
        use.role = "conv_transpose" if transposed else "conv"
        use.axes = Axes((0,), (1,)) if transposed else Axes((1,), (0,))
        stride = node.attrs["stride"]
    elif node.op == "bilinear":
        use.role, groups, transposed, stride = "bilinear", 1, False, 1
        use.axes = Axes(in_axis=(1, 2), out_axis=(0,))
    else:
        groups, transposed, stride = 1, False, 1
        use.axes = _linear_axes(node, leaf)
        use.role = "experts" if use.axes and use.axes.batch_axis else "linear"
    if not plain:
        use.role = "direction" if use.role in ("linear", "conv") else use.role
    if use.axes is None:
        use.role, use.note = "special", "its axes could not be followed through the graph"
        return
    try:
        use.fans = fans_of(leaf.shape, use.axes, groups, stride, transposed)
    except ArgumentError:
        use.role, use.note = "special", "its fans could not be read off the graph"


def _linear_axes(node: Node, leaf: Leaf) -> Axes | None:
    if "in_axis" not in node.attrs:
        return None
    axes = Axes(node.attrs["in_axis"], node.attrs["out_axis"], node.attrs["batch_axis"])
    named = (*axes.in_axis, *axes.out_axis, *axes.batch_axis)
    if len(set(named)) != len(named) or any(a >= len(leaf.shape) for a in named):
        return None
    # An axis of size 1, or one the product never ran over, changes no fan: count it as output.
    rest = tuple(a for a in range(len(leaf.shape)) if a not in named)
    return Axes(axes.in_axis, (*axes.out_axis, *rest), axes.batch_axis)


def _as_factor(graph: Graph, use: Usage, weights: set[int], plain: bool) -> None:
    node = use.node
    assert node is not None
    use.output = node.output
    others = [v for v in node.inputs if v not in weights]
    use.reads = others[0] if others else None
    follows_norm = bool(others) and is_normalised(graph, others[0])
    if not follows_norm and _feeds(graph, node.output, "exp", 2):
        use.role = "state_space"  # a decay exp(dt A)
    else:
        use.role = "norm_gain" if follows_norm and plain else "scale"


def _as_summand(graph: Graph, use: Usage, weights: set[int], plain: bool) -> None:
    node, leaf = use.node, use.leaf
    assert node is not None
    use.output = node.output
    others = [v for v in node.inputs if v not in weights]
    if not others:
        use.role = "query"
        return
    use.reads = others[0]
    source = graph.producer(others[0])
    if _feeds(graph, node.output, "softmax", 3):
        use.role = "attention_bias"
    elif source is not None and source.op in ("linear", "conv", "bilinear") and plain:
        use.role = "bias"
        use.partner = graph.leaf_of(source.inputs[-1]) or _behind(graph, source.inputs[-1])
        if _feeds(graph, node.output, "softplus", 1) and _feeds(graph, node.output, "exp", SEARCH):
            use.role = "state_space"
    elif source is not None and source.op in ("linear", "conv"):
        use.role, use.note = "bias", f"through {', '.join(use.via)}"
    elif plain and not use.via and math.prod(leaf.shape) == max(leaf.shape, default=1):
        use.role = "bias"  # one number a feature
    else:
        use.role = "positions"


def _behind(graph: Graph, value: int) -> Leaf | None:
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
    while node is not None and node.op in ("view", "mul", "add"):
        learned = [v for v in node.inputs if _is_leaf(graph, v)]
        if node.op != "view" and not learned:
            break
        node = graph.producer(next(v for v in node.inputs if v not in learned))
    if node is None:
        return False
    if node.op == "norm":
        return True
    if node.op in ("mul", "div") and len(node.inputs) == 2:
        return any(
            _is_statistic(graph, a, b) for a, b in (node.inputs, tuple(reversed(node.inputs)))
        )
    return False


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


def _after_bias(graph: Graph, node: Node) -> int:
    """The value once a bias has been added, where the next thing that happens is that."""
    readers = graph.readers(node.output)
    if len(readers) == 1 and readers[0][0].op == "add":
        after = readers[0][0]
        other = after.inputs[1 - readers[0][1]] if len(after.inputs) == 2 else None
        if other is not None and _behind(graph, other) is not None:
            return after.output
    return node.output


def _feeds(graph: Graph, value: int, what: str, depth: int) -> bool:
    """Does a value reach an operation or function of that name within a few steps?"""
    level = [value]
    for _ in range(depth):
        readers = [n for v in level for n, _ in graph.readers(v)]
        if any(what in (n.op, n.attrs.get("fn")) for n in readers):
            return True
        passing = ("pointwise", "view", "add", "mul", "where", "dropout", "lookup", "concat")
        level = [n.output for n in readers if n.op in passing][:8]
    return False


def _normalised_next(graph: Graph, value: int | None) -> bool:
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


def _blocks(graph: Graph, leaf: Leaf, uses: list[Usage]) -> tuple[Range, ...]:
    """Ranges of an axis that are matrices of their own: sliced before use, or split after."""
    axis, ranges = None, set()
    for use in uses:
        if use.node is None or use.role not in ("linear", "experts"):
            return ()
        part = use.node.parts[1]
        if part.root == leaf.value:
            for a, r in part.ranges.items():
                axis = a if axis in (None, a) else -1
                ranges.add(r)
    if ranges and axis is not None and axis >= 0:
        return _partition(axis, leaf.shape[axis], ranges)
    first = uses[0]
    if (
        len(uses) != 1
        or first.axes is None
        or first.output is None
        or len(first.axes.out_axis) != 1
    ):
        return ()
    out = first.axes.out_axis[0]
    size = leaf.shape[out]
    shape = graph.values[first.output].shape
    features = [i for i, n in enumerate(shape) if n == size]
    if not features:
        return ()
    split: set[tuple[int, int]] = set()
    for node, place in graph.readers(first.output):
        split.add(node.parts[place].ranges.get(features[-1], (0, size)))
    return _partition(out, size, split)


def _partition(axis: int, size: int, ranges: set[tuple[int, int]]) -> tuple[Range, ...]:
    """The ranges as blocks, where they tile the axis; ranges inside others are parts of a block."""
    ordered = sorted(r for r in ranges if not any(_inside(r, other) for other in ranges))
    ends = [0, *(stop for _, stop in ordered)]
    if len(ordered) < 2 or [start for start, _ in ordered] != ends[:-1] or ends[-1] != size:
        return ()
    thirds = len(ordered) == 3 and len({stop - start for start, stop in ordered}) == 1
    names = ("q", "k", "v") if thirds else tuple(str(i) for i in range(len(ordered)))
    return tuple(Range(n, axis, a, b) for n, (a, b) in zip(names, ordered, strict=True))


def _inside(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return inner != outer and outer[0] <= inner[0] and inner[1] <= outer[1]


def _heads(graph: Graph, weights: set[int], streams: Streams) -> dict[int, tuple[str, ...]]:
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
            elif node.op in ("view", "dropout", "where", "lookup", "pool", "mean"):
                stack.append(node.inputs[0])
            elif node.op == "add" and node.index not in streams.of_addition:
                stack.extend(v for v in node.inputs if v not in weights)
            elif node.op == "pointwise" and node.attrs["fn"] in ("mul", "div", "add", "sub"):
                stack.append(node.inputs[0])
    return found


def _from_hint(leaf: Leaf, uses: list[Usage]) -> Usage:
    """What the class of the module says, for a layer that the graph unrolls or does not show."""
    hint = leaf.hint
    assert hint is not None
    return Usage(
        leaf,
        hint.role,
        uses[0].node if uses else None,
        uses[0].reads if uses and hint.role == "gates" else None,
        axes=hint.axes,
        fans=hint.fans,
        blocks=hint.blocks,
        padding=hint.padding,
        note="" if uses else "the traced call does not reach it: planned from its module's type",
    )
