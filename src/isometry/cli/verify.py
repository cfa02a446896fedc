"""`isometry verify`: a checkpoint against the manifest of what it was at first."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from isometry.cli.screen import show, wide
from isometry.errors import ArgumentError
from isometry.manifest import NAME, Manifest
from isometry.report import verification_table
from isometry.report._text import printable
from isometry.types import Verified

__all__ = ["verify"]


class Format(enum.StrEnum):
    """What `verify` prints."""

    full = "full"
    concise = "concise"
    json = "json"


def verify(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="A `.safetensors` file, or the folder of a checkpoint: with an index, or with "
            "`model.safetensors`.",
            show_default=False,
        ),
    ],
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            "-m",
            metavar="FILE",
            help=f"What the checkpoint was at first. `{NAME}` beside it where nothing is given.",
            show_default=False,
        ),
    ] = None,
    output_format: Annotated[
        Format,
        typer.Option(
            "--output-format",
            "-f",
            metavar="FORMAT",
            help="`full` for a person; `concise`: every tensor on a line, its state first, for "
            "grep; `json`.",
        ),
    ] = Format.full,
) -> None:
    """Say which tensors of a checkpoint still hold their initial bits.

    A manifest (`isometry init --out DIR` writes one) has the seed and the law of every tensor. Each
    is made anew from it and compared with the checkpoint, bit by bit, in constant memory: no copy of
    the initial weights is needed. It answers

    - is this seed checkpoint what it claims to be, on this machine, to the last bit?

    - which layers of this fine-tuned model never moved?

    A checkpoint in another dtype is compared after rounding. Orthogonal matrices that another machine
    made are equal to a rounding, and are said to be.

    The exit status is 0 where every tensor holds its initial bits; 1 where one has changed, is
    missing, is not in the manifest or cannot be checked; 2 where there was nothing to compare.

    **Examples**

    - `isometry verify checkpoint`

    - `isometry verify finetuned --manifest checkpoint/isometry-manifest.json`

    - `isometry verify model.safetensors -m seed.json -f concise | grep ^initial`

    - `isometry verify checkpoint -f json | jq .counts`
    """
    read = Manifest.load(manifest or _beside(checkpoint))
    found = read.verify(checkpoint)
    if output_format is Format.json:
        show(json.dumps(found.to_dict(), indent=1, allow_nan=False) + "\n")
    elif output_format is Format.concise:
        show("".join(f"{line}\n" for line in map(_line, found.tensors)))
    else:
        show(
            verification_table.render(
                found, f"{read.model}, seed {read.seed}, plan {read.plan}", **wide()
            )
        )
    raise typer.Exit(0 if found.ok else 1)


def _beside(checkpoint: Path) -> Path:
    """Where a manifest lies that nobody has named."""
    if not checkpoint.exists():
        raise ArgumentError(
            f"there is no {checkpoint}; expected a .safetensors file, or the folder of a checkpoint"
        )
    place = (checkpoint if checkpoint.is_dir() else checkpoint.parent) / NAME
    if not place.is_file():
        raise ArgumentError(
            f"there is no {NAME} beside {checkpoint}; say which manifest it is to be compared with: "
            "--manifest FILE"
        )
    return place


def _line(tensor: Verified) -> str:
    return f"{tensor.state} {printable(tensor.name)}" + (
        f": {tensor.detail}" if tensor.detail else ""
    )
