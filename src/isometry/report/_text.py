"""How numbers, shapes and sentences are written, the same in every renderer."""

from __future__ import annotations

import math

__all__ = ["count", "number", "one_line", "printable", "shape"]


def number(value: float | None) -> str:
    """Three figures, in six columns or so: 0.412, 1.37e-05, nan; what was not measured is a dash."""
    if value is None:
        return "–"
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    if 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return f"{value:.1e}"


def shape(sizes: tuple[int, ...]) -> str:
    """(32, 256) as 32x256; a scalar as such."""
    return "x".join(map(str, sizes)) or "scalar"


def one_line(text: str) -> str:
    """The text without line breaks, so that a finding stays one line."""
    return " ".join(text.split())


def count(n: int, thing: str) -> str:
    """1 error, 2 errors."""
    return f"{n} {thing}{'s' * (n != 1)}"


def printable(name: str) -> str:
    """A name out of a file, whose characters a terminal must not obey.

    Example:
        >>> print(printable("a.weight"), printable("a" + chr(27)))
        a.weight a\\x1b
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)
