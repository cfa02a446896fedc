"""exploding-signal: the signal grows with depth, or overflows

What it does
    Compares the rms of the signal at the last and at the first pre-activation between two
    normalisations. A growth of more than 10 is a warning, of more than 1000, or to infinity or
    NaN, an error. Growth that a normalisation ends is no fault.

Why it is bad
    Outputs and losses start in the thousands, saturating activations have no slope left, the
    gradient overflows, and the first steps destroy the weights.

Example
    nn.init.normal_(layer.weight)       # std 1 where fan_in is 500: the signal × 16 a layer

Use instead
    isometry.initialize(net, x, seed=0)     # variance gain²/fan_in, or writers scaled by N^-1/2

References
    Glorot & Bengio 2010; He et al. 2015, section 2.2; Hanin & Rolnick 2018, for residual streams.
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.effects import (
    Effect,
    cause_of,
    rms,
    signal_effects,
)
from isometry.checker.first_layer import first_layers
from isometry.checker.paths import Segment
from isometry.checker.reading import Reading
from isometry.checker.wording import factor
from isometry.graph import Node
from isometry.types import Finding, Measurement

CODE, NAME = "ISO202", "exploding-signal"
EXPLAINS = ("ISO3", "ISO402", "ISO501", "ISO6", "ISO701", "ISO702")
DOWNSTREAM = True


def check(reading: Reading) -> Iterator[Finding]:
    """Signals that grow, and signals that overflow."""
    overflow = _overflow(reading)
    if overflow is not None:
        yield overflow
    seen: set[int] = set()
    for segment, effect in signal_effects(reading, rms):
        swamped = next((s for s in effect.steps if reading.shift_of(s)), None)
        shift = {} if swamped is None else reading.shift_of(swamped)
        negative = swamped is not None and swamped.measured.mean < 0
        if effect.effect <= 1 or "norm" in segment.end or negative:
            continue  # of a bias that makes all of it negative, what follows is found: ISO401, 402
        seen.add(segment.steps[0].measured.node)
        yield Finding(
            CODE,
            NAME,
            effect.severity,
            effect.where if swamped is None else swamped.measured.layer,
            f"signal {factor(effect.effect, effect.layers)}",
            f"{' and '.join(shift)} adds the same number to all of it"
            if shift
            else cause_of(reading, effect.steps),
            "iso.initialize(model, inputs, seed=0)",
            effect.data,
            tuple(shift) or reading.behind(effect.blamed),
            shift,
        )
    yield from first_layers(reading, CODE, NAME, _first, seen)


def _overflow(reading: Reading) -> Finding | None:
    """Where a value that is not finite first arises, of those that reach an output."""
    if reading.inputs_not_finite:
        return None  # and the report says so
    graph, at = reading.graph, reading.at
    start: Measurement | None = None
    seen: set[int] = set()
    stack = [p for v in graph.outputs.values() if (p := graph.producer(v)) is not None]
    while stack:
        node: Node = stack.pop()
        if node.index in seen:
            continue
        seen.add(node.index)
        measured = at.get(node.index)
        if measured is not None:
            if measured.nonfinite == 0:
                continue
            if start is None or measured.node < start.node:
                start = measured
        stack += [p for v in node.inputs if (p := graph.producer(v)) is not None]
    if start is None:
        return None
    before = [m for m in reading.measurements.layers if m.node < start.node and m.nonfinite == 0]
    largest = max((m.q for m in before), default=1.0) ** 0.5
    return Finding(
        CODE,
        NAME,
        "error",
        start.layer or "(model)",
        f"{start.nonfinite:.0%} of the outputs of {start.op} are infinite or NaN",
        f"the signal had grown to an rms of {largest:.2g} before it"
        if largest > 100
        else f"{start.op} of finite values is not finite",
        "iso.initialize(model, inputs, seed=0)",
        {"first": start.node, "last": len(graph.nodes), "nonfinite": start.nonfinite},
        _at_fault(reading, start, largest),
    )


def _at_fault(reading: Reading, start: Measurement, largest: float) -> tuple[str, ...]:
    """The weights of the layer that overflows, and those before it where the signal had grown."""
    own = reading.concerned(reading.weights_of(start.node))
    if own and largest < 100:
        return own
    before = reading.behind(s for path in reading.paths for s in path.steps)
    return tuple(dict.fromkeys((*before, *own)))


def _first(segment: Segment, effect: Effect) -> bool:
    """Does a first layer do it?"""
    return effect.effect > 1 and "norm" not in segment.end
