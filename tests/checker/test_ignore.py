"""What is known and wanted is ignored: by code, or by code where it concerns some parameters."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import isometry as iso

from .networks import ResNet, he, mlp


def twice_constant() -> nn.Module:
    torch.manual_seed(0)
    model = he(mlp([32, 32, 32, 32, 32, 4]))
    for i in (2, 6):
        nn.init.constant_(model[i].weight, 0.1)  # type: ignore[index,arg-type]
    return model


X = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))


def found(model: nn.Module, *ignore: str) -> list[tuple[str, str]]:
    return [(f.code, f.where) for f in iso.check(model, X, ignore=ignore)]


def test_a_pattern_takes_some_parameters_out_of_a_finding_and_leaves_the_rest() -> None:
    model = twice_constant()
    assert found(model) == [("ISO104", "2.weight … 6.weight")]
    assert found(model, "ISO104:2.*") == [("ISO104", "6.weight")]
    assert found(model, "ISO1:6") == [("ISO104", "2.weight")]
    assert found(model, "ISO104:2.*", "ISO104:6.weight") == []
    assert found(model, "ISO104") == []
    assert found(model, "ISO104:9.*", "ISO2:2.*") == [("ISO104", "2.weight … 6.weight")]


def test_what_follows_from_an_ignored_cause_stays_explained() -> None:
    """The constant makes the signal explode; who accepts the one accepts the other."""
    torch.manual_seed(0)
    model = he(mlp([32, 32, 32, 32, 4]))
    nn.init.constant_(model[2].weight, 100.0)  # type: ignore[index,arg-type]
    assert found(model) == [("ISO104", "2.weight")]
    assert found(model, "ISO104:2.*") == []
    assert [f.code for f in iso.check(model, X, select=["ISO2"])] == ["ISO202"]


def test_a_finding_of_layers_is_ignored_by_where_it_starts() -> None:
    torch.manual_seed(0)
    deep = mlp([32, *[64] * 20, 4])
    assert found(deep) == [("ISO201", "0 … 40")]
    assert found(deep, "ISO201:0") == []
    assert found(deep, "ISO201:4") == [("ISO201", "0 … 40")]


def test_one_block_of_those_that_are_zero_on_purpose() -> None:
    model, x = ResNet(zero=True), torch.randn(32, 3, 8, 8)
    (all_of_them,) = iso.check(model, x).findings
    (rest,) = iso.check(model, x, ignore=["ISO901:blocks.0.*"]).findings
    assert (all_of_them.data["parameters"], rest.data["parameters"]) == (4, 3)
    assert rest.where == "blocks.1.4.weight … blocks.3.4.weight"


@pytest.mark.parametrize("bad", ["ISO401:", "ISO401: ", "X:blocks", ":blocks", 3])
def test_an_entry_that_is_none_is_refused_before_the_model_runs(bad: object) -> None:
    class Never(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise AssertionError("the model was run")

    with pytest.raises(iso.ArgumentError, match="expected"):
        iso.check(Never(4, 4), torch.randn(32, 4), ignore=[bad])  # type: ignore[list-item]


def test_one_in_the_middle_of_a_stretch_leaves_the_rest() -> None:
    torch.manual_seed(0)
    model = he(mlp([32, 32, 32, 32, 32, 4]))
    for i in (2, 4, 6):
        nn.init.constant_(model[i].weight, 0.1)  # type: ignore[index,arg-type]
    (finding,) = iso.check(model, X, select=["ISO104"], ignore=["ISO104:4.*"]).findings
    assert (finding.where, finding.data["parameters"]) == ("2.weight … 6.weight", 2)
    assert "4.weight" not in finding.parameters
