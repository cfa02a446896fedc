"""What isometry asks of a framework, for PyTorch: read, apply, calibrate, measure, ..."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from isometry.entry import Entry
from isometry.errors import ArgumentError, TraceError
from isometry.graph import Graph
from isometry.torch.agreement import Intent, agree, group_of, withdraw
from isometry.torch.apply import apply_plan
from isometry.torch.as_written import as_written, gathered, noted, placeholders
from isometry.torch.calibrate import calibrate
from isometry.torch.contents import contents
from isometry.torch.layers import fans
from isometry.torch.locate import locate
from isometry.torch.measure import measure
from isometry.torch.read import read_graph
from isometry.torch.rebuild import built
from isometry.torch.sharded import meshes_of
from isometry.types import Fans, Location, Measurements, Plan

__all__ = ["TorchAdapter", "adapter"]


class TorchAdapter:
    """PyTorch's side of `isometry.plan`, `initialize`, `check`, `fans` and `gain`."""

    def read(self, model: nn.Module, inputs: Any, loss: Any) -> Graph:
        with as_written(model, placeholders) as sharded:
            try:
                return read_graph(model, inputs, loss)
            except TraceError as error:
                if not sharded:
                    raise
                raise TraceError(
                    f"{error}. Or, since it is sharded, and what sharded it may have changed its "
                    "modules: plan the whole before, on meta, plan = iso.plan(whole, inputs), and "
                    "write plan.apply(model, seed=0)"
                ) from error

    def in_place(self, model: nn.Module) -> bool:
        return True

    def apply(
        self,
        plan: Plan,
        model: nn.Module,
        *,
        seed: int,
        include: tuple[str, ...] | None,
        exclude: tuple[str, ...] | None,
        part: bool | Mapping[str, str] = False,
        verify: Any = None,
    ) -> nn.Module:
        return apply_plan(
            plan, model, seed=seed, include=include, exclude=exclude, part=part, verify=verify
        )

    def withdraw(self, model: nn.Module, verify: Any, error: Exception) -> None:
        withdraw(group_of(model, part=False, verify=verify), error)

    def contents(
        self, model: nn.Module, plan: Plan, *, seed: int, dtype: str | None
    ) -> list[Entry]:
        return contents(model, plan, seed=seed, dtype=dtype)

    def calibrate(
        self,
        plan: Plan,
        model: nn.Module,
        inputs: Any,
        aims: Mapping[str, float],
        *,
        seed: int,
        include: tuple[str, ...] | None,
        exclude: tuple[str, ...] | None,
        verify: Any = None,
    ) -> dict[str, float]:
        if meshes_of(model):  # a rank that has failed would be missed when the weights are gathered
            group = group_of(model, part=False, verify=verify)
            agree(group, Intent(plan, seed, (include, exclude), to="calibrate"))
        with as_written(model, gathered):
            return calibrate(plan, model, inputs, aims, seed=seed, include=include, exclude=exclude)

    def measure(
        self,
        model: nn.Module,
        inputs: Any,
        *,
        loss: Any,
        target: Any,
        build: Any,
        probing: bool = True,
        jacobian: bool = False,
    ) -> tuple[Measurements, Graph]:
        with as_written(model, gathered) as sharded:
            found, graph = measure(
                model, inputs, loss=loss, target=target, build=build, probing=probing,
                jacobian=jacobian,
            )  # fmt: skip
        return (noted(found) if sharded else found), graph

    def build(self, factory: Callable[[], Any], seed: int) -> nn.Module:
        return built(factory, seed)

    def locate(self, model: nn.Module, names: Iterable[str]) -> Mapping[str, Location]:
        return locate(model, names)

    def fans(self, layer: nn.Module) -> Fans | Mapping[str, Fans]:
        return fans(layer)

    def function(self, activation: Callable[..., Any]) -> Callable[[Any], NDArray[np.float64]]:
        """A PyTorch function or module of one tensor, on NumPy arrays."""

        def on_arrays(x: NDArray[np.float64]) -> NDArray[np.float64]:
            with torch.no_grad():
                out = activation(torch.from_numpy(np.ascontiguousarray(x)))
            if not isinstance(out, torch.Tensor):
                raise ArgumentError(
                    f"{activation!r} returned {type(out).__name__}, expected a tensor"
                )
            return np.asarray(out.numpy(), dtype=np.float64)

        return on_arrays


adapter = TorchAdapter()
