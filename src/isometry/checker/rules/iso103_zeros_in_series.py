"""zeros-in-series: zeros that hold each other at zero

What it does
    Looks for factors that are zero and have not moved after three steps of gradient descent on a
    copy of the model, although the gradient reaches them.

Why it is bad
    One zero factor moves at the first step, because what it reads is not zero. Two in one path
    with no way round hold each other: each gets a gradient times the other, which is zero for ever.

Example
    nn.init.zeros_(lora.A); nn.init.zeros_(lora.B)

Use instead
    Draw one of the two: iso.Normal(std=fan_in ** -0.5) for the first, zero for the last.

References
    Hu et al. 2021, LoRA, section 4.1: A Gaussian, B zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import activation_gain, number
from isometry.types import Constant, Finding, Law, Normal

CODE, NAME = "ISO103", "zeros-in-series"
EXPLAINS = ("ISO2", "ISO3", "ISO4", "ISO5")
DOWNSTREAM = True

STEPS = 3
FLAT_AT_ZERO = ("relu", "relu6", "threshold", "clamp", "hardshrink", "softshrink")


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all zero factors that never move."""
    stuck = [
        p.name
        for p in reading.measurements.parameters
        if p.constant == 0.0 and p.probed and p.moves_at is None and reading.is_factor(p.name)
    ]
    zeros = [p for p in reading.measurements.parameters if p.constant == 0.0]
    if not stuck or any(p.moves_at == STEPS for p in zeros):
        return  # one moved in the last step: the next may in the next
    stuck.sort(key=reading.place)
    first = stuck[0]
    # The last may stay zero, unless a function that is flat at zero reads it.
    mended = stuck if len(stuck) == 1 or _is_cut(reading, stuck[-1]) else stuck[:-1]
    laws = {n: _law(reading, n) for n in mended}
    law = laws[first]
    shown = ", ".join(stuck[:3]) + (f" and {len(stuck) - 3} more" if len(stuck) > 3 else "")
    yield Finding(
        CODE,
        NAME,
        "error",
        shown,
        f"{len(stuck)} zero {'factor has' if len(stuck) == 1 else 'factors have'} not moved after "
        "three steps of training on a copy",
        "zeros in series: each one's gradient is multiplied by the other, which is zero"
        if len(stuck) > 1
        else "no gradient reaches it: what it reads, or what reads it, is zero",
        f"iso.initialize(model, inputs, seed=0, include={first!r}, overrides={{{first!r}: "
        + (f"iso.Normal(std={number(law.std)})" if isinstance(law, Normal) else "iso.Constant(1.0)")
        + "})"
        + (f", and so for {len(laws) - 1} more: report.fix(model)" if len(laws) > 1 else ""),
        {
            "first": reading.place(first),
            "last": reading.place(stuck[-1]),
            "parameters": len(stuck),
        },
        tuple(laws),
        laws,
    )


def _law(reading: Reading, name: str) -> Law:
    """What keeps the second moment through a weight; 1 for what is a factor and no matrix."""
    fans = reading.usages[name].fans
    if fans is None or fans.fan_in <= 0:
        return Constant(1.0)
    return Normal((activation_gain(reading.reads_fn(name)) or 1.0) / math.sqrt(fans.fan_in))


def _is_cut(reading: Reading, name: str) -> bool:
    """Is a function that is flat at zero the next to read what this weight makes?"""
    output = reading.usages[name].output
    readers = [] if output is None else reading.graph.readers(output)
    return any(n.op == "pointwise" and n.attrs["fn"] in FLAT_AT_ZERO for n, _ in readers)
