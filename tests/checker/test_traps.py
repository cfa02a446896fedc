"""What is zero, constant or odd on purpose, and what authors do: no error, and why not is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso

from .networks import (
    CNN,
    GPT,
    LSTM,
    DiT,
    Function,
    LoRA,
    NonLocal,
    ResNet,
    conv_chain,
    he,
    initialised,
    mlp,
)

zero = nn.init.zeros_


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


class Recurrent(nn.Module):
    """A cell unrolled over time, orthogonal recurrent weights."""

    def __init__(self, cell: type[nn.Module]) -> None:
        super().__init__()
        self.cell, self.head = cell(8, 32), nn.Linear(32, 4)
        nn.init.orthogonal_(self.cell.weight_hh)

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


class ViT(nn.Module):
    """A zero class token, positions of std 1e-6, a zero head; LayerScale or ReZero in the blocks."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.patch, self.cls = nn.Conv2d(3, 32, 4, 4), nn.Parameter(torch.zeros(1, 1, 32))
        self.positions = nn.Parameter(1e-6 * torch.randn(1, 17, 32))
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(4))
        self.fc = nn.ModuleList(mlp([32, 64, 32], nn.GELU) for _ in range(4))
        self.scales = nn.ParameterList(torch.full((32,), scale) for _ in range(4))
        self.head = nn.Linear(32, 10)
        zero(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.positions
        for norm, fc, scale in zip(self.norms, self.fc, self.scales, strict=True):
            x = x + scale * fc(norm(x))
        return self.head(x.mean(1))


class GatingUnit(nn.Module):
    """gMLP: spatial weights of 1e-6 and biases of 1 start the gate open."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.up, self.norm = nn.Embedding(50, 16), nn.Linear(16, 64), nn.LayerNorm(32)
        self.space, self.down, self.head = nn.Linear(12, 12), nn.Linear(32, 16), nn.Linear(16, 4)
        nn.init.normal_(self.space.weight, std=1e-6)
        nn.init.ones_(self.space.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        u, v = F.gelu(self.up(x)).chunk(2, -1)
        v = self.space(self.norm(v).transpose(1, 2)).transpose(1, 2)
        return self.head((x + self.down(u * v)).mean(1))


class ControlNet(nn.Module):
    """A zero convolution before and after a trainable copy of a frozen layer."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.copy = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(3, 8, 3, padding=1)
        self.before, self.after = nn.Conv2d(3, 3, 1), nn.Conv2d(8, 8, 1)
        self.frozen.requires_grad_(False)
        for conv in (self.before, self.after):
            initialised(conv, zero)

    def forward(self, x: Tensor, hint: Tensor) -> Tensor:
        return self.frozen(x) + self.after(F.silu(self.copy(x + self.before(hint))))


class Gated(nn.Module):
    """tanh(0) gates a cross-attention (Flamingo); a temperature of log 10 (CLIP)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.mixed = nn.Linear(16, 32), nn.Linear(12, 32), nn.Linear(12, 16)
        self.gate, self.temperature = (
            nn.Parameter(torch.zeros(1)),
            nn.Parameter(torch.tensor(math.log(10.0))),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + torch.tanh(self.gate) * self.mixed(y)
        a, b = F.normalize(self.a(x), dim=-1), F.normalize(self.b(y), dim=-1)
        return self.temperature.exp() * a @ b.T


class Experts(nn.Module):
    """Top-1 of experts, some of which no sample reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.router, self.head = nn.Linear(16, 8), nn.Linear(16, 4)
        self.experts = nn.ModuleList(mlp([16, 32, 16]) for _ in range(8))
        with torch.no_grad():
            self.router.bias[:4] = -100.0

    def forward(self, x: Tensor) -> Tensor:
        chosen = self.router(x).argmax(-1)
        out = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            if bool((chosen == i).any()):
                out = out.index_add(0, (chosen == i).nonzero()[:, 0], expert(x[chosen == i]))
        return self.head(x + out)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.down(x))
        b = F.relu(self.deep(F.max_pool2d(a, 2)))
        return self.out(torch.cat([a, F.relu(self.up(b))], 1))


