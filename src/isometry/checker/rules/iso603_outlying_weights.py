"""outlying-weights: a few weights many sigma beyond all others

What it does
    Compares the largest weight of each random matrix with the sigma of the rest, median |w| / .6745.
    No normal law of any size in use reaches 8 sigma. Where one such weight counts for more in its
    unit's sum than all others together it is a warning, otherwise a remark.

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
from isometry.checker.wording import number, stretch
from isometry.roles import MATRICES
from isometry.types import Finding, ParameterMeasurement

CODE, NAME = "ISO603", "outlying-weights"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False

REACH = 8.0
GLANCE = 4.0  # of the rms, outliers included: what no outlier reaches is not looked at further
FEWEST = 256
MEDIAN = 0.67448975  # of |z|, z ~ N(0, 1)


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all matrices with such weights."""
    found = []
    for p in reading.measurements.parameters:
        sigma = _sigma(reading, p)
        if sigma > 0 and p.peak is not None and p.peak > REACH * sigma:
            found.append((p, sigma))
    if not found:
        return
    found.sort(key=lambda item: reading.place(item[0].name))
    names = tuple(p.name for p, _ in found)
    worst, sigma = max(found, key=lambda item: (item[0].peak or 0.0) / item[1])
    reach = (worst.peak or 0.0) / sigma
    fans = reading.usages[worst.name].fans
    matters = fans is not None and reach > math.sqrt(max(fans.fan_in, 1.0))
    yield Finding(
        CODE,
        NAME,
        "warning" if matters else "info",
        stretch(names),
        f"a weight of {number(worst.peak or 0.0)}, {number(reach)} sigma out"
        + (f" ({len(names)} matrices with such weights)" if len(names) > 1 else ""),
        "a truncation that cuts nothing, or values set by hand",
        f"iso.initialize(model, inputs, seed=0, include={names[0]!r}, overrides={{{names[0]!r}: "
        f"iso.TruncatedNormal(std={number(sigma)})}})",
        {
            "first": reading.place(names[0]),
            "last": reading.place(names[-1]),
            "sigmas": reach,
            "parameters": len(names),
        },
        names,
    )


def _sigma(reading: Reading, p: ParameterMeasurement) -> float:
    """The std of a random matrix, outliers aside; 0 for what is none, or is mostly zeros."""
    usage = reading.usages.get(p.name)
    if usage is None or usage.role not in MATRICES or p.constant is not None or p.nonfinite:
        return 0.0
    if (p.peak or 0.0) < GLANCE * math.sqrt(p.q):
        return 0.0
    values = reading.measurements.values.get(p.name, ())
    if math.prod(p.shape) < FEWEST or len(values) < FEWEST:
        return 0.0
    return float(sorted(abs(v) for v in values)[len(values) // 2]) / MEDIAN
