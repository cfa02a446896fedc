"""The three initialisation faults that a comparison of fault localisers injected: three of four
found none. Its networks are of Keras: Glorot's law and biases of zero, but for the one layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..checker.networks import initialised, mlp
from .case import Case, positive

__all__ = ["INJECTED"]

DLFAULTS = "https://arxiv.org/abs/2412.11304 (Humbatova et al. 2024)"


def of_keras(model: nn.Module, faulty: nn.Module, value: float) -> nn.Module:
    initialised(model, nn.init.xavier_uniform_)
    nn.init.constant_(faulty.weight, value)  # type: ignore[arg-type]
    return model


def mnist() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.25), nn.Flatten(), nn.Linear(64 * 144, 128), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(128, 10),
    )  # fmt: skip
    return of_keras(net, net[0], 0.0)


def cifar() -> nn.Module:
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Dropout(0.25), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.Conv2d(64, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(),
        nn.Linear(64 * 36, 512), nn.ReLU(), nn.Dropout(0.5), nn.Linear(512, 10),
    )  # fmt: skip
    return of_keras(net, net[2], 1.0)


def reuters() -> nn.Module:
    net = mlp([1000, 512, 46])
    return of_keras(net, net[0], 1.0)


def words() -> Tensor:
    """Which of a thousand words a text has."""
    return (torch.rand(64, 1000, generator=torch.Generator().manual_seed(0)) < 0.05).float()


INJECTED = (
    Case(
        "MNIST, zeros in layer 0", DLFAULTS, mnist, positive(32, 1, 28, 28),
        ("ISO1", "ISO4"), ("0.weight*", "1"), loss="cross_entropy",
    ),
    Case(
        "CIFAR-10, ones in layer 2", DLFAULTS, cifar, positive(32, 3, 32, 32),
        ("ISO101", "ISO104"), ("2.weight*",), loss="cross_entropy",
    ),
    Case(
        "Reuters, ones in layer 0", DLFAULTS, reuters, words,
        ("ISO101", "ISO104"), ("0.weight",), loss="cross_entropy",
    ),
)  # fmt: skip
