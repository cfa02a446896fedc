"""Hanin & Rolnick 2018: in a network of finite width the mean is kept and single draws are not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.lab.evidence import Estimate, agrees, estimate
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

Array = NDArray[np.float64]

KAPPA = 5.0  # E[relu⁴]/E[relu²]² - 1: what one unit adds to the variance of the squared length
AT_ONCE = 1 << 24  # weights that are held at a time
SHARES = (0.05, 0.5, 0.95)


@experiment(
    title="Narrow and deep is a lottery: Hanin & Rolnick 2018",
    teaches="""He's law keeps the length of a signal the same at every layer, on average over all networks
    that could have been drawn. You train only one of them. A layer of n units is a sample of n: it
    comes out a little longer or shorter by chance, by about 5/n of its squared length, and the next layer starts
    from there. Deviations multiply with depth, so that the logarithm of the length takes a random
    walk, of variance 5 (1/n + 1/n + ...), one term a layer. The few lucky networks are huge, most
    are too small, and the mean of all, which is still 1, describes none of them. What counts is
    depth divided by width.""",
    source="Hanin & Rolnick 2018, theorem 5 and figure 1",
)
def finite_width(lab: Lab) -> Result:
    """Lengths of ReLU networks under He's law, over many draws, widths and depths."""
    widths: tuple[int, ...] = (8, 32, 128, 256) if lab.full else (8, 32, 128)
    depth, draws = 50 if lab.full else 20, 4000
    numbers: dict[str, Any] = {"depth": depth, "draws": draws, "widths": {}}
    claims: list[Claim] = []
    ends = {}
    lab.cells.expect(len(widths))
    for width in widths:
        lengths = np.array(lab.cells.get(f"{width}", partial(_lengths, width, depth, draws)))
        alive = [layer[layer > 0] for layer in lengths]
        logs = [np.log(layer) for layer in alive]
        spread = [_variance(each) for each in logs]
        _, per_layer = log_moments(width)
        ends[f"width {width}"] = logs[-1] / math.log(10)
        numbers["widths"][f"{width}"] = {
            "variance of the log": [e.value for e in spread],
            "errors": [e.error for e in spread],
            "expected": [per_layer * layer for layer in range(1, depth + 1)],
            "5 sum 1/n": [KAPPA / width * layer for layer in range(1, depth + 1)],
            "mean": [float(layer.mean()) for layer in lengths],
            "dead": float((lengths[-1] == 0).mean()),
            "shares": [[float(q) for q in np.quantile(a, SHARES)] for a in alive],
        }
        claims += _claims(width, depth, lengths, spread[-1])
    edges, densities = _histograms(ends)
    numbers["edges"], numbers["densities"] = edges, densities
    return Result(tuple(claims), _figures(numbers), numbers)


