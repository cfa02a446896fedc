"""What the tests of the isometric recipe share: plain networks, and their singular values."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

import isometry as iso

IMAGES = (8, 1, 8, 8)
EXACT = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU, "softplus": nn.Softplus,
         "hardswish": nn.Hardswish, "leaky_relu": nn.LeakyReLU}  # fmt: skip
CURVED = {"elu": nn.ELU, "selu": nn.SELU, "mish": nn.Mish, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}


def mlp(widths: list[int], phi: Callable[[], nn.Module]) -> nn.Sequential:
    hidden = [m for a, b in pairwise(widths[:-1]) for m in (nn.Linear(a, b), phi())]
    return nn.Sequential(*hidden, nn.Linear(widths[-2], widths[-1]))


def initialized(model: nn.Module, x: Tensor, seed: int = 0, **options: object) -> iso.Plan:
    return iso.initialize(model, x, seed=seed, recipe="isometric", **options)  # type: ignore[arg-type]


def batch(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def singular_values(model: nn.Module, x: Tensor) -> Tensor:
    jacobian = torch.autograd.functional.jacobian(model, x[:1].double())
    found = torch.linalg.svdvals(jacobian.reshape(-1, x[0].numel()))
    return found[found > 1e-6 * found[0]]
