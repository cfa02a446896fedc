"""From (seed, name, purpose) to a Philox key and the high half of its counter.

The derivation runs on the host, from static values, once a tensor:

    field  = 8-byte little-endian length, then the UTF-8 bytes
    digest = BLAKE2b-128(field("1"), field(purpose), field(name))     "1" is the stream version
    (k0, k1, h0, h1) = Philox4x32-10(counter = digest as 4 little-endian words,
                                     key = (seed mod 2^32, seed div 2^32))

Lengths come first, so that ("ab", "cdef") is not ("abc", "def").
"""

from __future__ import annotations

import hashlib
import operator
from typing import NamedTuple

import numpy as np

from isometry.errors import ArgumentError
from isometry.stream.philox import philox

__all__ = ["STREAM_VERSION", "StreamKey", "check_name", "check_seed", "digest_of", "key"]

STREAM_VERSION = 1


class StreamKey(NamedTuple):
    """Where one tensor's words lie: element i is word i % 4 of block i // 4."""

    key: tuple[int, int]  # the Philox key
    high: tuple[int, int]  # counter words 2 and 3; words 0 and 1 are the block, low word first


def check_seed(seed: object) -> int:
    """The seed as an int in [0, 2^64). Raises ArgumentError on anything else."""
    if not isinstance(seed, (bool, np.bool_)):
        try:
            value = operator.index(seed)  # type: ignore[arg-type]
        except TypeError:
            pass
        else:
            if 0 <= value < 2**64:
                return value
    hint = "; the seed is never drawn for you" if seed is None else ""
    raise ArgumentError(
        f"seed={seed!r}: expected an integer in [0, 2**64){hint}; write for example seed=0"
    )


def check_name(what: str, name: object) -> bytes:
    """The UTF-8 bytes of a name. Raises ArgumentError where it is not text."""
    if not isinstance(name, str):
        raise ArgumentError(
            f'{what}={name!r}: expected text; write for example {what}="fc1.weight"'
        )
    try:
        return name.encode("utf-8")
    except UnicodeEncodeError:
        raise ArgumentError(f"{what}={name!r}: expected text that UTF-8 can encode") from None


def key(seed: int, name: str, purpose: str = "weight") -> StreamKey:
    """The Philox key and the high half of the counter of one named stream.

    (k0, k1, h0, h1) = Philox4x32-10(BLAKE2b-128(version, purpose, name), seed)

    Args:
        seed: an integer in [0, 2^64); NumPy integers too. Not a bool, a float or None.
        name: the tensor's name, as the state dict has it. Compared as UTF-8 bytes, never normalised.
        purpose: what the words are for: "weight" for elements, "mask" for the choice of zeros.

    Returns:
        `StreamKey(key=(k0, k1), high=(h0, h1))`, each an int in [0, 2^32).

    Raises:
        ArgumentError: the seed is not such an integer, or a name is not text.

    Example:
        >>> from isometry.stream import key
        >>> key(0, "fc1.weight") == key(0, "fc2.weight")
        False

    Source: Philox is Salmon et al. 2011 (SC11), section 3.3; BLAKE2b is RFC 7693. Flax folds in a
    SHA-1 of the path cut to 32 bits and without separators; torch has no names.
    """
    number = check_seed(seed)
    counter = np.frombuffer(digest_of(name, purpose), dtype="<u4").astype(np.uint32)
    halves = np.array([number & 0xFFFFFFFF, number >> 32], dtype=np.uint32)
    k0, k1, h0, h1 = (int(word) for word in philox(counter, halves))
    return StreamKey((k0, k1), (h0, h1))


def digest_of(name: str, purpose: str = "weight") -> bytes:
    """BLAKE2b-128 of the version, the purpose and the name: what a stream's key is made from.

    Raises:
        ArgumentError: a name is not text.
    """
    message = _VERSION + _field(check_name("purpose", purpose)) + _field(check_name("name", name))
    return hashlib.blake2b(message, digest_size=16).digest()


def _field(text: bytes) -> bytes:
    return len(text).to_bytes(8, "little") + text


_VERSION = _field(str(STREAM_VERSION).encode())
