"""`isometry init`: decide, fill, and write the weights: as one file, or streamed into a folder."""

from __future__ import annotations

import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.filesize import decimal

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
from isometry.errors import ArgumentError

__all__ = ["init"]

FILE = ".safetensors"
OTHER_FILES = (".bin", ".ckpt", ".h5", ".keras", ".npz", ".pt", ".pth")


def init(
    where: TargetArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR|FILE",
            help="A folder, to stream into: made where there is none. Or one file, that ends in "
            "`.safetensors`.",
        ),
    ],
    input: InputOption = [],  # noqa: B006
    seed: SeedOption = 0,
    recipe: RecipeOption = "auto",
    loss: LossOption = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Rescale each weight on the inputs, which TARGET should then return: real data. "
            "With one file only.",
        ),
    ] = False,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            metavar="DTYPE",
            help="In a folder: `bf16`, `fp16`, `fp32`, `fp8`, ... for all floating-point tensors. "
            "The model's own where nothing is given.",
            show_default=False,
        ),
    ] = None,
    max_shard_size: Annotated[
        str | None,
        typer.Option(
            "--max-shard-size",
            metavar="SIZE",
            help="In a folder: of one file at most, such as `5GB` (the default) or `500MB`.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace another checkpoint that the folder holds."),
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

    Into a **folder** the weights are streamed: a PyTorch model is built without memory for its
    parameters (on meta), and each tensor is made and written piece by piece. A model may so be larger
    than memory. The folder is what `from_pretrained`, `safetensors` and `torch.distributed.checkpoint`
    read, with a manifest beside the weights, for `isometry verify`. A file has its name only when it
    is complete; after an interruption the same command goes on where it was.

    Into one **file**, the model is made in memory first.

    **Examples**

    - `isometry init train.py:make_model --input 32x64 --seed 0 --out checkpoint`

    - `isometry init llama.py:make_model --dtype bf16 --max-shard-size 5GB --out llama-70b`

    - `isometry init train.py:model_and_batch --calibrate --out model.safetensors`
    """
    options = {"dtype": dtype, "max_shard_size": max_shard_size, "overwrite": overwrite or None}
    given = {name: value for name, value in options.items() if value is not None}
    if out.suffix in OTHER_FILES:
        raise ArgumentError(
            f"--out {out}: expected a file that ends in {FILE}, or a folder; write "
            f"--out {out.with_suffix(FILE)} or --out {out.with_suffix('')}"
        )
    saved = json and checkpoint.writable(json)
    if out.suffix != FILE:
        if calibrate:
            raise ArgumentError(
                "--calibrate runs the model and needs its weights in memory, and a folder is streamed "
                f"without them; write --out {out}{FILE}"
            )
        _stream(where, out, input, seed, recipe, loss, given, saved)
        return
    if given:
        option = "--" + next(iter(given)).replace("_", "-")
        raise ArgumentError(f"{option} is for a folder, and {out} is one file; write --out DIR")
    destination = checkpoint.writable(out)
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


def _stream(
    where: str, out: Path, input: list[str], seed: int, recipe: str, loss: str | None,
    given: dict[str, Any], saved: Path | None,
) -> None:  # fmt: skip
    """Plan on meta, and write a folder."""
    checkpoint.dtype_of(given.get("dtype"))  # a slip of the pen should not wait for an import
    checkpoint.bytes_of(given.get("max_shard_size", "5GB"))
    with redirect_stdout(sys.stderr):
        found, batch = loaded(where, input, seed, on_meta=True)
        made = isometry.plan(found.model, batch, recipe=recipe, loss=loss)
        started = time.perf_counter()
        checkpoint.write_checkpoint(found.model, made, out, seed=seed, **given)
        seconds = time.perf_counter() - started
    if saved is not None:
        made.save(saved)
    sizes = [path.stat().st_size for path in out.glob(f"model*{FILE}")]
    files = "1 file" if len(sizes) == 1 else f"{len(sizes)} files"
    size, speed = decimal(sum(sizes)), decimal(int(sum(sizes) / seconds))
    show(
        f"{out}: {files}, {size} in {seconds:.1f} s ({speed}/s)\n"
        f"seed {seed}, plan {made.digest}: {len(made)} tensors of {made.model}, recipe {recipe!r}\n"
        f"manifest {out / checkpoint.MANIFEST}\n"
    )
