"""Histograms of the layers that matter most: where findings start, else the most extreme."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from isometry.checker.reading import Reading
from isometry.types import Finding, Histogram, Measurement

__all__ = ["histograms"]

MOST = 6  # of outputs, and as many of parameters
BINS = 24


def histograms(reading: Reading, findings: Sequence[Finding]) -> tuple[Histogram, ...]:
    """Outputs where findings start and end, and the parameters concerned; without findings the
    outputs farthest from a mean square of 1."""
    values = reading.measurements.values
    nodes = [int(f.data[key]) for f in findings for key in ("first", "last") if key in f.data]
    shown = _outputs(reading, nodes)
    names = [n for f in findings for n in f.parameters[:1]]
    names += [w for m in shown for w in reading.weights_of(m.node)]
    asked: list[tuple[str, str, str, Sequence[float]]] = [
        (m.layer, "output", m.op.removeprefix("pointwise:"), values.get(m.node, ())) for m in shown
    ]
    asked += [
        (reading.layer(n), "weight", n, values.get(n, ()))
        for n in list(dict.fromkeys(names))[:MOST]
    ]
    return tuple(
        Histogram(layer, what, name, *counted)
        for layer, what, name, drawn in asked
        if (counted := _counted(drawn)) is not None
    )


def _outputs(reading: Reading, nodes: Iterable[int]) -> list[Measurement]:
    chosen = [reading.at[n] for n in dict.fromkeys(nodes) if n in reading.at]
    if not chosen:
        seen = [m for m in reading.measurements.layers if m.q > 0 and math.isfinite(m.q)]
        chosen = sorted(seen, key=lambda m: (-abs(math.log(m.q)), m.node))
    return sorted(chosen[:MOST], key=lambda m: m.node)


def _counted(values: Sequence[float]) -> tuple[tuple[float, ...], tuple[int, ...]] | None:
    x = np.asarray(values, dtype=np.float64)
    x = x[np.isfinite(x)]
    if x.size < 2:
        return None
    low, high = float(x.min()), float(x.max())
    if not high - low > 1e-12 * max(abs(low), abs(high)):  # one value: a bin of its own
        width = abs(low) or 1.0
        low, high = low - width / 2, high + width / 2
    counts, edges = np.histogram(x, bins=BINS, range=(low, high))
    return tuple(map(float, edges)), tuple(map(int, counts))
