"""Averages, statistics and rearrangement: many elements into one, or none at all."""

from __future__ import annotations

import math
from dataclasses import replace

from isometry.graph import Graph, Node
from isometry.theory.places import feature_axis, over
from isometry.theory.pooling import pooled, pooled_bound
from isometry.theory.signal import PAIRS, Seconds, Signal
from isometry.theory.walk import Rule, Walk

__all__ = ["RULES"]

STATISTIC = 8  # over so many elements a mean is a number


def softmax(walk: Walk, node: Node) -> Signal:
    count = node.attrs["count"]
    none = (0.0,) * PAIRS if walk.paired else ()
    return Signal(node.output, 1.0 / count, 0.0, averaging=True, covariances=none)


def mean(walk: Walk, node: Node) -> Signal | None:
    signal = walk.signals.get(node.inputs[0])
    if signal is None or signal.averaging:
        return signal
    count = node.attrs["count"]
    mean, q = signal.moments
    if count >= STATISTIC and _kept_dims(walk.graph, node):
        return _number(signal, mean)
    if not walk.paired:
        return walk.fresh(node, mean, pooled_bound(mean, q, count), signal.known)
    return walk.fresh(node, mean, *_mean_of(walk, node, signal, count))


def _mean_of(walk: Walk, node: Node, signal: Signal, count: int) -> tuple[Seconds, bool]:
    """Second moments of a mean, and whether they are known, by what it is taken over."""
    mean, axis = signal.moments[0], over(walk.graph, node)
    if axis == "features":
        size = walk.graph.values[node.inputs[0]].shape[feature_axis(walk.graph, node.inputs[0])]
        seconds = pooled(signal.seconds, max(count // max(size, 1), 1))
        return mean**2 + (seconds - mean**2) / max(min(size, count), 1), signal.known
    return pooled(signal.seconds, count), signal.known and axis == "positions"


def total(walk: Walk, node: Node) -> Signal | None:
    signal = walk.signals.get(node.inputs[0])
    if signal is None or signal.averaging:
        return signal
    count = node.attrs["count"]
    mean, q = signal.moments
    if count >= STATISTIC and _kept_dims(walk.graph, node):
        return _number(signal, count * mean)
    if _weighted(walk, node):
        return walk.fresh(node, mean, signal.seconds, signal.known)
    if walk.paired:
        seconds, known = _mean_of(walk, node, signal, count)
        return walk.fresh(node, count * mean, count**2 * seconds, known)
    return walk.fresh(node, count * mean, count**2 * mean**2 + count * (q - mean**2), signal.known)


def _number(signal: Signal, value: float) -> Signal:
    """A number that is worked out of many elements of a signal."""
    none = tuple(0.0 for _ in signal.covariances)
    return Signal(signal.root, value, 0.0, statistic=True, known=signal.known, covariances=none)


def _weighted(walk: Walk, node: Node) -> bool:
    """Is this the sum of an average, weights times values? A mixture of experts' is."""
    made = walk.graph.producer(node.inputs[0])
    for _ in range(4):
        if made is None:
            return False
        if made.op == "mul" and any(
            (s := walk.signals.get(v)) and s.averaging for v in made.inputs
        ):
            return True
        made = (
            walk.graph.producer(made.inputs[0]) if made.op in ("view", "lookup", "where") else None
        )
    return False


def statistic(walk: Walk, node: Node) -> Signal | None:
    signal = walk.signals.get(node.inputs[0])
    if signal is None:
        return None
    mean, q = signal.moments
    variance = max(q - mean * mean, 1e-300)
    number = {"variance": variance, "deviation": math.sqrt(variance)}.get(
        node.op, math.sqrt(node.attrs["count"] * q)
    )
    return _number(signal, number)


def first(walk: Walk, node: Node) -> Signal | None:
    return next(iter(walk.inputs(node)), None)


def view(walk: Walk, node: Node) -> Signal | None:
    signal = first(walk, node)
    pads = node.attrs.get("pad")
    if signal is None or not pads or signal.averaging:
        return signal
    shape = walk.graph.values[node.output].shape
    sizes = [n - sum(p) for n, p in zip(shape[-len(pads) :], pads, strict=True)]
    old = signal.profile or tuple((1.0,) * n for n in sizes)
    if [len(p) for p in old] != sizes:
        return replace(signal, profile=None)
    padded = tuple((0.0,) * a + p + (0.0,) * b for p, (a, b) in zip(old, pads, strict=True))
    return replace(signal, profile=padded)


def _kept_dims(graph: Graph, node: Node) -> bool:
    """Is a reduction put back against what it was taken of, as in a normalisation?"""
    return any(
        reader.op in ("pointwise", "sub", "div", "mul", "max")
        for reader, _ in graph.readers(node.output)
    )


RULES: dict[str, Rule] = {
    "softmax": softmax,
    "mean": mean,
    "sum": total,
    "variance": statistic,
    "deviation": statistic,
    "length": statistic,
    "dropout": first,
    "where": first,
    "view": view,
}
