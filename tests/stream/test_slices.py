"""Any part of a tensor equals the same part of the whole, for every law and dtype."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.stream import index as indexing
from isometry.stream import sample, words, write
from isometry.stream.rounding import DTYPES
from isometry.types import Block, Constant, Normal, Orthogonal

from .strategies import ANY_SHAPE, big, cases, entries, oracle


@settings(max_examples=300, deadline=None, derandomize=True)
@given(cases())
def test_a_part_equals_the_part_of_the_whole(case: Any) -> None:
    law, shape, index, dtype, axes, blocks = case
    known: Any = {"seed": 3, "name": "w", "axes": axes, "blocks": blocks, "dtype": dtype}
    whole = sample(law, shape, **known)
    assert whole.shape == shape
    expected = oracle(whole, index)
    part = sample(law, shape, index=index, **known)
    assert part.shape == expected.shape
    assert part.dtype == expected.dtype
    storage = DTYPES[dtype].storage
    np.testing.assert_array_equal(part.view(storage), expected.view(storage))
    # The same, into a buffer of other strides: reversed, spaced, transposed; its frame untouched.
    frame = np.full([2 * n + 1 for n in part.shape][::-1], 55, dtype=storage)
    target = frame.T[tuple(slice(2 * n - 1, None, -2) if n else slice(0, 0) for n in part.shape)]
    target = target[...]
    assert target.shape == part.shape
    write(target, law, shape, index=index, **known)
    np.testing.assert_array_equal(target, part.view(storage))
    assert np.count_nonzero(frame == 55) >= frame.size - part.size


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_parts_of_a_tensor_larger_than_a_chunk(data: st.DataObject) -> None:
    shape = data.draw(st.sampled_from([(70_001,), (3, 41_000), (200, 17, 13), (40_000, 2)]))
    index = tuple(data.draw(entries(n)) if n < 300 else data.draw(big(n)) for n in shape)
    law = data.draw(st.sampled_from(ANY_SHAPE))
    whole = sample(law, shape, seed=1, name="w")
    np.testing.assert_array_equal(
        sample(law, shape, seed=1, name="w", index=index), oracle(whole, index)
    )


def test_elements_take_consecutive_words_whatever_the_shape() -> None:
    flat = sample(Normal(), (24,), seed=0, name="w")
    for shape in [(2, 12), (4, 3, 2), (1, 24, 1)]:
        np.testing.assert_array_equal(sample(Normal(), shape, seed=0, name="w").ravel(), flat)
    raw = words(0, "w", 0, 24)
    np.testing.assert_array_equal(np.signbit(flat), raw >> 31 == 1)


def test_a_far_corner_of_a_tensor_that_no_memory_holds() -> None:
    shape = (2**31, 2**31)
    part = sample(Normal(), shape, seed=0, name="w", index=(-1, slice(-3, None)))
    last = math.prod(shape)
    np.testing.assert_array_equal(
        part.view(np.uint32) >> 31, words(0, "w", last - 3, last) >> np.uint32(31)
    )
    assert sample(Normal(), shape, seed=0, name="w", index=(5, [7, 2**31 - 1])).shape == (2,)


@pytest.mark.parametrize("limit", [1, 2, 7, 64])
@pytest.mark.parametrize("lengths", [(), (5,), (3, 4, 5), (100, 3), (1, 1, 9), (2, 0, 3)])
def test_tiles_cover_once_and_fit(lengths: tuple[int, ...], limit: int) -> None:
    seen = np.zeros(lengths, dtype=int)
    for tile in indexing.tiles(lengths, limit):
        seen[tile] += 1
        assert seen[tile].size <= limit
    assert (seen == 1).all()


def test_a_block_keeps_the_numbers_of_its_elements() -> None:
    blocks = (Block("q", 0, 0, 4, Normal(2.0)), Block("v", 0, 8, 12, Constant(0.0)))
    fused = sample(Normal(1.0), (12, 5), seed=0, name="qkv", blocks=blocks)
    plain = sample(Normal(1.0), (12, 5), seed=0, name="qkv")
    np.testing.assert_array_equal(fused[:4], 2 * plain[:4])
    np.testing.assert_array_equal(fused[4:8], plain[4:8])
    assert not fused[8:].any()


def test_a_block_of_a_structured_law_is_a_matrix_of_its_own() -> None:
    gates = tuple(Block(g, 0, 8 * i, 8 * i + 8, Orthogonal(1.0)) for i, g in enumerate("ifgo"))
    w = sample(Constant(0.0), (32, 8), seed=0, name="hh", blocks=gates).astype(np.float64)
    for i in range(4):
        gate = w[8 * i : 8 * i + 8]
        np.testing.assert_allclose(gate @ gate.T, np.eye(8), atol=1e-6)
