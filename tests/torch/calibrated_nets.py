"""What the tests of calibration share: plain networks off scale, and what their weights make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

NEAR = 1e-3  # float32 over thirty layers, and factors of six digits
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "gelu": nn.GELU, "tanh": nn.Tanh, "silu": nn.SiLU
}  # fmt: skip


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def mlp(activation: str = "relu", depth: int = 30) -> tuple[nn.Module, Tensor]:
    """On inputs of second moment 10, where 1 is assumed."""
    layers: list[nn.Module] = [nn.Linear(64, 128)]
    for _ in range(depth - 1):
        layers += [ACTIVATIONS[activation](), nn.Linear(128, 128)]
    return nn.Sequential(*layers), 3 * noise(32, 64) + 1


def cnn(activation: str = "relu", depth: int = 30) -> tuple[nn.Module, Tensor]:
    """On inputs of second moment 0.01, which are alike from channel to channel."""
    layers: list[nn.Module] = [nn.Conv2d(3, 16, 3, padding=1)]
    for _ in range(depth - 1):
        layers += [ACTIVATIONS[activation](), nn.Conv2d(16, 16, 3, padding=1)]
    return nn.Sequential(*layers), 0.1 * noise(4, 1, 8, 8).expand(-1, 3, -1, -1)


@torch.no_grad()
def second_moments(model: nn.Module, x: Tensor) -> dict[str, float]:
    """name of a layer -> mean square of what it makes, without its bias."""
    found: dict[str, float] = {}
    hooks = []
    for name, layer in model.named_modules():
        if isinstance(layer, (nn.Linear, nn.Conv2d)):

            def keep(layer: Any, _: object, output: Tensor, name: str = name) -> None:
                bias = layer.bias if layer.bias is not None else torch.zeros(())
                shape = (-1, 1, 1) if isinstance(layer, nn.Conv2d) and bias.dim() else bias.shape
                found.setdefault(name, float((output - bias.reshape(shape)).square().mean()))

            hooks.append(layer.register_forward_hook(keep))
    model(x)
    for hook in hooks:
        hook.remove()
    return found
