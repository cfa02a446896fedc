"""report.fix mends the parameters that the findings concern, and no others."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import isometry as iso

from .networks import LoRA, ResNet, he, initialised, mlp


def copied(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in model.named_parameters()}


def changed(model: nn.Module, before: dict[str, Tensor]) -> set[str]:
    return {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}


def test_only_what_is_at_fault_is_drawn_anew() -> None:
    torch.manual_seed(0)
    model, x = he(mlp([64, *[64] * 6, 10])), torch.randn(64, 64)
    nn.init.ones_(model[4].weight)  # type: ignore[index,arg-type]
    before = copied(model)
    report = iso.check(model, x)
    assert [f.code for f in report] == ["ISO104"]
    applied = report.fix(model, seed=3)
    assert [d.name for d in applied] == ["4.weight", "4.bias"]
    assert changed(model, before) == {"4.weight"}  # its bias was zero, and is
    assert iso.check(model, x).findings == ()
    planned = iso.plan(model, x)["4.weight"].law
    assert applied["4.weight"].law == planned


def test_the_plan_of_a_report_is_that_of_the_model() -> None:
    torch.manual_seed(0)
    model, x = mlp([64, *[64] * 20, 10]), torch.randn(64, 64)
    report = iso.check(model, x, loss="cross_entropy")
    assert report.plan.diff(iso.plan(model, x, loss="cross_entropy")) == ()


def test_zeros_in_series_get_a_law_but_the_last() -> None:
    torch.manual_seed(0)
    model, x = LoRA(zero_a=True), torch.randn(32, 32)
    before = copied(model)
    iso.check(model, x).fix(model)
    assert changed(model, before) == {"a"}
    assert 0.5 < float(model.a.detach().std() * 32**0.5) < 1.5
    deep, x = initialised(mlp([64, 32, 32, 10]), nn.init.zeros_), torch.randn(64, 64)
    before = copied(deep)
    iso.check(deep, x, loss="cross_entropy").fix(deep)
    assert changed(deep, before) == {"0.weight", "2.weight"}
    assert iso.check(deep, x, loss="cross_entropy").ok


def test_the_fix_of_a_missing_prior_is_the_log_odds() -> None:
    torch.manual_seed(0)
    model, x = mlp([16, 32, 400]), torch.randn(64, 16)
    target = (torch.rand(64, 400) < 0.01).float()
    before = copied(model)
    (finding,) = iso.check(model, x, loss="bce_with_logits", target=target).findings
    assert finding.code == "ISO703"
    report = iso.check(model, x, loss="bce_with_logits", target=target)
    report.fix(model)
    assert changed(model, before) == {"2.bias"}
    prior = float(target.mean())
    assert float(model[2].bias[0].detach()) == pytest.approx(
        float(torch.tensor(prior).logit()), rel=1e-5
    )  # type: ignore[index]
    assert iso.check(model, x, loss="bce_with_logits", target=target).findings == ()


def test_select_mends_some_and_leaves_the_rest() -> None:
    torch.manual_seed(0)
    model, x = he(mlp([32, 32, 32, 32, 32, 4])), torch.randn(64, 32)
    nn.init.ones_(model[0].weight)  # type: ignore[index,arg-type]
    with torch.no_grad():
        model[6].weight.copy_(model[4].weight)  # type: ignore[index,operator]
    report = iso.check(model, x)
    assert {f.code for f in report} == {"ISO104", "ISO102"}
    before = copied(model)
    report.fix(model, select=["ISO102"])
    assert changed(model, before) == {"4.weight", "6.weight"}
    assert [f.code for f in iso.check(model, x)] == ["ISO104"]


def test_where_nothing_can_be_mended_the_model_is_as_it_was() -> None:
    torch.manual_seed(0)
    model, x = ResNet(zero=True), torch.randn(32, 3, 8, 8)
    before = copied(model)
    with pytest.raises(iso.PlanError, match="no law mends what was found"):
        iso.check(model, x).fix(model)
    pixels = mlp([64, 32, 4])
    with pytest.raises(iso.PlanError, match="ISO704"):
        iso.check(pixels, 255 * torch.rand(64, 64)).fix(pixels)
    assert changed(model, before) == set()


def test_a_report_made_by_hand_has_no_plan() -> None:
    with pytest.raises(iso.PlanError, match=r"isometry\.check"):
        _ = iso.Report("MLP", (), (), (), ()).plan


@pytest.mark.parametrize(("factor", "code"), [(1e-4, "ISO201"), (1e4, "ISO202")])
def test_one_bad_layer_in_a_deep_network_is_named_and_mended_alone(
    factor: float, code: str
) -> None:
    torch.manual_seed(0)
    model, x = he(mlp([64, *[128] * 12, 10])), torch.randn(64, 64)
    with torch.no_grad():
        model[12].weight.mul_(factor)  # type: ignore[index,operator]
    before = copied(model)
    report = iso.check(model, x)
    (finding,) = report.findings
    assert (finding.code, finding.severity, finding.where) == (code, "error", "12")
    assert finding.data["effect"] == pytest.approx(factor, rel=0.5)
    report.fix(model)
    assert changed(model, before) == {"12.weight"}
    assert iso.check(model, x).findings == ()


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_bias_that_is_not_finite_is_mended(value: float) -> None:
    torch.manual_seed(0)
    model, x = he(mlp([64, 64, 64, 10])), torch.randn(64, 64)
    nn.init.constant_(model[2].bias, value)  # type: ignore[index,arg-type]
    before = copied(model)
    report = iso.check(model, x)
    assert [(f.code, f.where) for f in report] == [("ISO801", "2.bias")]
    report.fix(model)
    assert changed(model, before) == {"2.bias"}
    assert iso.check(model, x).findings == ()


def test_the_layer_that_overflows_is_mended_alone() -> None:
    torch.manual_seed(0)
    model, x = he(mlp([64, *[128] * 8, 10])), torch.randn(64, 64)
    with torch.no_grad():
        model[8].weight.fill_(0).add_(3e38 * torch.eye(128))  # type: ignore[index,operator]
        model[8].weight[:, 1:].add_(3e37)  # type: ignore[index]
    before = copied(model)
    report = iso.check(model, x)
    assert [(f.code, f.where) for f in report if f.severity == "error"] == [("ISO202", "8")]
    report.fix(model, select=["ISO202"])
    assert changed(model, before) == {"8.weight"}
    assert iso.check(model, x).findings == ()


@pytest.mark.parametrize(("bias", "where"), [(-100.0, "3"), (-20.0, "3"), (100.0, "2")])
def test_a_bias_that_kills_or_swamps_a_layer_is_set_to_zero(bias: float, where: str) -> None:
    torch.manual_seed(0)
    model, x = he(mlp([64, 64, 64, 64, 10])), torch.randn(64, 64)
    nn.init.constant_(model[2].bias, bias)  # type: ignore[index,arg-type]
    report = iso.check(model, x)
    assert [(f.code, f.where) for f in report] == [("ISO401" if bias < 0 else "ISO202", where)]
    report.fix(model)
    assert float(model[2].bias.detach().abs().max()) == 0.0  # type: ignore[index,union-attr,operator,arg-type]
    assert iso.check(model, x).findings == ()


def test_weights_that_are_all_too_small_are_one_finding() -> None:
    torch.manual_seed(0)
    model, x = he(mlp([64, *[128] * 8, 10])), torch.randn(64, 64)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(0.01)
    assert [(f.code, f.where) for f in iso.check(model, x)] == [("ISO201", "0 … 16")]
