"""The right weights times a tenth, and times ten: what fades, what explodes, what saturates."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from isometry.lab.evidence import agrees, estimate, number
from isometry.lab.experiment import Claim, Figure, Lab, Result, experiment
from isometry.lab.learning import LN_C, MOST, digits, smooth, train
from isometry.lab.maps import through_layers
from isometry.lab.networks import activation, mlp
from isometry.lab.pictures import RULE, axis, by, dashed, decades, dots, lines, picture

DEPTH = 10
FACTORS = {"×0.1": 0.1, "×1": 1.0, "×10": 10.0}
# Activation, its recipe, and fan_in Var W under it.
RECIPES = {"tanh": ("glorot", 1.0), "relu": ("he", 2.0)}
RATES = (0.1, 0.01, 0.001)  # the best of them counts, so that no start is judged by the wrong one
STEPS, WINDOW = 300, 20
EDGE = 0.97  # a tanh beyond it has a slope below .06
LEARNT = 0.5  # a loss that says that the network learns ...
LEFT = {"×0.1": 0.95 * LN_C, "×10": 1.0}  # ... and that it does not
SHOWN = 20.0  # losses are drawn up to here


@experiment(
    title="Too small, too large: the same network with its weights times 0.1 and times 10",
    teaches="""Take weights of a good size and multiply them all by a tenth. Every layer then makes its
    output ten times smaller, ten layers make it ten billion times smaller, and the gradient on its way back
    shrinks the same. Multiply by ten, and ReLU makes each layer ten times larger. tanh cannot grow beyond 1: its
    units saturate instead, stuck at -1 or 1 where the curve is flat, and what gradient comes through
    the few that are not is multiplied at every layer. Either way the network cannot learn, whatever
    the learning rate: the right size is a matter of a factor, not of taste.""",
    source="Glorot & Bengio 2010; Poole et al. 2016; LeCun et al. 1998, section 4.6",
)
def too_small_too_large(lab: Lab) -> Result:
    """Ten layers of tanh and of ReLU with good weights, a tenth of them, and ten times them."""
    width, seeds, trained = (1000, 20, 256) if lab.full else (256, 8, 64)
    lab.cells.expect(len(RECIPES) * len(FACTORS) * (seeds + len(RATES)))
    numbers: dict[str, Any] = {"width": width, "seeds": seeds, "networks": {}}
    claims: list[Claim] = []
    for phi, (_, scale) in RECIPES.items():
        numbers["networks"][phi] = {}
        for name, factor in FACTORS.items():
            theory = through_layers(phi, [scale * factor**2] * DEPTH)
            runs = [
                lab.cells.get(
                    f"signal/{phi}/{name}/{seed}",
                    partial(_signal, phi, factor, seed, width),
                )
                for seed in range(seeds)
            ]
            found = {
                what: [estimate(layer) for layer in zip(*(r[what] for r in runs), strict=True)]
                for what in ("signal", "gradient", "saturated")
            }
            curves = {
                f"{rate:g}": lab.cells.get(
                    f"training/{phi}/{name}/{rate:g}",
                    partial(_losses, phi, factor, rate, trained),
                )
                for rate in RATES
            }
            best = min(curves, key=lambda rate: curves[rate][-1])
            numbers["networks"][phi][name] = {
                **{what: [e.value for e in layers] for what, layers in found.items()},
                "expected": {
                    "signal": list(theory.after),
                    "gradient": list(theory.gradients),
                    "saturated": [_beyond(q) for q in theory.before],
                },
                "curves": curves,
                "best rate": best,
                "losses": curves[best],
            }
            claims += _claims(phi, name, numbers["networks"][phi][name], found, width)
    return Result(tuple(claims), _figures(numbers), numbers)


def _stack(phi: str, factor: float, sizes: list[int], head: bool, seed: int) -> Any:
    """A plain network whose weights are the recipe's, times a factor."""
    import torch
    from torch import nn

    import isometry as iso

    net = mlp(sizes, phi)
    if not head:
        del net[-1]
    iso.initialize(net, torch.ones(2, sizes[0]), seed=seed, recipe=RECIPES[phi][0])
    with torch.no_grad():
        for layer in net:
            if isinstance(layer, nn.Linear):
                layer.weight *= factor
    return net


def _signal(phi: str, factor: float, seed: int, width: int) -> dict[str, list[float]]:
    """Second moments of every layer's activations and gradients, and the share beyond EDGE."""
    import torch

    net = _stack(phi, factor, [width] * (DEPTH + 1), False, seed).double()
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(64, width, generator=draws, dtype=torch.float64)
    kind = activation(phi)
    outputs = []
    for module in net:
        x = module(x)
        if isinstance(module, kind):  # type: ignore[arg-type]
            x.retain_grad()
            outputs.append(x)
    x.backward(torch.randn(x.shape, generator=draws, dtype=torch.float64))
    return {
        "signal": [h.square().mean().item() for h in outputs],
        "gradient": [h.grad.square().mean().item() for h in outputs],
        "saturated": [(h.abs() > EDGE).double().mean().item() for h in outputs],
    }


