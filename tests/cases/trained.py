"""Networks that have learned, on handwritten digits: recognised, and not judged."""

from __future__ import annotations

from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ..checker.networks import initialised, mlp
from .case import Build, Trap

__all__ = ["TRAINED"]


@cache
def digits() -> tuple[Tensor, Tensor]:
    bunch = load_digits()
    images = torch.tensor(bunch.data, dtype=torch.float32) / 16
    return (images - images.mean()) / images.std(), torch.tensor(bunch.target)


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(512, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def trained(build: Build, steps: int = 300) -> Build:
    """A few hundred steps of Adam, batches of 64; more than nine in ten digits are then right."""

    @cache
    def learned() -> nn.Module:
        torch.manual_seed(0)
        model, (x, target) = build(), digits()
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for _ in range(steps):
            batch = torch.randint(len(x), (64,))
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[batch]), target[batch]).backward()
            optimizer.step()
        right = float((model(x).argmax(1) == target).float().mean())
        assert right > 0.9, f"{right:.0%} of the digits are right"
        return model

    return learned


def new_head(build: Build) -> Build:
    """For ten new classes: a head of zeros on what has learned."""

    def build_it() -> nn.Module:
        body = build()
        return nn.Sequential(*list(body)[:-1], initialised(nn.Linear(64, 10), nn.init.zeros_))  # type: ignore[call-overload]

    return build_it


def some() -> Tensor:
    return digits()[0][:64]


def labels() -> Tensor:
    return digits()[1][:64]


MLP, CNN = trained(lambda: mlp([64, 64, 64, 10])), trained(cnn)
LEARNED = "trained|learned|learnt"

TRAINED = (
    Trap("a trained MLP", "scikit-learn's digits", MLP, some, "cross_entropy", labels,
         steps=None, says=LEARNED),
    Trap("a trained CNN", "scikit-learn's digits", CNN, some, "cross_entropy", labels,
         steps=None, says=LEARNED),
    Trap("a trained CNN, no loss given", "scikit-learn's digits", CNN, some,
         steps=None, says=LEARNED),
    Trap("a zero head on a trained MLP", "timm's way to fine-tune", new_head(MLP), some,
         "cross_entropy", labels, steps=None),
)  # fmt: skip
