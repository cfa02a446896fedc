"""What a function does to a pair of Gaussians: its Hermite series, worked out once.

    f(mean + std z) = sum_n a_n h_n(z),      E[f(x) f(y)] = sum_n a_n² c^n

for x, y of one law and correlation c (Mehler's formula). One series serves every correlation, and
its derivative the pair of slopes: E[f'(x) f'(y)] variance = sum_n n a_n² c^(n-1). What the series
leaves out is known from E[f²] and E[f'²], and counted with the first power that is left out.

Source: Daniely, Frostig & Singer 2016, "Toward deeper understanding of neural networks", sec. 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError
from isometry.gains import gaussian_grid
from isometry.pointwise import Expression, evaluate

__all__ = ["Dual", "dual_of"]

ORDER = 160  # a grid of panels half a standard deviation wide still resolves h_160
_POWERS = np.arange(ORDER + 1)
DIGITS = 10  # significant, of the arguments by which a dual is remembered


@dataclass(frozen=True, slots=True)
class Dual:
    """E[f(x) f(y)] and E[f'(x) f'(y)] as functions of the correlation of x and y."""

    coefficients: NDArray[np.float64]  # a_n
    second: float  # E[f²]
    slope: float  # E[f'²]
    variance: float

    def pair(self, c: float) -> float:
        """E[f(x) f(y)]."""
        energies = self.coefficients**2
        powers = min(max(c, -1.0), 1.0) ** _POWERS
        rest = max(self.second - float(energies.sum()), 0.0)
        return float(energies @ powers[:ORDER]) + rest * abs(float(powers[ORDER]))

    def slopes(self, c: float) -> float:
        """E[f'(x) f'(y)]."""
        if self.variance <= 0.0:
            return self.slope
        powers = min(max(c, -1.0), 1.0) ** _POWERS
        steps = self.coefficients**2 * _POWERS[:ORDER] / self.variance
        rest = max(self.slope - float(steps.sum()), 0.0)
        return float(steps[1:] @ powers[: ORDER - 1]) + rest * abs(float(powers[ORDER]))


def dual_of(expression: Expression, mean: float, variance: float) -> Dual | None:
    """The dual of an expression of x ~ N(mean, variance); None where a moment is not finite."""
    return _dual(expression, _rounded(mean), _rounded(variance))


@lru_cache(maxsize=1024)
def _dual(expression: Expression, mean: float, variance: float) -> Dual | None:
    try:
        with np.errstate(all="ignore"):
            grid = gaussian_grid(lambda x: evaluate(expression, x), q=variance, mean=mean)
    except ArgumentError:
        return None
    weighted = grid.weight * grid.value
    coefficients = np.empty(ORDER)
    before, now = np.zeros_like(grid.z), np.ones_like(grid.z)
    for n in range(ORDER):
        coefficients[n] = weighted @ now
        before, now = now, (grid.z * now - n**0.5 * before) / (n + 1) ** 0.5
    second, slope = grid.mean(grid.value**2), grid.mean(grid.slope**2)
    return Dual(coefficients, second, slope, variance)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS - 1}e}")
