"""Real faults, rebuilt from where they were reported, are found, and gone after the fix."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso

from .networks import Function, LoRA, conv_chain, he, initialised, mlp

constant, normal, uniform = (
    partial(partial, f) for f in (nn.init.constant_, nn.init.normal_, nn.init.uniform_)
)
he_uniform = partial(nn.init.kaiming_uniform_, nonlinearity="relu")


def between(bound: float) -> Callable[[Tensor], object]:
    return uniform(a=-bound, b=bound)


@dataclass(frozen=True)
class Fault:
    """A network as reported, what it was shown, and what must be found where."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    code: str
    where: str
    severity: str = "error"
    loss: str | None = None
    positive: bool = False  # inputs in [0, 1]
    fixed: bool = True  # does iso.initialize mend it?
    more: dict[str, Any] = field(default_factory=dict)


def lenet(width: int = 32) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(2 * width * 49, 128), nn.ReLU(), nn.Linear(128, 10),
    )  # fmt: skip


def conv_then_dense() -> nn.Sequential:
    dense = [m for i in range(16) for m in (nn.Linear(1600 if i == 0 else 64, 64), nn.ReLU())]
    return nn.Sequential(
        nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), *dense, nn.Linear(64, 10),
    )  # fmt: skip


def negative() -> nn.Module:
    def fill(w: Tensor) -> None:
        with torch.no_grad():
            w.normal_(std=0.2).abs_().neg_()

    return initialised(mlp([16, 32, 32, 32, 4]), fill)


def seeded_alike() -> nn.Module:
    def fill(w: Tensor) -> None:
        nn.init.kaiming_normal_(w, generator=torch.Generator().manual_seed(5))

    return initialised(mlp([32, 32, 32, 32, 4]), fill)


class UntiedHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = (
            nn.Embedding(300, 128),
            nn.LayerNorm(128),
            nn.Linear(128, 300),
        )
        nn.init.normal_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.embed(x)))


