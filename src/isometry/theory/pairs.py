"""Two Gaussians through one activation: E[phi(u) phi(v)], by quadrature that minds its corners."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError
from isometry.gains import Activation, Function, Grid, find, gaussian_grid

__all__ = ["activation_of", "grid_of", "pair_moment"]

Array = NDArray[np.float64]

CORNERS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)  # widths of a smoothed corner that end a panel


def pair_moment(activation: str | Function | Activation, q: float, other: float, c: float) -> float:
    """E[phi(u) phi(v)] for Gaussians u, v of variances q and `other` and correlation c.

    Along s = (u + v), d = (u - v) the pair is independent. Panels end where either argument meets
    a corner of phi, and around the place where both do, so that c may be as near 1 as one likes.

    Args:
        activation: a name, a function of a NumPy array, or an Activation; corners of a function that it does not name cost digits.
        q, other: the variances.
        c: the correlation, in [-1, 1].

    Returns:
        The expectation, to about 1e-9 of sqrt(E[phi(u)²] E[phi(v)²]).

    Raises:
        ArgumentError: c is no correlation.

    Example:
        >>> round(pair_moment("relu", 1.0, 1.0, 0.0), 6), round(1 / (2 * math.pi), 6)
        (0.159155, 0.159155)

    Source: Cho & Saul 2009, eq. 1; Poole et al. 2016, eq. 5.
    """
    if not -1.0 <= c <= 1.0:
        raise ArgumentError(f"pair_moment(c={c!r}): expected a correlation in [-1, 1]")
    phi = activation_of(activation)
    along, apart = math.sqrt((1.0 + c) / 2.0), math.sqrt((1.0 - c) / 2.0)
    roots = (math.sqrt(q), math.sqrt(other))
    corners = [(k / r, sign) for k in phi.kinks for r, sign in zip(roots, (1.0, -1.0), strict=True)
               if r > 0.0]  # fmt: skip
    edges = _edges(phi, max(q, other))
    graded = [edges]
    for k, _ in corners:
        if along > 0.0:
            widths = np.array([s * w for w in CORNERS for s in (-1.0, 1.0)]) * apart
            graded.append(np.clip((k + widths) / along, edges[0], edges[-1]))
    s, s_weight = _panels(np.unique(np.concatenate(graded))[None, :])
    s, s_weight = s[0], s_weight[0]
    inner = [np.broadcast_to(edges, (s.size, edges.size))]
    if apart > 0.0:
        inner += [np.clip(sign * (k - along * s) / apart, edges[0], edges[-1])[:, None]
                  for k, sign in corners]  # fmt: skip
    d, d_weight = _panels(np.sort(np.concatenate(inner, axis=1), axis=1))
    centre = along * s[:, None]
    product = phi.function(roots[0] * (centre + apart * d))
    product = product * phi.function(roots[1] * (centre - apart * d))
    return float(s_weight @ (product * d_weight).sum(axis=1))


def activation_of(activation: str | Function | Activation) -> Activation:
    """An activation by its name, or made of a function."""
    if isinstance(activation, Activation):
        return activation
    if isinstance(activation, str):
        return _named(activation)
    if not callable(activation):
        raise ArgumentError(
            f"activation is {activation!r}; expected a name such as 'tanh', or a function of a "
            "NumPy array such as np.tanh"
        )
    return Activation(str(getattr(activation, "__name__", type(activation).__name__)), activation)


@lru_cache(maxsize=64)
def _named(name: str) -> Activation:
    return find(name, {})


def grid_of(phi: Activation, q: float) -> Grid:
    """An activation resolved under N(0, q)."""
    return gaussian_grid(phi.function, phi.kinks, q)


_ORDER = 13  # that of the grids of `gains`: nodes come panel by panel
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(_ORDER)


def _edges(phi: Activation, q: float) -> Array:
    """Ends of panels that resolve phi under N(0, q), to ±9 standard deviations."""
    panels = grid_of(phi, q).z.reshape(-1, _ORDER)
    ends = np.unique(np.concatenate([panels[:, 0], panels[:, -1], [-9.0, 9.0]]).round(9))
    kept: Array = ends[np.abs(ends) <= 9.0]
    return kept


def _panels(edges: Array) -> tuple[Array, Array]:
    """Gauss-Legendre nodes and weights under N(0, 1) between the ends in each row."""
    half = 0.5 * np.diff(edges, axis=1)[:, :, None]
    z = 0.5 * (edges[:, 1:] + edges[:, :-1])[:, :, None] + half * _NODES
    weight = half * _WEIGHTS * np.exp(-0.5 * z * z) / math.sqrt(2.0 * math.pi)
    rows = edges.shape[0]
    return z.reshape(rows, -1), weight.reshape(rows, -1)
