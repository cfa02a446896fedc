"""Schemes whose scale follows from the fans: LeCun, Glorot, He and the rule they share."""

from __future__ import annotations

import math

from isometry.errors import ArgumentError
from isometry.gains import Function
from isometry.gains import gain as gain_of
from isometry.types import Fans, Law, Normal, TruncatedNormal, Uniform

__all__ = [
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "lecun_normal",
    "lecun_uniform",
    "variance_scaling",
]


def variance_scaling(
    fans: Fans,
    *,
    scale: float = 1.0,
    mode: str = "fan_in",
    distribution: str = "normal",
    gain: float = 1.0,
) -> Law:
    """The rule that LeCun, Glorot and He are cases of: a variance divided by a fan.

        Var W = gain² * scale / n,  n = fan_in, fan_out, their mean or their geometric mean

    Args:
        fans: of the weight.
        scale: the numerator.
        mode: "fan_in" keeps the forward signal, "fan_out" the gradient, "fan_avg" and
            "fan_geo_avg" lie between.
        distribution: "normal"; "uniform", of bound sqrt(3 Var W); "truncated_normal", cut at 2
            sigmas, with this variance after the cut.
        gain: multiplies the std.

    Returns:
        The law.

    Raises:
        ArgumentError: scale or gain is not positive and finite, a fan is not positive, mode or
            distribution is not one of those above.

    Example:
        >>> variance_scaling(Fans(150, 50), mode="fan_avg")
        Normal(std=0.1, mean=0.0)

    Source: He et al. 2015, sec. 2.2, for the condition; the common form is Keras's.

    Differs: Keras, JAX and Flax call their "truncated_normal" the same and correct its std too;
        their "normal" initialisers are truncated, here `normal` is a Gaussian.
    """
    for name, value in {"scale": scale, "gain": gain}.items():
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0.0:
            raise ArgumentError(
                f"{name}={value!r}: expected a positive, finite number; for zeros use zeros()"
            )
    variance = gain**2 * scale / _fan(fans, mode)
    match distribution:
        case "normal":
            return Normal(math.sqrt(variance))
        case "uniform":
            return Uniform(math.sqrt(3.0 * variance))
        case "truncated_normal":
            return TruncatedNormal(math.sqrt(variance))
    raise ArgumentError(
        f"distribution={distribution!r}: expected 'normal', 'uniform' or 'truncated_normal'"
    )


def _fan(fans: Fans, mode: str) -> float:
    for name in ("fan_in", "fan_out"):
        value = getattr(fans, name)
        if not math.isfinite(value) or value <= 0.0:
            raise ArgumentError(
                f"{name}={value!r}: expected a positive number; a tensor with no elements, or with "
                "an axis of size 0, has no scale"
            )
    match mode:
        case "fan_in":
            return fans.fan_in
        case "fan_out":
            return fans.fan_out
        case "fan_avg":
            return 0.5 * (fans.fan_in + fans.fan_out)
        case "fan_geo_avg":
            return math.sqrt(fans.fan_in * fans.fan_out)
    raise ArgumentError(f"mode={mode!r}: expected 'fan_in', 'fan_out', 'fan_avg' or 'fan_geo_avg'")


def _normal(truncated: bool) -> str:
    return "truncated_normal" if truncated else "normal"


def lecun_normal(fans: Fans, *, gain: float = 1.0, truncated: bool = False) -> Law:
    """LeCun's rule, Gaussian: a sum of fan_in terms of unit variance has unit variance.

        Var W = gain² / fan_in

    Args:
        fans: of the weight.
        gain: multiplies the std; `iso.gain("gelu")` makes up for a GELU that is read.
        truncated: cut at 2 sigmas, with this std after the cut: the law of Keras and JAX.

    Returns:
        The law.

    Raises:
        ArgumentError: gain or a fan is not positive and finite.

    Example:
        >>> lecun_normal(Fans(400, 2000))
        Normal(std=0.05, mean=0.0)

    Source: LeCun et al. 1998, Efficient BackProp, eq. 16; Klambauer et al. 2017 for SELU.

    Differs: Keras and JAX truncate; PyTorch has none; Hugging Face's is 1.294 times too large in
        variance.
    """
    return variance_scaling(fans, gain=gain, distribution=_normal(truncated))


def lecun_uniform(fans: Fans, *, gain: float = 1.0) -> Law:
    """LeCun's rule, uniform: a sum of fan_in terms of unit variance has unit variance.

        Var W = gain² / fan_in,  |W| <= gain * sqrt(3 / fan_in)

    Args:
        fans: of the weight.
        gain: multiplies the std; `iso.gain("gelu")` makes up for a GELU that is read.

    Returns:
        The law.

    Raises:
        ArgumentError: gain or a fan is not positive and finite.

    Example:
        >>> lecun_uniform(Fans(300, 100))
        Uniform(bound=0.1, mean=0.0)

    Source: LeCun et al. 1998, Efficient BackProp, eq. 16.

    Differs: PyTorch's default for Linear and Conv is U(±1/sqrt(fan_in)), a third of this variance.
    """
    return variance_scaling(fans, gain=gain, distribution="uniform")


