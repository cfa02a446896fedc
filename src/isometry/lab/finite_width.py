"""Hanin & Rolnick 2018: in a network of finite width the mean is kept and single draws are not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from isometry.lab.evidence import Estimate, agrees
from isometry.lab.experiment import Claim, Figure, Lab, Result, experiment
from isometry.lab.pictures import (
    axis,
    band,
    by,
    dashed,
    decades,
    dots,
    errors,
    lines,
    picture,
    ridges,
)
from isometry.lab.random_lengths import EDGES, log_moments, summary

KAPPA = 5.0  # E[relu⁴]/E[relu²]² - 1: what one unit adds to the variance of the squared length


@experiment(
    title="Narrow and deep is a lottery: Hanin & Rolnick 2018",
    teaches="""He's law keeps the length of a signal the same at every layer, on average over all networks
    that could have been drawn. You train only one of them. A layer of n units is a sample of n: by chance
    its squared length comes out a little larger or smaller, with a variance of about 5/n, and the next layer starts
    from there. Deviations multiply with depth, so that the logarithm of the length takes a random
    walk, of variance 5 (1/n + 1/n + ...), one term a layer. The few lucky networks are huge, most
    are too small, and the mean of all, which is still 1, describes none of them. What counts is
    depth divided by width.""",
    source="Hanin & Rolnick 2018",
)
def finite_width(lab: Lab) -> Result:
    """Lengths of ReLU networks under He's law, over many draws, widths and depths."""
    draws = {8: 40_000, 32: 20_000, 128: 4_000, **({256: 4_000} if lab.full else {})}
    depth = 50 if lab.full else 20
    lab.cells.expect(len(draws))
    numbers: dict[str, Any] = {"depth": depth, "draws": list(draws.values()), "widths": {}}
    claims: list[Claim] = []
    for width, count in draws.items():
        found = lab.cells.get(f"{width}", partial(summary, width, depth, count))
        _, variance = log_moments(width)
        layers = range(1, depth + 1)
        numbers["widths"][f"{width}"] = {
            **found,
            "expected": [variance * layer for layer in layers],
            "5 sum 1/n": [KAPPA / width * layer for layer in layers],
        }
        claims += _claims(width, depth, count, found)
    return Result(tuple(claims), _figures(numbers), numbers)


def _claims(width: int, depth: int, draws: int, found: dict[str, Any]) -> list[Claim]:
    mean, variance = log_moments(width)
    # As deep as the tail of M is light enough for a mean of squares to mean something.
    mild = max(1, min(depth, round(width / KAPPA / 2)))
    alive, dead = found["alive"], 1 - (1 - 0.5**width) ** depth
    share = Estimate(1 - alive / draws, math.sqrt(dead * (1 - dead) / draws), draws)
    claims = [
        agrees(
            f"width {width}, depth {depth}: Var ln M", depth * variance,
            f"exactly, layer by layer; 5 Σ 1/n is {KAPPA * depth / width:.4g}",
            _over(alive, found["log variance"][-1]),
        ),
        agrees(
            f"width {width}, depth {depth}: mean of ln M, though M itself has mean 1",
            depth * mean, f"exactly; -5/2 Σ 1/n is {-KAPPA / 2 * depth / width:.4g}",
            _over(alive, found["log mean"][-1]),
        ),
        agrees(
            f"width {width}, depth {mild}: E[M]", 1.0, "He et al. 2015, eq. 10",
            _over(draws, found["mean"][mild - 1]),
        ),
        agrees(
            f"width {width}, depth {mild}: E[M²] = 1 + Var M", (1 + KAPPA / width) ** mild,
            "prod(1 + 5/n), Hanin & Rolnick 2018", _over(draws, found["square"][mild - 1]),
        ),
    ]  # fmt: skip
    if dead * draws > 5:
        claims.append(
            agrees(
                f"width {width}, depth {depth}: share of networks in which a whole layer is off",
                dead, "1 - (1 - 2^-n)^L", share,
            )
        )  # fmt: skip
    return claims