def _beyond(q: float) -> float:
    """The share of tanh(sqrt(q) z) beyond ±EDGE."""
    return math.erfc(math.atanh(EDGE) / math.sqrt(2 * q))


def _losses(phi: str, factor: float, rate: float, width: int) -> list[float]:
    """The training loss on digits, a number for each window of steps."""
    x, y = digits()
    net = _stack(phi, factor, [x.shape[1], *[width] * (DEPTH - 1)], True, 0)
    return smooth(train(net, x, y, steps=STEPS, rate=rate, seed=0), WINDOW)


def _claims(
    phi: str, name: str, drawn: dict[str, Any], found: dict[str, Any], width: int
) -> list[Claim]:
    who, expected = f"{phi} {name}", drawn["expected"]
    slack = DEPTH / width if phi == "tanh" else 0.0  # ReLU's mean is exact at every width
    why = "finite width" if slack else ""
    claims = [
        agrees(
            f"{who}: second moment of the activations of layer {DEPTH}",
            expected["signal"][-1], "by quadrature (Poole et al. 2016)",
            found["signal"][-1], slack, why,
        ),
        agrees(
            f"{who}: second moment of the gradient at layer 1, that of layer {DEPTH} being 1",
            expected["gradient"][0], "by quadrature (Schoenholz et al. 2017)",
            found["gradient"][0], slack, why,
        ),
    ]  # fmt: skip
    if who == "tanh ×10":
        claims.append(
            agrees(
                f"{who}: share of units of layer {DEPTH} beyond ±{EDGE:g}",
                expected["saturated"][-1], "of a Gaussian with the second moment above",
                found["saturated"][-1], slack, why,
            )
        )  # fmt: skip
    end = drawn["losses"][-1]
    if name == "×1":
        claims.append(
            Claim(f"{who}: learns", f"loss below {LEARNT:g} after {STEPS} steps",
                  f"{number(end, 3)} at its best rate, {drawn['best rate']}", end < LEARNT)
        )  # fmt: skip
    else:
        claims.append(
            Claim(f"{who}: does not learn at any rate of {', '.join(f'{r:g}' for r in RATES)}",
                  f"loss above {number(LEFT[name], 3)} after {STEPS} steps; 2.303 is guessing",
                  f"at best {number(end, 4) if end < MOST else f'{MOST:g} or more'}", end > LEFT[name])
        )  # fmt: skip
    return claims


def _figures(numbers: dict[str, Any]) -> tuple[Figure, ...]:
    colour = by("weights", list(FACTORS))
    x = axis("layer", "layer", padding=10, tickMinStep=1, format="d")
    drawn = []
    for what, title, caption in (
        ("signal", "The signal", "std of the activations"),
        ("gradient", "The gradient", "std of the gradient of each layer's activations, 1 at the last"),
    ):  # fmt: skip
        for phi, runs in numbers["networks"].items():
            rows = [
                {"layer": layer + 1, "weights": name, "measured": math.sqrt(run[what][layer]),
                 "theory": math.sqrt(run["expected"][what][layer])}
                for name, run in runs.items()
                for layer in range(DEPTH)
            ]  # fmt: skip
            y = decades("measured", caption.split(" of each")[0], [row["measured"] for row in rows])
            drawn.append(
                Figure(
                    f"{title} through ten layers of {phi}",
                    f"The {caption}. Dots: measured. Dashed: theory.",
                    picture(
                        f"{caption}, by layer of {phi}, for weights times 0.1, 1 and 10.",
                        [dashed(x, {**y, "field": "theory"}, colour), dots(x, y, colour)], rows,
                        height=240,
                    ),
                )
            )  # fmt: skip
    share = axis("share", "share of saturated units", domain=[0, 1], format="%")
    saturated = [
        {"layer": layer + 1, "weights": name, "share": v}
        for name, run in numbers["networks"]["tanh"].items()
        for layer, v in enumerate(run["saturated"])
    ]
    drawn.append(
        Figure(
            "tanh units that are stuck",
            f"The share of units beyond ±{EDGE:g}, where tanh is flat.",
            picture(
                "Saturated units by layer: most of them at ten times the weights, hardly any else.",
                [lines(x, share, colour)], saturated, height=200,
            ),
        )
    )  # fmt: skip
    step = axis("step", "training step", domain=[0, STEPS])
    loss = axis("loss", "training loss", domain=[0, 5])
    for phi, runs in numbers["networks"].items():
        rows = [
            {"step": WINDOW * (at + 1), "weights": name, "loss": min(v, SHOWN)}
            for name, run in runs.items()
            for at, v in enumerate(run["losses"])
        ]
        drawn.append(
            Figure(
                f"Ten layers of {phi} learn to read digits",
                "The training loss at each network's best learning rate; the dotted line is ln 10, the "
                "loss of guessing. What is not seen lies above the picture.",
                picture(
                    f"Training loss of ten layers of {phi} for weights times 0.1, 1 and 10.",
                    [
                        {"data": {"values": [{}]}, "mark": RULE, "encoding": {"y": {"datum": LN_C}}},
                        lines(step, loss, colour, points=False),
                    ],
                    rows, height=240,
                ),
            )
        )  # fmt: skip
    return tuple(drawn)
