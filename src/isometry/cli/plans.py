"""`isometry plan`: decide and show."""

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

__all__ = ["plan", "show_plan"]


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
    show_plan(made)


def show_plan(made: Plan) -> None:
    from isometry.report import plan_table

    show(plan_table.render(made, **wide()))
