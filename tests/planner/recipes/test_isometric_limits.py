"""Where the isometric recipe finds no pairs, what it silences, and that nothing is dead for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso
from isometry.types import CenteredOrthogonal, Constant, MirroredOrthogonal

from .isometric_nets import IMAGES, batch, initialized, mlp, singular_values

Between = Callable[[nn.Module, Tensor], Tensor]


class Permuted(nn.Module):
    """Images whose channels come last before they are flattened: pairs are no halves then."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 16, 3, padding=1), nn.Linear(1024, 10)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(F.relu(self.conv(x)).permute(0, 2, 3, 1).flatten(1))
        return out


class Mixer(nn.Module):
    """The second weight reads along tokens, of which there are as many as units."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(F.relu(self.first(x)).transpose(1, 2))
        return out


class Seen(nn.Module):
    """What is hidden is also returned."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.relu(self.first(x))
        return self.second(hidden), hidden


@pytest.mark.parametrize(
    ("model", "x"), [(Permuted(), batch(*IMAGES)), (Mixer(), batch(4, 16, 16)), (Seen(), batch(4, 16))],
    ids=["permuted", "mixer", "seen"],
)  # fmt: skip
def test_no_pairs_where_something_else_reads_them(model: nn.Module, x: Tensor) -> None:
    plan = initialized(model, x)
    assert not any(isinstance(d.law, MirroredOrthogonal) for d in plan)
    assert any("no isometry" in note for note in plan.notes)


def test_what_is_frozen_writes_no_pairs() -> None:
    model, x = mlp([16, 32, 32, 8], nn.ReLU), batch(4, 16)
    model[0].weight.requires_grad_(False)
    plan = initialized(model, x)
    assert plan["0.weight"].keeps
    law = plan["2.weight"].law
    assert isinstance(law, MirroredOrthogonal)
    assert (law.reads, law.writes) == (0, 16)


def test_what_a_frozen_weight_reads_is_not_mirrored() -> None:
    model, x = mlp([16, 32, 32, 8], nn.ReLU), batch(4, 16)
    model[2].weight.requires_grad_(False)
    plan = initialized(model, x)
    assert not isinstance(plan["0.weight"].law, MirroredOrthogonal)
    assert "no isometry" in plan["0.weight"].reason


class Plain(nn.Module):
    """16 to 32 to 16, and something between."""

    def __init__(self, between: Between) -> None:
        super().__init__()
        self.first, self.second, self.between = nn.Linear(16, 32), nn.Linear(32, 16), between
        self.register_buffer("mask", torch.arange(32.0) % 3)
        self.order = torch.randperm(32, generator=torch.Generator().manual_seed(0))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.second(self.between(self, F.relu(self.first(x))))
        return out


BETWEEN: dict[str, Between] = {
    "masked": lambda m, h: h * m.mask,
    "permuted": lambda m, h: h[:, m.order],
    "shuffled": lambda m, h: h.view(-1, 4, 8).transpose(1, 2).reshape(-1, 32),
    "summed up": lambda m, h: h.cumsum(-1),
    "compared": lambda m, h: h.softmax(-1),
    "rolled": lambda m, h: h.roll(3, -1),
}


@pytest.mark.parametrize("between", BETWEEN)
def test_no_pairs_where_units_are_moved_about_or_told_apart(between: str) -> None:
    model, x = Plain(BETWEEN[between]), batch(8, 16)
    plan = initialized(model, x)
    assert not any(isinstance(d.law, MirroredOrthogonal) for d in plan)
    assert "no isometry" in plan["first.weight"].reason
    assert not any("singular values" in note for note in plan.notes)


class Shuffled(nn.Module):
    """The units are moved about before the activation."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 16)

    def forward(self, x: Tensor) -> Tensor:
        moved = F.relu(self.first(x).view(-1, 4, 8).transpose(1, 2))
        out: Tensor = self.second(moved.reshape(-1, 32))
        return out


def test_no_pairs_where_units_are_moved_about_before_the_activation() -> None:
    plan = initialized(Shuffled(), batch(8, 16))
    assert not any(isinstance(d.law, MirroredOrthogonal) for d in plan)


def test_a_kept_bias_parts_the_pairs() -> None:
    model, x = mlp([16, 32, 16], nn.ReLU), batch(8, 16)
    model[0].bias.requires_grad_(False)
    plan = initialized(model, x)
    assert not isinstance(plan["0.weight"].law, MirroredOrthogonal)


class Sum(nn.Module):
    """Two ways side by side: no chain, and no claim about its Jacobian."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 32), nn.Linear(32, 16), nn.Linear(16, 16)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.b(F.relu(self.a(x))) + self.c(x)


