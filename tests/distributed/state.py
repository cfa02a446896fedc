"""What a model holds, as digests that processes can send each other: gathered, or one rank's part."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.debug import CommDebugMode

__all__ = ["Counted", "counted", "digest", "gathered", "held", "layout"]


def digest(tensor: Tensor) -> str:
    """Of the bits, the shape and the dtype."""
    plain = tensor.detach().cpu().contiguous().clone()  # NumPy's view would pin what FSDP1 resizes
    bits = plain.reshape(-1).view(torch.uint8).numpy().tobytes()
    head = f"{tuple(plain.shape)} {plain.dtype}"
    return f"{head} {hashlib.blake2b(bits, digest_size=8).hexdigest()}"


def gathered(model: nn.Module) -> dict[str, Any]:
    """Every parameter and buffer whole, under all its names, and which names are one tensor."""
    tensors, ties = {}, {}
    for name, tensor in named(model):
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        tensors[name] = digest(whole)
        ties.setdefault(id(tensor), []).append(name)
    return {"tensors": tensors, "ties": sorted(t for t in ties.values() if len(t) > 1)}


def held(model: nn.Module) -> dict[str, str]:
    """What this rank holds, as it is: no collective; "meta" where there is no value."""
    found = {}
    for name, tensor in named(model):
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        found[name] = f"meta {tuple(local.shape)}" if local.is_meta else digest(local)
    return found


def layout(model: nn.Module) -> dict[str, str]:
    """How each tensor is cut and what it is besides its values, and the class of each module."""
    found = {}
    for name, tensor in named(model):
        cut = tensor.placements if isinstance(tensor, DTensor) else "whole"
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        found[name] = f"{cut} {tuple(local.shape)} {tensor.dtype} {tensor.requires_grad}"
    return found | {f"{n}()": type(m).__qualname__ for n, m in model.named_modules()}


def named(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from model.named_parameters(remove_duplicate=False)
    yield from model.named_buffers(remove_duplicate=False)


class Counted:
    """How many collectives ran: as PyTorch's CommDebugMode and as each process group counts."""

    seen: int
    sent: int

    def __init__(self) -> None:
        self.seen = self.sent = -1


@contextmanager
def counted() -> Iterator[Counted]:
    """Count the collectives inside; barriers are in `sent` alone. A warning is an error."""
    count, before = Counted(), _sequence()
    with CommDebugMode() as mode, warnings.catch_warnings(action="error"):
        # Of the hooks that the mode itself puts on every module.
        warnings.filterwarnings("ignore", "For backward hooks to be called")
        yield count
    count.seen, count.sent = mode.get_total_counts(), _sequence() - before


def _sequence() -> int:
    groups = dist.distributed_c10d._world.pg_map
    return sum(group._get_sequence_number_for_group() for group in groups)
