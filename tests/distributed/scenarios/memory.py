"""How much memory a rank takes to fill its part: the kernel's own account, in a process just forked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Replicate, Shard

import isometry as iso

from ..sharding import fully_shard, mesh_of, placed
from .fill import SEED

WIDTH, ROWS = 1024, 32768  # two tables of 128 MiB


class Tables(nn.Module):
    """A few tensors, each of them larger than what may be taken besides the shards."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(ROWS, WIDTH)
        self.inner = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, ROWS)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.norm(self.inner(self.table(ids))))


def filled(how: str, dtype: str = "float32") -> dict[str, int]:
    """Bytes of this rank's shards, of the whole model, and by how much the peak of memory rose."""
    with torch.device("meta"):
        model = Tables().to(getattr(torch, dtype))
    whole = sum(p.nbytes for p in model.parameters())
    size = dist.get_world_size()
    if how == "FSDP":
        fully_shard(model, mesh=mesh_of(dp=size))
    elif how == "columns":
        placed(model, mesh_of(tp=size), [[Shard(1)]])
    else:  # each parameter cut twice along its rows, the inner cut first: strided shards
        mesh = mesh_of(dp=size // 2, tp=2)
        placed(model, mesh["tp"], [[Shard(0)]])
        fully_shard(model, mesh=mesh["dp"])
    ids = torch.zeros(2, 4, dtype=torch.long)
    # What is imported and set up once is no part of a model: a small one first.
    with torch.device("meta"):
        small = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 8))
    placed(small, mesh_of(tp=size), [[Shard(0)], [Replicate()]])
    iso.initialize(small, torch.zeros(2, dtype=torch.long), seed=SEED)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is
    before = _status("VmRSS")
    iso.initialize(model, ids, seed=SEED)
    grown = _status("VmHWM") - before
    own = sum(
        p.to_local().nbytes if isinstance(p, DTensor) else p.nbytes for p in model.parameters()
    )
    return {"whole": whole, "own": own, "grown": grown}


def peak_of(megabytes: int) -> int:
    """By how much the peak is seen to rise where so much is taken and given back."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    torch.ones(megabytes << 20, dtype=torch.uint8)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines: dict[str, Any] = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines()
    )
    return int(lines[field].split()[0]) << 10
