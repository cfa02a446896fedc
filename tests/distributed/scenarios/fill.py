"""Build, shard, initialise; then gather, and say what came out."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import CPUOffloadPolicy, MixedPrecisionPolicy
from torch.distributed.tensor import Shard

import isometry as iso
import isometry.torch as it

from ..networks import NETWORKS
from ..sharding import PARALLEL
from ..state import counted, gathered, layout

SEED = 7
OPTIONS: dict[str, dict[str, Any]] = {
    "mixed precision": {
        "mp_policy": MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
    },
    "CPU offload": {"offload_policy": CPUOffloadPolicy(pin_memory=False)},
    "not resharded": {"reshard_after_forward": False},
    "columns": {"shard_placement_fn": lambda p: Shard(p.dim() - 1)},
}
# By name: JSON holds no laws.
LAWS = {
    "orthogonal": {"layers.*.w*.weight": iso.Orthogonal(gain=1.5)},
    "convolutions": {
        "blocks.*.conv1.weight": iso.DeltaOrthogonal(),
        "head.weight": iso.Orthogonal(),
    },
}


def built(network: str, build: str, dtype: str = "float32", seed: int | None = None) -> nn.Module:
    """On meta by torch's or by our means, or with values, which differ on the ranks without a seed."""
    make = NETWORKS[network].build
    if build == "torch.device":
        with torch.device("meta"):
            model = make()
    elif build == "it.meta":
        with it.meta():
            model = make()
    else:
        torch.manual_seed(os.getpid() if seed is None else seed)
        model = make()
    return model.to(getattr(torch, dtype))


def whole(network: str, dtype: str = "float32", **given: Any) -> dict[str, Any]:
    """The single process's result, which every other must equal."""
    model = built(network, "values", dtype)
    plan = iso.initialize(model, NETWORKS[network].inputs(), seed=SEED, **arguments(given))
    return {"state": gathered(model), "digest": plan.digest, "plan": plan.to_json()}


def arguments(given: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `initialize`, with laws for their name."""
    return {k: LAWS[v] if k == "overrides" else v for k, v in given.items()}


def initialised(
    network: str,
    how: str,
    build: str = "torch.device",
    dtype: str = "float32",
    options: str | None = None,
    **given: Any,
) -> dict[str, Any]:
    """Sharded first, initialised after."""
    model = built(network, build, dtype)
    PARALLEL[how](model, network, **(OPTIONS[options] if options else {}))
    before = layout(model)
    with counted() as count:
        plan = iso.initialize(model, NETWORKS[network].inputs(), seed=SEED, **arguments(given))
    after = layout(model)
    moved = {n: (before[n], after[n]) for n in after if after[n] != before[n]}
    return {
        "state": gathered(model), "moved": moved, "digest": plan.digest, "seen": count.seen, "sent": count.sent,
    }  # fmt: skip


def partly(network: str, how: str, pattern: str, exclude: str) -> dict[str, Any]:
    """A model with values, all alike on every rank: which of them a call with patterns changed."""
    model = built(network, "values", seed=0)
    before = gathered(model)["tensors"]
    if dist.is_initialized():
        PARALLEL[how](model, network)
    iso.initialize(model, NETWORKS[network].inputs(), seed=SEED, include=pattern, exclude=exclude)
    after = gathered(model)["tensors"]
    return {"changed": [n for n in after if after[n] != before[n]], "state": after}


def received(network: str, how: str, plan: str, to_empty: bool = False) -> dict[str, Any]:
    """A plan that came as JSON, written into a model that was never read."""
    model = built(network, "torch.device")
    PARALLEL[how](model, network)
    if to_empty:
        model.to_empty(device="cpu")  # whatever lay in memory
    with counted() as count:
        iso.Plan.from_json(plan).apply(model, seed=SEED)
    return {"state": gathered(model), "seen": count.seen, "sent": count.sent}
