"""The report as a notebook shows it: a fragment of HTML without scripts, in light and dark."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from isometry.report._layer_rows import columns, thinned
from isometry.report._lines import spectrum
from isometry.report._text import count
from isometry.report._verdict import verdict
from isometry.types import SEVERITIES, Report

__all__ = ["render"]

MOST_ROWS = 200  # of layers; a notebook keeps its output in the file
MOST_FINDINGS = 50

# Notebooks say "dark" in different ways; where none is heard, the system's preference counts.
DARK = "{--e:#ff8f85;--w:#e6b84a;--i:#a3adb8;--o:#5fcbb5;--l:#46505b}"
STYLE = f"""<style>
.isometry{{--e:#b3261e;--w:#855a00;--i:#56606b;--o:#0b6b5b;--l:#d5dbe1;line-height:1.45;max-width:60rem}}
@media(prefers-color-scheme:dark){{.isometry{DARK}}}
[data-jp-theme-light="true"] .isometry,.vscode-light .isometry{{--e:#b3261e;--w:#855a00;--i:#56606b;--o:#0b6b5b;--l:#d5dbe1}}
[data-jp-theme-light="false"] .isometry,.vscode-dark .isometry,[theme="dark"] .isometry{DARK}
.isometry .error{{color:var(--e)}}.isometry .warning{{color:var(--w)}}.isometry .info,.isometry caption{{color:var(--i)}}.isometry .ok{{color:var(--o)}}
.isometry .scroll{{overflow-x:auto;max-height:30rem}}
.isometry table{{border-collapse:collapse;font-size:.9em;font-variant-numeric:tabular-nums;margin:.5em 0}}
.isometry caption{{text-align:left;caption-side:top}}
.isometry th,.isometry td{{text-align:left!important;vertical-align:top;padding:.25em .9em .25em 0;border-bottom:1px solid var(--l)}}
.isometry td.r,.isometry th.r{{text-align:right!important;white-space:nowrap}}
.isometry summary{{cursor:pointer}}
</style>"""


def render(report: Report) -> str:
    """The verdict, a table of the findings, and the layers, folded.

    Args:
        report: what `isometry.check` returned.

    Returns:
        A fragment of HTML that needs nothing else.

    Example:
        >>> "<strong" in render(Report("MLP", (), (), (), ()))
        True
    """
    said = verdict(report)
    parts = [
        f'<div class="isometry">{STYLE}',
        f'<p>{escape(report.model)}: <strong class="{said.tone}">{said.headline.lower()}</strong>. '
        f"{escape(said.sentence)}</p>",
        _findings(report),
        _jacobian(report),
        _layers(report),
        _not_checked(report),
        "</div>",
    ]
    return "\n".join(filter(None, parts))


def _findings(report: Report) -> str:
    ordered = sorted(report.findings, key=lambda f: SEVERITIES.index(f.severity))
    if not ordered:
        return ""
    rows = [
        f'<tr><th scope="row" class="{f.severity}">{escape(f.severity)}</th>'
        f"<td><code>{escape(f.code)}</code> {escape(f.name)}</td>"
        f"<td><code>{escape(f.where)}</code>"
        f"{'<br>' + escape(str(f.location)) if f.location else ''}</td>"
        f"<td>{escape(f.evidence)}<br>{escape(f.cause)}</td>"
        f"<td><code>{escape(f.fix)}</code></td></tr>"
        for f in ordered[:MOST_FINDINGS]
    ]
    more = len(ordered) - MOST_FINDINGS
    caption = "Findings" + (f", {more} more are not shown" if more > 0 else "")
    return _table(caption, ("severity", "finding", "where", "evidence and cause", "fix"), rows)


def _jacobian(report: Report) -> str:
    if report.jacobian is None:
        return ""
    return f"<p>From input to output: {escape(spectrum(report.jacobian))}.</p>"


def _layers(report: Report) -> str:
    if not report.layers:
        return ""
    shown = thinned(report.layers, (), MOST_ROWS)
    cells = columns(shown)
    rows = [
        f'<tr><th scope="row">{escape(m.layer or "(model)")}</th>'
        + "".join(f"<td{_right(c.kind == 'number')}>{escape(c.cell(m))}</td>" for c in cells)
        + "</tr>"
        for m in shown
    ]
    caption = "In execution order"
    if len(shown) < len(report.layers):
        caption += f", {len(shown)} of {len(report.layers)}"
    heads = ("layer", *(c.head for c in cells))
    right = {c.head for c in cells if c.kind == "number"}
    return (
        f"<details><summary>{count(len(report.layers), 'operation')}</summary>"
        f'<div class="scroll">{_table(caption, heads, rows, right)}</div></details>'
    )


def _not_checked(report: Report) -> str:
    if not report.not_checked:
        return ""
    items = "".join(f"<li>{escape(n.what)}: {escape(n.why)}</li>" for n in report.not_checked)
    return f"<details><summary>{len(report.not_checked)} not checked</summary><ul>{items}</ul></details>"


def _table(
    caption: str, heads: Iterable[str], rows: Iterable[str], right: Iterable[str] = ()
) -> str:
    """A table; `rows` are HTML already, heads and caption are not."""
    head = "".join(f'<th scope="col"{_right(h in right)}>{escape(h)}</th>' for h in heads)
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _right(is_number: bool) -> str:
    return ' class="r"' * is_number
