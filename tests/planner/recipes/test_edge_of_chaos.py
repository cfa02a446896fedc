"""`edge-of-chaos`: second moment and correlation over 30 layers, as Schoenholz et al. predict."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import isometry as iso
from isometry.errors import ArgumentError, PlanError
from isometry.recipe import EdgeOfChaos
from isometry.theory.maps import LayerMap, edge_of_chaos

from .networks import Plain, Residual

WIDTH, DEPTH, SEEDS = 400, 30, 8


def two_inputs(c: float) -> Tensor:
    """Two inputs of second moment 1 and cosine c."""
    basis = torch.linalg.qr(torch.randn(WIDTH, 2, generator=torch.Generator().manual_seed(0)))[0].T
    return WIDTH**0.5 * torch.stack([basis[0], c * basis[0] + (1 - c * c) ** 0.5 * basis[1]])


def test_the_second_moment_stays_and_correlations_follow_the_map() -> None:
    q, c_w, c_b = edge_of_chaos("tanh", 0.05)
    layer = LayerMap("tanh", c_w, c_b)
    predicted = 0.6 * (q - c_b) / q + c_b / q  # the first layer: a product and a bias
    moments, cosines, expected = [], [], []
    for seed in range(SEEDS):
        model = Plain(DEPTH, WIDTH, torch.tanh)
        iso.initialize(model, torch.randn(4, WIDTH), recipe="edge-of-chaos", seed=seed)
        with torch.no_grad():
            model(two_inputs(0.6))
        moments.append([float(z.square().mean()) for z in model.seen])
        cosines.append([float(torch.cosine_similarity(*z, dim=0)) for z in model.seen])
    for _ in range(DEPTH):
        expected.append(predicted)
        predicted = layer.correlation(predicted, q)
    mean = torch.tensor(moments).mean(0)
    # A layer's mean square over 400 units, 2 inputs and 8 seeds has a standard error of 1.8 %, and
    # the fixed point forgets a half of it each layer; the last layer feeds no activation: no bias.
    assert layer.slope(q) < 0.6
    assert float((mean[:-1] / q - 1).abs().max()) < 4 * 0.018 / (1 - 0.6**2) ** 0.5
    # At the edge two inputs approach each other as 1/depth, and not exponentially.
    assert 1 / DEPTH < 1 - expected[-1] < 10 / DEPTH
    gaps, wanted = 1 - torch.tensor(cosines)[:, :-1], 1 - torch.tensor(expected[:-1])
    error = gaps.std(0) / SEEDS**0.5
    assert bool(((gaps.mean(0) - wanted).abs() < 4 * error).all())
    assert float((error / wanted).max()) < 0.2


def test_ordered_and_chaotic_neighbours_forget_or_explode() -> None:
    """The gradient over 30 layers: O(1) at the edge, chi^30 off it."""
    norms = {}
    for factor in (0.6, 1.0, 1.6):
        model = Plain(DEPTH, WIDTH, torch.tanh)
        iso.initialize(model, torch.randn(4, WIDTH), recipe="edge-of-chaos")
        with torch.no_grad():
            for layer in model.layers[1:]:
                layer.weight *= factor**0.5
        x = two_inputs(0.0).requires_grad_()
        out = model(x)
        (grad,) = torch.autograd.grad(out, x, torch.randn(out.shape))
        norms[factor] = float(grad.square().mean()) / model.layers[0].weight.var().item() / WIDTH
    assert 0.3 < norms[1.0] < 3
    assert norms[0.6] < 1e-2 < 1e1 < norms[1.6]


@pytest.mark.parametrize(("phi", "name"), [(torch.tanh, "tanh"), (torch.erf, "erf"), (nn.SELU(), "selu")])  # fmt: skip
def test_the_laws(phi: nn.Module, name: str) -> None:
    model = Plain(4, 64, phi)
    plan = iso.plan(model, torch.randn(4, 64), recipe=EdgeOfChaos(c_b=0.1))
    point = edge_of_chaos(name, 0.1)
    assert 64 * plan["layers.1.weight"].law.variance == pytest.approx(point.c_w, rel=1e-5)
    assert plan["layers.1.bias"].law.variance == pytest.approx(0.1, rel=1e-5)
    assert 64 * plan["layers.0.weight"].law.variance == pytest.approx(point.q - 0.1, rel=1e-5)
    assert "edge of chaos" in plan["layers.1.weight"].reason


def test_without_biases_it_is_the_critical_point() -> None:
    model = Plain(4, 64, torch.relu)
    plan = iso.plan(model, torch.randn(4, 64), recipe=EdgeOfChaos(c_b=0.0))
    assert 64 * plan["layers.2.weight"].law.variance == pytest.approx(2.0, rel=1e-5)


def test_refusals() -> None:
    x = torch.randn(4, 32)
    with pytest.raises(PlanError, match=r"edge of chaos at Var b = 0.05; layers.0.weight meets relu.*recipe='critical'"):  # fmt: skip
        iso.plan(Plain(3, 32, torch.relu), x, recipe="edge-of-chaos")
    with pytest.raises(PlanError, match=r"plain chains.*residual streams \(3 writes\).*recipe='fixup'"):  # fmt: skip
        iso.plan(Residual(3), x, recipe="edge-of-chaos")
    normed = nn.Sequential(nn.Linear(32, 32), nn.LayerNorm(32), nn.Tanh(), nn.Linear(32, 2))
    with pytest.raises(PlanError, match=r"without normalisation.*normalises in 1\. Use"):
        iso.plan(normed, x, recipe="edge-of-chaos")
    with pytest.raises(ArgumentError, match=r"EdgeOfChaos\(c_b=-1\).*such as 0.05"):
        EdgeOfChaos(c_b=-1)
