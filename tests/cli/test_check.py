"""`isometry check`: its formats, its page, what it reads from pyproject.toml, its seeds."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from .conftest import NETS, Typed

LINES = NETS.splitlines()


def findings(text: str) -> list[str]:
    """The codes in a report as JSON."""
    return [f["code"] for f in json.loads(text)["findings"]]


def settings(folder: Path, text: str) -> None:
    (folder / "pyproject.toml").write_text(f"[tool.isometry]\n{text}\n")


@pytest.fixture
def checked(nets: str, run: Typed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Typed:
    """Check a model of the file, in its folder and over no further builds, as JSON."""
    monkeypatch.chdir(tmp_path)
    common = ("-i", "64x64", "-f", "json")

    def typed(attribute: str, *arguments: str) -> Any:
        return run("check", f"nets.py:{attribute}", *common, *arguments)

    return typed


def test_every_format_says_the_same_and_leaves_with_the_same_status(checked: Typed) -> None:
    def said(output_format: str) -> str:
        done = checked("deep", "--seeds", "0", "-f", output_format)
        assert done.status == 1
        return done.out

    assert findings(said("json")) == ["ISO201"]
    assert said("full").splitlines()[2].startswith("error ISO201 vanishing-signal  0 … 40")
    assert said("concise").startswith("error ISO201 vanishing-signal 0 … 40: ")
    assert said("github").startswith("::error file=nets.py,line=")
    assert [r["ruleId"] for r in json.loads(said("sarif"))["runs"][0]["results"]] == ["ISO201"]
    suite = ElementTree.fromstring(said("junit").encode())[0]
    assert suite[0].attrib["name"] == "ISO201 vanishing-signal 0 … 40"


def test_a_finding_has_the_line_of_the_class_or_else_of_target(checked: Typed) -> None:
    def lines(attribute: str) -> list[str]:
        (run,) = json.loads(checked(attribute, "--seeds", "0", "-f", "sarif").out)["runs"]
        places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
        assert {p["artifactLocation"]["uri"] for p in places} == {"nets.py"}
        return [LINES[p["region"]["startLine"] - 1] for p in places]

    assert set(lines("deep")) == {"def deep():"}
    assert set(lines("Net")) == {"        self.body = nn.Linear(64, 64)"}


def test_a_page_is_written_beside_what_is_printed(checked: Typed, tmp_path: Path) -> None:
    done = checked("Net", "--seeds", "0", "--html", "report.html")
    assert done.status == 1
    assert "ISO104" in findings(done.out)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "ISO104" in page
    assert "</html>" in page


@pytest.mark.parametrize("name", ["report.htm", "report", "absent/report.html"])
def test_a_page_that_cannot_be_written_is_told_before_anything_runs(
    name: str, checked: Typed, tmp_path: Path
) -> None:
    done = checked("deep", "--html", name)
    assert (done.status, done.out) == (2, "")
    assert "a model that talks" not in done.err
    assert ("such as report.html" if "absent" not in name else "a folder that exists") in done.err
    assert [p.name for p in tmp_path.iterdir()] == ["nets.py"]


def test_settings_of_the_project_are_read_and_can_be_left(checked: Typed, tmp_path: Path) -> None:
    settings(tmp_path, 'ignore = ["ISO2"]')
    assert findings(checked("deep", "--seeds", "0").out) == []
    assert findings(checked("deep", "--seeds", "0", "--no-config").out) == ["ISO201"]


def test_options_select_in_place_of_the_settings_and_ignore_beside_them(
    checked: Typed, tmp_path: Path
) -> None:
    plain = ("--seeds", "0")
    settings(tmp_path, 'select = ["ISO1"]\nignore = ["ISO101"]')
    assert findings(checked("Net", *plain).out) == ["ISO104"]
    assert findings(checked("Net", *plain, "--select", "ISO9").out) == []
    assert findings(checked("Net", *plain, "--ignore", "ISO104").out) == []
    settings(tmp_path, 'select = ["ISO1"]\nignore = ["ISO104"]')
    assert findings(checked("Net", *plain, "--ignore", "ISO101").out) == []


def test_settings_that_cannot_be_used_are_an_error(checked: Typed, tmp_path: Path) -> None:
    settings(tmp_path, 'ignroe = ["ISO2"]')
    done = checked("deep")
    assert (done.status, done.out) == (2, "")
    assert "did you mean ignore?" in done.err


def test_a_rule_can_be_ignored_for_some_layers(checked: Typed) -> None:
    plain = ("--seeds", "0", "--select", "ISO104")
    assert findings(checked("Net", *plain).out) == ["ISO104"]
    assert findings(checked("Net", *plain, "--ignore", "ISO104:body.*").out) == []
    assert findings(checked("Net", *plain, "--ignore", "ISO104:head.*").out) == ["ISO104"]


def test_a_factory_is_judged_over_as_many_builds_as_asked_for(checked: Typed) -> None:
    assert json.loads(checked("shallow", "--seeds", "2").out)["seeds"] == 2
    assert json.loads(checked("shallow", "--seeds", "0").out)["seeds"] == 0
    assert json.loads(checked("shallow").out)["seeds"] > 2
    assert json.loads(checked("model").out)["seeds"] == 0


def test_a_model_that_is_there_has_no_further_builds(checked: Typed) -> None:
    done = checked("model", "--seeds", "3")
    assert (done.status, done.out) == (2, "")
    assert "expected a function that builds it, such as train.py:make_model" in done.err
