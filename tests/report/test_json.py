"""The JSON report is strict, stable, and has the keys that its module documents."""

import json
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jsonschema
import pytest
import torch
from torch import nn

import isometry as iso
from isometry.errors import ArgumentError
from isometry.report import json_
from isometry.types import (
    Finding,
    Histogram,
    Location,
    Measurement,
    Normal,
    NotChecked,
    ParameterMeasurement,
    Report,
)

from .examples import FAINT, located, measured, report

SCHEMA = json.loads((Path(__file__).parents[2] / "docs/schema/report-1.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

PARAMETER = ParameterMeasurement("w", (2, 2), 0.0, 1.0, 0.0, None, 0.0, "ab")


def refuse(constant: str) -> None:
    pytest.fail(f"{constant} is not JSON")


def read(text: str) -> dict[str, object]:
    data = json.loads(text, parse_constant=refuse)
    assert isinstance(data, dict)
    return data


def test_top_level_keys_are_those_documented() -> None:
    documented = {
        line.split()[0]
        for line in (json_.__doc__ or "").splitlines()
        if line.startswith("    ") and not line.startswith("     ")
    }
    assert set(read(json_.render(report()))) == documented


def test_every_field_of_a_measurement_is_there_and_documented() -> None:
    layer = read(json_.render(report()))["layers"][0]  # type: ignore[index]
    assert set(layer) == {f.name for f in fields(Measurement)}
    assert all(name in (json_.__doc__ or "") for name in layer)


def test_values_survive() -> None:
    data = read(json_.render(replace(report(), parameters=(PARAMETER,))))
    assert data["ok"] is False
    assert data["loss"] == 2.5
    assert data["findings"][0]["code"] == "ISO201"  # type: ignore[index]
    assert data["layers"][2]["shape"] == [8, 16]  # type: ignore[index]
    assert data["parameters"][0]["constant"] is None  # type: ignore[index]
    assert data["not_checked"] == [{"what": "loss", "why": "no loss was given"}]


def test_what_is_not_finite_is_a_string() -> None:
    exploded = replace(
        report(),
        layers=(replace(measured("a", "linear", 0), q=math.inf, mean=math.nan, grad=-math.inf),),
        findings=(replace(FAINT, data=MappingProxyType({"factor": math.nan})),),
    )
    data = read(json_.render(exploded))
    layer = data["layers"][0]  # type: ignore[index]
    assert (layer["q"], layer["mean"], layer["grad"]) == ("inf", "nan", "-inf")
    assert data["findings"][0]["data"] == {"factor": "nan"}  # type: ignore[index]


def test_keys_are_sorted_so_that_two_reports_can_be_compared_as_text() -> None:
    text = json_.render(report())
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True)
    assert json_.render(Report("M", (), (), (), ())) == json_.render(Report("M", (), (), (), ()))


def mlp(weight: Callable[[torch.Tensor], object], depth: int = 8) -> nn.Module:
    """Linear layers and ReLUs, each weight drawn by a function."""
    net = nn.Sequential(*[m for _ in range(depth) for m in (nn.Linear(32, 32), nn.ReLU())])
    for name, parameter in net.named_parameters():
        if name.endswith("weight"):
            weight(parameter)
    return net


MODELS: dict[str, Callable[[], nn.Module]] = {
    "healthy": lambda: mlp(nn.init.kaiming_normal_),
    "vanishing": lambda: mlp(lambda w: nn.init.normal_(w, std=1e-3)),
    "to infinity": lambda: mlp(lambda w: nn.init.normal_(w, std=1e9)),
    "NaN": lambda: mlp(lambda w: nn.init.constant_(w, math.nan)),
    "constant": lambda: mlp(nn.init.ones_),
    "zero": lambda: mlp(nn.init.zeros_),
    "convolutions": lambda: nn.Sequential(
        nn.Unflatten(1, (2, 4, 4)), nn.Conv2d(2, 8, 3), nn.Tanh()
    ),
}


@pytest.mark.parametrize("kind", MODELS)
def test_real_reports_keep_to_the_schema(kind: str) -> None:
    torch.manual_seed(0)
    found = iso.check(MODELS[kind](), torch.randn(64, 32), build=MODELS[kind], seeds=1)
    assert found.layers
    assert found.parameters
    data: Any = read(json_.render(found))
    VALIDATOR.validate(data)
    exploded = any(m["nonfinite"] > 0 for m in data["layers"])
    assert exploded == (kind in ("to infinity", "NaN"))


def test_whatever_a_report_can_hold_keeps_to_the_schema() -> None:
    full = replace(
        located(),
        parameters=(replace(PARAMETER, moves_at=1, rebuilt="unset", constant=math.inf),),
        histograms=(Histogram("fc", "weight", "fc.weight", (0.0, 1.0), (3,)),),
        findings=(replace(FAINT, laws={"w": Normal(0.5)}, location=Location("a.py", 1)),),
        judged=False,
        seeds=20,
    )
    data: Any = read(json_.render(full))
    VALIDATOR.validate(data)
    law = data["findings"][0]["laws"]["w"]
    assert iso.types.law_from_dict(law) == Normal(0.5)


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        ("layer", Measurement),
        ("parameter", ParameterMeasurement),
        ("finding", Finding),
        ("not_checked", NotChecked),
        ("histogram", Histogram),
        ("location", Location),
    ],
)
def test_the_schema_has_every_field_and_no_other(entry: str, kind: type) -> None:
    names = {f.name for f in fields(kind)}
    assert set(SCHEMA["$defs"][entry]["properties"]) == names
    assert set(SCHEMA["$defs"][entry]["required"]) == names
    assert SCHEMA["$defs"][entry]["additionalProperties"] is False


def test_the_schema_has_every_field_of_a_report_but_its_planner() -> None:
    names = {f.name for f in fields(Report)} - {"planner"} | {"format", "ok"}
    assert set(SCHEMA["properties"]) == set(SCHEMA["required"]) == names
    assert SCHEMA["properties"]["format"]["const"] == json_.FORMAT
    assert set(read(json_.render(replace(report(), planner=lambda: iso.Plan("", "", ()))))) == names


def test_everything_in_the_schema_is_described() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    objects = [SCHEMA, *SCHEMA["$defs"].values()]
    undescribed = [
        name
        for o in objects
        for name, p in o.get("properties", {}).items()
        if "description" not in p
    ]
    assert undescribed == []


@pytest.mark.parametrize(
    "change", [{"seeds": None}, {"extra": 1}, {"loss": "many"}, {"findings": [{}]}]
)
def test_the_schema_refuses_what_is_no_report(change: dict[str, object]) -> None:
    assert not VALIDATOR.is_valid({**read(json_.render(report())), **change})


def test_a_report_is_saved_whole_or_not_at_all(tmp_path: Path) -> None:
    report().save(tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text(encoding="utf-8") == json_.render(report())
    with pytest.raises(ArgumentError, match=r"ends in \.html, \.json, \.sarif, \.xml"):
        report().save(tmp_path / "r.txt")
    with pytest.raises(ArgumentError, match="the report cannot be written to"):
        report().save(tmp_path / "absent" / "r.json")
    assert [p.name for p in tmp_path.iterdir()] == ["r.json"]
