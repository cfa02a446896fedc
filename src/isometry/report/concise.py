"""One line a finding, to grep: `severity CODE name where: evidence`."""

from __future__ import annotations

from isometry.report._text import count, one_line
from isometry.types import Report

__all__ = ["render"]


def render(report: Report) -> str:
    """The report as lines, each of which starts with error, warning, info, not-checked or ok.

    Args:
        report: what `isometry.check` returned.

    Returns:
        A line for every finding, then one for everything that could not be judged, and an `ok`
        line where the model was judged and no finding is an error. No newline at the end.

    Example:
        >>> from isometry.types import Report
        >>> render(Report("MLP", (), (), (), ()))
        'ok MLP: no error in 0 operations'
    """
    lines = [
        one_line(f"{f.severity} {f.code} {f.name} {f.where}: {f.evidence}") for f in report.findings
    ]
    lines += [one_line(f"not-checked {n.what}: {n.why}") for n in report.not_checked]
    if report.ok and report.judged:
        lines.append(f"ok {report.model}: no error in {count(len(report.layers), 'operation')}")
    return "\n".join(lines)
