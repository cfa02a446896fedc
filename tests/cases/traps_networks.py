"""Sound networks of all kinds: plain, convolutional, recurrent, with attention."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..checker.networks import CNN, GPT, Function, ResNet, conv_chain, he, initialised, mlp
from .case import Trap, both, ids, noise, positive

__all__ = ["NETWORKS"]


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
        self.conv, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16, 4)
        self.down, self.up = nn.Linear(16, 4), nn.Linear(4, 16)
        nn.init.constant_(self.down.bias, -3.0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.conv(x))
        gate = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return self.head((x * gate[..., None, None]).mean((2, 3)))


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.down, self.deep = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(16, 8, 2, 2), nn.Conv2d(16, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.down(x))
        b = F.relu(self.deep(F.max_pool2d(a, 2)))
        return self.out(torch.cat([a, F.relu(self.up(b))], 1))


class Dense(nn.Module):
    """DenseNet: each layer reads all before it, normalised."""

    def __init__(self, growth: int = 8, depth: int = 6) -> None:
        super().__init__()
        widths = range(16, 16 + growth * depth, growth)
        self.stem, self.head = nn.Conv2d(3, 16, 3, padding=1), nn.Linear(16 + growth * depth, 10)
        self.norms = nn.ModuleList(nn.BatchNorm2d(n) for n in widths)
        self.convs = nn.ModuleList(nn.Conv2d(n, growth, 3, padding=1, bias=False) for n in widths)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            x = torch.cat([x, conv(F.relu(norm(x)))], 1)
        return self.head(F.relu(x).mean((2, 3)))


class Mixer(nn.Module):
    """MLP-Mixer: tokens and channels by turns, pre-norm."""

    def __init__(self, tokens: int = 16, dim: int = 32, depth: int = 3) -> None:
        super().__init__()
        self.patch, self.head = nn.Conv2d(3, dim, 4, 4), nn.Linear(dim, 10)
        self.over_tokens = nn.ModuleList(mlp([tokens, 32, tokens], nn.GELU) for _ in range(depth))
        self.over_dim = nn.ModuleList(mlp([dim, 64, dim], nn.GELU) for _ in range(depth))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(2 * depth + 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch(x).flatten(2).transpose(1, 2)
        for i, (mix, fc) in enumerate(zip(self.over_tokens, self.over_dim, strict=True)):
            x = x + mix(self.norms[2 * i](x).transpose(1, 2)).transpose(1, 2)
            x = x + fc(self.norms[2 * i + 1](x))
        return self.head(self.norms[-1](x).mean(1))


class SwiGLU(nn.Module):
    """Llama's MLP between RMS norms, in a residual stream."""

    def __init__(self, depth: int = 4, dim: int = 32) -> None:
        super().__init__()
        self.up, self.gate, self.down = (
            nn.ModuleList(nn.Linear(a, b, bias=False) for _ in range(depth))
            for a, b in ((dim, 64), (dim, 64), (64, dim))
        )
        self.norms = nn.ModuleList(nn.RMSNorm(dim) for _ in range(depth))
        self.head = nn.Linear(dim, 4)

    def forward(self, x: Tensor) -> Tensor:
        for norm, up, gate, down in zip(self.norms, self.up, self.gate, self.down, strict=True):
            h = norm(x)
            x = x + down(F.silu(gate(h)) * up(h))
        return self.head(x)


class Tagger(nn.Module):
    """A recurrent network that answers at every token."""

    def __init__(self, cell: type[nn.RNNBase]) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 16, padding_idx=0)
        self.rnn, self.head = cell(16, 32, 2, batch_first=True), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(self.embed(x))[0])


class Recurrent(nn.Module):
    """A cell unrolled over time, orthogonal recurrent weights."""

    def __init__(self, cell: type[nn.Module]) -> None:
        super().__init__()
        self.cell, self.head = cell(8, 32), nn.Linear(32, 4)
        nn.init.orthogonal_(self.cell.weight_hh)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        state: Any = None
        for t in range(x.shape[1]):
            state = self.cell(x[:, t], state)
        return self.head(state[0] if isinstance(state, tuple) else state)


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


