"""Faults reported for multilayer perceptrons: saturated, vanishing, exploding, dead, alike."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

import isometry as iso
from isometry.types import Report

from ..checker.networks import Function, he, initialised, mlp
from .case import EITHER, Case, noise, positive, rebuilt

__all__ = ["DENSE", "constant", "normal", "pasted", "seeded", "uniform"]

constant, normal, uniform = (
    partial(partial, f) for f in (nn.init.constant_, nn.init.normal_, nn.init.uniform_)
)
he_uniform = partial(nn.init.kaiming_uniform_, nonlinearity="relu")

# A layer of five units may lose a factor of ten by chance, whatever the law.
CHANCE = "of five units a layer chance may still lose a factor of ten"


def pasted(model: nn.Module, x: object, report: Report) -> tuple[nn.Module, object, None]:
    """Mended by the line that the report says to type."""
    exec(report.findings[0].fix, {"iso": iso, "model": model, "inputs": x})
    return model, x, None


def gaussian(
    widths: list[int], activation: type[nn.Module] = nn.ReLU, bias: bool = True
) -> nn.Module:
    """Everything from N(0, 1)."""
    return initialised(
        mlp(widths, activation), normal(std=1.0), normal(std=1.0) if bias else nn.init.zeros_
    )


def circles(depth: int, activation: object = nn.ReLU, law: object = he_uniform) -> nn.Module:
    """Two inputs, layers of five units, one output."""
    return initialised(mlp([2, *[5] * depth, 1], activation), law)  # type: ignore[arg-type]


def negative() -> nn.Module:
    """Weights that are all negative, as a penalty or a bad seed leaves them in a narrow net."""

    def fill(w: Tensor) -> None:
        with torch.no_grad():
            w.normal_(std=0.2).abs_().neg_()

    return initialised(mlp([16, 32, 32, 32, 4]), fill)


def seeded(widths: list[int]) -> nn.Module:
    """One seed for each layer."""

    def fill(w: Tensor) -> None:
        nn.init.kaiming_normal_(w, generator=torch.Generator().manual_seed(5))

    return initialised(mlp(widths), fill)


def born_dead(width: int = 5) -> nn.Module:
    return he(mlp([1, *[width] * 16, 1]))


def widened() -> nn.Module:
    """Net2Net's wider layer without the noise it asks for: units that are copies of each other."""
    net = he(mlp([32, 64, 64, 4]))
    with torch.no_grad():
        net[0].weight[32:] = net[0].weight[:32]
        net[2].weight[:, 32:] = net[2].weight[:, :32]
    return net


