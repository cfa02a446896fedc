"""Plain networks, 2 to 30 layers: the second moment of what every layer makes, before activation.

Averaged over 20 seeds, it stays within [1/2, 2] wherever theory says that it can. For GELU and SiLU
at depth no variance alone can hold it: the plan says so, and names the recipe that can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

import isometry as iso

SEEDS = 20
DEPTHS = (2, 10, 30)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU, "leaky": lambda: nn.LeakyReLU(0.2), "gelu": nn.GELU, "silu": nn.SiLU,
    "tanh": nn.Tanh, "selu": nn.SELU, "elu": nn.ELU,
}  # fmt: skip
REPELLED = ("gelu", "silu")  # q -> E[phi²]/E[phi²] at q = 1 has a slope of 1.14 and 1.17
CRITICAL = {"gelu": 3.5616, "silu": 14.3202}  # q*, facts of the activation alone


def mlp(activation: str, depth: int) -> tuple[nn.Module, tuple[int, ...]]:
    layers: list[nn.Module] = [nn.Linear(64, 256)]
    for _ in range(depth - 1):
        layers += [ACTIVATIONS[activation](), nn.Linear(256, 256)]
    return nn.Sequential(*layers), (64, 64)


def cnn(activation: str, depth: int) -> tuple[nn.Module, tuple[int, ...]]:
    """64 channels on 8x8, 3x3 with zero padding."""
    layers: list[nn.Module] = [nn.Conv2d(32, 64, 3, padding=1)]
    for _ in range(depth - 1):
        layers += [ACTIVATIONS[activation](), nn.Conv2d(64, 64, 3, padding=1)]
    return nn.Sequential(*layers), (8, 32, 8, 8)


NETWORKS = {"mlp": mlp, "cnn": cnn}


def second_moments(network: nn.Module, plan: iso.Plan, shape: tuple[int, ...]) -> Tensor:
    """The mean square of every layer's output, averaged over seeds of weights and of inputs."""
    return torch.tensor(list(islice(measured(network, plan, shape), SEEDS))).mean(0)


def measured(network: nn.Module, plan: iso.Plan, shape: tuple[int, ...]) -> Iterator[list[float]]:
    for seed in range(SEEDS):
        plan.apply(network, seed=seed)
        x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        moments = []
        with torch.no_grad():
            for layer in network.children():
                x = layer(x)
                if isinstance(layer, (nn.Linear, nn.Conv2d)):
                    moments.append(float(x.square().mean()))
        yield moments


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("kind", NETWORKS)
def test_auto_holds_the_second_moment_or_says_that_it_cannot(
    kind: str, activation: str, depth: int
) -> None:
    network, shape = NETWORKS[kind](activation, depth)
    plan = iso.plan(network, torch.zeros(shape), recipe="auto")
    cannot = activation in REPELLED and depth > 2
    if cannot:
        (note,) = plan.notes
        assert activation in note
        assert "no choice of variance alone" in note
        assert "recipe='isometric'" in note
        assert "critical" in iso.recipes()
    else:
        # A bounded activation settles; what its gradient does meanwhile is another matter.
        assert all("the second moment settles at 1" in note for note in plan.notes)
        q = second_moments(network, plan, shape)
        assert len(q) == depth
        assert q.min() >= 0.5, q
        assert q.max() <= 2.0, q


@pytest.mark.parametrize("activation", CRITICAL)
@pytest.mark.parametrize("kind", NETWORKS)
def test_critical_holds_where_auto_cannot(kind: str, activation: str) -> None:
    """Every pre-activation keeps the second moment of the fixed point; so does the output, which
    reads an activation and has no bias to add."""
    network, shape = NETWORKS[kind](activation, 30)
    plan = iso.plan(network, torch.zeros(shape), recipe="critical")
    assert plan.notes == ()
    q = second_moments(network, plan, shape) / CRITICAL[activation]
    assert len(q) == 30
    assert q.min() >= 0.5, q
    assert q.max() <= 2.0, q


def test_the_measure_sees_a_wrong_rule() -> None:
    """LeCun's rule under ReLU loses half the second moment a layer: 2^-9 over nine."""
    network, shape = mlp("relu", 10)
    q = second_moments(network, iso.plan(network, torch.zeros(shape), recipe="lecun"), shape)
    assert q[-1] < 2 * 2.0**-9
