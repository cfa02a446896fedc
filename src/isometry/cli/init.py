"""`isometry init`: decide, fill, and write the weights."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

import isometry
from isometry import checkpoint
from isometry.cli.options import (
    InputOption,
    LossOption,
    RecipeOption,
    SeedOption,
    TargetArgument,
    loaded,
)
from isometry.cli.plans import show_plan
from isometry.cli.screen import show

__all__ = ["init"]


def init(
    where: TargetArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where the weights go: safetensors.")
    ],
    input: InputOption = [],  # noqa: B006
    seed: SeedOption = 0,
    recipe: RecipeOption = "auto",
    loss: LossOption = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Rescale each weight on the inputs, which TARGET should then return: real data.",
        ),
    ] = False,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Save the plan there as well: it gives the same weights wherever it is applied.",
        ),
    ] = None,
) -> None:
    """Initialise a model and write its weights as safetensors.

    The same seed gives the same bits on every machine and device, and for any order of layers.

    **Examples**

    - `isometry init train.py:make_model --input 32x64 --seed 0 --out model.safetensors`

    - `isometry init train.py:model_and_batch --calibrate --out model.safetensors`
    """
    destination = checkpoint.writable(out)
    saved = json and checkpoint.writable(json)
    with redirect_stdout(sys.stderr):
        found, batch = loaded(where, input, seed)
        made = isometry.initialize(
            found.model, batch, seed=seed, recipe=recipe, loss=loss, calibrate=calibrate
        )
    header = {"seed": str(seed), "recipe": recipe, "plan": made.digest}
    checkpoint.save(found.model.state_dict(), destination, header)
    if saved is not None:
        made.save(saved)
    show_plan(made)
    show(f"wrote {destination} (seed {seed}, plan {made.digest})\n")