def glorot_normal(fans: Fans, *, gain: float = 1.0, truncated: bool = False) -> Law:
    """Glorot's rule, Gaussian: a compromise between the signal forward and the gradient back.

        Var W = 2 gain² / (fan_in + fan_out)

    Args:
        fans: of the weight.
        gain: multiplies the std.
        truncated: cut at 2 sigmas, with this std after the cut: the law of Keras and JAX.

    Returns:
        The law.

    Raises:
        ArgumentError: gain or a fan is not positive and finite.

    Example:
        >>> glorot_normal(Fans(100, 100))
        Normal(std=0.1, mean=0.0)

    Source: Glorot & Bengio 2010, eq. 12.

    Differs: Keras and JAX truncate; PyTorch (`xavier_normal_`) leaves groups and stride out of
        fan_out.
    """
    return variance_scaling(fans, mode="fan_avg", gain=gain, distribution=_normal(truncated))


def glorot_uniform(fans: Fans, *, gain: float = 1.0) -> Law:
    """Glorot's rule, uniform, the paper's own form ("normalized initialization").

        Var W = 2 gain² / (fan_in + fan_out),  |W| <= gain * sqrt(6 / (fan_in + fan_out))

    Args:
        fans: of the weight.
        gain: multiplies the std.

    Returns:
        The law.

    Raises:
        ArgumentError: gain or a fan is not positive and finite.

    Example:
        >>> glorot_uniform(Fans(300, 300))
        Uniform(bound=0.1, mean=0.0)

    Source: Glorot & Bengio 2010, eq. 16.

    Differs: PyTorch (`xavier_uniform_`) leaves groups and stride out of fan_out, and takes a fused
        QKV matrix for one of three times the outputs.
    """
    return variance_scaling(fans, mode="fan_avg", gain=gain, distribution="uniform")


def he_normal(
    fans: Fans,
    *,
    nonlinearity: str | Function = "relu",
    negative_slope: float | None = None,
    mode: str = "fan_in",
    truncated: bool = False,
) -> Law:
    """He's rule, Gaussian, the paper's own form: keeps the second moment through a ReLU.

        Var W = gain² / fan,  gain² = 1 / E[phi(z)²]: 2 for ReLU, 2 / (1 + a²) with slope a

    Args:
        fans: of the weight.
        nonlinearity: what the weight reads: a name or a function, as for `iso.gain`.
        negative_slope: a, where the nonlinearity is a leaky ReLU; it then need not be named.
        mode: "fan_in" keeps the forward signal, "fan_out" the gradient.
        truncated: cut at 2 sigmas, with this std after the cut: the law of Keras and JAX.

    Returns:
        The law.

    Raises:
        ArgumentError: the nonlinearity is not known, or a fan is not positive.

    Example:
        >>> he_normal(Fans(200, 100))
        Normal(std=0.1, mean=0.0)

    Source: He et al. 2015, eq. 10 (fan_in), eq. 14 (fan_out), eq. 15 (slope).

    Differs: Keras and JAX truncate; PyTorch (`kaiming_normal_`) takes a = 0 for a leaky ReLU unless
        told, and refuses GELU or SiLU; MLX's has gain 1, which is LeCun's rule.
    """
    gain = _he_gain(nonlinearity, negative_slope)
    return variance_scaling(fans, mode=mode, gain=gain, distribution=_normal(truncated))


def he_uniform(
    fans: Fans,
    *,
    nonlinearity: str | Function = "relu",
    negative_slope: float | None = None,
    mode: str = "fan_in",
) -> Law:
    """He's rule, uniform: keeps the second moment through a ReLU.

        Var W = gain² / fan,  |W| <= gain * sqrt(3 / fan),  gain² = 1 / E[phi(z)²]: 2 for ReLU

    Args:
        fans: of the weight.
        nonlinearity: what the weight reads: a name or a function, as for `iso.gain`.
        negative_slope: a, where the nonlinearity is a leaky ReLU; it then need not be named.
        mode: "fan_in" keeps the forward signal, "fan_out" the gradient.

    Returns:
        The law.

    Raises:
        ArgumentError: the nonlinearity is not known, or a fan is not positive.

    Example:
        >>> he_uniform(Fans(600, 100))
        Uniform(bound=0.1, mean=0.0)

    Source: He et al. 2015, eq. 10 (fan_in), eq. 14 (fan_out), eq. 15 (slope).

    Differs: PyTorch's `kaiming_uniform_(a=sqrt(5))`, its default for Linear and Conv, has a gain of
        sqrt(1/3) that no activation calls for.
    """
    gain = _he_gain(nonlinearity, negative_slope)
    return variance_scaling(fans, mode=mode, gain=gain, distribution="uniform")


def _he_gain(nonlinearity: str | Function, negative_slope: float | None) -> float:
    if negative_slope is None:
        return gain_of(nonlinearity)
    name = "leaky_relu" if nonlinearity == "relu" else nonlinearity
    return gain_of(name, negative_slope=negative_slope)
