"""Plan -> model: validate everything, then write every parameter, in place.

Parameters and buffers on meta are given memory first (`materialise`); nothing of the model changes
until every decision has been checked against it, and on several ranks until all of them say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from isometry.correspondence import part_of
from isometry.errors import ModelError
from isometry.progress import track
from isometry.stored import needed_blocks
from isometry.stream.keys import check_seed
from isometry.stream.request import validate
from isometry.torch.agreement import Intent, agree, group_of, withdraw
from isometry.torch.as_written import refuse_flat
from isometry.torch.fill import check_fillable, fill_, fresh_like, in_huge_pages
from isometry.torch.leaves import OwnedTensor, check_parameters, matched, owned_tensors
from isometry.torch.materialise import recreated
from isometry.torch.meta import forget
from isometry.torch.read_only import read_only_memory
from isometry.torch.sharded import (
    fresh_shard,
    homes,
    is_dtensor,
    local_index,
    local_part,
    reshard,
)
from isometry.types import Decision, Plan

__all__ = ["apply_plan"]


def apply_plan(
    plan: Plan,
    model: nn.Module,
    *,
    seed: int,
    include: tuple[str, ...] | None = None,
    exclude: tuple[str, ...] | None = None,
    part: bool | Mapping[str, str] = False,
    verify: Any = False,
) -> nn.Module:
    """Write a plan into a model; the same model.

    Args:
        plan: made for this model, or for one with the same parameters.
        model: on any device, sharded or not; what is on meta is given memory, on the device of its
            mesh or on the CPU. Of a DTensor the local shard is written.
        seed: an integer in [0, 2^64).
        include, exclude: patterns of names; everything else is left as it is.
        part: the model is a part of the planned one: see `Plan.apply`.
        verify: whether all ranks have to agree first: see `Plan.apply`.

    Raises:
        PlanError: the names or shapes are not the plan's, or a pattern matches nothing.
        DisagreementError: the ranks do not agree.
        ModelError: a tensor cannot be written.
        MaterialiseError: something on meta is kept by the plan and cannot be recreated.
        ArgumentError: the seed is not one.
    """
    group = group_of(model, part=bool(part), verify=verify)
    try:
        work = _prepared(plan, model, seed, include, exclude, part)
    except Exception as error:
        withdraw(group, error)  # the other ranks must not wait for this one, nor write
        raise
    agree(group, work.intent)
    sizes = [((d, e), e.tensor.numel()) for d, e in work.todo]
    for decision, entry in track(sizes, f"initialising {plan.model}", sum(n for _, n in sizes)):
        target = entry.tensor
        if target.is_meta:
            target = _fresh(target, work.home(target))
            work.fresh[id(entry.tensor)] = target
        fill_(
            target, decision.law, seed=seed, name=decision.name, axes=decision.axes,
            blocks=needed_blocks(decision),
        )  # fmt: skip
    _install(model, work.owned, work.fresh)
    return model


@dataclass(frozen=True, slots=True)
class _Work:
    """What is going to be written, found to be in order."""

    owned: list[OwnedTensor]
    todo: list[tuple[Decision, OwnedTensor]]
    fresh: dict[int, Tensor]  # by the id of the tensor on meta: values that the plan keeps
    home: Callable[[Tensor], str]  # where memory is given
    intent: Intent


def _prepared(
    plan: Plan, model: nn.Module, seed: int, include: tuple[str, ...] | None,
    exclude: tuple[str, ...] | None, part: bool | Mapping[str, str],
) -> _Work:  # fmt: skip
    check_seed(seed)
    refuse_flat(model)
    reshard(model.modules())
    owned = owned_tensors(model)
    check_parameters(owned, model)
    chosen = {d.name for d in (plan if include is None else plan.select(include))}
    chosen -= {d.name for d in plan.select(exclude)} if exclude is not None else set()
    names = {entry.names[0]: entry.names for entry in owned}
    own = plan if part is False else part_of(plan, names, part, type(model).__name__)
    by_name = matched(own, owned, model)
    read_only = read_only_memory()
    todo: list[tuple[Decision, OwnedTensor]] = []
    missing: list[OwnedTensor] = []
    for decision in own:
        entry = by_name[decision.name]
        if decision.name in chosen and not decision.keeps:
            _check_write(decision, entry.tensor, seed, read_only)
            todo.append((decision, entry))
        elif entry.tensor.is_meta:
            missing.append(entry)
    home = homes(model)
    intent = Intent(
        plan, seed, (include, exclude),
        names=tuple(d.name for d in plan if d.name in chosen and not d.keeps),
        mine=frozenset(d.name for d, _ in todo),
        stage=part if isinstance(part, Mapping) else None,
    )  # fmt: skip
    return _Work(owned, todo, _kept(model, missing, seed, home), home, intent)


def _kept(
    model: nn.Module, missing: list[OwnedTensor], seed: int, home: Callable[[Tensor], str]
) -> dict[int, Tensor]:
    """Values of what is on meta and kept by the plan, sharded where it is."""
    whole = recreated(model, [e.names[0] for e in missing], seed)
    return {
        id(e.tensor): local_part(whole[e.names[0]], e.tensor, home(e.tensor))
        if is_dtensor(e.tensor)
        else whole[e.names[0]].to(home(e.tensor))
        for e in missing
    }


def _fresh(tensor: Tensor, home: str) -> Tensor:
    """Memory for a tensor on meta."""
    if is_dtensor(tensor):
        made: Any = fresh_shard(tensor, home)
        in_huge_pages(made.to_local())
        return made  # type: ignore[no-any-return]
    return fresh_like(tensor) if home == "cpu" else torch.empty_like(tensor, device=home)


def _check_write(
    decision: Decision, tensor: Tensor, seed: int, read_only: list[tuple[int, int]]
) -> None:
    """Raise unless this tensor can take this law."""
    local: Any = tensor.detach()
    if is_dtensor(tensor):
        try:
            local_index(tensor)
        except ValueError as error:
            raise ModelError(f"{decision.name} cannot be written: {error}") from None
        local = local.to_local()
    if local.device.type == "cpu" and any(a <= local.data_ptr() < b for a, b in read_only):
        raise ModelError(
            f"{decision.name} lies in memory that cannot be written (a file mapped for reading?); "
            "copy it first: module.weight = nn.Parameter(module.weight.clone())"
        )
    if tensor.is_inference():
        raise ModelError(
            f"{decision.name} was made under torch.inference_mode and cannot be written; build the "
            "model outside it"
        )
    if not tensor.is_meta:
        try:
            check_fillable(tensor)
        except ValueError as error:
            raise ModelError(f"{decision.name} cannot be written: {error}") from None
    dtype = str(tensor.dtype).removeprefix("torch.")
    blocks = needed_blocks(decision)
    validate(decision.law, decision.shape, seed, decision.name, dtype, None, decision.axes, blocks)


def _install(model: nn.Module, owned: list[OwnedTensor], fresh: dict[int, Tensor]) -> None:
    """Put new tensors wherever the model holds the meta ones, ties included."""
    if not fresh:
        return
    wrapped: dict[int, Tensor] = {}
    for entry in owned:
        new = fresh.get(id(entry.tensor))
        if new is None:
            continue
        if entry.kind == "parameter":
            old = entry.tensor
            new = nn.Parameter(new.detach(), requires_grad=old.requires_grad)
            new.__dict__.update(
                {k: v for k, v in old.__dict__.items() if k != "_is_hf_initialized"}
            )
        wrapped[id(entry.tensor)] = new
        for place in entry.places:
            forget(*place)
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for slot, tensor in table.items():
                if tensor is not None and id(tensor) in wrapped:
                    table[slot] = wrapped[id(tensor)]  # type: ignore[assignment]
    left = [e.names[0] for e in owned_tensors(model) if e.tensor.is_meta]
    if left:  # pragma: no cover - a proof, not a branch: every entry was filled or recreated
        raise ModelError(f"still on meta after initialisation: {', '.join(left[:5])}")
