"""Build a model twice from the same seed: what differs was never set, or set by another source."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isometry.errors import ArgumentError
from isometry.measuring import compare_builds
from isometry.torch.leaves import public_name
from isometry.torch.lost_writes import marked, watched_writes
from isometry.types import NotChecked, ParameterMeasurement

__all__ = ["built", "rebuild"]

SEED = 0


def rebuild(
    build: Callable[[], Any],
    measured: tuple[ParameterMeasurement, ...],
    not_checked: list[NotChecked],
) -> tuple[ParameterMeasurement, ...]:
    """Note for each parameter whether two builds from one seed agree, memory that is only
    allocated being filled with NaN in the second."""
    if isinstance(build, nn.Module) or not callable(build):
        raise ArgumentError(
            f"build is {type(build).__name__}; expected a factory: a callable that takes nothing "
            "and returns a new model, such as build=lambda: Net()"
        )
    with watched_writes() as writes:
        model = built(build, SEED)
        lost = writes.lost(model)
    poisoned = built(build, SEED, poison=True)
    if poisoned is model:
        raise ArgumentError(
            "build() returned one and the same model twice; expected a new one, such as "
            "build=lambda: Net()"
        )
    first, second = _parameters(model), _parameters(poisoned)
    del model, poisoned
    return marked(compare_builds(measured, first, second, not_checked, verdict=_compared), lost)


def _compared(first: Tensor, second: Tensor) -> str:
    """Of two builds, the memory of the second filled with NaN before it was given."""
    if torch.equal(first, second):
        return "equal"
    unset = second.is_floating_point() and bool(torch.isnan(second).any())
    return "unset" if unset and not torch.isnan(first).all() else "different"


def built(build: Callable[[], Any], seed: int, poison: bool = False) -> nn.Module:
    """A model from a factory, every generator at this seed and put back as it was.

    `poison` fills memory that is only allocated with NaN.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    try:
        with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            if poison:
                torch.use_deterministic_algorithms(True, warn_only=True)
                torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
            try:
                model = build()
            except Exception as error:  # the factory's own
                raise ArgumentError(
                    f"build() raised {type(error).__name__}: {error}; expected a function that "
                    "takes nothing and returns a new model"
                ) from error
    finally:
        torch.use_deterministic_algorithms(strict, warn_only=warn_only)
        torch.utils.deterministic.fill_uninitialized_memory = filling  # type: ignore[attr-defined]
        random.setstate(python_state)
        np.random.set_state(numpy_state)
    if isinstance(model, tuple) and model:
        model = model[0]
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"build() returned {type(model).__name__}; expected a torch.nn.Module")
    if any(p.is_meta for p in model.parameters()):
        raise ArgumentError(
            "build() returned a model on meta, which has no values; expected one that is initialised"
        )
    return model


def _parameters(model: nn.Module) -> dict[str, Tensor]:
    return {public_name(n): p.detach() for n, p in model.named_parameters()}