def _lengths(width: int, depth: int, draws: int) -> list[list[float]]:
    """M = 2 |relu(h)|²/n after each layer, in each of the drawn networks; |x|²/n = 1."""
    import torch

    import isometry as iso

    at_once = max(1, AT_ONCE // width**2)
    lengths = torch.empty(depth, draws, dtype=torch.float64)
    for start in range(0, draws, at_once):
        stop = min(draws, start + at_once)
        h = torch.ones(stop - start, width, 1) / math.sqrt(2)  # as relu would leave it
        for layer in range(depth):
            w = iso.sample(
                iso.Normal(math.sqrt(2 / width)),
                (draws, width, width),
                seed=0,
                name=f"width{width}.layer{layer}",
                index=slice(start, stop),
            )
            h = torch.from_numpy(w).bmm(h).relu_()
            lengths[layer, start:stop] = 2 * h.double().square().mean((1, 2))
    kept: list[list[float]] = lengths.tolist()
    return kept


def log_moments(width: int) -> tuple[float, float]:
    """The mean and the variance of ln M'/M through one layer, if any of its units is on.

        M'/M = (2/n) chi²_K,    K ~ Binomial(n, 1/2) units that are on

    With psi the digamma function, E ln chi²_K = psi(K/2) + ln 2 and Var ln chi²_K = psi'(K/2).

    Example:
        >>> mean, variance = log_moments(128)
        >>> round(mean, 4), round(variance, 4), 5 / 128
        (-0.0198, 0.0402, 0.0390625)
    """
    import torch

    on = torch.arange(1, width + 1, dtype=torch.float64)
    total = torch.tensor(float(width), dtype=torch.float64)
    weight = torch.exp(
        torch.lgamma(total + 1) - torch.lgamma(on + 1) - torch.lgamma(total - on + 1)
        - total * math.log(2) - math.log1p(-(0.5**width))
    )  # fmt: skip
    mean = torch.digamma(on / 2) + math.log(4 / width)
    average = float(weight @ mean)
    variance = float(weight @ (torch.polygamma(1, on / 2) + (mean - average) ** 2))
    return average, variance


def _variance(values: Array) -> Estimate:
    """The variance of independent draws; its standard error from their fourth moment."""
    apart = (values - values.mean()) ** 2
    n = len(values)
    return Estimate(float(apart.sum() / (n - 1)), float(apart.std(ddof=1)) / math.sqrt(n), n)


def _claims(width: int, depth: int, lengths: Array, spread: Estimate) -> list[Claim]:
    mean, variance = log_moments(width)
    # As deep as the tail of M is light enough for a mean of squares to mean something.
    mild = max(1, min(depth, round(width / KAPPA / 2)))
    squares = (1 + KAPPA / width) ** mild
    logs = np.log(lengths[-1][lengths[-1] > 0])
    dead = 1 - (1 - 0.5**width) ** depth
    share = float((lengths[-1] == 0).mean())
    error = math.sqrt(dead * (1 - dead) / lengths.shape[1])
    claims = [
        agrees(
            f"width {width}, depth {depth}: Var ln M", depth * variance,
            f"exactly, layer by layer; 5 Σ 1/n is {KAPPA * depth / width:.4g} (theorem 5)", spread,
        ),
        agrees(
            f"width {width}, depth {depth}: mean of ln M, though M itself has mean 1",
            depth * mean, f"exactly; about -5/2 Σ 1/n = {-KAPPA / 2 * depth / width:.4g}",
            estimate(logs.tolist()),
        ),
        agrees(
            f"width {width}, depth {mild}: E[M]", 1.0, "He et al. 2015, eq. 10",
            estimate(lengths[mild - 1].tolist()),
        ),
        agrees(
            f"width {width}, depth {mild}: E[M²] = 1 + Var M", squares, "prod(1 + 5/n), theorem 5",
            estimate((lengths[mild - 1] ** 2).tolist()),
        ),
    ]  # fmt: skip
    if dead * lengths.shape[1] > 5:
        claims.append(
            agrees(
                f"width {width}, depth {depth}: share of networks in which a whole layer is off",
                dead, "1 - (1 - 2^-n)^L", Estimate(share, error, lengths.shape[1]),
            )
        )  # fmt: skip
    return claims


def _histograms(ends: dict[str, Array]) -> tuple[list[float], dict[str, list[list[float]]]]:
    """How log10 M is distributed at the last layer, a ridge for each width."""
    low = math.floor(min(np.quantile(v, 0.002) for v in ends.values()))
    high = math.ceil(max(np.quantile(v, 0.998) for v in ends.values()))
    edges = np.linspace(low, high, 6 * (high - low) + 1)
    rows = [np.histogram(v, edges)[0] / len(v) * 6 for v in ends.values()]
    return [round(e, 4) for e in edges.tolist()], {
        "networks": [[round(d, 4) for d in row.tolist()] for row in rows]
    }


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
        {"layer": layer + 1, "width": name, "measured": found["variance of the log"][layer],
         "low": found["variance of the log"][layer] - 2 * found["errors"][layer],
         "high": found["variance of the log"][layer] + 2 * found["errors"][layer],
         "theory": found["5 sum 1/n"][layer], "exact": found["expected"][layer]}
        for name, found in widths.items()
        for layer in shown
    ]  # fmt: skip
    spread = decades("measured", "variance of ln M", [row["measured"] for row in spreads])
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
            f"The same law, drawn {numbers['draws']} times",
            f"How the length of the output after {depth} layers is distributed over draws; 0 is a "
            "length that was kept, -2 a hundredth of it. Networks in which a whole layer is off are left out.",
            ridges(
                "Distributions of the output's length, one ridge for each width.",
                numbers["densities"], numbers["edges"], "log₁₀ M", list(widths), height=240,
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
