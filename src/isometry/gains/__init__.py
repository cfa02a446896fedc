"""Gains: the factor that undoes what an activation does to the second moment of a signal.

A weight matrix of variance gain²/fan_in, fed by phi(z) with z ~ N(0, 1), gives pre-activations of
second moment 1 again when gain = 1/sqrt(E[phi(z)²]). He's sqrt(2) is that number for ReLU.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from isometry.errors import ArgumentError
from isometry.gains.activations import (
    ACTIVATIONS,
    FUNCTIONS,
    GATES,
    KINKS,
    Activation,
    canonical,
    find,
)
from isometry.gains.quadrature import Function, Grid, gaussian_grid, gaussian_moments

__all__ = [
    "ACTIVATIONS",
    "FUNCTIONS",
    "GATES",
    "KINKS",
    "Activation",
    "Function",
    "Grid",
    "Moments",
    "canonical",
    "find",
    "gain",
    "gaussian_grid",
    "gaussian_moments",
    "moments",
]


@dataclass(frozen=True, slots=True)
class Moments:
    """What an activation does to z ~ N(0, 1), and to small departures from it.

    Attributes:
        mean: E[phi].
        second: E[phi²].
        fourth: E[phi⁴].
        slope_second: E[phi'²].
        gain: 1/sqrt(E[phi²]).
        chi1: E[phi'²]/E[phi²], by which a squared gradient is multiplied a layer.
        S: d ln q' / d ln q at q = 1, q' = E[phi(sqrt(q) z)²]; above 1, q = 1 repels.
        kappa: E[phi⁴]/E[phi²]² - 1: over layers of width n_l the variance of the squared norm
            grows as prod(1 + kappa/n_l).
    """

    mean: float
    second: float
    fourth: float
    slope_second: float
    gain: float
    chi1: float
    S: float
    kappa: float


def gain(activation: str | Function, **parameters: float) -> float:
    """The factor that keeps the second moment at 1 through an activation.

        gain = 1 / sqrt(E[phi(z)²]),  z ~ N(0, 1)

    Args:
        activation: a name ("relu", "gelu", "LeakyReLU", "swiglu", ...), or phi itself: a function
            from a float64 NumPy array to one of the same shape. A gate (glu, reglu, geglu, swiglu,
            bilinear) is x * phi(g) with x and g independent N(0, 1).
        **parameters: those of a named activation, such as `negative_slope=0.2`.

    Returns:
        The gain. A named activation's is a literal, the same on every machine; any other is
        rounded to 6 significant digits, which no platform's rounding reaches.

    Raises:
        ArgumentError: the name or a parameter is unknown, or E[phi(z)²] is zero or not finite.

    Example:
        >>> round(gain("relu"), 5), round(gain("gelu"), 5)
        (1.41421, 1.53353)
        >>> gain(lambda z: z * (z > 1))
        1.5799

    Source: He et al. 2015, eq. 10 for ReLU; Klambauer et al. 2017 for the general condition.

    `torch.nn.init.calculate_gain` differs for tanh (5/3 there, 1.5925 here: 5/3 is a rule of thumb
    that keeps the signal of a deep tanh network from fading) and SELU (3/4 there, found by trial;
    SELU is built so that its gain is exactly 1), and has none for GELU, SiLU, ELU or Mish.
    """
    if isinstance(activation, str):
        found = find(activation, parameters)
        if found.gain is not None:
            return found.gain
        if "negative_slope" in found.parameters:
            return math.sqrt(2.0 / (1.0 + found.parameters["negative_slope"] ** 2))
        return _rounded(_positive(gaussian_moments(found.function, found.kinks)[1], found.name))
    fn = _checked(activation, parameters)
    return _rounded(_positive(gaussian_moments(fn)[1], _name(fn)))


def moments(activation: str | Function, **parameters: float) -> Moments:
    """The Gaussian moments of an activation: see `Moments`.

    Args:
        activation: a name or a function, as for `gain`.
        **parameters: those of a named activation.

    Returns:
        Moments. For a gate x * phi(g) they are those of the product; its slope counts both inputs.

    Raises:
        ArgumentError: as for `gain`.

    Example:
        >>> m = moments("gelu")
        >>> round(m.chi1, 3), round(m.S, 3), round(m.kappa, 2)
        (1.072, 1.144, 6.22)
    """
    if isinstance(activation, str):
        return _named(activation, tuple(sorted(parameters.items())))
    fn = _checked(activation, parameters)
    return _moments(fn, (), None, _name(fn))


def _checked(activation: object, parameters: dict[str, float]) -> Function:
    if not callable(activation):
        raise ArgumentError(
            f"activation is {activation!r}; expected a name such as 'gelu', or a function of a "
            "NumPy array such as np.tanh"
        )
    if parameters:
        raise ArgumentError(
            f"a function takes no parameters here, received {', '.join(parameters)}; close over "
            "them: gain(lambda z: f(z, ...))"
        )
    return activation


def _name(fn: Function) -> str:
    return str(getattr(fn, "__name__", type(fn).__name__))


def _rounded(second: float) -> float:
    return float(f"{second**-0.5:.6g}")


def _positive(second: float, name: str) -> float:
    if not second > 0.0:
        raise ArgumentError(
            f"{name}: E[phi(z)²] is {second:g} for z ~ N(0, 1), so no gain can make it 1; expected "
            "an activation that is not zero everywhere"
        )
    return second


@lru_cache(maxsize=256)
def _named(name: str, parameters: tuple[tuple[str, float], ...]) -> Moments:
    found = find(name, dict(parameters))
    inner = _moments(found.function, found.kinks, found.gain, found.name)
    if canonical(name) not in GATES:
        return inner
    # x * phi(g): E[x²] = 1, E[x⁴] = 3; the gradient reaches x through phi and g through phi'.
    fourth = 3.0 * inner.fourth
    slope = inner.second + inner.slope_second
    return Moments(
        mean=0.0,
        second=inner.second,
        fourth=fourth,
        slope_second=slope,
        gain=inner.gain,
        chi1=slope / inner.second,
        S=1.0 + inner.S,
        kappa=fourth / inner.second**2 - 1.0,
    )


def _moments(fn: Function, kinks: tuple[float, ...], literal: float | None, name: str) -> Moments:
    grid = gaussian_grid(fn, kinks, powers=(1, 2, 4), tolerance=1e-13)
    squared = grid.value**2
    second = _positive(grid.mean(squared), name)
    fourth = grid.mean(squared**2)
    slope = grid.mean(grid.slope**2)
    return Moments(
        mean=grid.mean(grid.value),
        second=second,
        fourth=fourth,
        slope_second=slope,
        gain=_rounded(second) if literal is None else literal,
        chi1=slope / second,
        # d/dq E[f(sqrt(q) z)] at q = 1 is E[f(z) (z² - 1)]/2: no derivative of phi is needed.
        S=0.5 * grid.mean(squared * (grid.z**2 - 1.0)) / second,
        kappa=fourth / second**2 - 1.0,
    )
