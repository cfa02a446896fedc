"""The charts of the page, as Vega-Lite specifications: plain dicts, drawn in the browser.

Every chart along depth has the operations, in execution order, on a common x axis. The colours
are CSS variables, so that light, dark and print are the style sheet's affair. A log scale is a
linear one over log10, because a mean square may be 0 or inf: those lie on the edge, marked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from isometry.types import Histogram

__all__ = ["Scale", "decades", "depth", "fractions", "histogram", "lanes", "placed", "spectrum"]

Spec = dict[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"  # a name; nothing is loaded from it
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
MARGIN = 58  # the same for all charts along depth, so that their x axes agree
LANE = 20
MOST_TICKS = 5
STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500)  # decades between ticks
FEW = 120  # operations that are drawn as points as well
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PREDICTED: Spec = {"color": "var(--predicted)", "strokeWidth": 1.75, "strokeDash": [5, 4]}
LINES: dict[str, Spec] = {
    **dict.fromkeys(("predicted", "predicted_g", "predicted_c"), PREDICTED),
    "differing": {"color": "var(--differing)", "strokeWidth": 1.75, "strokeDash": [1, 3], "strokeCap": "round"},
}  # fmt: skip
SHAPES = {"error": "triangle-down", "warning": "diamond", "info": "circle"}


class Scale:
    """A y axis: its ends, its ticks and what they are called; `log` where it counts decades."""

    def __init__(self, low: float, high: float, ticks: Sequence[float], log: bool) -> None:
        self.low, self.high, self.ticks, self.log = low, high, list(ticks), log

    @property
    def axis(self) -> Spec:
        """The axis of a Vega-Lite encoding."""
        axis: Spec = {"title": None, "values": self.ticks}
        if self.log:
            names = {str(int(t)): "10" + str(int(t)).translate(SUPERSCRIPT) for t in self.ticks}
            named = ",".join(f"'{k}':'{v}'" for k, v in names.items())
            axis["labelExpr"] = f"{{{named}}}[datum.value]"
        return axis


def decades(values: Sequence[float | None]) -> Scale:
    """A log scale over whole decades that holds the positive values and, if it can, 1.

    Example:
        >>> decades([1.0, 3e-8, 0.0, None]).ticks
        [-8, -6, -4, -2, 0]
    """
    seen = [math.log10(v) for v in values if v is not None and v > 0 and math.isfinite(v)]
    low, high = math.floor(min(seen, default=-1)), math.ceil(max(seen, default=1))
    low, high = (low, max(high, 0)) if low >= -300 and high >= -12 else (low, high)
    low = min(low, 0) if low <= 12 else low
    if high - low < 2:  # within a decade of 1 there is little to see, and it looks so
        low, high = low - (high < 1), high + (high >= 1 or low == high)
    step = next(s for s in STEPS if (high - low) / s <= MOST_TICKS)
    ticks = [t for t in range(low, high + 1) if t % step == 0]
    return Scale(low, high, ticks, log=True)


def fractions(values: Sequence[float | None]) -> Scale:
    """The scale of a cosine: 0 to 1, or from -1 where there is anything below 0."""
    low = -1 if any(v is not None and v < -0.05 for v in values) else 0
    return Scale(low, 1, [-1, -0.5, 0, 0.5, 1] if low else [0, 0.5, 1], log=False)


def placed(value: float | None, scale: Scale) -> tuple[float | None, str | None]:
    """Where a value lies on a scale, and what it is where that is only the edge.

    Example:
        >>> scale = decades([1e-4, 1.0])
        >>> placed(0.01, scale), placed(0.0, scale), placed(float("inf"), scale)
        ((-2.0, None), (-4, '0'), (0, 'inf'))
    """
    if value is None:
        return None, None
    if math.isnan(value):
        return None, "nan"
    if math.isinf(value):
        return (scale.high if value > 0 else scale.low), "inf"
    if not scale.log:
        return round(min(max(value, scale.low), scale.high), 4), None
    return (round(math.log10(value), 4), None) if value > 0 else (scale.low, "0")


def depth(
    key: str, scale: Scale, rows: int, about: str, height: int, beside: Sequence[str] = ()
) -> Spec:
    """A quantity along depth, from the data set "operations".

    Args:
        key: the column: `key` its place, `key`x what it is where that is only the edge.
        scale: the y axis.
        rows: how many operations there are.
        about: what a screen reader says instead of the picture.
        height: of the plot, in pixels.
        beside: further columns, each a line below the first in the style of `LINES`.

    Returns:
        A specification; `at` is the operation that the cursor marks, 0 for none.
    """
    y = {
        "field": key,
        "type": "quantitative",
        "axis": scale.axis,
        "scale": {"domain": [scale.low, scale.high], "nice": False, "zero": False},
    }
    line = {"type": "line", "clip": False, "strokeJoin": "round", "interpolate": "linear"}
    layers: list[Spec] = [
        {
            "data": {"name": "pins"},
            "transform": [{"filter": "datum.severity != 'info'"}],
            "mark": {"type": "rule", "color": {"expr": _severity()}, "opacity": 0.55},
            "encoding": {"x": {"field": "a", "type": "quantitative"}},
        }
    ]
    layers += [
        {"mark": {**line, **LINES[column]}, "encoding": {"y": {**y, "field": column}}}
        for column in beside
    ]
    points = {"point": {"size": 22, "fill": "var(--measured)", "stroke": None}}
    layers += [
        {
            "mark": {**line, "color": "var(--measured)", "strokeWidth": 1.75 if rows <= FEW else 1,
                     **(points if rows <= FEW else {})},
            "encoding": {"y": y},
        },
        {  # 0, inf and nan, on the edge
            "transform": [{"filter": f"datum.{key}x != null"}],
            "mark": {"type": "point", "size": 60, "filled": True, "color": "var(--error)",
                     "shape": {"expr": f"datum.{key}x == '0' ? 'triangle-down' : datum.{key}x == 'nan' ? 'cross' : 'triangle-up'"}},
            "encoding": {"y": {"value": {"expr": f"datum.{key}x == '0' ? height : 0"}}},
        },
        {
            "transform": [{"filter": "datum.i == at"}],
            "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1},
        },
        {
            "transform": [{"filter": f"datum.i == at && isValid(datum.{key})"}],
            "mark": {"type": "point", "size": 80, "filled": True, "fill": "var(--ink)",
                     "stroke": "var(--ground)", "strokeWidth": 2, "opacity": 1},
            "encoding": {"y": y},
        },
    ]  # fmt: skip
    return {
        **_frame(about, height, {"data": {"name": "operations"}}),
        "params": [{"name": "at", "value": 0}],
        "encoding": {"x": _along(rows)},
        "layer": layers,
    }


def lanes(names: Sequence[str], rows: int, about: str) -> Spec:
    """The modules as they are crossed, and below them a lane for every kind of finding.

    `names` are the lanes. The data sets are "modules" (l, r, name, odd, lane) and "pins" (l, r, a,
    lane, severity): from l to r, pinned at a.
    """
    y = {
        "field": "lane",
        "type": "nominal",
        "axis": {"title": None, "ticks": False, "domain": False, "grid": False, "labelPadding": 8},
        "scale": {"domain": list(names), "paddingInner": 0.15, "paddingOuter": 0},
    }
    ends = {"x": {**_along(rows), "field": "l", "axis": None}, "x2": {"field": "r"}}
    wide = "scale('x', datum.r) - scale('x', datum.l)"
    layers: list[Spec] = [
        {
            "data": {"name": "modules"},
            "mark": {"type": "rect", "color": {"expr": "datum.odd ? 'var(--line)' : 'var(--panel)'"}},
            "encoding": {**ends, "y": y},
        },
        {
            "data": {"name": "modules"},
            "transform": [{"calculate": "(datum.l + datum.r) / 2", "as": "middle"}],
            "mark": {"type": "text", "fontSize": 11, "color": "var(--ink)",
                     "limit": {"expr": f"max(1, {wide} - 4)"},
                     "text": {"expr": f"{wide} < 5 + 6 * min(3, length(datum.name)) ? '' : datum.name"}},
            "encoding": {"x": {**_along(rows), "field": "middle", "axis": None}, "y": y},
        },
        {  # below the pins, which are clicked on
            "data": {"name": "operations"},
            "transform": [{"filter": "datum.i == at"}],
            "mark": {"type": "rule", "color": "var(--ink)", "strokeWidth": 1},
            "encoding": {"x": {**_along(rows), "axis": None}},
        },
        {
            "data": {"name": "pins"},
            "mark": {"type": "bar", "height": 4, "color": {"expr": _severity()}, "opacity": 0.45},
            "encoding": {**ends, "y": y},
        },
        {
            "data": {"name": "pins"},
            "mark": {"type": "point", "size": 70, "filled": True, "opacity": 1, "cursor": "pointer",
                     "color": {"expr": _severity()}, "shape": {"expr": _shape()}},
            "encoding": {"x": {**_along(rows), "field": "a", "axis": None}, "y": y},
        },
    ]  # fmt: skip
    return {
        **_frame(about, LANE * len(names), {}),
        "params": [{"name": "at", "value": 0}],
        "layer": layers,
    }


def histogram(counted: Histogram, about: str) -> Spec:
    """The counts between the edges, as bars that touch."""
    bars = [
        {"a": a, "b": b, "n": n}
        for a, b, n in zip(counted.edges, counted.edges[1:], counted.counts, strict=False)
    ]
    ends = [counted.edges[0], counted.edges[-1]]
    return {
        **_frame(about, 84, {"data": {"values": bars}}),
        "mark": {"type": "rect", "color": "var(--measured)", "stroke": "var(--ground)",
                 "strokeWidth": 0.5},
        "encoding": {
            "x": {"field": "a", "type": "quantitative", "scale": {"domain": ends, "nice": False, "zero": False},
                  "axis": {"title": None, "tickCount": 3, "format": ".2~g", "grid": False, "labelFlush": True}},
            "x2": {"field": "b"},
            "y": {"field": "n", "type": "quantitative", "axis": None, "scale": {"zero": True}},
            "y2": {"datum": 0},
        },
    }  # fmt: skip


def spectrum(values: Sequence[float], about: str) -> Spec:
    """Singular values by rank, the largest first, on a log scale; 0 lies on the lower edge."""
    least = min((v for v in values if v > 0), default=1.0)
    scale = decades([*values, least / 10] if 0 in values else values)  # room below for the zeros
    points = []
    for rank, value in enumerate(values, 1):
        at, edge = placed(value, scale)
        points.append({"i": rank, "s": at, **({"x": edge} if edge else {})})
    return {
        **_frame(about, 120, {"data": {"values": points}}),
        "mark": {"type": "point", "size": 24, "filled": True, "opacity": 1,
                 "color": {"expr": "datum.x ? 'var(--soft)' : 'var(--measured)'"},
                 "shape": {"expr": "datum.x ? 'triangle-down' : 'circle'"}},
        "encoding": {
            "x": _along(len(values)),
            "y": {"field": "s", "type": "quantitative", "axis": scale.axis,
                  "scale": {"domain": [scale.low, scale.high], "nice": False, "zero": False}},
        },
    }  # fmt: skip


def _along(rows: int) -> Spec:
    """The common x axis: operations by number, from 1."""
    return {
        "field": "i",
        "type": "quantitative",
        "axis": {"title": None, "grid": False, "tickMinStep": 1, "format": "d", "tickCount": 8},
        "scale": {"domain": [0.5, max(rows, 1) + 0.5], "nice": False, "zero": False},
    }


def _frame(about: str, height: int, data: Spec) -> Spec:
    """What all charts have in common: a width from the page, quiet axes, a description."""
    axis = {
        "labelColor": "var(--soft)", "titleColor": "var(--soft)", "domainColor": "var(--line)",
        "tickColor": "var(--line)", "gridColor": "var(--line)", "labelFontSize": 12, "aria": False,
    }  # fmt: skip
    return {
        "$schema": SCHEMA,
        "description": about,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": {"left": 0, "right": 12, "top": 6, "bottom": 2},
        "background": None,
        **data,
        "config": {
            "font": FONT,
            "view": {"stroke": None},
            "aria": True,
            "axis": axis,
            "axisY": {"minExtent": MARGIN, "maxExtent": MARGIN},
            "mark": {"aria": False, "invalid": "break-paths-show-domains"},
        },
    }


def _severity() -> str:
    return "'var(--' + datum.severity + ')'"


def _shape() -> str:
    named = ",".join(f"'{k}':'{v}'" for k, v in SHAPES.items())
    return f"{{{named}}}[datum.severity]"
