"""One tensor, in place: what it is filled with does not depend on how it lies in memory."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from isometry.errors import ArgumentError
from isometry.torch.fill import fill_
from isometry.torch.layers import fans
from isometry.torch.schemes import he_normal_, normal_, orthogonal_
from isometry.types import (
    Axes,
    Block,
    Constant,
    Keep,
    Law,
    Normal,
    Orthogonal,
)

from .filling import HALVES, LAWS, SHAPE, filled, nan, whole


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_memory_layouts_change_nothing(law: Law) -> None:
    expected = whole(law)
    assert torch.equal(filled(nan(*SHAPE), law), expected)
    assert torch.equal(filled(nan(*SHAPE).to(memory_format=torch.channels_last), law), expected)
    assert torch.equal(filled(nan(8, 10, 6, 4).permute(2, 3, 1, 0), law), expected)
    strided = nan(6, 8, 20, 8)
    assert torch.equal(filled(strided[:, ::2, 1::2], law), expected)
    assert strided[:, 1::2].isnan().all(), "wrote outside the view"
    assert strided[:, :, ::2].isnan().all(), "wrote outside the view"


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_narrow_dtype_is_the_rounded_float32(law: Law, dtype: torch.dtype) -> None:
    expected = whole(law).to(dtype)
    for tensor in (
        torch.empty(SHAPE, dtype=dtype),
        torch.empty((*SHAPE[:3], 16), dtype=dtype)[..., ::2],
    ):
        found = filled(tensor, law)
        assert torch.equal(found.float(), expected.float())


def test_float64_is_the_float32_widened() -> None:
    assert torch.equal(filled(nan(*SHAPE, dtype=torch.float64)), whole().double())


def test_bfloat16_has_its_tails_and_many_values() -> None:
    """What sampling in bfloat16 loses: 128 distinct values, no tail beyond 3.5 sigma."""
    w = filled(torch.empty(768, 768, dtype=torch.bfloat16)).float()
    n = w.numel()
    assert w.unique().numel() > 1000
    assert w.abs().max() > 4 * 0.02
    assert abs(float(w.mean())) < 4 * 0.02 / n**0.5
    assert float(w.std()) == pytest.approx(0.02, rel=4 / (2 * n) ** 0.5)


def test_float8_of_a_wide_layer_is_not_all_zero() -> None:
    w = he_normal_(torch.empty(16, 4096, dtype=torch.float8_e4m3fn), seed=0, name="w").float()
    assert float((w == 0).float().mean()) < 0.1


@pytest.mark.parametrize("law", LAWS, ids=str)
def test_a_part_is_that_part_of_the_whole(law: Law) -> None:
    expected = whole(law)
    rows = torch.tensor([5, 0, 3])
    for index in (
        (slice(2, 5),),
        (slice(None), 1, slice(None, None, 3)),
        (rows,),
        (Ellipsis, np.array([1, 7])),
        (slice(None), torch.tensor([True, False, True, False])),
    ):
        part = expected[index]
        found = filled(torch.full_like(part, float("nan")), law, index=index, shape=SHAPE)
        assert torch.equal(found, part)
    assert torch.equal(filled(nan(4, 10, 8), law, index=-1, shape=SHAPE), expected[-1])


def test_blocks_change_the_law_of_a_range_and_not_the_index() -> None:
    blocks = (Block("k", 0, 2, 4, Normal(0.5)), Block("v", 0, 4, 6, Constant(0.0)))
    found = filled(nan(6, 5), Normal(0.02), blocks=blocks)
    assert torch.equal(found[:2], whole(Normal(0.02), (6, 5))[:2])
    assert torch.equal(found[2:4], whole(Normal(0.5), (6, 5))[2:4])
    assert not found[4:].any()


def test_axes_reach_the_law() -> None:
    weight = torch.nn.ConvTranspose2d(16, 4, 3).weight
    axes = Axes(in_axis=(0,), out_axis=(1,))
    orthogonal_(weight, seed=0, name="w", axes=axes)
    matrix = weight.detach().double().transpose(0, 1).flatten(1)
    eye = torch.eye(4, dtype=torch.float64)
    assert torch.allclose(matrix @ matrix.T, eye, rtol=0.0, atol=144 * 2**-23)


def test_scalars_vectors_and_nothing() -> None:
    assert torch.equal(filled(torch.tensor(9.0)), whole(shape=()))
    assert torch.equal(filled(nan(5)), whole(shape=(5,)))
    assert filled(torch.empty(0, 3)).shape == (0, 3)
    assert he_normal_(torch.empty(3, 0), seed=0, name="w").shape == (3, 0)


def test_a_leaf_that_requires_grad_records_nothing() -> None:
    p = torch.nn.Parameter(torch.zeros(4, 3))
    filled(p)
    assert p.is_leaf
    assert p.grad_fn is None
    assert torch.equal(p.detach(), whole(shape=(4, 3)))
    (p * p).sum().backward()
    assert torch.equal(p.grad, 2 * p.detach())


def test_autograd_notices_that_saved_values_are_gone() -> None:
    p = torch.nn.Parameter(torch.zeros(4, 3))
    loss = (p * p).sum()
    filled(p)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_in_inference_mode() -> None:
    with torch.inference_mode():
        assert torch.equal(filled(nan(4, 3)), whole(shape=(4, 3)))


SHARDS = """
import torch, torch.distributed as dist
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor, init_device_mesh
from torch.distributed.tensor.placement_types import Partial, _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore
from isometry.errors import ArgumentError
from isometry.torch.fill import fill_
from isometry.types import Normal, Orthogonal

