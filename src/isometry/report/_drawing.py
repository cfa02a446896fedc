"""What the page's charts are given: their specifications, and the data that they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from isometry.report import _lines, charts
from isometry.report._layer_rows import gradient, mean_square
from isometry.report._places import Pin, Stretch, modules
from isometry.report._text import number
from isometry.types import Histogram, Measurement, Spectrum

__all__ = ["Chart", "along_depth", "histograms", "shared_data", "spectrum"]

MOST_POINTS = 500  # of one chart that is no line

Take = Callable[[Measurement], float | None]
Rows = list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure of the page: a specification, or why there is none; `key` names its lines."""

    id: str
    title: str
    spec: Mapping[str, Any] | None = None
    key: Sequence[tuple[str, str]] = ()  # (style, what the line is)
    about: str = ""


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is drawn along depth: its column, how it is taken, and the lines beside it."""

    id: str
    title: str
    take: Take
    scale: Callable[[Sequence[float | None]], charts.Scale]
    height: int
    missing: str
    beside: Mapping[str, tuple[str, Take]] = field(default_factory=dict)


QUANTITIES = (
    Quantity(
        "q", "Mean square of the output, q", mean_square, charts.decades, 200,
        "Nothing was measured.",
        {"predicted": ("predicted from the weights", lambda m: m.predicted),
         "differing": ("what differs between samples, std²", lambda m: m.std and m.std * m.std)},
    ),
    Quantity("g", "Second moment of the gradient", gradient, charts.decades, 150,
             "No gradient was measured.",
             {"predicted_g": ("predicted, from that at the output", lambda m: m.predicted_grad)}),
    Quantity("c", "Mean cosine between samples, c", lambda m: m.c, charts.fractions, 100,
             "Not measured: it takes two samples or more.",
             {"predicted_c": ("predicted", lambda m: m.predicted_c)}),
)  # fmt: skip


def along_depth(layers: Sequence[Measurement], pins: Sequence[Pin]) -> list[Chart]:
    """The lanes of modules and findings, then q, the gradient and c, on one x axis."""
    found = [f"{p.finding.code} at operation {p.at.first + 1}" for p in pins if p.at]
    about = f"Where findings start: {', '.join(found[:12]) or 'there are none'}."
    codes = dict.fromkeys(p.finding.code for p in pins if p.at)
    names = ["module"] * bool(modules(layers)) + list(codes)
    drawn = []
    if names:
        spec = charts.lanes(names, len(layers), about)
        title = " and ".join(
            ["modules"] * ("module" in names) + ["where findings start"] * bool(codes)
        )
        drawn.append(Chart("lanes", title.capitalize(), spec, about=about))
    return drawn + [_quantity(q, layers) for q in QUANTITIES]


def _quantity(quantity: Quantity, layers: Sequence[Measurement]) -> Chart:
    seen = [v for m in layers if (v := quantity.take(m)) is not None]
    if not seen:
        return Chart(quantity.id, quantity.title, about=quantity.missing)
    about = (
        f"{quantity.title}, over {len(layers)} operations: {number(seen[0])} at the first, "
        f"{number(seen[-1])} at the last, between {number(min(seen))} and {number(max(seen))}."
    )
    beside = {
        style: name
        for style, (name, take) in quantity.beside.items()
        if any(take(m) is not None for m in layers)
    }
    spec = charts.depth(
        quantity.id, _scale(quantity, layers), len(layers), about, quantity.height, list(beside)
    )
    key = [("measured", "measured")]
    key += [(style.partition("_")[0], name) for style, name in beside.items()]
    return Chart(quantity.id, quantity.title, spec, key, about)


def _scale(quantity: Quantity, layers: Sequence[Measurement]) -> charts.Scale:
    takes = [quantity.take, *(take for _, take in quantity.beside.values())]
    return quantity.scale([take(m) for take in takes for m in layers])


def shared_data(layers: Sequence[Measurement], pins: Sequence[Pin]) -> dict[str, Rows]:
    """The data sets by name: operations (a row a layer), modules, pins."""
    rows: Rows = [{"i": i} for i in range(1, len(layers) + 1)]
    for quantity in QUANTITIES:
        scale = _scale(quantity, layers)
        takes = {quantity.id: quantity.take, **{k: t for k, (_, t) in quantity.beside.items()}}
        for column, take in takes.items():
            for row, m in zip(rows, layers, strict=True):
                at, edge = charts.placed(take(m), scale)
                row |= {column: at} if at is not None else {}
                row |= {f"{column}x": edge} if edge and column == quantity.id else {}
        _mark_ends(rows, f"{quantity.id}x")
    crossed = [
        {**_ends(s), "name": s.name or "(model)", "odd": n % 2, "lane": "module"}
        for n, s in enumerate(modules(layers))
    ]
    placed = [
        {**_ends(p.at), "a": p.at.first + 1, "lane": p.finding.code,
         "severity": p.finding.severity, "finding": p.id}
        for p in pins if p.at
    ]  # fmt: skip
    return {"operations": rows, "modules": crossed, "pins": placed}


def _ends(s: Stretch) -> dict[str, float]:
    return {"l": s.first + 0.5, "r": s.last + 1.5}


def _mark_ends(rows: Rows, key: str) -> None:
    """Of a run of values at the edge, mark the first and the last."""
    for edge, run in groupby(rows, key=lambda row: row.get(key)):
        if edge is not None:
            for row in list(run)[1:-1]:
                del row[key]


def histograms(counted: Sequence[Histogram]) -> list[Chart]:
    """A small chart for each histogram."""
    drawn = []
    for n, h in enumerate(counted, 1):
        name = (h.layer if h.what == "output" else h.name) or "(model)"
        about = (
            f"Histogram of the {h.what} of {name}: {sum(h.counts)} values "
            f"from {number(h.edges[0])} to {number(h.edges[-1])}."
        )
        drawn.append(Chart(f"histogram-{n}", name, charts.histogram(h, about), about=about))
    return drawn


def spectrum(found: Spectrum | None) -> Chart | None:
    """The singular values from input to output; None where they were not measured."""
    if found is None:
        return None
    about = f"{_lines.spectrum(found)}."
    values = [*found.nonzero, *[0.0] * (len(found.values) - len(found.nonzero))]
    shown = values[:: max(1, -(-len(values) // MOST_POINTS))]
    return Chart("jacobian", "Singular values, by rank", charts.spectrum(shown, about), about=about)
