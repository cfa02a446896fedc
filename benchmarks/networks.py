"""Small networks as their authors write and initialise them, and the data they learn.

Each is initialised in its constructor, by the rule its authors use: ResNet as torchvision, ViT as
timm and transformers, ConvNeXt as its paper's code, GPT as GPT-2 and nanoGPT, LSTM as PyTorch.
"""

# mypy: disable-error-code="no-any-return"
# (what a module returns when it is called has no type)

from __future__ import annotations

import math
import pydoc_data.topics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from sklearn.datasets import load_digits  # type: ignore[import-untyped]
from torch import Tensor, nn
from torch.nn import functional as F

Batches = Iterator[tuple[Tensor, Tensor]]

CONTEXT = 64  # characters that a language model sees


class ResidualBlock(nn.Module):
    """3x3, 3x3, and a shortcut (He et al. 2016); torchvision's BasicBlock."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != after:
            self.shortcut = nn.Sequential(
                nn.Conv2d(before, after, 1, stride, bias=False), nn.BatchNorm2d(after)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + self.shortcut(x))


class ResNet(nn.Module):
    """Three stages of two blocks; He's fan_out rule for the convolutions, as torchvision has it."""

    def __init__(self, zero_init_residual: bool = False, width: int = 16) -> None:
        super().__init__()
        blocks, channels = [], width
        for stage in range(3):
            for i in range(2):
                after = width * 2**stage
                blocks.append(ResidualBlock(channels, after, 2 if i == 0 and stage else 1))
                channels = after
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()
        )
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(channels, 10)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            if isinstance(m, ResidualBlock) and zero_init_residual:
                nn.init.zeros_(m.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


class Attention(nn.Module):
    """Multi-head attention from one fused projection."""

    def __init__(self, dim: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.c_attn = nn.Linear(dim, 3 * dim)
        self.c_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        b, t, d = x.shape
        q, k, v = (
            part.view(b, t, self.heads, d // self.heads).transpose(1, 2)
            for part in self.c_attn(x).split(d, dim=2)
        )
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.c_proj(y.transpose(1, 2).reshape(b, t, d))


class MLP(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(dim, 4 * dim)
        self.c_proj = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.c_proj(F.gelu(self.c_fc(x)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, dim: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = Attention(dim, heads, causal), MLP(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class ViT(nn.Module):
    """Patches of 2x2, a class token, learned positions; everything N(0, .02) cut at two units."""

    def __init__(self, dim: int = 96, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, dim, 2, 2)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 17, dim))
        self.blocks = nn.Sequential(*(Block(dim, heads, causal=False) for _ in range(depth)))
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, 10)
        for m in self.modules():
            if isinstance(m, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(m.weight, std=0.02)
                assert m.bias is not None
                nn.init.zeros_(m.bias)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat((self.cls_token.expand(len(x), -1, -1), x), 1) + self.pos_embed
        return self.head(self.norm(self.blocks(x))[:, 0])


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of an image."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNeXtBlock(nn.Module):
    """Depthwise, norm, expand, GELU, contract, LayerScale 1e-6 (Liu et al. 2022)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm = nn.LayerNorm(dim)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = nn.Parameter(1e-6 * torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """Two stages of three blocks; everything N(0, .02) cut at two units, biases zero."""

    def __init__(self, dim: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, dim, 2, 2), ChannelNorm(dim))
        self.stage1 = nn.Sequential(*(ConvNeXtBlock(dim) for _ in range(3)))
        self.down = nn.Sequential(ChannelNorm(dim), nn.Conv2d(dim, 2 * dim, 2, 2))
        self.stage2 = nn.Sequential(*(ConvNeXtBlock(2 * dim) for _ in range(3)))
        self.norm = nn.LayerNorm(2 * dim)
        self.head = nn.Linear(2 * dim, 10)
        for m in self.modules():
            if isinstance(m, nn.Linear | nn.Conv2d):
                nn.init.trunc_normal_(m.weight, std=0.02)
                assert m.bias is not None
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage2(self.down(self.stage1(self.stem(x))))
        return self.head(self.norm(x.mean((2, 3))))


class GPT(nn.Module):
    """A character-level GPT-2: N(0, .02), residual writers / sqrt(2L), a tied head, no dropout."""

    def __init__(self, letters: int, dim: int = 96, depth: int = 4, heads: int = 4) -> None:
        super().__init__()
        self.wte = nn.Embedding(letters, dim)
        self.wpe = nn.Embedding(CONTEXT, dim)
        self.h = nn.Sequential(*(Block(dim, heads, causal=True) for _ in range(depth)))
        self.ln_f = nn.LayerNorm(dim)
        self.lm_head = nn.Linear(dim, letters, bias=False)
        self.lm_head.weight = self.wte.weight
        for name, m in self.named_modules():
            if isinstance(m, nn.Linear | nn.Embedding):
                writer = name.endswith("c_proj")
                nn.init.normal_(m.weight, std=0.02 / math.sqrt(2 * depth) if writer else 0.02)
            if isinstance(m, nn.Linear) and m.bias is not None:
                nn.init.zeros_(m.bias)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.arange(x.shape[1], device=x.device)
        return self.lm_head(self.ln_f(self.h(self.wte(x) + self.wpe(places))))


class LSTM(nn.Module):
    """Embedding, two LSTM layers, a linear head: everything as PyTorch leaves it."""

    def __init__(self, letters: int, dim: int = 64, hidden: int = 128) -> None:
        super().__init__()
        self.embedding = nn.Embedding(letters, dim)
        self.lstm = nn.LSTM(dim, hidden, num_layers=2, batch_first=True)
        self.head = nn.Linear(hidden, letters)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(x))[0])


class Digits:
    """scikit-learn's 8x8 digits, standardised; in training shifted by up to one pixel, with noise.

    Both keep the loss away from zero, where a ratio of losses would be all chance.
    """

    def __init__(self, batch: int = 64, noise: float = 0.0) -> None:
        self.batch, self.noise = batch, noise
        raw = load_digits()
        images = torch.tensor(raw.images, dtype=torch.float32)[:, None]
        labels = torch.tensor(raw.target)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
        images = (images - images.mean()) / images.std()
        self.train = images[order[360:]], labels[order[360:]]
        self.held_out = images[order[:360]], labels[order[:360]]
        self.example = self.held_out[0][:32]

    def batches(self, seed: int) -> Batches:
        """Training batches for ever, the same for the same seed."""
        rng = torch.Generator().manual_seed(seed)
        images, labels = self.train
        wide = F.pad(images, (1, 1, 1, 1), value=float(images.min()))
        shifted = torch.stack([wide[..., i : i + 8, j : j + 8] for i in range(3) for j in range(3)])
        while True:
            shifts = torch.randint(9, (self.batch,), generator=rng)
            rows = torch.randint(len(images), (self.batch,), generator=rng)
            noise = torch.randn(images[rows].shape, generator=rng)
            yield shifted[shifts, rows] + self.noise * noise, labels[rows]


class Text:
    """The Python reference manual, as it ships with Python, letter by letter."""

    def __init__(self, batch: int = 12) -> None:
        self.batch = batch
        topics = pydoc_data.topics.topics
        text = "\n".join(topics[k] for k in sorted(topics))[:500_000]
        text = "".join(c if c.isascii() else "?" for c in text)
        letters = sorted(set(text))
        self.letters = len(letters)
        place = {c: i for i, c in enumerate(letters)}
        data = torch.tensor([place[c] for c in text])
        cut = len(data) * 9 // 10
        self.train = data[:cut]
        tail = data[cut:]
        starts = torch.arange(0, len(tail) - CONTEXT - 1, len(tail) // 64)[:, None]
        window = tail[starts + torch.arange(CONTEXT + 1)]
        self.held_out = window[:, :-1], window[:, 1:]
        self.example = self.held_out[0][:8]

    def batches(self, seed: int) -> Batches:
        """Training batches for ever, the same for the same seed."""
        rng = torch.Generator().manual_seed(seed)
        steps = torch.arange(CONTEXT + 1)
        while True:
            starts = torch.randint(len(self.train) - CONTEXT, (self.batch, 1), generator=rng)
            window = self.train[starts + steps]
            yield window[:, :-1], window[:, 1:]


Optimiser = Callable[[nn.Module], torch.optim.Optimizer]


def sgd(lr: float) -> Optimiser:
    return lambda m: torch.optim.SGD(m.parameters(), lr, momentum=0.9, weight_decay=1e-4)


def adamw(lr: float, decay: float, betas: tuple[float, float] = (0.9, 0.999)) -> Optimiser:
    """AdamW, with weight decay for matrices only."""

    def make(model: nn.Module) -> torch.optim.Optimizer:
        matrices = [p for p in model.parameters() if p.dim() > 1]
        rest = [p for p in model.parameters() if p.dim() <= 1]
        groups: list[dict[str, Any]] = [{"params": matrices}, {"params": rest, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr, betas, weight_decay=decay)

    return make
