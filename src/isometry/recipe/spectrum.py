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
from collections.abc import Callable, Mapping, Sequence

from isometry.pointwise import Z
from isometry.recipe.base import Survey
from isometry.recipe.inner import Inner
from isometry.recipe.pairs import Hidden, Reading
from isometry.recipe.parity import difference, spread
from isometry.recipe.silent import Silence

__all__ = ["is_chain", "predicted_spread"]


def is_chain(
    survey: Survey,
    live: set[int],
    silence: Silence,
    inner: Mapping[str, Inner],
) -> bool:
    """Is all that an output hears a chain of orthogonal matrices, with activations that pass on what
    the one before has written, and sums whose other side is silent? Only of that the theory speaks."""
    graph = survey.graph
    matrices = {
        u.node.index: n for n, u in survey.usages.items() if u.node is not None and n in inner
    }
    biases = {
        u.node.index for u in survey.usages.values() if u.role == "bias" and u.node is not None
    }
    written: dict[int, str] = {}  # value -> the matrix that wrote it, through biases and functions
    for index in sorted(live):
        node = graph.nodes[index]
        if node.output in survey.weights:
            continue
        signals = [k for k, v in enumerate(node.inputs) if v not in survey.weights]
        sources = {written.get(node.inputs[k]) for k in signals}
        if any(node.parts[k].ranges for k in signals):
            return False
        if index in matrices:
            written[node.output] = matrices[index]
        elif index in biases or node.op == "pointwise" or (node.op == "mul" and len(sources) == 1):
            (source,) = sources if len(sources) == 1 else (None,)
            linear = index in biases
            if not linear and source is None:
                return False
            if source is not None:
                written[node.output] = source
        elif index not in silence.additions:
            return False
    return bool(written)


def predicted_spread(
    chain: Sequence[tuple[str, Inner]],
    read: Mapping[str, tuple[Hidden, Reading]],
    point: Callable[[Hidden], float],
) -> float:
    """The relative standard deviation of the squared nonzero singular values."""
    total, rank, given = 0.0, 0, False
    for name, inner in chain:
        m, n = inner.rows, inner.columns
        n += not inner.sees_mean and not given  # a mean that was there is taken off
        given = not inner.gives_mean
        hidden, reading = read.get(name, (None, None))
        r = min(n, rank * (reading.each if reading is not None else 1)) if rank else n
        if hidden is not None and reading is not None and reading.expression != Z:
            mirrored = hidden.kind == "mirrored"
            f = difference(reading.expression) if mirrored else reading.expression
            total += r / n * spread(f, point(hidden))
        kept = min(m, inner.columns)
        if kept < r:
            total = kept / r * (total + 1.0 - r / n)
        elif kept < n:
            total += r / kept * (1.0 - kept / n)
        rank = min(r, kept)
    return math.sqrt(total)
