"""A thousand layers of GELU that learn in sixty steps, and widths that no pairing fits evenly."""

from __future__ import annotations

from functools import partial
from typing import Any

from isometry.lab.experiment import Claim, Figure, Lab, Result, experiment
from isometry.lab.learning import LN_C, MOST
from isometry.lab.pictures import axis, by, lines, picture

DEPTH, WIDTH, STEPS, RATE = 1000, 100, 60, 0.0003
TRAINS, CHANCE = 0.9, 0.2
LAWS = {"he": "He", "isometric": "isometric"}
# Hidden widths that mirrored pairs do not divide evenly, or that change from layer to layer.
SHAPES = {
    "30 layers of 99": [99] * 30,
    "64 → 100 → 37 → 100 → 37 ..., 30 layers": [100, 37] * 15,
}
WINDOW = 3  # steps that a dot of the figure is a mean over


@experiment(
    title="A thousand layers, and it learns",
    teaches="""Depth itself is not what makes a network hard to train. This one has a thousand layers of
    GELU, no normalisation and no skip connection: what goes wrong by one percent in a layer has gone wrong
    by a factor of twenty thousand at the end. Under He's law nothing of the input is left there: the loss
    does not move. Under an isometry the thousand layers begin as if they were one, and
    sixty steps are enough to read nine digits in ten. Nor do widths have to be even: units without a
    mirror image are left out at the start, and learn later.""",
    source="Xiao et al. 2018, who trained ten thousand layers of tanh",
)
def thousand_layers(lab: Lab) -> Result:
    """A 1,000-layer MLP with GELU under He's law and an isometry; odd and changing widths."""
    steps = 200 if lab.full else STEPS
    lab.cells.expect(len(LAWS) + len(SHAPES))
    deep = {
        label: lab.cells.get(f"{DEPTH}/{recipe}/{steps}", partial(_deep, recipe, steps))
        for recipe, label in LAWS.items()
    }
    shapes = {
        label: lab.cells.get(f"shape/{label}", partial(_shape, widths))
        for label, widths in SHAPES.items()
    }
    numbers = {"depth": DEPTH, "width": WIDTH, "steps": steps, "deep": deep, "shapes": shapes}
    ours, he = deep["isometric"], deep["He"]
    claims = [
        Claim(
            f"isometric: {DEPTH:,} layers of GELU train",
            f"over {TRAINS:.0%} of the digits after {steps} steps",
            f"{ours['accuracy']:.1%}",
            ours["accuracy"] > TRAINS,
        ),
        Claim(
            f"He: {DEPTH:,} layers of GELU do not",
            f"under {CHANCE:.0%}: guessing reads one in ten",
            f"{he['accuracy']:.1%}",
            he["accuracy"] < CHANCE,
        ),
        *(
            Claim(f"isometric: {label} train", f"over {TRAINS:.0%}", f"{found:.1%}", found > TRAINS)
            for label, found in shapes.items()
        ),
    ]
    return Result(tuple(claims), (_figure(deep, steps),), numbers)


def _deep(recipe: str, steps: int) -> dict[str, Any]:
    """The loss of each step, and the accuracy after the last."""
    import isometry as iso
    from isometry.lab.learning import accuracy, digits, train
    from isometry.lab.networks import mlp

    x, y = digits()
    net = mlp([x.shape[1], *[WIDTH] * DEPTH], "gelu")
    iso.initialize(net, x, seed=0, recipe=recipe)
    losses = train(net, x, y, steps=steps, rate=RATE, seed=0, batch=128)
    return {
        "losses": [round(loss, 4) if loss < MOST else MOST for loss in losses],
        "accuracy": accuracy(net, x, y),
    }


def _shape(widths: list[int]) -> float:
    """The accuracy at the best of three rates, under an isometry."""
    import isometry as iso
    from isometry.lab.learning import digits
    from isometry.lab.networks import mlp
    from isometry.lab.training import best_of_rates

    x, y = digits()
    net = mlp([x.shape[1], *widths], "gelu")
    iso.initialize(net, x, seed=0, recipe="isometric")
    return best_of_rates(net, x, y, steps=200, seed=0).accuracy


def _figure(deep: dict[str, Any], steps: int) -> Figure:
    from isometry.lab.learning import smooth

    rows = [
        {"step": WINDOW * (at + 1), "loss": round(loss, 4), "law": law}
        for law, found in deep.items()
        for at, loss in enumerate(smooth(found["losses"], WINDOW))
    ]
    x = axis("step", "training step", domain=[0, steps], tickCount=6)
    y = axis("loss", "training loss", domain=[0, 3])
    return Figure(
        f"{DEPTH:,} layers of GELU learn to read digits",
        f"The training loss. {LN_C:.3f} is ln 10, the loss of guessing.",
        picture(
            f"Training loss of {DEPTH:,} layers: under He's law it stays where guessing is, under an "
            "isometry it falls at once.",
            [lines(x, y, by("law", list(deep)))],
            rows,
        ),
    )
