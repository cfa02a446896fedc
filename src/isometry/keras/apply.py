"""Plan -> model: validate everything, then write every variable, in place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
from numpy.typing import NDArray

from isometry.correspondence import paired, part_of
from isometry.errors import ModelError
from isometry.keras.structure import Owned, check_parameters, owned_variables
from isometry.keras.tensors import empty, laid_out, to_tensor
from isometry.progress import track
from isometry.stored import check_stored, write_stored
from isometry.stream.keys import check_seed
from isometry.stream.rounding import DTYPES
from isometry.types import Decision, Plan, Stored

__all__ = ["apply_plan", "planned"]


def apply_plan(
    plan: Plan,
    model: Any,
    *,
    seed: int,
    include: tuple[str, ...] | None = None,
    exclude: tuple[str, ...] | None = None,
    part: bool | Mapping[str, str] = False,
) -> Any:
    """Write a plan into a model; the same model. The optimiser's state is left as it is.

    Args:
        plan: made for this model, or for one with the same parameters.
        model: built, on any backend and device.
        seed: an integer in [0, 2^64).
        include, exclude: patterns of names; everything else is left as it is.
        part: the model is a part of the planned one: see `Plan.apply`.

    Raises:
        PlanError: the names or shapes are not the plan's, or a pattern matches nothing.
        ModelError: the model is not built.
        ArgumentError: the seed is not one.
    """
    todo = _chosen(plan, model, seed, include, exclude, part)
    sizes = [(pair, math.prod(pair[0].shape)) for pair in todo]
    for decision, entry in track(sizes, f"initialising {plan.model}", sum(n for _, n in sizes)):
        _write(decision, entry, seed)
    return model


def planned(
    plan: Plan, model: Any, *, seed: int, include: tuple[str, ...] | None,
    exclude: tuple[str, ...] | None,
) -> dict[str, Any]:  # fmt: skip
    """What `apply_plan` would write, as tensors by name; the model is not touched."""
    return {
        decision.name: to_tensor(_drawn(decision, entry, seed, None, None), _dtype(entry.variable))
        for decision, entry in _chosen(plan, model, seed, include, exclude)
    }


def _chosen(
    plan: Plan, model: Any, seed: int, include: tuple[str, ...] | None,
    exclude: tuple[str, ...] | None, part: bool | Mapping[str, str] = False,
) -> list[tuple[Decision, Owned]]:  # fmt: skip
    """What is written, and where; everything about it is found to be in order."""
    check_seed(seed)
    owned = owned_variables(model)
    check_parameters(owned, model)
    by_name = {entry.names[0]: entry for entry in owned}
    names = {name: entry.names for name, entry in by_name.items()}
    chosen = {d.name for d in (plan if include is None else plan.select(include))}
    chosen -= {d.name for d in plan.select(exclude)} if exclude is not None else set()
    own = plan if part is False else part_of(plan, names, part, type(model).__name__)
    found = paired(own, names, type(model).__name__)
    todo = [
        (d, by_name[found[d.name]]) for d in own if d.name in chosen and not d.keeps
    ]  # fmt: skip
    for decision, entry in todo:
        _check(decision, entry, seed)
    return todo


def _dtype(variable: Any) -> str:
    """In which a variable is kept, whatever its layer computes in."""
    return str(keras.backend.standardize_dtype(variable._dtype))


def _check(decision: Decision, entry: Owned, seed: int) -> None:
    """Raise unless this variable can take this law."""
    variable = entry.variable
    if variable._value is None:
        raise ModelError(
            f"{decision.name} has no value yet; build the model outside keras.StatelessScope"
        )
    check_stored(
        decision, tuple(variable.shape), seed=seed, dtype=_dtype(variable),
        stored=entry.layout.stored,
    )  # fmt: skip


def _write(decision: Decision, entry: Owned, seed: int) -> None:
    """Fill the variable's own memory where it lies open, else memory that it takes over."""
    variable, dtype = entry.variable, _dtype(entry.variable)
    shape, stored = tuple(variable.shape), entry.layout.stored
    if keras.backend.backend() == "torch" and _filled_in_place(decision, variable, seed, stored):
        return

    def draw(sizes: tuple[int, ...], index: Any) -> NDArray[Any]:
        return _drawn(decision, entry, seed, sizes, index)

    layout = getattr(variable, "_layout", None)
    if layout is None:
        variable.assign(to_tensor(draw(shape, None), dtype))
    else:  # each device draws its own part
        variable.assign(laid_out(draw, shape, dtype, layout))


def _drawn(
    decision: Decision, entry: Owned, seed: int, sizes: tuple[int, ...] | None, index: Any
) -> NDArray[Any]:
    """A variable's values or bits, or those of a part of it, in memory of their own."""
    dtype = _dtype(entry.variable)
    memory = empty(tuple(entry.variable.shape) if sizes is None else sizes, dtype)
    write_stored(
        memory, decision, seed=seed, dtype=dtype, stored=entry.layout.stored, index=index
    )  # fmt: skip
    return memory


def _filled_in_place(decision: Decision, variable: Any, seed: int, stored: Stored | None) -> bool:
    """Fill a PyTorch parameter through NumPy's view of its memory; False where there is none."""
    import torch

    tensor, dtype = variable.value.detach(), _dtype(variable)
    if tensor.device.type != "cpu" or not tensor.is_contiguous() or tensor.is_inference():
        return False
    storage = DTYPES[dtype].storage
    bits = tensor.view(getattr(torch, storage.name)) if storage.kind == "u" else tensor
    write_stored(bits.numpy(), decision, seed=seed, dtype=dtype, stored=stored)
    torch.autograd.graph.increment_version(variable.value)
    return True
