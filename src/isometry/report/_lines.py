"""The verdict and a finding as plain text, the same in every format that is read as text."""

from __future__ import annotations

from isometry.report._text import count, number
from isometry.types import SEVERITIES, Finding, Report

__all__ = ["message", "verdict"]


def verdict(report: Report) -> tuple[str, str]:
    """What is said of the model, and what that rests on.

    Example:
        >>> verdict(Report("MLP", (), (), (), (), loss=2.3))
        ('✓ MLP is healthy', 'nothing found in 0 operations, initial loss 2.3')
    """
    measured = count(len(report.layers), "operation")
    if not report.judged:
        return f"– {report.model} was not judged", f"its weights look trained; {measured} measured"
    found = ", ".join(
        count(n, s) if s != "info" else f"{n} info"
        for s in SEVERITIES
        if (n := sum(f.severity == s for f in report.findings))
    )
    rests_on = f"{found or 'nothing found'} in {measured}"
    if report.loss is not None:
        rests_on += f", initial loss {number(report.loss)}"
    if report.seeds:
        rests_on += f", judged over {count(report.seeds, 'more seed')}"
    word = "✓ {} is healthy" if report.ok else "✗ {} is not healthy"
    return word.format(report.model), rests_on


def message(finding: Finding) -> str:
    """A finding in three lines: where and how much, why, and what to type."""
    return f"{finding.where}: {finding.evidence}.\nCause: {finding.cause}.\nFix: {finding.fix}"
