"""dead-units: units that are zero for every sample

What it does
    Counts, after each function that cuts at zero, the units that are zero for every sample and
    every position of a batch of at least 32. A layer of which nothing is left, so that an output
    is the same for every sample, is an error; at least 70 % dead, or a dead branch, is a warning.
    Where what is read hardly differs between samples (after a global average, say), a unit is
    dead or alive by its sign alone, and only an output that does not vary counts.

Why it is bad
    A dead unit passes no signal and no gradient: the weights before it never move. A layer that
    is dead throughout makes the model a constant.

Example
    Negative weights on positive features before a ReLU; a large negative bias.

Use instead
    isometry.initialize(net, x, seed=0)     # symmetric weights, biases of zero
    a leaky activation where layers are narrow

References
    Lu et al. 2019, Dying ReLU and Initialization.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import number
from isometry.types import Finding, Measurement

CODE, NAME = "ISO401", "dead-units"
EXPLAINS = ("ISO103", "ISO3", "ISO901")
DOWNSTREAM = True

ALL, MOST = 1.0, 0.7
MANY = 16  # units, which are not all off by chance
ALIKE = 0.1  # samples that differ by less than this fraction of their rms die or live together


def check(reading: Reading) -> Iterator[Finding]:
    """The first layer that stops the signal; before it, those that are dead for the most part."""
    constant = any(m.std == 0.0 for m in reading.outputs)
    for m in reading.measurements.layers:
        if m.dead is None or m.dead < MOST:
            continue
        before = reading.source(reading.graph.nodes[m.node])
        if before is not None and before.q == 0:
            continue  # it reads zeros: what made them is to blame
        if m.dead >= ALL and constant:
            yield _finding(reading, m, before, "error")
            return
        apart = before is None or (before.std or 0.0) >= ALIKE * math.sqrt(before.q)
        if apart or (m.dead >= ALL and _units(m) >= MANY):
            yield _finding(reading, m, before, "warning")


def _units(m: Measurement) -> int:
    return m.shape[1] if len(m.shape) > 3 else m.shape[-1]


def _finding(
    reading: Reading, m: Measurement, before: Measurement | None, severity: str
) -> Finding:
    fn = m.op.removeprefix("pointwise:")
    names = (*reading.makers(m.node), *(reading.after(m.node) if severity == "error" else ()))
    cause = f"what {fn} reads is negative"
    if before is not None:
        cause += f": mean {number(before.mean)}, rms {number(math.sqrt(before.q))}"
    return Finding(
        CODE,
        NAME,
        severity,
        reading.named(m),
        f"{m.dead:.0%} of the units of {fn} are zero for all {m.samples} samples",
        cause,
        "iso.initialize(model, inputs, seed=0)",
        {"first": m.node, "last": m.node, "dead": m.dead or 0.0, "samples": m.samples},
        names,
        reading.shifts(names),
    )
