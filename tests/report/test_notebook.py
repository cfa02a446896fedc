"""The report as a notebook shows it."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from isometry.report.notebook import MOST_FINDINGS, MOST_ROWS, render
from isometry.types import Report

from . import examples
from .test_html import EVIL, evil

VOID = {"br"}


class Fragment(HTMLParser):
    """The text of a fragment, its tags, and those left open."""

    def __init__(self, fragment: str) -> None:
        super().__init__()
        self.text, self.tags, self.open = "", [], []
        self.feed(fragment)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.cdata_elem is None:
            self.text += data


@pytest.mark.parametrize("report", [examples.report(), evil(), Report("Empty", (), (), (), ())])
def test_it_is_one_element_without_scripts(report):
    fragment = Fragment(render(report))
    assert fragment.open == []
    assert fragment.tags[0] == "div"
    assert not {"script", "img", "link", "iframe"} & set(fragment.tags)


def test_it_has_the_verdict_the_findings_and_the_folded_layers():
    fragment = Fragment(render(examples.report()))
    assert "MLP: not healthy" in fragment.text
    for said in ("ISO201", "signal x 0.41 a layer", "nn.Linear's default under ReLU", "layers.5",
                 "no loss was given"):  # fmt: skip
        assert said in fragment.text
    assert fragment.tags.index("table") < fragment.tags.index("details")


def test_the_worst_finding_comes_first():
    report = replace(examples.report(), findings=(examples.ZERO, examples.FAINT))
    text = render(report)
    assert text.index("ISO201") < text.index("ISO901")


def test_names_are_text():
    assert Fragment(render(evil())).text.count(EVIL) >= 8


def test_a_long_network_and_many_findings_are_cut_and_it_says_so():
    report = replace(examples.report(1000), findings=(examples.FAINT,) * 70)
    fragment = Fragment(render(report))
    assert fragment.tags.count("tr") <= MOST_ROWS + MOST_FINDINGS + 3
    assert "20 more are not shown" in fragment.text
    assert "of 2000" in fragment.text


def test_light_and_dark_are_told_by_the_notebook_or_the_system():
    style = render(examples.report()).partition("</style>")[0]
    for theme in ("prefers-color-scheme:dark", 'data-jp-theme-light="false"', ".vscode-dark"):
        assert theme in style


def test_a_report_shows_itself():
    assert examples.report()._repr_html_() == render(examples.report())
