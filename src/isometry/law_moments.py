"""A law as the theory sees it: its first two moments, and how a matrix of it reads."""

from __future__ import annotations

import math

from isometry.graph import Node
from isometry.roles import Usage
from isometry.theory import LeafMoments
from isometry.types import (
    CenteredOrthogonal,
    Constant,
    Decision,
    DeltaOrthogonal,
    Dirac,
    Hadamard,
    Identity,
    Keep,
    Law,
    LogUniform,
    MirroredOrthogonal,
    Orthogonal,
)

__all__ = ["law_moments", "plan_moments"]


def law_moments(usage: Usage, law: Law, node: Node) -> LeafMoments | None:
    """The moments of a leaf that has this law, where a node uses it; None where it is kept and its
    values are not one number, and where they are a pattern."""
    leaf = usage.leaf
    if isinstance(law, Keep):
        if leaf.constant is None:
            return None
        law = Constant(leaf.constant)
    if isinstance(law, (Identity, Dirac, Hadamard)):
        return None  # no sum of independent terms: what comes out is no Gaussian
    used = next((u for u in (usage, *usage.others) if u.node is node), usage)
    fan_in, fan_out = (used.fans.fan_in, used.fans.fan_out) if used.fans is not None else (1.0, 1.0)
    mean = getattr(law, "value", getattr(law, "mean", 0.0))
    if law.elementwise or isinstance(law, LogUniform):
        return LeafMoments(mean, law.variance + mean * mean, fan_in, fan_out)
    reads = "each"
    if getattr(law, "size", None) is not None or not hasattr(law, "gain"):
        second = law.variance
    else:
        second = law.gain**2 / max(fan_in, 1.0)
    units = _units_read(usage)
    if isinstance(law, MirroredOrthogonal) and law.reads:
        reads, second = "pairs", second * 2 * law.reads / units
    elif isinstance(law, CenteredOrthogonal):
        reads = "centred" if law.reads else "each"
        made = max(leaf.shape[usage.axes.out_axis[0]] if usage.axes else 1, 1)
        second *= (units - law.reads) / units * (made - law.writes) / made
    delta = isinstance(law, DeltaOrthogonal) or bool(getattr(law, "delta", False))
    return LeafMoments(0.0, second, fan_in, fan_out, reads, isinstance(law, Orthogonal), delta)


def plan_moments(usage: Usage, decision: Decision, node: Node) -> LeafMoments | None:
    """`law_moments` of what was decided; several laws side by side count by their mean."""
    whole = law_moments(usage, decision.law, node)
    if not decision.blocks or whole is None:
        return whole
    found = [(b.stop - b.start, law_moments(usage, b.law, node)) for b in decision.blocks]
    mean = second = 0.0
    size = sum(n for n, _ in found)
    for n, moments in found:
        if moments is None:
            return None
        mean += n / size * moments.mean
        second += n / size * moments.second
    return LeafMoments(mean, second, whole.fan_in, whole.fan_out)


def _units_read(usage: Usage) -> int:
    """How many units a matrix reads: the size of its in axis."""
    shape = usage.leaf.shape
    return 1 if usage.axes is None else math.prod(shape[a] for a in usage.axes.in_axis)