class Variational(nn.Module):
    """An autoencoder whose two codes are a mean and a log variance; it returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = mlp([64, 128, 4]), mlp([2, 128, 64])

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        mean, log_variance = self.encode(x).chunk(2, -1)
        return {"out": self.decode(mean), "mean": mean, "log_variance": log_variance}


class Tabular(nn.Module):
    """Columns of categories and of numbers, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.Embedding(n, 8) for n in (5, 50))
        self.norm, self.net = nn.BatchNorm1d(6), mlp([22, 64, 32, 1])

    def forward(self, categories: Tensor, numbers: Tensor) -> Tensor:
        columns = [table(c % 5) for table, c in zip(self.tables, categories.unbind(1), strict=True)]
        return self.net(torch.cat([*columns, self.norm(numbers)], 1))


class Graph(nn.Module):
    """Graph convolutions over one fixed neighbourhood."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(*n) for n in pairwise((16, 32, 32, 4)))
        near = torch.eye(64) + torch.eye(64).roll(1, 0) + torch.eye(64).roll(-1, 0)
        self.register_buffer("near", near / 3)

    def forward(self, x: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            x = self.near @ layer(F.relu(x) if i else x)
        return x


def siren() -> nn.Module:
    """The law of the SIREN paper: w0 = 30 inside the sine."""
    net = mlp([2, *[256] * 5, 1], lambda: Function(lambda x: torch.sin(30 * x)))
    for i, m in enumerate(m for m in net if isinstance(m, nn.Linear)):
        bound = 0.5 if i == 0 else math.sqrt(6 / 256) / 30
        nn.init.uniform_(m.weight, -bound, bound)
    return net


def selu(depth: int) -> nn.Module:
    lecun = partial(nn.init.kaiming_normal_, nonlinearity="linear")
    return initialised(mlp([64, *[256] * depth, 10], nn.SELU), lecun)


def glorot(widths: list[int], activation: Callable[[], nn.Module]) -> nn.Module:
    return initialised(mlp(widths, activation), nn.init.xavier_uniform_)


IMAGES, TOKENS = noise(32, 3, 16, 16), ids(50, 32, 12)

NETWORKS = (
    Trap("default nn.Linear, ReLU, depth 3", "every tutorial",
         lambda: mlp([64, *[256] * 3, 10]), noise(64, 64), "cross_entropy"),
    Trap("an MNIST example", "https://github.com/pytorch/examples",
         lambda: mlp([784, 128, 10]), positive(64, 784), "cross_entropy"),
    Trap("one hidden sigmoid layer", "http://neuralnetworksanddeeplearning.com",
         lambda: mlp([784, 30, 10], nn.Sigmoid), noise(64, 784), "cross_entropy"),
    Trap("He, depth 30", "https://arxiv.org/abs/1502.01852",
         lambda: he(mlp([64, *[256] * 30, 10])), noise(64, 64)),
    Trap("SELU, depth 30", "https://arxiv.org/abs/1706.02515", lambda: selu(30), noise(64, 64)),
    Trap("Glorot under tanh, depth 5", "https://proceedings.mlr.press/v9/glorot10a.html",
         lambda: glorot([64, *[128] * 5, 10], nn.Tanh), noise(64, 64), "cross_entropy"),
    Trap("Glorot under ReLU, depth 3", "Keras' default",
         lambda: glorot([64, *[128] * 3, 10], nn.ReLU), noise(64, 64), "cross_entropy"),
    Trap("SIREN", "https://arxiv.org/abs/2006.09661", siren,
         lambda: noise(64, 2)().clamp(-1, 1)),
    Trap("a physics-informed network", "https://arxiv.org/abs/1711.10561",
         lambda: glorot([2, *[32] * 4, 1], nn.Tanh), lambda: 2 * positive(64, 2)() - 1, "mse"),
    Trap("regression", "every tutorial", lambda: mlp([8, 64, 64, 1]), noise(64, 8), "mse"),
    Trap("policy of PPO: orthogonal, a last layer of .01", "https://arxiv.org/abs/2006.05990",
         lambda: nn.Sequential(
             initialised(mlp([8, 64, 64], nn.Tanh), partial(nn.init.orthogonal_, gain=2**0.5)),
             nn.Tanh(), initialised(nn.Linear(64, 4), partial(nn.init.orthogonal_, gain=0.01))),
         noise(64, 8)),
    Trap("an autoencoder with two codes", "Hinton & Salakhutdinov 2006",
         lambda: he(mlp([64, 128, 32, 2, 32, 128, 64])), noise(64, 64), "mse"),
    Trap("a variational autoencoder that returns a dict", "https://arxiv.org/abs/1312.6114",
         Variational, noise(64, 64)),
    Trap("PReLU of .25", "https://arxiv.org/abs/1502.01852",
         lambda: mlp([16, 64, 64, 4], nn.PReLU), noise(32, 16)),
    Trap("very wide", "https://arxiv.org/abs/1806.07572",
         lambda: he(mlp([32, 4096, 1])), noise(64, 32), "mse"),
    Trap("a fall that a normalisation ends", "https://arxiv.org/abs/1607.06450",
         lambda: nn.Sequential(mlp([64, *[256] * 5]), nn.LayerNorm(256), nn.Linear(256, 4)),
         noise(64, 64)),
    Trap("a small first layer", "https://arxiv.org/abs/2203.03466", SmallFirst, TOKENS),
    Trap("a fixed point", "https://arxiv.org/abs/1909.01377", Fixpoint, noise(64, 16)),
    Trap("He, 20 convolutions", "https://arxiv.org/abs/1502.01852",
         lambda: he(conv_chain(32, 20)), noise(32, 3, 8, 8)),
    Trap("convolutions, batch norm, in place", "torchvision", lambda: CNN(inplace=True),
         IMAGES, "cross_entropy"),
    Trap("residual, batch norm", "https://arxiv.org/abs/1512.03385",
         lambda: ResNet(zero=False), IMAGES),
    Trap("VGG with batch norm", "torchvision", lambda: he(conv_chain(32, 12, norm=True)), IMAGES,
         "cross_entropy"),
    Trap("dense connections", "https://arxiv.org/abs/1608.06993", Dense, IMAGES, "cross_entropy"),
    Trap("squeeze and excite", "https://arxiv.org/abs/1709.01507", Squeezed, IMAGES),
    Trap("U-Net", "https://arxiv.org/abs/1505.04597", UNet, noise(16, 3, 16, 16)),
    Trap("MLP-Mixer", "https://arxiv.org/abs/2105.01601", Mixer, IMAGES, "cross_entropy"),
    Trap("SwiGLU and RMS norms", "https://arxiv.org/abs/2002.05202", SwiGLU, noise(64, 32)),
    Trap("nanoGPT: small residual projections", "https://github.com/karpathy/nanoGPT",
         lambda: GPT(depth=6), ids(100, 32, 12), "cross_entropy"),
    Trap("LSTM over tokens, padding", "https://pytorch.org/tutorials",
         lambda: Tagger(nn.LSTM), TOKENS, "cross_entropy"),
    Trap("GRU over tokens, padding", "https://pytorch.org/tutorials",
         lambda: Tagger(nn.GRU), TOKENS, "cross_entropy"),
    *(Trap(f"{cell.__name__} over 24 steps, orthogonal", "https://arxiv.org/abs/1312.6120",
           partial(Recurrent, cell), noise(32, 24, 8))
      for cell in (nn.LSTMCell, nn.GRUCell, nn.RNNCell)),
    Trap("categories and numbers", "https://docs.fast.ai", Tabular,
         both(ids(5, 64, 2), noise(64, 6)), "mse"),
    Trap("graph convolutions", "https://arxiv.org/abs/1609.02907", Graph, noise(64, 16),
         "cross_entropy"),
)  # fmt: skip
