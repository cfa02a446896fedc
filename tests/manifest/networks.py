"""A model that has every sort of tensor: drawn, a matrix as a whole, blocks, kept, tied."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import isometry as iso
from isometry.manifest import Manifest

SEED = 11
LAWS = {
    "square.weight": iso.Orthogonal(1.5, size=48),
    "sparse.weight": iso.Sparse(0.5, 0.1),
    "table": iso.Keep(),
}


class Sorts(nn.Module):
    """Kept: a constant, a small and a large table, integers, booleans, infinities."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(31, 48)
        self.square = nn.Linear(48, 32)
        self.sparse = nn.Linear(32, 48, bias=False)
        self.attention = nn.MultiheadAttention(48, 4, batch_first=True)
        self.norm = nn.BatchNorm1d(48)
        self.head = nn.Linear(48, 31, bias=False)
        self.head.weight = self.embed.weight
        made = torch.Generator().manual_seed(1)
        self.table = nn.Parameter(torch.randn(40, 48, generator=made))
        self.register_buffer("small", torch.randn(3, 5, generator=made))
        self.register_buffer("mask", torch.full((48, 48), float("-inf")).triu(1))
        self.register_buffer("zeros", torch.zeros(3000))
        self.register_buffer("whole", torch.arange(7))
        self.register_buffer("flags", torch.tensor([True, False, True]))

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        x = x + self.sparse(torch.relu(self.square(x))) + self.table[: ids.shape[1]]
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.head(self.norm(x.transpose(1, 2)).transpose(1, 2))


IDS = torch.zeros(2, 6, dtype=torch.int64)


def sorts() -> tuple[nn.Module, iso.Plan]:
    """The model in memory, filled, and its plan."""
    model = Sorts()
    plan = iso.plan(model, IDS, overrides=LAWS)
    plan.apply(model, seed=SEED)
    return model, plan


def manifest_of(model: nn.Module, plan: iso.Plan, **options: object) -> Manifest:
    return Manifest.of_model(model, plan, seed=SEED, **options)


def saved(state: dict[str, Tensor], path: Path) -> Path:
    """A state dict as safetensors, in which nothing is tied."""
    save_file({name: tensor.detach().clone() for name, tensor in state.items()}, path)
    return path
