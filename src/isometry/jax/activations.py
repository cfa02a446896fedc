"""Functions of jax.nn that are one operation of the graph, by the name of the jitted function."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

__all__ = ["WHOLE", "shortest", "unrounded", "whole_call"]

# Constants of activations that half precision rounds beyond recognition.
CONSTANTS = (
    0.044715,
    (2 / math.pi) ** 0.5,
    0.5**0.5,
    2**0.5,
    1.702,
    1.0507009873554805,
    1.6732632423543772,
)

SELU = (1.6732632423543772, 1.0507009873554805, 1.0)  # alpha, scale, as PyTorch's elu takes them


def shortest(value: Any) -> float:
    """A number of lower precision as the shortest decimal that it stands for: 0.01, not
    0.009999999776482582."""
    array = np.asarray(value)
    if array.dtype == np.float64 or array.dtype.kind not in "fV":
        return float(array)
    return float(str(np.float32(array.item())))


def unrounded(number: float, dtype: str) -> float:
    """A number of half precision as the activation's constant that it was rounded from, if it is
    one: 0.044677734 in bfloat16 is GELU's 0.044715."""
    if dtype in ("bfloat16", "float16"):
        for constant in CONSTANTS:
            if float(jnp.dtype(dtype).type(constant)) == abs(number):
                return math.copysign(constant, number)
    return number


def _plain(fn: str, *args: float | None) -> Callable[[Any], tuple[str, dict[str, Any]]]:
    return lambda step: ("pointwise", {"fn": fn, "args": args})


def _elu(step: Any) -> tuple[str, dict[str, Any]]:
    alpha = _factor(step, 1.0)
    return "pointwise", {"fn": "elu", "args": (alpha, 1.0, 1.0)}


def _leaky(step: Any) -> tuple[str, dict[str, Any]]:
    return "pointwise", {"fn": "leaky_relu", "args": (_factor(step, 0.01),)}


def _softmax(step: Any) -> tuple[str, dict[str, Any]]:
    axes = [e.params["axes"] for e in _equations(step) if e.primitive.name == "reduce_max"]
    return "softmax", {"axes": tuple(int(a) for a in axes[0]) if axes else (-1,)}


WHOLE: dict[str, Callable[[Any], tuple[str, dict[str, Any]]]] = {
    "relu": _plain("relu"),
    "relu6": _plain("clamp", 0.0, 6.0),
    "elu": _elu,
    "selu": _plain("elu", *SELU),
    "celu": lambda step: ("pointwise", {"fn": "celu", "args": (_factor(step, 1.0),)}),
    "leaky_relu": _leaky,
    "silu": _plain("silu"),
    "swish": _plain("silu"),
    "mish": _plain("mish"),
    "softplus": _plain("softplus", 1.0, 20.0),
    "log_sigmoid": _plain("logsigmoid"),
    "hard_tanh": _plain("clamp", -1.0, 1.0),
    "hard_sigmoid": _plain("hardsigmoid"),
    "hard_silu": _plain("hardswish"),
    "hard_swish": _plain("hardswish"),
    "glu": lambda step: ("glu", {}),
    "log_softmax": _softmax,
    "softmax": _softmax,
}


def whole_call(name: str) -> bool:
    """Is a jitted function of that name one operation?"""
    return name in WHOLE


def _equations(step: Any) -> list[Any]:
    """Every equation inside a call."""
    found: list[Any] = []
    stack = [step.params[k] for k in ("jaxpr", "call_jaxpr", "fun_jaxpr") if k in step.params]
    while stack:
        jaxpr = stack.pop()
        for eqn in getattr(jaxpr, "jaxpr", jaxpr).eqns:
            found.append(eqn)
            stack += [eqn.params[k] for k in ("jaxpr", "call_jaxpr") if k in eqn.params]
    return found


def _factor(step: Any, default: float) -> float:
    """The number that one of the branches is multiplied by."""
    for eqn in _equations(step):
        if eqn.primitive.name == "mul":
            for atom in eqn.invars:
                if hasattr(atom, "val"):
                    return shortest(atom.val)
    return default
