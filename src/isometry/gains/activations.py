"""The activations known by name: what they compute, where they have corners, and their gain.

A gain in this table is a literal so that a plan means the same bits on every machine; the tests
hold each against quadrature and, where there is one, against its closed form.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError

__all__ = ["ACTIVATIONS", "FUNCTIONS", "GATES", "KINKS", "Activation", "find"]

Array = NDArray[np.float64]
Function = Callable[[Array], Array]

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


@dataclass(frozen=True, slots=True)
class Activation:
    """One activation: `function` maps a float64 array element by element.

    `kinks` are the points where it has a corner or jumps, `gain` is 1/sqrt(E[phi(z)²]), known for
    the default parameters only.
    """

    name: str
    function: Function
    kinks: tuple[float, ...] = ()
    gain: float | None = None
    parameters: Mapping[str, float] = field(default_factory=dict)


def _erf(x: Array) -> Array:
    # The C library's, one by one: right to an ulp, and faster than a series for a few hundred.
    x = np.asarray(x, dtype=np.float64)
    return np.fromiter(map(math.erf, x.ravel().tolist()), np.float64, x.size).reshape(x.shape)


def _sigmoid(x: Array) -> Array:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def _softplus(x: Array, beta: float = 1.0) -> Array:
    return np.logaddexp(0.0, beta * x) / beta


def _leaky(x: Array, negative_slope: float) -> Array:
    return np.where(x >= 0.0, x, negative_slope * x)


def _elu(x: Array, alpha: float = 1.0) -> Array:
    return np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _celu(x: Array, alpha: float) -> Array:
    return np.where(x > 0.0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha))


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def _hardsigmoid(x: Array) -> Array:
    return np.clip(x / 6.0 + 0.5, 0.0, 1.0)


def _softshrink(x: Array, lambd: float) -> Array:
    return np.sign(x) * np.maximum(np.abs(x) - lambd, 0.0)


def _hardshrink(x: Array, lambd: float) -> Array:
    return np.where(np.abs(x) > lambd, x, 0.0)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A row of the table: fn(x, **parameters), kinks as numbers or as a function of parameters."""

    fn: Callable[..., Array]
    gain: float
    kinks: tuple[float, ...] | Callable[..., tuple[float, ...]] = ()
    aliases: tuple[str, ...] = ()
    parameters: Mapping[str, float] = field(default_factory=dict)

    def build(self, name: str, parameters: Mapping[str, float]) -> Activation:
        values = {**self.parameters, **parameters}
        kinks = self.kinks(**values) if callable(self.kinks) else self.kinks
        gain = self.gain if values == dict(self.parameters) else None
        fn = partial(self.fn, **values) if values else self.fn
        return Activation(name, fn, kinks, gain, values)


def _around_zero(lambd: float) -> tuple[float, ...]:
    return (-lambd, lambd)


