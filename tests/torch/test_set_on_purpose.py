"""What an author initialises on purpose is recognised by how it is used, kept, and said to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import isometry as iso
from isometry.torch.meta import meta

WIDTH = 32


class Branch(nn.Module):
    """x + scale * f(x), with a scale of one number, or one number a channel."""

    def __init__(self, scale: Tensor) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH)
        )
        self.weight = nn.Parameter(scale)  # a name that says nothing

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight * self.body(x)


class LastGainZero(nn.Module):
    """A ResNet block whose last normalisation has gain 0."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))


class AdaptiveNorm(nn.Module):
    """A block of DiT: shift, scale and gate of a normalised signal, from a condition; all 0."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.body = nn.Linear(WIDTH, WIDTH)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, 3 * WIDTH))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        shift, scale, gate = self.modulation(condition).chunk(3, dim=-1)
        return x + gate * self.body(self.norm(x) * (1 + scale) + shift)


class ZeroHead(nn.Module):
    """A classifier whose last layer starts at zero."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 10)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.body(x)))


class Adapted(nn.Module):
    """A linear layer with a low-rank adapter: W x + B A x, B = 0."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(WIDTH, WIDTH)
        self.a, self.b = nn.Linear(WIDTH, 4, bias=False), nn.Linear(4, WIDTH, bias=False)
        nn.init.zeros_(self.b.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.base(x) + self.b(self.a(x))


class ZeroBranch(nn.Module):
    """A residual branch whose last matrix is zero (Fixup, ControlNet's zero convolutions)."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        nn.init.zeros_(self.last.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.last(torch.relu(self.first(x)))


def vectors(count: int) -> Callable[[], tuple[Tensor, ...]]:
    return lambda: tuple(torch.randn(8, WIDTH) for _ in range(count))


# model, inputs, what is kept, and what is drawn beside it
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[Tensor, ...]], str, str]] = {
    "LayerScale": (
        lambda: Branch(torch.full((WIDTH,), 1e-6)), vectors(1), "weight", "body.3.weight",
    ),
    "ReZero": (lambda: Branch(torch.zeros(1)), vectors(1), "weight", "body.3.weight"),
    "ReZero, one number": (lambda: Branch(torch.zeros(())), vectors(1), "weight", "body.3.weight"),
    "last gain 0": (
        LastGainZero, lambda: (torch.randn(4, 8, 6, 6),), "bn2.weight", "conv2.weight",
    ),
    "adaLN-Zero": (AdaptiveNorm, vectors(2), "modulation.1.weight", "body.weight"),
    "zero head": (ZeroHead, vectors(1), "head.weight", "body.weight"),
    "LoRA": (Adapted, vectors(1), "b.weight", "a.weight"),
    "zero branch": (ZeroBranch, vectors(1), "last.weight", "first.weight"),
}  # fmt: skip


@pytest.mark.parametrize("on_meta", [False, True], ids=["real", "meta"])
@pytest.mark.parametrize("recipe", ["auto", "he", "torch"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_set_on_purpose_is_kept(case: str, recipe: str, on_meta: bool) -> None:
    make, draw, special, drawn = CASES[case]
    torch.manual_seed(0)
    reference = make()
    if on_meta:
        with meta():
            model = make()
        assert model.get_parameter(special).is_meta
    else:
        model = make()
    untouched = model.get_parameter(drawn).clone()
    plan = iso.initialize(model, draw(), seed=0, recipe=recipe)
    assert torch.equal(model.get_parameter(special), reference.get_parameter(special))
    assert plan[special].keeps
    assert any(w in plan[special].reason for w in ("on purpose", "starts silent"))
    assert not plan[drawn].keeps
    assert model.get_parameter(drawn).abs().max() > 0
    if not on_meta:
        assert not torch.equal(model.get_parameter(drawn), untouched)
    assert iso.check(model, draw()).ok


def test_a_zero_matrix_that_nothing_goes_round_is_a_fault_and_is_drawn() -> None:
    """Zero in the middle of a chain never moves what is before it: not on purpose."""
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4))  # fmt: skip
    nn.init.zeros_(model[2].weight)
    plan = iso.initialize(model, torch.randn(8, WIDTH), seed=0)
    assert not plan["2.weight"].keeps
    assert bool((model[2].weight != 0).any())


def test_two_zero_matrices_in_series_are_not_on_purpose() -> None:
    """LoRA with A = 0 and B = 0 is dead for ever: at least one of them is drawn."""
    model = Adapted()
    nn.init.zeros_(model.a.weight)
    iso.initialize(model, torch.randn(8, WIDTH), seed=0)
    assert bool((model.a.weight != 0).any()) or bool((model.b.weight != 0).any())


def test_frozen_parameters_and_buffers_are_kept() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 4))
    model[0].weight.requires_grad_(False)
    model[1].running_mean += 3.0
    before = {n: t.clone() for n, t in model.state_dict().items()}
    plan = iso.initialize(model, torch.randn(8, WIDTH), seed=0)
    for name in ("0.weight", "1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert plan[name].keeps
        assert torch.equal(model.state_dict()[name], before[name])
    assert "frozen" in plan["0.weight"].reason
    assert not plan["2.weight"].keeps


def test_an_override_beats_what_is_kept() -> None:
    model = Branch(torch.zeros(1))
    iso.initialize(model, vectors(1)(), seed=0, overrides={"weight": iso.Constant(0.5)})
    assert model.weight.tolist() == [0.5]
