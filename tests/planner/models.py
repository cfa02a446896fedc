"""The networks whose signals are predicted and measured: plain, convolutional, residual, attention."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def mlp(activation: type[nn.Module], depth: int, width: int) -> nn.Module:
    layers: list[nn.Module] = [nn.Linear(64, width)]
    for _ in range(depth - 1):
        layers += [activation(), nn.Linear(width, width)]
    return nn.Sequential(*layers, activation(), nn.Linear(width, 64))


def cnn(activation: type[nn.Module], depth: int, channels: int) -> nn.Module:
    """3 x 3 on 8 x 8 images with zero padding, then the mean over positions."""
    layers: list[nn.Module] = [nn.Conv2d(16, channels, 3, padding=1)]
    for _ in range(depth - 1):
        layers += [activation(), nn.Conv2d(channels, channels, 3, padding=1)]
    head = (activation(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 64))
    return nn.Sequential(*layers, *head)


class ResidualBlock(nn.Module):
    """relu(BN(conv(relu(BN(conv(x))))) + x), x projected where the shape changes."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(out)
        projected = stride > 1 or channels != out
        self.skip = (
            nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))
            if projected
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        inner = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.norm2(self.conv2(inner)) + self.skip(x))


class ResNet(nn.Module):
    """Four blocks, two of which halve the image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 48, 3, 1, 1, bias=False), nn.BatchNorm2d(48)
        shapes = ((48, 48, 1), (48, 96, 2), (96, 96, 1), (96, 96, 1))
        self.blocks = nn.Sequential(*(ResidualBlock(*shape) for shape in shapes))
        self.head = nn.Linear(96, 48)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norm(self.stem(x)))
        out: Tensor = self.head(self.blocks(x).mean((2, 3)))
        return out


class Block(nn.Module):
    """Attention and two layers of GELU, a normalisation before each or after its addition."""

    def __init__(self, width: int, heads: int, before: bool, causal: bool) -> None:
        super().__init__()
        self.heads, self.before, self.causal = heads, before, causal
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def attend(self, x: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, -1)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(-2))
        return out

    def forward(self, x: Tensor) -> Tensor:
        if self.before:
            x = x + self.attend(self.norm1(x))
            return x + self.down(F.gelu(self.up(self.norm2(x))))
        x = self.norm1(x + self.attend(x))
        out: Tensor = self.norm2(x + self.down(F.gelu(self.up(x))))
        return out


class Transformer(nn.Module):
    """Words and places, four blocks, a normalisation and logits."""

    def __init__(self, *, normalised_before: bool, causal: bool, width: int = 128) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(200, width), nn.Embedding(16, width)
        self.blocks = nn.Sequential(*(Block(width, 4, normalised_before, causal) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, 200, bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.words(ids) + self.places(torch.arange(ids.shape[1]))
        out: Tensor = self.head(self.norm(self.blocks(x)))
        return out
