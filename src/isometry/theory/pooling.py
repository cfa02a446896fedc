"""Pooling: the mean, or the largest, of neighbours that share part of their signal."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from isometry.graph import Node
from isometry.theory.places import over
from isometry.theory.signal import Seconds, Signal
from isometry.theory.walk import Rule, Walk

__all__ = ["RULES", "pooled", "pooled_bound"]


def pooled(seconds: Seconds, count: int) -> Seconds:
    """Second moments of the mean of so many positions.

    E[(sum_t x_t / k)²] = (q + (k - 1) E[x_t x_t'])/k, and so for two samples.
    """
    q, sample, position, both = seconds
    share = 1.0 / max(count, 1)
    return np.array([
        position + (q - position) * share, both + (sample - both) * share, position, both,
    ])  # fmt: skip


def pool(walk: Walk, node: Node) -> Signal | None:
    signal = walk.signals.get(node.inputs[0])
    if signal is None:
        return None
    mean, q = signal.moments
    count = node.attrs["count"]
    if node.attrs["kind"] == "avg":
        seconds = pooled(signal.seconds, count) if walk.paired else pooled_bound(mean, q, count)
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


def pooled_bound(mean: float, q: float, count: int) -> float:
    """An average of k neighbours, which share part of their signal: halfway (in k's exponent)
    between independent ones, (q - mean²)/k, and equal ones, q - mean²."""
    return mean * mean + (q - mean * mean) / math.sqrt(max(count, 1))


RULES: dict[str, Rule] = {"pool": pool, "maximum": maximum}
