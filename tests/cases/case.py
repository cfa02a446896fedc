"""What a case is: a network as it was reported, and what must be said about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from isometry.types import Report

__all__ = [
    "EITHER", "Build", "Case", "Draw", "Mend", "Trap", "both", "ids", "noise", "positive", "rebuilt",
]  # fmt: skip

Build = Callable[[], nn.Module]
Draw = Callable[[], Any]
Mend = Callable[[nn.Module, Any, Report], tuple[nn.Module, Any, Build | None]]
"""From the faulty model, its inputs and the report on it, to the model and inputs as mended, and
what builds such a model where it is the code that was mended."""

EITHER = ("error", "warning")


@dataclass(frozen=True)
class Case:
    """A real fault, rebuilt: it must be found, in its family, at its layer, and be gone after."""

    name: str
    source: str  # where it was reported
    build: Build
    inputs: Draw
    codes: tuple[str, ...]  # a finding whose code begins with one of these is the right one
    where: tuple[str, ...]  # and its `where` matches one of these patterns
    severity: tuple[str, ...] = ("error",)
    says: str = ""  # what its evidence must match
    loss: Any = None
    target: Draw | None = None
    factory: bool = False  # is `build` given to check?
    mend: Mend | None = None  # None: iso.initialize(model, inputs, seed=0, loss=loss)
    why: str = ""  # where it is not None: why initialising is not what mends it
    left: tuple[str, ...] = ()  # severities at which the same may still be said: see `why`


@dataclass(frozen=True)
class Trap:
    """Zero, constant or odd on purpose, or plainly sound: no error may be found."""

    name: str
    source: str  # who does this
    build: Build
    inputs: Draw
    loss: Any = None
    target: Draw | None = None
    factory: bool = False
    steps: frozenset[int] | None = frozenset()  # at which zeros by design start to move; None: any
    warns: Mapping[str, str] = field(default_factory=dict)  # code -> why the warning is right
    says: str = ""  # what `not_checked` must match


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def noise(*shape: int) -> Draw:
    """A Gaussian of variance 1."""
    return lambda: torch.randn(shape, generator=_generator())


def positive(*shape: int) -> Draw:
    """Pixels: uniform on [0, 1]."""
    return lambda: torch.rand(shape, generator=_generator())


def ids(size: int, *shape: int) -> Draw:
    """Tokens from 1 to size - 1; 0 is padding."""
    return lambda: torch.randint(1, size, shape, generator=_generator())


def both(*draws: Draw) -> Draw:
    """Several arguments, each from a draw of its own."""
    return lambda: tuple(draw() for draw in draws)


def rebuilt(build: Build, change: Callable[[Tensor], Tensor] | None = None) -> Mend:
    """Mended by building it otherwise, or by changing what it is shown."""
    return lambda model, x, report: (build(), x if change is None else change(x), build)
