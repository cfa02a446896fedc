"""The same networks in PyTorch and in Keras, and how to compare what is planned for them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import keras
import numpy as np
import torch
from torch import nn

from isometry.types import Plan

L = keras.layers
FIELDS = ("shape", "role", "axes", "fans", "scheme", "gain", "law", "blocks", "reason")


def host(tensor: Any) -> Any:
    """In NumPy, whatever made it."""
    if isinstance(tensor, (torch.Tensor, nn.Parameter)):
        return tensor.detach().cpu().float().numpy()
    return np.asarray(keras.ops.convert_to_numpy(tensor))


def differences(plan: Plan, other: Plan) -> list[str]:
    """Where the decisions of a plan differ from another's; PyTorch alone counts batches."""
    found = []
    ours = {d.name: d for d in plan}
    theirs = {d.name: d for d in other if not d.name.endswith("num_batches_tracked")}
    found += [f"only one has {n}" for n in sorted(ours.keys() ^ theirs.keys())]
    for name in ours.keys() & theirs.keys():
        found += [
            f"{name}.{f}: {getattr(ours[name], f)} and {getattr(theirs[name], f)}"
            for f in FIELDS
            if getattr(ours[name], f) != getattr(theirs[name], f)
        ]
    mine, its = ({p.name: str(p) for p in x.predictions} for x in (plan, other))
    return found + [f"{n}: {mine.get(n)} and {its.get(n)}" for n in its if mine.get(n) != its[n]]


# -- a plain network -------------------------------------------------------------------------


def mlp() -> Any:
    return keras.Sequential(
        [
            L.Dense(64, activation="relu", name="fc1"),
            L.Dense(64, activation="relu", name="fc2"),
            L.Dense(10, name="fc3"),
        ]
    )


def torch_mlp() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(8, 64), a1=nn.ReLU(), fc2=nn.Linear(64, 64), a2=nn.ReLU(),
            fc3=nn.Linear(64, 10),
        )
    )  # fmt: skip


def vectors(count: int = 32) -> tuple[Any, torch.Tensor]:
    x = np.random.default_rng(0).standard_normal((count, 8), dtype=np.float32)
    return x, torch.from_numpy(x)


# -- images ----------------------------------------------------------------------------------


def cnn() -> Any:
    """Functional; its names are given."""
    x = inputs = L.Input((16, 16, 3))
    x = L.Conv2D(8, 3, padding="same", name="c1")(x)
    x = L.ReLU()(L.BatchNormalization(epsilon=1e-5, name="b1")(x))
    x = L.MaxPooling2D(2)(x)
    x = L.Conv2D(16, 3, strides=2, groups=2, name="c2")(x)
    x = L.ReLU()(L.BatchNormalization(epsilon=1e-5, name="b2")(x))
    x = L.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, L.Dense(10, name="fc")(x))


def torch_cnn() -> nn.Module:
    return nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(3, 8, 3, padding=1), b1=nn.BatchNorm2d(8), a1=nn.ReLU(),
            pool=nn.MaxPool2d(2), c2=nn.Conv2d(8, 16, 3, stride=2, groups=2),
            b2=nn.BatchNorm2d(16), a2=nn.ReLU(), mean=nn.AdaptiveAvgPool2d(1), flat=nn.Flatten(),
            fc=nn.Linear(16, 10),
        )
    )  # fmt: skip


def images(count: int = 32) -> tuple[Any, torch.Tensor]:
    x = np.random.default_rng(0).standard_normal((count, 16, 16, 3), dtype=np.float32)
    return x, torch.from_numpy(x.transpose(0, 3, 1, 2).copy())


# -- a transformer block ---------------------------------------------------------------------

ROWS, TOKENS, HEADS, SIZE = 50, 8, 4, 32


class Block(keras.Model):
    """Embedding, one pre-LN block, a head."""

    def __init__(self) -> None:
        super().__init__()
        self.tok, self.pos = L.Embedding(ROWS, SIZE), L.Embedding(TOKENS, SIZE)
        self.n1, self.n2, self.nf = (L.LayerNormalization(epsilon=1e-5) for _ in range(3))
        self.q, self.k, self.v, self.o = (L.Dense(SIZE) for _ in range(4))
        self.up, self.down, self.head = L.Dense(4 * SIZE), L.Dense(SIZE), L.Dense(ROWS)

    def call(self, tokens: Any) -> Any:
        ops = keras.ops
        h = self.tok(tokens) + self.pos(ops.arange(TOKENS))
        a = self.n1(h)
        q, k, v = (
            ops.transpose(ops.reshape(f(a), (-1, TOKENS, HEADS, SIZE // HEADS)), (0, 2, 1, 3))
            for f in (self.q, self.k, self.v)
        )
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) / (SIZE // HEADS) ** 0.5
        mixed = ops.transpose(ops.matmul(ops.softmax(scores), v), (0, 2, 1, 3))
        h = h + self.o(ops.reshape(mixed, (-1, TOKENS, SIZE)))
        h = h + self.down(keras.activations.gelu(self.up(self.n2(h))))
        return self.head(self.nf(h))


class TorchBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tok, self.pos = nn.Embedding(ROWS, SIZE), nn.Embedding(TOKENS, SIZE)
        self.n1, self.n2, self.nf = (nn.LayerNorm(SIZE) for _ in range(3))
        self.q, self.k, self.v, self.o = (nn.Linear(SIZE, SIZE) for _ in range(4))
        self.up, self.down = nn.Linear(SIZE, 4 * SIZE), nn.Linear(4 * SIZE, SIZE)
        self.head = nn.Linear(SIZE, ROWS)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        h = self.tok(tokens) + self.pos(torch.arange(TOKENS))
        a = self.n1(h)
        q, k, v = (
            f(a).reshape(-1, TOKENS, HEADS, SIZE // HEADS).transpose(1, 2)
            for f in (self.q, self.k, self.v)
        )
        scores = q @ k.transpose(2, 3) / (SIZE // HEADS) ** 0.5
        mixed = (torch.softmax(scores, -1) @ v).transpose(1, 2)
        h = h + self.o(mixed.reshape(-1, TOKENS, SIZE))
        h = h + self.down(nn.functional.gelu(self.up(self.n2(h))))
        return self.head(self.nf(h))


def tokens(count: int = 32) -> tuple[Any, torch.Tensor]:
    x = np.random.default_rng(0).integers(0, ROWS, (count, TOKENS))
    return x, torch.from_numpy(x)


TWINS = {
    "mlp": (mlp, torch_mlp, vectors),
    "cnn": (cnn, torch_cnn, images),
    "block": (Block, TorchBlock, tokens),
}
