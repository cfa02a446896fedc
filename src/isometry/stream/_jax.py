"""The stream in JAX: the same bits inside jit, on every device, whatever the compiler contracts.

Words are integers. A normal multiplies in float32 and adds in int32, so that no product is ever
added in floating point; a mean is added in float64, to a product that is exact there. The seed may
be traced; the name, the law and the shape are static.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from isometry.errors import ArgumentError
from isometry.stream.draws import Draw
from isometry.stream.keys import digest_of
from isometry.stream.quantile import COEFFICIENTS
from isometry.stream.rounding import DTYPES

__all__ = ["draw", "element_words", "philox", "stream_key"]

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
WEYL = 0x9E3779B9, 0xBB67AE85
MOST = 2**34  # elements: the low word of the block number

_FIRST = 2 * 127
_COLUMNS = [np.array(column, np.int32) for column in zip(*COEFFICIENTS, strict=True)]

Words = tuple[Any, Any, Any, Any]


def _u(value: int) -> Any:
    return jnp.uint32(value & 0xFFFFFFFF)


def philox(counter: Words, key: tuple[Any, Any], rounds: int = 10) -> Words:
    """Philox4x32 of counters that broadcast against each other, as in `stream.philox`."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for r in range(rounds):
        if r:
            k0, k1 = k0 + _u(WEYL[0]), k1 + _u(WEYL[1])
        high0, low0 = _wide(c0, MULTIPLIERS[0])
        high1, low1 = _wide(c2, MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
    return c0, c1, c2, c3


def _wide(a: Any, b: int) -> tuple[Any, Any]:
    """The 64-bit product of a word and a constant, as (high, low)."""
    return _high(a, b), a * _u(b)


def _high(a: Any, b: int) -> Any:
    """The high word of a 64-bit product, from 16-bit limbs. (lax.mulhi cannot be partitioned.)"""
    a0, a1, b0, b1 = a & _u(0xFFFF), a >> 16, _u(b & 0xFFFF), _u(b >> 16)
    cross = a1 * b0 + (a0 * b0 >> 16)  # at most 2^32 - 2^16 - 1
    return a1 * b1 + (cross >> 16) + ((a0 * b1 + (cross & _u(0xFFFF))) >> 16)


def stream_key(seed: tuple[Any, Any], name: str, purpose: str = "weight") -> Words:
    """The Philox key and the high half of the counter, (k0, k1, h0, h1), as in `stream.key`.

    Args:
        seed: two uint32 words, the low one first; traced or not.
        name, purpose: static text.
    """
    digest = np.frombuffer(digest_of(name, purpose), dtype="<u4")
    c0, c1, c2, c3 = (_u(int(word)) for word in digest)
    return philox((c0, c1, c2, c3), seed)


def element_words(key: Words, shape: Sequence[int]) -> Any:
    """The words of every element of an array: word i % 4 of block i // 4, i counted row-major.

    Each element works out its own block: to stack the four words of one, XLA on the CPU would do so
    anyhow, and slowly. A function of the index alone is also sharded without a message.
    """
    count = math.prod(shape)
    if count > MOST:
        raise ArgumentError(f"{count} elements in one array inside jit: expected at most 2**34")
    if count <= MOST // 4:
        element = _u(0)
        for axis in range(len(shape)):
            stride = math.prod(shape[axis + 1 :])
            element = element + lax.broadcasted_iota(np.uint32, shape, axis) * _u(stride)
        block, lane = element >> 2, element & 3
    else:  # the number itself needs two words; its block and its place there do not
        rows = (-(-count // 4), 4)
        block, lane = (
            lax.broadcasted_iota(np.uint32, rows, axis).reshape(-1)[:count].reshape(shape)
            for axis in (0, 1)
        )
    k0, k1, h0, h1 = key
    w0, w1, w2, w3 = philox((block, _u(0), h0, h1), (k0, k1))
    return jnp.where(lane < 2, jnp.where(lane == 0, w0, w1), jnp.where(lane == 2, w2, w3))


def magnitude(v: Any) -> Any:
    """|z| in units of 2^-27 for v odd in [1, 2^31), as in `stream.quantile`."""
    bits = lax.bitcast_convert_type(v.astype(jnp.float32), jnp.uint32)
    segment = (bits >> 22) - _u(_FIRST)
    t = lax.bitcast_convert_type((bits & _u(0x3FFFFF)) | _u(0x3F800000), jnp.float32)
    t = t - jnp.float32(1.25)
    a = _look_up(_COLUMNS[-1], segment).astype(jnp.float32)
    for column in reversed(_COLUMNS[:-1]):
        a = ((a * t).astype(jnp.int32) + _look_up(column, segment)).astype(jnp.float32)
    return a


def _look_up(column: Any, segment: Any) -> Any:
    return jnp.asarray(column).at[segment].get(mode="promise_in_bounds")


def draw(how: Draw, seed: tuple[Any, Any], name: str, shape: Sequence[int], dtype: str) -> Any:
    """An array of an elementwise law: what `stream.sample` gives, to the bit.

    Args:
        how: the law's draw.
        seed: two uint32 words, the low one first; traced or not.
        name: of the stream.
        shape: of the array.
        dtype: as for `sample`; "float64" needs jax_enable_x64.
    """
    words = element_words(stream_key(seed, name), tuple(shape))
    if how.kind == "uniform":
        z = lax.bitcast_convert_type(words | _u(1), jnp.int32).astype(jnp.float32)
    else:
        v = words & _u(0x7FFFFFFF)
        if how.low:
            high, low = _wide(v, 2**31 - how.low)
            v = _u(how.low) + ((high << 1) | (low >> 31))
        z = magnitude(v | _u(1))
        sign = words & _u(0x80000000)
        z = lax.bitcast_convert_type(lax.bitcast_convert_type(z, jnp.uint32) ^ sign, jnp.float32)
    return _rounded(_scaled(z, how), dtype)


def _scaled(z: Any, how: Draw) -> Any:
    if not how.mean:
        return z * jnp.float32(how.scale)
    with jax.enable_x64(True):  # the product is exact: 24 by 24 bits
        wide = z.astype(jnp.float64) * np.float64(how.scale) + np.float64(how.mean)
        return wide.astype(jnp.float32)


def _rounded(values: Any, dtype: str) -> Any:
    """float32 rounded to a dtype once; a float8 saturates."""
    target = jnp.dtype(dtype)
    if dtype.startswith("float8"):
        largest = jnp.float32(float(jnp.finfo(target).max))  # type: ignore[no-untyped-call]
        values = jnp.clip(values, -largest, largest)
    elif dtype not in DTYPES:
        raise ArgumentError(f"dtype={dtype!r}: expected one of {', '.join(DTYPES)}")
    return values.astype(target)
