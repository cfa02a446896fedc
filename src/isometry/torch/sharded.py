"""DTensors: which elements of the whole a rank's shard is made of, and what the shards have in common."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from isometry.errors import ArgumentError

__all__ = [
    "fresh_shard",
    "homes",
    "is_dtensor",
    "local_index",
    "local_part",
    "meshes_of",
    "reshard",
    "shared_constants",
]


def is_dtensor(tensor: torch.Tensor) -> bool:
    """Is it a tensor sharded over a mesh?"""
    distributed = sys.modules.get("torch.distributed.tensor")  # nobody else can have made one
    return distributed is not None and isinstance(tensor, distributed.DTensor)


def meshes_of(model: nn.Module) -> list[Any]:
    """The mesh of each of a model's DTensors; none where it is not sharded."""
    return [t.device_mesh for t in (*model.parameters(), *model.buffers()) if is_dtensor(t)]  # type: ignore[attr-defined]


def local_index(tensor: Any) -> tuple[Any, ...]:
    """The global positions of a DTensor's local shard, an entry an axis: a slice or an array.

    A list of positions and not an offset: with strided shards a shard is not one range. The
    positions are sharded as the tensor is, so that every placement means what PyTorch means by it;
    no rank talks to another.

    Raises:
        ArgumentError: a placement is Partial, which has no values to set.
    """
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor

    if any(p.is_partial() for p in tensor.placements):
        raise ArgumentError(
            f"the DTensor has placements {tensor.placements}: a partial sum has no values to set; "
            "redistribute it to Shard or Replicate"
        )
    index = []
    for axis, size in enumerate(tensor.shape):
        placements: list[Any] = []
        for placement in tensor.placements:
            if getattr(placement, "dim", None) != axis:
                placements.append(Replicate())
            elif type(placement) is Shard:
                placements.append(Shard(0))
            else:  # a strided shard keeps its split
                placements.append(type(placement)(0, split_factor=placement.split_factor))
        if all(type(p) is Replicate for p in placements):
            index.append(slice(0, size))
            continue
        places = distribute_tensor(
            torch.arange(size), tensor.device_mesh, placements, src_data_rank=None
        )
        index.append(_as_slice(places.to_local().numpy(force=True)))
    return tuple(index)


def _as_slice(places: NDArray[np.int64]) -> Any:
    """Positions as a slice where they are consecutive: the kernel is faster on those."""
    if not places.size:
        return slice(0, 0)
    first, last = int(places[0]), int(places[-1])
    one_run = last - first + 1 == places.size and bool((np.diff(places) == 1).all())
    return slice(first, last + 1) if one_run else places


def reshard(modules: Iterable[nn.Module]) -> None:
    """Have FSDP2 put its shards where a forward has left whole parameters: those are copies, and
    what is written to a copy is lost."""
    for module in modules:
        if hasattr(module, "_get_fsdp_state"):
            module.reshard()  # type: ignore[operator]


def shared_constants(tensors: Sequence[Any]) -> list[float | None]:
    """The finite value that all elements of a DTensor share, on whichever ranks they are; or None.

    One reduction for all tensors of a mesh, along each of its axes; every rank of it must ask.
    """
    found: list[float | None] = [None] * len(tensors)
    meshes: dict[Any, list[int]] = {}
    for i, tensor in enumerate(tensors):
        if tensor.device_mesh.get_coordinate() is not None:  # else this rank has no part in it
            meshes.setdefault(tensor.device_mesh, []).append(i)
    for mesh, places in meshes.items():
        exact = torch.float32 if mesh.device_type == "mps" else torch.float64
        local = [_limits(tensors[i].detach().to_local()) for i in places]
        limits = _reduced(torch.tensor(local, dtype=exact, device=mesh.device_type), mesh).cpu()
        for i, (low, minus_high) in zip(places, limits.tolist(), strict=True):
            if low == -minus_high and math.isfinite(low):
                found[i] = low
    return found


def _limits(local: torch.Tensor) -> tuple[float, float]:
    """(smallest, minus the largest), of nothing (inf, inf): the smallest of both over all shards."""
    if local.numel() == 0:
        return math.inf, math.inf
    if not local.is_floating_point():
        return -math.inf, -math.inf
    low, high = (float(x) for x in local.aminmax())
    return (low, -high) if math.isfinite(high - low) else (-math.inf, -math.inf)


def _reduced(values: torch.Tensor, mesh: Any) -> torch.Tensor:
    from torch import distributed

    for axis in range(mesh.ndim):
        distributed.all_reduce(values, distributed.ReduceOp.MIN, group=mesh.get_group(axis))
    return values


def local_part(whole: torch.Tensor, like: Any, device: str) -> torch.Tensor:
    """A DTensor sharded as `like` is, that holds this rank's part of a whole tensor."""
    part = whole
    for axis, entry in enumerate(local_index(like)):
        part = part.index_select(axis, torch.arange(whole.shape[axis])[entry])
    made: Any = fresh_shard(like, device)
    if part.numel():
        made.to_local().copy_(part)
    return made  # type: ignore[no-any-return]


def fresh_shard(like: Any, device: str) -> torch.Tensor:
    """A DTensor sharded as `like` is, with memory on a device, to be filled."""
    return torch.empty_like(like.detach(), device=device)


def homes(model: nn.Module) -> Callable[[torch.Tensor], str]:
    """Where a model's tensors on meta are given memory: where their mesh computes, but the CPU where
    FSDP2 offloads them to it. What is not sharded goes with the rest; the CPU where there is no mesh."""
    offloaded = {id(tensor) for module in model.modules() for tensor in _offloaded(module)}
    meshes = meshes_of(model)
    plain = "cpu" if not meshes or offloaded else str(meshes[0].device_type)

    def home(tensor: torch.Tensor) -> str:
        if id(tensor) in offloaded:
            return "cpu"
        return str(tensor.device_mesh.device_type) if is_dtensor(tensor) else plain  # type: ignore[attr-defined]

    return home


def _offloaded(module: nn.Module) -> list[torch.Tensor]:
    """The parameters that FSDP2 keeps on the CPU between the runs of a module."""
    if not callable(state := getattr(module, "_get_fsdp_state", None)):
        return []
    held = state()
    groups = getattr(held, "_fsdp_param_groups", None) or [getattr(held, "_fsdp_param_group", None)]
    of_groups = [p for group in groups if group for p in group.fsdp_params]
    return [p.sharded_param for p in of_groups if p.offload_to_cpu]
