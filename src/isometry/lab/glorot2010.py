"""Glorot & Bengio 2010: what reaches each of five layers of 1000 tanh units, forward and back."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from isometry.lab.evidence import agrees, estimate
from isometry.lab.experiment import Figure, Lab, Result, experiment
from isometry.lab.maps import through_layers
from isometry.lab.pictures import axis, by, dashed, decades, dots, picture, ridges

DEPTH, WIDTH = 5, 1000
# Recipe, its name in the figures, and fan_in times the variance of a weight.
LAWS = {"torch": ("U(±1/√n)", 1 / 3), "glorot": ("Glorot", 1.0)}
EDGES = [i / 50 for i in range(-50, 51)]  # activations lie between -1 and 1
GRADIENT_EDGES = [i / 20 for i in range(-50, 51)]  # in stds of the gradient at the last layer
FINITE = DEPTH / WIDTH  # what theory leaves out: deviations of order 1/n a layer


@experiment(
    title="A signal fades, or does not: Glorot & Bengio 2010",
    teaches="""A network passes numbers from layer to layer. Each unit adds up a thousand of them,
    each multiplied by a random weight; if the weights are a little too small, the sum is smaller
    than what went in, and five layers later hardly anything is left. In 2010 weights were customarily drawn
    from U(±1/√n), whose variance 1/(3n) is three times too small. Glorot and Bengio asked for a
    variance that keeps both what goes forward and what comes back when the network learns:
    2/(fan_in + fan_out). Dashed lines are what theory says before anything is run. Under the
    custom a tenth of either is left after five layers, and under their law a half: tanh still squeezes a
    little, but the first layer hears what the last one wants of it.""",
    source="Glorot & Bengio 2010, figures 6 and 7, equation 16",
)
def glorot2010(lab: Lab) -> Result:
    """Five layers of 1000 tanh units on N(0, 1) inputs, under U(±1/sqrt(n)) and under Glorot's law."""
    seeds, batch = (20, 1000) if lab.full else (6, 200)
    numbers: dict[str, Any] = {"seeds": seeds, "batch": batch, "laws": {}}
    lab.cells.expect(len(LAWS) * seeds)
    claims = []
    for recipe, (law, scale) in LAWS.items():
        theory = through_layers("tanh", [scale] * DEPTH)
        expected = {
            "signal": [math.sqrt(q) for q in theory.after],
            "gradient": [math.sqrt(g) for g in theory.gradients],
        }
        runs = [
            lab.cells.get(f"{recipe}/{seed}", partial(_measure, recipe, seed, batch))
            for seed in range(seeds)
        ]
        found = {
            what: [estimate([run[what][layer] for run in runs]) for layer in range(DEPTH)]
            for what in expected
        }
        numbers["laws"][law] = {
            "expected": expected,
            "measured": {k: [e.value for e in v] for k, v in found.items()},
            "errors": {k: [e.error for e in v] for k, v in found.items()},
            "densities": {k: runs[0][f"{k} densities"] for k in expected},
        }
        for what, about, layers in (
            ("signal", "std of the activations", range(DEPTH)),
            ("gradient", "std of the gradient, that of layer 5 being 1", range(DEPTH - 1)),
        ):
            claims += [
                agrees(
                    f"{law}, layer {layer + 1}: {about}",
                    expected[what][layer],
                    "the paper's figure " + ("6" if what == "signal" else "7") + ", by quadrature",
                    found[what][layer],
                    FINITE,
                    "finite width",
                )
                for layer in layers
            ]
    return Result(tuple(claims), _figures(numbers["laws"]), numbers)


def _measure(recipe: str, seed: int, batch: int) -> dict[str, list[Any]]:
    """The std of every layer's activations and gradients, and how they are distributed."""
    import torch
    from torch import nn

    import isometry as iso

    stack = [m for _ in range(DEPTH) for m in (nn.Linear(WIDTH, WIDTH, bias=False), nn.Tanh())]
    net = nn.Sequential(*stack)
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, WIDTH, generator=draws)
    iso.initialize(net, x, seed=seed, recipe=recipe)
    signals = []
    for module in net:
        x = module(x)
        if isinstance(module, nn.Tanh):
            x.retain_grad()
            signals.append(x)
    x.backward(torch.randn(batch, WIDTH, generator=draws))
    gradients = [s.grad for s in signals if s.grad is not None]
    return {
        "signal": [s.std().item() for s in signals],
        "gradient": [g.std().item() for g in gradients],
        "signal densities": [_density(s, EDGES) for s in signals],
        "gradient densities": [_density(g, GRADIENT_EDGES) for g in gradients],
    }


def _density(values: Any, edges: list[float]) -> list[float]:
    """The share of the values in each bin, over the bin's width."""
    counts = values.detach().histc(len(edges) - 1, edges[0], edges[-1])
    return [round(c / values.numel() / (edges[1] - edges[0]), 4) for c in counts.tolist()]


def _figures(laws: dict[str, Any]) -> tuple[Figure, ...]:
    names = [f"layer {layer}" for layer in range(1, DEPTH + 1)]

    def densities(what: str) -> dict[str, Any]:
        return {law: found["densities"][what] for law, found in laws.items()}

    return (
        Figure(
            "The signal, layer by layer",
            "The standard deviation of the activations. Dots: measured. Dashed: what theory says.",
            _along_depth(laws, "signal", "std of the activations", log=False),
        ),
        Figure(
            "What the activations look like",
            "How the numbers in each layer are distributed, as in the paper's figure 6; each layer's "
            "heights have a scale of their own. Under U(±1/√n) they pile up at 0.",
            ridges(
                "Distributions of the activations in five layers; under U(±1/√n) they narrow "
                "towards 0 with depth, under Glorot they stay broad.",
                densities("signal"), EDGES, "activation", names,
            ),
        ),
        Figure(
            "The gradient on its way back",
            "The standard deviation of the gradient of each layer's activations, where that of layer 5 is 1. "
            "Read it from right to left, the way a gradient travels. The scale is logarithmic.",
            _along_depth(laws, "gradient", "std of the gradient", log=True),
        ),
        Figure(
            "What the gradients look like",
            "Their distribution in each layer, as in the paper's figure 7.",
            ridges(
                "Distributions of the gradient in five layers; under U(±1/√n) the first layer's is "
                "a spike at 0.",
                densities("gradient"), GRADIENT_EDGES, "gradient, in units of its std at layer 5", names,
            ),
        ),
    )  # fmt: skip


def _along_depth(laws: dict[str, Any], what: str, title: str, log: bool) -> dict[str, Any]:
    rows = [
        {"layer": layer + 1, "law": law, "measured": found["measured"][what][layer],
         "theory": found["expected"][what][layer]}
        for law, found in laws.items()
        for layer in range(DEPTH)
    ]  # fmt: skip
    x = axis("layer", "layer", padding=10, tickMinStep=1, format="d")
    colour = by("law", list(laws))
    values = [row["measured"] for row in rows]
    y = decades("measured", title, values) if log else axis("measured", title, zero=True)
    return picture(
        f"{title}, by layer, for {' and '.join(laws)}, measured and by theory.",
        [dashed(x, {**y, "field": "theory"}, colour), dots(x, y, colour, size=70)],
        rows,
    )
