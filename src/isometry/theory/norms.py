"""Normalisations: of the features of a place, of a group of channels, of samples and positions."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from isometry.graph import Node
from isometry.theory.places import positions, samples
from isometry.theory.pooling import pooled
from isometry.theory.signal import SAMPLE, Seconds, Signal
from isometry.theory.walk import Rule, Walk

__all__ = ["RULES", "normalised"]


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
        if signal.known and math.isfinite(size):
            out = walk.fresh(node, mean / math.sqrt(size), left / size)
        else:  # of second moment 1, whatever it was; of its pairs nothing is known
            out = walk.fresh(node, 0.0, np.array([1.0, math.nan, math.nan, math.nan]))
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


RULES: dict[str, Rule] = {"norm": norm}