class SmallBranches(nn.Module):
    """Residual branches that add next to nothing: a branch may, where a stream may not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.head = nn.Linear(16, 64), nn.Linear(64, 4)
        self.branches = nn.ModuleList(
            initialised(mlp([64, 64, 64, 64, 64]), partial(nn.init.normal_, std=1e-3))
            for _ in range(3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches:
            x = x + branch(x)
        return self.head(x)


class Fixpoint(nn.Module):
    """One layer, applied until it settles: used again and again, it is no depth."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer, self.head = nn.Linear(16, 64), nn.Linear(64, 64), nn.Linear(64, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for _ in range(24):
            x = torch.tanh(self.layer(x))
        return self.head(x)


class SmallFirst(nn.Module):
    """A table of std 1 read by a small layer: how large a table is is a matter of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.net = nn.Embedding(50, 16), he(mlp([16, 64, 64, 64, 4]))
        nn.init.normal_(self.net[0].weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.embed(x))


class Squeezed(nn.Module):
    """Squeeze and excite: after an average over all positions samples hardly differ, and the few
    units of the squeeze are on or off by their sign."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.down, self.up = (
            nn.Conv2d(3, 16, 3, padding=1),
            nn.Linear(16, 4),
            nn.Linear(4, 16),
        )
        self.head = nn.Linear(16, 4)
        nn.init.constant_(self.down.bias, -3.0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return self.head((x * gate[..., None, None]).mean((2, 3)))


def normalised_late() -> nn.Module:
    return nn.Sequential(mlp([64, *[256] * 5]), nn.LayerNorm(256), nn.Linear(256, 4))


def siren() -> nn.Module:
    """The law of the SIREN paper: w0 = 30 inside the sine."""
    net = mlp([2, *[256] * 5, 1], lambda: Function(lambda x: torch.sin(30 * x)))
    for i, m in enumerate(m for m in net if isinstance(m, nn.Linear)):
        bound = 0.5 if i == 0 else math.sqrt(6 / 256) / 30
        nn.init.uniform_(m.weight, -bound, bound)
    return net


def parametrised() -> nn.Module:
    from torch.nn.utils.parametrizations import spectral_norm, weight_norm

    first, second = weight_norm(nn.Linear(16, 64)), spectral_norm(nn.Linear(64, 64))
    return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(64, 4))


def selu(depth: int) -> nn.Module:
    lecun = partial(nn.init.kaiming_normal_, nonlinearity="linear")
    return initialised(mlp([64, *[256] * depth, 10], nn.SELU), lecun)


TOKENS = torch.randint(1, 50, (32, 12), generator=torch.Generator().manual_seed(0))
IMAGES = noise(32, 3, 16, 16)

