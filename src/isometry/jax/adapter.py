"""What isometry asks of a framework, for JAX: read, apply, measure, ..."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError, IsometryError
from isometry.graph import Graph
from isometry.jax.apply import apply_plan
from isometry.jax.build import built
from isometry.jax.calibrate import calibrate
from isometry.jax.layers import fans
from isometry.jax.locate import locate
from isometry.jax.models import is_written_in_place, model_of
from isometry.jax.read import read_graph
from isometry.types import Fans, Location, Measurements, Plan

__all__ = ["JaxAdapter", "adapter"]


class JaxAdapter:
    """JAX's side of `isometry.plan`, `initialize`, `check`, `fans` and `gain`.

    Flax NNX modules are written in place. Linen's variables, Equinox modules and trees of arrays are
    values: applying a plan returns new ones. Equinox models are written for one sample; inputs may
    be one, or a batch of them (then the model is mapped over their first axis).
    """

    def read(self, model: Any, inputs: Any, loss: Any) -> Graph:
        return read_graph(model, inputs, loss)

    def in_place(self, model: Any) -> bool:
        """Can the model be written, or is it a value?"""
        return is_written_in_place(model)

    def apply(
        self,
        plan: Plan,
        model: Any,
        *,
        seed: int,
        include: tuple[str, ...] | None,
        exclude: tuple[str, ...] | None,
        part: bool | Mapping[str, str] = False,
        verify: Any = None,
    ) -> Any:
        return apply_plan(plan, model, seed=seed, include=include, exclude=exclude, part=part)

    def withdraw(self, model: Any, verify: Any, error: Exception) -> None:
        """One process speaks for all: nobody waits."""

    def calibrate(
        self,
        plan: Plan,
        model: Any,
        inputs: Any,
        aims: Mapping[str, float],
        *,
        seed: int,
        include: tuple[str, ...] | None,
        exclude: tuple[str, ...] | None,
        verify: Any = None,
    ) -> dict[str, float]:
        return calibrate(plan, model, inputs, aims, seed=seed, include=include, exclude=exclude)

    def measure(
        self,
        model: Any,
        inputs: Any,
        *,
        loss: Any,
        target: Any,
        build: Any,
        probing: bool = True,
        jacobian: bool = False,
    ) -> tuple[Measurements, Graph]:
        from isometry.jax.measure import measure

        return measure(
            model, inputs, loss=loss, target=target, build=build, probing=probing,
            jacobian=jacobian,
        )  # fmt: skip

    def build(self, factory: Callable[[], Any], seed: int) -> Any:
        return built(factory, seed)

    def locate(self, model: Any, names: Iterable[str]) -> Mapping[str, Location]:
        if isinstance(model, tuple) and model:
            model = model[0]
        modules: dict[str, Any] = {"": model}
        try:
            found = model_of(model).held
        except IsometryError:  # a Linen module alone
            found = []
        for held in found:
            modules.setdefault(held.owner, held.module)
        return locate({k: m for k, m in modules.items() if m is not None}, names)

    def fans(self, layer: Any) -> Fans | Mapping[str, Fans]:
        own = [h for h in model_of(layer).held if h.kind == "parameter" and not h.owner]
        return fans(layer, {h.slot: tuple(h.array.shape) for h in own})

    def function(self, activation: Callable[..., Any]) -> Callable[[Any], NDArray[np.float64]]:
        """A JAX function of one array, on NumPy arrays."""
        import jax

        def on_arrays(x: NDArray[np.float64]) -> NDArray[np.float64]:
            with jax.enable_x64(True):
                out = activation(jax.numpy.asarray(x))
            if not isinstance(out, jax.Array):
                raise ArgumentError(
                    f"{activation!r} returned {type(out).__name__}, expected an array"
                )
            return np.asarray(out, dtype=np.float64)

        return on_arrays


adapter = JaxAdapter()
