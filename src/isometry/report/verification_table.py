"""A checkpoint compared with its manifest, as a person reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from isometry.report._console import to_text
from isometry.report._text import printable, shape
from isometry.types import Verification, Verified

__all__ = ["render"]

ROWS = 20  # of a table


def render(found: Verification, what: str, width: int = 100, color: bool = False) -> str:
    """The verdict, then what is not as it was; where most is not, also what is.

    Args:
        found: what `Manifest.verify` returned.
        what: the checkpoint was compared with, in a line.
        width: columns.
        color: write the terminal's colour codes.

    Returns:
        The text, which ends in a newline.
    """
    initial = [t for t in found.tensors if t.state == "initial"]
    mark, style = ("✓", "bold green") if found.ok else ("✗", "bold red")
    held = f"all {len(initial):,}" if found.ok else f"{len(initial):,} of {len(found.tensors):,}"
    parts: list[RenderableType] = [
        Text(f"{mark} {held} tensors of {found.checkpoint} hold their initial bits", style=style),
        Text(what, style="dim"),
        *_table("not as they were", found.others),
        *_table("as they were, rounded", [t for t in initial if t.detail]),
    ]
    if len(initial) < len(found.others):
        parts += _table("as they were", [t for t in initial if not t.detail])
    if not initial:
        parts.append("nothing is as it was: is this the manifest of another model or seed?")
    return to_text(parts, width, color)


def _table(title: str, tensors: Sequence[Verified]) -> Iterator[RenderableType]:
    """A title, the first tensors, and how many more there are; nothing where there are none."""
    if not tensors:
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column("tensor", overflow="fold", max_width=48)
    table.add_column("shape", no_wrap=True, style="dim")
    table.add_column("state", no_wrap=True)
    table.add_column("", overflow="fold")
    for tensor in tensors[:ROWS]:
        table.add_row(
            Text(printable(tensor.name)), shape(tensor.shape), tensor.state, Text(tensor.detail)
        )
    yield ""
    yield Text(f"{title}: {len(tensors):,}", style="bold")
    yield table
    if len(tensors) > ROWS:
        yield f"... and {len(tensors) - ROWS:,} more: --output-format concise lists them all"
