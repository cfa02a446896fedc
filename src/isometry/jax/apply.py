"""Plan -> model: validate everything, then make every array anew."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from isometry.correspondence import paired, part_of
from isometry.jax.held import Held, Model, check_parameters
from isometry.jax.inputs import as_call
from isometry.jax.models import model_of
from isometry.jax.place import filled
from isometry.jax.read import read_graph
from isometry.planner import plan_graph
from isometry.progress import track
from isometry.recipe import Recipe
from isometry.stored import check_stored
from isometry.stream.keys import check_seed
from isometry.types import Decision, Law, Plan, Stored
from isometry.types.plan import as_patterns

__all__ = ["apply_plan", "initialize", "written_into"]


def apply_plan(
    plan: Plan,
    target: Any,
    *,
    seed: int,
    include: tuple[str, ...] | None = None,
    exclude: tuple[str, ...] | None = None,
    part: bool | Mapping[str, str] = False,
) -> Any:
    """Write a plan into a model: an NNX module in place; of any other, a new one is returned.

    Args:
        plan: made for this model, or for one with the same parameters.
        target: an NNX module, materialised or from nnx.eval_shape; an Equinox module; Linen's
            variables, alone or as (module, variables); a tree of arrays, or (function, tree).
        seed: an integer in [0, 2^64).
        include, exclude: patterns of names; everything else is left as it is.
        part: the model is a part of the planned one: see `Plan.apply`.

    Returns:
        The module; of a pair, its second part anew.

    Raises:
        PlanError: the names or shapes are not the plan's, or a pattern matches nothing.
        ModelError: an array cannot be written.
        MaterialiseError: something without a value is kept by the plan.
        ArgumentError: the seed is not one.
    """
    model = model_of(target)
    return written_into(plan, model, seed=seed, include=include, exclude=exclude, part=part)


def initialize(
    target: Any,
    inputs: Any = None,
    *,
    seed: int = 0,
    recipe: str | Recipe = "auto",
    loss: Any = None,
    overrides: Mapping[str, Law] | None = None,
    include: str | Sequence[str] | None = None,
    exclude: str | Sequence[str] | None = None,
) -> tuple[Any, Plan]:
    """Plan a model and make its weights: (model, plan), for models that are values too.

    Args:
        target: as for `read_graph`. Of a Linen module alone, the variables are made: what the plan
            keeps by the module's own init, under a fixed key, and the rest at once by the plan.
        inputs, seed, recipe, loss, overrides, include, exclude: as for `isometry.initialize`.

    Returns:
        The model with its values (an NNX module is the same object; of a Linen module the
        variables, of (function, tree) the tree), and the plan.

    Raises:
        IsometryError: as for `isometry.plan` and `Plan.apply`.

    Example:
        >>> import jax.numpy as jnp
        >>> tree, plan = initialize((lambda t, x: x @ t["w"], {"w": jnp.zeros((8, 4))}), jnp.ones((2, 8)))
        >>> plan["w"].fans, tree["w"].shape
        (Fans(fan_in=8.0, fan_out=4.0), (8, 4))
    """
    check_seed(seed)
    plan = plan_graph(read_graph(target, inputs, loss), recipe, overrides)
    model = model_of(target, None if inputs is None else as_call(inputs))
    made = written_into(
        plan, model, seed=seed, include=as_patterns(include), exclude=as_patterns(exclude)
    )
    return made, plan


def written_into(
    plan: Plan, model: Model, *, seed: int, include: tuple[str, ...] | None,
    exclude: tuple[str, ...] | None, part: bool | Mapping[str, str] = False,
) -> Any:  # fmt: skip
    """The same for a model that is a function of its arrays."""
    check_seed(seed)
    check_parameters(model)
    todo = chosen_writes(plan, model, include, exclude, part)
    for decision, held, stored in todo:
        check_stored(
            decision, tuple(held.array.shape), seed=seed, dtype=str(held.array.dtype), stored=stored
        )
    recreate = getattr(model, "values_for", None)
    new: dict[int, Any] = {}
    if recreate is not None:
        new = recreate({held.index for _, held, _ in todo}, seed)
    sizes = [((d, h, s), math.prod(d.shape)) for d, h, s in todo]
    for decision, held, stored in track(
        sizes, f"initialising {plan.model}", sum(n for _, n in sizes)
    ):
        new[held.index] = filled(held.array, decision, seed, stored)
    jax.block_until_ready(list(new.values()))
    return model.replaced(new)


def chosen_writes(
    plan: Plan, model: Model, include: tuple[str, ...] | None,
    exclude: tuple[str, ...] | None, part: bool | Mapping[str, str] = False,
) -> list[tuple[Decision, Held, Stored | None]]:  # fmt: skip
    """What is written, where, and how it lies there. Every decision has its array."""
    by_name = {held.names[0]: held for held in model.held}
    names = {name: held.names for name, held in by_name.items()}
    buffers = {d.name for d in plan if d.kind == "buffer"}
    if not any(held.kind == "buffer" for held in model.held) and buffers:
        # Parameters alone, such as variables["params"]: the plan's buffers lie elsewhere.
        kept = tuple(d for d in plan if d.kind != "buffer")
        plan = Plan(plan.model, plan.recipe, kept, plan.notes)
    chosen = {d.name for d in (plan if include is None else plan.select(include))}
    chosen -= {d.name for d in plan.select(exclude)} if exclude is not None else set()
    if part is not False:
        plan = part_of(plan, names, part, model.name)
    found = paired(plan, names, model.name)
    return [
        (d, held, held.layout.stored or d.stored)
        for d in plan
        if d.name in chosen and not d.keeps
        for held in [by_name[found[d.name]]]
    ]
