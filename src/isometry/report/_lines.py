"""The verdict and a finding as plain text, the same in every format that is read as text."""

from __future__ import annotations

from isometry.report._text import count, number
from isometry.types import SEVERITIES, Finding, Report, Spectrum

__all__ = ["message", "spectrum", "verdict"]

ALIKE = 0.02  # singular values that differ by less are called an isometry


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


def spectrum(found: Spectrum) -> str:
    """What singular values from input to output come to, in a sentence without an end.

    Example:
        >>> spectrum(Spectrum((1.002, 1.0, 0.998, 0.0), inputs=64, outputs=4, exact=True))
        '3 nonzero singular values of 4, 0.998 to 1.002: an isometry on them'
    """
    nonzero, several = found.nonzero, len(found.values)
    seen = "" if found.exact else f", seen from {several} random directions"
    if not nonzero:
        return f"no singular value but 0 of {several}{seen}: the output ignores the input"
    first, last = nonzero[0], nonzero[-1]
    of = "" if len(nonzero) == several else f" of {several}"
    ends = f"{count(len(nonzero), 'nonzero singular value')}{of}, {last:.4g} to {first:.4g}{seen}"
    if found.spread >= ALIKE:
        return f"{ends}: apart by a factor of {first / last:.3g}"
    if abs(first - 1.0) < ALIKE and abs(last - 1.0) < ALIKE:
        return f"{ends}: an isometry on them"
    return f"{ends}: an isometry on them, but for a factor"


def message(finding: Finding) -> str:
    """A finding in three lines: where and how much, why, and what to type."""
    return f"{finding.where}: {finding.evidence}.\nCause: {finding.cause}.\nFix: {finding.fix}"
