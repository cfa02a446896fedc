"""scheme-mismatch: a named law under an activation that needs another gain

What it does
    Recognises the law of each weight by its moments (Glorot's, LeCun's, He's) and compares it with
    the gain that the activation before it needs. A remark where the gains that miss, and the signal
    itself, change by more than 3 over the layers between two normalisations. Beyond 10 it is a
    fault, and named as what it does: ISO201, ISO202.

Why it is bad
    Glorot's law is made for a slope of 1. Under ReLU it halves the second moment in every layer.
    In three layers nobody notices; in thirty the network does not train.

Example
    for layer in relu_net: nn.init.xavier_uniform_(layer.weight)

Use instead
    isometry.initialize(net, x, seed=0)     # each weight the gain of what it reads

References
    Glorot & Bengio 2010, equation 16; He et al. 2015, equation 10 and figure 3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.effects import SCALE
from isometry.checker.paths import Segment, Step
from isometry.checker.reading import Reading
from isometry.checker.wording import activation_gain, factor, law_of, stretch
from isometry.types import Finding

CODE, NAME = "ISO601", "scheme-mismatch"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False

REMARK = 3.0
NAMED = ("Glorot", "LeCun", "He")
AGREES = 0.9, 1.1  # of the std found to the std needed


def check(reading: Reading) -> Iterator[Finding]:
    """For each segment, what its named laws do together."""
    seen: set[int] = set()
    for path in reading.paths:
        for segment in path.segments(*SCALE):
            if "norm" in segment.end:
                continue
            finding = _judge(reading, segment)
            if finding is not None and finding.data["first"] not in seen:
                seen.add(int(finding.data["first"]))
                yield finding


def _judge(reading: Reading, segment: Segment) -> Finding | None:
    wrong: list[tuple[Step, float, str]] = []
    for step in segment.body:
        found = _excess(reading, step)
        if found is not None:
            wrong.append((step, *found))
    if not wrong:
        return None
    missed = math.prod(excess for _, excess, _ in wrong)
    steps = [step for step, _, _ in wrong]
    before, after = segment.steps[0].spread, steps[-1].spread
    if before <= 0 or not math.isfinite(after):
        return None
    effect = after / before
    small = max(missed, effect) < 1 / REMARK
    if not small and not min(missed, effect) > REMARK:
        return None  # a bounded activation, or one with a fixed point, takes the excess back
    law, fn = wrong[0][2], steps[0].fn
    return Finding(
        CODE,
        NAME,
        "info",
        stretch([s.measured.layer for s in steps]),
        f"signal {factor(effect, len(steps))}",
        f"{law}, under {fn}, which needs a gain of {activation_gain(fn):.3g}",
        "iso.initialize(model, inputs, seed=0)",
        {
            "effect": effect,
            "missed": missed,
            "layers": len(steps),
            "first": steps[0].measured.node,
            "last": steps[-1].measured.node,
        },
        reading.behind(steps),
    )


def _excess(reading: Reading, step: Step) -> tuple[float, str] | None:
    """The std of a weight under a known activation over the std needed, and its law's name; None
    where it agrees, or where the law is none of those that people choose by name."""
    name = step.weight.name if step.weight is not None else ""
    parameter, usage = reading.parameters.get(name), reading.usages.get(name)
    needed = activation_gain(step.fn)
    if parameter is None or usage is None or usage.fans is None or not needed or step.fn is None:
        return None
    law = law_of(parameter, usage.fans)
    if not law.startswith(NAMED):
        return None
    excess = math.sqrt(parameter.q * usage.fans.fan_in) / needed
    return None if AGREES[0] < excess < AGREES[1] or excess == 0 else (excess, law)
