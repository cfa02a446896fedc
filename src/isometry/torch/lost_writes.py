"""Values that were written to a weight and lost: the weight is computed anew from others.

A weight under a parametrisation (weight norm, spectral norm, or your own) is not a parameter any
more. `nn.init.normal_(layer.weight)` fills a tensor that the next use of the layer does not see.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from isometry.torch.leaves import public_name
from isometry.types import NotChecked, ParameterMeasurement

__all__ = ["lost_writes", "watched_writes"]

FORMER = ("_orig", "_v")  # what weight_norm and spectral_norm call the parameter behind a weight


def lost_writes(
    model: nn.Module,
    parameters: tuple[ParameterMeasurement, ...],
    not_checked: list[NotChecked],
) -> tuple[ParameterMeasurement, ...]:
    """Note the parameters behind a weight that was written to as it stands, under the older
    weight_norm and spectral_norm, which leave the weight on its module."""
    lost: dict[str, str] = {}
    for path, module in model.named_modules():
        for slot, weight in vars(module).items():
            if not isinstance(weight, Tensor):
                continue
            for suffix in FORMER:
                parameter = module._parameters.get(slot + suffix)
                if parameter is not None and _written(weight, parameter):
                    lost[public_name(f"{path}.{slot}{suffix}".lstrip("."))] = f"{path}.{slot}"
    if any(parametrize.is_parametrized(m) for m in model.modules()):
        not_checked.append(
            NotChecked(
                "writes to parametrised weights", "they leave no trace in a model; pass build="
            )
        )
    return marked(parameters, lost)


def marked(
    parameters: tuple[ParameterMeasurement, ...], lost: dict[str, str]
) -> tuple[ParameterMeasurement, ...]:
    """The measurements, with the weight that was written to in vain; `lost` is by parameter."""
    return tuple(replace(m, ineffective=lost[m.name]) if m.name in lost else m for m in parameters)


def _written(weight: Tensor, parameter: Tensor) -> bool:
    """Was the computed weight changed in place, and the parameter behind it never? Two that share
    memory, as before the first forward of spectral_norm, are one."""
    shared = weight.untyped_storage().data_ptr() == parameter.untyped_storage().data_ptr()
    return weight._version > 0 and parameter._version == 0 and not shared


class Writes:
    """The weights that parametrisations gave out while a model was built."""

    def __init__(self) -> None:
        self._given: list[tuple[nn.Module, Tensor, Tensor]] = []

    def note(self, source: nn.Module, weight: Any) -> None:
        if isinstance(weight, Tensor) and not weight.is_meta:
            self._given.append((source, weight, weight.detach().clone()))

    def lost(self, model: nn.Module) -> dict[str, str]:
        """Parameter -> the weight computed from it that was changed in place, in vain."""
        kept = {p.untyped_storage().data_ptr() for p in model.parameters()}
        written = {
            id(source)
            for source, weight, before in self._given
            if weight.untyped_storage().data_ptr() not in kept and not _same(weight, before)
        }
        found: dict[str, str] = {}
        for path, module in model.named_modules():
            if id(module) in written:
                weight_name = path.replace("parametrizations.", "")
                for name, _ in module.named_parameters(recurse=False):
                    found[public_name(f"{path}.{name}")] = weight_name
        return found


def _same(first: Tensor, second: Tensor) -> bool:
    return torch.equal(first.detach(), second)


@contextmanager
def watched_writes() -> Iterator[Writes]:
    """Note every weight that a parametrisation gives out, and what becomes of it."""
    writes = Writes()
    original = parametrize.ParametrizationList.forward

    def forward(self: parametrize.ParametrizationList, *args: Any, **kwargs: Any) -> Any:
        weight = original(self, *args, **kwargs)
        writes.note(self, weight)
        return weight

    parametrize.ParametrizationList.forward = forward  # type: ignore[method-assign]
    try:
        yield writes
    finally:
        parametrize.ParametrizationList.forward = original  # type: ignore[method-assign]
