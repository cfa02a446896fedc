"""`siren`: pre-activations of every hidden layer are Gaussian, of variance .797."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

import isometry as iso
from isometry.errors import PlanError
from isometry.types import Uniform

WIDTH = 512


class Siren(nn.Module):
    """sin(omega (W x + b)), pre-activations omega (W x + b) kept."""

    def __init__(self, depth: int, omega: float = 30.0, first: float = 30.0) -> None:
        super().__init__()
        widths = [2, *[WIDTH] * depth]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.head = nn.Linear(WIDTH, 1)
        self.omegas = [first, *[omega] * (depth - 1)]
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen = []
        for layer, omega in zip(self.layers, self.omegas, strict=True):
            self.seen.append(omega * layer(x))
            x = torch.sin(self.seen[-1])
        return self.head(x)


def coordinates() -> Tensor:
    return torch.rand(64, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("omega", [30.0, 1.0])
def test_variance_settles_at_0797_and_is_gaussian(omega: float) -> None:
    seeds = 4
    found = torch.zeros(seeds, 8)
    for seed in range(seeds):
        model = Siren(8, omega)
        iso.initialize(model, coordinates(), recipe="siren", seed=seed)
        with torch.no_grad():
            model(coordinates())
        found[seed] = torch.stack([z.square().mean() for z in model.seen])
    # The 64 points share the weights: what varies is one draw a unit, 2/512 a layer and seed; a layer
    # passes on .32 of its error (the slope 2 q exp(-2q) of the map, times 1/q).
    error = 0.797 * (2 / WIDTH / seeds) ** 0.5
    settled = found[:, 3:].mean(0)
    assert float((settled - 0.797).abs().max()) < 5 * error
    # One point at a time, units are independent: normal.
    for layer in (3, 7):
        z = model.seen[layer][0].double() / model.seen[layer][0].double().std()
        assert stats.kstest(z.numpy(), "norm").pvalue > 1e-3


def test_gradients_grow_by_1203_a_layer() -> None:
    ratios = []
    for seed in range(6):
        model = Siren(12)
        iso.initialize(model, coordinates(), recipe="siren", seed=seed)
        out = model(coordinates())
        grads = torch.autograd.grad(out.sum(), (model.seen[4], model.seen[11]))
        first, last = (float(g.square().sum()) for g in grads)
        ratios.append(math.log(first / last) / 7)
    mean = sum(ratios) / len(ratios)
    error = torch.tensor(ratios).std().item() / len(ratios) ** 0.5
    assert abs(mean - math.log(1.2032)) < 4 * error
    assert error < 0.03


def test_the_laws_follow_the_omega_of_each_layer() -> None:
    plan = iso.plan(Siren(3, omega=20.0, first=50.0), coordinates(), recipe="siren")
    assert plan["layers.0.weight"].law == Uniform(0.5)
    for name in ("layers.1.weight", "layers.2.weight", "head.weight"):
        assert plan[name].law.bound == pytest.approx(math.sqrt(6 / WIDTH) / 20, rel=1e-5)
        assert "omega = 20" in plan[name].reason
    assert "omega = 50" in plan["layers.0.weight"].reason


def test_refusals() -> None:
    mixed = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    with pytest.raises(PlanError, match=r"only activation is the sine; this model has relu\. Use"):
        iso.plan(mixed, coordinates(), recipe="siren")
    with pytest.raises(PlanError, match="this model has no sine"):
        iso.plan(nn.Linear(2, 1), coordinates(), recipe="siren")

    class Normed(Siren):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(nn.functional.layer_norm(torch.sin(self.layers[0](x)), (WIDTH,)))

    with pytest.raises(
        PlanError, match="sets the scale that each sine reads; this model normalises"
    ):
        iso.plan(Normed(1), coordinates(), recipe="siren")
