"""JAX's initializers that need no fans: distributions whose scale is given, matrices, constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from isometry.errors import ArgumentError
from isometry.fan import normalise_axes
from isometry.jax.initializers import Initializer, initializer
from isometry.stream.index import shape_of
from isometry.types import (
    Axes,
    DeltaOrthogonal,
    Law,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    std_kept,
)

__all__ = [
    "constant",
    "delta_orthogonal",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "zeros",
]


def normal(stddev: float = 0.01, dtype: Any = None) -> Initializer:
    """A Gaussian of this standard deviation.

    Example:
        >>> import jax
        >>> normal(0.02)(jax.random.key(0), (4, 8), "bfloat16").dtype.name
        'bfloat16'
    """
    return initializer(lambda shape: (Normal(float(stddev)), None), dtype)


def truncated_normal(
    stddev: float = 0.01, dtype: Any = None, lower: float = -2.0, upper: float = 2.0
) -> Initializer:
    """A Gaussian of this standard deviation, cut at `lower` and `upper` of its sigmas.

    As in JAX, `stddev` is that of the uncut Gaussian; the bounds lie symmetrically about zero.

    Raises:
        ArgumentError: bounds that are not symmetric.

    Example:
        >>> import jax
        >>> w = truncated_normal(0.5)(jax.random.key(0), (1000,))
        >>> bool(abs(w).max() <= 1.0)
        True
    """
    if lower != -upper:
        raise ArgumentError(
            f"truncated_normal(lower={lower}, upper={upper}): expected bounds that lie "
            f"symmetrically about zero, such as lower=-{abs(upper)}, upper={abs(upper)}"
        )
    law = TruncatedNormal(float(stddev) * std_kept(float(upper)), cutoff=float(upper))
    return initializer(lambda shape: (law, None), dtype)


def uniform(scale: float = 0.01, dtype: Any = None) -> Initializer:
    """Uniform on [0, scale], as in JAX: its mean is scale / 2.

    Example:
        >>> import jax
        >>> w = uniform(1.0)(jax.random.key(0), (1000,))
        >>> bool((w >= 0).all() & (w <= 1).all())
        True
    """
    half = float(scale) / 2
    return initializer(lambda shape: (Uniform(half, mean=half), None), dtype)


def constant(value: float, dtype: Any = None) -> Initializer:
    """Every element this number, or this array broadcast.

    Example:
        >>> import jax
        >>> float(constant(0.1)(jax.random.key(0), (2,))[0] * 10)
        1.0
    """

    def init(
        key: Any, shape: Sequence[int], dtype: Any = dtype, out_sharding: Any = None
    ) -> jax.Array:
        return jnp.full(shape_of(shape), value, dtype, out_sharding=out_sharding)

    return init


def zeros(key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """Zeros; an initializer itself.

    Example:
        >>> import jax
        >>> zeros(jax.random.key(0), (2,)).tolist()
        [0.0, 0.0]
    """
    return jnp.zeros(shape_of(shape), dtype, out_sharding=out_sharding)


def ones(key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None) -> jax.Array:
    """Ones; an initializer itself.

    Example:
        >>> import jax
        >>> ones(jax.random.key(0), (2,)).tolist()
        [1.0, 1.0]
    """
    return jnp.ones(shape_of(shape), dtype, out_sharding=out_sharding)


def orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """A random matrix that keeps every length: all its singular values are `scale`.

        W Wᵀ = scale² I, or Wᵀ W, whichever is smaller

    Args:
        scale: the singular values.
        column_axis: of the outputs; all other axes are the inputs.
        dtype: where the call names none.

    Example:
        >>> import jax, numpy as np
        >>> w = orthogonal()(jax.random.key(0), (8, 4))
        >>> bool(np.allclose(w.T @ w, np.eye(4), atol=1e-6))
        True

    Source: Saxe, McClelland & Ganguli 2014.
    """

    def law_of(shape: tuple[int, ...]) -> tuple[Law, Axes | None]:
        (column,) = normalise_axes(shape, (), column_axis).out_axis
        rest = tuple(a for a in range(len(shape)) if a != column)
        return Orthogonal(float(scale)), Axes(in_axis=rest, out_axis=(column,))

    return initializer(law_of, dtype)


def delta_orthogonal(scale: float = 1.0, column_axis: int = -1, dtype: Any = None) -> Initializer:
    """A convolution that is an orthogonal matrix at its centre and zero elsewhere.

    Args:
        scale: the singular values.
        column_axis: of the outputs; the inputs are the axis before the last, or the last where
            the outputs are not.
        dtype: where the call names none.

    Example:
        >>> import jax
        >>> w = delta_orthogonal()(jax.random.key(0), (3, 3, 8, 8))
        >>> int((w != 0).any(axis=(2, 3)).sum())
        1

    Source: Xiao et al. 2018, algorithm 1.
    """

    def law_of(shape: tuple[int, ...]) -> tuple[Law, Axes | None]:
        (column,) = normalise_axes(shape, (), column_axis).out_axis
        inputs = len(shape) - 2 if column == len(shape) - 1 else len(shape) - 1
        return DeltaOrthogonal(float(scale)), Axes(in_axis=(inputs,), out_axis=(column,))

    return initializer(law_of, dtype)
