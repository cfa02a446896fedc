"""Rich to text, so that what is written depends on the arguments alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable

from rich.console import Console, RenderableType

__all__ = ["to_text"]


def to_text(parts: Iterable[RenderableType], width: int, color: bool) -> str:
    """The parts one below the other, no trailing blanks, one empty line at most, with a newline at the end."""
    out = io.StringIO()
    console = Console(
        file=out,
        width=width,
        force_terminal=color,
        color_system="standard" if color else None,
        highlight=False,
        emoji=False,
        legacy_windows=False,
        _environ={},
    )
    for part in parts:
        console.print(part)
    text = "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"
    return re.sub(r"\n{3,}", "\n\n", text)  # a table brings blank lines of its own
