"""The figures' common parts: Vega-Lite specifications as plain dicts, data inline, no colours.

A figure is one view, never a row of views: a view follows the width of the page, from a telephone
to a desk. Distributions per layer are therefore drawn as ridges on one axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = [
    "RULE", "axis", "band", "by", "dashed", "decades", "dots", "errors", "lines", "picture", "ridges",
]  # fmt: skip

Spec = dict[str, Any]
Row = Mapping[str, Any]

SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"  # a name; nothing is loaded from it
TALLEST = 0.92  # of a ridge, in distances between ridges

STEPS = (1, 2, 3, 5, 10, 20, 50, 100)  # decades between ticks
MOST_TICKS = 6
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

RULE: Spec = {"type": "rule", "strokeDash": [2, 3], "opacity": 0.6}


def picture(
    about: str, layers: Sequence[Spec], values: Iterable[Row] = (), height: int = 280
) -> Spec:
    """A whole specification.

    Args:
        about: what a screen reader says instead of the picture.
        layers: drawn in this order, the last on top.
        values: the rows that layers without data of their own share.
        height: of the plot, in pixels; its width is the page's.
    """
    return {
        "$schema": SCHEMA,
        "description": about,
        "width": "container",
        "height": height,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "data": {"values": [dict(row) for row in values]},
        "layer": list(layers),
    }  # fmt: skip


def axis(field: str, title: str, zero: bool = False, **more: Any) -> Spec:
    """A quantitative channel with its title in plain words.

    `more` goes into the axis (format, values, labelExpr, tickMinStep); `domain`, and the `padding`
    around what is drawn, in pixels, into the scale.
    """
    scale: Spec = {"zero": zero}
    if "padding" in more:
        scale |= {"padding": more.pop("padding"), "nice": False}
    if "domain" in more:
        scale |= {"domain": more.pop("domain"), "nice": False, "clamp": False}
    return {
        "field": field,
        "type": "quantitative",
        "scale": scale,
        "axis": {"title": title, **more},
    }


def decades(field: str, title: str, values: Iterable[float], padding: int = 8) -> Spec:
    """A logarithmic channel that holds the positive values, with its ticks at powers of ten.

    Within two decades the ticks are at 1, 2 and 5 as well.
    """
    seen = [v for v in values if v > 0]
    low, high = math.log10(min(seen)), math.log10(max(seen))
    first, last = math.floor(low), math.ceil(high)
    if high - low < 2:
        ticks = [m * 10.0**e for e in range(first, last + 1) for m in (1, 2, 5)]
        ticks = [t for t in ticks if min(seen) / 1.5 <= t <= max(seen) * 1.5]
        labels: Spec = {"format": "~g"}
    else:
        step = next(s for s in STEPS if (last - first) / s <= MOST_TICKS)
        powers = [e for e in range(first, last + 1) if e % step == 0]
        ticks = [10.0**e for e in powers]
        named = ",".join(f"'{e}':'10{str(e).translate(SUPERSCRIPT)}'" for e in powers)
        labels = {"labelExpr": f"{{{named}}}[round(log(datum.value) / LN10)]"}
    scale = {"type": "log", "padding": padding, "nice": False}
    return {
        "field": field, "type": "quantitative", "scale": scale,
        "axis": {"title": title, "values": ticks, **labels},
    }  # fmt: skip


def by(field: str, order: Sequence[str]) -> Spec:
    """Colour by a series; the legend stands above the plot, where a telephone has room for it."""
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": list(order)},
        "legend": {
            "title": None,
            "orient": "top",
            "labelLimit": 0,
            "symbolLimit": 0,
            "symbolOpacity": 1,
            "columns": max(1, min(len(order), 46 // (4 + max(map(len, order))))),
        },
    }


def lines(x: Spec, y: Spec, colour: Spec | None, points: bool = True, **more: Any) -> Spec:
    """A line for each series, with its points."""
    mark: Spec = (
        {"type": "line", "point": {"size": 35, "filled": True}} if points else {"type": "line"}
    )
    return {
        "mark": {**mark, "clip": True},
        "encoding": {"x": x, "y": y, **_coloured(colour)},
        **more,
    }


def dashed(
    x: Spec, y: Spec, colour: Spec | None, dash: Sequence[int] = (6, 4), **more: Any
) -> Spec:
    """A dashed line for each series: what theory says."""
    mark = {"type": "line", "strokeDash": list(dash), "clip": True}
    return {"mark": mark, "encoding": {"x": x, "y": y, **_coloured(colour)}, **more}


def dots(
    x: Spec, y: Spec, colour: Spec | None, size: int = 45, opacity: float = 1.0, **more: Any
) -> Spec:
    """A dot for each row."""
    mark = {"type": "point", "filled": True, "size": size, "opacity": opacity, "clip": True}
    return {"mark": mark, "encoding": {"x": x, "y": y, **_coloured(colour)}, **more}


def errors(x: Spec, low: str, high: str, y: Spec, colour: Spec, **more: Any) -> Spec:
    """A vertical bar from one column to another, on the axis of `y`."""
    ends = {"y": {**y, "field": low}, "y2": {"field": high}}
    return {
        "mark": {"type": "rule", "clip": True},
        "encoding": {"x": x, **ends, "color": colour},
        **more,
    }


def band(x: Spec, low: str, high: str, y: Spec, colour: Spec, **more: Any) -> Spec:
    """A shaded band between two columns, on the axis of `y`."""
    mark = {"type": "area", "opacity": 0.2, "clip": True}
    ends = {"y": {**y, "field": low}, "y2": {"field": high}}
    return {"mark": mark, "encoding": {"x": x, **ends, "color": colour}, **more}


def _coloured(colour: Spec | None) -> Spec:
    return {} if colour is None else {"color": colour}


def ridges(
    about: str,
    densities: Mapping[str, Sequence[Sequence[float]]],
    edges: Sequence[float],
    x_title: str,
    names: Sequence[str],
    height: int = 340,
) -> Spec:
    """Distributions, one above the other, the first at the top; several series are overlaid.

    Args:
        about: as for `picture`.
        densities: series -> a row of densities for each ridge. Each ridge has a scale of its own,
            which its series share.
        edges: of the bins, one more than there are densities in a row.
        x_title: what is distributed.
        names: of the ridges.
        height: of the plot, in pixels.
    """
    last = len(names)
    tallest = [max(d for rows in densities.values() for d in rows[at]) for at in range(last)]
    values = [
        {
            "x": round((a + b) / 2, 5),
            "base": last - at,
            "top": round(last - at + TALLEST * d / tallest[at], 4),
            "ridge": at,
            "series": series,
        }
        for series, rows in densities.items()
        for at, row in enumerate(rows)
        for a, b, d in zip(edges, edges[1:], row, strict=False)
    ]
    labels = ",".join(f"'{last - at}':'{name}'" for at, name in enumerate(names))
    y = axis(
        "base", "", values=list(range(1, last + 1)), labelExpr=f"{{{labels}}}[datum.value]",
        domain=[0.95, last + 1], grid=False, ticks=False,
    )  # fmt: skip
    y["axis"] |= {"title": None, "domain": False}
    across = axis("x", x_title, domain=[edges[0], edges[-1]], tickCount=5)
    colour = {"color": by("series", list(densities))} if len(densities) > 1 else {}
    ends = {"x": across, "y": y, "y2": {"field": "top"}, "detail": {"field": "ridge"}}
    mark = {"type": "area", "opacity": 0.55, "interpolate": "monotone"}
    return picture(about, [{"mark": mark, "encoding": {**ends, **colour}}], values, height)
