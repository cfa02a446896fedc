"""The commands: each reads its arguments, calls one public function and prints what came back."""

from __future__ import annotations

import enum
import sys
import traceback
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer

import isometry
from isometry import checkpoint
from isometry.cli import describe, inputs, target
from isometry.cli.screen import show, wide
from isometry.errors import IsometryError
from isometry.stream.keys import check_seed
from isometry.types import Plan

__all__ = ["app", "main"]

app = typer.Typer(
    name="isometry",
    help="Initialise neural networks, and prove that it was done right.",
    epilog="Exit status: 0 clean, 1 findings of severity error, 2 could not run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Format(enum.StrEnum):
    """What `check` prints."""

    full = "full"
    concise = "concise"
    json = "json"


TargetArgument = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="`package.module:attribute` or `path/file.py:attribute`. The attribute is a model, "
        "or a function that returns a model or `(model, inputs)`.",
        show_default=False,
    ),
]
InputOption = Annotated[
    list[str],
    typer.Option(
        "--input",
        "-i",
        metavar="SIZES[:DTYPE[:HIGH]]",
        help="Random input: `8x3x64x64`, `8x3x64x64:bfloat16`, or `4x128:int64:50257` for ids "
        "below 50257. Repeat it for several positional inputs.",
        show_default=False,
    ),
]
LossOption = Annotated[
    str | None,
    typer.Option("--loss", help="`cross_entropy`, `mse`, ...; the head depends on it."),
]
RecipeOption = Annotated[str, typer.Option("--recipe", "-r", help="How to decide; see `info`.")]
SeedOption = Annotated[
    int, typer.Option("--seed", "-s", metavar="SEED", help="An integer in [0, 2^64).")
]
PrefixOption = Annotated[
    list[str], typer.Option(metavar="PREFIX", help="Codes by prefix, such as ISO2. Repeatable.")
]


@app.command()
def check(
    where: TargetArgument,
    input: InputOption = [],  # noqa: B006
    loss: LossOption = None,
    select: PrefixOption = [],  # noqa: B006
    ignore: PrefixOption = [],  # noqa: B006
    seed: SeedOption = 0,
    output_format: Annotated[Format, typer.Option("--output-format", "-f")] = Format.full,
) -> None:
    """Measure a model at initialisation and say what is wrong, with a number, a cause and a fix.

    One forward and one backward on a batch. The model is left as it was.

    **Examples**

    - `isometry check train.py:make_model --input 32x64`

    - `isometry check train.py:model --select ISO2 --select ISO3 --output-format concise`

    - `isometry check mypackage.nets:ResNet --input 8x3x64x64 -f json | jq .ok`
    """
    with redirect_stdout(sys.stderr):  # a model that prints must not spoil what is piped
        found, batch = _load(where, input, seed)
        report = isometry.check(
            found.model, batch, loss=loss, build=found.build, select=select, ignore=ignore
        )
    if output_format is Format.full:
        from isometry.report import terminal

        show(terminal.render(report, **wide()))
    elif output_format is Format.concise:
        from isometry.report import concise

        show(concise.render(report) + "\n")
    else:
        from isometry.report import json_

        show(json_.render(report) + "\n")
    raise typer.Exit(0 if report.ok else 1)


@app.command()
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
        found, batch = _load(where, input, seed)
        made = isometry.plan(found.model, batch, recipe=recipe, loss=loss)
    if destination is not None:
        made.save(destination)
    _show_plan(made)


@app.command()
def init(
    where: TargetArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where the weights go: safetensors.")
    ],
    input: InputOption = [],  # noqa: B006
    seed: SeedOption = 0,
    recipe: RecipeOption = "auto",
    loss: LossOption = None,
) -> None:
    """Initialise a model and write its weights as safetensors.

    The same seed gives the same bits on every machine and device, and for any order of layers.

    **Examples**

    - `isometry init train.py:make_model --input 32x64 --seed 0 --out model.safetensors`
    """
    destination = checkpoint.writable(out)
    with redirect_stdout(sys.stderr):
        found, batch = _load(where, input, seed)
        made = isometry.initialize(found.model, batch, seed=seed, recipe=recipe, loss=loss)
    header = {"seed": str(seed), "recipe": recipe, "plan": made.digest}
    checkpoint.save(found.model.state_dict(), destination, header)
    _show_plan(made)
    show(f"wrote {destination} (seed {seed}, plan {made.digest})\n")


@app.command()
def gain(
    name: Annotated[str, typer.Argument(help="`gelu`, `LeakyReLU`, `swiglu`, ...")],
    parameter: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=NUMBER]...", help="Such as `negative_slope=0.2`."),
    ] = None,
) -> None:
    """Print the gain of an activation, how it comes about, and what it does to a deep network.

    **Examples**

    - `isometry gain gelu`

    - `isometry gain leaky_relu negative_slope=0.2`
    """
    show(describe.gain(name, describe.parameters(parameter or [])))


@app.command()
def info() -> None:
    """Print versions, the stream's backend and why it is in use, the recipes, the frameworks."""
    show(describe.info())


def main() -> None:
    """Run the command line; errors that isometry raises on purpose are one message, status 2."""
    try:
        app()
    except IsometryError as error:
        print(f"isometry: error: {error}", file=sys.stderr)
    except Exception:
        traceback.print_exc()  # ours to mend; status 1 would say "findings"
    sys.exit(2)


def _load(where: str, sizes: list[str], seed: int) -> tuple[target.Target, Any]:
    """The target and its inputs, with PyTorch's own generator seeded: runs can be repeated."""
    check_seed(seed)
    for text in sizes:
        inputs.parse(text)  # a slip of the pen should not wait for an import
    try:
        import torch
    except ImportError:
        found = target.load(where)
    else:
        torch.manual_seed(seed)
        found = target.load(where)
    return found, inputs.draw(sizes, seed) if sizes else found.inputs


def _show_plan(made: Plan) -> None:
    from isometry.report import plan_table

    show(plan_table.render(made, **wide()))
