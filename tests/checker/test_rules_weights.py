"""Where the rules about weights and their laws begin to speak, and what they leave alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import isometry as iso

from .given import codes, noise
from .networks import he, initialised, mlp


def test_a_constant_or_zero_head_is_left_alone() -> None:
    for value in (0.0, 0.1):
        torch.manual_seed(0)
        model = he(mlp([16, 64, 10]))
        nn.init.constant_(model[2].weight, value)  # type: ignore[index,arg-type]
        assert not {"ISO104", "ISO203"} & set(codes(model, noise(64, 16), loss="cross_entropy"))


def grouped(mode: str, norm: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for _ in range(3):
        layers += [nn.Conv2d(64, 64, 3, padding=1, groups=64)]
        layers += [nn.BatchNorm2d(64)] if norm else []
        layers += [nn.ReLU()]
    return initialised(
        nn.Sequential(*layers), lambda w: nn.init.kaiming_normal_(w, mode=mode, nonlinearity="relu")
    )


def test_depthwise_kernels_by_all_groups_are_too_small_by_their_root() -> None:
    torch.manual_seed(0)
    (finding,) = iso.check(grouped("fan_out", norm=False), noise(32, 64, 8, 8)).findings
    assert finding.code == "ISO602"
    # gain √2 where the first needs 1: √2/8, then 1/8 and 1/8.
    # The std of 576 values is known to 3 %, of three layers together to 5 %.
    assert finding.data["effect"] == pytest.approx(math.sqrt(2) / 8**3, rel=0.15)
    assert "needs std 0.33" in finding.cause  # 1/√9
    assert "ISO602" not in codes(grouped("fan_in", norm=False), noise(32, 64, 8, 8))
    assert codes(grouped("fan_out", norm=True), noise(32, 64, 8, 8)) == {}


def test_one_std_for_all_matrices_is_no_misread_fan() -> None:
    """N(0, 0.0442): He's law for a fan of 1024, by accident, in matrices of quite other fans."""

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = (
                nn.Parameter(torch.empty(64, 1024)),
                nn.Parameter(torch.empty(1024, 64)),
            )
            for w in (self.a, self.b):
                nn.init.normal_(w, std=math.sqrt(2 / 1024))

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x @ self.a) @ self.b

    torch.manual_seed(0)
    # The first misses by √(64·2/1024) = 0.35, the second not at all: not a factor of 3.
    assert "ISO602" not in codes(Mixed(), noise(64, 64))


@pytest.mark.parametrize(("peak", "severity"), [(0.12, None), (0.4, "info"), (2.0, "warning")])
def test_a_weight_many_sigma_out(peak: float, severity: str | None) -> None:
    torch.manual_seed(0)
    model = he(mlp([512, 512, 4]))
    with torch.no_grad():
        model[0].weight.normal_(std=0.02).clamp_(-0.1, 0.1)  # type: ignore[index,operator]
    with torch.no_grad():
        model[0].weight[3, 5] = peak  # type: ignore[index]
    found = [f for f in iso.check(model, noise(64, 512)) if f.code == "ISO603"]
    assert [f.severity for f in found] == ([] if severity is None else [severity])
    if found:
        assert found[0].data["sigmas"] == pytest.approx(peak / 0.02, rel=0.15)


@pytest.mark.parametrize("fill", [
    lambda w: nn.init.sparse_(w, 0.9), nn.init.eye_, lambda w: nn.init.uniform_(w, -1, 1),
    lambda w: nn.init.normal_(w),
])  # fmt: skip
def test_what_is_sparse_flat_or_normal_has_no_outliers(fill: Callable[[Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    assert "ISO603" not in codes(initialised(mlp([512, 512, 4]), fill), noise(64, 512))


def test_one_seed_for_layers_of_two_shapes_and_two_scales() -> None:
    torch.manual_seed(0)
    model = he(mlp([32, 64, 48, 4]))
    assert codes(model, noise(64, 32)) == {}
    for i in (0, 2):
        nn.init.kaiming_normal_(model[i].weight, generator=torch.Generator().manual_seed(1))  # type: ignore[index,arg-type]
    (finding,) = iso.check(model, noise(64, 32)).findings
    assert (finding.code, finding.where) == ("ISO804", "0.weight, 2.weight")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_law_that_is_too_narrow_for_float16_is_not_for_bfloat16(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = he(mlp([16, 64, 4]))
    model.register_parameter("faint", nn.Parameter(1e-6 * torch.randn(64)))
    model[1].register_forward_hook(lambda module, args, out: out * (1 + model.faint))  # type: ignore[index]
    found = codes(model.to(dtype), noise(64, 16).to(dtype))
    assert found == ({"ISO805": "warning"} if dtype is torch.float16 else {})


def test_two_zeros_under_relu_need_both_a_law_and_a_zero_gain_needs_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        he(mlp([16, 32, 32])), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 4)
    )
    for layer in (model[0][2], model[2]):  # type: ignore[index]
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    report = iso.check(model, noise(64, 16), loss="cross_entropy")
    assert [f.code for f in report] == ["ISO103"]
    report.fix(model)
    assert iso.check(model, noise(64, 16), loss="cross_entropy").findings == ()
    normed = nn.Sequential(nn.Linear(16, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 4))
    nn.init.zeros_(normed[1].weight)
    (finding,) = iso.check(normed, noise(64, 16)).findings
    assert "overrides={'1.weight': iso.Constant(1.0)}" in finding.fix
    iso.check(normed, noise(64, 16)).fix(normed)
    assert bool((normed[1].weight == 1).all())


def test_rows_that_are_copies_of_one_are_a_warning() -> None:
    torch.manual_seed(0)
    model = he(mlp([64, 128, 128, 10]))
    with torch.no_grad():
        model[2].weight.copy_(model[2].weight[:1].expand(128, 128).clone())  # type: ignore[index,operator]
    (finding,) = iso.check(model, noise(64, 64)).findings
    assert (finding.code, finding.severity, finding.where) == ("ISO104", "warning", "2.weight")
    assert finding.fix == "iso.initialize(model, inputs, seed=0, include=['2.weight', '2.bias'])"


def test_zeros_nested_deeper_than_the_steps_are_no_error() -> None:
    class Nested(nn.Module):
        def __init__(self, depth: int) -> None:
            super().__init__()
            self.fc = nn.ModuleList(nn.Linear(16, 16) for _ in range(depth))
            self.gates = nn.ParameterList(torch.zeros(1) for _ in range(depth))

        def forward(self, x: Tensor) -> Tensor:
            out = torch.zeros_like(x)
            for fc, gate in zip(reversed(self.fc), reversed(self.gates), strict=True):
                out = gate * (fc(x) + out)
            return x + out

    for depth in (2, 5):
        torch.manual_seed(0)
        assert iso.check(Nested(depth), noise(64, 16)).ok


def test_a_float8_parameter_is_measured() -> None:
    model = nn.Sequential(nn.Linear(16, 8))
    model.scale = nn.Parameter(torch.randn(64).to(torch.float8_e4m3fn), requires_grad=False)
    report = iso.check(model, noise(32, 16))
    q = {p.name: p.q for p in report.parameters}["scale"]
    assert q == pytest.approx(1.0, abs=0.5)
