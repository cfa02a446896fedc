"""Where a long plain chain of one activation settles, in a sentence."""

from __future__ import annotations

import math

from isometry.errors import ArgumentError
from isometry.theory.maps import LayerMap

__all__ = ["settled"]

FACTOR = 10.0  # by which the gradient changes over all layers, below which nothing is said


def settled(activation: str, c_w: float, c_b: float, layers: int) -> str | None:
    """What many layers x -> W phi(x) + b do to a signal, a pair and a gradient; None where the
    second moment does not settle, or the gradient changes by less than a factor of ten.

    Args:
        activation: its name.
        c_w, c_b: fan_in Var W and Var b.
        layers: how many there are.

    Example:
        >>> print(settled("tanh", 2.25, 0.0, 20))
        20 layers of tanh: the second moment settles at 0.793, the cosine of two samples at 0, the \
gradient changes x 1.14 a layer (depth scale 7.7 layers)

    Source: Schoenholz et al. 2017, secs. 3 to 5.
    """
    layer = LayerMap(activation, c_w, c_b)
    try:
        q = layer.fixed_point()
        c, chi = layer.correlation_fixed_point(q), layer.chi(q)
    except ArgumentError:
        return None
    if q < 1e-4 or not math.isfinite(chi) or chi <= 0.0:
        return None
    if abs(math.log(chi)) * layers < math.log(FACTOR):
        return None
    return (
        f"{layers} layers of {activation}: the second moment settles at {q:.3g}, the cosine of two "
        f"samples at {c if c > 1e-6 else 0.0:.2g}, the gradient changes x {chi:.3g} a layer (depth "
        f"scale {layer.depth_scale(q):.2g} layers)"
    )
