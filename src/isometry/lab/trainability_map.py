"""Which plain networks train: depth x activation x recipe, on digits, with no help from the rest.

No normalisation, no skip connection, no warm-up: what a network makes of two hundred steps is what
its initialisation lets it make.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from isometry.lab.experiment import Claim, Lab, Result, experiment
from isometry.lab.networks import ACTIVATIONS
from isometry.lab.orthogonal import PlainOrthogonal

__all__ = ["KEPT", "RECIPES", "Cell", "cells", "train_cell", "trainability_map"]

# One that the library does not know yet is left out.
RECIPES = ("torch", "lecun", "glorot", "he", "auto", "orthogonal", "critical", "isometric")
OURS = "isometric"
MLP_DEPTHS, CNN_DEPTHS, CNN_DEPTHS_FULL = (10, 30, 100), (10, 30), (10, 30, 100)
WIDTH = 100
STEPS, BATCH = 200, 128
TRAINS = 0.9
APART = "sigmoid"
AIM = 0.95
# What a run without --full trains again, to see that the map that is kept still holds.
AGAIN = (("relu", "gelu", "tanh", "softplus"), (10, 30), ("torch", "he", OURS))

KEPT = "kept/trainability_map.json"


@dataclass(frozen=True, slots=True)
class Cell:
    """One network under one recipe: what is trained, at three learning rates."""

    network: str  # "mlp" | "cnn"
    depth: int
    activation: str
    recipe: str
    seed: int = 0

    @property
    def key(self) -> str:
        return f"{self.network}/{self.depth}/{self.activation}/{self.recipe}/{self.seed}"


@experiment(
    title="Which deep networks train at all",
    teaches="""Every cell below is a network that was trained for two hundred steps: ten, thirty or a
    hundred layers, one of eleven activations, and nothing that helps: no normalisation, no skip
    connection. Only the first weights differ from column to column. A cell that stays at 10 % has
    learnt nothing: it guesses one of ten digits. The customary rules do well where their formula
    was made for the activation and the network is not too deep; go deeper, or take another
    activation, and they fall silent or explode. An isometry keeps every length and every angle,
    forward and back, and so depth does not matter.""",
    source="Schoenholz et al. 2017; Xiao et al. 2018; Pennington et al. 2017",
)
def trainability_map(lab: Lab) -> Result:
    """The share of plain networks that learn to read digits, by depth, activation and recipe.

    Without `full`, the map that is kept with the library (one seed) is drawn, and a part of it
    trained again; with it, everything is trained, from three seeds.
    """
    from isometry.lab.trainability_figures import figures

    if lab.full:
        chosen = [c for seed in range(3) for c in cells(seed, CNN_DEPTHS_FULL)]
        found = _train(lab, chosen)
        again = {}
    else:
        found, again = _kept(), _train(lab, [c for c in cells() if _is_sample(c)])
    numbers: dict[str, Any] = {
        "cells": {cell.key: accuracy for cell, accuracy in found.items()},
        "again": {cell.key: accuracy for cell, accuracy in again.items()},
        "trains": {recipe: share for recipe, share in _shares(found).items()},
    }
    claims = [*_claims(found), *_repeated(found, again)]
    return Result(tuple(claims), figures(_averaged(found)), numbers)


def cells(
    seed: int = 0,
    cnn_depths: Sequence[int] = CNN_DEPTHS,
    recipes: Sequence[str] | None = None,
) -> Iterator[Cell]:
    """The cells of one seed, those that are trained soonest first."""
    from isometry.recipe import RECIPES as KNOWN

    known = [r for r in recipes or RECIPES if r in KNOWN or r == PlainOrthogonal.name]
    sizes = [("mlp", depth) for depth in MLP_DEPTHS] + [("cnn", depth) for depth in cnn_depths]
    for network, depth in sorted(sizes, key=lambda s: (s[1], s[0] == "cnn")):
        for recipe in known:
            for activation in ACTIVATIONS:
                yield Cell(network, depth, activation, recipe, seed)


def train_cell(cell: Cell) -> dict[str, float]:
    """The best accuracy over three learning rates, on what was trained on, and its rate.

    No loss is given to the recipes: the head is what each makes of any last layer.
    """
    import torch

    import isometry as iso
    from isometry.lab.learning import digits
    from isometry.lab.networks import cnn, mlp
    from isometry.lab.training import best_of_rates

    torch.manual_seed(cell.seed)  # for the recipe "torch", which keeps what the modules drew
    x, y = digits()
    if cell.network == "cnn":
        x = x.reshape(-1, 1, 8, 8)
        net = cnn(cell.depth, cell.activation)
    else:
        net = mlp([x.shape[1], *[WIDTH] * cell.depth], cell.activation)
    recipe: Any = PlainOrthogonal() if cell.recipe == PlainOrthogonal.name else cell.recipe
    iso.initialize(net, x[:BATCH], seed=cell.seed, recipe=recipe)
    best = best_of_rates(net, x, y, steps=STEPS, seed=cell.seed, batch=BATCH)
    return {"accuracy": round(best.accuracy, 4), "rate": best.rate}


def _is_sample(cell: Cell) -> bool:
    activations, depths, recipes = AGAIN
    return (
        cell.network == "mlp"
        and cell.activation in activations
        and cell.depth in depths
        and cell.recipe in recipes
    )


def _train(lab: Lab, chosen: Sequence[Cell]) -> dict[Cell, float]:
    """The accuracy of each cell; what the store has is not trained again."""
    lab.cells.expect(len(chosen))
    found = {}
    for cell in chosen:
        compute: Callable[[], dict[str, float]] = lambda c=cell: train_cell(c)  # type: ignore[misc] # noqa: E731
        found[cell] = lab.cells.get(cell.key, compute)["accuracy"]
    return found


def _kept() -> dict[Cell, float]:
    """The map that comes with the library: `python benchmarks/trainability.py` makes it."""
    text = resources.files("isometry.lab").joinpath(KEPT).read_text(encoding="utf-8")
    found = {}
    for key, cell in json.loads(text).items():
        network, depth, activation, recipe, seed = key.split("/")
        found[Cell(network, int(depth), activation, recipe, int(seed))] = cell["accuracy"]
    return found


def _averaged(found: Mapping[Cell, float]) -> dict[Cell, float]:
    """Over the seeds: each cell as that of seed 0."""
    seeds: dict[Cell, list[float]] = {}
    for cell, accuracy in found.items():
        one = Cell(cell.network, cell.depth, cell.activation, cell.recipe)
        seeds.setdefault(one, []).append(accuracy)
    return {cell: statistics.fmean(values) for cell, values in seeds.items()}


def _shares(found: Mapping[Cell, float]) -> dict[str, tuple[int, int]]:
    """By recipe: how many cells train to over 90 %, of how many, the sigmoid's left apart."""
    shares: dict[str, tuple[int, int]] = {}
    for cell, accuracy in found.items():
        if cell.activation != APART:
            held, count = shares.get(cell.recipe, (0, 0))
            shares[cell.recipe] = held + (accuracy > TRAINS), count + 1
    return shares


