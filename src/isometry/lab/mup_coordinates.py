"""Yang & Hu 2021: does a wide network move as far in a step as a narrow one? The coordinate check."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

from isometry.lab.evidence import ERRORS, Estimate, estimate, slope
from isometry.lab.experiment import Claim, Figure, Lab, Result, experiment
from isometry.lab.learning import PIXELS, digits
from isometry.lab.networks import mlp
from isometry.lab.pictures import by, decades, lines, picture
from isometry.recipe import MuP

if TYPE_CHECKING:
    from torch import nn

BASE = 64  # at this width the two parametrisations are one
STEPS, RATE, BATCH = 4, 0.002, 128
WAYS = ("standard", "muP")
# What is looked at, and how its change grows with width, as a power, in the standard
# parametrisation: a sum of n equal steps grows as n^(1/2) where their signs are random, as n where
# they agree. Under muP every power is 0.
PLACES = {"first layer": (0.0, 0.0), "hidden layer": (0.5, 1.0), "logits": (0.5, 1.0)}
# The search for the best rate: halvings and doublings of 1, at widths that train quickly.
EXPONENTS, TRAINED, TRAINING, LAST = range(-10, -3), (64, 128, 256, 512), 40, 10
SLACK = 0.2  # the powers are those of wide networks


@experiment(
    title="Wider should not mean wilder: muP's coordinate check",
    teaches="""You find a learning rate that works on a small network, and want to use it on a large one. With Adam every weight moves by about the same
    amount in a step, however many there are. A unit that reads a thousand inputs
    therefore changes up to sixteen times as much as one that reads sixty-four, and the rate that was right is too
    large. muP says how two things have to go with width, the size of the first weights and the learning
    rate of each layer, so that every layer's output changes as much in a wide network as
    in a narrow one. The check: take a few steps at several widths and see how far the
    activations have moved. Level lines mean that what was tuned small holds large, and the last
    pictures show that it does: under muP the best learning rate stays where it is.""",
    source="Yang & Hu 2021 (Tensor Programs IV); Yang et al. 2022 (V), figure 5 and table 3",
)
def mup_coordinates(lab: Lab) -> Result:
    """The change of each layer's output after a few steps of Adam, against width."""
    widths = [64, 128, 256, 512, 1024] + ([2048, 4096] if lab.full else [])
    seeds = 8 if lab.full else 4
    numbers: dict[str, Any] = {"widths": widths, "seeds": seeds, "steps": STEPS, "changes": {}}
    lab.cells.expect(len(WAYS) * (len(widths) * seeds + len(TRAINED) * len(EXPONENTS)))
    claims = []
    for way in WAYS:
        runs = [
            [
                lab.cells.get(f"{way}/{width}/{seed}", partial(_changes, way, width, seed))
                for width in widths
            ]
            for seed in range(seeds)
        ]
        for place, standard in PLACES.items():
            changes = [[run[place] for run in seed] for seed in runs]
            logs = [[math.log(v) for v in row] for row in changes]
            found = estimate([slope([math.log(n) for n in widths], row) for row in logs])
            numbers["changes"].setdefault(place, {})[way] = {
                "measured": [math.exp(sum(c) / seeds) for c in zip(*logs, strict=True)],
                "power": found.value,
                "error": found.error,
            }
            powers = standard if way == "standard" else (0.0, 0.0)
            claims.append(_claim(way, place, powers, found, widths))
    numbers["losses"] = {
        way: {
            f"{width}": [
                lab.cells.get(f"loss/{way}/{width}/{k}", partial(_loss, way, width, k))
                for k in EXPONENTS
            ]
            for width in TRAINED
        }
        for way in WAYS
    }
    claims += _transfer_claims(numbers["losses"])
    return Result(tuple(claims), (*_figures(numbers), *_transfer(numbers["losses"])), numbers)


def _changes(way: str, width: int, seed: int) -> dict[str, float]:
    """The root mean square change of each place after a few steps of Adam, from one seed."""
    import torch
    from torch.nn import functional as F

    x, y = digits()
    net, groups = _parametrised(way, width, seed)
    optimiser = torch.optim.Adam(groups)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    shown = x[order[-BATCH:]]
    before = _places(net, shown)
    for step in range(STEPS):
        chosen = order[step * BATCH : (step + 1) * BATCH]
        optimiser.zero_grad()
        F.cross_entropy(net(x[chosen]), y[chosen]).backward()
        optimiser.step()
    after = _places(net, shown)
    return {p: (after[p] - before[p]).square().mean().sqrt().item() for p in PLACES}


def _parametrised(way: str, width: int, seed: int) -> tuple[nn.Sequential, list[dict[str, Any]]]:
    """A network of that width, initialised, and the learning rate of each of its parameters."""
    import isometry as iso

    x, _ = digits()
    net = mlp([PIXELS, width, width], "relu")
    mup = MuP(base=iso.plan(mlp([PIXELS, BASE, BASE], "relu"), x))
    plan = iso.initialize(net, x, seed=seed, recipe=mup if way == "muP" else "auto")
    factors = mup.learning_rates(plan, "adam") if way == "muP" else {}
    named = net.named_parameters()
    return net, [{"params": [p], "lr": RATE * factors.get(name, 1.0)} for name, p in named]


