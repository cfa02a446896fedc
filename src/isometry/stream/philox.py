"""Philox4x32: a counter-based generator, a bijection of 128-bit blocks under a 64-bit key.

Source: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isometry.errors import ArgumentError

if TYPE_CHECKING:
    from isometry.stream.keys import StreamKey

__all__ = ["block_words", "philox"]

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
LOW = np.uint64(0xFFFFFFFF)
SHIFT = np.uint64(32)


def philox(counter: ArrayLike, key: ArrayLike, rounds: int = 10) -> NDArray[np.uint32]:
    """Philox4x32 of every counter under its key.

    One round: (c0, c1, c2, c3) -> (hi1 ^ c1 ^ k0, lo1, hi0 ^ c3 ^ k1, lo0), where
    (hi0, lo0) = D2511F53 * c0 and (hi1, lo1) = CD9E8D57 * c2; between rounds
    k0 += 9E3779B9 and k1 += BB67AE85, modulo 2^32.

    Args:
        counter: uint32, shape (..., 4), low word first.
        key: uint32, shape (..., 2); leading axes broadcast against the counter's.
        rounds: how many rounds; the stream uses 10.

    Returns:
        uint32, shape (..., 4).

    Raises:
        ArgumentError: a shape, a dtype or the number of rounds is not as above.

    Example:
        >>> from isometry.stream import philox
        >>> [f"{word:08x}" for word in philox([0, 0, 0, 0], [0, 0])]
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']

    Source: Salmon et al. 2011, section 3.3; equal to Random123's `philox4x32_R`.
    """
    c = _words("counter", counter, 4)
    k = _words("key", key, 2)
    if isinstance(rounds, bool) or not isinstance(rounds, (int, np.integer)) or rounds < 0:
        raise ArgumentError(f"rounds={rounds!r}: expected a non-negative integer; write rounds=10")
    try:
        shape = np.broadcast_shapes(c.shape[:-1], k.shape[:-1])
    except ValueError:
        raise ArgumentError(
            f"counter {c.shape} and key {k.shape}: the axes before the last must broadcast"
        ) from None
    counters = np.moveaxis(np.broadcast_to(c, (*shape, 4)), -1, 0)
    keys = np.moveaxis(np.broadcast_to(k, (*shape, 2)), -1, 0)
    return _rounds(tuple(counters), tuple(keys), int(rounds))


def block_words(key: StreamKey, blocks: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The four words of each block of a stream: uint64 (n,) -> uint32 (n, 4)."""
    high = np.array(key.high, dtype=np.uint64)[:, None].repeat(blocks.size, axis=1)
    counter = (blocks & LOW, blocks >> SHIFT, high[0], high[1])
    return _rounds(counter, (np.uint64(key.key[0]), np.uint64(key.key[1])), 10)


def _rounds(counter: tuple[Any, ...], key: tuple[Any, ...], rounds: int) -> NDArray[np.uint32]:
    """The rounds, on words held in uint64 so that a product is whole."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for r in range(rounds):
        if r:
            k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
        product0, product1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0 = product1 >> SHIFT
        c0 ^= c1
        c0 ^= k0
        c2 = product0 >> SHIFT
        c2 ^= c3
        c2 ^= k1
        c1, c3 = product1 & LOW, product0 & LOW
    out = np.empty((*np.shape(c0), 4), dtype=np.uint32)
    out[..., 0], out[..., 1], out[..., 2], out[..., 3] = c0, c1, c2, c3
    return out


def _words(what: str, value: ArrayLike, last: int) -> NDArray[np.uint64]:
    array = np.asarray(value)
    if array.ndim == 0 or array.shape[-1] != last:
        raise ArgumentError(f"{what} of shape {array.shape}: expected (..., {last})")
    if array.dtype.kind not in "iu":
        raise ArgumentError(f"{what} of dtype {array.dtype}: expected uint32")
    if array.size and (array.min() < 0 or array.max() > 0xFFFFFFFF):
        raise ArgumentError(f"{what} has words outside [0, 2^32): expected uint32")
    return array.astype(np.uint64)
