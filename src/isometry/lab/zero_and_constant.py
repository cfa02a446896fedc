"""Weights that start equal stay equal: why initialisation has to be random at all."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from isometry.lab.experiment import Claim, Figure, Lab, Result, experiment
from isometry.lab.learning import LN_C, PIXELS, accuracy, digits
from isometry.lab.networks import mlp
from isometry.lab.pictures import axis, by, lines, picture

if TYPE_CHECKING:
    from torch import Tensor, nn

STARTS = ("all zero", "constant", "random")
HIDDEN = ("0.weight", "2.weight")
VALUE = 0.05  # of the constant weights
RATE, EVERY = 0.2, 10
ALIKE = 1e-6  # rows that differ by less, of their size, are one unit; what rounding leaves
SIDE, ACROSS = 8, 4  # pixels a side of an image; units a row of the picture


@experiment(
    title="Zero and constant weights: a thousand units, one opinion",
    teaches="""Why not start at zero, or with all weights equal? Take two units of a layer that have the same
    weights. They read the same input, so they say the same; the network treats them alike, so both are told the
    same correction; after the step they are still the same. It never ends: the layer may have a thousand
    units, and works as if it had one. From all zeros it is worse: nothing passes, no correction arrives, and
    only the last bias moves, to say how frequent each digit is. Random weights are there for this alone:
    to make units differ. How large they should be is the question of the other experiments. The pictures
    show what each unit of the first layer looks for in an image.""",
    source="Goodfellow et al. 2016, Deep Learning, section 8.4; Rumelhart et al. 1986",
)
def zero_and_constant(lab: Lab) -> Result:
    """A network on digits from zero weights, from constant ones and from random ones."""
    width, steps = (64, 400) if lab.full else (16, 200)
    lab.cells.expect(len(STARTS))
    runs = {start: lab.cells.get(start, partial(_run, start, width, steps)) for start in STARTS}
    numbers: dict[str, Any] = {"width": width, "steps": steps, "runs": runs}
    return Result(tuple(_claims(runs, width, steps)), _figures(numbers), numbers)


def _run(start: str, width: int, steps: int) -> dict[str, Any]:
    """Gradient descent on all the digits at once, so that no chance is left but the start's."""
    import torch
    from torch.nn import functional as F

    import isometry as iso

    x, y = digits()
    x = x.double()  # so that rounding does not part what is equal
    net = mlp([PIXELS, width, width], "tanh").double()
    values = {"all zero": 0.0, "constant": VALUE}
    overrides = {"*.weight": iso.Constant(values[start])} if start in values else None
    iso.initialize(net, x, seed=0, recipe="glorot", overrides=overrides)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    history: dict[str, list[Any]] = {"step": [], "loss": [], **{name: [] for name in HIDDEN}}
    for step in range(steps + 1):
        loss = F.cross_entropy(net(x), y)
        if step % EVERY == 0:
            history["step"].append(step)
            history["loss"].append(loss.item())
            for name in HIDDEN:
                history[name].append(distinct_units(net, name))
        net.zero_grad()
        loss.backward()
        with torch.no_grad():
            for p in net.parameters():
                if p.grad is not None and step < steps:
                    p.sub_(p.grad, alpha=RATE)
    after = dict(net.named_parameters())
    shares = y.bincount().double() / len(y)
    return {
        "history": history,
        "moved": [name for name, p in after.items() if not torch.equal(p, before[name])],
        "rank": int(torch.linalg.matrix_rank(after[HIDDEN[1]].detach(), rtol=ALIKE)),
        "accuracy": accuracy(net, x, y),
        "entropy": float(-(shares * shares.log()).sum()),
        "weights": [[round(v, 4) for v in row] for row in after[HIDDEN[0]].tolist()[: 2 * SIDE]],
    }


def distinct_units(net: nn.Module, weight: str) -> int:
    """How many units of a layer have weights and a bias of their own."""
    import torch

    parameters = dict(net.named_parameters())
    bias = parameters[weight.replace("weight", "bias")]
    units: Tensor = torch.cat([parameters[weight].detach(), bias.detach()[:, None]], 1)
    size = units.norm(dim=1).max()
    found: list[Tensor] = []
    for unit in units:
        if all((unit - other).norm() > ALIKE * size for other in found):
            found.append(unit)
    return len(found)


