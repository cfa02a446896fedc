"""Meshes, and which positions of an axis a rank holds, against PyTorch's own sharding."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.errors import ArgumentError
from isometry.mesh import Chunk, Mesh, lengths, positions


def places(size: int, chunks: list[Chunk]) -> list[int]:
    return [i for run in positions(size, chunks) for i in run]


cuts = st.lists(st.integers(1, 9), max_size=3)


@settings(deadline=None)
@given(size=st.integers(0, 60), counts=cuts, data=st.data())
def test_cut_again_and_again_is_chunk_again_and_again(
    size: int, counts: list[int], data: st.DataObject
) -> None:
    at = [data.draw(st.integers(0, n - 1)) for n in counts]
    expected = torch.arange(size)
    for n, i in zip(counts, at, strict=True):
        pieces = expected.chunk(n)
        expected = pieces[i] if i < len(pieces) else expected[:0]
    chunks = [Chunk(n, i) for n, i in zip(counts, at, strict=True)]
    assert places(size, chunks) == expected.tolist()
    assert lengths(size, [(n, ()) for n in counts])[tuple(at)] == len(expected)


@settings(deadline=None)
@given(
    blocks=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    count=st.integers(1, 6),
    inner=st.integers(1, 4),
    data=st.data(),
)
def test_blocks_are_chunked_each_by_itself(
    blocks: list[int], count: int, inner: int, data: st.DataObject
) -> None:
    i, j = data.draw(st.integers(0, count - 1)), data.draw(st.integers(0, inner - 1))
    size = sum(blocks)
    parts = [b.chunk(count) for b in torch.arange(size).split(blocks)]
    outer = torch.cat([p[i] if i < len(p) else p[0][:0] for p in parts])
    pieces = outer.chunk(inner)
    expected = (pieces[j] if j < len(pieces) else outer[:0]).tolist()
    assert places(size, [Chunk(count, i, tuple(blocks)), Chunk(inner, j)]) == expected
    assert lengths(size, [(count, tuple(blocks)), (inner, ())])[i, j] == len(expected)


@pytest.mark.parametrize("size", [1, 2, 7, 12, 96])
@pytest.mark.parametrize("counts", [(1,), (4,), (5, 3), (3, 8)])
def test_the_parts_of_all_ranks_are_the_axis_once(size: int, counts: tuple[int, ...]) -> None:
    every = [
        i
        for at in np.ndindex(*counts)
        for i in places(size, [Chunk(n, j) for n, j in zip(counts, at, strict=True)])
    ]
    assert sorted(every) == list(range(size))
    assert lengths(size, [(n, ()) for n in counts]).sum() == size


def test_ranks_are_numbered_row_major_in_the_order_written() -> None:
    mesh = Mesh.parse(" pp=3, dp=4,tp=2 ")
    grid = np.arange(mesh.world).reshape(3, 4, 2)
    assert (mesh.world, str(mesh)) == (24, "pp=3,dp=4,tp=2")
    for rank in range(mesh.world):
        at = mesh.coordinates(rank)
        assert grid[tuple(at.values())] == rank == mesh.rank(at)
    assert (mesh.size("dp"), mesh.size("ep")) == (4, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has '': expected NAME=SIZE"),
        ("dp", "has 'dp': expected NAME=SIZE with commas between, such as dp=64"),
        ("dp=8,", "has '': expected"),
        ("dp=2x", "has 'dp=2x': expected NAME=SIZE"),
        ("dp=-2", "has 'dp=-2': expected NAME=SIZE"),
        ("fsdp=8", "has 'fsdp': expected one of dp .fully sharded.*ep .expert parallel"),
        ("dp=4,tp=2,dp=8", "has dp twice.*write dp=32"),
        ("tp=0", "has tp=0: expected a size from 1 to 2\\^31; leave tp out"),
        ("dp=1048576,tp=1024", "has 1073741824 ranks"),
    ],
)
def test_what_is_no_mesh(text: str, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Mesh.parse(text)


@pytest.mark.parametrize("rank", [-1, 8])
def test_there_is_no_such_rank(rank: int) -> None:
    with pytest.raises(
        ArgumentError, match=f"rank {rank} of the mesh dp=4,tp=2: expected 0 <= rank < 8"
    ):
        Mesh.parse("dp=4,tp=2").coordinates(rank)


AGAINST_PYTORCH = """
import torch, torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh
from torch.distributed.tensor.placement_types import _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore
from isometry.mesh import Chunk, Mesh, positions

def held(size, chunks):
    return [i for run in positions(size, chunks) for i in run]

class Rows(nn.Module):
    def __init__(self, tensor):
        super().__init__()
        self.w = nn.Parameter(tensor)

seen = 0
for dp, tp in ((1, 1), (2, 1), (1, 3), (2, 2), (4, 2), (3, 4), (5, 3)):
    for rank in range(dp * tp):
        dist.init_process_group("fake", rank=rank, world_size=dp * tp, store=FakeStore())
        mesh = init_device_mesh("cpu", (dp, tp), mesh_dim_names=("dp", "tp"))
        own = Mesh.parse(f"dp={dp},tp={tp}").coordinates(rank)
        assert list(mesh.get_coordinate()) == list(own.values()), (rank, own)
        i, j = own["dp"], own["tp"]
        for size in (1, 2, 3, 7, 10, 12, 24, 37):
            whole = torch.arange(float(size))[:, None]

            def local(placements, over=None):
                made = distribute_tensor(whole, over or mesh["tp"], placements, src_data_rank=None)
                return made, made.to_local()[:, 0].int().tolist()

            cut, rows = local([Shard(0)])
            assert rows == held(size, [Chunk(tp, j)]), ("tp", size)
            if size % 2 == 0:
                halves = Chunk(tp, j, (size // 2, size // 2))
                assert local([_StridedShard(0, split_factor=2)])[1] == held(size, [halves])
            # FSDP2 over what tensor parallelism has cut
            model = Rows(cut.detach())
            fully_shard(model, mesh=mesh["dp"])
            rows = model.w.to_local()[:, 0].int().tolist()
            assert rows == held(size, [Chunk(tp, j), Chunk(dp, i)]), ("dp over tp", size, rank, rows)
            # FSDP2 over what it has not
            model = Rows(whole.clone())
            fully_shard(model, mesh=mesh["dp"])
            assert model.w.to_local()[:, 0].int().tolist() == held(size, [Chunk(dp, i)])
            seen += 1
        dist.destroy_process_group()
print("seen", seen)
"""


def test_positions_are_those_of_dtensor_and_fsdp2() -> None:
    """Every rank of seven meshes, eight sizes: in a process of its own, since a group is global."""
    done = subprocess.run(
        [sys.executable, "-c", AGAINST_PYTORCH],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["seen", str(8 * (1 + 2 + 3 + 4 + 8 + 12 + 15))]
