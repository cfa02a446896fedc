"""large-head: a last layer that makes its outputs large

What it does
    Where no cross-entropy is known (ISO701 judges it there), looks at the last weight before an
    output: outputs whose std over samples is above 5, and more than 5 times what the head reads.
    Above 1000 it is an error.

Why it is bad
    Logits of std 10 are a model that is certain and wrong: their cross-entropy starts at 50 and not
    at ln C. An untied language model head drawn from N(0, 1), as nn.Embedding is, does it.

Example
    nn.init.normal_(lm_head.weight)

Use instead
    isometry.initialize(net, x, loss="cross_entropy")       # logits of variance 0.01

References
    huggingface/transformers pull request 26441; fastai/fastai pull request 2090.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.paths import Step
from isometry.checker.reading import Reading
from isometry.checker.wording import number
from isometry.types import Finding

CODE, NAME = "ISO702", "large-head"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False

LARGE, FAIL = 5.0, 1000.0


def check(reading: Reading) -> Iterator[Finding]:
    """Heads that blow up what they read."""
    if reading.measurements.classes is not None:
        return
    seen: set[str] = set()
    for path in reading.paths:
        head = path.items[-1] if path.items else None
        if not isinstance(head, Step) or head.kind != "weight" or head.weight is None:
            continue
        name, reads = head.weight.name, head.reads
        if name in seen or reads is None or reads.q <= 0 or name not in reading.parameters:
            continue
        size = head.spread  # a bias that holds a prior is no size
        grows = size / math.sqrt(reads.q)
        if size <= LARGE or grows <= LARGE or not math.isfinite(size):
            continue
        seen.add(name)
        yield Finding(
            CODE,
            NAME,
            "error" if size > FAIL else "warning",
            head.measured.layer,
            f"outputs of std {number(size)}, × {number(grows)} what the head reads",
            f"{name} is drawn from {reading.law(name)}",
            'iso.initialize(model, inputs, seed=0, loss="cross_entropy")  # if these are logits',
            {"first": head.measured.node, "last": head.measured.node, "effect": grows},
            reading.behind([head]),
        )
