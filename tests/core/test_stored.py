"""A tensor in the order in which a framework stores it: every element where PyTorch has it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry import sample
from isometry.errors import ArgumentError, PlanError
from isometry.stored import as_stored, as_torch, check_stored, write_stored
from isometry.types import (
    Axes,
    Block,
    Constant,
    Decision,
    Identity,
    Law,
    Normal,
    Orthogonal,
    Stored,
)


def decision(shape: tuple[int, ...], stored: Stored | None, law: Law, **more: object) -> Decision:
    return Decision(
        "w", (), "parameter", shape, "float32", "linear", more.get("axes"), None, "test", None, law,  # type: ignore[arg-type]
        more.get("blocks", ()), "", "", stored,  # type: ignore[arg-type]
    )  # fmt: skip


@st.composite
def storage(draw: st.DrawFn) -> tuple[Stored, tuple[int, ...]]:
    """An array of up to four axes, in any order, and PyTorch's shape for it."""
    shape = tuple(draw(st.lists(st.integers(1, 6), min_size=1, max_size=4)))
    order = tuple(draw(st.permutations(range(len(shape)))))
    flipped = tuple(a for a in range(len(shape)) if draw(st.booleans()))
    gated = [a for a, n in enumerate(shape) if n % 3 == 0 and a not in flipped]
    gates, axis = ((1, 0, 2), gated[0]) if gated and draw(st.booleans()) else ((), 0)
    apart = [shape[a] for a in order]
    if len(apart) > 1 and draw(st.booleans()):  # two axes of the array are one of PyTorch's
        at = draw(st.integers(0, len(apart) - 2))
        apart[at : at + 2] = [apart[at] * apart[at + 1]]
    return Stored(shape, order, flipped, gates, axis), tuple(apart)


@settings(deadline=None, max_examples=200)
@given(storage(), st.data())
def test_any_part_of_any_storage_is_that_part_of_the_tensor(
    case: tuple[Stored, tuple[int, ...]], data: st.DataObject
) -> None:
    stored, shape = case
    whole = np.empty(stored.shape, np.float32)
    plan = decision(shape, stored, Normal(1.0))
    write_stored(whole, plan, seed=1, dtype="float32")
    tensor = sample(Normal(1.0), shape, seed=1, name="w")
    assert (as_torch(whole, stored, shape) == tensor).all()
    assert (as_stored(tensor, stored) == whole).all()
    index = tuple(
        slice(data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n))) for n in stored.shape
    )
    part = np.empty_like(whole[index])
    write_stored(part, plan, seed=1, dtype="float32", index=index)
    assert (part == whole[index]).all()


def test_the_meaning_of_each_field() -> None:
    tensor = np.arange(24, dtype=np.float32).reshape(6, 4)  # (out, in)
    dense = as_stored(tensor, Stored((4, 6), (1, 0)))
    assert dense.shape == (4, 6)
    assert (dense == tensor.T).all()
    heads = as_stored(tensor, Stored((4, 2, 3), (1, 2, 0)))
    assert heads[1, 1, 2] == tensor[1 * 3 + 2, 1]
    flipped = as_stored(tensor, Stored((6, 4), (0, 1), flipped=(1,)))
    assert (flipped == tensor[:, ::-1]).all()
    keras = as_stored(tensor, Stored((4, 6), (1, 0), gates=(1, 0, 2), gate_axis=1))
    z, r, h = np.split(keras, 3, axis=1)
    assert (r == tensor[:2].T).all()  # PyTorch stacks r first, Keras z
    assert (z == tensor[2:4].T).all()
    assert (h == tensor[4:].T).all()


def test_matrix_laws_and_blocks_are_those_of_the_tensor() -> None:
    stored = Stored((6, 2, 4), (1, 2, 0))  # (D, heads, size) of an (8, 6) matrix
    plan = decision((8, 6), stored, Orthogonal(1.0), axes=Axes((1,), (0,)))
    out = np.empty(stored.shape, np.float32)
    write_stored(out, plan, seed=0, dtype="float32")
    matrix = as_torch(out, stored, (8, 6))
    np.testing.assert_allclose(matrix.T @ matrix, np.eye(6), atol=1e-6)
    part = np.empty((3, 2, 4), np.float32)
    write_stored(part, plan, seed=0, dtype="float32", index=slice(3, 6))
    np.testing.assert_allclose(part, out[3:], atol=1e-6)

    blocks = (Block("r", 0, 0, 4, Constant(1.0)), Block("z", 0, 4, 8, Constant(2.0)))
    gates = Stored((6, 8), (1, 0), gates=(1, 0), gate_axis=1)
    out = np.empty(gates.shape, np.float32)
    write_stored(out, decision((8, 6), gates, Normal(1.0), blocks=blocks), seed=0, dtype="float32")
    assert (out[:, :4] == 2.0).all()
    assert (out[:, 4:] == 1.0).all()


def test_half_precision_is_the_rounded_value() -> None:
    stored = Stored((64, 32), (1, 0))
    plan = decision((32, 64), stored, Normal(0.02))
    bits = np.empty(stored.shape, np.uint16)
    write_stored(bits, plan, seed=0, dtype="bfloat16")
    expected = sample(Normal(0.02), (32, 64), seed=0, name="w", dtype="bfloat16")
    assert (expected.view(np.uint16) == bits.T).all()


def test_what_does_not_fit_is_refused() -> None:
    plan = decision((6, 4), Stored((4, 6), (1, 0)), Normal(1.0))
    with pytest.raises(
        PlanError, match=r"w has shape \(6, 4\), the plan says \(6, 4\) \(stored as \(4, 6\)\)"
    ):
        check_stored(plan, (6, 4), seed=0, dtype="float32")
    check_stored(plan, (4, 6), seed=0, dtype="float32")
    with pytest.raises(PlanError, match="the plan says"):
        check_stored(plan, (4, 6), seed=0, dtype="float32", stored=Stored((4, 5), (1, 0)))
    with pytest.raises(ArgumentError, match="law of plain matrices"):
        check_stored(decision((6, 4, 3), None, Identity(1.0)), (6, 4, 3), seed=0, dtype="float32")


def test_a_plan_keeps_it_in_json() -> None:
    stored = Stored((4, 3, 6), (2, 1, 0), flipped=(1,), gates=(1, 0, 2), gate_axis=2)
    plan = decision((6, 12), stored, Normal(1.0))
    assert Decision.from_dict(plan.to_dict()) == plan
    assert "stored" not in decision((6, 12), None, Normal(1.0)).to_dict()
    assert math.prod(stored.shape) == math.prod(plan.shape)
