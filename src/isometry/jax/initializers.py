"""JAX's initializers, by JAX's own signatures: `he_normal()(key, shape, dtype)`.

    kernel_init=isometry.jax.he_normal()        # Flax; anything that takes a JAX initializer

The key is the seed: the first two words of its data, as (high, low). The stream is one and the same
for all of them, so that another array needs another key, as in JAX. The array's own row-major order
is the stream's: an initializer sees a shape and not a layer.

Inside jit, vmap or shard_map the stream is computed there, outside by the native kernel; the values
are the same to the bit (orthogonal matrices are made on the host either way). JAX samples in the
target dtype; here every dtype is the float32 value, rounded or widened once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from isometry.errors import ArgumentError
from isometry.fan import AxisArgument, fans_of, normalise_axes
from isometry.jax.keyed import array_of
from isometry.schemes import SCHEMES
from isometry.stream.index import shape_of
from isometry.types import (
    Axes,
    DeltaOrthogonal,
    Fans,
    Law,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    std_kept,
)

__all__ = [
    "Initializer",
    "constant",
    "delta_orthogonal",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "normal",
    "ones",
    "orthogonal",
    "truncated_normal",
    "uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]


class Initializer(Protocol):
    """What JAX calls an initializer."""

    def __call__(
        self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None
    ) -> jax.Array: ...


def _initializer(
    law_of: Callable[[tuple[int, ...]], tuple[Law, Axes | None]], dtype: Any
) -> Initializer:
    """An initializer whose law follows from the shape."""
    default = dtype

    def init(
        key: Any, shape: Sequence[int], dtype: Any = default, out_sharding: Any = None
    ) -> jax.Array:
        sizes = shape_of(shape)
        kind = _dtype(default if dtype is None else dtype)
        if 0 in sizes:
            return jnp.zeros(sizes, kind, out_sharding=out_sharding)
        law, axes = law_of(sizes)
        return array_of(law, key, sizes, kind, axes, out_sharding)

    return init


def _dtype(asked: Any) -> Any:
    """A dtype as JAX has it: float32 for None, and for float64 where x64 is off."""
    wide = bool(jax.config.read("jax_enable_x64"))
    name = jnp.dtype("float64" if asked is None else asked)
    return jnp.dtype("float32") if name == jnp.float64 and not wide else name


def variance_scaling(
    scale: float,
    mode: str,
    distribution: str,
    in_axis: AxisArgument = -2,
    out_axis: AxisArgument = -1,
    batch_axis: AxisArgument = (),
    dtype: Any = None,
    *,
    groups: int = 1,
) -> Initializer:
    """The rule that LeCun, Glorot and He are cases of: a variance divided by a fan.

        Var W = scale / n,  n = fan_in, fan_out, their mean or their geometric mean

    Args:
        scale: the numerator.
        mode: "fan_in", "fan_out", "fan_avg" or "fan_geo_avg".
        distribution: "truncated_normal" (cut at 2 sigmas, with this variance after the cut),
            "normal" or "uniform".
        in_axis, out_axis, batch_axis: what the shape's axes are for; every axis not named is
            receptive field.
        dtype: where the call names none.
        groups: of a convolution, whose in_axis holds the inputs of one group: divides fan_out.

    Returns:
        init(key, shape, dtype, out_sharding).

    Raises:
        ArgumentError: when it is called: an axis that the shape has not got, an unknown mode or
            distribution, a dtype that is not a real float, a key that is not one.

    Example:
        >>> import jax
        >>> init = variance_scaling(2.0, "fan_in", "truncated_normal")
        >>> init(jax.random.key(0), (256, 128)).shape
        (256, 128)

    Source: He et al. 2015, sec. 2.2.
    """
    scheme = SCHEMES["variance_scaling"]

    def law_of(shape: tuple[int, ...]) -> tuple[Law, Axes | None]:
        axes = normalise_axes(shape, in_axis, out_axis, batch_axis)
        fans: Fans = fans_of(shape, axes, groups=groups)
        return scheme.make(fans, scale=scale, mode=mode, distribution=distribution), axes

    return _initializer(law_of, dtype)


def _named(
    name: str, scale: float, mode: str, distribution: str, what: str, source: str
) -> Callable[..., Initializer]:
    def make(
        in_axis: AxisArgument = -2,
        out_axis: AxisArgument = -1,
        batch_axis: AxisArgument = (),
        dtype: Any = None,
        *,
        groups: int = 1,
    ) -> Initializer:
        return variance_scaling(
            scale, mode, distribution, in_axis, out_axis, batch_axis, dtype, groups=groups
        )

    fan = {"fan_in": "fan_in", "fan_avg": "((fan_in + fan_out) / 2)"}[mode]
    law = "Gaussian cut at 2 sigmas" if distribution == "truncated_normal" else "uniform"
    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"""{what}, {law}.

        Var W = {scale:g} / {fan}

    Args:
        in_axis, out_axis, batch_axis, dtype, groups: as for `variance_scaling`.

    Returns:
        init(key, shape, dtype, out_sharding).

    Example:
        >>> import jax
        >>> {name}()(jax.random.key(0), (256, 128)).shape
        (256, 128)

    Source: {source}
    """
    return make


_LECUN = ("LeCun's rule", "LeCun et al. 1998, Efficient BackProp, sec. 4.6.")
_GLOROT = ("Glorot and Bengio's rule", "Glorot & Bengio 2010, eq. 12 and 16.")
_HE = ("He's rule, for what reads a ReLU", "He et al. 2015, eq. 10.")

lecun_normal = _named("lecun_normal", 1.0, "fan_in", "truncated_normal", *_LECUN)
lecun_uniform = _named("lecun_uniform", 1.0, "fan_in", "uniform", *_LECUN)
glorot_normal = _named("glorot_normal", 1.0, "fan_avg", "truncated_normal", *_GLOROT)
glorot_uniform = _named("glorot_uniform", 1.0, "fan_avg", "uniform", *_GLOROT)
he_normal = _named("he_normal", 2.0, "fan_in", "truncated_normal", *_HE)
he_uniform = _named("he_uniform", 2.0, "fan_in", "uniform", *_HE)
xavier_normal, xavier_uniform = glorot_normal, glorot_uniform
kaiming_normal, kaiming_uniform = he_normal, he_uniform


def normal(stddev: float = 0.01, dtype: Any = None) -> Initializer:
    """A Gaussian of this standard deviation.

    Example:
        >>> import jax
        >>> normal(0.02)(jax.random.key(0), (4, 8), "bfloat16").dtype.name
        'bfloat16'
    """
    return _initializer(lambda shape: (Normal(float(stddev)), None), dtype)


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
    return _initializer(lambda shape: (law, None), dtype)


def uniform(scale: float = 0.01, dtype: Any = None) -> Initializer:
    """Uniform on [0, scale], as in JAX: its mean is scale / 2.

    Example:
        >>> import jax
        >>> w = uniform(1.0)(jax.random.key(0), (1000,))
        >>> bool((w >= 0).all() & (w <= 1).all())
        True
    """
    half = float(scale) / 2
    return _initializer(lambda shape: (Uniform(half, mean=half), None), dtype)


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

    return _initializer(law_of, dtype)


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

    return _initializer(law_of, dtype)