def _claims(runs: Mapping[str, Any], width: int, steps: int) -> list[Claim]:
    zero, constant, chance = (runs[start] for start in STARTS)
    claims = []
    for start, run in runs.items():
        expected = width if start == "random" else 1
        counts = [run["history"][name] for name in HIDDEN]
        seen = sorted({count for each in counts for count in each})
        claims.append(
            Claim(
                f"{start}: distinct units in each hidden layer of {width}, before and through {steps} steps",
                f"{expected}, always: equal units receive equal gradients (to {ALIKE:g}, for rounding)"
                if expected == 1
                else f"{expected}, always",
                f"{' to '.join(map(str, {seen[0], seen[-1]}))}",
                seen == [expected],
            )
        )
    loss, start = zero["history"]["loss"][-1], zero["history"]["loss"][0]
    claims += [
        Claim(
            "all zero: the loss before the first step",
            f"ln 10 = {LN_C:.6f}, to rounding", f"{start:.6f}", abs(start - LN_C) < 1e-12,
        ),
        Claim(
            f"all zero: the loss after {steps} steps",
            f"between {zero['entropy']:.6f}, the entropy of the classes, and ln 10 = {LN_C:.6f}",
            f"{loss:.6f}", zero["entropy"] - 1e-12 <= loss < LN_C,
        ),
        Claim(
            "all zero: what has moved", "4.bias, the last bias, alone",
            ", ".join(zero["moved"]), zero["moved"] == ["4.bias"],
        ),
        Claim(
            f"constant: rank of the second layer's {width} x {width} weights after {steps} steps",
            "1: its rows are equal", f"{constant['rank']}", constant["rank"] == 1,
        ),
        Claim(
            f"random: rank of the same matrix after {steps} steps",
            f"{width}", f"{chance['rank']}", chance["rank"] == width,
        ),
        Claim(
            "constant: the network does learn, as a chain of single units; it reads fewer digits",
            "less than half of the digits that the random start reads",
            f"{constant['accuracy']:.1%} against {chance['accuracy']:.1%}",
            constant["accuracy"] < chance["accuracy"] / 2,
        ),
    ]  # fmt: skip
    return claims


def _figures(numbers: dict[str, Any]) -> tuple[Figure, ...]:
    runs, colour = numbers["runs"], by("start", STARTS)
    rows = [
        {"start": start, "step": step, "loss": round(loss, 5), "units": units}
        for start, run in runs.items()
        for step, loss, units in zip(
            *(run["history"][k] for k in ("step", "loss", HIDDEN[0])), strict=True
        )
    ]
    step = axis("step", "training step")
    return (
        Figure(
            f"What the first sixteen units look for after {numbers['steps']} steps",
            "Each square is the weights of one unit of the first layer, laid out as the image they "
            "read. Left: from a constant start all units are one. Right: from a random start each has its own.",
            _tiles({start: runs[start]["weights"] for start in STARTS[1:]}),
        ),
        Figure(
            "How many units are there?",
            f"Units of the first layer, of {numbers['width']}, whose weights differ from all others'. "
            "Equal units never part; the lines of zero and constant lie on each other, at 1.",
            picture(
                "Distinct units over training: always one from zero and constant starts, always "
                "all of them from a random start.",
                [lines(step, axis("units", "distinct units", zero=True), colour, points=False)], rows,
            ),
        ),
        Figure(
            "What it costs",
            "The training loss. All zero stays at ln 10 = 2.303, where guessing is; constant learns "
            "what one unit a layer can; random learns.",
            picture(
                "Training loss of the three starts.",
                [lines(step, axis("loss", "training loss", zero=True), colour, points=False)], rows,
            ),
        ),
    )  # fmt: skip


def _tiles(weights: Mapping[str, Any]) -> dict[str, Any]:
    """The weights of sixteen units a start, as images of 8 x 8 in a square of four by four."""
    tile = SIDE + 1
    block = ACROSS * tile + 3  # and the gap between the two squares
    rows, titles = [], []
    for at, (start, units) in enumerate(weights.items()):
        titles.append({"x": at * block + (ACROSS * tile - 1) / 2, "y": -2, "text": start})
        for n, unit in enumerate(units):
            size = max(abs(v) for v in unit)
            for pixel, v in enumerate(unit):
                rows.append(
                    {
                        "x": at * block + n % ACROSS * tile + pixel % SIDE,
                        "y": n // ACROSS * tile + pixel // SIDE,
                        "weight": round(v / size, 3),
                    }
                )
    x, y = (
        {
            "field": field,
            "type": "quantitative",
            "axis": None,
            "scale": {"domain": ends, "nice": False},
        }
        for field, ends in (("x", [0, 2 * block - 4]), ("y", [ACROSS * tile - 1, -4]))
    )
    for row in rows:
        row |= {"x2": row["x"] + 1, "y2": row["y"] + 1}
    colour = {
        "field": "weight", "type": "quantitative", "scale": {"domain": [-1, 1], "domainMid": 0},
        "legend": {"title": "weight, of the unit's largest", "orient": "bottom", "gradientLength": 160},
    }  # fmt: skip
    ends = {"x2": {"field": "x2"}, "y2": {"field": "y2"}}
    return picture(
        "The weights of sixteen units: sixteen equal images from a constant start, sixteen "
        "different ones from a random start.",
        [
            {"mark": {"type": "rect", "strokeWidth": 0}, "encoding": {"x": x, "y": y, **ends, "color": colour}},
            {"mark": {"type": "text", "fontSize": 13}, "data": {"values": titles},
             "encoding": {"x": x, "y": y, "text": {"field": "text"}}},
        ],
        rows, height=240,
    )  # fmt: skip
