"""Values written to a weight that is computed from others are lost, and that is said."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import isometry as iso

X = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))


def net(layer: nn.Module) -> nn.Module:
    return nn.Sequential(layer, nn.ReLU(), nn.Linear(8, 2))


def legacy(kind: str) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(nn.utils, kind)(nn.Linear(8, 8))  # type: ignore[no-any-return]


def parametrised() -> nn.Module:
    return parametrizations.weight_norm(nn.Linear(8, 8))


def lost(model: nn.Module, build: Callable[[], nn.Module] | None = None) -> list[str]:
    report = iso.check(model, X, build=build, seeds=0 if build else None, select=["ISO803"])
    return [f.where for f in report]


def test_the_older_weight_norm() -> None:
    model = net(legacy("weight_norm"))
    assert lost(model) == []
    nn.init.orthogonal_(model[0].weight)  # type: ignore[index,arg-type]
    assert lost(model) == ["0.weight"]


def test_the_older_spectral_norm_before_its_first_forward_is_its_parameter() -> None:
    model = net(legacy("spectral_norm"))
    nn.init.orthogonal_(model[0].weight)  # type: ignore[index,arg-type]
    assert lost(model) == []  # the two share memory: the write was one to the parameter
    model(X)
    nn.init.ones_(model[0].weight.data)  # type: ignore[index,union-attr]
    assert lost(model) == []  # through .data nothing is left to see


def test_a_state_that_was_loaded_is_no_lost_write() -> None:
    model, other = net(legacy("weight_norm")), net(legacy("weight_norm"))
    model.load_state_dict(other.state_dict())
    assert lost(model) == []


@pytest.mark.parametrize("write", [
    lambda w: nn.init.orthogonal_(w),
    lambda w: w.data.normal_(),
    lambda w: w.detach().copy_(torch.eye(8)),
])  # fmt: skip
def test_torch_s_parametrisations_with_a_factory(write: Callable[[torch.Tensor], object]) -> None:
    def build() -> nn.Module:
        layer = parametrised()
        write(layer.weight)  # type: ignore[arg-type]
        return net(layer)

    assert lost(build(), build) == ["0.weight"]


def test_what_is_assigned_is_not_lost() -> None:
    def build() -> nn.Module:
        layer = parametrised()
        with torch.no_grad():
            layer.weight = nn.init.orthogonal_(torch.empty(8, 8))
            layer.weight * 2.0
        layer.parametrizations.weight.original0.data.fill_(1.0)  # type: ignore[union-attr]
        return net(layer)

    assert lost(build(), build) == []


def test_a_parametrisation_of_one_s_own_that_is_the_identity_keeps_the_write() -> None:
    class Same(nn.Module):
        def forward(self, w: torch.Tensor) -> torch.Tensor:
            return w

    def build() -> nn.Module:
        layer = nn.Linear(8, 8)
        parametrize.register_parametrization(layer, "weight", Same())
        nn.init.zeros_(layer.weight)
        return net(layer)

    assert lost(build(), build) == []


def test_without_a_factory_it_is_said_that_nothing_was_seen() -> None:
    report = iso.check(net(parametrised()), X)
    assert [n.why for n in report.not_checked if n.what == "writes to parametrised weights"] == [
        "they leave no trace in a model; pass build="
    ]
    assert not any("parametrised" in n.what for n in iso.check(net(nn.Linear(8, 8)), X).not_checked)


def test_torch_is_as_before_also_when_the_factory_raises() -> None:
    before = parametrize.ParametrizationList.forward

    def build() -> nn.Module:
        raise RuntimeError("no model today")

    with pytest.raises(iso.ArgumentError, match=r"build\(\) raised RuntimeError: no model today"):
        iso.check(net(nn.Linear(8, 8)), X, build=build)
    assert parametrize.ParametrizationList.forward is before
