"""Schoenholz et al. 2017: how deep two inputs can be told apart, and where it is deepest."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from isometry.gains import find, gaussian_grid
from isometry.lab.evidence import agrees, estimate, number
from isometry.lab.experiment import Claim, Figure, Lab, Result, experiment
from isometry.lab.networks import mlp
from isometry.lab.pictures import RULE, axis, by, dashed, decades, dots, lines, picture

BIAS = 0.05  # Var b, as in the paper's figures
SCALES = (1.0, 1.3, 1.55, 1.76, 2.0, 2.5, 3.0)  # fan_in Var W
SHOWN = (1.0, 1.55, 1.76, 2.0, 3.0)
APART = 1e-6  # 1 - c of the two inputs: so close that the map is linear
AT_EDGE = 0.05  # scales this near the edge are of neither side
MOST = 60.0  # layers: depth scales are drawn up to here
NEAR = 1e-2  # and as long as they are no further apart than this, it stays so


@experiment(
    title="Order, chaos, and the edge between them",
    teaches="""Show a deep tanh network two images that differ by a hair. If its weights are small, each layer makes
    them more alike, until all images look the same: order. If they are large, each layer
    pulls them apart, until neighbours look like strangers: chaos. Either way, after some number of layers
    nothing is left of how similar the two were, and a network deeper than a few times that number
    cannot be trained. Between order and chaos lies an edge where the factor is exactly 1, and there the
    number of layers has no bound. Theory says where the edge is, and how far one can see beside it:
    1/|ln χ| layers, χ being the factor a layer. The gradient grows or fades by the same factor.""",
    source="Schoenholz et al. 2017, section 3; Poole et al. 2016",
)
def depth_scale(lab: Lab) -> Result:
    """The distance of two near inputs through tanh layers, from order to chaos."""
    width, depth, seeds = (1000, 60, 20) if lab.full else (300, 30, 8)
    numbers: dict[str, Any] = {"width": width, "depth": depth, "edge": edge(), "scales": {}}
    lab.cells.expect(len(SCALES) * seeds)
    claims: list[Claim] = []
    for scale in SCALES:
        q, chi = fixed_point(scale)
        runs = [
            lab.cells.get(f"{scale:g}/{seed}", partial(_distances, scale, seed, width, depth))
            for seed in range(seeds)
        ]
        logs = [_per_layer(run) for run in runs]
        found = estimate([math.exp(v) for v in logs])
        numbers["scales"][f"{scale:g}"] = {
            "q": q, "chi": chi, "measured": found.value, "error": found.error,
            "distances": [
                math.exp(math.fsum(math.log(run[layer]) for run in runs) / seeds)
                for layer in range(depth)
            ],
        }  # fmt: skip
        claims.append(
            agrees(
                f"fan_in Var W = {scale:g}: factor a layer of the distance, χ", chi,
                "C_W E[tanh'²] at the fixed point", found, 1 / width, "finite width",
            )
        )  # fmt: skip
    return Result((*claims, *_edge_claims(numbers)), _figures(numbers), numbers)


def fixed_point(scale: float) -> tuple[float, float]:
    """The second moment q at which tanh layers settle, and chi there.

    Example:
        >>> [round(v, 3) for v in fixed_point(2.0)]
        [0.722, 1.048]
    """
    tanh = find("tanh", {})
    q, chi = 1.0, 0.0
    for _ in range(400):
        grid = gaussian_grid(tanh.function, tanh.kinks, q=q)
        before, q = q, scale * grid.mean(grid.value**2) + BIAS
        chi = scale * grid.mean(grid.slope**2)
        if abs(q - before) < 1e-12:
            break
    return q, chi


def edge() -> float:
    """The scale at which chi is 1.

    Example:
        >>> round(edge(), 2)
        1.76
    """
    low, high = 1.0, 3.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if fixed_point(middle)[1] < 1 else (low, middle)
    return low


def _distances(scale: float, seed: int, width: int, depth: int) -> list[float]:
    """1 - c of two near inputs after each layer."""
    import torch
    from torch import nn

    import isometry as iso

    net = mlp([width] * (depth + 1), "tanh")
    del net[-1]
    laws = {"*.weight": iso.Normal(math.sqrt(scale / width)), "*.bias": iso.Normal(math.sqrt(BIAS))}
    draws = torch.Generator().manual_seed(seed)
    first, other = torch.randn(2, 16, width, generator=draws, dtype=torch.float64)
    # What the first layer reads has the second moment that the layers settle at.
    size = math.sqrt((fixed_point(scale)[0] - BIAS) / scale)
    second = first * (1 - APART) + other * math.sqrt(1 - (1 - APART) ** 2)
    x = torch.stack([first, second]) * size
    iso.initialize(net, x[0].float(), seed=seed, overrides=laws)
    net.double()
    out = []
    with torch.no_grad():
        for module in net:
            x = module(x)
            if isinstance(module, nn.Linear):
                out.append(_apart(x))
    return out


def _apart(x: Any) -> float:
    """1 - c of two sets of vectors, as a squared distance: no rounding where c is nearly 1."""
    unit = x / x.norm(dim=2, keepdim=True)
    return float((unit[0] - unit[1]).square().sum(1).mean() / 2)


def _per_layer(distances: list[float]) -> float:
    """ln of the factor a layer, as long as the two are near."""
    last = max(at for at, d in enumerate(distances) if d < NEAR)
    return (math.log(distances[last]) - math.log(distances[0])) / last


def _edge_claims(numbers: dict[str, Any]) -> list[Claim]:
    factors = {scale: numbers["scales"][f"{scale:g}"]["measured"] for scale in SCALES}
    order = [factors[scale] for scale in SCALES if scale < numbers["edge"] - AT_EDGE]
    chaos = [factors[scale] for scale in SCALES if scale > numbers["edge"] + AT_EDGE]
    return [
        Claim(
            f"with Var b = {BIAS:g}, inputs grow alike below the edge and apart above it",
            f"χ < 1 below fan_in Var W = {number(numbers['edge'])} and > 1 above, by quadrature; "
            "Schoenholz et al. 2017, figure 1",
            f"up to {number(max(order))} below, from {number(min(chaos))} above",
            max(order) < 1 < min(chaos),
        )
    ]


def _figures(numbers: dict[str, Any]) -> tuple[Figure, ...]:
    scales = numbers["scales"]
    names = {f"{scale:g}": f"{scale:g}" for scale in SHOWN}
    rows = [
        {"layer": layer + 1, "scale": name, "measured": d, "theory": APART * scales[key]["chi"] ** layer}
        for key, name in names.items()
        for layer, d in enumerate(
            v * APART / scales[key]["distances"][0] for v in scales[key]["distances"]
        )
    ]  # fmt: skip
    for row in rows:
        row["theory"] = min(row["theory"], 1.0)
    x = axis("layer", "layer", padding=10, tickMinStep=1, tickCount=8, format="d")
    y = decades("measured", "distance of two inputs, 1 - c", [row["measured"] for row in rows])
    colour = by("scale", list(names.values()))
    grid = [0.9 + 0.02 * step for step in range(111)]
    curve = [{"scale": c, "depth": _scale(fixed_point(c)[1])} for c in grid]
    points = [
        {"scale": scale, "depth": _scale(scales[f"{scale:g}"]["measured"]), "series": "measured"}
        for scale in SCALES
    ]
    across = axis("scale", "fan_in × variance of a weight", padding=10)
    up = axis("depth", "layers", domain=[0, MOST])
    return (
        Figure(
            "Two inputs that differ by a hair",
            "How far apart they are after each layer, for several variances of the weights (fan_in × Var W). "
            "Dots: measured. Dashed: χ to the number of layers, as long as they are near.",
            picture(
                "The distance of two inputs by layer: falling for small weights, level at the edge, "
                "rising for large ones.",
                [dashed(x, {**y, "field": "theory"}, colour), dots(x, y, colour, size=25)], rows,
            ),
        ),
        Figure(
            "How many layers one can see",
            f"The depth scale 1/|ln χ|, cut off at {MOST:g}. Line: theory. Dots: measured. The dotted line is the edge "
            "of chaos.",
            picture(
                "The depth scale against the variance of the weights: a peak without bound at the edge.",
                [
                    {"data": {"values": [{}]}, "mark": RULE, "encoding": {"x": {"datum": numbers["edge"]}}},
                    {**lines(across, up, None, points=False), "data": {"values": curve}},
                    dots(across, up, None, size=70),
                ],
                points,
            ),
        ),
    )  # fmt: skip


def _scale(chi: float) -> float:
    """1/|ln chi|, no more than MOST."""
    return min(MOST, 1 / max(abs(math.log(chi)), 1 / MOST))
