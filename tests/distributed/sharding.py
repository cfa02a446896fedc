"""The ways in which PyTorch shards a model, each a function of the model and its mesh."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch.distributed as dist
from torch import nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Placement, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)
from torch.distributed.tensor.placement_types import _StridedShard

from .networks import NETWORKS, Decoder

__all__ = ["PARALLEL", "fsdp", "hybrid", "placed", "tensor_parallel", "two_dimensional"]


def mesh_of(**sizes: int) -> DeviceMesh:
    return init_device_mesh("cpu", tuple(sizes.values()), mesh_dim_names=tuple(sizes))


def fsdp(model: nn.Module, network: str, mesh: DeviceMesh | None = None, **options: Any) -> None:
    """FSDP2: each block, then the rest."""
    mesh = mesh or mesh_of(dp=dist.get_world_size())
    for block in NETWORKS[network].blocks(model):
        fully_shard(block, mesh=mesh, **options)
    fully_shard(model, mesh=mesh, **options)


def as_transformers_does(model: nn.Module, network: str) -> None:
    """Its own tensor parallelism, which puts another forward on each module."""
    from transformers.distributed.tensor_parallel import apply_tensor_parallelism

    mesh = mesh_of(tp=dist.get_world_size())
    apply_tensor_parallelism(model, mesh, model._expand_parallel_plan(dict(model._tp_plan)))


def checkpointed(model: nn.Module, network: str) -> None:
    """Activation checkpointing around each block, FSDP2 around that."""
    for block in list(NETWORKS[network].blocks(model)):
        holder, slot = next(
            (m, n) for m in model.modules() for n, c in m.named_children() if c is block
        )
        setattr(holder, slot, wrapped := checkpoint_wrapper(block))
        fully_shard(wrapped)
    fully_shard(model)


def hybrid(model: nn.Module, network: str) -> None:
    """Two replicas, each sharded over half of the ranks."""
    fsdp(model, network, mesh_of(replicate=2, shard=dist.get_world_size() // 2))


def tensor_parallel(model: nn.Module, network: str, mesh: DeviceMesh | None = None) -> None:
    """PyTorch's own plan where the model's forward bears it; placed by hand where not."""
    mesh = mesh or mesh_of(tp=dist.get_world_size())
    if network == "decoder":
        parallelize_module(model, mesh, of_decoder(model))
    elif network in ("llama", "tied llama"):
        parallelize_module(model, mesh, of_llama(tied=network == "tied llama"))
    else:
        placed(model, mesh, [[Shard(0)], [Shard(1)], [Replicate()]])


def of_decoder(model: Decoder) -> dict[str, Any]:
    return {
        "tok_embeddings": RowwiseParallel(input_layouts=Replicate()),
        "output": ColwiseParallel(output_layouts=Replicate()),
        **{f"layers.*.attention.{w}": ColwiseParallel() for w in ("wq", "wk", "wv")},
        "layers.*.attention.wo": RowwiseParallel(),
        **{f"layers.*.feed_forward.{w}": ColwiseParallel() for w in ("w1", "w3")},
        "layers.*.feed_forward.w2": RowwiseParallel(),
    }


def of_llama(*, tied: bool) -> dict[str, Any]:
    ends = {
        "model.embed_tokens": RowwiseParallel(input_layouts=Replicate()),
        "lm_head": ColwiseParallel(output_layouts=Replicate()),
    }
    attention, mlp = "model.layers.*.self_attn", "model.layers.*.mlp"
    return {
        **({} if tied else ends),  # parallelize_module unties: PyTorch's, not ours
        **{f"{attention}.{w}_proj": ColwiseParallel() for w in "qkv"},
        f"{attention}.o_proj": RowwiseParallel(),
        **{f"{mlp}.{w}_proj": ColwiseParallel() for w in ("gate", "up")},
        f"{mlp}.down_proj": RowwiseParallel(),
    }


def two_dimensional(model: nn.Module, network: str) -> None:
    """FSDP over tensor parallelism: where both cut axis 0, a shard is strided."""
    mesh = mesh_of(dp=dist.get_world_size() // 2, tp=2)
    tensor_parallel(model, network, mesh["tp"])
    fsdp(model, network, mesh["dp"])


def placed(model: nn.Module, mesh: DeviceMesh, choices: Sequence[Sequence[Placement]]) -> None:
    """Every parameter with the next of some placements; whole along an axis that it lacks."""
    made: dict[int, nn.Parameter] = {}  # ties stay ties
    turn = itertools.cycle(choices)
    for module in model.modules():
        for slot, old in module._parameters.items():
            if old is None:
                continue
            if id(old) not in made:
                placements = [
                    Replicate() if getattr(p, "dim", 0) >= old.dim() else p for p in next(turn)
                ]
                new = distribute_tensor(old.detach(), mesh, placements, src_data_rank=None)
                made[id(old)] = nn.Parameter(new, requires_grad=old.requires_grad)
                made[id(made[id(old)])] = made[id(old)]
            module._parameters[slot] = made[id(old)]


def mixed(model: nn.Module, network: str) -> None:
    """Any placements on a mesh of two dimensions, some parameters cut twice along one axis."""
    mesh = mesh_of(a=2, b=dist.get_world_size() // 2)
    choices = (
        (Shard(0), Shard(0)), (Shard(1), Shard(0)), (Replicate(), Shard(1)),
        (Shard(1), Shard(1)), (Shard(0), Replicate()),
    )  # fmt: skip
    placed(model, mesh, choices)


def interleaved(model: nn.Module, network: str) -> None:
    """Every second run of rows, or of columns, on a rank: a shard that is not one range."""
    mesh = mesh_of(a=2, b=dist.get_world_size() // 2)
    choices = [(Shard(axis), _StridedShard(axis, split_factor=2)) for axis in (0, 1)]
    placed(model, mesh, choices)


def expert_parallel(model: nn.Module, network: str) -> None:
    """The experts' stacked tensors over the ranks, the rest whole on each."""
    mesh = mesh_of(ep=dist.get_world_size())
    for module in model.modules():
        if hasattr(module, "gate_up_proj"):
            placed(module, mesh, [[Shard(0)]])


def replicas(model: nn.Module, network: str) -> None:
    """Every rank has the whole model."""


PARALLEL: dict[str, Callable[..., None]] = {
    "FSDP": fsdp,
    "HSDP": hybrid,
    "checkpointed": checkpointed,
    "transformers' TP": as_transformers_does,
    "TP": tensor_parallel,
    "FSDP x TP": two_dimensional,
    "mixed": mixed,
    "interleaved": interleaved,
    "EP": expert_parallel,
    "replicas": replicas,
}
