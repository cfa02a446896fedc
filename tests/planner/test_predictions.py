"""What a plan predicts against what is measured: mean square, cosine and gradient, layer by layer.

Averages over seeds of weights and inputs. The theory is that of infinite width: at n units it is off
by O(depth/n), hence a tolerance besides five standard errors of the average, which the seeds give.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import isometry as iso
from isometry.checker.reading import Reading
from isometry.torch.measure import measure

from .models import ResNet, Transformer, cnn, mlp

ERRORS = 5.0
RECIPES = ("lecun", "glorot", "he", "auto", "torch", "critical")
Draw = Callable[[int], Tensor]


def gaussian(*shape: int) -> Draw:
    return lambda seed: torch.randn(shape, generator=torch.Generator().manual_seed(1000 + seed))


def tokens(*shape: int) -> Draw:
    return lambda seed: torch.randint(0, 200, shape, generator=torch.Generator().manual_seed(seed))


def measured(model: nn.Module, plan: iso.Plan, draw: Draw, seeds: int) -> dict[str, Tensor]:
    """Weight -> (seeds, [q, c, the gradient over that at the output])."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(seeds):
        plan.apply(model, seed=seed)
        found, graph = measure(model, draw(seed), probing=False)
        reading = Reading(found, graph)
        (output,) = reading.outputs
        for name, usage in reading.usages.items():
            node = None if usage.output is None else graph.producer(usage.output)
            m = None if node is None else reading.at.get(node.index)
            if m is not None and m.grad is not None and m.c is not None:
                rows.setdefault(name, []).append((m.q, m.c, m.grad / (output.grad or math.nan)))
    return {name: torch.tensor(values).double() for name, values in rows.items()}


def assert_predicted(
    model: nn.Module, recipe: str, draw: Draw, seeds: int,
    q: float = 0.1, c: float = 0.05, grad: float = 0.2, unknown: int = 0,
) -> None:  # fmt: skip
    """Every weight's prediction is as measured, to a relative tolerance (of c: an absolute one); at
    most `unknown` weights lie where the theory says that it cannot follow."""
    plan = iso.plan(model, draw(0), recipe=recipe)
    seen = measured(model, plan, draw, seeds)
    assert [p.name for p in plan.predictions] == [n for n in seen if n in plan and n in
                                                  {p.name for p in plan.predictions}]  # fmt: skip
    left = 0
    for p in plan.predictions:
        left += None in (p.q, p.c, p.grad)
        mean, error = seen[p.name].mean(0), seen[p.name].std(0) / math.sqrt(seeds)
        for what, expected, allowed, at in (
            ("q", p.q, q * (p.q or 0.0), 0), ("c", p.c, c, 1), ("grad", p.grad, grad * (p.grad or 0.0), 2),
        ):  # fmt: skip
            if expected is not None:
                assert float(mean[at]) == pytest.approx(
                    expected, abs=allowed + ERRORS * float(error[at])
                ), f"{what} of {p.name}, recipe {recipe}"
    assert left <= unknown


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.GELU])
def test_an_mlp(activation: type[nn.Module], recipe: str) -> None:
    assert_predicted(mlp(activation, 8, 400), recipe, gaussian(48, 64), 8)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh])
def test_a_cnn_with_padding(activation: type[nn.Module], recipe: str) -> None:
    assert_predicted(cnn(activation, 6, 48), recipe, gaussian(8, 16, 8, 8), 6)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_residual_network_with_batch_normalisation(recipe: str) -> None:
    # A stream of rectified sums is not Gaussian: that takes .05 from its cosines after four blocks.
    assert_predicted(ResNet(), recipe, gaussian(16, 3, 8, 8), 8, c=0.07)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_a_transformer_normalised_before(causal: bool, recipe: str) -> None:
    model = Transformer(normalised_before=True, causal=causal)
    assert_predicted(model, recipe, tokens(12, 16), 8)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
