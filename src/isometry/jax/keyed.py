"""A law and a key -> an array: on the host where the key is known, in the trace where it is not."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from isometry.errors import ArgumentError
from isometry.jax.place import stored_dtype
from isometry.stream import _jax as traced
from isometry.stream.draws import draw_of
from isometry.stream.memory import fresh_memory
from isometry.stream.request import validate
from isometry.stream.sampling import write
from isometry.types import Axes, Law

__all__ = ["STREAM", "array_of", "seed_words"]

STREAM = "jax.nn.initializers"  # the name of the stream that every key selects its own part of


def array_of(
    law: Law, key: Any, shape: tuple[int, ...], dtype: Any, axes: Axes | None, sharding: Any = None
) -> jax.Array:
    """An array of a law, whose seed is a JAX key.

    Args:
        law: what to draw.
        key: typed, or two words (four of "rbg", of which the first two count).
        shape, dtype: of the array.
        axes: what its axes are for, where the law is of a whole matrix.
        sharding: of the array; each shard is made where it lies.

    Raises:
        ArgumentError: the key is not one, the dtype is not a real float, or the law does not fit.
    """
    low, high = seed_words(key)
    kind = np.dtype(dtype).name
    validate(law, shape, 0, STREAM, kind, None, axes, ())
    if isinstance(low, jax.core.Tracer) or isinstance(high, jax.core.Tracer):
        how = draw_of(law)
        if how is None:
            return _called_back(law, low, high, shape, dtype, axes)
        made: jax.Array = traced.draw(how, (low, high), STREAM, shape, kind)
        if sharding is not None:
            return jax.lax.with_sharding_constraint(made, sharding)  # type: ignore[no-any-return]
        return made
    seed = int(low) | int(high) << 32
    if sharding is None:
        whole: jax.Array = jax.device_put(_host(law, seed, shape, dtype, axes, None))
        return whole
    array: jax.Array = jax.make_array_from_callback(
        shape, _sharding(sharding), lambda index: _host(law, seed, shape, dtype, axes, index)
    )
    return array


def seed_words(key: Any) -> tuple[Any, Any]:
    """The seed's words, the low one first: JAX writes a key's high word first.

    `jax.random.key(n)` of the default implementation is seed n.
    """
    try:
        typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
        data = jax.random.key_data(key) if typed else key
        plain = data.dtype == jnp.uint32 and data.ndim == 1 and data.shape[0] in (2, 4)
    except (AttributeError, TypeError):
        plain = False
    if not plain:
        what = f"shape {key.shape} and dtype {key.dtype}" if hasattr(key, "dtype") else repr(key)
        raise ArgumentError(
            f"key is {what}; expected one key, such as jax.random.key(0) (an array of keys goes "
            "through jax.vmap)"
        )
    if isinstance(data, jax.core.Tracer):
        return data[1], data[0]
    words = np.asarray(data)
    return words[1], words[0]


def _host(
    law: Law, seed: int, shape: tuple[int, ...], dtype: Any, axes: Axes | None, index: Any
) -> np.ndarray[Any, Any]:
    """A part of the array by the native kernel, in memory that JAX may take over."""
    part = shape if index is None else tuple(
        len(range(*s.indices(n))) for s, n in zip(index, shape, strict=True)
    )  # fmt: skip
    memory = fresh_memory(part, np.dtype(dtype))
    write(
        memory.view(stored_dtype(dtype)), law, shape,
        seed=seed, name=STREAM, dtype=np.dtype(dtype).name, index=index, axes=axes,
    )  # fmt: skip
    return memory


def _called_back(
    law: Law, low: Any, high: Any, shape: tuple[int, ...], dtype: Any, axes: Axes | None
) -> jax.Array:
    """A matrix as a whole, made on the host while the program runs."""

    def on_host(low: Any, high: Any) -> np.ndarray[Any, Any]:
        seed = int(np.asarray(low)) | int(np.asarray(high)) << 32
        return _host(law, seed, shape, dtype, axes, None)

    made: jax.Array = jax.pure_callback(
        on_host, jax.ShapeDtypeStruct(shape, dtype), low, high, vmap_method="sequential"
    )
    return made


def _sharding(given: Any) -> Sharding:
    """A sharding as JAX takes it: itself, or a partition spec in the mesh that is set."""
    if isinstance(given, Sharding):
        return given
    if isinstance(given, PartitionSpec):
        mesh = jax.sharding.get_mesh()
        if not math.prod(mesh.shape.values()) or mesh.empty:
            raise ArgumentError(
                f"out_sharding={given!r} and no mesh is set; write jax.NamedSharding(mesh, {given!r}), "
                "or set one with jax.set_mesh(mesh)"
            )
        return NamedSharding(mesh, given)
    raise ArgumentError(
        f"out_sharding={given!r}; expected a jax.sharding.Sharding or a PartitionSpec"
    )
