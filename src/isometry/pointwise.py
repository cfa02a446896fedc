"""Functions of one number, composed operation by operation as a graph applies them.

An expression is a nested tuple over the variable "z": ("mul", ("gelu", "z"), 0.5). Tuples compare
and hash, so the Gaussian moments of one activation are worked out once for a whole model.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError
from isometry.gains import FUNCTIONS, gaussian_moments

__all__ = [
    "KNOWN",
    "Expression",
    "Z",
    "describe",
    "evaluate",
    "moments_of",
    "name_of",
    "substituted",
]

Array = NDArray[np.float64]
Expression = Any  # "z" | float | tuple[str, Expression | float, ...]
Z = "z"


def _elu(x: Array, alpha: float = 1.0, scale: float = 1.0, slope: float = 1.0) -> Array:
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) * slope))


def _softplus(x: Array, beta: float = 1.0, threshold: float = 20.0) -> Array:
    return np.logaddexp(0.0, beta * x) / beta


def _clamp(x: Array, low: float | None, high: float | None) -> Array:
    return np.asarray(np.clip(x, low, high))


def _pow(x: Array, exponent: Any) -> Array:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.power(x, exponent))


_OWN: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "radd": np.add, "rmul": np.multiply, "rsub": lambda x, c: c - x, "rdiv": lambda x, c: c / x,
    "max": np.maximum, "min": np.minimum, "pow": _pow, "rpow": lambda x, c: np.power(c, x),
    "neg": np.negative, "sqrt": np.sqrt, "rsqrt": lambda x: 1.0 / np.sqrt(x),
    "reciprocal": np.reciprocal, "log": np.log, "log1p": np.log1p, "expm1": np.expm1,
    "exp2": np.exp2, "log2": np.log2, "sinh": np.sinh, "cosh": np.cosh, "atan": np.arctan,
    "asinh": np.arcsinh, "sign": np.sign, "floor": np.floor, "round": np.round, "ceil": np.ceil,
    "clamp": _clamp, "elu": _elu, "softplus": _softplus,
    "celu": lambda x, alpha=1.0: _elu(x, alpha, 1.0, 1.0 / alpha),
    "leaky_relu": lambda x, slope=0.01: np.where(x > 0, x, slope * x),
    "hardshrink": lambda x, lambd=0.5: np.where(np.abs(x) > lambd, x, 0.0),
    "softshrink": lambda x, lambd=0.5: np.sign(x) * np.maximum(np.abs(x) - lambd, 0.0),
    "threshold": lambda x, threshold=0.0, value=0.0: np.where(x > threshold, x, value),
}  # fmt: skip
_TABLE: dict[str, Callable[..., Any]] = {**FUNCTIONS, **_OWN}
KNOWN = frozenset(_TABLE)


def evaluate(expression: Expression, z: Array) -> Array:
    """The expression at every element of z."""
    if isinstance(expression, str):
        return z
    if not isinstance(expression, tuple):
        return np.full_like(z, expression)
    fn, *operands = expression
    values = [evaluate(o, z) if isinstance(o, (tuple, str)) else o for o in operands]
    return np.asarray(_TABLE[fn](*values))


def substituted(expression: Expression, inner: Expression) -> Expression:
    """The expression with another in place of its variable.

    Example:
        >>> substituted(("relu", "z"), ("neg", "z"))
        ('relu', ('neg', 'z'))
    """
    if expression == Z:
        return inner
    if not isinstance(expression, tuple):
        return expression
    fn, *operands = expression
    return (fn, *(substituted(o, inner) for o in operands))


@lru_cache(maxsize=4096)
def moments_of(expression: Expression, mean: float, variance: float) -> tuple[float, float] | None:
    """E[f(x)] and E[f(x)²] for x ~ N(mean, variance); None where they are not finite."""
    if expression == Z:
        return mean, mean * mean + variance
    if variance <= 0:
        value = float(evaluate(expression, np.array([mean]))[0])
        return (value, value * value) if math.isfinite(value) else None
    try:
        with np.errstate(all="ignore"):
            return gaussian_moments(lambda z: evaluate(expression, z), q=variance, mean=mean)
    except ArgumentError:
        return None


def describe(expression: Expression) -> str:
    """A short form for people: the names of its functions, from the inside out; "" for none."""
    return " then ".join(_names(expression))


def name_of(expression: Expression) -> str | None:
    """The activation that an expression is, where it is one and no more."""
    if not isinstance(expression, tuple):
        return None
    if len(expression) > 1 and expression[1] == Z and expression[0] in FUNCTIONS:
        return (
            "selu"
            if expression[0] == "elu" and 1.0507 in [round(float(a), 4) for a in expression[2:]]
            else str(expression[0])
        )
    return _recognised(expression)


@lru_cache(maxsize=1024)
def _recognised(expression: Expression) -> str | None:
    """A composed activation by its values: transformers writes GELU's tanh form in eight steps."""
    z = np.linspace(-4.0, 4.0, 33)
    with np.errstate(all="ignore"):
        values = evaluate(expression, z)
    for name in (
        "gelu_tanh",
        "gelu",
        "quick_gelu",
        "silu",
        "relu_squared",
        "mish",
        "hardswish",
        "softsign",
        "selu",
    ):
        if np.allclose(values, FUNCTIONS[name](z), rtol=1e-4, atol=1e-5):
            return name
    return None


def _names(expression: Expression) -> list[str]:
    if not isinstance(expression, tuple):
        return []
    inner = [n for o in expression[1:] for n in _names(o)]
    scalars = ("add", "sub", "mul", "div", "radd", "rmul", "rsub", "rdiv", "neg")
    return inner + ([] if expression[0] in scalars else [str(expression[0])])
