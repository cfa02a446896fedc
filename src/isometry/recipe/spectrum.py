"""The spread of the Jacobian's singular values that theory expects of a chain of orthogonal layers.

v is the relative variance of the squared nonzero singular values, r how many dimensions the signal
fills of the n it lies in. By free probability, layer by layer:

    a curved activation f         v + (r/n) (E[f'⁴]/E[f'²]² - 1)
    a projection to m < n, m >= r    v + (r/m) (1 - m/n)
    a projection to m < r            v m/r + (m/r) (1 - r/n),    and r = m

The first is Pennington, Schoenholz & Ganguli 2017, eq. 15, for orthogonal weights; the others are
the second cumulant of a compression and of two free projections (Nica & Speicher 2006, lectures 14
and 18).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from isometry.pointwise import Z
from isometry.recipe.base import Survey
from isometry.recipe.inner import Inner
from isometry.recipe.pairs import Hidden, Reading
from isometry.recipe.parity import difference, spread

__all__ = ["predicted_spread"]


def predicted_spread(
    survey: Survey,
    inner: Mapping[str, Inner],
    read: Mapping[str, tuple[Hidden, Reading]],
    point: Callable[[Hidden], float],
) -> float:
    """The relative standard deviation of the squared nonzero singular values."""
    total, rank, given = 0.0, 0, False
    for name in survey.usages:
        if name not in inner:
            continue
        m, n = inner[name].rows, inner[name].columns
        n += not inner[name].sees_mean and not given  # a mean that was there is taken off
        given = not inner[name].gives_mean
        hidden, reading = read.get(name, (None, None))
        r = min(n, rank * (reading.each if reading is not None else 1)) if rank else n
        if hidden is not None and reading is not None and reading.expression != Z:
            mirrored = hidden.kind == "mirrored"
            f = difference(reading.expression) if mirrored else reading.expression
            total += r / n * spread(f, point(hidden))
        kept = min(m, inner[name].columns)
        if kept < r:
            total = kept / r * (total + 1.0 - r / n)
        elif kept < n:
            total += r / kept * (1.0 - kept / n)
        rank = min(r, kept)
    return math.sqrt(total)
