"""He et al. 2015: ReLU halves the second moment; a law that gives it back lets 30 layers learn."""

from __future__ import annotations

from functools import partial
from typing import Any

from isometry.lab.evidence import agrees, estimate, number
from isometry.lab.experiment import Claim, Figure, Lab, Result, experiment
from isometry.lab.learning import LN_C, PIXELS, digits, smooth, train
from isometry.lab.networks import mlp
from isometry.lab.pictures import axis, by, dashed, decades, dots, lines, picture

DEPTHS = (22, 30)  # the paper's figures 2 and 3
# Recipe, its name in the figures, and the factor of the second moment a layer.
LAWS = {"glorot": ("Glorot", 0.5), "he": ("He", 1.0)}
RATE, STEPS, WINDOW = 0.005, 600, 20
LEARNT, STALLED = 1.0, 0.95 * LN_C


@experiment(
    title="ReLU halves the signal; He gives it back",
    teaches="""ReLU sets negative numbers to zero. Half of what comes in is lost, at every layer, so a law made
    for tanh lets the signal halve and halve again: after 22 layers a four-millionth of it is left, after 30
    a billionth. He and his colleagues doubled the variance of the weights, to 2/fan_in, and the mean stays
    at 1 however deep the network is. Each dot below is a mean over many networks, and a network
    of finite width strays from it by chance. What it means for learning: at 22 layers
    both networks learn and He's is sooner there; at 30 layers He's learns, while the other's loss still
    stands at ln 10, where guessing is.""",
    source="He et al. 2015, section 2.2, figures 2 and 3",
)
def he2015(lab: Lab) -> Result:
    """ReLU networks of 22 and 30 layers under Glorot's law and under He's: signal and training."""
    seeds, width, runs = (200, 512, 10) if lab.full else (40, 256, 2)
    trained = 256 if lab.full else 96
    numbers: dict[str, Any] = {"width": width, "seeds": seeds, "signal": {}, "training": {}}
    lab.cells.expect(len(LAWS) * (seeds + len(DEPTHS) * runs))
    claims: list[Claim] = []
    for recipe, (law, factor) in LAWS.items():
        signals = [
            lab.cells.get(f"signal/{recipe}/{seed}", partial(_signal, recipe, seed, width))
            for seed in range(seeds)
        ]
        found = [estimate(layer) for layer in zip(*signals, strict=True)]
        numbers["signal"][law] = {
            "measured": [e.value for e in found],
            "errors": [e.error for e in found],
            "expected": [factor**layer for layer in range(1, max(DEPTHS) + 1)],
        }
        claims += [
            agrees(
                f"{law}, {depth} layers: the mean second moment of the activations",
                factor**depth,
                f"{factor:g} a layer: He et al. 2015, equation 9"
                if factor == 1
                else f"2^-{depth}: half a layer",
                found[depth - 1],
            )
            for depth in DEPTHS
        ]
    for depth in DEPTHS:
        curves = {
            law: [
                lab.cells.get(
                    f"training/{depth}/{recipe}/{seed}",
                    partial(_losses, recipe, depth, trained, seed),
                )
                for seed in range(runs)
            ]
            for recipe, (law, _) in LAWS.items()
        }
        numbers["training"][f"{depth}"] = curves
    claims += _training_claims(numbers["training"])
    return Result(tuple(claims), _figures(numbers), numbers)


def _signal(recipe: str, seed: int, width: int) -> list[float]:
    """The second moment of the activations of each layer of one network."""
    import torch
    from torch import nn

    import isometry as iso

    stack = [m for _ in range(max(DEPTHS)) for m in (nn.Linear(width, width), nn.ReLU())]
    net = nn.Sequential(*stack)
    x = torch.randn(8, width, generator=torch.Generator().manual_seed(seed))
    iso.initialize(net, x, seed=seed, recipe=recipe)
    moments = []
    with torch.no_grad():
        for module in net:
            x = module(x)
            if isinstance(module, nn.ReLU):
                moments.append(x.double().square().mean().item())
    return moments


def _losses(recipe: str, depth: int, width: int, seed: int) -> list[float]:
    """The training loss on digits, a number for each window of steps."""

    import isometry as iso

    x, y = digits()
    net = mlp([PIXELS, *[width] * (depth - 1)], "relu")
    iso.initialize(net, x, seed=seed, recipe=recipe)
    return smooth(train(net, x, y, steps=STEPS, rate=RATE, seed=seed), WINDOW)


