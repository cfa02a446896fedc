"""Where each rule begins to speak, and what it leaves alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso

from .networks import he, initialised, mlp


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def codes(model: nn.Module, x: Tensor, **more: object) -> dict[str, str]:
    return {f.code: f.severity for f in iso.check(model, x, **more)}  # type: ignore[arg-type]


# ISO104 and ISO203: hidden layers, not heads, not branches


def test_a_constant_or_zero_head_is_left_alone() -> None:
    for value in (0.0, 0.1):
        torch.manual_seed(0)
        model = he(mlp([16, 64, 10]))
        nn.init.constant_(model[2].weight, value)  # type: ignore[index,arg-type]
        assert not {"ISO104", "ISO203"} & set(codes(model, noise(64, 16), loss="cross_entropy"))


def test_a_zero_hidden_layer_cuts_the_signal_and_a_zero_branch_does_not() -> None:
    class Net(nn.Module):
        def __init__(self, skip: bool) -> None:
            super().__init__()
            self.stem, self.zero, self.head = (nn.Linear(16, 16) for _ in range(3))
            nn.init.zeros_(self.zero.weight)
            self.skip = skip

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            x = self.zero(x) + x if self.skip else self.zero(x)
            return self.head(torch.tanh(x))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    assert codes(Net(skip=True), noise(64, 16)) == {"ISO901": "info"}
    (finding,) = iso.check(Net(skip=False), noise(64, 16)).findings
    assert (finding.code, finding.severity, finding.where) == ("ISO203", "warning", "zero")
    assert "until it moves, at step 1" in finding.evidence


# ISO502: tokens that become one


class Attention(nn.Module):
    def __init__(self, dim: int, skip: float) -> None:
        super().__init__()
        self.qkv, self.out, self.skip = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim), skip

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, -1)
        return self.skip * x + self.out(F.scaled_dot_product_attention(q, k, v))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("skip", "collapses"), [(0.0, True), (1.0, False)])
def test_attention_without_a_way_round_makes_all_tokens_one(skip: float, collapses: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(Attention(32, skip) for _ in range(6)))
    report = iso.check(model, noise(32, 16, 32))
    assert any(f.code == "ISO502" and f.severity == "error" for f in report) == collapses


def test_the_share_of_the_tokens_is_what_its_formula_says() -> None:
    x = noise(32, 8, 16)
    report = iso.check(nn.Sequential(nn.Linear(16, 16), nn.ReLU()), x)
    assert report.layers[0].tokens == pytest.approx(math.sqrt(7 / 8), rel=0.1)  # one mean of eight
    alike = noise(32, 1, 16).expand(32, 8, 16)
    assert iso.check(nn.Linear(16, 16), alike).layers[0].tokens == pytest.approx(0.0, abs=1e-6)


# ISO601: by what the signal does, not by the name of the law


def test_glorot_under_relu_is_a_remark_when_it_matters_a_little_and_a_fault_when_much() -> None:
    found = {}
    for depth in (3, 5, 9, 24):
        torch.manual_seed(0)
        model = initialised(mlp([256, *[256] * depth, 10]), nn.init.xavier_normal_)
        found[depth] = codes(model, noise(64, 256))
    assert found == {
        3: {}, 5: {"ISO601": "info"}, 9: {"ISO201": "warning"}, 24: {"ISO201": "error"}
    }  # fmt: skip


# ISO602: fans that a shape does not tell


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


# ISO603: weights far out


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


# ISO702, ISO703, ISO704


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


# ISO804, ISO805


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


# The theory beside the measurement


def test_the_predicted_second_moment_is_the_measured_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1),
        nn.BatchNorm2d(64), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    report = iso.check(initialised(model, nn.init.kaiming_normal_), 3 * noise(32, 3, 16, 16))
    for m in report.layers[:5]:
        assert m.predicted == pytest.approx(m.q, rel=0.25), m.op


# A first layer, a dead layer, zeros that need more than one to move


@pytest.mark.parametrize(("factor", "code"), [(1e4, "ISO202"), (1e-6, "ISO201"), (5.0, None)])
def test_a_first_layer_is_measured_against_its_input(factor: float, code: str | None) -> None:
    torch.manual_seed(0)
    model = he(mlp([64, *[128] * 6, 10]))
    with torch.no_grad():
        model[0].weight.mul_(factor / 2**0.5)  # type: ignore[index,operator]
    found = iso.check(model, noise(64, 64)).findings
    assert [(f.code, f.where) for f in found] == ([] if code is None else [(code, "0")])
    if found:
        assert found[0].parameters == ("0.weight", "0.bias")
        assert found[0].data["effect"] == pytest.approx(factor, rel=0.1)


def test_a_branch_that_is_dead_by_its_bias_is_found_where_it_dies() -> None:
    class Branched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.head = nn.Linear(16, 16), nn.Linear(16, 4)
            self.branch = he(mlp([16, 32, 32, 16]))
            nn.init.constant_(self.branch[0].bias, -50.0)  # type: ignore[index,arg-type]

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(x + self.branch(x))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    (finding,) = iso.check(Branched(), noise(64, 16)).findings
    assert (finding.code, finding.severity, finding.where) == ("ISO401", "warning", "branch.1")
    assert "mean -50" in finding.cause


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


def test_a_bias_that_holds_a_prior_is_no_large_head() -> None:
    torch.manual_seed(0)
    model = he(mlp([16, 64, 500]))
    nn.init.constant_(model[2].bias, -6.0)  # type: ignore[index,arg-type]
    assert codes(model, noise(64, 16)) == {}


def test_the_activation_is_blamed_only_where_the_weights_have_their_std() -> None:
    for share, blamed in ((1.0, "relu itself, in a row"), (0.9, "needs std")):
        torch.manual_seed(0)
        model = initialised(
            mlp([128, *[128] * 60, 4]),
            lambda w, share=share: nn.init.normal_(w, std=share * (2 / w.shape[1]) ** 0.5),
        )
        found = [f for f in iso.check(model, noise(64, 128)) if f.code in ("ISO201", "ISO501")]
        assert all(blamed in f.cause for f in found), found
        assert found or share == 1.0


def test_gates_inside_one_operation_are_said_not_to_be_seen() -> None:
    report = iso.check(nn.LSTM(8, 16, batch_first=True), noise(32, 6, 8))
    assert any("open and shut inside one operation" in n.why for n in report.not_checked)


@pytest.mark.parametrize("code", ["ISO703", "ISO603", "ISO103", "ISO203"])
def test_the_fix_of_a_numbered_layer_is_python(code: str) -> None:
    torch.manual_seed(0)
    model, x, more = he(mlp([64, 512, 500, 500])), noise(64, 64), {}
    if code == "ISO703":
        target = (torch.rand(64, 500, generator=torch.Generator().manual_seed(1)) < 0.01).float()
        more = {"loss": "bce_with_logits", "target": target}
    elif code == "ISO603":
        with torch.no_grad():
            model[2].weight[0, 0] = 100.0  # type: ignore[index]
    elif code == "ISO203":
        model = mlp([64, 512, 500, 500])
        nn.init.zeros_(model[2].weight)  # type: ignore[arg-type]
    else:
        nn.init.zeros_(model[2].weight)  # type: ignore[index,arg-type]
    report = iso.check(model, x, **more)  # type: ignore[arg-type]
    (finding,) = [f for f in report if f.code == code]
    exec(finding.fix, {"iso": iso, "nn": nn, "math": math, "model": model, "inputs": x})
    assert code not in [f.code for f in iso.check(model, x, **more)]  # type: ignore[arg-type]


# What is not the model's doing


def test_a_loss_that_is_not_finite_for_finite_outputs_is_laid_to_the_target() -> None:
    torch.manual_seed(0)
    model = he(mlp([16, 64, 4]))
    ignored = torch.full((64,), -100)
    for given in (
        {"loss": "mse", "target": torch.full((64, 4), float("nan"))},
        {"loss": "cross_entropy", "target": ignored},
    ):
        report = iso.check(model, noise(64, 16), **given)  # type: ignore[arg-type]
        assert report.findings == ()
        assert any("look at the target" in n.why for n in report.not_checked)


def test_a_target_network_is_a_copy_on_purpose() -> None:
    class Q(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.online, self.target = mlp([16, 64, 64, 4]), mlp([16, 64, 64, 4])
            self.target.load_state_dict(self.online.state_dict())

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                best = self.target(x)
            return self.online(x) - best

    torch.manual_seed(0)
    assert codes(Q(), noise(64, 16)) == {}


def test_a_model_that_differentiates_by_its_input_is_checked() -> None:
    class Physics(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = mlp([2, 64, 64, 1], nn.Tanh)

        def forward(self, x: Tensor) -> Tensor:
            u = self.net(x)
            (du,) = torch.autograd.grad(u.sum(), x, create_graph=True)
            return torch.cat([u, du], 1)

    torch.manual_seed(0)
    assert iso.check(Physics(), noise(64, 2).requires_grad_()).ok


def test_a_few_units_that_are_off_by_their_sign_are_no_dead_layer() -> None:
    for units, found in ((4, False), (64, True)):
        torch.manual_seed(0)
        model = he(mlp([16, units, 4]))
        nn.init.constant_(model[0].bias, -100.0)  # type: ignore[index,arg-type]
        report = iso.check(nn.Sequential(nn.Linear(16, 16), _Beside(model)), noise(64, 16))
        assert any(f.code == "ISO401" for f in report) == found


class _Beside(nn.Module):
    """A branch beside a way round it."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch, self.round = branch, nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.round(x) + self.branch(x)  # type: ignore[no-any-return]


