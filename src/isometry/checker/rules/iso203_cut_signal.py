"""cut-signal: a zero layer on the only way to the output

What it does
    Looks for a hidden layer on the way from the input to the output whose weights are zero, and
    which starts to move within three steps: behind it, all samples look alike.

Why it is bad
    The model's output does not depend on its input, and the layers before the cut get no gradient
    until the zero has moved. A zero in a branch, beside which the signal goes on, is fine, and so
    is a zero head; zeros that never move are ISO103.

Example
    nn.init.zeros_(net[0].weight)       # the biases keep the signal's size up, and hide it

Use instead
    isometry.initialize(net, x, seed=0, overrides={"0.weight": iso.Normal(std=fan_in ** -0.5)})

References
    Zhang et al. 2019, Fixup: zero the last layer of a residual branch, never the path itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.paths import Path, Step
from isometry.checker.reading import Reading
from isometry.checker.wording import activation_gain, number
from isometry.types import Finding, Normal

CODE, NAME = "ISO203", "cut-signal"
EXPLAINS = ("ISO3", "ISO4", "ISO5", "ISO6", "ISO901")
DOWNSTREAM = False


def check(reading: Reading) -> Iterator[Finding]:
    """The first zero weight of each path that is not its last weight."""
    seen: set[str] = set()
    for path in reading.paths:
        step = _cut(reading, path)
        if step is None or step.weight is None or step.weight.name in seen:
            continue
        name = step.weight.name
        seen.add(name)
        fans = reading.usages[name].fans
        std = (activation_gain(step.fn) or 1.0) / math.sqrt(fans.fan_in if fans else 1.0)
        moves = reading.parameters[name].moves_at
        yield Finding(
            CODE,
            NAME,
            "warning",
            step.measured.layer,
            "what it gives is the same for every sample"
            + (f" until it moves, at step {moves}" if moves else ""),
            f"{name} is zero, and no way leads round it",
            f"iso.initialize(model, inputs, seed=0, include={name!r}, "
            f"overrides={{{name!r}: iso.Normal(std={number(std)})}})",
            {"first": reading.place(name), "last": step.measured.node},
            (name,),
            {name: Normal(std)},
        )


def _cut(reading: Reading, path: Path) -> Step | None:
    """The first zero weight of a path whose input tells samples apart, with weights after it."""
    weighted = [s for s in path.steps if s.kind == "weight"]
    while weighted and weighted[-1].fn is None:  # a head, and linear maps behind it
        weighted.pop()
    for step in weighted[:-1]:
        parameter = reading.parameters.get(step.weight.name) if step.weight is not None else None
        if parameter is not None and parameter.constant == 0.0 and step.measured.std == 0.0:
            alive = step.reads is None or (step.reads.std or 0.0) > 0
            return step if alive else None
    return None