def _figures(numbers: dict[str, Any]) -> tuple[Figure, ...]:
    widths = {f"width {n}": found for n, found in numbers["widths"].items()}
    depth, colour = numbers["depth"], by("width", list(widths))
    x = axis("layer", "layers", padding=10, tickMinStep=1, format="d")
    lengths = [
        {"layer": layer + 1, "width": name, "low": low, "middle": middle, "high": high}
        for name, found in widths.items()
        for layer, (low, middle, high) in enumerate(found["shares"])
    ]
    length = decades("middle", "squared length of the signal, M",
                     [row[end] for row in lengths for end in ("low", "high")])  # fmt: skip
    shown = [layer for layer in range(depth) if layer + 1 in _ticks(depth)]
    spreads = [
        {"layer": layer + 1, "width": name, "measured": found["log variance"][layer][0],
         "low": found["log variance"][layer][0] - 2 * found["log variance"][layer][1],
         "high": found["log variance"][layer][0] + 2 * found["log variance"][layer][1],
         "theory": found["5 sum 1/n"][layer], "exact": found["expected"][layer]}
        for name, found in widths.items()
        for layer in shown
    ]  # fmt: skip
    spread = decades("measured", "variance of ln M", [row["measured"] for row in spreads])
    edges, densities = _seen([found["density"] for found in widths.values()])
    return (
        Figure(
            "Where nine networks of ten lie",
            "The squared length of the signal after each layer; it was 1 at the start. The line is "
            "the median, the band holds the middle 90 %. The narrower the network, the wider the band.",
            picture(
                "Bands of the signal's length by depth, for several widths: the band of the "
                "narrowest network grows over many powers of ten, that of the widest stays near 1.",
                [band(x, "low", "high", length, colour), lines(x, length, colour, points=False)],
                lengths,
            ),
        ),
        Figure(
            "The same law, drawn thousands of times",
            f"How the length of the output after {depth} layers is distributed over draws; 0 is a "
            "length that was kept, -2 a hundredth of it. Networks in which a whole layer is off are left out.",
            ridges(
                "Distributions of the output's length, one ridge for each width.",
                {"networks": densities}, edges, "log₁₀ M", list(widths), height=240,
            ),
        ),
        Figure(
            "How far apart networks are",
            "The variance of ln M. Dots: measured, with two standard errors. Dashed: the exact law. "
            "Dotted: 5 Σ 1/n, what remains of it when layers are wide.",
            picture(
                "The variance of the logarithm of the length grows in proportion to depth over width.",
                [
                    dashed(x, {**spread, "field": "exact"}, colour),
                    dashed(x, {**spread, "field": "theory"}, colour, dash=(1, 4)),
                    errors(x, "low", "high", spread, colour),
                    dots(x, spread, colour),
                ],
                spreads,
            ),
        ),
    )  # fmt: skip


def _ticks(depth: int) -> Sequence[int]:
    return (1, *range(max(2, depth // 10), depth + 1, max(1, depth // 10)))


def _over(n: int, found: list[float]) -> Estimate:
    """A kept mean and its standard error, of n draws."""
    value, error = found
    return Estimate(value, error, n)


def _seen(densities: list[list[float]]) -> tuple[list[float], list[list[float]]]:
    """The bins, and their edges, that hold all but a thousandth of every distribution."""
    bins = range(len(EDGES) - 1)
    shares = [[d * (EDGES[1] - EDGES[0]) for d in row] for row in densities]
    first = min(next(b for b in bins if sum(row[: b + 1]) > 5e-4) for row in shares)
    last = max(next(b for b in reversed(bins) if sum(row[b:]) > 5e-4) for row in shares)
    return EDGES[first : last + 2], [row[first : last + 1] for row in densities]
