"""saturated-units: outputs of tanh, sigmoid or softmax in the flat part

What it does
    Measures the fraction of outputs in the flat part of tanh (beyond ±0.97) and of sigmoid
    (pre-activation beyond ±5), and of a softmax's distributions those that give more than 0.97 to
    one. A quarter is a warning, half an error.

Why it is bad
    There the slope is below 6 % (tanh) and 0.7 % (sigmoid) of what it can be: next to no gradient
    passes, and the units stay where chance has put them.

Example
    nn.init.normal_(layer.weight)       # std 1 on 784 inputs: pre-activations of std 28

Use instead
    isometry.initialize(net, x, seed=0)     # pre-activations of std 1

References
    LeCun et al. 1998, section 4.5; Glorot & Bengio 2010, section 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import number, stretch
from isometry.types import Finding, Measurement

CODE, NAME = "ISO402", "saturated-units"
EXPLAINS = ("ISO301", "ISO302", "ISO501")
DOWNSTREAM = False

SOME, MOST = 0.25, 0.5
MASKED = 1e8  # a mean square that only a mask of large negative numbers has
SHIFTED = 3.0  # standard deviations between zero and the mean: then it is no matter of scale


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all layers that are saturated."""
    flat = [m for m in reading.measurements.layers if (m.saturated or 0.0) > SOME]
    flat = [m for m in flat if not _masked(reading, m)]
    if not flat:
        return
    worst = max(flat, key=lambda m: m.saturated or 0.0)
    share = worst.saturated or 0.0
    fn = worst.op.removeprefix("pointwise:")
    before = reading.source(reading.graph.nodes[worst.node])
    reads = "" if before is None else f" reads values of rms {number(before.q**0.5)}"
    shifted = before is not None and abs(before.mean) > SHIFTED * (before.std or math.inf)
    if before is not None and shifted:
        reads = f" reads values of mean {number(before.mean)}: its bias does it"
    names = tuple(dict.fromkeys(n for m in flat for n in reading.makers(m.node)))
    yield Finding(
        CODE,
        NAME,
        "error" if share > MOST else "warning",
        stretch([reading.named(m) for m in flat]),
        f"{share:.0%} of the outputs of {fn} lie in its flat part"
        + (f" ({len(flat)} layers above {SOME:.0%})" if len(flat) > 1 else ""),
        f"{fn}{reads}" + ("" if shifted else _law(reading, before)),
        "iso.initialize(model, inputs, seed=0)",
        {"first": flat[0].node, "last": flat[-1].node, "saturated": share},
        names,
        reading.shifts(names) if shifted else {},
    )


def _masked(reading: Reading, m: Measurement) -> bool:
    """Does it read infinities? Those were put there, by a mask, to get an exact zero."""
    before = reading.source(reading.graph.nodes[m.node])
    return before is not None and (before.nonfinite > 0 or before.q > MASKED)


def _law(reading: Reading, before: Measurement | None) -> str:
    """The law of the weight that made what an activation reads."""
    if before is None:
        return ""
    makers = [n for n in reading.weights_of(before.node) if n in reading.parameters]
    return f"; its weights are drawn from {reading.law(makers[0])}" if makers else ""
