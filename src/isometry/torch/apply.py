"""Plan -> model: validate everything, then write every parameter, in place.

Parameters and buffers on meta are given memory first (`materialise`); nothing of the model changes
until every decision has been checked against it.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from isometry.correspondence import paired
from isometry.errors import ModelError, PlanError
from isometry.progress import track
from isometry.stored import needed_blocks
from isometry.stream.keys import check_seed
from isometry.stream.request import validate
from isometry.torch.fill import check_fillable, fill_, fresh_like
from isometry.torch.leaves import OwnedTensor, check_parameters, owned_tensors
from isometry.torch.materialise import recreate
from isometry.types import Decision, Plan

__all__ = ["apply_plan"]


def apply_plan(
    plan: Plan,
    model: nn.Module,
    *,
    seed: int,
    include: tuple[str, ...] | None = None,
    exclude: tuple[str, ...] | None = None,
) -> nn.Module:
    """Write a plan into a model; the same model.

    Args:
        plan: made for this model, or for one with the same parameters.
        model: on any device; what is on meta is given memory on the CPU.
        seed: an integer in [0, 2^64).
        include, exclude: patterns of names; everything else is left as it is.

    Raises:
        PlanError: the names or shapes are not the plan's, or a pattern matches nothing.
        ModelError: a tensor cannot be written.
        MaterialiseError: something on meta is kept by the plan and cannot be recreated.
        ArgumentError: the seed is not one.
    """
    check_seed(seed)
    owned = owned_tensors(model)
    check_parameters(owned, model)
    by_name = _matched(plan, owned, model)
    chosen = (
        {d.name for d in plan.select(include)} if include is not None else {d.name for d in plan}
    )
    if exclude is not None:
        chosen -= {d.name for d in plan.select(exclude)}
    read_only = _read_only_memory()
    todo: list[tuple[Decision, OwnedTensor]] = []
    missing: list[tuple[Decision, OwnedTensor]] = []
    for decision in plan:
        entry = by_name[decision.name]
        if decision.name in chosen and not decision.keeps:
            _check_write(decision, entry.tensor, seed, read_only)
            todo.append((decision, entry))
        elif entry.tensor.is_meta:
            missing.append((decision, entry))
    # Values first, in memory of their own; then every slot of the model is given its tensor.
    fresh = recreate(model, [entry for _, entry in missing], seed)
    sizes = [((d, e), e.tensor.numel()) for d, e in todo]
    for decision, entry in track(sizes, f"initialising {plan.model}", sum(n for _, n in sizes)):
        target = entry.tensor
        if target.is_meta:
            target = fresh_like(target)
            fresh[id(entry.tensor)] = target
        fill_(
            target, decision.law, seed=seed, name=decision.name, axes=decision.axes,
            blocks=needed_blocks(decision),
        )  # fmt: skip
    _install(model, owned, fresh)
    return model


def _matched(plan: Plan, owned: list[OwnedTensor], model: nn.Module) -> dict[str, OwnedTensor]:
    """The model's tensor of each decision, by the decision's name."""
    by_name = {entry.names[0]: entry for entry in owned}
    names = {name: entry.names for name, entry in by_name.items()}
    found = {d: by_name[n] for d, n in paired(plan, names, type(model).__name__).items()}
    for decision in plan:
        shape = tuple(found[decision.name].tensor.shape)
        if shape != decision.shape:
            raise PlanError(
                f"{decision.name} has shape {shape}, the plan says {decision.shape}; make a plan of "
                "this model with iso.plan"
            )
    return found


def _read_only_memory() -> list[tuple[int, int]]:
    """Address ranges that this process may not write, such as a file mapped for reading: a write
    there ends the process. Known on Linux; empty elsewhere."""
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    ranges = []
    for line in lines:
        addresses, permissions = line.split()[:2]
        if "w" not in permissions:
            first, _, last = addresses.partition("-")
            ranges.append((int(first, 16), int(last, 16)))
    return ranges


def _check_write(
    decision: Decision, tensor: Tensor, seed: int, read_only: list[tuple[int, int]]
) -> None:
    """Raise unless this tensor can take this law."""
    if tensor.device.type == "cpu" and any(a <= tensor.data_ptr() < b for a, b in read_only):
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
    for module in model.modules():
        for table in (module._parameters, module._buffers):
            for slot, tensor in table.items():
                if tensor is not None and id(tensor) in wrapped:
                    table[slot] = wrapped[id(tensor)]  # type: ignore[assignment]
    left = [e.names[0] for e in owned_tensors(model) if e.tensor.is_meta]
    if left:  # pragma: no cover - a proof, not a branch: every entry was filled or recreated
        raise ModelError(f"still on meta after initialisation: {', '.join(left[:5])}")
