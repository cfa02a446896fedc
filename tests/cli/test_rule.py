"""`isometry rule`: every rule has a page, and is found by its code, its name, or a beginning."""

import itertools
import os
import pty
import subprocess
import sys

import pytest

from isometry.checker.rules import RULES
from isometry.cli.rule_pages import FAMILIES

from .conftest import Typed

SECTIONS = ("What it does", "Example", "Use instead", "References")


@pytest.mark.parametrize("code", RULES)
def test_every_rule_has_a_page_with_its_sections(code: str, run: Typed) -> None:
    done = run("rule", code)
    lines = done.out.splitlines()
    assert done.status == 0
    assert lines[0].startswith(f"{code} {RULES[code].NAME}: ")
    assert lines[1] == ""
    headings = [line for line in lines[2:] if line and not line.startswith(" ")]
    assert [h for h in headings if not h.startswith("Why it is ")] == list(SECTIONS)
    assert len(headings) == 5
    for first, second in itertools.pairwise(lines):
        assert first not in headings or second.startswith("    ")
    assert "\x1b" not in done.out


@pytest.mark.parametrize("asked", ["iso201", "vanishing-signal", "Vanishing-Signal", " ISO201 "])
def test_a_rule_is_found_in_any_case_and_by_its_name(asked: str, run: Typed) -> None:
    assert run("rule", asked).out == run("rule", "ISO201").out


def test_all_rules_are_listed_in_order_by_family(run: Typed) -> None:
    lines = run("rule").out.splitlines()
    codes = [line.split()[0] for line in lines if line.startswith("  ISO")]
    assert codes == sorted(RULES)
    families = [line[:4] for line in lines if line.startswith("ISO")]
    assert families == sorted({code[:4] for code in RULES}) == list(FAMILIES)
    assert not any(line.startswith("   ") for line in lines)  # a rule is a line
    assert max(map(len, lines)) <= 100


def test_the_beginning_of_a_code_lists_these_rules(run: Typed) -> None:
    text = run("rule", "iso2").out
    for code, rule in RULES.items():
        assert (rule.NAME in text) == code.startswith("ISO2")
    assert "…" not in text
    assert "the signal grows with depth, or overflows" in text


@pytest.mark.parametrize(
    ("asked", "hint"),
    [
        ("ISO999", "did you mean ISO9"),
        ("dead-unit", "did you mean dead-units?"),
        ("vanish", "did you mean vanishing-signal or vanishing-gradient?"),
        ("xyz", "isometry rule lists them all"),
        (" ", "isometry rule lists them all"),
    ],
)
def test_what_is_no_rule_is_an_error_with_what_is_close(asked: str, hint: str, run: Typed) -> None:
    done = run("rule", asked)
    assert (done.status, done.out) == (2, "")
    assert f"there is no rule {asked!r}" in done.err
    assert hint in done.err


@pytest.mark.parametrize("declined", [False, True])
def test_headings_are_bold_on_a_terminal_unless_colour_is_declined(declined: bool) -> None:
    env = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"TERM": "xterm"}
    if declined:
        env["NO_COLOR"] = "1"
    command = [sys.executable, "-c", "from isometry.cli import main; main()", "rule", "ISO103"]
    ours, theirs = pty.openpty()
    try:
        subprocess.run(command, stdout=theirs, env=env, check=True)
        text = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert ("\x1b[1mWhat it does\x1b[0m" in text) == (not declined)
    assert "What it does" in text