class Rectified(nn.Module):
    """The ReLU lies on the stream."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c(F.relu(x + self.b(F.relu(self.a(x)))))
        return out


@pytest.mark.parametrize("model", [Sum(), Rectified()], ids=["sum", "rectified"])
def test_no_claim_of_what_is_no_chain(model: nn.Module) -> None:
    plan = initialized(model, batch(8, 16))
    assert not any("singular values" in note for note in plan.notes)


class Residual(nn.Module):
    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 1)
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8) if norm else nn.Identity(), nn.ReLU(),
                nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8) if norm else nn.Identity(),
            )
            for _ in range(6)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for branch in self.branches:
            x = x + branch(x)
        return x


@pytest.mark.parametrize("norm", [False, True])
def test_residual_branches_start_silent_and_move_at_once(norm: bool) -> None:
    model, x = Residual(norm), batch(16, 3, 8, 8)
    plan = initialized(model, x)
    torch.testing.assert_close(model(x), model.stem(x))
    silent = [d.name for d in plan if d.law == Constant(0.0) and not d.name.endswith("bias")]
    assert silent == [f"branches.{i}.{4 if norm else 3}.weight" for i in range(6)]
    model(x).square().sum().backward()
    for name in silent:
        assert model.get_parameter(name).grad.abs().max() > 1e-3
    assert iso.check(model, x).ok


class Nested(nn.Module):
    """A branch that begins with the matrix another stream starts from."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.a(x)
        return x + (inner + self.b(F.relu(inner)))


def test_no_zero_behind_a_zero() -> None:
    model, x = Nested(), batch(32, 16)
    plan = initialized(model, x)
    assert plan["b.weight"].law == Constant(0.0)
    assert plan["a.weight"].law != Constant(0.0)
    assert iso.check(model, x).ok


class Scaled(nn.Module):
    """A branch that a zero already silences (ReZero)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.g = nn.Linear(16, 16), nn.Linear(16, 16), nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.g * self.b(F.relu(self.a(x)))
        return out


class Multiplied(nn.Module):
    """A branch that is a product of two matrices' outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.a(x) * self.b(x)
        return out


class TwoGates(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c(torch.sigmoid(self.a(x)) * torch.sigmoid(self.b(x)))
        return out


@pytest.mark.parametrize(
    "model", [Scaled(), Multiplied(), TwoGates()], ids=["scaled", "product", "gates"]
)
def test_one_zero_on_each_way(model: nn.Module) -> None:
    """Everything has a gradient after three steps at the latest."""
    x = batch(32, 16)
    initialized(model, x)
    assert model(x).std(0).max() > 0.01  # it hears its input
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (model(x) - x.flip(0)).square().mean().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    assert iso.check(model, x).ok


class Gated(nn.Module):
    def __init__(self, depth: int) -> None:
        super().__init__()
        self.values = nn.ModuleList(nn.Linear(32, 32) for _ in range(depth))
        self.gates = nn.ModuleList(nn.Linear(32, 32) for _ in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        for value, gate in zip(self.values, self.gates, strict=True):
            x = value(x) * torch.sigmoid(gate(x))
        return x


def test_gates_start_half_open() -> None:
    model, x = Gated(20), batch(16, 32)
    initialized(model, x)
    found = singular_values(model.double(), x)
    assert len(found) == 32
    assert found.max() / found.min() < 1.0001
    assert float(found.mean()) == pytest.approx(0.5, abs=0.001)  # the last gate
    model(x.double()).square().sum().backward()
    assert all(gate.weight.grad.abs().max() > 1e-3 for gate in model.gates)


def test_where_no_mirror_fits_the_critical_point_serves() -> None:
    """A depthwise convolution cannot take the difference of two channels."""
    hidden = [m for _ in range(4) for m in (nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.GELU())]
    model = nn.Sequential(nn.Conv2d(3, 16, 1), nn.GELU(), *hidden)
    plan = initialized(model, batch(8, 3, 8, 8))
    bias = plan["0.bias"].law
    assert isinstance(bias, iso.Normal)
    assert bias.variance == pytest.approx(0.17292, rel=1e-4)
    assert "critical second moment 3.5616" in plan["0.weight"].reason
    assert "no isometry" in plan["0.weight"].reason


def test_odd_activations_are_not_mirrored_and_sigmoids_do_not_see_the_mean() -> None:
    for phi in (nn.Tanh, nn.Softsign, nn.Hardtanh):
        plan = initialized(mlp([64, 64, 64, 10], phi), batch(4, 64))
        assert type(plan["2.weight"].law) is iso.Orthogonal
    for phi in (nn.Sigmoid, nn.Hardsigmoid):
        plan = initialized(mlp([64, 64, 64, 10], phi), batch(4, 64))
        law = plan["2.weight"].law
        assert isinstance(law, CenteredOrthogonal)
        assert law.size == 63  # of 64 dimensions the mean is one
