"""The two-point map, and what the operations between weights do to correlations and gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import isometry as iso
from isometry.theory.attention import concentration
from isometry.theory.dual import dual_of
from isometry.theory.maps import pair_moment
from isometry.theory.pooling import largest
from isometry.theory.signal import levels

from .models import mlp


@pytest.mark.parametrize("name", ["relu", "tanh", "gelu", "elu", "softplus", "sin", "erf"])
@pytest.mark.parametrize("c", [-0.7, 0.0, 0.3, 0.9, 0.999, 1.0])
def test_the_series_is_the_integral(name: str, c: float) -> None:
    found = dual_of((name, "z"), 0.0, 1.3)
    assert found is not None
    assert found.pair(c) == pytest.approx(pair_moment(name, 1.3, 1.3, c), abs=2e-5 * found.second)


@pytest.mark.parametrize("c", [-0.5, 0.0, 0.5, 0.9])
def test_relu_and_erf_in_closed_form(c: float) -> None:
    relu, erf = dual_of(("relu", "z"), 0.0, 1.0), dual_of(("erf", "z"), 0.0, 2.0)
    assert relu is not None
    assert erf is not None
    theta = math.acos(c)
    assert relu.pair(c) == pytest.approx(
        (math.sin(theta) + (math.pi - theta) * c) / (2 * math.pi), abs=1e-9
    )
    assert relu.slopes(c) == pytest.approx((math.pi - theta) / (2 * math.pi), abs=1e-5)
    assert erf.pair(c) == pytest.approx(2 / math.pi * math.asin(4 * c / 5), abs=1e-12)


def test_relu_forgets_slowly() -> None:
    """(1 - c_l) l² -> 9 pi²/2: two inputs become one, but only as the square of the depth."""
    found = dual_of(("relu", "z"), 0.0, 1.0)
    assert found is not None
    c = exact = 0.0
    for _ in range(60):
        c, theta = 2.0 * found.pair(c), math.acos(exact)
        exact = (math.sin(theta) + (math.pi - theta) * exact) / math.pi
    assert 1.0 - c == pytest.approx(1.0 - exact, rel=0.01)
    assert 0.7 < (1.0 - c) * 60**2 / (4.5 * math.pi**2) < 1.0


@pytest.mark.parametrize(("count", "spread"), [(2, 0.5), (16, 1.0), (16, 4.0), (64, 2.0)])
def test_a_softmax_of_gaussians(count: int, spread: float) -> None:
    draws = 20000
    logits = np.random.default_rng(0).standard_normal((draws, count)) * math.sqrt(spread)
    a = np.exp(logits)
    a /= a.sum(1, keepdims=True)
    own = (a**2).sum(1)
    apart = (a**2 * (1 - 2 * a + own[:, None])).sum(1)
    found = concentration(count, False, spread)
    for sampled, exact in ((own, found.own), (apart, found.apart)):
        assert float(sampled.mean()) == pytest.approx(
            exact, abs=5 * float(sampled.std()) / math.sqrt(draws)
        )


def test_the_weights_under_a_causal_mask() -> None:
    a = np.tril(np.ones((9, 9))) / np.arange(1, 10)[:, None]
    gram = a @ a.T
    found = concentration(9, True, 0.0)
    assert found.own == pytest.approx(np.trace(gram) / 9)
    assert found.other == pytest.approx((gram.sum() - np.trace(gram)) / 72)
    assert found.column == pytest.approx((a.sum(0) ** 2).mean())


@pytest.mark.parametrize("count", [2, 4, 9])
def test_the_largest_of_some(count: int) -> None:
    drawn = np.random.default_rng(0).standard_normal((40000, count)).max(1)
    mean, variance = largest(count)
    assert mean == pytest.approx(drawn.mean(), abs=5 * math.sqrt(variance / 40000))
    assert variance == pytest.approx(drawn.var(), rel=5 * math.sqrt(2 / 40000))


def test_a_profile_is_seen_at_a_few_levels() -> None:
    found = levels(((0.2, 0.8, 1.4, 1.6),) * 2)
    assert sum(share for share, _ in found) == pytest.approx(1.0)
    assert sum(share * level for share, level in found) == pytest.approx(1.0)
    weighted = levels(((0.5, 1.5),), ((0.0, 2.0),))
    assert weighted == ((0.0, 0.5), (1.0, 1.5))


def test_what_an_input_has_in_common_is_carried() -> None:
    """A check starts from the cosine of its inputs, and a random bias is common to all."""
    model, seeds = mlp(nn.Tanh, 4, 400), 6
    apart: list[list[tuple[float, float, float]]] = []
    for seed in range(seeds):
        generator = torch.Generator().manual_seed(seed)
        shared = torch.randn(1, 64, generator=generator)
        x = (shared + torch.randn(64, 64, generator=generator)) / math.sqrt(2)
        iso.plan(model, x, overrides={"*.bias": iso.Normal(0.5)}).apply(model, seed=seed)
        layers = iso.check(model, x).layers
        assert (layers[0].predicted_c or 0.0) > 0.5
        apart.append(
            [
                (
                    (m.c or 0.0) - (m.predicted_c or 0.0),
                    m.q / (m.predicted or 0.0) - 1.0,
                    (m.grad or 0.0) / (m.predicted_grad or 0.0) - 1.0,
                )
                for m in layers
            ]
        )
    found = torch.tensor(apart).double()
    allowed = torch.tensor([0.02, 0.03, 0.05]) + 5 * found.std(0) / math.sqrt(seeds)
    assert bool((found.mean(0).abs() <= allowed).all())
