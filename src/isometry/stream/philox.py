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
WEYL = 0x9E3779B9, 0xBB67AE85
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
    state = [np.broadcast_to(c[..., i], shape) for i in range(4)]
    out = np.empty((*shape, 4), dtype=np.uint32)
    for i, word in enumerate(_rounds(state, k[..., 0], k[..., 1], int(rounds))):
        out[..., i] = word
    return out


def block_words(key: StreamKey, blocks: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The four words of each block of a stream: uint64 (n,) -> uint32 (n, 4)."""
    state = [blocks & LOW, blocks >> SHIFT, np.uint64(key.high[0]), np.uint64(key.high[1])]
    out = np.empty((blocks.size, 4), dtype=np.uint32)
    for i, word in enumerate(_rounds(state, np.uint64(key.key[0]), np.uint64(key.key[1]), 10)):
        out[:, i] = word
    return out


def _rounds(c: list[Any], k0: Any, k1: Any, rounds: int) -> list[Any]:
    """The rounds, on words held in uint64 so that a product is whole."""
    m0, m1 = MULTIPLIERS
    c0, c1, c2, c3 = c
    for r in range(rounds):
        if r:
            k0 = (k0 + np.uint64(WEYL[0])) & LOW
            k1 = (k1 + np.uint64(WEYL[1])) & LOW
        product0, product1 = m0 * c0, m1 * c2
        c0, c1 = (product1 >> SHIFT) ^ (c1 ^ k0), product1 & LOW
        c2, c3 = (product0 >> SHIFT) ^ (c3 ^ k1), product0 & LOW
    return [c0, c1, c2, c3]


def _words(what: str, value: ArrayLike, last: int) -> NDArray[np.uint64]:
    array = np.asarray(value)
    if array.ndim == 0 or array.shape[-1] != last:
        raise ArgumentError(f"{what} of shape {array.shape}: expected (..., {last})")
    if array.dtype.kind not in "iu":
        raise ArgumentError(f"{what} of dtype {array.dtype}: expected uint32")
    if array.size and (array.min() < 0 or array.max() > 0xFFFFFFFF):
        raise ArgumentError(f"{what} has words outside [0, 2^32): expected uint32")
    return array.astype(np.uint64)
