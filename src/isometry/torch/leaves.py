"""A module's parameters and buffers, each once, with the names it goes by."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from isometry.correspondence import paired
from isometry.errors import ModelError, PlanError
from isometry.graph import Hint, Leaf, Range
from isometry.torch.layers import layer_params
from isometry.torch.meta import remembered
from isometry.types import Plan

__all__ = [
    "OwnedTensor",
    "check_parameters",
    "leaves_of",
    "matched",
    "owned_tensors",
    "public_name",
]

# What wrappers put in front of a name: DataParallel, torch.compile, FSDP, activation checkpointing.
WRAPPERS = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.modules.batchnorm._NormBase,
)


@dataclass(slots=True)
class OwnedTensor:
    """A tensor, the module that owns it, and every name it has."""

    tensor: Tensor
    kind: str
    module: nn.Module
    module_name: str
    slot: str
    names: list[str]
    places: list[tuple[nn.Module, str]]  # every slot that holds it


def public_name(name: str) -> str:
    """A parameter's name without the prefixes of wrappers, which change no model."""
    parts = name.split(".")
    return ".".join(
        p for i, p in enumerate(parts) if i == len(parts) - 1 or f"{p}." not in WRAPPERS
    )


def owned_tensors(model: nn.Module) -> list[OwnedTensor]:
    """Every parameter, then every buffer, in `named_parameters()` order; ties are one entry."""
    found: dict[int, OwnedTensor] = {}
    for kind, slots in (("parameter", "_parameters"), ("buffer", "_buffers")):
        for path, module in model.named_modules(remove_duplicate=False):
            for slot, tensor in getattr(module, slots).items():
                if tensor is None:
                    continue
                name = public_name(f"{path}.{slot}" if path else slot)
                entry = found.get(id(tensor))
                if entry is None:
                    found[id(tensor)] = OwnedTensor(
                        tensor, kind, module, public_name(f"{path}._")[:-2], slot, [name],
                        [(module, slot)],
                    )  # fmt: skip
                elif name not in entry.names:
                    entry.names.append(name)
                    entry.places.append((module, slot))
    return list(found.values())


def constant_value(entry: OwnedTensor) -> float | None:
    """The finite value all elements share; None where they share none, or it is not known."""
    known = remembered(entry.places) if entry.tensor.is_meta else entry.tensor.detach()
    if isinstance(known, Tensor):
        known = shared_value(known)
    return known if known is not None and math.isfinite(known) else None


def shared_value(flat: Tensor) -> float | None:
    """The value that all elements of a tensor share."""
    if flat.numel() == 0 or not flat.is_floating_point():
        return None
    first = flat[(0,) * flat.dim()]
    # Most tensors differ within the first elements: look at a few before looking at all.
    head = flat.select(0, 0) if flat.dim() > 1 else flat
    if not bool((head == first).all()) or not bool((flat == first).all()):
        return None
    return float(first)


def leaves_of(owned: list[OwnedTensor], values: dict[int, int]) -> tuple[Leaf, ...]:
    """The graph's leaves; `values` maps id(tensor) to its value in the graph."""
    leaves = []
    for entry in owned:
        tensor = entry.tensor
        leaves.append(
            Leaf(
                name=entry.names[0],
                aliases=tuple(entry.names[1:]),
                kind=entry.kind,
                shape=tuple(tensor.shape),
                dtype=str(tensor.dtype).removeprefix("torch."),
                value=values[id(tensor)],
                owner=type(entry.module).__name__,
                owner_name=entry.module_name,
                slot=entry.slot,
                trainable=tensor.requires_grad,
                on_meta=tensor.is_meta,
                constant=constant_value(entry),
                hint=hint_of(entry) if entry.kind == "parameter" else None,
            )
        )
    return tuple(leaves)


def hint_of(entry: OwnedTensor) -> Hint | None:
    """What the class of a parameter's module says of it."""
    module, slot = entry.module, entry.slot
    if isinstance(module, NORMS):
        return Hint("norm_gain" if slot == "weight" else "bias")
    layout = layer_params(module).get(slot)
    if layout is None:
        return None
    recurrent = isinstance(module, (nn.RNNBase, nn.RNNCellBase))
    role = {"table": "embedding", "token": "positions", "projection": "linear"}.get(
        layout.role, layout.role
    )
    if role == "weight":
        role = "gates" if recurrent else _matrix_role(module)
    return Hint(
        role,
        layout.axes,
        layout.fans,
        tuple(Range(b.name, b.axis, b.start, b.stop) for b in layout.blocks),
        recurrent,
        getattr(module, "padding_idx", None) if role == "embedding" else None,
    )


def _matrix_role(module: nn.Module) -> str:
    if isinstance(module, nn.modules.conv._ConvNd):
        return "conv_transpose" if module.transposed else "conv"
    return "bilinear" if isinstance(module, nn.Bilinear) else "linear"


def check_parameters(owned: list[OwnedTensor], model: nn.Module) -> None:
    """Raise ModelError where a parameter is of a kind that cannot be initialised."""
    parameters = [entry for entry in owned if entry.kind == "parameter"]
    if not parameters:
        raise ModelError(
            f"{type(model).__name__} has no parameters; isometry initialises an nn.Module that "
            "has some (is it the right object, and is it built?)"
        )
    for entry in parameters:
        tensor = entry.tensor
        if is_lazy(tensor):
            raise ModelError(
                f"{entry.names[0]} of {type(entry.module).__name__} has no shape yet (a lazy "
                "module); run the model once on a batch, then call isometry"
            )
        what = None
        if tensor.is_quantized or not (tensor.is_floating_point() or tensor.is_complex()):
            what = "quantised or integer"
        elif tensor.is_complex():
            what = "complex"
        elif tensor.layout is not torch.strided:
            what = str(tensor.layout)
        if what is not None:
            raise ModelError(
                f"{entry.names[0]} is {what} ({tensor.dtype}); isometry initialises floating-"
                "point parameters: initialise before quantising, or hold it as a buffer"
            )


def matched(plan: Plan, owned: list[OwnedTensor], model: nn.Module) -> dict[str, OwnedTensor]:
    """The model's tensor of each decision, by the decision's name.

    Raises:
        PlanError: the names or shapes are not the plan's.
    """
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