def _reaches(curve: list[float]) -> int | None:
    """The first step by which the loss is below LEARNT."""
    return next((WINDOW * (i + 1) for i, loss in enumerate(curve) if loss < LEARNT), None)


def _training_claims(training: dict[str, Any]) -> list[Claim]:
    shallow, deep = (training[f"{depth}"] for depth in DEPTHS)
    sooner = [
        (_reaches(he), _reaches(glorot))
        for he, glorot in zip(shallow["He"], shallow["Glorot"], strict=True)
    ]
    learnt = max(_reaches(curve) or STEPS for curve in deep["He"])
    waiting = [curve[learnt // WINDOW - 1] for curve in deep["Glorot"]]
    both = [curve[-1] for curves in shallow.values() for curve in curves]
    said = ", ".join(f"{he} against {glorot or f'more than {STEPS}'}" for he, glorot in sooner)
    return [
        Claim(
            f"22 layers: both learn, loss below {number(STALLED, 3)} after {STEPS} steps",
            "in every run; He et al. 2015, figure 2",
            f"the worst of {len(both)} runs ends at {number(max(both), 3)}",
            max(both) < STALLED,
        ),
        Claim(
            f"22 layers: He's loss is below {LEARNT:g} sooner than Glorot's",
            "in every pair of runs; He et al. 2015, figure 2",
            f"steps: {said}",
            all(he is not None and (g is None or he < g) for he, g in sooner),
        ),
        Claim(
            "30 layers: He learns",
            f"loss below {LEARNT:g} within {STEPS} steps in every run; He et al. 2015, figure 3",
            f"steps: {', '.join(str(_reaches(curve)) for curve in deep['He'])}",
            all(_reaches(curve) is not None for curve in deep["He"]),
        ),
        Claim(
            "30 layers: until He's slowest run has learnt, Glorot stalls at ln 10 = 2.303",
            f"loss above {number(STALLED, 3)} in every run; He et al. 2015, figure 3",
            f"the best of {len(waiting)} runs is at {number(min(waiting))} by step {learnt}",
            min(waiting) > STALLED,
        ),
    ]


def _figures(numbers: dict[str, Any]) -> tuple[Figure, ...]:
    colour = by("law", [law for law, _ in LAWS.values()])
    signal = [
        {"layer": layer + 1, "law": law, "measured": found["measured"][layer], "theory": expected}
        for law, found in numbers["signal"].items()
        for layer, expected in enumerate(found["expected"])
    ]
    x = axis("layer", "layer", padding=10, tickMinStep=1, tickCount=8, format="d")
    y = decades("measured", "mean second moment", [row["measured"] for row in signal])
    drawn = [
        Figure(
            "Half a layer, or all of it",
            f"The second moment of the activations, a mean over {numbers['seeds']} networks of width "
            f"{numbers['width']}. Dots: measured. Dashed: theory.",
            picture(
                "The second moment by layer: under Glorot's law it falls to a billionth in thirty "
                "layers, under He's it stays at one.",
                [dashed(x, {**y, "field": "theory"}, colour), dots(x, y, colour)], signal,
            ),
        )
    ]  # fmt: skip
    for depth, figure in zip(DEPTHS, (2, 3), strict=True):
        rows = [
            {"step": WINDOW * (at + 1), "loss": round(loss, 4), "law": law, "run": run}
            for law, curves in numbers["training"][f"{depth}"].items()
            for run, curve in enumerate(curves)
            for at, loss in enumerate(curve)
        ]
        step = axis("step", "training step", domain=[0, STEPS])
        loss = axis("loss", "training loss", domain=[0, 3])
        curves = lines(step, loss, colour, points=False)
        curves["encoding"]["detail"] = {"field": "run"}
        drawn.append(
            Figure(
                f"{depth} layers learn to read digits",
                f"As in the paper's figure {figure}, on digits. A line is a run; {LN_C:.3f} is ln 10, the "
                "loss of guessing.",
                picture(
                    f"Training loss of {depth} layers of ReLU under Glorot's law and He's.",
                    [curves], rows,
                ),
            )
        )  # fmt: skip
    return tuple(drawn)
