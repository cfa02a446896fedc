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

from isometry.fan import AxisArgument, fans_of, normalise_axes
from isometry.jax.keyed import array_of
from isometry.schemes import SCHEMES
from isometry.stream.index import shape_of
from isometry.types import (
    Axes,
    Fans,
    Law,
)

__all__ = [
    "Initializer",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "initializer",
    "kaiming_normal",
    "kaiming_uniform",
    "lecun_normal",
    "lecun_uniform",
    "variance_scaling",
    "xavier_normal",
    "xavier_uniform",
]


class Initializer(Protocol):
    """What JAX calls an initializer."""

    def __call__(
        self, key: Any, shape: Sequence[int], dtype: Any = None, out_sharding: Any = None
    ) -> jax.Array: ...


def initializer(
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

    return initializer(law_of, dtype)


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
