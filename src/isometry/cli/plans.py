"""`isometry plan` and `isometry init`: decide, show, write."""

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
from isometry.cli.screen import show, wide
from isometry.types import Plan

__all__ = ["init", "plan"]


def plan(
    where: TargetArgument,
    input: InputOption = [],  # noqa: B006
    recipe: RecipeOption = "auto",
    loss: LossOption = None,
    seed: SeedOption = 0,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Save the plan there as well.")
    ] = None,
) -> None:
    """Show which distribution every parameter and buffer would get, and why. Writes no weight.

    **Examples**

    - `isometry plan train.py:make_model --input 32x64`

    - `isometry plan train.py:model --recipe he --json plan.json`
    """
    destination = json and checkpoint.writable(json)
    with redirect_stdout(sys.stderr):
        found, batch = loaded(where, input, seed)
        made = isometry.plan(found.model, batch, recipe=recipe, loss=loss)
    if destination is not None:
        made.save(destination)
    _show(made)


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
    _show(made)
    show(f"wrote {destination} (seed {seed}, plan {made.digest})\n")


def _show(made: Plan) -> None:
    from isometry.report import plan_table

    show(plan_table.render(made, **wide()))
