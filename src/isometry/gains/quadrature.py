"""Gaussian expectations of any function of one number, to near machine precision.

A function is sampled on panels of Gauss-Lobatto nodes, which reach both ends of a panel. A panel
whose integral changes when it is halved is halved again, so corners and jumps are found wherever
they are, and smooth stretches cost one evaluation. All panels of a level are evaluated in one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError

__all__ = ["Function", "Grid", "gaussian_grid", "gaussian_moments"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

_ORDER = 13


def _lobatto() -> tuple[Array, Array]:
    """Nodes and weights on [-1, 1], exact for polynomials of degree 2 * order - 3."""
    legendre = np.polynomial.Legendre.basis(_ORDER - 1)
    nodes = np.array([-1.0, *legendre.deriv().roots(), 1.0])
    weights = 2.0 / (_ORDER * (_ORDER - 1) * legendre(nodes) ** 2)
    # A hair inside, so that a panel that ends at a jump sees one side of it.
    return nodes * (1.0 - 2.0**-44), weights


_NODES, _WEIGHTS = _lobatto()
_LEVELS = 48  # a panel of width 2^-48: below the spacing of doubles around 12
_PANELS = 4096  # unsettled at once; a smooth function has a dozen
# Panels end at the integers, where the corners of most activations are (0, ±1, ±3, 6).
_CENTRE = (-12.0, -9.0, *map(float, range(-6, 7)), 9.0, 12.0)
_REACHES = (_CENTRE, (-38.0, -31.0, -24.0, -18.0, *_CENTRE, 18.0, 24.0, 31.0, 38.0))


def _differentiation() -> Array:
    """D with (D f(nodes)) = f'(nodes) for polynomials of degree below the order (barycentric)."""
    gap = _NODES[:, None] - _NODES[None, :] + np.eye(_ORDER)
    weight = 1.0 / gap.prod(axis=1)
    matrix: Array = weight[None, :] / weight[:, None] / gap
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -matrix.sum(axis=1))
    return matrix


_DERIVATIVE = _differentiation()


@dataclass(frozen=True, slots=True)
class Grid:
    """A function resolved under N(mean, q): nodes z of a standard normal, weights that sum to 1.

    `weight @ g` is E[g] for any g formed from `z`, `value` (phi(x), x = mean + sqrt(q) z) and
    `slope` (phi'(x); a jump has none and is left out, as automatic differentiation leaves it out).
    """

    z: Array
    weight: Array
    value: Array
    slope: Array

    def mean(self, integrand: Array) -> float:
        """E[integrand], the integrand given at the nodes."""
        return float(self.weight @ integrand)


def gaussian_moments(
    fn: Function, kinks: Iterable[float] = (), q: float = 1.0, mean: float = 0.0
) -> tuple[float, float]:
    """E[phi(x)] and E[phi(x)²] for x ~ N(mean, q), to 1e-8 of E[phi²] and of its root.

    Args:
        fn: phi, from a float64 array to one of the same shape, element by element.
        kinks: points x where phi has a corner or jumps. Others are found; those named cost less.
        q: the variance of x.
        mean: the mean of x.

    Returns:
        (E[phi], E[phi²]).

    Raises:
        ArgumentError: phi is not finite somewhere within reach, or E[phi²] is infinite.

    Example:
        >>> mean, second = gaussian_moments(lambda x: np.maximum(x, 0.0))
        >>> round(mean, 6), round(second, 6)
        (0.398942, 0.5)

    A spike that starts and ends within 1/20 of a standard deviation, in a stretch that is smooth
    otherwise, can fall between the first nodes: name its ends as kinks.
    """
    grid = gaussian_grid(fn, kinks, q, mean)
    return grid.mean(grid.value), grid.mean(grid.value**2)


def gaussian_grid(
    fn: Function,
    kinks: Iterable[float] = (),
    q: float = 1.0,
    mean: float = 0.0,
    *,
    powers: tuple[int, ...] = (1, 2),
    tolerance: float = 1e-10,
) -> Grid:
    """Resolve phi under N(mean, q), so that E[phi^p] is right for each power p. See `Grid`."""
    if not (math.isfinite(q) and q >= 0.0 and math.isfinite(mean)):
        raise ArgumentError(
            f"q={q!r}, mean={mean!r}: q is the variance of the argument, finite and not negative; "
            "the mean is finite"
        )
    std = math.sqrt(q)
    if std == 0.0:
        kinks = ()
    corners = [z for k in kinks if abs(z := (float(k) - mean) / std) < _REACHES[-1][-1]]

    def at(z: Array) -> Array:
        return _evaluate(fn, mean + std * z)

    for edges in _REACHES:
        kept = np.unique([*edges, *(z for z in corners if abs(z) < edges[-1])])
        kept = kept[np.diff(kept, prepend=-math.inf) > 1e-12]
        grid, edge_share = _resolve(at, kept, std, powers, tolerance)
        if edge_share < 1e-9:
            return grid
    raise ArgumentError(
        f"{_name(fn)}: E[phi(z)^{max(powers)}] is infinite or too large for a float: phi grows as "
        "fast as the Gaussian falls. Expected a function that grows slower than exp(z²/4)"
    )


