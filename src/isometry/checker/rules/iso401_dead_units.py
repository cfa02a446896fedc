"""dead-units

What it does
    Counts, after each function that cuts at zero, the units that are zero for every sample and
    every position of a batch of at least 32. A layer of which nothing is left is an error; one
    of which at least 70 % is dead although its samples differ is a warning.

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
from isometry.types import Finding, Measurement

CODE, NAME = "ISO401", "dead-units"
EXPLAINS = ("ISO103", "ISO3", "ISO901")
DOWNSTREAM = True

ALL, MOST = 1.0, 0.7
ALIKE = 0.1  # samples that differ by less than this fraction of their rms die or live together


def check(reading: Reading) -> Iterator[Finding]:
    """The first layer that is dead throughout; before it, those that are so for the most part."""
    for m in reading.measurements.layers:
        if m.dead is None or m.dead < MOST:
            continue
        before = reading.source(reading.graph.nodes[m.node])
        if before is not None and before.q == 0:
            continue  # zero because what it reads is: a zero weight, which ISO103 judges
        alike = before is not None and (before.std or 0.0) < ALIKE * math.sqrt(before.q)
        if m.dead < ALL and alike:
            continue
        yield _finding(m, before)
        if m.dead >= ALL:
            return


def _finding(m: Measurement, before: Measurement | None) -> Finding:
    fn = m.op.removeprefix("pointwise:")
    cause = f"what {fn} reads is negative"
    if before is not None:
        cause += f": mean {before.mean:.2g}, rms {math.sqrt(before.q):.2g}"
    return Finding(
        CODE,
        NAME,
        "error" if m.dead == ALL else "warning",
        m.layer or "(model)",
        f"{m.dead:.0%} of the units of {fn} are zero for all {m.samples} samples",
        cause,
        "iso.initialize(model, inputs, seed=0)",
        {"first": m.node, "last": m.node, "dead": m.dead or 0.0, "samples": m.samples},
    )
