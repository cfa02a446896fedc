"""SARIF: what the standard and GitHub require of the parts that are written.

The standard's own schema may not be copied here; `SARIF` states, in our words, what version 2.1.0
(sections 3.13 to 3.58) says of the properties that the renderer writes, and allows no others.
"""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from isometry.report import sarif
from isometry.types import ParameterMeasurement, Report

from .examples import FAINT, ZERO, located, report

Json = dict[str, Any]
TEXT: Json = {"type": "string", "minLength": 1}
INDEX: Json = {"type": "integer", "minimum": 0}
LEVEL: Json = {"enum": ["none", "note", "warning", "error"]}


def of(required: str, optional: str = "", **properties: Json) -> Json:
    """An object with these properties and no others; those not given are texts."""
    names = [*required.split(), *optional.split()]
    return {
        "type": "object",
        "required": required.split(),
        "properties": {n: properties.get(n, TEXT) for n in names},
        "additionalProperties": False,
    }


def several(items: Json, **more: int) -> Json:
    return {"type": "array", "items": items, **more}


MESSAGE = of("text")
PLACE = of(
    "logicalLocations",
    "physicalLocation",
    logicalLocations=several(of("fullyQualifiedName kind")),
    physicalLocation=of(
        "artifactLocation region",
        artifactLocation=of("uri", "uriBaseId"),
        region=of("startLine", startLine={"type": "integer", "minimum": 1}),
    ),
)
RESULT = of(
    "ruleId ruleIndex level message locations partialFingerprints properties",
    ruleIndex=INDEX,
    level=LEVEL,
    message=MESSAGE,
    locations=several(PLACE, minItems=1, maxItems=1),
    partialFingerprints={"type": "object", "additionalProperties": TEXT},
    properties={"type": "object"},
)
RULE = of("id name shortDescription help", shortDescription=MESSAGE, help=MESSAGE)
INVOCATION = of(
    "executionSuccessful toolExecutionNotifications",
    executionSuccessful={"const": True},
    toolExecutionNotifications=several(of("level message", level=LEVEL, message=MESSAGE)),
)
RUN = of(
    "tool results invocations columnKind automationDetails properties",
    tool=of("driver", driver=of("name version rules", rules=several(RULE))),
    results=several(RESULT),
    invocations=several(INVOCATION),
    columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},
    automationDetails=of("id"),
    properties={"type": "object"},
)
SARIF = of("$schema version runs", version={"const": "2.1.0"}, runs=several(RUN, minItems=1))


def run_of(found: Report) -> Json:
    """The one run of a valid log."""
    log = json.loads(sarif.render(found), parse_constant=pytest.fail)
    jsonschema.Draft202012Validator(SARIF).validate(log)
    (run,) = log["runs"]
    assert isinstance(run, dict)
    return run


def test_a_finding_becomes_a_result_of_its_rule() -> None:
    run = run_of(located())
    error, remark = run["results"]
    assert (error["ruleId"], error["level"]) == ("ISO201", "error")
    assert (remark["ruleId"], remark["level"]) == ("ISO901", "note")
    assert error["message"]["text"] == (
        f"{FAINT.where}: {FAINT.evidence}.\nCause: {FAINT.cause}.\nFix: {FAINT.fix}"
    )
    assert error["properties"]["data"] == {"factor": 0.41, "first": 0}
    rules = run["tool"]["driver"]["rules"]
    assert [rules[r["ruleIndex"]]["id"] for r in run["results"]] == ["ISO201", "ISO901"]
    assert rules[0]["name"] == "VanishingSignal"
    assert rules[0]["shortDescription"]["text"] == "Vanishing signal"
    assert FAINT.fix in rules[0]["help"]["text"]


def test_a_rule_is_there_once_however_often_it_was_broken() -> None:
    many = replace(report(), findings=(FAINT, replace(FAINT, where="head"), ZERO))
    run = run_of(many)
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["ISO201", "ISO901"]
    assert [r["ruleIndex"] for r in run["results"]] == [0, 0, 1]
    prints = [r["partialFingerprints"]["codeAndLayer/v1"] for r in run["results"]]
    assert len(set(prints)) == 3


def test_a_place_in_the_source_is_relative_to_its_root_and_escaped() -> None:
    (place,) = run_of(located())["results"][0]["locations"]
    assert place["physicalLocation"] == {
        "artifactLocation": {"uri": "src/my%20nets/mlp.py", "uriBaseId": "%SRCROOT%"},
        "region": {"startLine": 12},
    }
    (unplaced,) = run_of(report())["results"][0]["locations"]
    assert "physicalLocation" not in unplaced


def test_a_file_outside_the_source_is_a_uri_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "lib nets" / "a.py"
    (place,) = run_of(located(file.as_posix()))["results"][0]["locations"]
    uri = place["physicalLocation"]["artifactLocation"]["uri"]
    assert place["physicalLocation"]["artifactLocation"] == {"uri": uri}
    assert uri == file.as_uri()
    assert uri.endswith("lib%20nets/a.py")


def test_the_layer_is_named_and_parameters_are_members() -> None:
    bias = ParameterMeasurement(ZERO.where, (2,), 0.0, 1.0, 0.0, None, 0.0, "ab")
    results = run_of(replace(report(), parameters=(bias,)))["results"]
    assert [r["locations"][0]["logicalLocations"][0] for r in results] == [
        {"fullyQualifiedName": "layers.0 … layers.4", "kind": "module"},
        {"fullyQualifiedName": "layers.4.bias", "kind": "member"},
    ]


def test_a_fingerprint_does_not_hang_on_the_numbers() -> None:
    other = replace(FAINT, evidence="signal x 0.42 a layer", data={"factor": 0.42})
    first, second = (run_of(replace(report(), findings=(f,)))["results"][0] for f in (FAINT, other))
    assert first["partialFingerprints"] == second["partialFingerprints"]
    assert first["message"] != second["message"]


def test_what_was_not_checked_is_a_notification() -> None:
    (invocation,) = run_of(report())["invocations"]
    assert invocation["toolExecutionNotifications"] == [
        {"level": "note", "message": {"text": "not checked: loss: no loss was given"}}
    ]


def test_what_is_not_finite_is_a_string() -> None:
    odd = replace(report(), loss=math.nan, findings=(replace(FAINT, data={"factor": math.inf}),))
    run = run_of(odd)
    assert run["properties"]["loss"] == "nan"
    assert run["results"][0]["properties"]["data"] == {"factor": "inf"}
