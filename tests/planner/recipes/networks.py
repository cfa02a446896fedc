"""The networks that the recipes' papers are about, small."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


class Plain(nn.Module):
    """Linear layers of one width, an activation between them, pre-activations kept."""

    def __init__(self, depth: int, width: int, phi: Activation, classes: int = 0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))
        self.head = nn.Linear(width, classes) if classes else None
        self.phi = phi
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen = []
        for place, layer in enumerate(self.layers):
            x = layer(x if place == 0 else self.phi(x))
            self.seen.append(x)
        return x if self.head is None else self.head(self.phi(x))


class Residual(nn.Module):
    """x + f(x), f of two or more layers, with a stem and a head; norm: before each f."""

    def __init__(
        self, blocks: int, width: int = 32, layers: int = 2, classes: int = 10, norm: bool = False
    ) -> None:
        super().__init__()
        self.stem = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            nn.ModuleList(nn.Linear(width, width) for _ in range(layers)) for _ in range(blocks)
        )
        self.norms = nn.ModuleList(
            nn.LayerNorm(width) if norm else nn.Identity() for _ in range(blocks)
        )
        self.head = nn.Linear(width, classes)
        self.ends: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        self.ends = [x]
        for norm, block in zip(self.norms, self.blocks, strict=True):
            y = norm(x)
            for place, layer in enumerate(block):
                y = layer(y if place == 0 else torch.relu(y))
            x = x + y
            self.ends.append(x)
        return self.head(torch.relu(x))


class Attention(nn.Module):
    """Self- or cross-attention, its projections apart or fused; no biases, as in the theorems."""

    def __init__(self, width: int, heads: int, fused: bool = False) -> None:
        super().__init__()
        self.heads, self.fused = heads, fused
        if fused:
            self.qkv = nn.Linear(width, 3 * width, bias=False)
        else:
            self.q, self.k, self.v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        about = x if memory is None else memory
        parts = (
            self.qkv(x).chunk(3, -1) if self.fused else (self.q(x), self.k(about), self.v(about))
        )
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for p in parts)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        return self.out((torch.softmax(scores, -1) @ v).transpose(-2, -3).flatten(-2))


class Layer(nn.Module):
    """A transformer's layer; `join` puts a branch and its skip together."""

    def __init__(self, width: int, alpha: float, normed: bool, fused: bool, crosses: bool) -> None:
        super().__init__()
        self.attention = Attention(width, 2, fused)
        self.cross = Attention(width, 2) if crosses else None
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)
        self.alpha = alpha
        norms = (nn.LayerNorm(width, elementwise_affine=False) for _ in range(2 + crosses))
        self.norms = nn.ModuleList(norms) if normed else None

    def join(self, place: int, x: Tensor, y: Tensor) -> Tensor:
        return x + y if self.norms is None else self.norms[place](self.alpha * x + y)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        x = self.join(0, x, self.attention(x))
        if self.cross is not None:
            x = self.join(1, x, self.cross(x, memory))
        return self.join(-1, x, self.down(torch.relu(self.up(x))))


class Transformer(nn.Module):
    """An encoder of tokens and a head, without norms, or with LN(alpha x + f(x))."""

    def __init__(
        self, layers: int, width: int = 32, alpha: float = 1.0, normed: bool = False,
        fused: bool = False, tokens: int = 50,
    ) -> None:  # fmt: skip
        super().__init__()
        self.table = nn.Embedding(tokens, width)
        self.layers = nn.ModuleList(
            Layer(width, alpha, normed, fused, False) for _ in range(layers)
        )
        self.head = nn.Linear(width, tokens)

    def forward(self, x: Tensor) -> Tensor:
        x = self.table(x)
        for layer in self.layers:
            x = layer(x)
        return self.head(x)


class Translator(nn.Module):
    """An encoder of n layers and a decoder of m."""

    def __init__(self, n: int, m: int, width: int = 16, alphas: tuple[float, float] | None = None):
        super().__init__()
        normed = alphas is not None
        first, second = alphas or (1.0, 1.0)
        self.table = nn.Embedding(20, width)
        self.encoder = nn.ModuleList(Layer(width, first, normed, False, False) for _ in range(n))
        self.decoder = nn.ModuleList(Layer(width, second, normed, False, True) for _ in range(m))
        self.head = nn.Linear(width, 20)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        x, y = self.table(x), self.table(y)
        for layer in self.encoder:
            x = layer(x)
        for layer in self.decoder:
            y = layer(y, x)
        return self.head(y)


def change_after_a_step(
    model: nn.Module, inputs: Tensor, target: Tensor, rate: float, adam: bool = False
) -> float:
    """The root mean square change of the output after one step down the cross-entropy."""
    kind = torch.optim.Adam if adam else torch.optim.SGD
    optimiser = kind(model.parameters(), lr=rate)
    before = model(inputs)
    logits = before.flatten(0, -2)
    nn.functional.cross_entropy(logits, target.flatten()).backward()
    optimiser.step()
    with torch.no_grad():
        return float((model(inputs) - before).square().mean().sqrt())
