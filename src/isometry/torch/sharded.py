"""DTensors: which elements of the whole a rank's shard is made of."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isometry.errors import ArgumentError

__all__ = ["is_dtensor", "local_index"]


def is_dtensor(tensor: torch.Tensor) -> bool:
    """Is it a tensor sharded over a mesh?"""
    distributed = sys.modules.get("torch.distributed.tensor")  # nobody else can have made one
    return distributed is not None and isinstance(tensor, distributed.DTensor)


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