def _loss(way: str, width: int, exponent: int) -> float:
    """The mean loss of the last steps of a short training, over two seeds."""
    import torch
    from torch.nn import functional as F

    x, y = digits()
    losses = []
    for seed in range(2):
        net, groups = _parametrised(way, width, seed)
        for group in groups:
            group["lr"] *= 2.0**exponent / RATE
        optimiser = torch.optim.Adam(groups)
        order = torch.Generator().manual_seed(seed)
        for step in range(TRAINING):
            chosen = torch.randint(len(x), (BATCH,), generator=order)
            loss = F.cross_entropy(net(x[chosen]), y[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses += [loss.item()] if step >= TRAINING - LAST else []
    return sum(losses) / len(losses)


def _best(losses: list[float]) -> int:
    """The exponent of the best learning rate."""
    return EXPONENTS[losses.index(min(losses))]


def _transfer_claims(found: dict[str, Any]) -> list[Claim]:
    shifts = {
        way: _best(losses[f"{TRAINED[-1]}"]) - _best(losses[f"{TRAINED[0]}"])
        for way, losses in found.items()
    }
    wider = TRAINED[-1] // TRAINED[0]
    return [
        Claim(
            f"standard: the best learning rate at {wider} times the width",
            f"falls, by a factor of up to {wider}; of 4 at least", f"× 2^{shifts['standard']}",
            -math.log2(wider) - 1 <= shifts["standard"] <= -2,
        ),
        Claim(
            f"muP: the best learning rate at {wider} times the width",
            "the same, within a factor of 2: one step of the search", f"× 2^{shifts['muP']}",
            abs(shifts["muP"]) <= 1,
        ),
    ]  # fmt: skip


def _transfer(found: dict[str, Any]) -> list[Figure]:
    drawn = []
    every = [loss for losses in found.values() for row in losses.values() for loss in row]
    for way, losses in found.items():
        rows = [
            {"rate": 2.0**k, "width": f"width {width}", "loss": loss}
            for width, row in losses.items()
            for k, loss in zip(EXPONENTS, row, strict=True)
        ]
        x = decades("rate", "learning rate", [row["rate"] for row in rows])
        y = decades("loss", f"loss after {TRAINING} steps", every)
        y["scale"]["domain"] = [min(every), max(every)]  # one scale for both
        colour = by("width", [f"width {width}" for width in TRAINED])
        drawn.append(
            Figure(
                f"Which learning rate is best: {way}",
                "The training loss after a few steps of Adam, by learning rate, one line for each width. "
                + (
                    "The lowest point moves to the left as the network grows: a rate that was best small is too large."
                    if way == "standard"
                    else "The lowest point stays where it is."
                ),
                picture(
                    f"Loss against learning rate at four widths, {way}.", [lines(x, y, colour)], rows,
                    height=240,
                ),
            )
        )  # fmt: skip
    return drawn


def _places(net: nn.Sequential, x: Any) -> dict[str, Any]:
    import torch

    found = []
    with torch.no_grad():
        for module in net:
            x = module(x)
            found.append(x)
    return dict(zip(PLACES, found[::2], strict=True))


def _claim(
    way: str, place: str, powers: tuple[float, float], found: Estimate, widths: list[int]
) -> Claim:
    low, high = powers
    expected = (
        f"{low:g}" if low == high else f"from {low:g}, signs at random, to {high:g}, signs alike"
    )
    allowed = ERRORS * found.error + SLACK
    return Claim(
        f"{way}: change of the {place} after {STEPS} steps, as a power of the width",
        f"{expected}, within {ERRORS:g} standard errors + {SLACK:g} (finite width); Yang et al. 2022, "
        "figure 5",
        f"{found}, from width {widths[0]} to {widths[-1]}",
        low - allowed <= found.value <= high + allowed,
    )


def _figures(numbers: dict[str, Any]) -> tuple[Figure, ...]:
    drawn = []
    every = [
        change for ways in numbers["changes"].values() for found in ways.values()
        for change in found["measured"]
    ]  # fmt: skip
    for place, ways in numbers["changes"].items():
        rows = [
            {"width": width, "way": way, "change": change}
            for way, found in ways.items()
            for width, change in zip(numbers["widths"], found["measured"], strict=True)
        ]
        x = decades("width", "width", numbers["widths"])
        x["axis"] = {"title": "width", "values": numbers["widths"], "format": "d"}
        y = decades("change", "change of the output", every)
        y["scale"]["domain"] = [min(every), max(every)]  # one scale for all the places
        drawn.append(
            Figure(
                f"The {place}",
                f"How far the {place} {'have' if place == 'logits' else 'has'} moved after {STEPS} steps of Adam, on a digit that was not "
                "trained on; root mean square. Level is what one wants.",
                picture(
                    f"Change of the {place} against width, standard and muP.",
                    [lines(x, y, by("way", WAYS))], rows, height=220,
                ),
            )
        )  # fmt: skip
    return tuple(drawn)
