"""outlying-weights

What it does
    Compares the largest weight of each random matrix with its std. No normal law of any size used
    reaches 8 sigma. Where one such weight counts for more in its unit's sum than all others
    together it is a warning, otherwise a remark.

Why it is bad
    A truncation whose bounds are not in units of std cuts nothing: trunc_normal_(w, std=0.02) has
    its bounds at ±2, a hundred sigma, and what rounding puts at the very end of the distribution
    lands on a bound. One weight of 2 among weights of 0.02 is one unit that hears one input.

Example
    nn.init.trunc_normal_(w, std=0.02)      # cut at 100 sigma

Use instead
    it.fill_(w, iso.TruncatedNormal(std=0.02), seed=0, name="w")    # cut at 2 sigma

References
    torch.nn.init.trunc_normal_: a and b are values, not sigmas; pytorch/pytorch issue 145498.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import number
from isometry.roles import MATRICES
from isometry.types import Finding, ParameterMeasurement

CODE, NAME = "ISO603", "outlying-weights"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False

REACH = 8.0
SPARSE = 0.25  # a matrix with more zeros than this is sparse on purpose
FEWEST = 256


def check(reading: Reading) -> Iterator[Finding]:
    """The matrix whose largest weight is farthest out, and how many there are."""
    found = [
        (p.peak / math.sqrt(p.q), p)
        for p in reading.measurements.parameters
        if p.peak and _drawn(reading, p) and p.peak > REACH * math.sqrt(p.q)
    ]
    if not found:
        return
    reach, worst = max(found, key=lambda item: item[0])
    fans = reading.usages[worst.name].fans
    matters = fans is not None and reach > math.sqrt(max(fans.fan_in, 1.0))
    names = tuple(p.name for _, p in found)
    yield Finding(
        CODE,
        NAME,
        "warning" if matters else "info",
        worst.name,
        f"a weight of {number(worst.peak or 0.0)}, {number(reach)} sigma out"
        + (f" ({len(names)} matrices with such weights)" if len(names) > 1 else ""),
        "a truncation that cuts nothing, or values set by hand",
        f"it.fill_(weight, iso.TruncatedNormal(std={number(math.sqrt(worst.q))}), seed=0, "
        f"name={worst.name!r})",
        {
            "first": reading.place(worst.name),
            "last": reading.place(worst.name),
            "sigmas": reach,
            "parameters": len(names),
        },
        names,
    )


def _drawn(reading: Reading, p: ParameterMeasurement) -> bool:
    """A random matrix: neither constant nor mostly zeros."""
    usage = reading.usages.get(p.name)
    if usage is None or usage.role not in MATRICES or p.constant is not None or p.nonfinite:
        return False
    values = reading.measurements.values.get(p.name, ())
    zeros = sum(v == 0 for v in values) / max(1, len(values))
    return math.prod(p.shape) >= FEWEST and zeros < SPARSE
