"""The arguments and options that several commands share, and what they stand for."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any

import typer

from isometry.cli import inputs, target
from isometry.stream.keys import check_seed

__all__ = [
    "InputOption",
    "LossOption",
    "RecipeOption",
    "SeedOption",
    "TargetArgument",
    "loaded",
]

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
RecipeOption = Annotated[
    str, typer.Option("--recipe", "-r", help="auto, isometric, he, ...: isometry info lists them.")
]
SeedOption = Annotated[
    int, typer.Option("--seed", "-s", metavar="SEED", help="An integer in [0, 2^64).")
]


def loaded(
    where: str, sizes: list[str], seed: int, *, on_meta: bool = False
) -> tuple[target.Target, Any]:
    """The target and its inputs, with PyTorch's own generator seeded: runs can be repeated.

    On meta a PyTorch model takes no memory for its parameters, which have no values.
    """
    check_seed(seed)
    for text in sizes:
        inputs.parse(text)  # a slip of the pen should not wait for an import
    try:
        import torch
    except ImportError:
        found = target.load(where)
    else:
        torch.manual_seed(seed)
        with _memoryless() if on_meta else nullcontext():
            found = target.load(where)
    return found, inputs.draw(sizes, seed, found.model) if sizes else found.inputs


def _memoryless() -> AbstractContextManager[None]:
    from isometry.torch import meta

    return meta()
