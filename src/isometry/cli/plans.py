"""`isometry plan`: decide and show; on a mesh, what that is for every rank."""

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
from isometry.errors import ArgumentError
from isometry.mesh import Mesh
from isometry.types import Plan

__all__ = ["plan", "show_plan"]

ON_A_MESH = "On a mesh"


def plan(
    where: TargetArgument,
    input: InputOption = [],  # noqa: B006
    recipe: RecipeOption = "auto",
    loss: LossOption = None,
    seed: SeedOption = 0,
    json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Save the plan there as well.")
    ] = None,
    mesh: Annotated[
        str | None,
        typer.Option(
            "--mesh",
            metavar="NAME=SIZE,...",
            help="Foresee this mesh instead: `dp` (FSDP2, ZeRO-3), `replicate` (HSDP), `tp`, `pp`, "
            "`ep`, in the order in which ranks are numbered. The model is built without memory.",
            rich_help_panel=ON_A_MESH,
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="DTYPE",
            help="Of the floating-point tensors there: `bf16`, `fp32`, ... The model's own where "
            "nothing is given.",
            show_default=False,
            rich_help_panel=ON_A_MESH,
        ),
    ] = None,
) -> None:
    """Show which distribution every parameter and buffer would get, and why. Writes no weight.

    With `--mesh`, show what each rank would hold of the model, before there is any: parameters, bytes,
    seconds to fill at the speed of this machine, peak memory, and which axis of each tensor is cut. As
    a proof, parts of random ranks' shards are made as those ranks would make them, alone, and compared to
    the bit with what they are of the whole. The exit status is 1 where one is not equal.

    **Examples**

    - `isometry plan train.py:make_model --input 32x64`

    - `isometry plan train.py:model --recipe he --json plan.json`

    - `isometry plan llama.py:make_model --mesh dp=64,tp=8,pp=4 --dtype bf16`
    """
    destination = json and checkpoint.writable(json)
    if mesh is not None:
        _foresee(where, input, recipe, loss, seed, destination, mesh, dtype)
        return
    if dtype is not None:
        raise ArgumentError(
            f"--dtype {dtype} without --mesh: a plan has the model's own; write --mesh dp=8 --dtype "
            f"{dtype}, or give it to isometry init"
        )
    with redirect_stdout(sys.stderr):
        found, batch = loaded(where, input, seed)
        made = isometry.plan(found.model, batch, recipe=recipe, loss=loss)
    if destination is not None:
        made.save(destination)
    show_plan(made)


def _foresee(
    where: str, input: list[str], recipe: str, loss: str | None, seed: int,
    destination: Path | None, mesh: str, dtype: str | None,
) -> None:  # fmt: skip
    sizes, kind = Mesh.parse(mesh), checkpoint.dtype_of(dtype)  # before anything is imported
    with redirect_stdout(sys.stderr):
        found, batch = loaded(where, input, seed, on_meta=True)
        from isometry.cli.foresee import foreseen

        made, seen = foreseen(
            found.model, batch, sizes, recipe=recipe, loss=loss, dtype=kind, seed=seed
        )
    if destination is not None:
        made.save(destination)
    from isometry.report import foresight_table

    show(foresight_table.render(seen, **wide()))
    if seen.proof is not None and seen.proof.unequal:
        raise typer.Exit(1)


def show_plan(made: Plan) -> None:
    from isometry.report import plan_table

    show(plan_table.render(made, **wide()))
