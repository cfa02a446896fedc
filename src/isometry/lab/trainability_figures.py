"""The trainability map as pictures: a heat map for each kind of network and depth, and the shares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from isometry.lab.experiment import Figure
from isometry.lab.networks import ACTIVATIONS
from isometry.lab.pictures import Spec, picture

if TYPE_CHECKING:
    from isometry.lab.trainability_cells import Cell

__all__ = ["APART", "TRAINS", "figures", "trains"]

NETWORKS = {
    "mlp": "linear layers of {width} units",
    "cnn": "convolutions of 16 channels",
}
SHORT = {"leaky_relu": "leaky relu"}
LEVELS = (0.2, 0.4, 0.6, 0.8, 0.9)  # where a colour ends; the last is where a network has learnt
TRAINS, APART = LEVELS[-1], "sigmoid"
ROW = 26  # pixels
GAPS = {"paddingInner": 0.05, "paddingOuter": 0}


def trains(accuracy: float | None) -> bool:
    """Has a network learnt? One whose recipe declines has not."""
    return accuracy is not None and accuracy > TRAINS


def figures(found: Mapping[Cell, float | None]) -> tuple[Figure, ...]:
    """The share of the networks that train, by recipe, and a map of all cells for each depth.

    Args:
        found: the accuracy of each cell, None where the recipe declines.
    """
    sizes = sorted({(c.network, c.depth) for c in found}, key=lambda s: (s[0] != "mlp", s[1]))
    recipes = list(dict.fromkeys(c.recipe for c in found))
    maps = [_map(found, network, depth, recipes) for network, depth in sizes]
    return (_summary(found, recipes), *maps)


def _summary(found: Mapping[Cell, float | None], recipes: list[str]) -> Figure:
    rows = []
    for recipe in recipes:
        own = [trains(a) for c, a in found.items() if c.recipe == recipe and c.activation != APART]
        share = sum(own) / len(own)
        rows.append({"recipe": recipe, "share": share, "said": f"{share:.0%}"})
    y = {
        "field": "recipe", "type": "nominal", "sort": recipes,
        "axis": {"title": None, "ticks": False, "domain": False, "labelPadding": 8},
    }  # fmt: skip
    x = {
        "field": "share", "type": "quantitative", "scale": {"domain": [0, 1]},
        "axis": {"title": "share of the networks that train to over 90 %", "format": ".0%", "tickCount": 5},
    }  # fmt: skip
    bars = {"mark": {"type": "bar", "height": {"band": 0.7}}, "encoding": {"x": x, "y": y}}
    text = {
        "mark": {"type": "text", "align": "left", "dx": 5},
        "encoding": {"x": x, "y": y, "text": {"field": "said"}},
    }
    said = ", ".join(f"{row['recipe']} {row['said']}" for row in rows)
    return Figure(
        "How many train",
        "All kinds of network, depth and activation but the sigmoid, whose row is in the maps.",
        picture(f"Share of the networks that train, by recipe: {said}.", [bars, text], rows, 30 * len(rows)),
    )  # fmt: skip


def _map(
    found: Mapping[Cell, float | None], network: str, depth: int, recipes: list[str]
) -> Figure:
    rows = [
        {
            "recipe": cell.recipe,
            "activation": SHORT.get(cell.activation, cell.activation),
            "accuracy": accuracy,
            "percent": "–" if accuracy is None else f"{100 * accuracy:.0f}",
        }
        for cell, accuracy in found.items()
        if (cell.network, cell.depth) == (network, depth)
    ]
    names = [SHORT.get(name, name) for name in ACTIVATIONS]
    held = sum(trains(row["accuracy"]) for row in rows)  # type: ignore[arg-type]
    kind = NETWORKS[network].format(width=100)
    return Figure(
        f"{depth} {kind}",
        "Accuracy in percent on the images trained on, at the best of three learning rates. A dash: "
        "the recipe says that it has no law for that activation.",
        picture(
            f"Heat map of accuracy by activation and recipe for {depth} {kind}: {held} of "
            f"{len(rows)} train to over 90 %.",
            _heat(names, recipes),
            rows,
            ROW * len(names),
        ),
    )


def _heat(activations: list[str], recipes: list[str]) -> list[Spec]:
    flat: Spec = {"title": None, "ticks": False, "domain": False}
    x = {
        "field": "recipe", "type": "nominal", "scale": {**GAPS, "domain": recipes},
        "axis": {**flat, "orient": "top", "labelAngle": -75, "labelPadding": 4, "labelOverlap": False},
    }  # fmt: skip
    y = {
        "field": "activation", "type": "nominal", "scale": {**GAPS, "domain": activations},
        "axis": {**flat, "labelPadding": 6},
    }  # fmt: skip
    colour: Spec = {
        "field": "accuracy", "type": "quantitative", "legend": None, "title": "accuracy",
        "scale": {"type": "threshold", "domain": list(LEVELS)},
    }  # fmt: skip
    tip: list[dict[str, Any]] = [
        {"field": "activation", "type": "nominal"},
        {"field": "recipe", "type": "nominal"},
        {"field": "accuracy", "type": "quantitative", "format": ".1%"},
    ]
    cell = {
        "mark": "rect",
        "encoding": {"x": x, "y": y, "color": colour, "tooltip": tip},
    }
    text = {
        "mark": {"type": "text", "fontSize": 11, "tooltip": False},
        "encoding": {"x": x, "y": y, "text": {"field": "percent"}, "tooltip": tip},
    }
    return [cell, text]
