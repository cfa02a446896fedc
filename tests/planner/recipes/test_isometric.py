"""The isometric recipe through real layers: what passes, what is predicted, what is learnt."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

import isometry as iso
from isometry.gains import ACTIVATIONS
from isometry.recipe.parity import POINTS, operating_point
from isometry.types import MirroredOrthogonal

from .isometric_nets import CURVED, EXACT, IMAGES, batch, initialized, mlp, singular_values


@pytest.mark.parametrize("name", EXACT)
def test_fifty_layers_are_an_isometry(name: str) -> None:
    model, x = mlp([64, *[100] * 50, 64], EXACT[name]), batch(64, 64)
    plan = initialized(model, x)
    found = singular_values(model.double(), x)
    assert len(found) == 50
    assert found.max() / found.min() < 1.0001  # float32 weights, 51 of them in a row
    assert any("singular values of the Jacobian are equal" in note for note in plan.notes)


@pytest.mark.parametrize("name", CURVED)
@pytest.mark.parametrize("depth", [10, 50])
def test_the_spread_of_curved_activations_is_the_predicted_one(name: str, depth: int) -> None:
    """Free probability is a limit of large widths: 200 units leave a tenth, and the second order that
    it does not count as much again."""
    model, x = mlp([200] * (depth + 2), CURVED[name]), batch(4, 200)
    plan = initialized(model, x)
    (note,) = (n for n in plan.notes if "singular values" in n)
    predicted = int(note.split("differ by ")[1].split("%")[0]) / 100
    found = singular_values(model.double(), x)
    assert float(found.std() / found.mean()) == pytest.approx(predicted, rel=0.3, abs=0.01)
    assert predicted < 0.5


EXPRESSIONS = {
    "tanh": ("tanh", "z"), "softsign": ("softsign", "z"), "sin": ("sin", "z"), "erf": ("erf", "z"),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPRESSIONS)
@pytest.mark.parametrize("depth", [1, 10, 100])
def test_the_operating_point_is_where_the_depth_costs_the_gradient_a_tenth(
    name: str, depth: int
) -> None:
    """chi(q) = q E[f'²]/E[f²], by the library's other quadrature: the last point is the smallest."""
    q = operating_point(EXPRESSIONS[name], depth)
    found = iso.moments(lambda z: ACTIVATIONS[name].function(math.sqrt(q) * z))
    assert abs(math.log(found.chi1)) * depth <= 0.1 or q == POINTS[-1]


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    widths=st.lists(st.integers(2, 40), min_size=3, max_size=6), name=st.sampled_from(sorted(EXACT))
)
def test_any_widths_pass_on_sums(widths: list[int], name: str) -> None:
    """The network is a linear map: f(x + y) = f(x) + f(y), at any widths, odd ones too."""
    model = mlp(widths, EXACT[name])
    x, y = batch(2, 8, widths[0]).double()
    initialized(model, x.float())
    model = model.double()
    torch.testing.assert_close(model(x + y), model(x) + model(y), rtol=1e-4, atol=1e-4)


def test_changing_widths_keep_the_second_moment_and_the_gradient_in_bounds() -> None:
    widths = [64, 100, 37, 100, 99, 99, 10]
    model, x = mlp(widths, nn.GELU), batch(512, 64)
    initialized(model, x)
    model.requires_grad_(False)
    for layer in [m for m in model if isinstance(m, nn.Linear)]:
        x = layer(x if layer is model[0] else F.gelu(x))
        units = x.shape[1] / 2  # independent ones; and a direction of each batch is random too
        assert float(x.square().mean()) == pytest.approx(1.0, abs=5 * math.sqrt(2 / min(units, 32)))


@pytest.mark.parametrize("name", EXACT)
def test_convolutions_are_isometries_with_their_borders(name: str) -> None:
    hidden = [m for a in [1, *[16] * 9] for m in (nn.Conv2d(a, 16, 3, padding=1), EXACT[name]())]
    model = nn.Sequential(*hidden, nn.Conv2d(16, 8, 3, padding=1))
    x = batch(*IMAGES)
    plan = initialized(model, x)
    found = singular_values(model.double(), x)
    assert len(found) == 64
    assert found.max() / found.min() < 1.0001
    assert plan["2.weight"].scheme == "mirrored_delta"


def test_a_flattening_and_a_pooling_keep_the_pairs() -> None:
    hidden = [nn.Conv2d(1, 15, 3, padding=1), nn.ReLU(), nn.Conv2d(15, 16, 3, padding=1), nn.SiLU()]
    for ending in ([nn.AvgPool2d(2), nn.Flatten(), nn.Linear(256, 10)],
                   [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)],
                   [nn.Flatten(), nn.Linear(1024, 10)]):  # fmt: skip
        model, (x, y) = nn.Sequential(*hidden, *ending).float(), batch(2, *IMAGES).double()
        plan = initialized(model, x.float())
        law = plan[f"{len(model) - 1}.weight"].law
        assert isinstance(law, MirroredOrthogonal)
        assert law.reads == plan[f"{len(model) - 1}.weight"].shape[1] // 2
        model = model.double()
        torch.testing.assert_close(model(x + y), model(x) + model(y), rtol=1e-4, atol=1e-5)


def train(model: nn.Module, rate: float, steps: int) -> float:
    """Training accuracy on digits after some steps of SGD."""
    digits = load_digits()
    x = torch.tensor((digits.data - digits.data.mean(0)) / (digits.data.std(0) + 1e-6)).float()
    x, y = x / x.square().mean().sqrt(), torch.tensor(digits.target)
    initialized(model, x[:8])
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(0, len(x), (128,), generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


@pytest.mark.parametrize("name", ["relu", "gelu", "softplus"])
def test_training_breaks_the_mirror(name: str) -> None:
    """Pairs are alike only at the start: the differences of their weights grow as large as any."""
    model = mlp([64, *[100] * 30, 10], EXACT[name])
    assert train(model, 0.01, 150) > 0.9
    w = model[20].weight.detach()
    start = mlp([64, *[100] * 30, 10], EXACT[name])
    initialized(start, batch(4, 64))
    moved = w - start[20].weight.detach()
    both, one = (moved[:50] + moved[50:]).norm(), moved[:50].norm()
    assert both > 0.3 * one


def test_the_whole_plan_is_kept_exactly(tmp_path: object) -> None:
    plan = initialized(mlp([64, 99, 100, 10], nn.GELU), batch(4, 64))
    assert iso.Plan.from_json(plan.to_json()) == plan


def test_a_classifier_starts_at_ln_c() -> None:
    model, x = mlp([64, 100, 100, 10], nn.ReLU), batch(256, 64)
    initialized(model, x, loss="cross_entropy")
    loss = F.cross_entropy(model(x), torch.arange(256) % 10)
    assert loss.item() == pytest.approx(math.log(10) + 0.005, abs=0.05)
