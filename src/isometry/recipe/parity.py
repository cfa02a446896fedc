"""The odd and the even part of an activation, and where its odd part is nearly linear.

    f(z) = phi(z) - phi(-z)

At initialisation a mirrored pair, or a unit of an odd activation, passes f on. f scaled to keep the
second moment at q multiplies a squared gradient by chi(q) = q E[f'²]/E[f²], which tends to 1 as q does
to 0: the operating point is the largest q at which a depth of L changes the squared gradient by a
tenth.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from isometry.gains import gaussian_grid
from isometry.pointwise import Expression, Z, evaluate

__all__ = ["centred", "difference", "operating_point", "parity", "spread"]

CURVE = np.linspace(0.05, 6.0, 120)
LEAST_SLOPE = 0.05  # of phi's odd part near 0: with less, pairs cancel
COST = 0.1  # by how much the whole depth may change the squared gradient, as a logarithm
UNEVEN = 0.5  # relative variance that the whole depth may give the squared singular values
POINTS: tuple[float, ...] = tuple(2.0 ** (-k / 2) for k in range(21))  # 1 to 1/1024


@lru_cache(maxsize=1024)
def parity(expression: Expression) -> str:
    """ "odd", "shifted" (odd but for a constant), "neither", or "even" (no odd part to speak of)."""
    with np.errstate(all="ignore"):
        right, left = evaluate(expression, CURVE), evaluate(expression, -CURVE)
    odd, even = (right - left) / 2, (right + left) / 2
    size = float(np.abs(right).max() + np.abs(left).max())
    if not math.isfinite(size) or not np.all(np.abs(odd[:4]) > LEAST_SLOPE * CURVE[:4]):
        return "even"
    if np.abs(even).max() < 1e-6 * size:
        return "odd"
    return "shifted" if np.ptp(even) < 1e-6 * size else "neither"


@lru_cache(maxsize=1024)
def difference(expression: Expression) -> Expression:
    """phi(z) - phi(-z), what a mirrored pair passes on."""
    return ("sub", expression, _reflected(expression))


@lru_cache(maxsize=1024)
def centred(expression: Expression) -> Expression:
    """phi(z) - phi(0), what a weight that does not see the mean passes on of a sigmoid."""
    return ("sub", expression, float(evaluate(expression, np.zeros(1))[0]))


def _reflected(expression: Expression) -> Expression:
    if not isinstance(expression, tuple):
        return ("neg", Z) if expression == Z else expression
    parts = (_reflected(o) if isinstance(o, (tuple, str)) else o for o in expression[1:])
    return (expression[0], *parts)


@lru_cache(maxsize=1024)
def operating_point(f: Expression, depth: int) -> float:
    """The largest second moment, at most 1, that `depth` layers of f bear: |ln chi| depth <= .1,
    and no more of the same from a second moment that repels."""
    for q in POINTS:
        chi, repels, uneven = _slopes(f, q)
        steady = max(abs(math.log(chi)), repels - 1.0) * depth <= COST
        if steady and uneven * depth <= UNEVEN:
            return q
    return POINTS[-1]


def spread(f: Expression, q: float) -> float:
    """What a layer of f adds to the relative variance of the squared singular values of a product of
    orthogonal layers: E[f'⁴]/E[f'²]² - 1 (Pennington, Schoenholz & Ganguli 2017, eq. 15)."""
    return _slopes(f, q)[2]


@lru_cache(maxsize=4096)
def _slopes(f: Expression, q: float) -> tuple[float, float, float]:
    """chi, d ln q'/d ln q, and the spread of the squared slope."""
    root = math.sqrt(q)
    with np.errstate(all="ignore"):
        grid = gaussian_grid(lambda z: evaluate(f, root * z), (), powers=(1, 2))
    squared, slopes = grid.value**2, grid.slope**2
    second, slope = float(grid.mean(squared)), float(grid.mean(slopes))
    fourth = float(grid.mean(slopes**2))
    repels = 0.5 * float(grid.mean(squared * (grid.z**2 - 1.0))) / second
    return slope / second, repels, max(fourth / slope**2 - 1.0, 0.0)
