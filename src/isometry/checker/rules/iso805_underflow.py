"""underflow: weights too small for their dtype

What it does
    Compares the rms of random weights with the smallest normal number of their dtype: below it,
    digits are lost one by one, down to zero.

Why it is bad
    float16 has no normal number below 6.1e-5 and nothing at all below 6e-8. A law of std 1e-6 is
    there a handful of values; an update that is a hundredth of them is nothing.

Example
    nn.init.normal_(weight.half(), std=1e-6)

Use instead
    bfloat16, which has the range of float32; or keep the parameter in float32

References
    IEEE 754-2019, section 3.3; Micikevicius et al. 2018, Mixed Precision Training, section 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import number
from isometry.types import Finding

CODE, NAME = "ISO805", "underflow"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False

SMALLEST = {
    "float16": 2.0**-14,
    "bfloat16": 2.0**-126,
    "float32": 2.0**-126,
    "float8_e4m3fn": 2.0**-6,
    "float8_e5m2": 2.0**-14,
}


def check(reading: Reading) -> Iterator[Finding]:
    """Random weights whose rms is no normal number of their dtype."""
    for p in reading.measurements.parameters:
        least = SMALLEST.get(p.dtype)
        size = math.sqrt(p.q)
        if least is None or p.constant is not None or not 0 < size < least or p.nonfinite:
            continue
        place = reading.place(p.name)
        yield Finding(
            CODE,
            NAME,
            "warning",
            p.name,
            f"values of rms {number(size)}; the smallest normal {p.dtype} is {number(least)}",
            f"a law too narrow for {p.dtype}",
            "model.bfloat16()  # has the range of float32; or a wider law",
            {"first": place, "last": place, "rms": size},
        )