# What is built, what it is shown, the loss, and the steps at which its zeros start to move.
TRAPS: dict[str, tuple[Callable[[], nn.Module], Any, str | None, set[int]]] = {
    "last batch norm zero": (lambda: ResNet(zero=True), IMAGES, "cross_entropy", {1}),
    "residual, batch norm": (lambda: ResNet(zero=False), IMAGES, None, set()),
    "LayerScale 1e-6, zero head": (lambda: ViT(1e-6), IMAGES, "cross_entropy", {1}),
    "ReZero, zero head": (lambda: ViT(0.0), IMAGES, None, {1, 2}),
    "adaLN-Zero": (DiT, (noise(32, 12), noise(32, 16)), None, {1, 2}),
    "ControlNet": (ControlNet, (IMAGES, IMAGES), None, {1, 2}),
    "non-local block": (NonLocal, noise(32, 3, 8, 8), None, {1}),
    "LoRA, B zero": (lambda: LoRA(zero_a=False), noise(32, 32), None, {1}),
    "gMLP": (GatingUnit, TOKENS, None, set()),
    "tanh gate and temperature": (Gated, (noise(32, 16), noise(32, 12)), None, {1}),
    "unused experts": (Experts, noise(64, 16), None, set()),
    "logistic regression of zeros": (
        lambda: initialised(nn.Linear(16, 4), zero), noise(64, 16), "cross_entropy", {1}
    ),
    "linear regression of zeros": (
        lambda: initialised(nn.Linear(16, 1), zero), noise(64, 16), "mse", {1}
    ),
    "GPT-2": (GPT, TOKENS, "cross_entropy", set()),
    "LSTM": (LSTM, TOKENS, "cross_entropy", set()),
    "LSTM cell over 24 steps": (lambda: Recurrent(nn.LSTMCell), noise(32, 24, 8), None, set()),
    "GRU cell over 24 steps": (lambda: Recurrent(nn.GRUCell), noise(32, 24, 8), None, set()),
    "RNN cell over 24 steps": (lambda: Recurrent(nn.RNNCell), noise(32, 24, 8), None, set()),
    "weight and spectral norm": (parametrised, noise(32, 16), None, set()),
    "PReLU": (lambda: mlp([16, 64, 64, 4], nn.PReLU), noise(32, 16), None, set()),
    "small residual branches": (SmallBranches, noise(64, 16), None, set()),
    "squeeze and excite": (Squeezed, IMAGES, None, set()),
    "a fixed point": (Fixpoint, noise(64, 16), None, set()),
    "a small first layer": (SmallFirst, TOKENS, None, set()),
    "a fall that a normalisation ends": (normalised_late, noise(64, 64), None, set()),
    "SIREN": (siren, noise(64, 2).clamp(-1, 1), None, set()),
    "SELU, depth 30": (lambda: selu(30), noise(64, 64), None, set()),
    "He, depth 30": (lambda: he(mlp([64, *[256] * 30, 10])), noise(64, 64), None, set()),
    "He, 20 convolutions": (lambda: he(conv_chain(32, 20)), noise(32, 3, 8, 8), None, set()),
    "U-Net": (UNet, noise(16, 3, 16, 16), None, set()),
    "CNN in place": (lambda: CNN(inplace=True), IMAGES, "cross_entropy", set()),
    "an MNIST example": (lambda: mlp([784, 128, 10]), noise(64, 784), "cross_entropy", set()),
    "one hidden sigmoid layer": (
        lambda: mlp([784, 30, 10], nn.Sigmoid), noise(64, 784), "cross_entropy", set()
    ),
    "nn.TransformerEncoderLayer": (
        lambda: nn.TransformerEncoderLayer(32, 4, 64, batch_first=True), noise(8, 6, 32), None, set()
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TRAPS)
def test_no_error_and_no_warning(name: str) -> None:
    build, x, loss, steps = TRAPS[name]
    torch.manual_seed(0)
    report = iso.check(build(), x, loss=loss)
    assert report.ok, str(report)
    assert [f for f in report.findings if f.severity == "warning"] == [], str(report)
    zeros = [f for f in report.findings if f.code == "ISO901"]
    assert {f.data["step"] for f in zeros} == steps
    assert all(f.severity == "info" for f in zeros)


def test_copies_of_a_layer_are_a_warning_and_no_more() -> None:
    """nn.TransformerEncoder deep-copies its layer: alike at the start, not for ever."""
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    report = iso.check(nn.TransformerEncoder(layer, 3), noise(8, 6, 32))
    assert [(f.code, f.severity) for f in report.findings] == [("ISO102", "warning")]


@pytest.mark.parametrize("factor", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("name", ["He, depth 30", "last batch norm zero", "GPT-2"])
def test_the_scale_of_the_loss_changes_nothing(name: str, factor: float) -> None:
    build, x, _, steps = TRAPS[name]
    torch.manual_seed(0)

    def loss(output: Tensor, target: Any) -> Tensor:
        return factor * output.square().mean()

    report = iso.check(build(), x, loss=loss)
    assert report.ok, str(report)
    assert {f.data["step"] for f in report.findings} == steps
