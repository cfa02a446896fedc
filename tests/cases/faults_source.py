"""Faults of the code around the weights: never set, written in vain, drawn from another source;
and of what a network is shown or asked."""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from ..checker.networks import he, mlp
from .case import EITHER, Case, noise, rebuilt
from .faults_conv import lenet

__all__ = ["SOURCE"]


class Router(nn.Module):
    """Its init_weights fills the gate's weight and forgets the bias, made with torch.empty."""

    def __init__(self, whole: bool = False) -> None:
        super().__init__()
        self.up = nn.Linear(16, 32)
        self.weight, self.bias = nn.Parameter(torch.empty(8, 32)), nn.Parameter(torch.empty(8))
        nn.init.trunc_normal_(self.weight, std=0.02)
        if whole:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.relu(self.up(x)), self.weight, self.bias)


class Pooled(nn.Module):
    """Attention over tokens whose vector is torch.Tensor(size): whatever lies in memory."""

    def __init__(self, whole: bool = False) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(16, 32), nn.Linear(32, 4)
        self.attention = nn.Parameter(torch.empty(32))
        if whole:
            nn.init.uniform_(self.attention, -0.05, 0.05)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.embed(x))
        return self.head(((x @ self.attention).softmax(1)[..., None] * x).sum(1))


def unseeded(seed: int | None = None) -> nn.Module:
    """He's law from a generator of NumPy's that no seed reaches, unless it is given one."""
    model = he(mlp([16, 64, 64, 4]))
    values = np.random.default_rng(seed).normal(0, math.sqrt(2 / 64), (64, 64))
    with torch.no_grad():
        model[2].weight.copy_(torch.from_numpy(values))
    return model


def vocoder(norm_first: bool, legacy: bool) -> nn.Module:
    """HiFi-GAN's convolutions: init_weights after weight_norm writes to what is computed anew."""
    layers: list[nn.Module] = []
    for n_in in (8, 32, 32):
        conv = nn.Conv1d(n_in, 32, 3, padding=1)
        if not norm_first:
            nn.init.kaiming_normal_(conv.weight)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the legacy one is deprecated
            norm = nn.utils.weight_norm if legacy else parametrizations.weight_norm
            conv = norm(conv)
        if norm_first:
            with torch.no_grad():
                nn.init.kaiming_normal_(conv.weight)
        layers += [conv, nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers, nn.Conv1d(32, 1, 3, padding=1))


class Detector(nn.Module):
    """RetinaNet's head: for each place and anchor the probability of an object, mostly none."""

    def __init__(self, prior: float | None = None) -> None:
        super().__init__()
        self.tower = nn.Sequential(
            *(m for _ in range(4) for m in (nn.Conv2d(32, 32, 3, padding=1), nn.ReLU()))
        )
        self.cls = nn.Conv2d(32, 9, 3, padding=1)
        he(self.tower)
        nn.init.normal_(self.cls.weight, std=0.01)
        nn.init.zeros_(self.cls.bias)
        if prior is not None:
            nn.init.constant_(self.cls.bias, -math.log((1 - prior) / prior))

    def forward(self, x: Tensor) -> Tensor:
        return self.cls(self.tower(x))


def rare() -> Tensor:
    """A target of which one in a hundred is a one."""
    drawn = torch.rand(8, 9, 16, 16, generator=torch.Generator().manual_seed(0))
    return (drawn < 0.01).float()


def pixels(n: int) -> Tensor:
    return torch.randint(256, (n, 1, 28, 28), generator=torch.Generator().manual_seed(0)).float()


SOURCE = (
    Case(
        "a bias made with torch.empty", "https://github.com/pytorch/torchtitan/pull/2450",
        Router, noise(32, 16), ("ISO801",), ("bias",), factory=True,
        mend=rebuilt(lambda: Router(whole=True)), why="the code that builds it was wrong, whatever this one holds",
    ),
    Case(
        "an attention vector never set", "https://github.com/huggingface/torchMoji/issues/11",
        Pooled, noise(32, 6, 16), ("ISO801",), ("attention",), factory=True,
        mend=rebuilt(lambda: Pooled(whole=True)), why="the code that builds it was wrong, whatever this one holds",
    ),
    Case(
        "weights from a generator that no seed reaches",
        "https://numpy.org/doc/stable/reference/random/generator.html",
        unseeded, noise(32, 16), ("ISO802",), ("2.weight",), EITHER, factory=True,
        mend=rebuilt(lambda: unseeded(0)), why="the code that builds it was wrong, whatever this one holds",
    ),
    Case(
        "init_weights after weight_norm, legacy", "https://github.com/jik876/hifi-gan/issues/145",
        lambda: vocoder(norm_first=True, legacy=True), noise(32, 8, 16), ("ISO803",), ("0*",),
        EITHER, factory=True, mend=rebuilt(lambda: vocoder(norm_first=False, legacy=True)),
        why="what is wrong is the order of two lines: initialise first, then weight_norm",
    ),
    Case(
        "init_weights after weight_norm, parametrised",
        "https://github.com/locuslab/TCN/issues/1",
        lambda: vocoder(norm_first=True, legacy=False), noise(32, 8, 16), ("ISO803",), ("0*",),
        EITHER, factory=True, mend=rebuilt(lambda: vocoder(norm_first=False, legacy=False)),
        why="what is wrong is the order of two lines: initialise first, then weight_norm",
    ),
    Case(
        "a detection head without a prior",
        "https://github.com/kuangliu/pytorch-retinanet/issues/10",
        Detector, noise(8, 32, 16, 16), ("ISO703",), ("cls*",), EITHER,
        loss="bce_with_logits", target=rare, mend=rebuilt(lambda: Detector(prior=0.01)),
        why="a law does not know how rare an object is: the bias is set to -ln(99)",
    ),
    Case(
        "pixels from 0 to 255", "https://stats.stackexchange.com/questions/367057",
        lambda: lenet(16), lambda: pixels(32), ("ISO704",), ("*",), EITHER,
        loss="cross_entropy", target=lambda: torch.arange(32) % 10,
        mend=rebuilt(lambda: he(lenet(16)), lambda x: x / 255 - 0.5),
        why="it is the input that is wrong: x / 255",
    ),
)  # fmt: skip
