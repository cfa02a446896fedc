"""The report as SARIF 2.1.0, for code scanning: GitHub's Security tab, editors, other viewers.

A finding has a logical location, the layer by its dotted name, and a physical one, the line of
source that makes it, where that is known. GitHub takes no file in which a finding has none:
`isometry check -f sarif` then gives the line of TARGET.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import PurePath
from urllib.parse import quote

from isometry.report._json import dump, plain
from isometry.report._lines import message
from isometry.types import Finding, Location, NotChecked, Report

__all__ = ["render"]

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
LEVELS = {"error": "error", "warning": "warning", "info": "note"}

Json = dict[str, object]


def render(report: Report) -> str:
    """The report as a SARIF log of one run.

    Args:
        report: what `isometry.check` returned.

    Returns:
        One JSON object as text. No newline at the end.

    Example:
        >>> import json
        >>> from isometry.types import Report
        >>> json.loads(render(Report("MLP", (), (), (), ())))["runs"][0]["results"]
        []
    """
    rules = {f.code: f for f in reversed(report.findings)}  # the first finding of each code
    codes = sorted(rules)
    driver: Json = {
        "name": "isometry",
        "version": version("isometry"),
        "rules": [_rule(rules[code]) for code in codes],
    }
    run: Json = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"isometry/{report.model}/"},  # two models are two analyses
        "columnKind": "unicodeCodePoints",
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [_notification(n) for n in report.not_checked],
            }
        ],
        "results": [_result(f, codes.index(f.code), report) for f in report.findings],
        "properties": {
            "model": report.model,
            "ok": report.ok,
            "judged": report.judged,
            "loss": plain(report.loss),
            "seeds": report.seeds,
        },
    }
    return dump({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _rule(finding: Finding) -> Json:
    """A rule by the finding it made: the report knows no other."""
    return {
        "id": finding.code,
        "name": "".join(word.capitalize() for word in finding.name.split("-")),
        "shortDescription": {"text": finding.name.replace("-", " ").capitalize()},
        "help": {"text": f"{finding.fix}\n\nisometry rule {finding.code} says more."},
    }


def _result(finding: Finding, rule: int, report: Report) -> Json:
    start = finding.where.split(" … ")[0].split(", ")[0]
    of_parameter = any(p.name == start for p in report.parameters)
    place: Json = {
        "logicalLocations": [
            {
                "fullyQualifiedName": finding.where,
                "kind": "member" if of_parameter else "module",
            }
        ]
    }
    if finding.location is not None:
        place["physicalLocation"] = {
            "artifactLocation": _artifact(finding.location),
            "region": {"startLine": finding.location.line},
        }
    return {
        "ruleId": finding.code,
        "ruleIndex": rule,
        "level": LEVELS[finding.severity],
        "message": {"text": message(finding)},
        "locations": [place],
        "partialFingerprints": {"codeAndLayer/v1": f"{finding.code}:{finding.where}"},
        "properties": {
            "data": plain(finding.data),
            "parameters": plain(finding.parameters),
        },
    }


def _artifact(location: Location) -> Json:
    """The file relative to the root of the source, or as a URI of its own where it lies outside."""
    path = PurePath(location.file)
    if path.is_absolute():
        return {"uri": path.as_uri()}
    return {"uri": quote(path.as_posix()), "uriBaseId": "%SRCROOT%"}


def _notification(item: NotChecked) -> Json:
    return {"level": "note", "message": {"text": f"not checked: {item.what}: {item.why}"}}