class CharMLP(nn.Module):
    """Three letters, a table, tanh, 27 letters: everything from N(0, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.fc, self.out = nn.Embedding(27, 10), nn.Linear(30, 200), nn.Linear(200, 27)
        initialised(self, normal(std=1.0), normal(std=1.0))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.tanh(self.fc(self.embed(x).flatten(1))))


FAULTS: dict[str, Fault] = {
    "stackoverflow 48385830": Fault(
        lambda: initialised(mlp([784, 30, 10], nn.Sigmoid), normal(std=1.0), normal(std=1.0)),
        (64, 784), "ISO402", "1", positive=True,
    ),
    "stackoverflow 48801893": Fault(
        lambda: initialised(mlp([1, 16, 16, 1]), normal(std=1e-3), normal(std=1e-3)),
        (64, 1), "ISO201", "0 … 4",
    ),
    "all zeros under softmax": Fault(
        lambda: initialised(mlp([784, 10, 10], lambda: nn.Softmax(-1)), constant(val=0.0)),
        (64, 784), "ISO103", "0.weight", loss="cross_entropy", positive=True, fixed=False,
    ),
    "all zeros under relu": Fault(
        lambda: initialised(mlp([64, 32, 32, 10]), constant(val=0.0)),
        (64, 64), "ISO103", "0.weight, 2.weight, 4.weight", loss="cross_entropy", fixed=False,
    ),
    "stackoverflow 48723158": Fault(
        lambda: initialised(mlp([784, 500, 500, 500, 10]), normal(std=1.0)),
        (64, 784), "ISO202", "0 … 6", loss="cross_entropy", positive=True,
    ),
    "stackoverflow 35078027": Fault(
        lambda: initialised(mlp([784, 512, 10], nn.Sigmoid), normal(std=1.0)),
        (64, 784), "ISO402", "1", positive=True,
    ),
    "TheDeepChecker, constant weights": Fault(
        lambda: initialised(lenet(), constant(val=0.01)),
        (32, 1, 28, 28), "ISO101", "0.weight … 7.weight", loss="cross_entropy", positive=True,
    ),
    "AutoTrainer circles, U(±.05)": Fault(
        lambda: initialised(mlp([2, *[5] * 9, 1]), between(0.05)), (64, 2), "ISO201", "0 … 18"
    ),
    "AutoTrainer circles, He under sigmoid": Fault(
        lambda: initialised(mlp([2, *[5] * 12, 1], nn.Sigmoid), he_uniform),
        (64, 2), "ISO501", "… 24", fixed=False,  # no law mends a sigmoid at depth
    ),
    "AutoTrainer circles, He under exp": Fault(
        lambda: initialised(mlp([2, *[5] * 11, 1], lambda: Function(torch.exp)), he_uniform),
        (64, 2), "ISO202", "", fixed=False,
    ),
    "AutoTrainer MNIST, U(±.05)": Fault(
        lambda: initialised(conv_then_dense(), between(0.05)),
        (32, 1, 28, 28), "ISO201", "0 … 39", positive=True,
    ),
    "negative weights on positive features": Fault(
        negative, (64, 16), "ISO401", "1", positive=True
    ),
    "DCNN essay, N(0, .1)": Fault(
        lambda: initialised(conv_chain(64, 20), normal(std=0.1)), (8, 3, 8, 8), "ISO202", "38"
    ),
    "truncated normal of std 1": Fault(
        lambda: initialised(lenet(), partial(nn.init.trunc_normal_, std=1.0)),
        (32, 1, 28, 28), "ISO202", "0 … ", loss="cross_entropy", positive=True,
    ),
    "relora 18, A and B zero": Fault(
        lambda: LoRA(zero_a=True), (32, 32), "ISO103", "a, b", fixed=False
    ),
    "transformers 26441, untied head of std 1": Fault(
        UntiedHead, (32, 16), "ISO701", "head", loss="cross_entropy", more={"ids": 300}
    ),
    "keras-hub 352, one seed for all layers": Fault(
        seeded_alike, (64, 32), "ISO102", "0.weight … 4.weight", severity="warning"
    ),
    "siren-pytorch 1, default law under sin": Fault(
        lambda: mlp([2, *[256] * 8, 1], lambda: Function(torch.sin)), (64, 2), "ISO201", "0 … 16", severity="warning",
    ),
    "makemore part 3, tanh": Fault(
        CharMLP, (64, 3), "ISO402", "", loss="cross_entropy", more={"ids": 27}
    ),
    "makemore part 3, loss": Fault(
        CharMLP, (64, 3), "ISO701", "out", loss="cross_entropy", more={"ids": 27}
    ),
    "nn.Linear's default at depth 20": Fault(
        lambda: mlp([64, *[256] * 20, 10]), (64, 64), "ISO201", "0 … 40"
    ),
    "nn.Linear's default at depth 30": Fault(
        lambda: mlp([64, *[256] * 30, 10]), (64, 64), "ISO201", "0 … 60", loss="cross_entropy"
    ),
}  # fmt: skip


def inputs(fault: Fault) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if "ids" in fault.more:
        return torch.randint(fault.more["ids"], fault.shape, generator=generator)
    draw = torch.rand if fault.positive else torch.randn
    return draw(fault.shape, generator=generator)


def narrow(model: nn.Module) -> bool:
    """Of five units a layer chance may still lose a factor of ten: a warning, whatever the law."""
    return any(isinstance(m, nn.Linear) and m.in_features == 5 for m in model.modules())


@pytest.mark.parametrize("name", FAULTS)
def test_a_real_fault_is_found_and_mended(name: str) -> None:
    fault = FAULTS[name]
    torch.manual_seed(0)
    model, x = fault.build(), inputs(fault)
    report = iso.check(model, x, loss=fault.loss)
    found = [f for f in report.findings if f.code == fault.code]
    assert found, str(report)
    assert found[0].severity == fault.severity
    assert fault.where in found[0].where
    assert report.findings[0].severity == fault.severity  # nothing is worse than the cause
    if fault.fixed:
        iso.initialize(model, x, seed=0, loss=fault.loss)
        after = iso.check(model, x, loss=fault.loss)
        assert after.ok, str(after)
        assert fault.code not in [f.code for f in after.findings] or narrow(model), str(after)


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
