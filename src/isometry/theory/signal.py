"""A value of the graph as the theory sees it: a function of a Gaussian."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from isometry.pointwise import KNOWN, Expression, Z, moments_of
from isometry.theory.dual import Dual, dual_of

__all__ = ["BOTH", "PAIRS", "POSITION", "SAMPLE", "Joint", "Profile", "Seconds", "Signal"]

Profile = tuple[tuple[float, ...], ...]
Seconds = NDArray[np.float64]
Joint = tuple[NDArray[np.float64], ...]

# Places in `Signal.seconds` after that of q: what a number is multiplied with.
SAMPLE, POSITION, BOTH = 1, 2, 3
PAIRS = 3
LEVELS = 6  # of the second moment over the positions of an image, that are told apart
EVEN = 0.02  # spread below which a profile is flat
THIN = 48  # places along an axis that are looked at


@lru_cache(maxsize=512)
def levels(
    profile: Profile | None, weights: Profile | None = None
) -> tuple[tuple[float, float], ...]:
    """(share of the positions, second moment there over the mean), a few for all positions; with
    `weights`, what a position counts for.

    Example:
        >>> levels(((0.5, 1.5),))
        ((0.5, 0.5), (0.5, 1.5))
    """
    if profile is None or all(max(a) - min(a) < EVEN for a in profile):
        return ((1.0, 1.0),)
    if weights is None or [len(w) for w in weights] != [len(p) for p in profile]:
        weights = tuple((1.0,) * len(p) for p in profile)
    at, share = np.ones(1), np.ones(1)
    for axis, weight in zip(profile, weights, strict=True):
        thin = slice(None, None, -(-len(axis) // THIN))
        at = np.outer(at, np.asarray(axis)[thin]).ravel()
        share = np.outer(share, np.asarray(weight)[thin]).ravel()
    order = np.argsort(at, kind="stable")
    groups = np.array_split(order, min(LEVELS, len(order)))
    total = float(share.sum())
    return tuple((float(share[g].sum()) / total, float(at[g].mean())) for g in groups)


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
        if not self.covariances:
            return np.array([q])
        places = self._places()
        if not places:
            return np.array([q, *(mean * mean for _ in self.covariances)])
        sample, position, both = self.correlations
        shares = [share for share, _ in places]
        mixed = np.add.reduce([share * dual.coefficients for share, dual in places])
        apart = Dual(mixed, float(np.dot(shares, [d.second for _, d in places])), 0.0, 0.0)
        if len(places) > 1:  # pairs of positions of all kinds: (sum_p a_n(p))²
            apart = replace(apart, second=float(mixed @ mixed))
        return np.array([
            float(np.dot(shares, [d.second for _, d in places])),
            float(np.dot(shares, [d.pair(sample) for _, d in places])),
            apart.pair(position), apart.pair(both),
        ])  # fmt: skip

    def _places(self, weights: Profile | None = None) -> list[tuple[float, Dual]]:
        """The share of the positions, and the dual there: the second moment may vary with place."""
        if self.variance <= 0.0:
            return []
        found = [
            (share, dual_of(self.expression, self.mean, self.variance * level))
            for share, level in levels(self.profile, weights)
        ]
        return [(share, dual) for share, dual in found if dual is not None]

    @property
    def profile_made(self) -> Profile | None:
        """How the second moment of the function varies along each axis."""
        if self.profile is None or self.expression == Z or not self.covariances:
            return self.profile
        made = []
        for axis in self.profile:
            at = np.array([self._second_at(level) for level in axis])
            if not np.isfinite(at).all() or at.mean() <= 0.0:
                return self.profile
            made.append(tuple((at / at.mean()).tolist()))
        return tuple(made)

    def _second_at(self, level: float) -> float:
        dual = dual_of(self.expression, self.mean, self.variance * level)
        return math.nan if dual is None else dual.second

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

    def slope(self, weights: Profile | None = None) -> float:
        """E[f'(z)²]: the factor of the squared gradient from the value to its root; `weights` is
        how that varies with place."""
        if self.expression == Z:
            return 1.0
        places = self._places(weights)
        return sum(share * dual.slope for share, dual in places) if places else math.nan

    def slopes(self, pair: int) -> float:
        """E[f'(x) f'(y)] for a kind of pair: the factor of the gradients' covariance."""
        if self.expression == Z:
            return 1.0
        c, places = self.correlations[pair - 1], self._places()
        return sum(share * dual.slopes(c) for share, dual in places) if places else math.nan

    def slope_profile(self, weights: Profile | None) -> Profile | None:
        """How a gradient that varies with place as `weights` does varies behind the function."""
        if weights is None or self.profile is None or self.expression == Z:
            return weights
        if [len(w) for w in weights] != [len(p) for p in self.profile]:
            return weights
        made = []
        for axis, weight in zip(self.profile, weights, strict=True):
            duals = [dual_of(self.expression, self.mean, self.variance * level) for level in axis]
            at = np.array([0.0 if d is None else d.slope for d in duals]) * weight
            if not at.mean() > 0.0:
                return weights
            made.append(tuple((at / at.mean()).tolist()))
        return tuple(made)

    def apply(self, fn: str, *args: object) -> Signal:
        """The signal after an elementwise function."""
        if fn not in KNOWN:
            return replace(self, known=False)
        return replace(self, expression=(fn, self.expression, *args))
