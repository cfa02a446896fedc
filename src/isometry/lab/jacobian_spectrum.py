"""Singular values of a deep network's Jacobian: a Gaussian's spread, an isometry's do not."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from isometry.lab.evidence import number
from isometry.lab.experiment import Claim, Figure, Lab, Result, experiment
from isometry.lab.networks import mlp
from isometry.lab.orthogonal import PlainOrthogonal
from isometry.lab.pictures import by, decades, picture

DEPTH = 50
RECIPES = {"he": "He", "orthogonal": "orthogonal", "isometric": "isometric"}
BINS = 6  # a decade


@experiment(
    title="Every direction counts: the spectrum of the Jacobian",
    teaches="""Move the input a little, and the output moves. The Jacobian says how far, for every
    direction of the move: its singular values are the factors by which fifty layers stretch or
    squeeze it. He's law keeps the average of their squares at 1, and yet the single values lie apart by
    many powers of ten: a few directions are heard, most are lost, and the gradient of what is lost is
    lost as well. Orthogonal matrices turn without stretching; but the ReLUs between them set half of the units to zero, a
    different half for each input, and after fifty of them the directions are as far apart as
    before. An isometry pairs each unit with its mirror image, so that what one ReLU cuts
    off the other lets through, and all values are 1.""",
    source="Saxe et al. 2014; Pennington et al. 2017; Shang et al. 2016 for mirrored pairs of ReLUs",
)
def jacobian_spectrum(lab: Lab) -> Result:
    """Fifty layers of ReLU under He's law, orthogonal matrices and an isometry."""
    from isometry.recipe import RECIPES as KNOWN

    width = 400 if lab.full else 128
    chosen = {k: v for k, v in RECIPES.items() if k == "orthogonal" or k in KNOWN}
    spectra = {
        label: lab.cells.get(f"{recipe}/{width}", partial(_spectrum, recipe, width))
        for recipe, label in chosen.items()
    }
    numbers = {"depth": DEPTH, "width": width, "values": spectra}
    claims = [
        Claim(
            f"{label}: the largest singular value over the smallest, {DEPTH} layers of {width}",
            "within 1 % of 1: an isometry at ReLU" if label == "isometric"
            else "over 1000: the ReLUs' cuts add up (Pennington et al. 2017)",
            f"{number(max(values))} over {number(_least(values))} = {number(_spread(values))}",
            _spread(values) < 1.01 if label == "isometric" else _spread(values) > 1e3,
        )
        for label, values in spectra.items()
    ]  # fmt: skip
    return Result(tuple(claims), (_figure(spectra, width),), numbers)


def _least(values: list[float]) -> float:
    """The smallest singular value that is more than what rounding leaves of zero."""
    return min(v for v in values if v > 1e-12)


def _spread(values: list[float]) -> float:
    return max(values) / _least(values)


def _spectrum(recipe: str, width: int) -> list[float]:
    """The singular values, the largest first, at one input. In float64: they lie far apart."""
    import torch

    import isometry as iso

    size = width // 2  # pairs of ReLUs carry half as many numbers as there are units
    net = mlp([size, *[width] * DEPTH], "relu", classes=size)
    x = torch.randn(1, size, generator=torch.Generator().manual_seed(0))
    asked: Any = PlainOrthogonal() if recipe == "orthogonal" else recipe
    iso.initialize(net, x, seed=0, recipe=asked)
    jacobian = torch.autograd.functional.jacobian(net.double(), x.double())
    found: list[float] = torch.linalg.svdvals(jacobian.reshape(size, size)).tolist()
    return found


def _figure(spectra: dict[str, list[float]], width: int) -> Figure:
    seen = [v for values in spectra.values() for v in values]
    floor = max(min(v for v in seen if v > 0), 1e-12)
    counts: dict[tuple[str, int], int] = {}
    for label, values in spectra.items():
        for value in values:
            at = round(BINS * math.log10(max(value, floor)))
            counts[label, at] = counts.get((label, at), 0) + 1
    rows: list[dict[str, Any]] = [
        {"law": label, "low": 10 ** ((at - 0.5) / BINS), "high": 10 ** ((at + 0.5) / BINS),
         "share": n / len(spectra[label])}
        for (label, at), n in sorted(counts.items())
    ]  # fmt: skip
    ends = [row[end] for row in rows for end in ("low", "high")]
    x = decades("low", "singular value", ends)
    x["scale"]["domain"] = [min(ends), max(ends)]
    y = {
        "field": "share", "type": "quantitative", "stack": None,
        "axis": {"title": "share of the directions", "format": ".0%"},
    }  # fmt: skip
    bars = {
        "mark": {"type": "rect", "opacity": 0.6},
        "encoding": {
            "x": x, "x2": {"field": "high"}, "y": y, "y2": {"datum": 0},
            "color": by("law", list(spectra)),
        },
    }  # fmt: skip
    return Figure(
        f"How {DEPTH} layers stretch and squeeze",
        f"The singular values of the end-to-end Jacobian, {DEPTH} layers of {width} ReLUs. What "
        f"lies to the left is lost. Values that are zero stand at {floor:.0e}.",
        picture(
            f"Histogram of singular values for {', '.join(spectra)}: He's and the orthogonal "
            "network's spread over many decades, the isometry's are all 1.",
            [bars],
            rows,
        ),
    )
