"""Inputs, and what is found, in short."""

from __future__ import annotations

import torch
from torch import Tensor, nn

import isometry as iso

__all__ = ["codes", "noise"]


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def codes(model: nn.Module, x: Tensor, **more: object) -> dict[str, str]:
    return {f.code: f.severity for f in iso.check(model, x, **more)}  # type: ignore[arg-type]
