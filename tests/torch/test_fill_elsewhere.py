"""A tensor that does not lie in the processor's memory: filled there, or from the host."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from isometry.stream import sample, write
from isometry.stream.index import select
from isometry.torch.fill import _fill_elsewhere
from isometry.torch.on_cuda import described, way_of
from isometry.torch.staged import through_host
from isometry.types import (
    Block,
    Constant,
    Law,
    Normal,
    Orthogonal,
)

from .filling import HALVES, LAWS, SHAPE, filled, nan, whole

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
