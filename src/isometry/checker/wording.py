"""How findings say numbers, stretches of layers and laws."""

from __future__ import annotations

import math
from collections.abc import Sequence

from isometry.errors import ArgumentError
from isometry.gains import gain
from isometry.types import Fans, ParameterMeasurement

__all__ = ["activation_gain", "factor", "law_of", "number", "stretch"]

CLOSE = 0.08  # a law is recognised when its scale is within this fraction


def number(x: float) -> str:
    """Two digits, plain where that is short: 0.41, 27, 3.2e4, 1e-8."""
    if x == 0 or not math.isfinite(x):
        return f"{x:g}"
    if 0.01 <= abs(x) < 1000:
        return f"{x:.2g}" if abs(x) < 99.5 else f"{x:.0f}"
    mantissa, exponent = f"{x:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def factor(effect: float, steps: int) -> str:
    """An effect over several layers, by the layer: "× 0.41 a layer over 7 layers (to 2e-3)"."""
    layers = "layer" if steps == 1 else "layers"
    if effect == 0 or not math.isfinite(effect):
        return f"to {number(effect)} over {steps} {layers}"
    each = effect ** (1 / steps)
    if steps == 1:
        return f"× {number(effect)} over 1 layer"
    return f"× {number(each)} a layer over {steps} layers (to {number(effect)})"


def stretch(names: Sequence[str]) -> str:
    """The first and the last of a run of layers."""
    named = [n or "(model)" for n in names]
    return named[0] if named[0] == named[-1] else f"{named[0]} … {named[-1]}"


def activation_gain(fn: str | None) -> float | None:
    """The gain an activation needs, where it has one by name; 1 where there is no activation."""
    if fn is None:
        return 1.0
    try:
        return gain(fn)
    except ArgumentError:
        return None


def law_of(parameter: ParameterMeasurement, fans: Fans | None) -> str:
    """The law that a weight's values look like, in words: of its moments and its largest value."""
    if parameter.nonfinite > 0:
        return "values that are not finite"
    if parameter.constant is not None:
        return f"the constant {parameter.constant:g}"
    std = math.sqrt(max(parameter.q - parameter.mean**2, 0.0))
    if std == 0 or parameter.peak is None:
        return "values all alike"
    if abs(parameter.mean) > 0.3 * std:
        return f"values of mean {number(parameter.mean)} and std {number(std)}"
    reach = parameter.peak / std
    uniform = reach < 1.05 * math.sqrt(3) and math.prod(parameter.shape) > 16
    if fans is not None and fans.fan_in > 0:
        scaled = std**2 * fans.fan_in
        if uniform and _near(scaled, 1 / 3):
            return "U(±1/√fan_in), PyTorch's default"
        for name, want in (("He", 2.0), ("LeCun", 1.0)):
            if _near(scaled, want):
                return f"{name}'s law, {'uniform' if uniform else 'normal'}"
        if _near(scaled * (1 + fans.fan_out / fans.fan_in) / 2, 1.0):
            return f"Glorot's law, {'uniform' if uniform else 'normal'}"
    if uniform:
        return f"U(±{number(parameter.peak)})"
    return f"std {number(std)}"


def _near(x: float, want: float) -> bool:
    return abs(x / want - 1) < 2 * CLOSE
