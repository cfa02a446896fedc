"""initial-loss: a cross-entropy that starts above ln C

What it does
    Compares the cross-entropy at initialisation with ln C, what a model that knows nothing and
    claims nothing scores. An excess of 10 % and of 0.5 is a warning (logits of std above 1), of
    50 % and of 1 an error.

Why it is bad
    The model is confident and wrong. The first steps only shrink the logits, at a learning rate
    that must be small for it, and the features get a gradient that is of no use.

Example
    A language model's head drawn from N(0, 1) at width 512: a loss of 110 against ln 50257 = 10.8.

Use instead
    isometry.initialize(net, x, loss="cross_entropy")       # a small head: a loss of ln C

References
    Karpathy, A Recipe for Training Neural Networks (2019): "verify loss @ init".
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.paths import Step
from isometry.checker.reading import Reading
from isometry.checker.wording import number
from isometry.types import Finding

CODE, NAME = "ISO701", "initial-loss"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False


def check(reading: Reading) -> Iterator[Finding]:
    """The initial loss against ln C, where it is a cross-entropy."""
    loss, classes = reading.measurements.loss, reading.measurements.classes
    if loss is None or classes is None or classes < 2 or reading.loss_not_finite:
        return
    fair = math.log(classes)
    excess = loss - fair if math.isfinite(loss) else math.inf
    if excess <= max(0.1 * fair, 0.5):
        return
    head = _head(reading)
    node = len(reading.graph.nodes) if head is None else head.measured.node
    logits = "" if head is None else f": logits of rms {number(math.sqrt(head.measured.q))}"
    yield Finding(
        CODE,
        NAME,
        "error" if excess > max(0.5 * fair, 1.0) and head is not None else "warning",
        "(model)" if head is None else head.measured.layer,
        f"initial loss {number(loss)} against ln {classes} = {fair:.2f}{logits}",
        _cause(reading, head),
        'iso.initialize(model, inputs, seed=0, loss="cross_entropy")',
        {"first": node, "last": node, "loss": loss, "fair": fair},
        () if head is None else reading.behind([head]),
    )


def _head(reading: Reading) -> Step | None:
    """The last weight before the logits."""
    paths = sorted(reading.paths, key=lambda p: p.output != "logits")
    for path in paths[:1]:
        for item in reversed(path.items):
            if item == "norm":  # no scale of a weight before it matters
                return None
            if isinstance(item, Step) and item.kind == "weight":
                return item
    return None


def _cause(reading: Reading, head: Step | None) -> str:
    if head is None or head.weight is None or head.weight.name not in reading.parameters:
        return "the logits are too large"
    law = reading.law(head.weight.name)
    reads = head.reads
    what = "" if reads is None else f" and reads a signal of rms {number(math.sqrt(reads.q))}"
    return f"{head.weight.name} is drawn from {law}{what}"
