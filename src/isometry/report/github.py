"""Annotations on a pull request: GitHub's workflow commands, printed by a step.

`::error file=nets.py,line=12,title=ISO201 vanishing-signal::0 … 60: signal × 0.4 a layer ...`

GitHub shows ten errors and ten warnings of a step at most; the worst come first.
"""

from __future__ import annotations

from isometry.report._lines import message, verdict
from isometry.report._text import one_line
from isometry.types import Finding, Report

__all__ = ["render"]

COMMANDS = {"error": "error", "warning": "warning", "info": "notice"}
DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
PROPERTY = DATA | str.maketrans({":": "%3A", ",": "%2C"})


def render(report: Report) -> str:
    """The report as workflow commands, then what was not checked and the verdict as plain lines.

    Args:
        report: what `isometry.check` returned.

    Returns:
        A line for every finding, for everything that could not be judged, and for the verdict. No
        newline at the end.

    Example:
        >>> from isometry.types import Finding, Report
        >>> dead = Finding("ISO401", "dead-units", "warning", "fc1", "99 % dead", "its bias", "0")
        >>> print(render(Report("MLP", (dead,), (), (), ())))
        ::warning title=ISO401 dead-units::fc1: 99 %25 dead.%0ACause: its bias.%0AFix: 0
        ✓ MLP is healthy: 1 warning in 0 operations
    """
    lines = [_command(f) for f in report.findings]
    lines += [one_line(f"not checked: {n.what}: {n.why}") for n in report.not_checked]
    lines.append(one_line(": ".join(verdict(report))))
    return "\n".join(lines)


def _command(finding: Finding) -> str:
    """A finding as one workflow command; without a place it is shown with the run."""
    properties = {"title": f"{finding.code} {finding.name}"}
    if finding.location is not None:
        place = {"file": finding.location.file, "line": str(finding.location.line)}
        properties = place | properties
    told = ",".join(f"{key}={value.translate(PROPERTY)}" for key, value in properties.items())
    return f"::{COMMANDS[finding.severity]} {told}::{message(finding).translate(DATA)}"