def _resolve(
    at: Function, edges: Array, std: float, powers: tuple[int, ...], tolerance: float
) -> tuple[Grid, float]:
    """Halve panels until every power's integral stands still; also the share of the two ends."""
    low, high = edges[:-1], edges[1:]
    z = _nodes(low, high)
    value = at(z)
    settled = np.zeros(len(powers))
    ends = np.zeros(len(powers))
    done: list[tuple[Array, Array, Array, Array]] = []
    for level in range(_LEVELS):
        middle = 0.5 * (low + high)
        low2, high2 = _interleave(low, middle), _interleave(middle, high)
        z2 = _nodes(low2, high2)
        value2 = at(z2)
        whole = _integrals(z, value, high - low, powers)
        halves = _integrals(z2, value2, high2 - low2, powers)
        halved = halves[:, 0::2] + halves[:, 1::2]
        if level == 0:
            ends = np.abs(halved[:, [0, -1]]).sum(axis=1)
        total = settled + halved.sum(axis=1)
        if not np.isfinite(total).all():
            return Grid(z, z, value, value), math.inf
        # E[phi] may be 0: its scale is the root mean square.
        root = math.sqrt(total[powers.index(2)])
        scale = np.array([root if p == 1 else t for p, t in zip(powers, total, strict=True)])
        scale = np.maximum(scale, 1e-150)  # so small that its square is lost
        rough = ~(np.abs(halved - whole) <= tolerance * scale[:, None]).all(axis=0)
        fine, rough2 = np.repeat(~rough, 2), np.repeat(rough, 2)
        slope2 = _slopes(value2[fine], (high2 - low2)[fine], std)
        slope = _slopes(value[~rough], (high - low)[~rough], std)
        steeper = _energy(slope2).reshape(-1, 2).mean(axis=1) > 1.3 * _energy(slope)
        # Across a jump the slope grows with every halving: there is none, and it is left out.
        slope2[np.repeat(steeper & (level > 8), 2)] = 0.0
        done.append((z2[fine], value2[fine], slope2, (high2 - low2)[fine]))
        settled = settled + halves[:, fine].sum(axis=1)
        if not rough.any():
            break
        low, high, z, value = low2[rough2], high2[rough2], z2[rough2], value2[rough2]
        if len(low) > _PANELS:
            break
    if rough.any():
        raise ArgumentError(
            f"E[phi(z)²] does not settle near z = {low[0]:.6g}: it is infinite there, or phi is "
            "not a function of its argument alone. Expected a deterministic function whose square "
            "can be integrated"
        )
    z, value, slope, width = (np.concatenate(parts) for parts in zip(*done, strict=True))
    weight = 0.5 * width[:, None] * _WEIGHTS * _density(z)
    share = float((ends / scale).max())
    return Grid(z.ravel(), weight.ravel(), value.ravel(), slope.ravel()), share


def _nodes(low: Array, high: Array) -> Array:
    return 0.5 * ((high + low)[:, None] + (high - low)[:, None] * _NODES)


def _interleave(a: Array, b: Array) -> Array:
    return np.stack([a, b], axis=1).ravel()


def _slopes(value: Array, width: Array, std: float) -> Array:
    """phi' at the nodes of each panel, from the polynomial through its values."""
    if std == 0.0:
        return np.zeros_like(value)
    return value @ _DERIVATIVE.T * (2.0 / (std * width))[:, None]


def _energy(slope: Array) -> Array:
    return slope**2 @ _WEIGHTS


def _density(z: Array) -> Array:
    return np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)


def _integrals(z: Array, value: Array, width: Array, powers: tuple[int, ...]) -> Array:
    """The integral of value^p times the density over each panel: (powers, panels)."""
    density = _density(z)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.stack([0.5 * width * ((value**p * density) @ _WEIGHTS) for p in powers])


def _evaluate(fn: Function, x: Array) -> Array:
    try:
        with np.errstate(all="ignore"):
            value = np.asarray(fn(x), dtype=np.float64)
    except ArgumentError:
        raise
    except Exception as error:
        raise ArgumentError(
            f"{_name(fn)} failed on a float64 NumPy array: {error}. Expected a function that maps "
            "an array to one of the same shape, such as lambda x: np.tanh(x)"
        ) from error
    if value.shape != x.shape:
        raise ArgumentError(
            f"{_name(fn)} returned shape {value.shape} for an argument of shape {x.shape}; "
            "expected a function of each element"
        )
    if not np.isfinite(value).all():
        where = float(x[~np.isfinite(value)].ravel()[0])
        raise ArgumentError(
            f"{_name(fn)} is {float(value[~np.isfinite(value)].ravel()[0])} at x = {where:.6g}, so "
            "E[phi(z)²] is not finite. Expected a function finite on the whole line"
        )
    return value


def _name(fn: object) -> str:
    return str(getattr(fn, "__name__", type(fn).__name__))
