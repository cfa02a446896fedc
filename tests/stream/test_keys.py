"""Streams: their derivation, spelt out again, and that no two are alike."""

from __future__ import annotations

import hashlib
import itertools
import math
import struct

import numpy as np
import pytest

from isometry.errors import ArgumentError
from isometry.stream import key, philox, quantile, words


def test_the_derivation_step_by_step() -> None:
    seed, name = 0x0123456789ABCDEF, "h.0.é"
    raw = name.encode("utf-8")
    message = (
        struct.pack("<Q", 1) + b"1"
        + struct.pack("<Q", 6) + b"weight"
        + struct.pack("<Q", len(raw)) + raw
    )  # fmt: skip
    counter = struct.unpack("<4I", hashlib.blake2b(message, digest_size=16).digest())
    expected = philox(counter, [0x89ABCDEF, 0x01234567])
    derived = key(seed, name)
    assert [*derived.key, *derived.high] == expected.tolist()


def test_a_word_is_word_i_mod_4_of_block_i_div_4() -> None:
    (k0, k1), (h0, h1) = key(5, "w")
    for i in (0, 1, 7, 2**34 - 1, 2**34, 2**61 + 3):
        block = i // 4
        expected = philox([block % 2**32, block // 2**32, h0, h1], [k0, k1])[i % 4]
        assert words(5, "w", i, i + 1)[0] == expected


def test_any_integer_type_is_a_seed() -> None:
    for kind in (np.int8, np.uint8, np.int64, np.uint64):
        assert key(kind(7), "w") == key(7, "w")
    assert key(2**64 - 1, "w") != key(0, "w")


@pytest.mark.parametrize("seed", [True, False, np.True_, None, 1.0, "0", -1, 2**64, [0], 1j])
def test_anything_else_is_not(seed: object) -> None:
    with pytest.raises(ArgumentError, match=r"expected an integer in \[0, 2\*\*64\).*write"):
        key(seed, "w")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [None, 3, b"w", "\ud800"])
def test_a_name_is_text(name: object) -> None:
    with pytest.raises(ArgumentError, match="expected text"):
        key(0, name)  # type: ignore[arg-type]


def test_fields_do_not_run_into_each_other() -> None:
    pairs = [("ab", "cdef"), ("abc", "def"), ("abcdef", ""), ("", "abcdef"), ("abcde", "f")]
    assert len({key(0, name, purpose) for purpose, name in pairs}) == len(pairs)


def test_ten_thousand_names_and_seeds_give_as_many_streams() -> None:
    derived = {key(seed, f"h.{layer}.w") for seed in range(20) for layer in range(500)}
    assert len(derived) == 10_000


def test_neighbouring_seeds_and_similar_names_are_uncorrelated() -> None:
    n = 1 << 16
    near = [(0, "h.0.w"), (1, "h.0.w"), (2, "h.0.w"), (2**32, "h.0.w"), (0, "h.1.w"), (0, "h.10.w"), (0, "h.0.w ")]  # fmt: skip
    z = np.array([quantile(words(seed, name, 0, n)) for seed, name in near], dtype=np.float64)
    z = np.concatenate([z, np.roll(z[:1], 1, axis=1), np.roll(z[:1], 4, axis=1)])
    pairs = list(itertools.combinations(range(len(z)), 2))
    worst = max(abs(float(z[a] @ z[b])) / n for a, b in pairs)
    # A correlation of n pairs has standard error 1/sqrt(n); 36 of them, 1e-4 in all: 4.7 errors.
    assert worst < 4.7 / math.sqrt(n)


def test_bits_of_interleaved_streams_are_fair() -> None:
    n = 1 << 10
    drawn = np.stack([words(seed, f"p{seed % 7}", 0, n) for seed in range(256)])
    ones = np.array([np.count_nonzero(drawn >> np.uint32(bit) & np.uint32(1)) for bit in range(32)])
    deviation = (ones - drawn.size / 2) / math.sqrt(drawn.size / 4)
    assert np.abs(deviation).max() < 4.7
    assert 8 < float(deviation @ deviation) < 75  # chi-square of 32 degrees: 2e-6 each side


@pytest.mark.parametrize(("start", "stop"), [(-1, 4), (4, 3), (0, 2**62 + 1), (0.0, 4), (True, 2)])
def test_a_bad_range_of_words(start: object, stop: object) -> None:
    with pytest.raises(ArgumentError, match="expected"):
        words(0, "w", start, stop)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("counter", "block_key", "rounds"),
    [
        ([0, 0, 0], [0, 0], 10),
        ([0, 0, 0, 0], [0], 10),
        ([0.0, 0, 0, 0], [0, 0], 10),
        ([-1, 0, 0, 0], [0, 0], 10),
        ([2**32, 0, 0, 0], [0, 0], 10),
        (np.zeros((3, 4), int), np.zeros((2, 2), int), 10),
        ([0, 0, 0, 0], [0, 0], -1),
        ([0, 0, 0, 0], [0, 0], True),
    ],
)
def test_bad_words_for_philox(counter: object, block_key: object, rounds: int) -> None:
    with pytest.raises(ArgumentError, match=r"expected|must broadcast"):
        philox(counter, block_key, rounds)  # type: ignore[arg-type]
