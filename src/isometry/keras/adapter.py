"""What isometry asks of a framework, for Keras 3 on any backend: read, apply, measure, ..."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError, IsometryError
from isometry.graph import Graph
from isometry.keras.apply import apply_plan
from isometry.keras.generators import seeded
from isometry.keras.gradients import on_host
from isometry.keras.layers import fans
from isometry.keras.locate import locate
from isometry.keras.read import read_graph
from isometry.keras.structure import owned_variables
from isometry.types import Fans, Location, Measurements, Plan

__all__ = ["KerasAdapter", "adapter"]


class KerasAdapter:
    """Keras's side of `isometry.plan`, `initialize`, `check`, `fans` and `gain`."""

    def read(self, model: Any, inputs: Any, loss: Any) -> Graph:
        return read_graph(model, inputs, loss)

    def in_place(self, model: Any) -> bool:
        return True

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
        from isometry.keras.calibrate import calibrate

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
        from isometry.keras.measure import measure

        return measure(
            model, inputs, loss=loss, target=target, build=build, probing=probing,
            jacobian=jacobian,
        )  # fmt: skip

    def build(self, factory: Callable[[], Any], seed: int) -> Any:
        """A model from a factory, under a seed; all generators are put back as they were."""
        with seeded(seed):
            try:
                return factory()
            except IsometryError:
                raise
            except Exception as error:  # the factory's own
                raise ArgumentError(
                    f"build() raised {type(error).__name__}: {error}; expected a function that takes "
                    "nothing and returns a new model"
                ) from error

    def locate(self, model: Any, names: Iterable[str]) -> Mapping[str, Location]:
        return locate(model, names)

    def fans(self, layer: Any) -> Fans | Mapping[str, Fans]:
        own = [o for o in owned_variables(layer) if o.kind == "parameter"]
        return fans(layer, {o.names[0]: (o.layer, o.slot, tuple(o.variable.shape)) for o in own})

    def function(self, activation: Callable[..., Any]) -> Callable[[Any], NDArray[np.float64]]:
        """A Keras function or layer of one tensor, on NumPy arrays."""

        def on_arrays(x: NDArray[np.float64]) -> NDArray[np.float64]:
            with _double():
                out = activation(keras.ops.convert_to_tensor(x, dtype="float64"))
            if not keras.ops.is_tensor(out):
                raise ArgumentError(
                    f"{activation!r} returned {type(out).__name__}, expected a tensor"
                )
            return np.asarray(on_host(out), dtype=np.float64)

        return on_arrays


def _double() -> AbstractContextManager[Any]:
    """Where JAX computes in float64; the other backends do so anyway."""
    if keras.backend.backend() != "jax":
        return nullcontext()
    import jax

    return jax.enable_x64(True)  # type: ignore[no-any-return]


adapter = KerasAdapter()
