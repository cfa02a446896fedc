"""The full report for a person at a terminal: the verdict, the findings, the layers."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from isometry.report._console import to_text
from isometry.report._lines import spectrum, verdict
from isometry.report.layer_table import COLOURS, layer_tree, worst_layers
from isometry.types import Finding, Report

__all__ = ["render"]

LEGEND = (
    "q: mean square of the output. c: mean cosine between samples. std: spread over samples. "
    "grad²: mean square of the gradient that comes back to it."
)
THEORY = " th: what theory expects of the weights as they stand; ÷th: measured, over that."


def render(
    report: Report, width: int = 100, color: bool = False, max_rows: int = 40, layers: bool = True
) -> str:
    """The report as text: verdict first, then every finding, then the tree of layers.

    Args:
        report: what `isometry.check` returned.
        width: columns.
        color: write the terminal's colour codes.
        max_rows: a longer tree is folded, and the worst layers come before it.
        layers: False leaves the tree out.

    Returns:
        The text, which ends in a newline.

    Example:
        >>> from isometry.types import Report
        >>> print(render(Report("MLP", (), (), (), ())).strip())
        ✓ MLP is healthy: nothing found in 0 operations
    """
    return to_text(_parts(report, max_rows, layers), width, color)


def _parts(report: Report, max_rows: int, layers: bool) -> Iterator[RenderableType]:
    yield _verdict(report)
    for finding in report.findings:
        yield ""
        yield _heading(finding)
        yield Padding(_body(finding), (0, 0, 0, 2))
    if report.not_checked:
        yield ""
        yield Text("not checked (which is not passed)", style="bold")
        for item in report.not_checked:
            yield Padding(Text(f"{item.what}: {item.why}", style="dim"), (0, 0, 0, 2))
    if report.jacobian is not None:
        yield ""
        yield Text("from input to output", style="bold")
        yield Padding(Text(spectrum(report.jacobian)), (0, 0, 0, 2))
    if layers and report.layers:
        worst = worst_layers(report) if len(report.layers) > max_rows else None
        if worst is not None:
            yield worst
        yield layer_tree(report, max_rows)
        theory = any(m.predicted is not None for m in report.layers)
        yield Text(LEGEND + THEORY * theory, style="dim")


def _verdict(report: Report) -> Text:
    said, rests_on = verdict(report)
    style = "yellow" if not report.judged else "green" if report.ok else "red"
    return Text.assemble((said, f"bold {style}"), f": {rests_on}")


def _heading(finding: Finding) -> Text:
    colour = COLOURS.get(finding.severity, "")
    return Text.assemble(
        (f"{finding.severity} {finding.code} {finding.name}", colour), f"  {finding.where}"
    )


def _body(finding: Finding) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("evidence", Text(finding.evidence))
    grid.add_row("cause", Text(finding.cause))
    grid.add_row("fix", Text(finding.fix, style="green"))
    if finding.location is not None:
        grid.add_row("at", Text(str(finding.location), style="dim"))
    return grid
