"""Small networks for the checker's tests: ordinary ones, faulty ones, and deliberate zeros."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "CNN",
    "GPT",
    "LSTM",
    "DiT",
    "Function",
    "LoRA",
    "NonLocal",
    "ResNet",
    "conv_chain",
    "he",
    "initialised",
    "mlp",
]  # fmt: skip

Fill = Callable[[Tensor], object]


class Function(nn.Module):
    """An elementwise function as a module."""

    def __init__(self, fn: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return self.fn(x)


def mlp(widths: Sequence[int], activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), activation()]
    return nn.Sequential(*layers[:-1])


def initialised(model: nn.Module, weight: Fill, bias: Fill = nn.init.zeros_) -> nn.Module:
    for m in model.modules():
        if isinstance(m, nn.Linear | nn.Conv2d):
            weight(m.weight)
            if m.bias is not None:
                bias(m.bias)
    return model


def he(model: nn.Module) -> nn.Module:
    return initialised(model, lambda w: nn.init.kaiming_normal_(w, nonlinearity="relu"))


def conv_chain(channels: int, depth: int, norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers.append(nn.Conv2d(channels if i else 3, channels, 3, padding=1))
        layers += [nn.BatchNorm2d(channels)] if norm else []
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


class CNN(nn.Module):
    """Convolutions, batch normalisation, a residual addition; the activations may be in place."""

    def __init__(self, inplace: bool) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.act = nn.ReLU(inplace=inplace)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn1(self.conv1(x)))
        x = self.act(self.bn2(self.conv2(x)) + x)
        return self.head(x.mean((2, 3)))


class ResNet(nn.Module):
    """Residual blocks whose last normalisation starts at zero (Goyal et al. 2017)."""

    def __init__(self, zero: bool, blocks: int = 4, width: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
                nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width),
            ) for _ in range(blocks)
        )  # fmt: skip
        self.head = nn.Linear(width, 10)
        if zero:
            for block in self.blocks:
                nn.init.zeros_(block[-1].weight)  # type: ignore[index]

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for block in self.blocks:
            x = F.relu(x + block(x))
        return self.head(x.mean((2, 3)))


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.qkv, self.proj, self.heads = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), heads

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(out.transpose(1, 2).reshape(b, t, d))


class Block(nn.Module):
    def __init__(self, dim: int, depth: int) -> None:
        super().__init__()
        self.n1, self.attn = nn.LayerNorm(dim), Attention(dim, 4)
        self.n2, self.fc, self.proj = (
            nn.LayerNorm(dim),
            nn.Linear(dim, 4 * dim),
            nn.Linear(4 * dim, dim),
        )
        initialised(self, lambda w: nn.init.normal_(w, std=0.02))
        for writer in (self.attn.proj, self.proj):
            nn.init.normal_(writer.weight, std=0.02 / math.sqrt(2 * depth))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.n1(x))
        return x + self.proj(F.gelu(self.fc(self.n2(x))))


class GPT(nn.Module):
    """GPT-2's way: pre-norm, a tied head, residual writers scaled by 1/sqrt(2 depth)."""

    def __init__(
        self, vocabulary: int = 100, dim: int = 64, depth: int = 3, table: float = 0.02
    ) -> None:
        super().__init__()
        self.wte, self.wpe = nn.Embedding(vocabulary, dim), nn.Embedding(64, dim)
        for embedding in (self.wte, self.wpe):
            nn.init.normal_(embedding.weight, std=table)
        self.h = nn.Sequential(*(Block(dim, depth) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, vocabulary, bias=False)
        self.head.weight = self.wte.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.h(self.wte(x) + self.wpe.weight[: x.shape[1]])))


class LSTM(nn.Module):
    """A classifier that reads the last state."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16, padding_idx=0)
        self.rnn = nn.LSTM(16, 32, num_layers=2, batch_first=True)
        self.head = nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0][:, -1])


class LoRA(nn.Module):
    """A frozen layer with an adapter B A; A may be zero too."""

    def __init__(self, zero_a: bool) -> None:
        super().__init__()
        self.base = nn.Linear(32, 32)
        self.base.requires_grad_(False)
        self.a = nn.Parameter(torch.zeros(4, 32) if zero_a else torch.randn(4, 32) / 32**0.5)
        self.b = nn.Parameter(torch.zeros(32, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + x @ self.a.T @ self.b.T


class NonLocal(nn.Module):
    """Attention over positions whose last layer starts at zero (Wang et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.q, self.k, self.v = (nn.Conv2d(16, 8, 1) for _ in range(3))
        self.out, self.head = nn.Conv2d(8, 16, 1), nn.Linear(16, 10)
        nn.init.zeros_(self.out.weight)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        q, k, v = (f(x).flatten(2) for f in (self.q, self.k, self.v))
        mixed = v @ torch.softmax(k.transpose(1, 2) @ q, 1)
        return self.head((x + self.out(mixed.view(x.shape[0], 8, *x.shape[2:]))).mean((2, 3)))


class DiT(nn.Module):
    """adaLN-Zero: modulations and the last layer start at zero (Peebles & Xie 2022)."""

    def __init__(self, dim: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.embed, self.time = nn.Linear(12, dim), nn.Linear(16, dim)
        self.fc = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
            for _ in range(depth)
        )
        self.ada = nn.ModuleList(nn.Linear(dim, 3 * dim) for _ in range(depth))
        self.last_ada, self.last = nn.Linear(dim, 2 * dim), nn.Linear(dim, 12)
        for layer in (*self.ada, self.last_ada, self.last):
            initialised(layer, nn.init.zeros_)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        x, c = self.embed(x), F.silu(self.time(t))
        for fc, ada in zip(self.fc, self.ada, strict=True):
            shift, scale, gate = ada(c).chunk(3, -1)
            x = x + gate * fc(F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift)
        shift, scale = self.last_ada(c).chunk(2, -1)
        return self.last(F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift)
