"""What is laid to the model and what is not; fixes that can be pasted."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import isometry as iso

from .given import codes, noise
from .networks import he, mlp


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


def test_a_factory_of_models_without_values_is_refused() -> None:
    with pytest.raises(iso.ArgumentError, match="on meta"):
        iso.check(mlp([8, 8]), noise(32, 8), build=lambda: mlp([8, 8]).to("meta"))