def _claims(found: Mapping[Cell, float]) -> Iterator[Claim]:
    shares = _shares(found)
    if OURS not in shares:
        return
    ours, count = shares.pop(OURS)
    yield Claim(
        f"{OURS}: cells that train to over {TRAINS:.0%}, {APART} apart",
        f"at least {AIM:.0%}",
        f"{ours} of {count} = {ours / count:.1%}",
        ours / count >= AIM,
    )
    others = {recipe: held / n for recipe, (held, n) in shares.items()}
    yield Claim(
        f"{OURS} trains more of them than any other recipe",
        "more",
        ", ".join(f"{r} {s:.0%}" for r, s in sorted(others.items(), key=lambda pair: -pair[1])),
        all(ours / count > share for share in others.values()),
    )
    sigmoids = [a for c, a in found.items() if c.activation == APART and c.recipe == OURS]
    held = sum(a > TRAINS for a in sigmoids)
    deep = max(c.depth for c in found)
    yield Claim(
        f"{OURS} with {APART}, whose mean of 1/2 and slope of 1/4 other rules cannot carry",
        f"trains somewhere: others stay at chance from 30 layers on, of {deep}",
        f"{held} of {len(sigmoids)} train to over {TRAINS:.0%}",
        held > 0,
    )


def _repeated(found: Mapping[Cell, float], again: Mapping[Cell, float]) -> Iterator[Claim]:
    """What was trained again falls on the same side of 90 %."""
    both = {c: (found[c], a) for c, a in again.items() if c in found}
    if both:
        same = sum((a > TRAINS) == (b > TRAINS) for a, b in both.values())
        yield Claim(
            f"{len(both)} cells of the map, trained again here, are on the same side of {TRAINS:.0%}",
            "all but those within chance of it: one in twelve",
            f"{same} of {len(both)}",
            same >= len(both) * 11 / 12,
        )
