"""torch's own layers through `iso.initialize`: the variance in the weights is the formula's.

The fans are counted here by hand; the tolerance is four standard errors of a mean of squares.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

import isometry as iso


class Experts(nn.Module):
    """Eight matrices applied in one batched product, stored (expert, in, out)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(8, 64, 96))

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight)


class TransposedExperts(Experts):
    """The same, stored (expert, out, in)."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(8, 96, 64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight.transpose(1, 2))


class Heads(nn.Module):
    """An einsum with a parameter: d features into h heads of k."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, 96, 32))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("btd,hdk->bthk", x, self.weight)


class Merged(nn.Module):
    """An einsum with a parameter that sums over two axes: h heads of k into d features."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(4, 32, 96))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bthk,hkd->btd", x, self.weight)


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(500, 64)
        self.weight = self.table.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.table(ids)


class Pair(nn.Bilinear):
    """Both inputs in one tensor, so that every case is called alike."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x[..., :30].contiguous(), x[..., 30:].contiguous())


@dataclass(frozen=True)
class Case:
    """A layer, an input, its fans counted by hand; `columns` is axis 1 times the receptive field,
    which is what PyTorch's own default goes by (but for a bilinear layer)."""

    make: Callable[[], nn.Module]
    x: Callable[[], Tensor]
    fan_in: float
    fan_out: float
    columns: int
    role: str


def images(channels: int) -> Callable[[], Tensor]:
    return lambda: torch.zeros(2, channels, 8, 8)


CASES = {
    "Linear": Case(lambda: nn.Linear(300, 120), lambda: torch.zeros(2, 300), 300, 120, 300, "linear"),
    "Conv1d": Case(lambda: nn.Conv1d(32, 96, 5), lambda: torch.zeros(2, 32, 9), 160, 480, 160, "conv"),
    "Conv2d": Case(lambda: nn.Conv2d(32, 96, 3), images(32), 288, 864, 288, "conv"),
    "Conv2d, stride 2": Case(
        lambda: nn.Conv2d(32, 96, 3, stride=2), images(32), 288, 216, 288, "conv"),
    "Conv2d, dilated": Case(
        lambda: nn.Conv2d(32, 96, 3, dilation=2), images(32), 288, 864, 288, "conv"),
    "Conv2d, grouped": Case(
        lambda: nn.Conv2d(64, 128, 3, groups=4), images(64), 144, 288, 144, "conv"),
    "Conv2d, depthwise": Case(
        lambda: nn.Conv2d(1024, 1024, 3, groups=1024), images(1024), 9, 9, 9, "conv"),
    "ConvTranspose2d, stride 2": Case(
        lambda: nn.ConvTranspose2d(64, 32, 4, stride=2), images(64), 256, 512, 512,
        "conv_transpose"),
    "Bilinear": Case(
        lambda: Pair(30, 40, 25), lambda: torch.zeros(2, 70), 1200, 25, 30, "bilinear"),
    "experts": Case(Experts, lambda: torch.zeros(8, 5, 64), 64, 96, 64 * 96, "experts"),
    "experts, transposed": Case(
        TransposedExperts, lambda: torch.zeros(8, 5, 64), 64, 96, 96 * 64, "experts"),
    "einsum to heads": Case(Heads, lambda: torch.zeros(2, 5, 96), 96, 128, 96 * 32, "linear"),
    "einsum from heads": Case(
        Merged, lambda: torch.zeros(2, 5, 4, 32), 128, 96, 32 * 96, "linear"),
}  # fmt: skip
# recipe -> the variance, and the fourth moment of w / std
RECIPES: dict[str, tuple[Callable[[Case], float], float]] = {
    "lecun": (lambda c: 1 / c.fan_in, 3.0),
    "glorot": (lambda c: 2 / (c.fan_in + c.fan_out), 9 / 5),
    "he": (lambda c: 2 / c.fan_in, 3.0),
    "auto": (lambda c: 1 / c.fan_in, 3.0),  # a first layer reads a second moment of 1
    "torch": (lambda c: 1 / (3 * c.columns), 9 / 5),
}


