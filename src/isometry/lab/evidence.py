"""From repeated measurements to a claim: a mean, its standard error, and whether theory is met.

The tolerance is always the same: four standard errors of the mean, which chance alone passes once
in 15,000 Gaussian means, and what the theory itself leaves out where widths are finite.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from isometry.lab.experiment import Claim

__all__ = ["ERRORS", "Estimate", "agrees", "estimate", "interval", "number", "slope"]

ERRORS = 4.0  # standard errors that a mean may lie from what is expected

# Two-sided 95 % points of Student's t, by degrees of freedom; beyond the last, a bound from above.
STUDENT = {
    4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228, 11: 2.201, 12: 2.179,
    13: 2.160, 14: 2.145, 15: 2.131, 19: 2.093, 23: 2.069, 29: 2.045, 39: 2.023, 59: 2.001,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over n independent draws, and its standard error."""

    value: float
    error: float
    n: int

    def agrees(self, expected: float, slack: float = 0.0) -> bool:
        """Is it within four standard errors, and `slack` of the expected value, of that?"""
        return abs(self.value - expected) <= ERRORS * self.error + slack * abs(expected)

    def __str__(self) -> str:
        return f"{number(self.value)} ± {number(self.error, 1)} (n = {self.n})"


def number(value: float, digits: int = 4) -> str:
    """A number as people write it.

    Example:
        >>> number(0.32158), number(2.3e-7, 2), number(1.0)
        ('0.3216', '2.3e-07', '1')
    """
    return f"{value:.{digits}g}"


def estimate(draws: Sequence[float]) -> Estimate:
    """The mean of independent draws and its standard error, s / sqrt(n).

    Example:
        >>> print(estimate([1.0, 2.0, 3.0]))
        2 ± 0.6 (n = 3)
    """
    return Estimate(
        statistics.fmean(draws), statistics.stdev(draws) / math.sqrt(len(draws)), len(draws)
    )


def agrees(
    what: str, expected: float, source: str, found: Estimate, slack: float = 0.0, why: str = ""
) -> Claim:
    """The claim that a mean is what theory says.

    Args:
        what: is claimed, for a reader.
        expected: by theory.
        source: of the expectation: a paper's equation, or how it was computed.
        found: what was measured.
        slack: the share of the expected value that is allowed besides the standard errors ...
        why: ... and what for.
    """
    allowed = f"{ERRORS:g} standard errors"
    if slack:
        allowed += f" + {slack:.2g} of it ({why})"
    return Claim(
        what, f"{number(expected)} within {allowed}; {source}", str(found),
        found.agrees(expected, slack),
    )  # fmt: skip


def interval(draws: Sequence[float]) -> tuple[float, float, float]:
    """A mean and the two ends of its 95 % confidence interval, by Student's t.

    Example:
        >>> [round(v, 2) for v in interval([1.0, 2.0, 3.0, 4.0, 5.0])]
        [3.0, 1.04, 4.96]
    """
    found = estimate(draws)
    freedom = found.n - 1
    point = STUDENT[max(known for known in STUDENT if known <= freedom)]
    return found.value, found.value - point * found.error, found.value + point * found.error


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of the line of least squares through (x, y).

    Example:
        >>> slope([0.0, 1.0, 2.0], [1.0, 3.0, 5.0])
        2.0
    """
    return statistics.linear_regression(x, y).slope
