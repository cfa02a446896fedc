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
from isometry.types import (
    Axes,
    Block,
    Constant,
    DeltaOrthogonal,
    Dirac,
    Identity,
    Law,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)

ANY_SHAPE: list[Law] = [
    Constant(0.3),
    Normal(0.02),
    Normal(0.02, mean=-1.0),
    Uniform(0.1),
    Uniform(0.1, mean=3.0),
    TruncatedNormal(0.02),
    TruncatedNormal(0.5, cutoff=3.0, mean=0.1),
]
MATRICES: list[Law] = [Orthogonal(1.4), DeltaOrthogonal(0.9), Sparse(0.6, 0.01)]


@st.composite
def entries(draw: st.DrawFn, size: int) -> Any:
    """One valid entry of an index, for an axis of this size."""
    bound = st.none() | st.integers(-size - 2, size + 2)
    step = st.none() | st.integers(-4, 4).filter(bool)
    options: list[st.SearchStrategy[Any]] = [st.builds(slice, bound, bound, step)]
    options.append(st.lists(st.booleans(), min_size=size, max_size=size).map(np.array))
    if size:
        places = st.integers(-size, size - 1)
        options.append(places)
        options.append(st.lists(places, max_size=6).map(lambda p: np.array(p, dtype=np.int32)))
    else:
        options[-1] = st.just(np.zeros(0, dtype=np.bool_))
    return draw(st.one_of(options))


def oracle(whole: np.ndarray[Any, Any], index: tuple[Any, ...]) -> np.ndarray[Any, Any]:
    """Outer indexing, an axis at a time, from the last so that those before keep their number."""
    for axis in reversed(range(len(index))):
        whole = whole[(slice(None),) * axis + (index[axis],)]
    return whole


@st.composite
def cases(draw: st.DrawFn) -> tuple[Law, tuple[int, ...], tuple[Any, ...], str, Any, Any]:
    law = draw(st.sampled_from([*ANY_SHAPE, *MATRICES, Identity(0.7), Dirac(0.5), Dirac(2.0, 2)]))
    least, most = (
        (2, 2) if isinstance(law, Identity) else (3, 4) if isinstance(law, Dirac) else (2, 4)
    )
    least = 0 if law in ANY_SHAPE else least
    shape = tuple(draw(st.lists(st.integers(0, 7), min_size=least, max_size=most)))
    if isinstance(law, Dirac):
        shape = (shape[0] * law.groups, *shape[1:])
    axes = None
    if law not in ANY_SHAPE and not isinstance(law, (Identity, Dirac)):
        order = draw(st.permutations(range(len(shape))))
        batch = tuple(order[2:3]) if draw(st.booleans()) else ()
        axes = draw(st.sampled_from([None, Axes((order[0],), (order[1],), batch)]))
    blocks: tuple[Block, ...] = ()
    if shape and draw(st.booleans()) and not isinstance(law, (Identity, Dirac)):
        axis = draw(st.integers(0, len(shape) - 1))
        cuts = sorted(draw(st.lists(st.integers(0, shape[axis]), min_size=2, max_size=2)))
        other = draw(st.sampled_from(ANY_SHAPE if law in ANY_SHAPE else MATRICES))
        blocks = (Block("b", axis, cuts[0], cuts[1], other),)
    index = tuple(draw(entries(n)) for n in shape)
    return law, shape, index, draw(st.sampled_from(list(DTYPES))), axes, blocks


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


def big(size: int) -> st.SearchStrategy[slice]:
    bound = st.none() | st.integers(-size, size)
    return st.builds(slice, bound, bound, st.sampled_from([None, 1, 2, -1, -3, 777]))


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
