"""Arrays filled by a decision: in host memory that JAX takes over, or shard by shard."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding

from isometry.stored import write_stored
from isometry.stream.memory import fresh_memory
from isometry.types import Decision, Stored

__all__ = ["filled", "stored_dtype"]


def stored_dtype(dtype: Any) -> np.dtype[Any]:
    """The NumPy dtype whose bits are written: unsigned integers for what NumPy does not know."""
    own: np.dtype[Any] = np.dtype(dtype)
    if own.kind == "f" and own.name in ("float16", "float32", "float64"):
        return own
    bits: np.dtype[Any] = np.dtype(f"uint{8 * own.itemsize}")
    return bits


def filled(array: Any, decision: Decision, seed: int, stored: Stored | None) -> jax.Array:
    """A new array of the shape, dtype and sharding of this one, with a decision's values.

    A sharded one is filled shard by shard, by their place in the whole: no host holds more than
    its shards, and every mesh gives the same array.
    """
    shape, dtype = tuple(array.shape), np.dtype(array.dtype)
    sharding = getattr(array, "sharding", None)

    def written(index: tuple[slice, ...] | None) -> np.ndarray[Any, Any]:
        part = shape if index is None else _sizes(shape, index)
        memory = fresh_memory(part, dtype)
        bits = memory.view(stored_dtype(dtype))
        write_stored(bits, decision, seed=seed, dtype=dtype.name, stored=stored, index=index)
        return memory

    if sharding is None or not isinstance(array, (jax.Array, jax.ShapeDtypeStruct)):
        return _handed(written(None), None)
    if isinstance(sharding, SingleDeviceSharding):
        return _handed(written(None), sharding)
    made: jax.Array = jax.make_array_from_callback(
        shape, sharding, lambda index: written(_whole(index, shape))
    )
    return made


def _handed(memory: np.ndarray[Any, Any], sharding: Any) -> jax.Array:
    array: jax.Array = jax.device_put(memory, sharding)
    return array


def _whole(index: Any, shape: tuple[int, ...]) -> tuple[slice, ...]:
    return tuple(slice(*s.indices(n)) for s, n in zip(index, shape, strict=True))


def _sizes(shape: tuple[int, ...], index: tuple[slice, ...]) -> tuple[int, ...]:
    return tuple(len(range(*s.indices(n))) for s, n in zip(index, shape, strict=True))
