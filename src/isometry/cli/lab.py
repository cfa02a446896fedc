"""`isometry lab`: run the experiments, print what was claimed and what was found, write the page."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isometry import checkpoint
from isometry.cli.screen import heading, show, wide
from isometry.errors import ArgumentError

if TYPE_CHECKING:
    from isometry.lab.experiment import Experiment
    from isometry.lab.store import Watch

__all__ = ["lab"]


def lab(
    experiment: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[EXPERIMENT]...",
            help="Such as `glorot2010`; all of them where none is named. `--list` says which there "
            "are.",
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the figures as one page that needs no network."),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="The papers' sizes: hours. Without it an experiment takes a minute."
        ),
    ] = False,
    store: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Keep what is finished there: interrupted and typed again, the command goes on.",
        ),
    ] = None,
    list_: Annotated[bool, typer.Option("--list", help="Say which experiments there are.")] = False,
) -> None:
    """See what initialisation does: experiments with what theory expects and what came out.

    The exit status is 1 where a claim does not hold.

    **Examples**

    - `isometry lab --html lab.html`

    - `isometry lab zero-and-constant glorot2010 --html lab.html`

    - `isometry lab trainability-map --full --store cells`
    """
    from isometry.lab import page, text
    from isometry.lab.run import find_experiments, run_experiments

    chosen = find_experiments(experiment or ())
    if list_:
        show(_listed(chosen))
        raise typer.Exit(0)
    target = _page(html)
    if target is not None:
        page.render([])  # what it needs and is not installed is better said before an hour of work
    results = []
    with _progress(len(chosen)) as watch:
        for result in run_experiments(chosen, full=full, store=store, watch=watch):
            results.append(result)
            show(text.render(result, **wide()) + "\n\n")
    if target is not None:
        from isometry.types._files import write_whole

        write_whole(target, page.render(results), "the page")
        show(f"wrote {target}\n")
    held = [claim.holds for result in results for claim in result.claims]
    show(f"{sum(held)} of {len(held)} claims hold\n")
    raise typer.Exit(0 if all(held) else 1)


def _page(html: Path | None) -> Path | None:
    if html is not None and html.suffix != ".html":
        raise ArgumentError(f"--html {html}: expected a name that ends in .html, such as lab.html")
    return html and checkpoint.writable(html)


def _listed(experiments: tuple[Experiment, ...]) -> str:
    """Each experiment's name, what it is about, and where it comes from."""
    width = max(len(e.name) for e in experiments) + 2
    lines = []
    for e in experiments:
        name = f"{heading(e.name.replace('_', '-'))}{' ' * (width - len(e.name))}"
        indent = " " * width
        about = textwrap.wrap(e.title, wide()["width"] - width)
        source = textwrap.wrap(e.source, wide()["width"] - width)
        lines += [name + about[0], *(indent + line for line in (*about[1:], *source))]
    return "\n".join(lines) + "\n"


@contextmanager
def _progress(total: int) -> Iterator[Callable[[Experiment], Watch] | None]:
    """A bar for the experiments and a line for the cell in work, on a terminal's stderr alone."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[cell]}"),
        TimeElapsedColumn(), console=Console(stderr=True), transient=True,
        redirect_stdout=sys.stdout.isatty(),  # else what is piped would end up beside the bar
    )  # fmt: skip
    started = 0

    def watch(experiment: Experiment) -> Watch:
        nonlocal started
        started += 1
        name = f"{experiment.name.replace('_', '-')} ({started} of {total})"
        bar.update(task, description=name, completed=0, total=None, cell="")

        def told(key: str, done: int, expected: int | None) -> None:
            count = f"{done} of {expected}" if expected else f"{done} done"
            bar.update(task, completed=done, total=expected, cell=f"{count}, now {key}")

        return told

    with bar:
        task = bar.add_task("", total=None, cell="")
        yield watch
