"""Normalisations, averages, pooling and rearrangement: many elements into one, or none at all."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np

from isometry.graph import Graph, Node
from isometry.theory.places import feature_axis, over, positions, samples
from isometry.theory.signal import BOTH, POSITION, SAMPLE, Seconds, Signal
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
    if not walk.paired:
        mean, q = signal.moments
        rms = node.attrs["kind"] == "rms"
        out = walk.fresh(node, mean / math.sqrt(q) if rms else 0.0, 1.0)
    else:
        mean, left = normalised(walk, node, signal)
        size = left[0] + node.attrs.get("eps", 0.0)
        out = walk.fresh(node, mean / math.sqrt(size), left / size)
    over_positions = node.attrs["kind"] in ("batch", "group")
    return replace(out, profile=signal.profile, joint=signal.joint) if over_positions else out


def normalised(walk: Walk, node: Node, signal: Signal) -> tuple[float, Seconds]:
    """Mean and second moments of what a normalisation divides by its size: of x itself (rms), or
    of x less its mean over features, over a group of channels, or over samples and positions."""
    kind, seconds, mean = node.attrs["kind"], signal.seconds, signal.moments[0]
    if kind == "rms":
        return mean, seconds
    if kind == "layer":
        return 0.0, _floored(seconds - mean * mean, seconds)
    _, sample, position, both = seconds
    count = positions(walk.graph, node.inputs[0])
    if kind == "batch":
        batch = samples(walk.graph, node.inputs[0])
        same = pooled(seconds, count)
        return 0.0, _floored(seconds - (same[0] + (batch - 1) * same[SAMPLE]) / batch, seconds)
    # What the mean over a group's channels and positions takes, besides the mean of all.
    channels = max(int(node.attrs.get("channels", 1)), 1)
    own, other = (pooled(seconds, count)[[0, SAMPLE]] - mean * mean) / channels
    taken = mean * mean + np.array([own, other, own, other])
    return 0.0, _floored(seconds - taken, seconds)


def _floored(left: Seconds, seconds: Seconds) -> Seconds:
    """What is left of a second moment is no less than what rounding leaves."""
    return np.array([max(left[0], 1e-12 * float(seconds[0])), *left[1:]])


def pooled(seconds: Seconds, count: int) -> Seconds:
    """Second moments of the mean of so many positions.

    E[(sum_t x_t / k)²] = (q + (k - 1) E[x_t x_t'])/k, and so for two samples.
    """
    q, sample, position, both = seconds
    share = 1.0 / max(count, 1)
    return np.array([
        position + (q - position) * share, both + (sample - both) * share, position, both,
    ])  # fmt: skip


def mean(walk: Walk, node: Node) -> Signal | None:
    signal = walk.signals.get(node.inputs[0])
    if signal is None or signal.averaging:
        return signal
    count = node.attrs["count"]
    mean, q = signal.moments
    if count >= STATISTIC and _kept_dims(walk.graph, node):
        return _number(signal, mean)
    if not walk.paired:
        return walk.fresh(node, mean, _pooled(mean, q, count), signal.known)
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
    return Signal(
        signal.root, value, 0.0, statistic=True, known=signal.known, covariances=none
    )


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


def pool(walk: Walk, node: Node) -> Signal | None:
    signal = walk.signals.get(node.inputs[0])
    if signal is None:
        return None
    mean, q = signal.moments
    count = node.attrs["count"]
    if node.attrs["kind"] == "avg":
        seconds = pooled(signal.seconds, count) if walk.paired else _pooled(mean, q, count)
        return walk.fresh(node, mean, seconds, signal.known)
    return maximum(walk, node)


def maximum(walk: Walk, node: Node) -> Signal | None:
    """The largest of k: of neighbours that agree it is the signal, of independent ones more."""
    signal = walk.signals.get(node.inputs[0])
    if signal is None or signal.averaging or signal.statistic:
        return signal
    count = node.attrs["count"]
    if walk.paired:
        return largest_of(walk, node, signal, count)
    mean, q = signal.moments
    growth = min(2.0 * math.log(max(count, 2)), 8.0)
    q_out = math.sqrt(q * max(q, mean * mean + growth * (q - mean * mean)))
    return walk.fresh(
        node, math.sqrt(max(q_out - 0.6 * (q - mean * mean), 0.0)), q_out, signal.known
    )


def largest_of(walk: Walk, node: Node, signal: Signal, count: int) -> Signal:
    """The largest of k neighbours: of their Gaussians, where the function of them does not fall.

    With correlation r of neighbours, z = sqrt(r) u + sqrt(1 - r) e: the largest adds E[max e] to the
    mean and leaves Var[max e] of the variance of e. Two samples whose e are correlated by c share
    c/k + (Var[max e] - 1/k) c² of it, exact to the first order and at c = 1.
    """
    centre, spread = largest(count)
    variance = signal.variance
    sample, position, both = signal.covariances
    own = max(variance - position, 0.0)
    alike = (sample - both) / own if own > 1e-12 * variance else 0.0
    alike = min(max(alike, -1.0), 1.0)
    kept = (alike / count + (spread - 1.0 / count) * alike * alike) * own
    known = signal.known and over(walk.graph, node) in ("positions", None)
    return Signal(
        node.output, signal.mean + centre * math.sqrt(own), position + own * spread,
        signal.expression, known=known,
        covariances=(both + kept, position, both),
    )  # fmt: skip


@lru_cache(maxsize=256)
def largest(count: int) -> tuple[float, float]:
    """Mean and variance of the largest of so many independent standard normals."""
    z = np.linspace(-9.0, 9.0, 3601)
    below = 0.5 * (1.0 + np.array([math.erf(x / math.sqrt(2.0)) for x in z]))
    weight = np.diff(below**count)
    middle = 0.5 * (z[1:] + z[:-1])
    mean = float(weight @ middle)
    return mean, float(weight @ middle**2) - mean * mean


def concat(walk: Walk, node: Node) -> Signal | None:
    inputs = walk.inputs(node)
    if not inputs:
        return None
    if len({(s.root, s.expression) for s in inputs}) == 1:
        return inputs[0]
    if walk.paired:
        return joined(walk, node)
    moments = [s.moments for s in inputs]
    count = len(moments)
    return walk.fresh(
        node, sum(m for m, _ in moments) / count, sum(q for _, q in moments) / count,
        all(s.known for s in inputs),
    )  # fmt: skip


def joined(walk: Walk, node: Node) -> Signal:
    """Signals side by side: means over the elements of each. Along positions the pairs of two kinds
    have nothing in common but their means, and what is learned is the same for all samples."""
    found: list[tuple[float, float, Seconds]] = []  # share, mean, second moments
    known = True
    for place, value in enumerate(node.inputs):
        signal = walk.operand(node, place)
        size = float(math.prod(walk.graph.values[value].shape) or 1)
        for axis, (start, stop) in node.parts[place].ranges.items():
            size *= (stop - start) / max(walk.graph.values[value].shape[axis], 1)
        if signal is not None:
            found.append((size, signal.moments[0], signal.seconds))
            known = known and signal.known
        elif (learned := walk.table(node, value)) is not None:
            batch = samples(walk.graph, node.output) if len(node.inputs) > 1 else 1
            found.append((size * batch, learned[0], walk.shared(value, *learned)))
        else:
            known = False
    whole = sum(size for size, _, _ in found)
    mean = sum(size * m for size, m, _ in found) / whole
    seconds = np.add.reduce([size * s for size, _, s in found]) / whole
    shape = walk.graph.values[node.output].shape
    along = node.attrs.get("axis", 0) % max(len(shape), 1)
    if along not in (0, feature_axis(walk.graph, node.inputs[0])):
        across = sum(
            a * b * m * n for i, (a, m, _) in enumerate(found) for j, (b, n, _) in enumerate(found)
            if i != j
        ) / whole**2  # fmt: skip
        for pair in (POSITION, BOTH):
            seconds[pair] = sum((a / whole) ** 2 * s[pair] for a, _, s in found) + across
    return walk.fresh(node, mean, seconds, known)


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
