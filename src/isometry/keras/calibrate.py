"""Measure, in one run, by how much each weight misses the second moment it aims at.

The plan's weights stand in for the model's own, which is not touched. At a weight's first product
that is not zero, product and weight are rescaled and the run goes on, so that what comes later reads
what it would read under the final weights. (LSUV, Mishkin & Matas 2016, runs the network once a
layer and attempt.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from isometry.calibration import lost
from isometry.keras.apply import planned
from isometry.keras.gradients import on_host
from isometry.keras.inputs import as_call
from isometry.keras.read import built, reading
from isometry.keras.run import KerasRunner
from isometry.keras.structure import owned_variables
from isometry.recipe.base import significant
from isometry.types import Plan

__all__ = ["calibrate"]

EVERY = 10**9  # steps of a recurrent layer


def calibrate(
    plan: Plan,
    model: Any,
    inputs: Any,
    aims: Mapping[str, float],
    *,
    seed: int,
    include: tuple[str, ...] | None = None,
    exclude: tuple[str, ...] | None = None,
) -> dict[str, float]:
    """The factor that brings each weight's product to its aim; the model is left as it was.

    Args:
        plan: what is calibrated.
        model: on any backend.
        inputs: a tensor, a tuple (positional arguments) or a dict (keyword arguments): real data.
        aims: weight -> the second moment that its product should have, before its bias.
        seed, include, exclude: as for `Plan.apply`; what is not written is not calibrated.

    Returns:
        weight -> factor, of the weights that the run multiplied by.

    Raises:
        ModelError: a product is zero everywhere, or not finite; it names the weight.
        TraceError: the model's own call failed.
    """
    call = as_call(inputs, model)
    built(model, call)
    drawn = planned(plan, model, seed=seed, include=include, exclude=exclude)
    read = reading(model, owned_variables(model), call, None, steps=EVERY)
    runner = KerasRunner(call, read)
    rescaling = _Rescaling(read.graph, {n: q for n, q in aims.items() if n in drawn})
    runner.run_changed(drawn, rescaling)
    rescaling.settle()
    return rescaling.factors


class _Rescaling:
    """Rescales a weight at its first product; told of every node's value as it is made."""

    def __init__(self, graph: Any, aims: Mapping[str, float]) -> None:
        self.factors: dict[str, float] = {}
        self._aims = aims
        self._silent: set[str] = set()  # all their products so far are zero
        self._weight_of = {
            node.index: leaf.name
            for node in graph
            if node.op in ("linear", "conv")
            and (leaf := graph.leaf_of(node.inputs[1])) is not None
            and leaf.name in aims
        }

    def __call__(self, node: int, tensor: Any) -> tuple[Any, str, float]:
        """The value to go on with; a weight and the factor it is multiplied by, "" for none."""
        name = self._weight_of.get(node, "")
        if not name or name in self.factors:
            return tensor, "", 1.0
        aim, host = self._aims[name], np.asarray(on_host(tensor), np.float64)
        q = float(np.square(host).mean())
        if not math.isfinite(q):
            raise lost(name, "not finite", aim)
        if q == 0.0:  # a state that starts at zero: the next product tells
            self._silent.add(name)
            return tensor, "", 1.0
        self._silent.discard(name)
        factor = self.factors[name] = significant(math.sqrt(aim / q))
        return tensor * keras.ops.cast(factor, tensor.dtype), name, factor

    def settle(self) -> None:
        """Raise where a weight has made nothing but zeros."""
        for name in self._silent:
            raise lost(name, "zero everywhere", self._aims[name])
