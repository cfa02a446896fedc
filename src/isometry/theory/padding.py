"""What zero padding takes from a convolution, position by position."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isometry.graph import Node
from isometry.theory.signal import Joint, Profile, Signal

__all__ = ["flattened", "reach", "reach_of_pairs"]


def reach(node: Node, signal: Signal) -> tuple[float, Profile | None]:
    """Which share of a convolution's kernel meets a signal, and the profile that it leaves.

    Along each axis the outputs sum k neighbours of the padded profile; the square kernel factors
    into its axes. 1 and None where there is no padding (or the convolution is transposed).
    """
    attrs = node.attrs
    if attrs.get("transposed") or "size" not in attrs:
        return 1.0, None
    sizes = attrs["size"]
    old = signal.profile_made
    if old is None or [len(p) for p in old] != list(sizes):
        if not any(attrs["padding"]):
            return 1.0, None
        old = tuple((1.0,) * n for n in sizes)
    share, profile = 1.0, []
    for axis, values in enumerate(old):
        pad, step = attrs["padding"][axis], attrs["stride"][axis]
        gap, taps = attrs["dilation"][axis], attrs["kernel"][axis]
        padded = (0.0,) * pad + values + (0.0,) * pad
        starts = range(0, len(padded) - gap * (taps - 1), step)
        sums = [sum(padded[i + gap * k] for k in range(taps)) / taps for i in starts]
        mean = sum(sums) / max(len(sums), 1)
        if mean <= 0.0:
            return 1.0, None
        share *= mean
        profile.append(tuple(v / mean for v in sums))
    return share, tuple(profile)


def reach_of_pairs(node: Node, signal: Signal) -> tuple[float, Joint]:
    """`reach` for the covariance of two positions: a tap counts where both of them have it.

    Along each axis K'[i, j] is the mean of K[i + d, j + d] over the taps d, K[i, j] being
    sqrt(p_i p_j) where the positions were independent Gaussians.
    """
    attrs = node.attrs
    sizes, profile, old = attrs["size"], signal.profile_made, signal.joint
    if profile is None or [len(p) for p in profile] != list(sizes):
        profile, old = tuple((1.0,) * n for n in sizes), None
    if old is None or [len(k) for k in old] != list(sizes):
        old = tuple(np.sqrt(np.outer(p, p)) for p in profile)
    made = []
    for axis, before in enumerate(old):
        pad, step = attrs["padding"][axis], attrs["stride"][axis]
        gap, taps = attrs["dilation"][axis], attrs["kernel"][axis]
        padded = np.pad(before, pad)
        count = len(range(0, len(padded) - gap * (taps - 1), step))
        places = [slice(gap * k, gap * k + step * (count - 1) + 1, step) for k in range(taps)]
        made.append(np.add.reduce([padded[s, s] for s in places]) / taps)
    share = _apart(made) / max(_apart(old), 1e-300)
    return share, tuple(k / max(float(k.mean()), 1e-300) for k in made)


def _apart(joint: Sequence[NDArray[np.float64]]) -> float:
    """The mean over pairs of two positions that differ: of all pairs, less those of one with itself."""
    count = math.prod(len(k) for k in joint)
    if count < 2:
        return 1.0
    every = math.prod(float(k.sum()) for k in joint)
    return (every - math.prod(float(np.trace(k)) for k in joint)) / (count * (count - 1))


def flattened(profile: Profile | None, share: float) -> Profile | None:
    """The profile of a sum of which only a share varies: (1 + a)(1 + b) is 1 + a + b, nearly."""
    if profile is None:
        return None
    return tuple(tuple(1.0 + share * (v - 1.0) for v in axis) for axis in profile)