DENSE = (
    Case(
        "sigmoid, N(0, 1)", "https://stackoverflow.com/questions/48385830",
        lambda: gaussian([784, 30, 10], nn.Sigmoid), positive(64, 784), ("ISO402",), ("1",),
    ),
    Case(
        "N(0, 1e-3) in three layers", "https://stackoverflow.com/questions/48801893",
        lambda: initialised(mlp([1, 16, 16, 1]), normal(std=1e-3), normal(std=1e-3)),
        noise(64, 1), ("ISO201",), ("0 … 4",),
    ),
    Case(
        "all zeros, softmax on softmax",
        "http://pullrequest.ru/11818227 (a copy of a question of Stack Overflow)",
        lambda: initialised(mlp([784, 10, 10], lambda: nn.Softmax(-1)), nn.init.zeros_),
        positive(64, 784), ("ISO103", "ISO101"), ("0.weight*",), loss="cross_entropy",
        mend=pasted, why="zeros are kept by initialize, as they may be meant: the line overrides it",
    ),
    Case(
        "all zeros under ReLU",
        "https://exchangetuts.com/why-adding-one-more-layer-to-the-tensorflow-simple-neural-net-example-breaks-it-1641643924769364",
        lambda: initialised(mlp([784, 100, 10]), nn.init.zeros_), positive(64, 784),
        ("ISO103", "ISO101"), ("0.weight*",), loss="cross_entropy",
        mend=pasted, why="zeros are kept by initialize, as they may be meant: the line overrides it",
    ),
    Case(
        "ReLU, N(0, 1): loss 5e4", "https://stackoverflow.com/questions/48723158",
        lambda: gaussian([784, 500, 500, 500, 10], bias=False), positive(64, 784),
        ("ISO202",), ("0 … 6",), loss="cross_entropy",
    ),
    Case(
        "512 sigmoids, N(0, 1)", "https://stackoverflow.com/questions/35078027",
        lambda: gaussian([784, 512, 10], nn.Sigmoid, bias=False), positive(64, 784),
        ("ISO402",), ("1",),
    ),
    Case(
        "circles, U(±.05), depth 9", "https://github.com/shiningrain/AUTOTRAINER",
        lambda: circles(9, law=uniform(a=-0.05, b=0.05)), noise(64, 2), ("ISO201",), ("0 … 18",),
        left=("warning",), why=CHANCE,
    ),
    Case(
        "four layers of sigmoids, N(0, 1/fan_in)",
        "http://neuralnetworksanddeeplearning.com/chap5.html",
        lambda: initialised(
            mlp([784, *[30] * 4, 10], nn.Sigmoid),
            partial(nn.init.kaiming_normal_, nonlinearity="linear"), normal(std=1.0),
        ),
        positive(64, 784), ("ISO501", "ISO301"), ("0 … *",), ("warning",), loss="cross_entropy",
        mend=rebuilt(lambda: he(mlp([784, *[30] * 4, 10]))),
        why="sigmoids upon sigmoids make all samples one whatever the law: ReLU",
    ),
    Case(
        "circles, He under sigmoid", "https://github.com/shiningrain/AUTOTRAINER",
        lambda: circles(12, nn.Sigmoid), noise(64, 2), ("ISO501",), ("* … 24",),
        mend=rebuilt(lambda: circles(12, nn.Tanh, nn.init.orthogonal_)), left=("warning",),
        why="twelve sigmoids make all samples one whatever the law: tanh; " + CHANCE,
    ),
    Case(
        "circles, He under exp", "https://github.com/shiningrain/AUTOTRAINER",
        lambda: circles(11, lambda: Function(torch.exp)), noise(64, 2), ("ISO202",),
        ("0 … *", "[0-9]", "1[0-9]"),
        mend=rebuilt(lambda: circles(11, nn.Tanh, nn.init.orthogonal_)), left=("warning",),
        why="exp of exp overflows whatever the law: tanh; " + CHANCE,
    ),
    Case(
        "negative weights on positive features", "https://stats.stackexchange.com/questions/450100",
        negative, positive(64, 16), ("ISO401",), ("1",),
    ),
    Case(
        "born dead: width 5, depth 16", "https://arxiv.org/abs/1903.06733 (Lu et al. 2019)",
        born_dead, noise(64, 1), ("ISO401", "ISO201"), ("*",), EITHER, r"\d+ of 20 seeds",
        factory=True, mend=rebuilt(lambda: born_dead(width=64)),
        why="five units die together in a quarter of all seeds whatever the law: wider layers",
    ),
    Case(
        "default nn.Linear, ReLU, depth 20", "https://github.com/pytorch/pytorch/issues/15314",
        lambda: mlp([64, *[256] * 20, 10]), noise(64, 64), ("ISO201",), ("0 … 40",),
    ),
    Case(
        "default nn.Linear, ReLU, depth 30", "https://github.com/pytorch/pytorch/issues/15314",
        lambda: mlp([64, *[256] * 30, 10]), noise(64, 64), ("ISO201",), ("0 … 60",),
        loss="cross_entropy",
    ),
    Case(
        "default law under sine", "https://github.com/lucidrains/siren-pytorch/issues/1",
        lambda: mlp([2, *[256] * 8, 1], lambda: Function(torch.sin)), noise(64, 2),
        ("ISO201",), ("0 … 16",), ("warning",),
    ),
    Case(
        "Glorot under ReLU, depth 22", "https://arxiv.org/abs/1502.01852 (He et al. 2015, figure 3)",
        lambda: initialised(mlp([64, *[128, 96] * 11, 10]), nn.init.xavier_normal_), noise(64, 64),
        ("ISO201", "ISO601"), ("0 … 44",), EITHER, loss="cross_entropy",
    ),
    Case(
        "widened by copies", "https://arxiv.org/abs/1511.05641 (Chen et al. 2016, section 2.3)",
        widened, noise(64, 32), ("ISO101",), ("0.weight",),
    ),
    Case(
        "one seed for each layer", "https://github.com/keras-team/keras-hub/issues/352",
        lambda: seeded([32, 32, 32, 32, 4]), noise(64, 32), ("ISO102",), ("0.weight … 4.weight",),
        ("warning",),
    ),
    Case(
        "one seed, layers of different shapes", "https://github.com/netket/netket/issues/241",
        lambda: seeded([32, 64, 48, 24, 4]), noise(64, 32), ("ISO804",), ("0.weight*",), EITHER,
    ),
)  # fmt: skip
