"""Mean-field maps of one layer: what a wide random layer does to a signal, a pair and a gradient.

    q'  = C_W E[phi(sqrt(q) z)²] + C_b                    the second moment of pre-activations
    c'  = (C_W E[phi(u) phi(v)] + C_b)/q'                 the correlation of two inputs, cov(u, v) = c q
    chi = C_W E[phi'(sqrt(q) z)²]                         the factor of the squared gradient

with C_W = fan_in Var W, C_b = Var b, z ~ N(0, 1). chi is also dc'/dc at c = 1: below 1 two inputs
become one (order), above 1 neighbours part (chaos). Everything is quadrature, for any activation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from isometry.errors import ArgumentError
from isometry.gains import Activation, Function, Grid
from isometry.theory.pairs import activation_of, grid_of, pair_moment

__all__ = ["CriticalPoint", "LayerMap", "critical_point", "edge_of_chaos", "pair_moment"]

SETTLED = 1e-10  # of a fixed point
SMALLEST, LARGEST = 1e-6, 1e4  # second moments between which fixed points are looked for


class CriticalPoint(NamedTuple):
    """Where chi = 1: the second moment that is kept, and the variances that keep it."""

    q: float
    c_w: float
    c_b: float


@dataclass(frozen=True, slots=True)
class LayerMap:
    """One layer of a wide random network, x -> W phi(x) + b.

    Args:
        activation: a name ("tanh"), a function of a NumPy array, or a `gains.Activation`.
        c_w: fan_in Var W.
        c_b: Var b.

    Example:
        >>> he = LayerMap("relu", c_w=2.0)
        >>> round(he.variance(3.0), 6), round(he.chi(3.0), 6)
        (3.0, 1.0)

    Source: Poole et al. 2016, eqs. 3 to 5; Schoenholz et al. 2017, eqs. 3 to 8.
    """

    activation: Activation
    c_w: float
    c_b: float

    def __init__(self, activation: str | Function | Activation, c_w: float, c_b: float = 0.0):
        if not (math.isfinite(c_w) and c_w > 0.0 and math.isfinite(c_b) and c_b >= 0.0):
            raise ArgumentError(
                f"LayerMap(c_w={c_w!r}, c_b={c_b!r}): expected variances, c_w > 0 and c_b >= 0, "
                "such as LayerMap('relu', c_w=2.0)"
            )
        object.__setattr__(self, "activation", activation_of(activation))
        object.__setattr__(self, "c_w", float(c_w))
        object.__setattr__(self, "c_b", float(c_b))

    def variance(self, q: float) -> float:
        """q': the second moment of pre-activations one layer on."""
        return self.c_w * _second(self._grid(q)) + self.c_b

    def slope(self, q: float) -> float:
        """dq'/dq; 1 and above at a fixed point that does not attract."""
        return self.c_w * _growth(self._grid(q), q)

    def chi(self, q: float) -> float:
        """The factor of the squared gradient a layer: below 1 it vanishes, above 1 it explodes."""
        return self.c_w * _steepness(self._grid(q))

    def correlation(self, c: float, q: float) -> float:
        """c': the correlation of two inputs, both of second moment q, one layer on."""
        return (self.c_w * pair_moment(self.activation, q, q, c) + self.c_b) / self.variance(q)

    def fixed_point(self, start: float = 1.0) -> float:
        """q*: where the second moment settles from `start`.

        Raises:
            ArgumentError: it grows without end, or shrinks to nothing more slowly than can be told.

        Example:
            >>> round(LayerMap("tanh", c_w=1.5, c_b=0.05).fixed_point(), 4)
            0.418
        """
        q = start
        for _ in range(200):
            found = self._newton(q)
            if not math.isfinite(found) or found > LARGEST:
                break
            if abs(found - q) <= SETTLED * max(1.0, q):
                return found
            q = found
        raise ArgumentError(
            f"the second moment of {self.activation.name} with C_W {self.c_w:g}, C_b {self.c_b:g} "
            f"does not settle: from {start:g} it has come to {q:.4g}. Expected C_W below "
            "critical_point(activation).c_w, or a bounded activation"
        )

    def correlation_fixed_point(self, q: float | None = None) -> float:
        """c*: where the correlation of two inputs settles; 1 where chi <= 1."""
        at = self.fixed_point() if q is None else q
        if self.chi(at) <= 1.0 + 1e-9:
            return 1.0
        # c' - c is negative just below c = 1, and not at the smallest correlation there is.
        return _root(lambda c: self.correlation(c, at) - c, 0.0, 1.0 - 1e-7)

    def depth_scale(self, q: float | None = None) -> float:
        """-1/ln chi: the layers in which a gradient changes by e; infinite at the edge of chaos."""
        chi = self.chi(self.fixed_point() if q is None else q)
        return math.inf if chi == 1.0 else 1.0 / abs(math.log(chi))

    def _newton(self, q: float) -> float:
        """One layer on, or Newton's step where that is sure to come closer."""
        grid = self._grid(q)
        mapped = self.c_w * _second(grid) + self.c_b
        slope = self.c_w * _growth(grid, q)
        stepped = q + (mapped - q) / (1.0 - slope) if slope < 0.95 else mapped
        return stepped if stepped > 0.0 else mapped

    def _grid(self, q: float) -> Grid:
        return grid_of(self.activation, q)


