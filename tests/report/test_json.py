"""The JSON report is strict, stable, and has the keys that its module documents."""

import json
import math
from dataclasses import fields, replace
from types import MappingProxyType

import pytest

from isometry.report import json_
from isometry.types import Measurement, ParameterMeasurement, Report

from .examples import FAINT, measured, report

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
