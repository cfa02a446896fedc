"""A tensor's pieces, one after another, are the tensor."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import isometry as iso
from isometry.entry import STORAGE, Entry, entries_of, piece_bytes, pieces
from isometry.errors import ArgumentError, PlanError
from isometry.stored import needed_blocks
from isometry.stream.rounding import DTYPES

SEED = 11


def drawn(
    law: iso.Law,
    shape: tuple[int, ...],
    dtype: str = "float32",
    axes: iso.Axes | None = None,
    blocks: tuple[iso.Block, ...] = (),
) -> Entry:
    decision = iso.Decision(
        "stream.name", (), "parameter", shape, "float32", "linear", axes, None, "", None, law, blocks, "", ""
    )  # fmt: skip
    return Entry("key", (), shape, dtype, decision=decision)


def whole(entry: Entry) -> bytes:
    how = entry.decision
    assert how is not None
    return iso.sample(
        how.law, how.shape, seed=SEED, name=how.name, dtype=entry.dtype, axes=how.axes,
        blocks=needed_blocks(how),
    ).tobytes()  # fmt: skip


def joined(entry: Entry, limit: int) -> bytes:
    return b"".join(piece_bytes(entry, box, SEED).tobytes() for box in pieces(entry, limit))


shapes = st.lists(st.integers(0, 6), max_size=4).map(tuple)


@given(shapes, st.integers(1, 200), st.sampled_from(list(DTYPES)))
def test_drawn_pieces_make_the_whole(shape: tuple[int, ...], limit: int, dtype: str) -> None:
    entry = drawn(iso.Normal(0.02), shape, dtype)
    boxes = list(pieces(entry, limit))
    itemsize = STORAGE[dtype].itemsize
    sizes = [math.prod(s.stop - s.start for s in box) * itemsize for box in boxes]
    assert sum(sizes) == entry.nbytes
    assert all(size <= max(limit, itemsize) for size in sizes)
    assert joined(entry, limit) == whole(entry)


@given(shapes, st.integers(1, 200), st.sampled_from(list(STORAGE)))
def test_given_pieces_make_the_whole(shape: tuple[int, ...], limit: int, dtype: str) -> None:
    bits = np.random.default_rng(0).integers(0, 2, math.prod(shape) * STORAGE[dtype].itemsize)
    value = bits.astype(np.uint8).view(STORAGE[dtype]).reshape(shape)
    turned = value.T.copy().T  # as a transposed tensor lies in memory
    assert joined(Entry("key", (), shape, dtype, value=turned), limit) == value.tobytes()


@pytest.mark.parametrize("limit", [1, 50, 1000, 1 << 20])
def test_fused_matrices(limit: int) -> None:
    blocks = tuple(
        iso.Block(n, 0, 4 * i, 4 * i + 4, iso.Normal(0.1 * (i + 1))) for i, n in enumerate("qkv")
    )
    entry = drawn(iso.Normal(1.0), (12, 5), blocks=blocks)
    assert joined(entry, limit) == whole(entry)


@pytest.mark.parametrize("limit", [1, 4 * 7 * 6 * 5, 1 << 20])
def test_experts_are_orthogonal_each_by_itself(limit: int) -> None:
    axes = iso.Axes(in_axis=(3,), out_axis=(2,), batch_axis=(0, 1))
    entry = drawn(iso.Orthogonal(1.0, size=7), (3, 2, 6, 7), axes=axes)
    boxes = list(pieces(entry, limit))
    assert len(boxes) == {1: 6, 4 * 7 * 6 * 5: 2, 1 << 20: 1}[limit]
    assert all(box[2:] == (slice(0, 6), slice(0, 7)) for box in boxes)
    assert joined(entry, limit) == whole(entry)


def test_a_matrix_as_a_whole_is_one_piece() -> None:
    entry = drawn(iso.Orthogonal(1.0, size=9), (9, 5), axes=iso.Axes((1,), (0,)))
    assert list(pieces(entry, 1)) == [(slice(0, 9), slice(0, 5))]
    assert joined(entry, 1) == whole(entry)


def test_a_matrix_whose_blocks_are_matrices_is_one_piece() -> None:
    blocks = (iso.Block("q", 0, 0, 4, iso.Orthogonal(1.0, size=5)),)
    entry = drawn(iso.Normal(1.0), (12, 5), blocks=blocks)
    assert list(pieces(entry, 1)) == [(slice(0, 12), slice(0, 5))]
    assert joined(entry, 1) == whole(entry)


def test_memory_that_is_given_is_used() -> None:
    entry = drawn(iso.Normal(1.0), (8, 8), "bfloat16")
    memory = np.full(200, 255, np.uint8)
    (box,) = pieces(entry)
    data = piece_bytes(entry, box, SEED, out=memory)
    assert data.tobytes() == whole(entry)
    assert np.shares_memory(data, memory)
    assert set(memory[128:]) == {255}


def test_a_model_without_a_state_dict_is_said() -> None:
    jax = pytest.importorskip("jax.numpy")
    tree = {"w": jax.zeros((2, 2))}
    with pytest.raises(ArgumentError, match=r"expected a torch.nn.Module"):
        entries_of(tree, iso.Plan("m", "auto", ()), seed=0)


def test_the_plan_of_another_model_is_said() -> None:
    import torch

    small, large = (torch.nn.Sequential(torch.nn.Linear(n, 4)) for n in (4, 8))
    with pytest.raises(PlanError, match=r"0.weight has shape \(4, 8\), the plan says \(4, 4\)"):
        entries_of(large, iso.plan(small), seed=0)
    with pytest.raises(ArgumentError, match=r"float16 is drawn up to 6.55e\+04"):
        entries_of(
            small, iso.plan(small, overrides={"*": iso.Normal(1e5)}), seed=0, dtype="float16"
        )
    for dtype, seed in product(("int64", "bool"), (0,)):
        with pytest.raises(ArgumentError, match="expected a floating-point dtype"):
            entries_of(small, iso.plan(small), seed=seed, dtype=dtype)
