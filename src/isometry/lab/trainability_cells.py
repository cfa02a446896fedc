"""The cells of the trainability map: which there are, and how one is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from isometry.errors import PlanError
from isometry.lab.networks import ACTIVATIONS
from isometry.lab.orthogonal import PlainOrthogonal

__all__ = ["CNN_DEPTHS", "CNN_DEPTHS_FULL", "RECIPES", "Cell", "cells", "train_cell"]

# One that the library does not know is left out.
RECIPES = ("torch", "lecun", "glorot", "he", "auto", "orthogonal", "critical", "isometric")
MLP_DEPTHS, CNN_DEPTHS, CNN_DEPTHS_FULL = (10, 30, 100), (10, 30), (10, 30, 100)
WIDTH = 100
STEPS, BATCH = 200, 128


@dataclass(frozen=True, slots=True)
class Cell:
    """One network under one recipe: what is trained, at three learning rates."""

    network: str  # "mlp" | "cnn"
    depth: int
    activation: str
    recipe: str
    seed: int = 0

    @classmethod
    def of(cls, key: str) -> Cell:
        """The cell of a key.

        Example:
            >>> Cell.of("mlp/10/relu/he/0").depth
            10
        """
        network, depth, activation, recipe, seed = key.split("/")
        return cls(network, int(depth), activation, recipe, int(seed))

    @property
    def key(self) -> str:
        """What a store calls it."""
        return f"{self.network}/{self.depth}/{self.activation}/{self.recipe}/{self.seed}"


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

    No loss is given to the recipes: the head is what each makes of any last layer. A recipe that
    declines an activation leaves the cell empty: {}.
    """
    import isometry as iso
    from isometry.lab.learning import digits
    from isometry.lab.networks import cnn, mlp
    from isometry.lab.training import best_of_rates

    x, y = digits()
    if cell.network == "cnn":
        x = x.reshape(-1, 1, 8, 8)
        net = cnn(cell.depth, cell.activation)
    else:
        net = mlp([x.shape[1], *[WIDTH] * cell.depth], cell.activation)
    recipe: Any = PlainOrthogonal() if cell.recipe == PlainOrthogonal.name else cell.recipe
    try:
        iso.initialize(net, x[:BATCH], seed=cell.seed, recipe=recipe)
    except PlanError:
        return {}
    best = best_of_rates(net, x, y, steps=STEPS, seed=cell.seed, batch=BATCH)
    return {"accuracy": round(best.accuracy, 4), "rate": best.rate}
