"""The report as JUnit XML, which GitLab, Jenkins and most other CI servers show as test results.

A finding is a test case: an error has failed, a warning or a remark has passed and printed
something. What was not checked is skipped. A model without an error has one case more, "healthy".
"""

from __future__ import annotations

import re
from xml.etree import ElementTree

from isometry.report._lines import message, verdict
from isometry.types import Finding, Report

__all__ = ["render"]

# Control characters and halves of surrogate pairs, which XML 1.0 does not allow.
ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(report: Report) -> str:
    """The report as one test suite, named after the model.

    Args:
        report: what `isometry.check` returned.

    Returns:
        An XML document as text. No newline at the end.

    Example:
        >>> from isometry.types import Report
        >>> print(render(Report("MLP", (), (), (), ())).splitlines()[3].strip())
        <testcase classname="MLP" name="healthy" />
    """
    root = ElementTree.Element("testsuites")
    suite = ElementTree.SubElement(root, "testsuite", name=_legal(report.model))
    for finding in report.findings:
        _finding(_case(suite, report, f"{finding.code} {finding.name} {finding.where}"), finding)
    for item in report.not_checked:
        case = _case(suite, report, f"not checked: {item.what}")
        ElementTree.SubElement(case, "skipped", message=_legal(item.why))
    if report.ok and report.judged:
        _case(suite, report, "healthy")
    for element in (root, suite):
        element.set("tests", str(len(suite)))
        element.set("failures", str(len(suite.findall("*/failure"))))
        element.set("errors", "0")
        element.set("skipped", str(len(suite.findall("*/skipped"))))
    ElementTree.SubElement(suite, "system-out").text = _legal(": ".join(verdict(report)))
    ElementTree.indent(root, " ")
    text = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'


def _case(suite: ElementTree.Element, report: Report, name: str) -> ElementTree.Element:
    return ElementTree.SubElement(
        suite, "testcase", classname=_legal(report.model), name=_legal(name)
    )


def _finding(case: ElementTree.Element, finding: Finding) -> None:
    """What a case says of a finding, and where in the source it is."""
    if finding.location is not None:
        case.set("file", _legal(finding.location.file))
        case.set("line", str(finding.location.line))
    if finding.severity == "error":
        failure = {"type": finding.severity, "message": _legal(finding.evidence)}
        ElementTree.SubElement(case, "failure", failure).text = _legal(message(finding))
    else:
        ElementTree.SubElement(case, "system-out").text = _legal(
            f"{finding.severity}: {message(finding)}"
        )


def _legal(text: str) -> str:
    return ILLEGAL.sub("", text)
