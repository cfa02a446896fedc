"""Standard output: how wide, in colour or not, and what happens when nobody reads on."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TypedDict

__all__ = ["Screen", "heading", "show", "wide"]

PIPED_WIDTH = 100


class Screen(TypedDict):
    """What a renderer is told about the place that its text goes to."""

    width: int
    color: bool


def wide() -> Screen:
    """The terminal's width and colour; 100 columns without colour where there is no terminal."""
    tty = sys.stdout.isatty()
    width = shutil.get_terminal_size((PIPED_WIDTH, 24)).columns if tty else PIPED_WIDTH
    color = tty and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    return Screen(width=max(width, 60), color=color)


def show(text: str) -> None:
    """Write to standard output; a reader that has left (`| head`) is no error."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # What Python would flush at exit has nowhere to go either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def heading(text: str, color: bool | None = None) -> str:
    """The text in bold where there is colour."""
    color = wide()["color"] if color is None else color
    return f"\x1b[1m{text}\x1b[0m" if color else text
