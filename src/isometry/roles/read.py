"""Leaf by leaf: where it meets the signal, and what it is there."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isometry.errors import ArgumentError
from isometry.fan import fans_of
from isometry.graph import Graph, Leaf, Node, Part, Value
from isometry.roles.blocks import blocks_of
from isometry.roles.search import (
    after_bias,
    feeds,
    head_nodes,
    is_normalised,
    leaf_behind,
    normalised_next,
)
from isometry.roles.usage import MATRICES, REINDEXING, Usage
from isometry.streams import SCALARS, Streams
from isometry.types import Axes, Fans

__all__ = ["read_usages"]

SEARCH = 12  # how many nodes ahead to look for what a signal is for


@dataclass(frozen=True, slots=True)
class _Meeting:
    """A node where something that follows from a leaf meets the signal."""

    node: Node
    place: int
    path: tuple[Node, ...]


def read_usages(graph: Graph, weights: set[int], streams: Streams) -> list[Usage]:
    """A usage for every leaf, in the leaves' order."""
    heads = head_nodes(graph, weights, streams)
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
            use.normalised = normalised_next(graph, use.output)
    first = uses[0]
    if first.role == "norm_gain" and any(u.role != "norm_gain" for u in uses):
        first.role = "scale"  # a mix, m x + (1 - m) y, and no gain
    first.blocks = blocks_of(graph, leaf, uses)
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
    if (role := _in_learned_norm(graph, path)) is not None:
        use.role, use.output = role, node.output
    elif place == weight_place:
        _as_matrix(graph, use, path, plain)
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
        _as_summand(graph, use, weights, path, plain, node.parts[place] if node.parts else None)
    elif node.op in ("concat", "where"):
        use.role, use.output = "positions", node.output
    elif node.op == "opaque":
        use.note = f"used by {node.attrs.get('name', 'an operation')}"
    return use


def _in_learned_norm(graph: Graph, path: tuple[Node, ...]) -> str | None:
    """The gain or bias of a normalisation of learned vectors, which meets the signal with them."""
    met = next((i for i, n in enumerate(path) if n.op in ("mul", "add") and len(n.inputs) == 2), -1)
    if met < 0 or any(n.op not in REINDEXING for n in path[:met]):
        return None
    before = {n.output for n in path[:met]}
    others = [v for v in path[met].inputs if v not in before and graph.leaf_of(v) is None]
    if len(others) != 1 or not is_normalised(graph, others[0]):
        return None
    return "norm_gain" if path[met].op == "mul" else "bias"


def _as_matrix(graph: Graph, use: Usage, path: tuple[Node, ...], plain: bool) -> None:
    node, leaf = use.node, use.leaf
    assert node is not None
    use.reads, use.output = node.inputs[0], after_bias(graph, node)
    if not plain:
        # Weight norm and its kin: the effective weight is computed from several leaves.
        root = graph.values[node.parts[-1].root]
        if len(leaf.shape) < 2 or leaf.shape != root.shape or _mixes(path):
            use.role = "magnitude" if _is_length(leaf, root) else "special"
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
    use.factor = _factor(path)
    if not plain and use.factor is None:
        use.role = "direction" if use.role in ("linear", "conv") else use.role
    if use.axes is None:
        use.role, use.note = "special", "its axes could not be followed through the graph"
        return
    try:
        use.fans = fans_of(leaf.shape, use.axes, groups, stride, transposed)
    except ArgumentError:
        use.role, use.note = "special", "its fans could not be read off the graph"


def _factor(path: tuple[Node, ...]) -> float | None:
    """The number a weight is multiplied by where it is used (Karras et al. 2018, equalised learning
    rates); None where anything else is done to it."""
    factor = 1.0
    for node in path:
        if node.op in REINDEXING:
            continue
        fn, args = node.attrs.get("fn"), node.attrs.get("args", ())
        if node.op != "pointwise" or fn not in ("mul", "rmul", "div") or args[0] == 0:
            return None
        factor *= 1 / args[0] if fn == "div" else args[0]
    return factor


def _mixes(path: tuple[Node, ...]) -> bool:
    """Is what comes out no rescaling of the leaf: a product of it, a matrix function?"""
    names = [str(n.attrs.get("name", n.op)) for n in path]
    return any(n in ("matmul", "linear") or n.startswith("linalg_") for n in names)


def _is_length(leaf: Leaf, root: Value) -> bool:
    """One number a row of a weight, or one for the whole of it?"""
    if len(leaf.shape) != len(root.shape) or leaf.shape == root.shape:
        return False
    return all(n in (1, m) for n, m in zip(leaf.shape, root.shape, strict=True))


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
    if not follows_norm and feeds(graph, node.output, "exp", 2):
        use.role = "state_space"  # a decay exp(dt A)
    else:
        use.role = "norm_gain" if follows_norm and plain else "scale"


def _as_summand(
    graph: Graph, use: Usage, weights: set[int], path: tuple[Node, ...], plain: bool,
    part: Part | None,
) -> None:  # fmt: skip
    node, leaf = use.node, use.leaf
    assert node is not None
    use.output = node.output
    others = [v for v in node.inputs if v not in weights]
    if not others:
        use.role = "query"
        return
    use.reads = others[0]
    source = graph.producer(others[0])
    product = source is not None and source.op in ("linear", "conv", "bilinear") and plain
    if not product and feeds(graph, node.output, "softmax", 3):
        use.role = "attention_bias"
    elif source is not None and product:
        use.role = "bias"
        use.partner = graph.leaf_of(source.inputs[-1]) or leaf_behind(graph, source.inputs[-1])
        if feeds(graph, node.output, "softplus", 1) and feeds(graph, node.output, "exp", SEARCH):
            use.role = "state_space"
    elif source is not None and source.op in ("linear", "conv"):
        use.role, use.note = "bias", f"through {', '.join(use.via)}"
    elif plain and not use.via and math.prod(leaf.shape) == max(leaf.shape, default=1):
        use.role = "bias"  # one number a feature
    elif plain and not use.via and _is_row(leaf, part) and is_normalised(graph, others[0]):
        use.role = "bias"  # the bias of a normalisation, those of all layers stacked in one
    elif any(n.op == "pointwise" and n.attrs["fn"] not in SCALARS for n in path):
        use.note = f"added through {', '.join(use.via)}"  # a decay, a log of a probability
    else:
        use.role = "positions"


def _is_row(leaf: Leaf, part: Part | None) -> bool:
    """Is a leaf of several rows seen through one of them?"""
    if part is None or part.root != leaf.value or not part.ranges:
        return False
    shown = [part.ranges.get(a, (0, n)) for a, n in enumerate(leaf.shape)]
    sizes = [stop - start for start, stop in shown]
    return math.prod(sizes) == max(sizes)


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