def test_what_lies_behind_a_cause_is_said_to_be_judged_again() -> None:
    torch.manual_seed(0)
    model = he(mlp([64, *[128] * 10, 10]))
    nn.init.constant_(model[4].weight, 0.1)  # type: ignore[index,arg-type]
    with torch.no_grad():
        model[16].weight.mul_(1e-5)  # type: ignore[index,operator]
    report = iso.check(model, noise(64, 64))
    assert [f.code for f in report] == ["ISO104"]
    assert [n.why for n in report.not_checked if n.what == "what comes after 4.weight"] == [
        "it was laid to ISO104: check again once that is mended"
    ]
    report.fix(model)
    assert [(f.code, f.where) for f in iso.check(model, noise(64, 64))] == [("ISO201", "16")]


@pytest.mark.parametrize("build", [lambda n: n, lambda n: None])
def test_a_factory_that_is_none_is_refused(build: Callable[[object], object]) -> None:
    model = mlp([8, 8])
    with pytest.raises(iso.ArgumentError, match=r"build\(\) raised TypeError"):
        iso.check(model, noise(32, 8), build=build)
    with pytest.raises(iso.ArgumentError, match="one and the same model"):
        iso.check(model, noise(32, 8), build=lambda: model)


def test_a_zero_layer_before_linear_maps_alone_is_a_head() -> None:
    """FCN (Long et al. 2015): zero scores, then a bilinear upsampling."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 5, 1),
        nn.ConvTranspose2d(5, 5, 4, 2, 1, bias=False),
    )  # fmt: skip
    nn.init.zeros_(model[2].weight)
    assert codes(model, noise(32, 3, 8, 8)) == {"ISO901": "info"}


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


def test_a_gate_shut_by_its_bias_is_laid_to_the_bias() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Sigmoid(), nn.Linear(32, 4))
    nn.init.constant_(model[0].bias, -6.0)
    (finding,) = [f for f in iso.check(model, noise(64, 16)) if f.code == "ISO402"]
    assert finding.cause == "sigmoid reads values of mean -6: its bias does it"


def test_a_float8_parameter_is_measured() -> None:
    model = nn.Sequential(nn.Linear(16, 8))
    model.scale = nn.Parameter(torch.randn(64).to(torch.float8_e4m3fn), requires_grad=False)
    report = iso.check(model, noise(32, 16))
    q = {p.name: p.q for p in report.parameters}["scale"]
    assert q == pytest.approx(1.0, abs=0.5)