whole = {law: fill_(torch.empty(10, 7), law, seed=7, name="w") for law in (Normal(.02), Orthogonal())}
seen = 0
for world, sizes in ((1, (1,)), (2, (2,)), (4, (2, 2)), (8, (4, 2))):
    for rank in range(world):
        dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
        mesh = init_device_mesh("cpu", sizes)
        choices = [[Shard(0)], [Shard(1)], [Replicate()]]
        if len(sizes) == 2:
            choices = [[Shard(0), Shard(1)], [Shard(1), Shard(1)], [Replicate(), Shard(0)],
                       [_StridedShard(0, split_factor=2), Shard(0)]]
        for placements in choices:
            for law, expected in whole.items():
                # each rank takes its shard of the whole by itself: PyTorch says which that is
                right = distribute_tensor(expected, mesh, placements, src_data_rank=None)
                mine = distribute_tensor(torch.full((10, 7), 9.0), mesh, placements, src_data_rank=None)
                assert fill_(mine, law, seed=7, name="w") is mine
                assert torch.equal(mine.to_local(), right.to_local()), (world, rank, placements, law)
                seen += 1
        for bad in (dict(index=0), dict(shape=(20, 7))):
            try:
                fill_(mine, Normal(.02), seed=7, name="w", **bad)
            except ArgumentError as error:
                assert "leave out index and shape" in str(error)
            else:
                raise AssertionError("accepted")
        partial = DTensor.from_local(torch.zeros(3), mesh, [Partial()] * len(sizes))
        try:
            fill_(partial, Normal(.02), seed=7, name="w")
        except ArgumentError as error:
            assert "partial sum" in str(error)
        else:
            raise AssertionError("accepted")
        dist.destroy_process_group()
print("shards", seen)
"""


def test_every_shard_is_its_part_of_the_whole() -> None:
    """1, 2, 4 and 8 ranks, even and uneven, both axes, strided: in a process of its own, since a
    process group is global."""
    done = subprocess.run(
        [sys.executable, "-c", SHARDS], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["shards", str(2 * (3 * (1 + 2) + 4 * (4 + 8)))]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: torch.zeros(3, dtype=torch.int64), "the tensor is int64: expected one of float32"),
        (lambda: torch.zeros(3, dtype=torch.bool), "the tensor is bool"),
        (lambda: torch.zeros(3, dtype=torch.complex64), "the tensor is complex64"),
        (lambda: torch.zeros(3, 3).to_sparse(), "the tensor is torch.sparse_coo.*dense"),
        (lambda: torch.empty(3, device="meta"), "the tensor is on meta.*torch.empty_like"),
        (lambda: torch.zeros(3, 1).expand(3, 4), "the tensor is expanded"),
        (lambda: torch.zeros(3, dtype=torch.cfloat).conj().imag, "resolve_neg"),
        (lambda: np.zeros(3), "received ndarray: expected a torch.Tensor"),
        (lambda: torch.nn.Linear(3, 4), "received Linear"),
    ],
)
def test_tensors_that_cannot_be_filled(make: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        fill_(make(), Normal(), seed=0, name="w")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"law": Keep()}, "gives no values to draw"),
        ({"seed": 2**64}, "seed"),
        ({"seed": True}, "seed"),
        ({"name": None}, "name"),
        ({"index": 0}, "whose shape is missing"),
        ({"index": 0, "shape": (5, 4, 3)}, r"index=\(0,\) takes a part of shape \(4, 3\)"),
        ({"shape": (5, 3)}, r"takes a part of shape \(5, 3\) of \(5, 3\)"),
        ({"index": 9, "shape": (5, 4, 3)}, "index 9 of axis 0"),
        ({"law": Orthogonal(), "axes": Axes((0,), ())}, "needs an in_axis and an out_axis"),
        ({"law": 0.02}, "gives no values to draw"),
        ({"axes": "out, in"}, "expected isometry.types.Axes"),
        ({"blocks": None}, "expected a tuple of isometry.types.Block"),
    ],
)
def test_what_is_refused_leaves_the_tensor_as_it_was(more: dict[str, object], message: str) -> None:
    tensor = torch.full((2, 3), 9.0)
    law = more.pop("law", Normal())
    with pytest.raises(ArgumentError, match=message):
        fill_(tensor, law, **{"seed": 0, "name": "w", **more})
    assert (tensor == 9.0).all()


def test_order_and_repetition_change_nothing() -> None:
    first = {name: normal_(torch.empty(50), 0.02, seed=1, name=name) for name in "abc"}
    again = {name: normal_(torch.empty(50), 0.02, seed=1, name=name) for name in "cbab"}
    assert all(torch.equal(first[n], again[n]) for n in "abc")
    assert not torch.equal(first["a"], first["b"])
    assert not torch.equal(first["a"], normal_(torch.empty(50), 0.02, seed=2, name="a"))


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    he_normal_(torch.empty(8, 8), seed=0, name="w", fans=fans(torch.nn.Linear(8, 8, device="meta")))
    assert torch.equal(before, torch.get_rng_state())
