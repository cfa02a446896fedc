"""One tensor, in place: what it is filled with does not depend on how it lies in memory."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from isometry.errors import ArgumentError
from isometry.stream import sample, write
from isometry.stream.index import select
from isometry.torch.fill import _fill_elsewhere, fill_
from isometry.torch.layers import fans
from isometry.torch.on_cuda import described, way_of
from isometry.torch.schemes import he_normal_, normal_, orthogonal_
from isometry.torch.staged import through_host
from isometry.types import (
    Axes,
    Block,
    Constant,
    DeltaOrthogonal,
    Keep,
    Law,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
)

SHAPE = (6, 4, 10, 8)
LAWS: list[Law] = [
    Normal(0.02), Normal(0.02, mean=1.0), Uniform(0.1), TruncatedNormal(0.02), Constant(0.3),
    Orthogonal(), DeltaOrthogonal(), Sparse(0.5),
]  # fmt: skip
HALVES = [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.float8_e5m2]


def whole(law: Law = LAWS[0], shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    return torch.from_numpy(sample(law, shape, seed=7, name="w"))


def filled(tensor: torch.Tensor, law: Law = LAWS[0], **more: object) -> torch.Tensor:
    assert fill_(tensor, law, seed=7, name="w", **more) is tensor
    return tensor


def nan(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """A poisoned tensor: what is not written shows."""
    return torch.full(shape, float("nan"), dtype=dtype)


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


PARTS = [None, (slice(None, None, 2), 3, slice(4, 0, -2), np.array([2, 2, 0]))]


@pytest.mark.parametrize("limit", [1, 30, 400, 1 << 24])
@pytest.mark.parametrize("index", PARTS, ids=["whole", "part"])
def test_pieces_drawn_on_the_host_are_the_whole(index: Any, limit: int) -> None:
    """Pieces small enough to see their seams, into memory with gaps."""
    selection = select((4, 4, 5, 3), index)
    frame = nan(*selection.lengths[:-1], 2 * selection.lengths[-1])
    sizes: list[int] = []

    def draw(host: torch.Tensor, part: tuple[Any, ...]) -> None:
        sizes.append(host.nbytes)
        write(host.numpy(), LAWS[0], (4, 4, 5, 3), seed=7, name="w", dtype="float32", index=part)

    through_host(frame[..., ::2], selection.dims, draw, limit)
    expected = sample(LAWS[0], (4, 4, 5, 3), seed=7, name="w", index=index)
    assert torch.equal(frame[..., ::2].reshape(selection.shape), torch.from_numpy(expected))
    assert frame[..., 1::2].isnan().all(), "wrote outside the view"
    assert max(sizes) <= max(limit, 4)
    assert sum(sizes) == expected.nbytes


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALVES], ids=str)
def test_a_device_without_a_kernel_is_filled_from_the_host(law: Law, dtype: torch.dtype) -> None:
    """The way of a tensor on another device, on this one: whole matrices at once, constants as bits."""
    given = {"seed": 7, "name": "w", "axes": None, "blocks": ()}
    for index in (None, (slice(None, None, 2), 3, slice(7, 0, -2))):
        expected = whole(law).numpy()[() if index is None else index]
        target = torch.full(expected.shape, 9.0).to(dtype)
        _fill_elsewhere(target, law, SHAPE, index, given)
        assert torch.equal(target.float(), torch.from_numpy(expected.copy()).to(dtype).float())
    blocks = (Block("k", 0, 2, 4, Orthogonal()), Block("v", 0, 4, 6, Constant(0.3)))
    found, expected = nan(6, 5), nan(6, 5)
    _fill_elsewhere(found, Normal(0.02), (6, 5), None, {**given, "blocks": blocks})
    assert torch.equal(found, filled(expected, Normal(0.02), blocks=blocks))


def test_a_float8_constant_saturates_on_any_device() -> None:
    target = torch.empty(3, dtype=torch.float8_e4m3fn)
    given = {"seed": 0, "name": "w", "axes": None, "blocks": ()}
    _fill_elsewhere(target, Constant(-1e6), (3,), None, given)
    assert target.float().tolist() == [-448.0] * 3


def test_a_device_where_triton_does_not_work_is_filled_from_the_host() -> None:
    """There is no such device, so that its trial fails, with CUDA and without."""
    with pytest.warns(
        RuntimeWarning, match="on cuda:99 .*copied, the same bits.*ISOMETRY_TRITON=0"
    ):
        way = way_of(torch.device("cuda", 99))
    assert way.fill is None
    assert "cuda:99" in way.why or "not installed" in way.why
    assert way_of(torch.device("cuda", 99)) is way, "warned twice"


def test_triton_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISOMETRY_TRITON", "0")
    way = way_of(torch.device("cuda", 98))  # and nothing is warned of
    assert (way.fill, way.why) == (None, "ISOMETRY_TRITON=0")


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("sys.modules['triton'] = None", "Triton is not installed"),
        ("sys.modules['triton.language'] = None", "Triton does not load|Triton is not installed"),
    ],
)
def test_without_triton_it_is_said(before: str, said: str) -> None:
    code = f"""
import sys, warnings; {before}
import torch
from isometry.torch.on_cuda import way_of
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    way = way_of(torch.device("cuda", 0))
print(way.fill, way.why, len(seen), seen[0].category.__name__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert re.match(rf"None ({said}).* 1 RuntimeWarning$", done.stdout)


def test_triton_is_loaded_for_a_cuda_tensor_alone() -> None:
    code = """
import sys, torch, isometry.torch as it
from isometry.types import Normal
it.fill_(torch.empty(4, 5).T, Normal(), seed=0, name="w")
print([m for m in sys.modules if m.startswith(("isometry.stream._triton", "isometry.stream.triton"))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_what_would_fill_cuda_tensors_is_described() -> None:
    assert described().startswith("no CUDA device here; Triton")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("law", LAWS, ids=str)
def test_a_cuda_tensor_is_the_host_tensor(law: Law) -> None:
    assert torch.equal(filled(nan(*SHAPE).cuda(), law).cpu(), whole(law))
    half = torch.empty(SHAPE[::-1], dtype=torch.bfloat16, device="cuda").permute(3, 2, 1, 0)
    assert torch.equal(filled(half, law).cpu(), whole(law).bfloat16())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("law", [*LAWS[:5], Orthogonal()], ids=str)
def test_pinned_pieces_reach_a_cuda_tensor_in_order(law: Law) -> None:
    """More pieces than buffers: each is drawn anew before its copy is known to be done."""
    target = nan(700, 300).cuda()
    selection = select((700, 300), None)

    def draw(host: torch.Tensor, part: tuple[Any, ...]) -> None:
        write(host.numpy(), law, (700, 300), seed=7, name="w", dtype="float32", index=part)

    through_host(target, selection.dims, draw, 1 << 14 if law.elementwise else None)
    assert torch.equal(target.cpu(), whole(law, (700, 300)))


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
