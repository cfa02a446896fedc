"""How the lab's figures look: specifications come without colours, the page's style sheet has them.

Colours are CSS variables, so that light, dark and print are the style sheet's affair.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["CATEGORIES", "HEAT", "themed"]

CATEGORIES = 8
HEAT = 6  # steps of the sequential scale; text stands out from each of them

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', sans-serif"
QUIET = {
    "labelColor": "var(--soft)", "titleColor": "var(--soft)", "domainColor": "var(--line)",
    "tickColor": "var(--line)", "gridColor": "var(--line)", "labelFontSize": 12, "titleFontSize": 12,
    "titleFontWeight": "normal", "aria": False,
}  # fmt: skip
THEME: Mapping[str, Any] = {
    "font": FONT,
    "background": None,
    "view": {"stroke": None},
    "padding": {"left": 0, "right": 12, "top": 6, "bottom": 2},
    "range": {
        "category": [f"var(--series-{i})" for i in range(1, CATEGORIES + 1)],
        "ordinal": [f"var(--heat-{i})" for i in range(HEAT)],
        "ramp": [f"var(--heat-{i})" for i in range(HEAT)],
        "heatmap": [f"var(--heat-{i})" for i in range(HEAT)],
    },
    "axis": QUIET,
    "legend": {
        "labelColor": "var(--ink)", "titleColor": "var(--soft)", "labelFontSize": 12,
        "titleFontSize": 12, "titleFontWeight": "normal", "aria": False, "symbolStrokeWidth": 2,
    },
    "header": {"labelColor": "var(--ink)", "titleColor": "var(--soft)", "labelFontSize": 12},
    "title": {"color": "var(--ink)", "fontSize": 13, "fontWeight": 600},
    "mark": {"aria": False, "color": "var(--series-1)"},
    "line": {"strokeWidth": 2, "strokeJoin": "round"},
    "point": {"tooltip": True},
    "bar": {"tooltip": True},
    "rule": {"color": "var(--soft)"},
    "text": {"color": "var(--ink)", "fontSize": 12},
}  # fmt: skip


def themed(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A figure's specification as the page draws it: with the theme, beneath what it says itself."""
    kept = {
        k: v for k, v in spec.items() if k != "$schema"
    }  # the page's Vega-Lite is the one there is
    return {**kept, "config": _merged(THEME, spec.get("config", {}))}


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        both = isinstance(under, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(under, value) if both else value  # type: ignore[arg-type]
    return merged
