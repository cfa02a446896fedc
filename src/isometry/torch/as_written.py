"""A sharded model as its author wrote it: whole tensors, and nothing of `torch.distributed` around them.

A plan rests on the model as a whole, and so does a measurement: what shards it (hooks that gather
and scatter, classes mixed in, wrappers around modules) is no part of it, and is put back as it was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from isometry.errors import ModelError
from isometry.torch.leaves import OwnedTensor, owned_tensors
from isometry.torch.meta import REMEMBERED, remember
from isometry.torch.sharded import is_dtensor, reshard, shared_constants
from isometry.types import Measurements, NotChecked

__all__ = ["as_written", "gathered", "noted", "placeholders", "refuse_flat", "shapes"]

DISTRIBUTED = "torch.distributed."
MIXED_IN = (
    "FSDPModule",
    "ReplicateModule",
)  # put before a module's own class by fully_shard and replicate
WRAPPERS = ("FullyShardedDataParallel", "DistributedDataParallel")
# Whose functions on a module, in front of its class's, are no part of the model.
OTHERS = (DISTRIBUTED, "transformers.distributed.", "transformers.integrations.tensor_parallel")
STATE = "__composable_api_state_key"  # where torch.distributed keeps what it knows of a module

NOT_SEEN = (
    "measured on the whole weights, gathered here, and on this rank's own batch: what a mixed-precision "
    "policy rounds and what the ranks exchange is not part of it"
)

Whole = Callable[[list[OwnedTensor]], list[Tensor]]


@contextmanager
def as_written(model: nn.Module, whole: Whole) -> Iterator[bool]:
    """The model with a whole tensor in place of each DTensor, and without hooks, classes, states and
    wrappers of torch.distributed. Nothing is done where it has none.

    Args:
        model: sharded or not.
        whole: what to put in place of the model's DTensors: `placeholders`, `shapes` or `gathered`.

    Yields:
        Whether there was anything to take away.

    Raises:
        ModelError: parameters that are flattened (FSDP1) or emptied (DeepSpeed) by what shards them.
    """
    refuse_flat(model)
    modules = list(model.modules())
    reshard(modules)
    sharded = [e for e in owned_tensors(model) if is_dtensor(e.tensor)]
    if not sharded and not any(map(_is_distributed, modules)):
        yield False
        return
    before = [(m, type(m), dict(m.__dict__)) for m in modules]
    try:
        for module in modules:
            _strip(module)
        for entry, tensor in zip(sharded, whole(sharded), strict=True):
            if entry.kind == "parameter":
                tensor = nn.Parameter(tensor, requires_grad=entry.tensor.requires_grad)
            for module, slot in entry.places:
                table = module._parameters if entry.kind == "parameter" else module._buffers
                table[slot] = tensor  # type: ignore[assignment]
        yield True
    finally:
        for module, cls, attributes in before:
            module.__class__ = cls
            module.__dict__.clear()
            module.__dict__.update(attributes)


def placeholders(sharded: list[OwnedTensor]) -> list[Tensor]:
    """Tensors on meta; a value that all elements share is remembered, whichever rank holds them."""
    real = [e for e in sharded if not e.tensor.is_meta]
    for entry, value in zip(real, shared_constants([e.tensor for e in real]), strict=True):
        if value is not None:
            remember(*entry.places[0], value)
    return shapes(sharded)


def shapes(sharded: list[OwnedTensor]) -> list[Tensor]:
    """Tensors on meta, of which no more is known than the shape; no rank is asked."""
    return [torch.empty(e.tensor.shape, dtype=e.tensor.dtype, device="meta") for e in sharded]


def gathered(sharded: list[OwnedTensor]) -> list[Tensor]:
    """The whole tensors, gathered from all ranks, each of which must ask; on meta, placeholders."""
    if any(e.tensor.is_meta for e in sharded):
        return placeholders(sharded)
    return [e.tensor.detach().full_tensor() for e in sharded]  # type: ignore[attr-defined]


def noted(found: Measurements) -> Measurements:
    """Measurements of a sharded model, with what they do not show."""
    unseen = NotChecked("sharding", NOT_SEEN)
    return replace(found, not_checked=(*found.not_checked, unseen))


def refuse_flat(model: nn.Module) -> None:
    """Raise ModelError where what shards a model has taken the shapes of its parameters away."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    for module in model.modules():
        if fsdp is None or not isinstance(module, fsdp.FullyShardedDataParallel):
            continue
        if module.training_state.name != "SUMMON_FULL_PARAMS":
            raise ModelError(
                "the model is wrapped in FullyShardedDataParallel (FSDP1), whose parameters are parts "
                "of flat ones; expected whole ones. Write\n"
                "    with FullyShardedDataParallel.summon_full_params(model):\n"
                "        iso.initialize(model, inputs, seed=0)\n"
                "or shard with torch.distributed.fsdp.fully_shard (FSDP2), where each rank fills its "
                "own shards"
            )
    for name, parameter in model.named_parameters():
        if hasattr(parameter, "ds_id") and parameter.numel() != getattr(parameter, "ds_numel", -1):
            raise ModelError(
                f"{name} is partitioned by DeepSpeed and has {parameter.numel()} elements here; "
                "expected the whole. Write\n"
                "    with deepspeed.zero.GatheredParameters(list(model.parameters()), modifier_rank=0):\n"
                "        iso.initialize(model, inputs, seed=0)"
            )


def _is_distributed(module: nn.Module) -> bool:
    """Has torch.distributed a class, a hook or a wrapper here?"""
    return (
        _of_distributed(type(module))
        or any(_of_distributed(base) for base in type(module).__bases__)
        or any(
            _of_distributed(hook)
            for key, table in module.__dict__.items()
            if "hooks" in key and isinstance(table, dict)
            for hook in table.values()
        )
    )


def _of_distributed(thing: Any) -> bool:
    return f"{getattr(thing, '__module__', '')}.".startswith(
        (DISTRIBUTED, "torch.nn.parallel.distributed.")
    )


def _put_there(value: Any) -> bool:
    """Is it a function that sharding has put in front of a method of the class?"""
    function = getattr(value, "__func__", value)
    where = getattr(function, "__globals__", None)
    return isinstance(where, dict) and str(where.get("__name__")).startswith(OTHERS)


def _strip(module: nn.Module) -> None:
    """Take away what torch.distributed has added to a module; its tables become copies."""
    attributes = module.__dict__
    for key, table in list(attributes.items()):
        if key.startswith(STATE) or (hasattr(type(module), key) and _put_there(table)):
            del attributes[key]
        elif key in ("_parameters", "_buffers", REMEMBERED):
            attributes[key] = dict(table)
        elif "hooks" in key and isinstance(table, dict):
            kept = {i: h for i, h in table.items() if not _of_distributed(h)}
            attributes[key] = type(table)(kept)
    cls = type(module)
    if cls.__bases__[0].__name__ in MIXED_IN and _of_distributed(cls.__bases__[0]):
        module.__class__ = cls.__bases__[1]
    inner = attributes["_modules"].get("_fsdp_wrapped_module") or attributes["_modules"].get(
        "module"
    )
    if inner is not None and cls.__name__ in WRAPPERS:
        attributes["forward"] = inner.__call__
