"""What the theory expects of every value: mean square, cosine of two samples, gradient."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from isometry.theory.signal import SAMPLE
from isometry.theory.transposes import backward
from isometry.theory.walk import Walk

__all__ = ["Expectation", "Given", "expectations"]


@dataclass(frozen=True, slots=True)
class Given:
    """What is known of an input: its mean, its mean square, and E[x y] of two samples at one place,
    of two positions, and of both, over its mean square."""

    mean: float = 0.0
    q: float = 1.0
    pairs: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True)
class Expectation:
    """Of one value, over random draws of the weights; None where the theory cannot follow.

    `q` is E[x²], `c` E[x y]/E[x²] of two samples, `grad` the second moment of the gradient, in units
    of that at the outputs it was carried back from.
    """

    q: float | None = None
    c: float | None = None
    grad: float | None = None


def expectations(
    walk: Walk, given: Mapping[int, Given] | None = None, ends: Mapping[int, float] | None = None
) -> Mapping[int, Expectation]:
    """Carry moments, covariances and gradients through a graph.

    Args:
        walk: paired, before its first node.
        given: what is known of inputs, by value; else second moment 1 and nothing in common.
        ends: value -> E[g²] where the gradient starts; None: 1 at the first output.

    Returns:
        Value -> what is expected there.
    """
    graph = walk.graph
    for value, seen in (given or {}).items():
        variance = max(seen.q - seen.mean**2, 0.0)
        pairs = tuple(min(max(k * seen.q - seen.mean**2, -variance), variance) for k in seen.pairs)
        walk.signals[value] = replace(
            walk.signals[value], mean=seen.mean, variance=variance, covariances=pairs
        )
    for node in graph:
        walk.visit(node)
    if ends is None:
        ends = dict.fromkeys(list(graph.outputs.values())[:1], 1.0)
    back = backward(walk, ends)
    return {node.output: _expected(walk, node.output, back.at(node.output)) for node in graph}


def _expected(walk: Walk, value: int, grad: float | None) -> Expectation:
    signal = walk.signal(value)
    if signal is None or not signal.known:
        return Expectation()
    seconds = signal.seconds
    q = float(seconds[0])
    if signal.statistic or signal.averaging or not math.isfinite(q) or q <= 0.0:
        return Expectation(q if math.isfinite(q) else None)
    c = float(seconds[SAMPLE]) / q
    return Expectation(q, min(max(c, -1.0), 1.0) if math.isfinite(c) else None, grad)
