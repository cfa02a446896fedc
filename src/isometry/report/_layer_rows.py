"""The rows of the page's table of layers: only the columns that have something to say."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from isometry.report._text import number, shape
from isometry.types import Measurement

__all__ = ["COLUMNS", "Column", "columns", "gradient", "mean_square", "thinned"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers: its head, what it means, and the cell of a measurement."""

    head: str
    about: str
    cell: Callable[[Measurement], str]
    needed: Callable[[Measurement], object]  # false for all rows: the column is left out
    kind: str = "number"


def mean_square(m: Measurement) -> float:
    """q, which is taken over what is finite; nan where nothing is."""
    return math.nan if m.nonfinite >= 1 else m.q


def gradient(m: Measurement) -> float | None:
    """The second moment of the gradient; nan where none of it is finite."""
    return math.nan if m.grad_nonfinite >= 1 else m.grad


def _share(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.3g} %" if value else "0"


COLUMNS = (
    Column("operation", "what is computed", lambda m: m.op.removeprefix("pointwise:"),
           lambda m: True, "text"),
    Column("output", "shape of the output", lambda m: shape(m.shape), lambda m: True, "size"),
    Column("q", "mean square of the output", lambda m: number(mean_square(m)), lambda m: True),
    Column("q predicted", "the mean square that theory expects from the weights",
           lambda m: number(m.predicted), lambda m: m.predicted is not None),
    Column("c", "mean cosine between samples", lambda m: number(m.c), lambda m: m.c is not None),
    Column("c predicted", "the cosine that theory expects",
           lambda m: number(m.predicted_c), lambda m: m.predicted_c is not None),
    Column("std", "root mean square of what differs between samples",
           lambda m: number(m.std), lambda m: m.std is not None),
    Column("grad²", "second moment of the gradient at the output",
           lambda m: number(gradient(m)), lambda m: m.grad is not None),
    Column("grad² predicted", "the same by theory, from that at the output of the model",
           lambda m: number(m.predicted_grad), lambda m: m.predicted_grad is not None),
    Column("tokens", "what tells the tokens of one sample apart, over the root mean square",
           lambda m: number(m.tokens), lambda m: m.tokens is not None),
    Column("zeros", "share of the output that is exactly 0",
           lambda m: _share(m.zeros), lambda m: m.zeros),
    Column("dead", "share of units that are 0 for every sample",
           lambda m: _share(m.dead), lambda m: m.dead),
    Column("saturated", "share in the flat part of a bounded activation",
           lambda m: _share(m.saturated), lambda m: m.saturated),
    Column("not finite", "share of the output that is inf or NaN",
           lambda m: _share(m.nonfinite), lambda m: m.nonfinite),
)  # fmt: skip


def columns(layers: Sequence[Measurement]) -> list[Column]:
    """The columns in which any of the layers has a value."""
    return [c for c in COLUMNS if any(c.needed(m) for m in layers)]


def thinned(
    layers: Sequence[Measurement], kept: Iterable[int], most: int
) -> tuple[Measurement, ...]:
    """At most about `most` of the layers: those in `kept` (by row), and others evenly.

    Example:
        >>> layers = [Measurement(str(i), "linear", i, (1,), 1, 0.0, 1.0) for i in range(10)]
        >>> [m.node for m in thinned(layers, [7], 5)]
        [0, 2, 4, 6, 7, 8, 9]
    """
    if len(layers) <= most:
        return tuple(layers)
    step = -(-len(layers) // most)
    rows = {*list(kept)[:most], *range(0, len(layers), step), len(layers) - 1}
    return tuple(layers[row] for row in sorted(rows))
