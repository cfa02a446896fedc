"""`zero`: deterministic, of full rank where an identity's added units would be zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.linalg import hadamard
from torch import nn

import isometry as iso
from isometry.errors import PlanError
from isometry.stream import sample
from isometry.types import Constant, Dirac, Hadamard, Identity

from .networks import Residual, Transformer
from .test_fixup import Bottleneck

X = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))


def test_the_law_is_sylvesters_matrix() -> None:
    for side in (1, 2, 16, 64):
        drawn = sample(Hadamard(side**0.5), (side, side), seed=0, name="w")
        np.testing.assert_array_equal(drawn, hadamard(side))
    cut = sample(Hadamard(64**0.5), (50, 20), seed=1, name="other")
    np.testing.assert_array_equal(cut, hadamard(64)[:50, :20])
    some = sample(Hadamard(64**0.5), (50, 20), seed=1, name="w", index=([3, 7], slice(2, 9, 3)))
    np.testing.assert_array_equal(some, cut[[3, 7]][:, 2:9:3])
    kernel = sample(Hadamard(2.0), (4, 3, 3, 3), seed=0, name="w")
    np.testing.assert_array_equal(kernel[:, :, 1, 1], hadamard(4)[:, :3])
    assert np.count_nonzero(kernel) == 12
    grouped = sample(Hadamard(2.0, groups=2), (8, 2, 1), seed=0, name="w")[..., 0]
    np.testing.assert_array_equal(grouped, np.concatenate([hadamard(4)[:, :2]] * 2))


def mlp(width: int, depth: int = 4) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(16, width)]
    for _ in range(depth):
        layers += [nn.ReLU(), nn.Linear(width, width)]
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(width, 10))


def test_no_seed_and_no_name_changes_it() -> None:
    models = [mlp(24), nn.Sequential(mlp(24))]
    for seed, model in enumerate(models):
        iso.initialize(model, X, recipe="zero", seed=seed)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)
    values = torch.cat([p.flatten() for p in models[0].parameters()]).unique()
    assert sorted(v.item() for v in values) == pytest.approx([-0.25, 0, 0.25, 1])  # 2^(-(5-1)/2)


def test_the_laws() -> None:
    plan = iso.plan(mlp(24), X, recipe="zero")
    assert plan["0.weight"].law == Hadamard(2**0.5)
    assert plan["2.weight"].law == Identity(1.0)
    assert plan["10.weight"].law == Identity(1.0)
    assert "16 inputs to 24 outputs: Hadamard; 16 of its rows differ" in plan["0.weight"].reason
    net = nn.Sequential(nn.Conv2d(3, 8, 3), Bottleneck(8, 8), Bottleneck(8, 16),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))  # fmt: skip
    plan = iso.plan(net, torch.randn(2, 3, 8, 8), recipe="zero")
    assert plan["1.first.weight"].law == Dirac(1.0)
    assert plan["1.second.weight"].law == Constant(0.0)
    assert plan["2.skip.weight"].law == Hadamard(2**0.5)
    assert plan["5.weight"].law == Constant(0.0)


def ranks(hadamard: bool) -> list[int]:
    """The rank of what 0, 10 and 300 steps have changed of the second matrix, 64 by 64."""
    torch.manual_seed(0)
    x, target = torch.randn(256, 16), torch.randint(0, 10, (256,))
    model = mlp(64, depth=2)
    iso.initialize(model, x, recipe="zero")
    if not hadamard:
        nn.init.eye_(model[0].weight)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    start, found = model[2].weight.detach().clone(), []
    for step in range(301):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), target).backward()
        optimiser.step()
        if step in (0, 10, 300):
            values = torch.linalg.svdvals(model[2].weight.detach() - start)
            found.append(int((values > 1e-4 * values[0]).sum()))
    return found


def test_the_rank_grows_past_the_inputs() -> None:
    """Theorem 1: identities alone never pass the rank of the input, Hadamard's matrix does."""
    with_signs, identities = ranks(True), ranks(False)
    assert with_signs == sorted(with_signs)
    assert with_signs[-1] > 16 >= max(identities)


def test_a_residual_network_trains_from_it() -> None:
    torch.manual_seed(0)
    model = Residual(30, 16)
    x, target = torch.randn(64, 16), torch.randint(0, 10, (64,))
    iso.initialize(model, x, recipe="zero")
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for _ in range(100):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(10), abs=1e-6)
    assert losses[-1] < 0.5 * losses[0]


def test_refusals() -> None:
    with pytest.raises(
        PlanError, match=r"MLPs and residual networks; this model attends.*'mimetic'"
    ):
        iso.plan(Transformer(1), torch.zeros(2, 4, dtype=torch.long), recipe="zero")
    with pytest.raises(PlanError, match=r"alone; weight_ih_l0, weight_hh_l0 are of another kind \(weight_ih_l0: gates\)"):  # fmt: skip
        iso.plan(nn.LSTM(4, 6), torch.randn(5, 2, 4), recipe="zero")
