"""What a model's checkpoint holds: its state dict, the tensors not yet made but said how."""

from __future__ import annotations

from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isometry.entry import STORAGE, Entry
from isometry.errors import ArgumentError, ModelError
from isometry.stored import check_stored
from isometry.stream.keys import check_seed
from isometry.torch.leaves import check_parameters, matched, owned_tensors, public_name
from isometry.torch.materialise import recreated
from isometry.torch.sharded import is_dtensor
from isometry.types import Plan

__all__ = ["contents"]


def contents(model: nn.Module, plan: Plan, *, seed: int, dtype: str | None = None) -> list[Entry]:
    """The tensors of a model's state dict, in its order, as a plan and a seed make them.

    The model is read and not changed; on meta nothing is given memory but what the plan keeps. A
    buffer that is not persistent is not there, a tied tensor once, under its first name.

    Args:
        model: on any device.
        plan: for this model.
        seed: an integer in [0, 2^64).
        dtype: what every floating-point tensor becomes, parameter or buffer, as `model.to(dtype)`
            has it (running statistics too); integers, booleans and complex numbers stay. None: as
            the model has them.

    Raises:
        ArgumentError: the seed or the dtype is not one, or the dtype cannot hold a law.
        PlanError: the names or shapes are not the plan's.
        ModelError: the state holds what is no tensor of the model.
        MaterialiseError: something on meta is kept by the plan and cannot be recreated.
    """
    check_seed(seed)
    owned = owned_tensors(model)
    check_parameters(owned, model)
    found_by = matched(plan, owned, model)
    by_id = {id(found_by[d.name].tensor): (d, found_by[d.name]) for d in plan}
    names: dict[int, list[str]] = {}
    for name, value in model.state_dict(keep_vars=True).items():
        if id(value) not in by_id:
            raise ModelError(
                f"{name!r} in the state of {type(model).__name__} is no parameter or buffer of it "
                f"({type(value).__name__}); a checkpoint is streamed from those alone: fill the "
                "model with plan.apply and save it as usual"
            )
        names.setdefault(id(value), []).append(public_name(name))
    kept = [e for i, (d, e) in by_id.items() if d.keeps and i in names]
    made = recreated(model, [e.names[0] for e in kept if e.tensor.is_meta], seed)
    found = []
    for place, (first, *others) in names.items():
        decision, owner = by_id[place]
        tensor = owner.tensor
        kind = _dtype_in(tensor, dtype)
        if kind not in STORAGE:
            raise ModelError(
                f"{first} is {kind}, which a safetensors file does not hold; expected one of "
                f"{', '.join(STORAGE)}"
            )
        shape, aliases = tuple(tensor.shape), tuple(others)
        if decision.keeps:
            value = _bits(made.get(owner.names[0], tensor), first, kind)
            found.append(Entry(first, aliases, shape, kind, value=value))
        else:
            check_stored(decision, shape, seed=seed, dtype=kind)
            found.append(Entry(first, aliases, shape, kind, decision=decision))
    return found


def _dtype_in(tensor: Tensor, dtype: str | None) -> str:
    """The dtype that a tensor has in the checkpoint."""
    if dtype is None or not tensor.is_floating_point():
        return str(tensor.dtype).removeprefix("torch.")
    if not dtype.startswith("float") and dtype != "bfloat16":
        raise ArgumentError(
            f"dtype={dtype!r}: expected a floating-point dtype such as 'bfloat16' or 'float32'"
        )
    return dtype


def _bits(tensor: Tensor, name: str, dtype: str) -> NDArray[Any]:
    """A tensor's values as NumPy holds them, where they are if they can be."""
    if is_dtensor(tensor):
        raise ModelError(
            f"{name} is kept by the plan and lies in shards; write the checkpoint from the model as "
            "it is before it is sharded"
        )
    value = tensor.detach().resolve_conj().resolve_neg().to("cpu", getattr(torch, dtype))
    storage = STORAGE[dtype]
    if storage.name != dtype:  # NumPy has no such numbers: their bits
        value = value.view(torch.int16 if storage.itemsize == 2 else torch.uint8)
    return value.numpy().view(storage)
