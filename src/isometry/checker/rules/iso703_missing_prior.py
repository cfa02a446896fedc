"""missing-prior: rare ones in the target, and a bias that does not know it

What it does
    Where the target consists of zeros and ones of which one kind is rare (below 5 %), compares the
    probability that the model claims at the start with their share. A claim 5 times the share, with
    twice the loss that claiming the share would cost, is a warning.

Why it is bad
    A dense detection head sees ten thousand negatives for each positive. Starting at 1/2, the loss
    is that of the negatives alone, and the first steps, or the first divergence, are spent on one
    number: the bias.

Example
    nn.Conv2d(256, anchors * classes, 3) followed by a sigmoid, its bias zero

Use instead
    nn.init.constant_(head.bias, math.log(prior / (1 - prior)))     # -4.6 for one in a hundred

References
    Lin et al. 2017, Focal Loss for Dense Object Detection, section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.paths import Step
from isometry.checker.reading import Reading
from isometry.checker.wording import number
from isometry.types import Constant, Finding

CODE, NAME = "ISO703", "missing-prior"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False

RARE, CLAIM, EXCESS = 0.05, 5.0, 2.0


def check(reading: Reading) -> Iterator[Finding]:
    """The share of ones in the target against what the model claims."""
    prior, claimed = reading.measurements.prior, reading.measurements.claimed
    if prior is None or claimed is None or not 0 < prior < 1 or not 0 < claimed < 1:
        return
    rare, claim = (prior, claimed) if prior < 0.5 else (1 - prior, 1 - claimed)
    if rare >= RARE or claim <= CLAIM * rare:
        return
    least, loss = _entropy(prior, prior), _entropy(prior, claimed)
    if loss <= EXCESS * least:
        return
    head = _head(reading)
    name = head.weight.name if head is not None and head.weight is not None else ""
    bias = _bias(reading, name)
    value = math.log(prior / (1 - prior))
    yield Finding(
        CODE,
        NAME,
        "warning",
        "(model)" if head is None else head.measured.layer,
        f"{number(100 * prior)} % of the target is one, the model claims {number(100 * claimed)} %: "
        f"a loss of {number(loss)} where {number(least)} can be had",
        "the head's bias does not hold the log odds of the prior"
        if bias is not None
        else "the head has no bias to hold the log odds of the prior",
        f"nn.init.constant_(model.get_parameter({bias!r}), {value:.2f})"
        if bias is not None
        else f"give the head a bias of {value:.2f}",
        {
            "first": len(reading.graph.nodes) if head is None else head.measured.node,
            "last": len(reading.graph.nodes) if head is None else head.measured.node,
            "prior": prior,
            "claimed": claimed,
        },
        () if bias is None else (bias,),
        {} if bias is None else {bias: Constant(value)},
    )


def _entropy(prior: float, claimed: float) -> float:
    """The cross-entropy of a coin of bias `prior`, claimed to have another."""
    return -prior * math.log(claimed) - (1 - prior) * math.log1p(-claimed)


def _head(reading: Reading) -> Step | None:
    for path in reading.paths[:1]:
        return next((s for s in reversed(path.steps) if s.kind == "weight"), None)
    return None


def _bias(reading: Reading, weight: str) -> str | None:
    """The bias beside a weight: added to what it makes."""
    for name, usage in reading.usages.items():
        if usage.role == "bias" and usage.partner is not None and usage.partner.name == weight:
            return name
    return None
