"""Fused matrices: ranges of an axis that are sliced before use, or split after."""

from __future__ import annotations

from isometry.graph import Graph, Leaf, Range
from isometry.roles.usage import Usage

__all__ = ["blocks_of"]


def blocks_of(graph: Graph, leaf: Leaf, uses: list[Usage]) -> tuple[Range, ...]:
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
