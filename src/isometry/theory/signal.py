"""A value of the graph as the theory sees it: a function of a Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from isometry.pointwise import KNOWN, Expression, Z, moments_of
from isometry.theory.dual import dual_of

__all__ = ["BOTH", "PAIRS", "POSITION", "SAMPLE", "Joint", "Profile", "Seconds", "Signal"]

Profile = tuple[tuple[float, ...], ...]
Seconds = NDArray[np.float64]
Joint = tuple[NDArray[np.float64], ...]

# Places in `Signal.seconds` after that of q: what a number is multiplied with.
SAMPLE, POSITION, BOTH = 1, 2, 3
PAIRS = 3


@dataclass(frozen=True, slots=True)
class Signal:
    """A value: a function `expression` of a Gaussian `root` ~ N(mean, variance).

    `statistic` marks a number worked out of the signal with that root; `averaging` marks the
    weights of an average (a softmax). `profile` is how the second moment varies along each spatial
    axis, of mean 1 (None: evenly): zero padding takes from the borders. `known` is False past an
    operation the theory cannot follow: the moments are then an estimate.

    `covariances` are those of the root with the same place of another sample (SAMPLE), another
    position of the same sample (POSITION), and another position of another sample (BOTH); none
    where they are not carried. `joint` is how those of two positions vary over the pairs of places
    along each axis, of mean 1.
    """

    root: object
    mean: float = 0.0
    variance: float = 1.0
    expression: Expression = Z
    statistic: bool = False
    averaging: bool = False
    known: bool = True
    profile: Profile | None = None
    covariances: tuple[float, ...] = ()
    joint: Joint | None = field(default=None, compare=False)

    @property
    def paired(self) -> bool:
        """Are covariances carried?"""
        return bool(self.covariances)

    @property
    def moments(self) -> tuple[float, float]:
        """E[x] and E[x²]."""
        found = moments_of(self.expression, self.mean, self.variance)
        return (0.0, 1.0) if found is None else found

    @property
    def q(self) -> float:
        return self.moments[1]

    @property
    def seconds(self) -> Seconds:
        """E[x²], and where pairs are carried E[x y] for each kind of pair."""
        mean, q = self.moments
        if self.expression == Z:
            return np.array([q, *(mean * mean + k for k in self.covariances)])
        dual = dual_of(self.expression, self.mean, self.variance) if self.covariances else None
        if dual is None:
            return np.array([q, *(mean * mean for _ in self.covariances)])
        return np.array([q, *(dual.pair(c) for c in self.correlations)])

    @property
    def correlations(self) -> tuple[float, ...]:
        """Of the Gaussian, for each kind of pair."""
        return tuple(k / self.variance if self.variance > 0 else 0.0 for k in self.covariances)

    @property
    def origin(self) -> int:
        """The value that the Gaussian is, or is a range of."""
        root = self.root
        while isinstance(root, tuple):
            root = root[0]
        return int(root)  # type: ignore[call-overload,no-any-return]

    def slope(self) -> float:
        """E[f'(z)²]: the factor of the squared gradient from the value to its root."""
        return self._slopes(None)

    def slopes(self, pair: int) -> float:
        """E[f'(x) f'(y)] for a kind of pair: the factor of the gradients' covariance."""
        return self._slopes(pair)

    def _slopes(self, pair: int | None) -> float:
        if self.expression == Z:
            return 1.0
        dual = dual_of(self.expression, self.mean, self.variance)
        if dual is None or self.variance <= 0.0:
            return math.nan
        return dual.slope if pair is None else dual.slopes(self.correlations[pair - 1])

    def apply(self, fn: str, *args: object) -> Signal:
        """The signal after an elementwise function."""
        if fn not in KNOWN:
            return replace(self, known=False)
        return replace(self, expression=(fn, self.expression, *args))
