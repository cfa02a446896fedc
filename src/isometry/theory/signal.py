"""A value of the graph as the theory sees it: a function of a Gaussian."""

from __future__ import annotations

from dataclasses import dataclass, replace

from isometry.pointwise import KNOWN, Expression, Z, moments_of

__all__ = ["Profile", "Signal"]

Profile = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Signal:
    """A value: a function `expression` of a Gaussian `root` ~ N(mean, variance).

    `statistic` marks a number worked out of the signal with that root; `averaging` marks the
    weights of an average (a softmax). `profile` is how the second moment varies along each spatial
    axis, of mean 1 (None: evenly): zero padding takes from the borders. `known` is False past an operation the theory cannot follow:
    the moments are then an estimate.
    """

    root: object
    mean: float = 0.0
    variance: float = 1.0
    expression: Expression = Z
    statistic: bool = False
    averaging: bool = False
    known: bool = True
    profile: Profile | None = None

    @property
    def moments(self) -> tuple[float, float]:
        """E[x] and E[x²]."""
        found = moments_of(self.expression, self.mean, self.variance)
        return (0.0, 1.0) if found is None else found

    @property
    def q(self) -> float:
        return self.moments[1]

    @property
    def origin(self) -> int:
        """The value that the Gaussian is, or is a range of."""
        root = self.root
        while isinstance(root, tuple):
            root = root[0]
        return int(root)  # type: ignore[call-overload,no-any-return]

    def apply(self, fn: str, *args: object) -> Signal:
        """The signal after an elementwise function."""
        if fn not in KNOWN:
            return replace(self, known=False)
        return replace(self, expression=(fn, self.expression, *args))
