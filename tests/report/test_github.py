"""Workflow commands are read back as the runner reads them: command, properties, data."""

import re
from dataclasses import replace

import pytest

from isometry.report import github

from .examples import FAINT, ZERO, located, report

COMMAND = re.compile(r"::(error|warning|notice) ([^\r\n]*?)::([^\r\n]*)")


def read(line: str) -> tuple[str, dict[str, str], str]:
    """What the runner makes of a line: it splits at "::" and ",", then undoes the escapes."""
    found = COMMAND.fullmatch(line)
    assert found is not None, line
    command, properties, data = found.groups()
    pairs = (p.split("=", 1) for p in properties.split(","))
    return command, {k: _unescaped(v) for k, v in pairs}, _unescaped(data)


def _unescaped(text: str) -> str:
    for code, sign in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, sign)
    return text


def test_a_report_line_by_line() -> None:
    error, notice, unknown, verdict = github.render(located()).splitlines()
    assert error == (
        "::error file=src/my nets/mlp.py,line=12,title=ISO201 vanishing-signal::layers.0 … "
        "layers.4: signal x 0.41 a layer over 5 layers.%0ACause: nn.Linear's default under "
        "ReLU.%0AFix: iso.initialize(model, x, seed=0)"
    )
    assert notice.startswith("::notice title=ISO901 zero-by-design::layers.4.bias: moves at step 1")
    assert unknown == "not checked: loss: no loss was given"
    assert verdict == "✗ MLP is not healthy: 1 error, 1 info in 6 operations, initial loss 2.5"


@pytest.mark.parametrize(
    ("severity", "command"), [("error", "error"), ("warning", "warning"), ("info", "notice")]
)
def test_a_severity_is_a_command(severity: str, command: str) -> None:
    one = replace(report(), findings=(replace(ZERO, severity=severity),))
    assert read(github.render(one).splitlines()[0])[0] == command


def test_whatever_a_finding_says_arrives() -> None:
    odd = located("C:\\nets,old\\50%.py", 3)
    text = "100%, a::b\r\nnext %0A line"
    odd = replace(odd, findings=(replace(odd.findings[0], evidence=text, name="a,b::c"),))
    lines = github.render(odd).split("\n")
    assert len(lines) == 3
    command, properties, data = read(lines[0])
    assert command == "error"
    assert properties == {"file": "C:\\nets,old\\50%.py", "line": "3", "title": "ISO201 a,b::c"}
    assert data == f"{FAINT.where}: {text}.\nCause: {FAINT.cause}.\nFix: {FAINT.fix}"
