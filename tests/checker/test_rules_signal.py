"""Where the rules about signals and units begin to speak, and what they leave alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import isometry as iso

from .given import codes, noise
from .networks import he, initialised, mlp


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


def test_glorot_under_relu_is_a_remark_when_it_matters_a_little_and_a_fault_when_much() -> None:
    found = {}
    for depth in (3, 5, 9, 24):
        torch.manual_seed(0)
        model = initialised(mlp([256, *[256] * depth, 10]), nn.init.xavier_normal_)
        found[depth] = codes(model, noise(64, 256))
    assert found == {
        3: {}, 5: {"ISO601": "info"}, 9: {"ISO201": "warning"}, 24: {"ISO201": "error"}
    }  # fmt: skip


def test_the_predicted_second_moment_is_the_measured_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1),
        nn.BatchNorm2d(64), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    report = iso.check(initialised(model, nn.init.kaiming_normal_), 3 * noise(32, 3, 16, 16))
    for m in report.layers[:5]:
        assert m.predicted == pytest.approx(m.q, rel=0.25), m.op


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


def test_a_zero_layer_before_linear_maps_alone_is_a_head() -> None:
    """FCN (Long et al. 2015): zero scores, then a bilinear upsampling."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 5, 1),
        nn.ConvTranspose2d(5, 5, 4, 2, 1, bias=False),
    )  # fmt: skip
    nn.init.zeros_(model[2].weight)
    assert codes(model, noise(32, 3, 8, 8)) == {"ISO901": "info"}


def test_a_gate_shut_by_its_bias_is_laid_to_the_bias() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.Sigmoid(), nn.Linear(32, 4))
    nn.init.constant_(model[0].bias, -6.0)
    (finding,) = [f for f in iso.check(model, noise(64, 16)) if f.code == "ISO402"]
    assert finding.cause == "sigmoid reads values of mean -6: its bias does it"


@pytest.mark.parametrize(("scale", "found"), [(1.0, False), (100.0, True)])
def test_attention_that_looks_at_one_token_alone_is_saturated(scale: float, found: bool) -> None:
    class Scores(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.v = (nn.Linear(32, 32) for _ in range(3))
            for layer in (self.q, self.k):
                with torch.no_grad():
                    layer.weight.mul_(scale)

        def forward(self, x: Tensor) -> Tensor:
            scores = self.q(x) @ self.k(x).transpose(1, 2) / 32**0.5
            return x + scores.softmax(-1) @ self.v(x)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    report = iso.check(Scores(), noise(32, 16, 32))
    assert [f.code for f in report if f.severity == "error"] == (["ISO402"] if found else [])


def test_a_gate_shut_by_a_mask_is_no_saturation() -> None:
    class Routed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router, self.fc = nn.Linear(16, 8), nn.Linear(16, 8)

        def forward(self, x: Tensor) -> Tensor:
            scores = self.router(x)
            mask = scores < scores.topk(2, -1).values[:, -1:]
            return self.fc(x) * scores.masked_fill(mask, float("-inf")).sigmoid()  # type: ignore[no-any-return]

    torch.manual_seed(0)
    assert "ISO402" not in codes(Routed(), noise(64, 16))


def test_the_histograms_are_of_where_findings_start_else_of_the_most_extreme() -> None:
    torch.manual_seed(0)
    sick = iso.check(mlp([64, *[64] * 20, 10]), noise(64, 64))
    assert {h.layer for h in sick.histograms if h.what == "output"} == {"0", "40"}
    assert {h.name for h in sick.histograms if h.what == "weight"} >= {"0.weight", "40.weight"}
    well = iso.check(he(mlp([64, 64, 10])), noise(64, 64))
    for h in (*sick.histograms, *well.histograms):
        assert len(h.edges) == len(h.counts) + 1
        assert 2 <= sum(h.counts) <= 2 * 512
        assert list(h.edges) == sorted(h.edges)
    assert well.histograms
