"""From a model that is sharded: the whole checkpoint where it can be known, else what to do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import fully_shard

import isometry as iso
from isometry.checkpoint import write_checkpoint

from .models import MODELS, weightless


@pytest.fixture
def group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_model_on_meta_that_is_sharded(group: None, tmp_path: Path) -> None:
    plain, sharded = weightless(MODELS["gpt2"]), weightless(MODELS["gpt2"])
    plan = iso.plan(plain)
    fully_shard(sharded, mesh=dist.init_device_mesh("cpu", (1,)))
    write_checkpoint(plain, plan, tmp_path / "plain", seed=3)
    write_checkpoint(sharded, plan, tmp_path / "sharded", seed=3)
    first, second = (
        (tmp_path / k / "model.safetensors").read_bytes() for k in ("plain", "sharded")
    )
    assert first == second


def test_kept_values_that_lie_in_shards(group: None, tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    plan = iso.plan(model, overrides={"1.weight": iso.Keep()})
    fully_shard(model, mesh=dist.init_device_mesh("cpu", (1,)))
    assert isinstance(model[1].weight, torch.distributed.tensor.DTensor)
    with pytest.raises(iso.ModelError, match=r"1.weight is kept by the plan and lies in shards"):
        write_checkpoint(model, plan, tmp_path / "new", seed=3)
    assert list(tmp_path.iterdir()) == []