def edge_of_chaos(activation: str | Function | Activation, c_b: float = 0.05) -> CriticalPoint:
    """The variance of weights at which chi = 1, for biases of variance c_b.

        q* = C_W E[phi(sqrt(q*) z)²] + C_b,    C_W = 1/E[phi'(sqrt(q*) z)²]

    Args:
        activation: as for `LayerMap`.
        c_b: Var b.

    Returns:
        CriticalPoint(q, c_w, c_b); of several, the first whose second moment is an attractor.

    Raises:
        ArgumentError: there is none, as for ReLU with c_b > 0.

    Example:
        >>> round(edge_of_chaos("tanh", c_b=0.05).c_w, 2)
        1.76

    Source: Schoenholz et al. 2017, sec. 3.
    """
    phi = activation_of(activation)
    if c_b == 0.0:
        return critical_point(phi)

    def excess(q: float) -> float:
        grid = grid_of(phi, q)
        steepness = _steepness(grid)
        # A flat phi passes no gradient on at this q, whatever C_W.
        return _second(grid) / steepness + c_b - q if steepness > 0.0 else math.inf

    for low, high in _crossings(excess):
        q = _root(excess, low, high)
        layer = LayerMap(phi, 1.0 / _steepness(grid_of(phi, q)), c_b)
        if layer.slope(q) < 1.0:
            return CriticalPoint(q, layer.c_w, c_b)
    raise ArgumentError(
        f"{phi.name} with biases of variance {c_b:g} has no edge of chaos at which the second "
        "moment settles; its critical point: isometry.theory.maps.critical_point(activation)"
    )


def critical_point(activation: str | Function | Activation) -> CriticalPoint:
    """The point at which signal and gradient are both marginal: chi = 1 and dq'/dq = 1 at q' = q.

    Since dq'/dq = chi + C_W E[phi phi''], it is where E[phi phi''] = 0: a q of its own for GELU and
    its kin, q -> 0 for tanh, erf and sin, any q for ReLU (1 is returned).

    Args:
        activation: as for `LayerMap`.

    Returns:
        CriticalPoint(q, c_w, c_b).

    Raises:
        ArgumentError: there is none, as for a sigmoid.

    Example:
        >>> [round(x, 4) for x in critical_point("gelu")]
        [3.5616, 1.9831, 0.1729]

    Source: Roberts, Yaida & Hanin 2022, secs. 5.1 to 5.3.
    """
    phi = activation_of(activation)

    def bend(q: float) -> float:
        grid = grid_of(phi, q)
        return _growth(grid, q) / _steepness(grid) - 1.0

    scan = [bend(q) for q in _RANGE]
    if max(map(abs, scan)) < 1e-6:  # homogeneous: every q is alike
        return CriticalPoint(1.0, 1.0 / _steepness(grid_of(phi, 1.0)), 0.0)
    for low, high in _crossings(bend):
        q = _root(bend, low, high)
        grid = grid_of(phi, q)
        c_w = 1.0 / _steepness(grid)
        c_b = q - c_w * _second(grid)
        if c_b >= 0.0:
            return CriticalPoint(q, c_w, c_b)
    origin = float(phi.function(np.zeros(1))[0])
    if origin == 0.0 and max(scan) < 1e-6:  # odd and concave: the signal shrinks as 1/depth
        return CriticalPoint(0.0, 1.0 / _steepness(grid_of(phi, 1e-12)), 0.0)
    raise ArgumentError(
        f"{phi.name} has no critical point: E[phi phi''] = 0 at no second moment between "
        f"{SMALLEST:g} and {LARGEST:g} with biases of a variance that is not negative"
    )


_RANGE = tuple(float(q) for q in np.geomspace(SMALLEST, LARGEST, 81))


def _second(grid: Grid) -> float:
    return grid.mean(grid.value**2)


def _growth(grid: Grid, q: float) -> float:
    """dE[phi²]/dq = E[phi² (z² - 1)]/(2q): no derivative of phi is needed."""
    return grid.mean(grid.value**2 * (grid.z**2 - 1.0)) / (2.0 * q)


def _steepness(grid: Grid) -> float:
    return grid.mean(grid.slope**2)


def _crossings(fn: Callable[[float], float]) -> list[tuple[float, float]]:
    """Neighbours in the range of second moments between which a function changes its sign."""
    values = [fn(q) for q in _RANGE]
    pairs = zip(_RANGE, _RANGE[1:], values, values[1:], strict=False)
    return [(a, b) for a, b, fa, fb in pairs if fa * fb < 0.0]


def _root(fn: Callable[[float], float], low: float, high: float) -> float:
    """The root of a function that changes its sign once: regula falsi, Illinois' rule."""
    at_low, at_high = fn(low), fn(high)
    if at_low * at_high > 0.0:
        return low if abs(at_low) < abs(at_high) else high
    middle = low
    for _ in range(100):
        middle = (low * at_high - high * at_low) / (at_high - at_low)
        at = fn(middle)
        if abs(high - low) <= 1e-13 * abs(high) or at == 0.0:
            break
        if at * at_high < 0.0:
            low, at_low = high, at_high
        else:
            at_low *= 0.5
        previous, high, at_high = high, middle, at
        if abs(middle - previous) <= 1e-13 * abs(middle):
            break
    return middle
