"""A result as text: each claim with what was expected, what was measured, and the verdict."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from isometry.lab.experiment import EXPERIMENTS, Claim, Result

__all__ = ["duration", "render", "tally"]

GREEN, RED, BOLD, PLAIN = "\x1b[32m", "\x1b[31m", "\x1b[1m", "\x1b[0m"


def render(result: Result, width: int = 100, color: bool = False) -> str:
    """What was asked, whether the claims hold, then three lines a claim. No newline at the end.

    Example:
        >>> print(render(Result((Claim("2 + 2", "4", "4.0", True),), (), {}, "sums", seconds=3)))
        ✓ sums
          The claim holds (3 s).
          ✓ 2 + 2
              expected  4
              measured  4.0
    """
    known = EXPERIMENTS.get(result.name)
    head = f"{result.name}: {known.title}" if known else result.name
    told = tally(result)
    lines = [
        _marked(result.holds, head, width, color, bold=True),
        f"  {told[0].upper()}{told[1:]} ({duration(result.seconds)}).",
    ]
    for claim in result.claims:
        lines += _claim(claim, width, color)
    return "\n".join(lines)


def tally(result: Result) -> str:
    """How many of the claims hold, in words."""
    held, count = sum(claim.holds for claim in result.claims), len(result.claims)
    if count == 1:
        return "the claim holds" if held else "the claim does not hold"
    return f"all {count} claims hold" if held == count else f"{held} of {count} claims hold"


def duration(seconds: float) -> str:
    """3 s, 2 min, 1.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _claim(claim: Claim, width: int, color: bool) -> Iterator[str]:
    yield textwrap.indent(_marked(claim.holds, claim.what, width - 2, color), "  ")
    for label, text in (("expected", claim.expected), ("measured", claim.measured)):
        yield textwrap.fill(
            text, width, initial_indent=f"      {label}  ", subsequent_indent=" " * 16
        )


def _marked(holds: bool, text: str, width: int, color: bool, bold: bool = False) -> str:
    """The text behind a tick or a cross."""
    mark = "✓" if holds else "✗"
    body = textwrap.fill(text, width - 2, subsequent_indent="  ")
    if not color:
        return f"{mark} {body}"
    return f"{GREEN if holds else RED}{mark}{PLAIN} {f'{BOLD}{body}{PLAIN}' if bold else body}"
