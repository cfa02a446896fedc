"""Normalisations, averages, pooling and rearrangement: many elements into one, or none at all."""

from __future__ import annotations

import math
from dataclasses import replace

from isometry.graph import Graph, Node
from isometry.theory.signal import Signal
from isometry.theory.walk import Rule, Walk

__all__ = ["RULES"]

STATISTIC = 8  # over so many elements a mean is a number


def softmax(walk: Walk, node: Node) -> Signal:
    count = node.attrs["count"]
    return Signal(node.output, 1.0 / count, 0.0, averaging=True)


def norm(walk: Walk, node: Node) -> Signal | None:
    signal = walk.signals.get(node.inputs[0])
    if signal is None:
        return None
    if node.attrs["kind"] == "rms":
        mean, q = signal.moments
        return walk.fresh(node, mean / math.sqrt(q), 1.0)
    out = walk.fresh(node, 0.0, 1.0)
    over_positions = node.attrs["kind"] in ("batch", "group")
    return replace(out, profile=signal.profile) if over_positions else out


def mean(walk: Walk, node: Node) -> Signal | None:
    signal = walk.signals.get(node.inputs[0])
    if signal is None:
        return None
    count = node.attrs["count"]
    mean, q = signal.moments
    if signal.averaging:
        return signal
    if count >= STATISTIC and _kept_dims(walk.graph, node):
        return Signal(signal.root, mean, 0.0, statistic=True, known=signal.known)
    return walk.fresh(node, mean, _pooled(mean, q, count), signal.known)


def total(walk: Walk, node: Node) -> Signal | None:
    signal = walk.signals.get(node.inputs[0])
    if signal is None or signal.averaging:
        return signal
    count = node.attrs["count"]
    mean, q = signal.moments
    if count >= STATISTIC and _kept_dims(walk.graph, node):
        return Signal(signal.root, count * mean, 0.0, statistic=True, known=signal.known)
    if _weighted(walk, node):
        return walk.fresh(node, mean, q, signal.known)
    return walk.fresh(node, count * mean, count**2 * mean**2 + count * (q - mean**2), signal.known)


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
    return Signal(signal.root, number, 0.0, statistic=True, known=signal.known)


def pool(walk: Walk, node: Node) -> Signal | None:
    signal = walk.signals.get(node.inputs[0])
    if signal is None:
        return None
    mean, q = signal.moments
    if node.attrs["kind"] == "avg":
        return walk.fresh(node, mean, _pooled(mean, q, node.attrs["count"]), signal.known)
    return maximum(walk, node)


def maximum(walk: Walk, node: Node) -> Signal | None:
    """The largest of k: of neighbours that agree it is the signal, of independent ones more."""
    signal = walk.signals.get(node.inputs[0])
    if signal is None or signal.averaging or signal.statistic:
        return signal
    mean, q = signal.moments
    growth = min(2.0 * math.log(max(node.attrs["count"], 2)), 8.0)
    q_out = math.sqrt(q * max(q, mean * mean + growth * (q - mean * mean)))
    return walk.fresh(
        node, math.sqrt(max(q_out - 0.6 * (q - mean * mean), 0.0)), q_out, signal.known
    )


def concat(walk: Walk, node: Node) -> Signal | None:
    inputs = walk.inputs(node)
    if not inputs:
        return None
    if len({(s.root, s.expression) for s in inputs}) == 1:
        return inputs[0]
    moments = [s.moments for s in inputs]
    count = len(moments)
    return walk.fresh(
        node, sum(m for m, _ in moments) / count, sum(q for _, q in moments) / count,
        all(s.known for s in inputs),
    )  # fmt: skip


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


def _pooled(mean: float, q: float, count: int) -> float:
    """An average of k neighbours, which share part of their signal: halfway (in k's exponent)
    between independent ones, (q - mean²)/k, and equal ones, q - mean²."""
    return mean * mean + (q - mean * mean) / math.sqrt(max(count, 1))


def _kept_dims(graph: Graph, node: Node) -> bool:
    """Is a reduction put back against what it was taken of, as in a normalisation?"""
    return any(
        reader.op in ("pointwise", "sub", "div", "mul", "max")
        for reader, _ in graph.readers(node.output)
    )


RULES: dict[str, Rule] = {
    "softmax": softmax,
    "norm": norm,
    "mean": mean,
    "sum": total,
    "variance": statistic,
    "deviation": statistic,
    "length": statistic,
    "pool": pool,
    "maximum": maximum,
    "concat": concat,
    "dropout": first,
    "where": first,
    "view": view,
}
