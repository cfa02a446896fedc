"""The report as one HTML page that needs nothing else: no network, no other file.

The verdict comes first, then the findings, the network as it is traversed, histograms, the table
of layers, the plan, and what was not checked. Text and tables are there without JavaScript; with
it come charts, search and sort. The same report gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isometry.errors import IsometryError
from isometry.report._drawing import Chart, along_depth, histograms, shared_data, spectrum
from isometry.report._layer_rows import columns, thinned
from isometry.report._places import Pin, pinned
from isometry.report._text import count, number, shape
from isometry.report._verdict import key_figures, verdict
from isometry.report._web import embedded, environment, page_file, script_hash, vega
from isometry.types import Decision, Histogram, Measurement, Report

__all__ = ["render"]

MOST_ROWS = 2500  # of either table: with more the page would grow past what opens at once
LONG_FROM = 30  # rows; a longer table scrolls below its heads
FOLD_FROM = 100  # rows that are shown before the rest is asked for
EARLY = "document.documentElement.classList.add('js')"
SCRIPTS = ("tables.js", "charts.js", "page.js")


def render(report: Report) -> str:
    """The report as a page.

    Args:
        report: what `isometry.check` returned.

    Returns:
        One HTML document, under 3 MB.

    Raises:
        BackendError: jinja2 or vl-convert-python is missing; `pip install 'isometry[html]'`.

    Example:
        >>> from isometry.types import Report
        >>> page = render(Report("MLP", (), (), (), ()))
        >>> page.startswith("<!doctype html>"), "Healthy" in page
        (True, True)
    """
    ends = [row for p in pinned(report.findings, report.layers) if p.at
            for row in (p.at.first, p.at.last)]  # fmt: skip
    layers = thinned(report.layers, ends, MOST_ROWS)
    pins = pinned(report.findings, layers)
    along, counted = along_depth(layers, pins), histograms(report.histograms)
    jacobian = spectrum(report.jacobian)
    data: dict[str, Any] = {
        "charts": {c.id: c.spec for c in [*along, *counted, jacobian] if c and c.spec},
        "data": shared_data(layers, pins),
    }
    script = "\n".join(page_file(name) for name in SCRIPTS)
    page: str = (
        environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            verdict=verdict(report),
            figures=key_figures(report),
            pins=pins,
            pinned=any(p.at for p in pins),
            along=along,
            jacobian=jacobian,
            histograms=_captioned(report.histograms, counted, layers),
            columns=columns(layers),
            rows=_rows(layers, pins),
            at_the_edge=any(k.endswith("x") for row in data["data"]["operations"] for k in row),
            left_out=len(report.layers) - len(layers),
            plan=_plan(report),
            fold_from=FOLD_FROM,
            long_from=LONG_FROM,
            number=number,
            count=count,
            data=embedded(data),
            early=EARLY,
            vega=vega(),
            script=script,
            style=page_file("page.css"),
            hashes=[script_hash(text) for text in (EARLY, vega(), script)],
        )
    )
    return page


def _rows(layers: Sequence[Measurement], pins: Sequence[Pin]) -> list[dict[str, Any]]:
    """A row a layer: its measurement, the findings that start there, the worst it lies within."""
    within = [""] * len(layers)
    begins: list[list[Pin]] = [[] for _ in layers]
    for pin in pins:  # the worst first
        if pin.at:
            begins[pin.at.first].append(pin)
        if pin.at and pin.finding.severity != "info":
            for row in range(pin.at.first, pin.at.last + 1):
                within[row] = within[row] or pin.finding.severity
    return [
        {"n": n, "m": m, "pins": begin, "within": severity}
        for n, (m, begin, severity) in enumerate(zip(layers, begins, within, strict=True), 1)
    ]


def _captioned(
    counted: Sequence[Histogram], charts: Sequence[Chart], layers: Sequence[Measurement]
) -> list[dict[str, Any]]:
    """The histograms, each with the number of its layer's row, where there is one."""
    rows: dict[str, int] = {}
    for n, m in enumerate(layers, 1):
        rows.setdefault(m.layer, n)
        rows.setdefault(f"{m.layer} {m.op.removeprefix('pointwise:')}", n)
    return [
        {"chart": chart, "h": h, "row": rows.get(f"{h.layer} {h.name}", rows.get(h.layer))}
        for h, chart in zip(counted, charts, strict=True)
    ]


def _plan(report: Report) -> dict[str, Any]:
    """The plan's rows, or the sentence that says why there are none."""
    if report.planner is None:
        return {"why": "This report has no plan: it does not come from isometry.check.", "rows": []}
    try:
        plan = report.plan
    except IsometryError as error:
        return {"why": f"No plan could be made: {error}", "rows": []}
    return {
        "why": "",
        "recipe": plan.recipe,
        "notes": plan.notes,
        "rows": [_decision(d) for d in plan.decisions[:MOST_ROWS]],
        "left_out": max(0, len(plan) - MOST_ROWS),
    }


def _decision(d: Decision) -> dict[str, str]:
    laws = [f"{b.name}: {b.law}" for b in d.blocks] or [str(d.law)]
    return {
        "name": d.name,
        "aliases": ", ".join(d.aliases),
        "shape": shape(d.shape),
        "scheme": d.scheme,
        "law": "; ".join(laws),
        "fan_in": number(d.fans.fan_in) if d.fans else "–",
        "reason": d.reason,
        "source": d.source,
    }