def assert_moments(w: Tensor, variance: float, fourth: float) -> None:
    w = w.detach().double().flatten()
    error = variance * math.sqrt((fourth - 1) / w.numel())
    assert float(w.square().mean()) == pytest.approx(variance, abs=4 * error)
    assert float(w.mean()) == pytest.approx(0.0, abs=4 * math.sqrt(variance / w.numel()))


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("case", CASES)
def test_the_variance_in_a_layer_is_the_formula(case: str, recipe: str) -> None:
    row = CASES[case]
    layer = row.make()
    nn.init.constant_(layer.weight, float("nan"))
    plan = iso.initialize(layer, row.x(), seed=0, recipe=recipe)
    decision = plan["weight"]
    variance, fourth = RECIPES[recipe]
    assert decision.role == row.role
    assert decision.fans == iso.Fans(row.fan_in, row.fan_out)
    assert decision.law.variance == pytest.approx(variance(row), rel=1e-5)
    assert_moments(layer.weight, variance(row), fourth)


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_table_has_rows_of_second_moment_one(recipe: str) -> None:
    model = Table()
    plan = iso.initialize(model, torch.zeros(2, 3, dtype=torch.long), seed=0, recipe=recipe)
    assert plan["table.weight"].role == "embedding"
    assert_moments(model.weight, 1.0, 3.0)


@pytest.mark.parametrize("recipe", ["auto", "lecun", "glorot", "he"])
def test_biases_start_at_zero(recipe: str) -> None:
    for row in CASES.values():
        layer = row.make()
        iso.initialize(layer, row.x(), seed=0, recipe=recipe)
        bias = getattr(layer, "bias", None)
        assert bias is None or bool((bias == 0).all())


TORCH: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]]]] = {
    "Linear": (lambda: nn.Linear(300, 120), lambda: (torch.zeros(2, 300),)),
    "Conv2d": (lambda: nn.Conv2d(32, 96, 3, groups=4), lambda: (images(32)(),)),
    "ConvTranspose2d": (
        lambda: nn.ConvTranspose2d(64, 32, 4, stride=2), lambda: (images(64)(),)),
    "Bilinear": (
        lambda: nn.Bilinear(30, 40, 25), lambda: (torch.zeros(2, 30), torch.zeros(2, 40))),
    "LSTM": (lambda: nn.LSTM(40, 48, proj_size=24), lambda: (torch.zeros(3, 2, 40),)),
    "GRU": (lambda: nn.GRU(40, 48), lambda: (torch.zeros(3, 2, 40),)),
    "RNN": (lambda: nn.RNN(40, 48), lambda: (torch.zeros(3, 2, 40),)),
    "attention, packed": (
        lambda: nn.MultiheadAttention(64, 4), lambda: (torch.zeros(3, 2, 64),) * 3),
    "attention, apart": (
        lambda: nn.MultiheadAttention(64, 4, kdim=32, vdim=48, add_bias_kv=True),
        lambda: (torch.zeros(3, 2, 64), torch.zeros(3, 2, 32), torch.zeros(3, 2, 48))),
}  # fmt: skip


@pytest.mark.parametrize("case", TORCH)
def test_recipe_torch_is_what_torch_does(case: str) -> None:
    """For every parameter the bound or the std of reset_parameters: the largest of n uniform draws
    is within a factor 1 - 20/n of the bound but for a chance of e^-20."""
    make, inputs = TORCH[case]
    torch.manual_seed(0)
    theirs, ours = make(), make()
    plan = iso.initialize(ours, inputs(), seed=0, recipe="torch")
    for decision in plan:
        a, b = (m.get_parameter(decision.name).detach().double() for m in (theirs, ours))
        if isinstance(decision.law, iso.Uniform):
            assert float(a.abs().max()) <= decision.law.bound * (1 + 1e-6), decision
            assert float(a.abs().max()) >= decision.law.bound * (1 - 20 / a.numel()), decision
        else:
            assert isinstance(decision.law, (iso.Normal, iso.Constant))
            error = decision.law.variance * math.sqrt(2 / a.numel())
            for w in (a, b):
                q = float(w.square().mean())
                assert q == pytest.approx(decision.law.variance, abs=4 * error), decision


def test_by_module_type_alone_the_laws_are_the_same() -> None:
    """Without an input to trace, torch's own layers are planned from their class."""

    class Odd(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(1))  # says nothing of what the model takes
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x * self.scale)

    for name in ("Linear", "Conv2d, stride 2", "Conv2d, grouped", "ConvTranspose2d, stride 2"):
        row = CASES[name]
        plan = iso.plan(Odd(row.make()), recipe="he")
        assert any("module types alone" in note for note in plan.notes)
        decision = plan["layer.weight"]
        assert decision.fans == iso.Fans(row.fan_in, row.fan_out)
        assert decision.law.variance == pytest.approx(2 / row.fan_in, rel=1e-5)
