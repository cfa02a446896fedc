"""What a finding says, and where it stops: real faults and their mending are in tests/cases."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso

from .networks import LoRA, he, mlp


def test_a_parameter_that_is_never_set_is_found_by_building_twice() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc, self.scale = nn.Linear(8, 8), nn.Parameter(torch.empty(8))

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x) * torch.nan_to_num(self.scale)

    model = Net()
    with torch.no_grad():
        model.scale.fill_(0.5)
    assert iso.check(model, torch.randn(32, 8)).ok
    (finding,) = iso.check(model, torch.randn(32, 8), build=Net).findings
    assert (finding.code, finding.where) == ("ISO801", "scale")


def test_a_parameter_that_is_nan_explains_all_that_follows() -> None:
    model = mlp([8, *[32] * 6, 4])
    with torch.no_grad():
        model[6].bias[3] = float("nan")
    (finding,) = iso.check(model, torch.randn(64, 8)).findings
    assert (finding.code, finding.severity, finding.where) == ("ISO801", "error", "6.bias")


def test_a_dead_branch_is_a_warning_and_a_dead_layer_an_error() -> None:
    class Branched(nn.Module):
        def __init__(self, round_it: bool) -> None:
            super().__init__()
            self.stem, self.branch, self.head = (
                nn.Linear(8, 16),
                mlp([16, 32, 16]),
                nn.Linear(16, 4),
            )
            self.round_it = round_it
            nn.init.constant_(self.branch[0].bias, -20.0)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(x * self.round_it + self.branch(x))

    for round_it, severity in ((True, "warning"), (False, "error")):
        (finding,) = iso.check(Branched(round_it), 8 * torch.randn(64, 8)).findings
        assert (finding.code, finding.severity, finding.where) == ("ISO401", severity, "branch.1")


def test_the_boundary_of_the_default_law_under_relu() -> None:
    severities = {}
    for depth in (2, 3, 5, 12):
        torch.manual_seed(0)
        report = iso.check(mlp([64, *[256] * depth, 10]), torch.randn(64, 64))
        severities[depth] = {f.code: f.severity for f in report.findings}
    assert severities == {2: {}, 3: {}, 5: {"ISO201": "warning"}, 12: {"ISO201": "error"}}


def test_the_finding_names_the_factor_the_law_and_the_fix() -> None:
    torch.manual_seed(0)
    (finding,) = iso.check(mlp([256, *[256] * 20, 10]), torch.randn(64, 256)).findings
    # sqrt(1/3) by the weights, sqrt(1/2) by ReLU, less the first and last layer's differences.
    assert finding.data["factor"] == pytest.approx(6**-0.5, rel=0.05)
    assert finding.data["layers"] == 20
    assert "× 0.4" in finding.evidence
    assert "U(±1/√fan_in), PyTorch's default, under relu" in finding.cause
    assert "needs std 0.088" in finding.cause  # sqrt(2/256)
    assert finding.fix == "iso.initialize(model, inputs, seed=0)"


def test_the_fix_for_zeros_in_series_can_be_pasted() -> None:
    model, inputs = LoRA(zero_a=True), torch.randn(32, 32)
    (finding,) = iso.check(model, inputs).findings
    frozen = model.base.weight.clone()
    exec(finding.fix, {"iso": iso, "model": model, "inputs": inputs})
    after = iso.check(model, inputs)
    assert after.ok
    assert [f.code for f in after.findings] == ["ISO901"]
    assert torch.equal(model.base.weight, frozen)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_rounding_hides_is_carried_on(dtype: torch.dtype) -> None:
    """Samples cannot be told apart below 1/256 of the rms in bfloat16, below 1e-7 in float32."""
    torch.manual_seed(0)
    model, x = mlp([256, *[256] * 30, 10]).to(dtype), torch.randn(64, 256).to(dtype)
    (finding,) = iso.check(model, x).findings
    assert (finding.code, finding.severity, finding.where) == ("ISO201", "error", "0 … 60")
    # sqrt(Var relu(z) / 3) where samples are independent, sqrt(1 / 6) once they agree.
    apart, together = math.sqrt((0.5 - 0.5 / math.pi) / 3), math.sqrt(1 / 6)
    assert 0.95 * apart < float(finding.data["factor"]) < 1.05 * together


def test_a_stream_that_carries_nothing_is_no_way_round() -> None:
    class Bypassed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.deep = nn.Linear(64, 256), mlp([256, *[256] * 12, 256])

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return 1e-12 * x + self.deep(x)

    torch.manual_seed(0)
    (finding,) = iso.check(Bypassed(), torch.randn(64, 64)).findings
    assert (finding.code, finding.severity) == ("ISO201", "error")
    assert finding.data["layers"] == 13  # one of them joins the stream


def test_a_stream_that_nothing_normalises_doubles_with_every_branch() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleList(he(mlp([256, 256, 256])) for _ in range(24))

        def forward(self, x: Tensor) -> Tensor:
            for branch in self.branches:
                x = x + 0.5**0.5 * branch(x)  # He's gain for a branch that ends linear
            return x

    torch.manual_seed(0)
    (finding,) = iso.check(Residual(), torch.randn(64, 256)).findings
    assert (finding.code, finding.severity) == ("ISO202", "error")
    assert finding.data["factor"] == pytest.approx(2**0.5, rel=0.05)
    assert "branches" in finding.cause


def test_one_head_s_gradient_is_not_compared_with_that_of_all() -> None:
    """Two outputs, one of them tiny: the trunk gets the other's gradient."""

    class TwoHeads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = he(mlp([16, 64, 64, 64, 64]))
            self.large, self.small = nn.Linear(64, 4), he(mlp([64, 64, 64, 64, 4]))
            nn.init.normal_(self.small[0].weight, std=1e-7)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = F.relu(self.trunk(x))
            return self.large(x), self.small(x)

    torch.manual_seed(0)
    assert iso.check(TwoHeads(), torch.randn(64, 16), select=["ISO3"]).findings == ()