def test_a_transformer_normalised_after(causal: bool, recipe: str) -> None:
    # He's law gives the logits of attention a variance of 16: weights and values are then no longer
    # apart, and the theory says so. Gradients through a softmax are off by up to two fifths.
    model = Transformer(normalised_before=False, causal=causal)
    unknown = 17 if recipe == "he" else 0
    assert_predicted(model, recipe, tokens(12, 16), 8, q=0.13, grad=0.4, unknown=unknown)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU])
def test_a_network_that_looks_linear(activation: type[nn.Module]) -> None:
    """Mirrored pairs read f(z) - f(-z): signal and gradient keep their size to the per cent."""
    assert_predicted(
        mlp(activation, 8, 256), "isometric", gaussian(48, 64), 6, q=0.02, c=0.02, grad=0.05
    )


def test_what_cannot_be_followed_is_none_from_there_on() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            a, b, c = self.layers
            out: Tensor = c(torch.special.bessel_j0(b(torch.relu(a(x)))))
            return out

    first, second, third = iso.plan(Odd(), torch.zeros(4, 64)).predictions
    assert (first.q is None, second.q is None, third.q is None) == (False, False, True)
    assert (first.grad, second.grad) == (None, None)


def test_a_plan_that_is_edited_is_predicted_anew() -> None:
    model, x = mlp(nn.ReLU, 3, 64), torch.zeros(4, 64)
    laws: dict[str, iso.Law] = {"*.weight": iso.Normal(0.5)}
    q = [p.q for p in iso.plan(model, x, overrides=laws).predictions]
    assert q[:2] == pytest.approx([16.0, 64 / 4 * 16.0 / 2])
    assert not iso.plan(model, x).override(laws).predictions


def test_glorot_2010_figure_6() -> None:
    """Activations' standard deviations in five tanh layers of 1000 units."""
    expected = {
        "old": (0.4603, 0.2495, 0.1412, 0.0810, 0.0467),
        "glorot": (0.6279, 0.4863, 0.4082, 0.3576, 0.3216),
    }
    layers: list[nn.Module] = []
    for _ in range(5):
        layers += [nn.Linear(1000, 1000), nn.Tanh()]
    model = nn.Sequential(*layers, nn.Linear(1000, 1000, bias=False))
    x = torch.zeros(4, 1000)
    # A last layer that keeps its input's second moment says what that is.
    keep = iso.Normal(math.sqrt(1 / 1000))
    old = iso.Uniform(1 / math.sqrt(1000))
    for name, law in (
        ("old", {"*.weight": old, "10.weight": keep}),
        ("glorot", {"10.weight": keep}),
    ):
        plan = iso.plan(model, x, recipe="glorot", overrides={**law, "*.bias": iso.Constant(0.0)})
        pre = [p.q or 0.0 for p in plan.predictions]
        stds = [math.sqrt(_after_tanh(q)) for q in pre[:5]]
        assert stds == pytest.approx(expected[name], rel=0.03)
        assert math.sqrt(pre[5]) == pytest.approx(stds[4], rel=1e-3)


def _after_tanh(q: float) -> float:
    from isometry.pointwise import moments_of

    found = moments_of(("tanh", "z"), 0.0, q)
    assert found is not None
    return found[1]


@pytest.mark.parametrize("depth", [22, 30])
def test_he_2015(depth: int) -> None:
    """ReLU under Glorot's law loses half the second moment a layer, and half the gradient."""
    layers: list[nn.Module] = [nn.Linear(64, 64)]
    for _ in range(depth):
        layers += [nn.ReLU(), nn.Linear(64, 64)]
    glorot = iso.plan(nn.Sequential(*layers), torch.zeros(4, 64), recipe="glorot").predictions
    assert math.log2(glorot[-1].q or 0.0) == pytest.approx(-depth, rel=1e-9)
    assert math.log2(glorot[0].grad or 0.0) == pytest.approx(-depth, rel=1e-6)
    he = iso.plan(nn.Sequential(*layers), torch.zeros(4, 64), recipe="he").predictions
    assert [p.q for p in he] == pytest.approx([2.0] * (depth + 1))
    assert [p.grad for p in he] == pytest.approx([1.0] * (depth + 1))
