"""Which plain networks train: depth x activation x recipe, on digits, with no help from the rest.

No normalisation, no skip connection, no warm-up: what a network makes of two hundred steps is what
its initialisation lets it make.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import resources
from typing import Any

from isometry.lab.experiment import Claim, Lab, Result, experiment
from isometry.lab.trainability_cells import CNN_DEPTHS_FULL, Cell, cells, train_cell
from isometry.lab.trainability_figures import APART, TRAINS, figures, trains

__all__ = ["KEPT", "kept_map", "trainability_map"]

KEPT = "kept/trainability_map.json"
OURS = "isometric"
AIM = 0.95
# What a run without --full trains again, to see that the map that is kept still holds.
AGAIN = (("relu", "gelu", "softplus"), (10, 30), ("torch", "he", OURS))

Accuracies = Mapping[Cell, float | None]  # None: the recipe declines


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
    again: Accuracies = {}
    if lab.full:
        found = _train(lab, [c for seed in range(3) for c in cells(seed, CNN_DEPTHS_FULL)])
    else:
        found, again = kept_map(), _train(lab, [c for c in cells() if _is_sample(c)])
    numbers: dict[str, Any] = {
        "cells": {cell.key: accuracy for cell, accuracy in found.items()},
        "again": {cell.key: accuracy for cell, accuracy in again.items()},
        "trains": _shares(found),
    }
    claims = [*_claims(found), *_repeated(found, again)]
    return Result(tuple(claims), figures(_averaged(found)), numbers)


def _is_sample(cell: Cell) -> bool:
    activations, depths, recipes = AGAIN
    return (
        cell.network == "mlp"
        and cell.activation in activations
        and cell.depth in depths
        and cell.recipe in recipes
    )


def _train(lab: Lab, chosen: Sequence[Cell]) -> Accuracies:
    """The accuracy of each cell; what the store has is not trained again."""
    lab.cells.expect(len(chosen))
    return {
        cell: lab.cells.get(cell.key, partial(train_cell, cell)).get("accuracy") for cell in chosen
    }


def kept_map() -> Accuracies:
    """The map that comes with the library: `python benchmarks/trainability.py` makes it."""
    text = resources.files("isometry.lab").joinpath(KEPT).read_text(encoding="utf-8")
    return {Cell.of(key): cell.get("accuracy") for key, cell in json.loads(text).items()}


def _averaged(found: Accuracies) -> Accuracies:
    """Over the seeds: each cell as that of seed 0."""
    seeds: dict[Cell, list[float]] = {}
    for cell, accuracy in found.items():
        over = seeds.setdefault(replace(cell, seed=0), [])
        over += [] if accuracy is None else [accuracy]
    return {cell: statistics.fmean(values) if values else None for cell, values in seeds.items()}


def _shares(found: Accuracies) -> dict[str, tuple[int, int]]:
    """By recipe: how many cells train to over 90 %, of how many, the sigmoid's left apart."""
    shares: dict[str, tuple[int, int]] = {}
    for cell, accuracy in found.items():
        if cell.activation != APART:
            held, count = shares.get(cell.recipe, (0, 0))
            shares[cell.recipe] = held + trains(accuracy), count + 1
    return shares


def _claims(found: Accuracies) -> Iterator[Claim]:
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
    held = sum(map(trains, sigmoids))
    yield Claim(
        f"{OURS} with {APART}, whose mean of 1/2 and slope of 1/4 other rules cannot carry",
        f"over {TRAINS:.0%} in at least one network",
        f"{held} of {len(sigmoids)} train to over {TRAINS:.0%}",
        held > 0,
    )


def _repeated(found: Accuracies, again: Accuracies) -> Iterator[Claim]:
    """What was trained again falls on the same side of 90 %. Not asked of networks on the edge: a
    last bit decides what thirty layers of ReLU make of He's weights."""
    both = [(found[c], a) for c, a in again.items() if c in found and c.recipe in ("torch", OURS)]
    if both:
        same = sum(trains(a) == trains(b) for a, b in both)
        yield Claim(
            f"cells of torch and {OURS}, trained again here, are on the same side of {TRAINS:.0%}",
            "all",
            f"{same} of {len(both)}",
            same == len(both),
        )
