"""`isometry check`: measure, judge, print the verdict in the format that its reader takes."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

import isometry
from isometry import checkpoint, config
from isometry.cli import mend
from isometry.cli.options import InputOption, LossOption, SeedOption, TargetArgument, loaded
from isometry.cli.screen import show, wide
from isometry.errors import ArgumentError
from isometry.types import Location, Report

__all__ = ["Format", "check"]

JUDGING, WRITING, MENDING = "What is judged", "What is printed and written", "Mending"


class Format(enum.StrEnum):
    """What `check` prints; each is a renderer of `isometry.report`."""

    full = "full"
    concise = "concise"
    json = "json"
    junit = "junit"
    sarif = "sarif"
    github = "github"


RENDERERS = {Format.full: "terminal", Format.json: "json_"}  # the rest is called what it writes


def check(
    where: TargetArgument,
    input: InputOption = [],  # noqa: B006
    loss: LossOption = None,
    seed: SeedOption = 0,
    seeds: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Where TARGET is a function: how many further builds of it are judged, so that "
            "what hangs on the seed is said as such. 20 where nothing is given, fewer where the "
            "model is large; 0 for none.",
            show_default=False,
            rich_help_panel=JUDGING,
        ),
    ] = None,
    select: Annotated[
        list[str],
        typer.Option(
            metavar="CODE",
            help="Only rules whose code begins so, such as `ISO2`. Repeatable; in place of what "
            "pyproject.toml selects.",
            rich_help_panel=JUDGING,
        ),
    ] = [],  # noqa: B006
    ignore: Annotated[
        list[str],
        typer.Option(
            metavar="CODE[:PATTERN]",
            help="No rule whose code begins so; with a pattern, such as `ISO401:blocks.3.*`, only "
            "for the layers that match. Repeatable; added to what pyproject.toml ignores.",
            rich_help_panel=JUDGING,
        ),
    ] = [],  # noqa: B006
    jacobian: Annotated[
        bool,
        typer.Option(
            "--jacobian",
            help="Also the singular values of the whole model, from its first input to its first "
            "output: a backward pass for each number of the output, up to 256 of them.",
            rich_help_panel=JUDGING,
        ),
    ] = False,
    no_config: Annotated[
        bool,
        typer.Option(
            "--no-config",
            help="Do not read `[tool.isometry]` of pyproject.toml.",
            rich_help_panel=JUDGING,
        ),
    ] = False,
    output_format: Annotated[
        Format,
        typer.Option(
            "--output-format",
            "-f",
            metavar="FORMAT",
            help="`full` for a person, `concise` for grep (a line a finding), `json` (see "
            "docs/schema), `junit` (XML), `sarif` (code scanning), `github` (annotations).",
            rich_help_panel=WRITING,
        ),
    ] = Format.full,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the report as one HTML page as well.",
            rich_help_panel=WRITING,
        ),
    ] = None,
    fix: Annotated[
        bool,
        typer.Option(
            "--fix",
            help="Draw the parameters that the findings concern anew, and no others; check again; "
            "write the weights to `--out`.",
            rich_help_panel=MENDING,
        ),
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Where `--fix` writes the weights: safetensors.",
            rich_help_panel=MENDING,
        ),
    ] = None,
) -> None:
    """Measure a model at initialisation and say what is wrong, with a number, a cause and a fix.

    One forward and one backward on a batch, and for further builds where TARGET is a function.
    The exit status is 1 where a finding is an error, after the fix if one was asked for;
    `isometry rule CODE` explains a finding.

    **Examples**

    - `isometry check train.py:make_model --input 32x64`

    - `isometry check train.py:model --select ISO2 --select ISO3 --ignore 'ISO201:stem.*'`

    - `isometry check mypackage.nets:ResNet --input 8x3x64x64 -f json | jq .ok`

    - `isometry check train.py:make_model -i 32x64 -f sarif --html report.html > check.sarif`

    - `isometry check train.py:make_model -i 32x64 --fix --out model.safetensors`
    """
    page, weights = _page(html), _weights(fix, out)
    settings = config.Config() if no_config else config.load()
    with redirect_stdout(sys.stderr):  # a model that prints must not spoil what is piped
        found, batch = loaded(where, input, seed)
        if seeds and found.build is None:
            raise ArgumentError(
                f"--seeds {seeds}, and {where} is a model that is there already; expected a "
                "function that builds it, such as train.py:make_model"
            )

        def judge(build: Callable[[], Any] | None) -> Report:
            report = isometry.check(
                found.model, batch, loss=loss, build=build, seeds=seeds,
                select=select or settings.select, ignore=(*settings.ignore, *ignore),
                jacobian=jacobian,
            )  # fmt: skip
            return _placed(report, found.location)

        report = judge(found.build)
        mended = mend.mended(found, report, judge, seed) if weights else None
        after = mended.after if mended else report
        if mended and mended.plan and weights:
            mend.write(found.model, mended.plan, seed, weights)
    if page is not None:
        after.save(page)
    if mended and weights:
        mend.tell(mended, seed, weights, full=output_format is Format.full)
    if not (mended and mended.plan and output_format is Format.full):
        _print(after, output_format)
    raise typer.Exit(0 if after.ok else 1)


def _page(html: Path | None) -> Path | None:
    if html is not None and html.suffix != ".html":
        raise ArgumentError(
            f"--html {html}: expected a name that ends in .html, such as report.html"
        )
    return html and checkpoint.writable(html)


def _weights(fix: bool, out: Path | None) -> Path | None:
    """Where the mended weights go: both options, or neither."""
    if fix and out is None:
        raise ArgumentError(
            "--fix without --out: say where the mended weights go, such as "
            "--fix --out model.safetensors"
        )
    if out is not None and not fix:
        raise ArgumentError(
            f"--out {out} without --fix: a check writes no weights; type --fix --out {out} to mend "
            "the model and write it, or use isometry init"
        )
    return out and checkpoint.writable(out)


def _placed(report: Report, target: Location | None) -> Report:
    """The report, with TARGET's line where a finding has none of its own."""
    findings = (replace(f, location=f.location or target) for f in report.findings)
    return replace(report, findings=tuple(findings))


def _print(report: Report, output_format: Format) -> None:
    renderer = import_module(f"isometry.report.{RENDERERS.get(output_format, output_format)}")
    if output_format is Format.full:
        show(renderer.render(report, **wide()))
    else:
        show(renderer.render(report) + "\n")
