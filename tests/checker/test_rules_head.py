"""Where the rules about heads, losses and inputs begin to speak, and what they leave alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso

from .given import codes, noise
from .networks import he, mlp


def test_a_large_head_speaks_where_no_loss_is_known() -> None:
    torch.manual_seed(0)
    model = he(mlp([16, 64, 100]))
    assert codes(model, noise(64, 16)) == {}
    nn.init.normal_(model[2].weight)  # type: ignore[index,arg-type]
    assert codes(model, noise(64, 16)) == {"ISO702": "warning"}
    assert codes(model, noise(64, 16), loss="cross_entropy") == {"ISO701": "error"}


@pytest.mark.parametrize(
    ("share", "found"), [(0.5, False), (0.2, False), (0.01, True), (0.99, True)]
)
def test_a_rare_target_needs_a_bias_that_knows_it(share: float, found: bool) -> None:
    torch.manual_seed(0)
    model = he(mlp([16, 64, 500]))
    target = (torch.rand(64, 500, generator=torch.Generator().manual_seed(1)) < share).float()
    given = {"loss": "bce_with_logits", "target": target}
    assert ("ISO703" in codes(model, noise(64, 16), **given)) == found
    nn.init.constant_(model[2].bias, math.log(share / (1 - share)))  # type: ignore[index,arg-type]
    assert "ISO703" not in codes(model, noise(64, 16), **given)


def test_a_head_that_ends_in_a_sigmoid_claims_what_it_gives() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(he(mlp([16, 64, 500])), nn.Sigmoid())
    target = (torch.rand(64, 500, generator=torch.Generator().manual_seed(1)) < 0.01).float()

    def focal(p: Tensor, y: Tensor) -> Tensor:
        return F.binary_cross_entropy(p, y)

    (finding,) = [f for f in iso.check(model, noise(64, 16), loss=focal, target=target)
                  if f.code == "ISO703"]  # fmt: skip
    assert finding.where == "0.2"
    assert finding.data["claimed"] == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("scale", "found"), [(1, False), (8, False), (20, True), (1e-3, True)])
def test_inputs_far_from_a_second_moment_of_1(scale: float, found: bool) -> None:
    torch.manual_seed(0)
    model = he(mlp([16, 64, 4]))
    assert ("ISO704" in codes(model, scale * noise(64, 16))) == found
    normed = nn.Sequential(nn.BatchNorm1d(16), model)
    assert "ISO704" not in codes(normed, scale * noise(64, 16))


def test_inputs_that_no_weight_reads_as_they_are_may_have_any_scale() -> None:
    """Time steps from 0 to 1000, turned into sines."""

    class Timed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.time = nn.Linear(16, 32), nn.Linear(32, 32)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            angles = t[:, None] * torch.logspace(0, -4, 16)
            return self.fc(x) + self.time(torch.cat([angles.sin(), angles.cos()], -1))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    report = iso.check(Timed(), (noise(64, 16), 1000 * torch.rand(64)))
    assert report.findings == ()


def test_a_bias_that_holds_a_prior_is_no_large_head() -> None:
    torch.manual_seed(0)
    model = he(mlp([16, 64, 500]))
    nn.init.constant_(model[2].bias, -6.0)  # type: ignore[index,arg-type]
    assert codes(model, noise(64, 16)) == {}


def test_unscaled_inputs_take_on_what_follows_from_them() -> None:
    torch.manual_seed(0)
    model = he(mlp([64, 128, 10]))
    x = 255 * torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    assert codes(model, x) == {"ISO704": "warning"}
    assert codes(model, x, loss="cross_entropy") == {"ISO704": "error"}