_TABLE: dict[str, _Entry] = {
    "linear": _Entry(lambda x: x, 1.0, aliases=("identity", "none")),
    "relu": _Entry(lambda x: np.maximum(x, 0.0), 1.4142135623730951, (0.0,)),
    "leaky_relu": _Entry(_leaky, 1.4141428569978354, (0.0,), (), {"negative_slope": 0.01}),
    "prelu": _Entry(_leaky, 1.3719886811400708, (0.0,), (), {"negative_slope": 0.25}),
    "rrelu": _Entry(_leaky, 1.378479664546057, (0.0,), (), {"negative_slope": 11.0 / 48.0}),
    "relu6": _Entry(lambda x: np.clip(x, 0.0, 6.0), 1.4142135650950738, (0.0, 6.0)),
    "relu_squared": _Entry(
        lambda x: np.maximum(x, 0.0) ** 2, 0.816496580927726, (0.0,), ("relu2", "squared_relu")
    ),
    "elu": _Entry(_elu, 1.2451983007007066, (0.0,), (), {"alpha": 1.0}),
    "selu": _Entry(lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA), 1.0, (0.0,)),
    "celu": _Entry(_celu, 1.2451983007007066, (0.0,), (), {"alpha": 1.0}),
    "gelu": _Entry(
        lambda x: 0.5 * x * (1.0 + _erf(x / math.sqrt(2.0))), 1.5335304411955353, (),
        ("gelu_python", "gelu_erf"),
    ),
    "gelu_tanh": _Entry(
        _gelu_tanh, 1.533580521666147, (),
        ("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_approximate", "gelu_accurate"),
    ),
    "quick_gelu": _Entry(
        lambda x: x * _sigmoid(1.702 * x), 1.5394587622988314, (), ("gelu_sigmoid",)
    ),
    "silu": _Entry(lambda x: x * _sigmoid(x), 1.6765324703310913, (), ("swish",)),
    "mish": _Entry(lambda x: x * np.tanh(_softplus(x)), 1.486847581273208),
    "hardswish": _Entry(
        lambda x: x * _hardsigmoid(x), 1.7366572127665416, (-3.0, 3.0), ("hard_silu",)
    ),
    "hardsigmoid": _Entry(_hardsigmoid, 1.8978404247295588, (-3.0, 3.0)),
    "hardtanh": _Entry(
        lambda x, min_val, max_val: np.clip(x, min_val, max_val), 1.3920361404483097,
        lambda min_val, max_val: (min_val, max_val), (), {"min_val": -1.0, "max_val": 1.0},
    ),
    "sigmoid": _Entry(_sigmoid, 1.8462285453386054, (), ("logistic",)),
    "logsigmoid": _Entry(lambda x: -np.logaddexp(0.0, -x), 1.0418668355353016),
    "tanh": _Entry(np.tanh, 1.5925374197228315),
    "erf": _Entry(_erf, 1.4671669504891387),
    "softplus": _Entry(_softplus, 1.0418668355353016, (), (), {"beta": 1.0}),
    "softsign": _Entry(lambda x: x / (1.0 + np.abs(x)), 2.3375333631085398, (0.0,)),
    "tanhshrink": _Entry(lambda x: x - np.tanh(x), 2.338367530102121),
    "softshrink": _Entry(_softshrink, 1.5443605282801334, _around_zero, (), {"lambd": 0.5}),
    "hardshrink": _Entry(_hardshrink, 1.015796354719734, _around_zero, (), {"lambd": 0.5}),
    "exp": _Entry(np.exp, 0.36787944117144233, (), ("exponential",)),
    "sin": _Entry(
        lambda x, omega: np.sin(omega * x), 1.5208666231788148, (), ("sine",), {"omega": 1.0}
    ),
    "cos": _Entry(np.cos, 1.327250600284575, (), ("cosine",)),
    "square": _Entry(np.square, 0.5773502691896257),
    "abs": _Entry(np.abs, 1.0, (0.0,)),
}  # fmt: skip

# x * phi(g), with x and g independent: what each gate applies to g.
GATES: dict[str, str] = {
    "glu": "sigmoid", "reglu": "relu", "geglu": "gelu", "swiglu": "silu", "bilinear": "linear",
}  # fmt: skip

ACTIVATIONS: dict[str, Activation] = {name: e.build(name, {}) for name, e in _TABLE.items()}
FUNCTIONS: dict[str, Function] = {name: a.function for name, a in ACTIVATIONS.items()}
KINKS: dict[str, tuple[float, ...]] = {name: a.kinks for name, a in ACTIVATIONS.items()}


def _squash(name: str) -> str:
    return "".join(c for c in name.lower() if c.isalnum())


_CANONICAL: dict[str, str] = {
    _squash(spelling): name
    for name, spellings in {
        **{n: (n, *e.aliases) for n, e in _TABLE.items()},
        **{gate: (gate,) for gate in GATES},
    }.items()
    for spelling in spellings
}


def canonical(name: str) -> str | None:
    """The canonical name of an activation or gate, whatever its spelling; None where unknown.

    Case, underscores and hyphens do not matter: "LeakyReLU", "leaky-relu", "leaky_relu".
    """
    return _CANONICAL.get(_squash(name))


def find(name: str, parameters: Mapping[str, float]) -> Activation:
    """The activation of that name (for a gate, what it applies), with its parameters set."""
    known = canonical(name)
    if known is None:
        close = difflib.get_close_matches(_squash(name), _CANONICAL, n=1)
        hint = f" (did you mean {_CANONICAL[close[0]]!r}?)" if close else ""
        raise ArgumentError(
            f"{name!r} is not an activation known by name{hint}. Known: "
            f"{', '.join([*_TABLE, *GATES])}. Anything else can be passed as a function of a "
            "NumPy array"
        )
    known = GATES.get(known, known)
    entry = _TABLE[known]
    for key, value in parameters.items():
        if key not in entry.parameters:
            takes = ", ".join(entry.parameters) or "none"
            raise ArgumentError(f"{name} has no parameter {key!r}; it takes {takes}")
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise ArgumentError(f"{name}({key}={value!r}): {key} must be a finite number")
    return entry.build(known, {key: float(value) for key, value in parameters.items()})
