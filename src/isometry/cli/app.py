"""The commands: each reads its arguments, calls one public function and prints what came back."""

from __future__ import annotations

import sys
import traceback
from typing import Annotated

import typer

from isometry.cli import describe
from isometry.cli.check import check
from isometry.cli.init import init
from isometry.cli.lab import lab
from isometry.cli.plans import plan
from isometry.cli.screen import show, wide
from isometry.cli.verify import verify
from isometry.errors import IsometryError

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
for command in (check, plan, init, verify, lab):
    app.command()(command)


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
def rule(
    code: Annotated[
        str | None,
        typer.Argument(
            metavar="CODE",
            help="A code (`ISO201`), the beginning of some (`ISO2`), or a name "
            "(`vanishing-signal`). All rules where nothing is given.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Explain a rule: what it looks for, why that is bad, an example, and what to do instead.

    **Examples**

    - `isometry rule ISO201`

    - `isometry rule vanishing-signal`

    - `isometry rule ISO4`
    """
    from isometry.cli import rule_pages  # loads every rule

    show(rule_pages.explain(code, **wide()))


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
