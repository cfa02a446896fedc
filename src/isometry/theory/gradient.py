"""The second moment of the gradient, carried from the outputs of a graph back to its inputs.

    E[(dL/dx)²] = fan_out Var(W) E[(dL/dy)²],      E[(dL/dz)²] = E[f'(z)²] E[(dL/df)²]

Each value that is read has G = E[g²] and P = E[g g'], the covariance of the gradients at two
positions of one sample, which an average makes of gradients that it sends to all of them. The
gradients of two samples are taken to have nothing in common. As in all mean-field theory, what comes
back is taken to be independent of what went forward (Schoenholz et al. 2017, sec. 5).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from isometry.pointwise import Expression, Z
from isometry.theory.signal import POSITION, Profile, Signal
from isometry.theory.walk import Walk

__all__ = ["Backward", "Gradient"]


@dataclass(frozen=True, slots=True)
class Gradient:
    """Second moment of the gradient of an element, and its covariance with that at another position
    of the same sample. `profile` is how it varies along the spatial axes (None: evenly)."""

    own: float
    shared: float = 0.0
    profile: Profile | None = None

    def scaled(self, own: float, shared: float | None = None) -> Gradient:
        """Multiplied by a factor, or by one each."""
        return Gradient(
            self.own * own, self.shared * (own if shared is None else shared), self.profile
        )


@dataclass(frozen=True, slots=True)
class Share:
    """What one reader sends back: to a function of a Gaussian, or of a range of it.

    `seen` is the signal whose slope carries it on to what made the Gaussian: for mirrored pairs,
    whose two halves come back with opposite signs, the pair's.
    """

    signal: Signal
    gradient: Gradient
    part: float
    seen: Signal


class Backward:
    """Gradients at the values of a walk."""

    def __init__(self, walk: Walk) -> None:
        self.walk = walk
        self.sent: dict[int, list[Share]] = {}  # by the value that is the Gaussian
        self.lost: set[int] = set()  # Gaussians behind an operation that cannot be followed

    def send(self, signal: Signal | None, gradient: Gradient, seen: Signal | None = None) -> None:
        """Add a gradient at what a node reads."""
        if signal is None or signal.statistic or signal.averaging:
            return
        part = _part(self.walk, signal.root)
        self.sent.setdefault(signal.origin, []).append(
            Share(signal, gradient, part, seen or signal)
        )

    def lose(self, signal: Signal | None) -> None:
        """Note that what comes back to a signal cannot be told."""
        if signal is not None:
            self.lost.add(signal.origin)

    def arriving(self, root: int, at_maker: bool = False) -> Gradient:
        """The gradient at a Gaussian: per element, or as what made it sums it up."""
        own = shared = 0.0
        profile = None
        for share in self.sent.get(root, ()):
            signal = share.seen if at_maker else share.signal
            place = share.gradient.profile
            own += share.part * share.gradient.own * signal.slope(place)
            shared += share.part * share.gradient.shared * signal.slopes(POSITION)
            profile = profile or signal.slope_profile(place)
        return Gradient(own, shared, profile)

    def at(self, value: int) -> float | None:
        """E[g²] at a value; None where it is not known, or nothing comes back."""
        signal = self.walk.signal(value)
        if signal is None or signal.origin in self.lost or signal.statistic or signal.averaging:
            return None
        sent = self.sent.get(signal.origin, ())
        if not sent or isinstance(signal.root, tuple):
            return None
        if signal.expression == Z:
            found = self.arriving(signal.origin).own
        else:
            same = [s for s in sent if s.signal.expression == signal.expression]
            if not same or any(
                _holds(s.signal.expression, signal.expression) for s in sent if s not in same
            ):
                return None
            found = sum(s.part * s.gradient.own for s in same)
        return found if math.isfinite(found) else None


def _part(walk: Walk, root: object) -> float:
    """The share of a value that a range of it is."""
    part = 1.0
    while isinstance(root, tuple):
        root, ranges = root
        inner = root
        while isinstance(inner, tuple):
            inner = inner[0]
        shape = walk.graph.values[int(inner)].shape  # type: ignore[call-overload]
        for axis, (start, stop) in ranges:
            # A range counts the axes of what it was taken of, which may be a reshaped root.
            part *= (stop - start) / max(shape[min(axis, len(shape) - 1)], 1)
    return part


def _holds(outer: Expression, inner: Expression) -> bool:
    """Is an expression worked out from another?"""
    if outer == inner:
        return True
    return isinstance(outer, tuple) and any(_holds(o, inner) for o in outer[1:])
