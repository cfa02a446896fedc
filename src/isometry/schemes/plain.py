"""Schemes that need no fans: constants, and distributions whose scale is given."""

from __future__ import annotations

from isometry.types import Constant, Law, Normal, TruncatedNormal, Uniform

__all__ = ["constant", "normal", "ones", "truncated_normal", "uniform", "zeros"]


def zeros() -> Law:
    """Every element 0: biases, and the last layer of a branch that is to start as nothing.

        W = 0

    Returns:
        The law.

    Example:
        >>> zeros()
        Constant(value=0.0)

    Source: Glorot & Bengio 2010, sec. 2.3 (biases); Zhang et al. 2019 (Fixup) for whole layers.
    """
    return Constant(0.0)


def ones() -> Law:
    """Every element 1: the gain of a normalisation.

        W = 1

    Returns:
        The law.

    Example:
        >>> ones()
        Constant(value=1.0)

    Source: Ioffe & Szegedy 2015, sec. 3: the scale that makes a normalisation the identity.
    """
    return Constant(1.0)


def constant(value: float) -> Law:
    """Every element the same number.

        W = value

    Args:
        value: the number.

    Returns:
        The law.

    Raises:
        ArgumentError: value is not finite.

    Example:
        >>> constant(0.25)
        Constant(value=0.25)

    Source: He et al. 2015, sec. 2.1, for one: the slope .25 of a PReLU.
    """
    return Constant(value)


def uniform(bound: float = 0.05, mean: float = 0.0) -> Law:
    """Uniform on a closed interval.

        |W - mean| <= bound,  Var W = bound² / 3

    Args:
        bound: half the interval's width.
        mean: its middle.

    Returns:
        The law.

    Raises:
        ArgumentError: bound lies outside [2^-80, 2^80], or mean is not finite.

    Example:
        >>> uniform(0.1)
        Uniform(bound=0.1, mean=0.0)

    Source: elementary; the bound that a variance asks for is sqrt(3 Var W).

    Differs: PyTorch and Keras take the interval's ends, JAX takes [0, scale).
    """
    return Uniform(bound, mean)


def normal(std: float = 0.05, mean: float = 0.0) -> Law:
    """A plain Gaussian, cut nowhere.

        W ~ N(mean, std²)

    Args:
        std: the standard deviation.
        mean: the mean.

    Returns:
        The law.

    Raises:
        ArgumentError: std lies outside [2^-80, 2^80], or mean is not finite.

    Example:
        >>> normal(0.02)
        Normal(std=0.02, mean=0.0)

    Source: elementary; .02 is the usual std of language models (Radford et al. 2018, sec. 4.1).
    """
    return Normal(std, mean)


def truncated_normal(std: float = 0.05, mean: float = 0.0, cutoff: float = 2.0) -> Law:
    """A Gaussian cut on both sides, whose std after the cut is the one asked for.

        W = mean + s z,  z ~ N(0, 1) given |z| <= cutoff,  s = std / std of that z

    Args:
        std: the standard deviation after the cut.
        mean: the mean.
        cutoff: where it is cut, in sigmas of the uncut Gaussian.

    Returns:
        The law.

    Raises:
        ArgumentError: std lies outside [2^-80, 2^80], cutoff outside [.1, 6], or mean is not finite.

    Example:
        >>> round(truncated_normal(0.02).bound, 6)
        0.045474

    Source: Johnson, Kotz & Balakrishnan 1994, sec. 13.10.1, for the std kept: .87962566 at 2 sigmas.

    Differs: PyTorch's bounds are absolute (std .02 is cut at 100 sigmas) and, like Keras's
        TruncatedNormal and JAX's truncated_normal, it does not make up for the std lost.
    """
    return TruncatedNormal(std, cutoff, mean)
