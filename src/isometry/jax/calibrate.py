"""Measure, in one forward pass, by how much each weight misses the second moment it aims at.

The program of the model's call is run with each product rescaled as it is made: what comes later
reads what it would read under the final weights, so that one pass is enough. (LSUV, Mishkin & Matas
2016, runs the network once a layer and attempt.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from isometry.calibration import lost
from isometry.jax.apply import chosen_writes
from isometry.jax.inputs import as_call
from isometry.jax.models import model_of
from isometry.jax.place import filled
from isometry.jax.read import Reading, reading
from isometry.recipe.base import significant
from isometry.types import Plan

__all__ = ["calibrate"]


def calibrate(
    plan: Plan,
    target: Any,
    inputs: Any,
    aims: Mapping[str, float],
    *,
    seed: int,
    include: tuple[str, ...] | None = None,
    exclude: tuple[str, ...] | None = None,
) -> dict[str, float]:
    """The factor that brings each weight's product to its aim; the model is left as it was.

    An NNX module is read in evaluation mode, batch normalisation by the batch; any other as its
    arguments and inputs say.

    Args:
        plan: what is calibrated.
        target: the model, as for `Plan.apply`.
        inputs: an array, a tuple (positional arguments) or a dict (keyword arguments): real data.
        aims: weight -> the second moment that its product should have, before its bias.
        seed, include, exclude: as for `Plan.apply`; what is not written is not calibrated.

    Returns:
        weight -> factor, of the weights that the run multiplied by.

    Raises:
        ModelError: a product is zero everywhere, or not finite; it names the weight.
        TraceError: the model's own call failed.
    """
    call = as_call(inputs)
    model = model_of(target, call)
    read = reading(model, call, None, mode="calibration")
    todo = chosen_writes(plan, model, include, exclude)
    arrays = list(model.arrays)
    recreate = getattr(model, "values_for", None)
    if recreate is not None:
        for place, made in recreate({held.index for _, held, _ in todo}, seed).items():
            arrays[place] = made
    for decision, held, stored in todo:
        arrays[held.index] = filled(held.array, decision, seed, stored)
    written = {decision.name for decision, _, _ in todo}
    products = _products(read, {n: q for n, q in aims.items() if n in written})
    found = jax.jit(_rescaled, static_argnums=(0, 1))(
        _Static((read, products)), _Static(aims), [*arrays, *call.arrays]
    )
    factors = {}
    for name, (factor, q) in found.items():
        if not math.isfinite(float(q)):
            raise lost(name, "not finite", aims[name])
        if float(q) == 0.0:
            raise lost(name, "zero everywhere", aims[name])
        factors[name] = significant(float(factor))
    return factors


class _Static:
    """What a traced function is given as it is."""

    def __init__(self, value: Any) -> None:
        self.value = value


def _products(read: Reading, aims: Mapping[str, float]) -> dict[int, str]:
    """Value of the program -> the weight whose product it is."""
    graph = read.graph
    leaves = {leaf.value: leaf.name for leaf in graph.leaves if leaf.name in aims}
    found = {}
    for value, index in read.made.items():
        node = graph.nodes[index]
        if node.op in ("linear", "conv", "bilinear") and node.inputs[-1] in leaves:
            found[value] = leaves[node.inputs[-1]]
    return found


def _rescaled(static: _Static, wanted: _Static, inputs: Sequence[Any]) -> dict[str, Any]:
    """weight -> (factor, the second moment of its first product that is not zero)."""
    read, products = static.value
    aims = wanted.value
    factors: dict[str, tuple[Any, Any]] = {}

    def seen(value: int, made: Any) -> Any:
        name = products.get(value)
        if name is None:
            return made
        q = jnp.mean(jnp.square(made.astype(jnp.float32)))
        before, own = factors.get(name, (jnp.float32(1.0), jnp.float32(0.0)))
        first = (own == 0) & (q != 0)  # a state that starts at zero tells nothing
        factor = jnp.where(first, jnp.sqrt(aims[name] / jnp.where(q == 0, 1.0, q)), before)
        factors[name] = (factor, jnp.where(first, q, own))
        return made * factor.astype(made.dtype)

    read.program.run(inputs, seen)
    return factors
