"""`fixup`: the first update of a residual network does not grow with its depth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import isometry as iso
from isometry.errors import PlanError
from isometry.types import Constant

from .networks import Plain, Residual, change_after_a_step

WIDTH = 32


def update(blocks: int, recipe: str, layers: int = 2, unscaled: bool = False) -> float:
    """The change of the output by the sixth step of SGD: head and last layers have left zero."""
    torch.manual_seed(1)
    x, target = torch.randn(64, WIDTH), torch.randint(0, 10, (64,))
    model = Residual(blocks, WIDTH, layers)
    iso.initialize(model, x, recipe=recipe)
    if unscaled:
        with torch.no_grad():
            for block in model.blocks:
                for layer in block[:-1]:
                    layer.weight *= blocks ** (1 / (2 * layers - 2))
    for _ in range(5):
        change_after_a_step(model, x, target, 0.05)
    return change_after_a_step(model, x, target, 0.05)


@pytest.mark.parametrize("layers", [2, 3])
def test_the_update_is_of_one_size_at_any_depth(layers: int) -> None:
    """Theorem 2: Theta(learning rate). Zeros alone do not do it, and He explodes."""
    changes = [update(n, "fixup", layers) for n in (2, 8, 32, 128)]
    assert max(changes) / min(changes) < 2
    zeros_alone = [update(n, "fixup", layers, unscaled=True) for n in (2, 128)]
    assert not zeros_alone[1] < 4 * zeros_alone[0]  # nor no number any more
    assert not update(8, "he", layers) < 100 * changes[1]


def test_the_network_starts_as_its_stem() -> None:
    x = torch.randn(16, WIDTH)
    model = Residual(20, WIDTH)
    iso.initialize(model, x, recipe="fixup")
    with torch.no_grad():
        assert not model(x).any()
    assert all(torch.equal(end, model.ends[0]) for end in model.ends)


@pytest.mark.parametrize(("blocks", "layers", "power"), [(9, 2, -1 / 2), (16, 3, -1 / 4), (8, 4, -1 / 6)])  # fmt: skip
def test_the_laws(blocks: int, layers: int, power: float) -> None:
    model = Residual(blocks, WIDTH, layers)
    plan = iso.plan(model, torch.randn(4, WIDTH), recipe="fixup")
    he = (2 / WIDTH) ** 0.5
    assert plan["stem.weight"].law.variance ** 0.5 == pytest.approx(he, rel=1e-6)
    for place in range(layers - 1):
        std = plan[f"blocks.3.{place}.weight"].law.variance ** 0.5
        assert std == pytest.approx(he * blocks**power, rel=1e-5)
    assert plan[f"blocks.3.{layers - 1}.weight"].law == Constant(0.0)
    assert plan["head.weight"].law == Constant(0.0)


class Bottleneck(nn.Module):
    """A convolutional branch as Fixup's own: scalar biases, a scalar factor, a projected skip."""

    def __init__(self, into: int, out: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(into, out, 3, padding=1, bias=False)
        self.second = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.skip = nn.Conv2d(into, out, 1, bias=False) if into != out else nn.Identity()
        self.shift1, self.shift2 = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.first(x + self.shift1))
        return torch.relu(self.second(y + self.shift2) * self.scale + self.skip(x))


def test_a_skip_that_changes_width_counts_as_a_branch() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), Bottleneck(8, 8), Bottleneck(8, 16), Bottleneck(16, 16),
                        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))  # fmt: skip
    plan = iso.plan(net, torch.randn(2, 3, 8, 8), recipe="fixup")
    for place in (1, 2, 3):
        assert plan[f"{place}.second.weight"].law == Constant(0.0)
        assert "3 branches of 2 layers" in plan[f"{place}.first.weight"].reason
        assert plan[f"{place}.scale"].keeps
    assert plan["2.skip.weight"].law.variance == pytest.approx(2 / 8)
    assert plan["2.first.weight"].law.variance == pytest.approx(2 / 72 / 3, rel=1e-5)


def test_refusals() -> None:
    x = torch.randn(4, WIDTH)
    with pytest.raises(PlanError, match=r"takes the place of normalisation; this model normalises in norms.0, norms.1, norms.2 and 2 more. Use"):  # fmt: skip
        iso.plan(Residual(5, WIDTH, norm=True), x, recipe="fixup")
    with pytest.raises(PlanError, match=r"for residual networks.*recipe='auto', or 'isometric'"):
        iso.plan(Plain(3, WIDTH, torch.relu), x, recipe="fixup")
    with pytest.raises(PlanError, match="for residual networks"):  # h + z (n - h) is no branch
        iso.plan(nn.GRU(4, 5, 2, bidirectional=True), torch.randn(7, 2, 4), recipe="fixup")


class Words(nn.Module):
    """Rows of a table, and residual branches on them."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 16, padding_idx=0)
        self.into, self.out = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x: torch.Tensor = self.table(ids)
        return x + self.out(torch.relu(self.into(x)))


def test_a_table_has_rows_of_second_moment_one() -> None:
    decision = iso.plan(Words(), torch.arange(20).reshape(2, 10), recipe="fixup")["table.weight"]
    assert decision.law == iso.Normal(1.0)
    assert [b.name for b in decision.blocks] == ["padding", "rows"]
