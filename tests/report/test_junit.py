"""JUnit XML is read back by a parser: its counts are right, and no text can break it."""

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from isometry.report import junit
from isometry.types import Report

from .examples import FAINT, ZERO, located, report


def suite(text: str) -> ElementTree.Element:
    """The one test suite of a document."""
    root = ElementTree.fromstring(text.encode())
    assert root.tag == "testsuites"
    (only,) = root
    assert only.tag == "testsuite"
    return only


def counts(element: ElementTree.Element) -> dict[str, str]:
    return {k: element.attrib[k] for k in ("tests", "failures", "errors", "skipped")}


def test_an_error_has_failed_a_remark_has_passed_the_unknown_is_skipped() -> None:
    found = suite(junit.render(located()))
    assert found.attrib["name"] == "MLP"
    assert counts(found) == {"tests": "3", "failures": "1", "errors": "0", "skipped": "1"}
    faint, zero, unknown = found.findall("testcase")
    assert faint.attrib == {
        "classname": "MLP",
        "name": "ISO201 vanishing-signal layers.0 … layers.4",
        "file": "src/my nets/mlp.py",
        "line": "12",
    }
    (failure,) = faint
    assert failure.attrib == {"type": "error", "message": FAINT.evidence}
    assert failure.text == (
        f"{FAINT.where}: {FAINT.evidence}.\nCause: {FAINT.cause}.\nFix: {FAINT.fix}"
    )
    (printed,) = zero
    assert printed.tag == "system-out"
    assert (printed.text or "").startswith("info: layers.4.bias: moves at step 1.")
    assert unknown.attrib["name"] == "not checked: loss"
    assert [(e.tag, e.attrib) for e in unknown] == [("skipped", {"message": "no loss was given"})]


def test_a_warning_does_not_fail() -> None:
    warned = replace(report(), findings=(replace(FAINT, severity="warning"),), not_checked=())
    found = suite(junit.render(warned))
    assert counts(found) == {"tests": "2", "failures": "0", "errors": "0", "skipped": "0"}
    assert [case.attrib["name"] for case in found.findall("testcase")][-1] == "healthy"


def test_healthy_is_a_case_only_where_the_model_was_judged_and_has_no_error() -> None:
    def names(r: Report) -> list[str]:
        return [case.attrib["name"] for case in suite(junit.render(r)).findall("testcase")]

    clean = replace(report(), findings=(ZERO,))
    assert "healthy" in names(clean)
    assert "healthy" not in names(report())
    assert "healthy" not in names(replace(clean, judged=False))


@pytest.mark.parametrize("sign", ["\0", "\x1b", "\x08", "\ufffe", "\ud800"])
def test_what_xml_does_not_allow_is_left_out(sign: str) -> None:
    odd = replace(FAINT, where=f"a{sign}b", evidence=f'<x> & "y"{sign}\n]]>', name=f"n{sign}")
    found = suite(junit.render(replace(report(), model=f"M{sign}", findings=(odd,))))
    assert found.attrib["name"] == "M"
    assert found[0].attrib["name"] == "ISO201 n ab"
    assert found[0][0].attrib["message"] == '<x> & "y"\n]]>'


def test_signs_of_other_languages_stay() -> None:
    odd = replace(report(), model="Résidu 残差 🙂", findings=())
    assert suite(junit.render(odd)).attrib["name"] == "Résidu 残差 🙂"
