"""constant-weights: hidden matrices filled with one number

What it does
    Looks for hidden matrices all of whose weights are one number other than zero. Whether their
    units part later (each is read by other weights) or never (ISO101) is told apart by three steps.

Why it is bad
    All units of the layer compute one number, the sum of what they read: a layer of a thousand
    passes on what one unit would, and a sum of many terms of one sign is large. The last layer is
    left alone: its units have targets of their own.

Example
    nn.init.ones_(layer.weight)

Use instead
    isometry.initialize(net, x, seed=0)     # any random law

References
    Goodfellow, Bengio & Courville 2016, Deep Learning, section 8.4.
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import stretch
from isometry.roles import MATRICES
from isometry.types import Finding, ParameterMeasurement

CODE, NAME = "ISO104", "constant-weights"
EXPLAINS = ("ISO2", "ISO3", "ISO4", "ISO5", "ISO6", "ISO7")
DOWNSTREAM = True


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all hidden matrices that hold one number."""
    found = [p for p in reading.measurements.parameters if _constant(reading, p)]
    if not found:
        return
    found.sort(key=lambda p: reading.place(p.name))
    names = [p.name for p in found]
    value = f"{found[0].constant:g}"
    yield Finding(
        CODE,
        NAME,
        "error",
        stretch(names),
        f"all weights are {value}: all units compute the same"
        + (f" ({len(names)} matrices)" if len(names) > 1 else ""),
        f"weights filled with the constant {value}",
        "iso.initialize(model, inputs, seed=0)",
        {
            "first": reading.place(names[0]),
            "last": reading.place(names[-1]),
            "parameters": len(names),
        },
        reading.concerned(names),
    )


def _constant(reading: Reading, p: ParameterMeasurement) -> bool:
    usage = reading.usages.get(p.name)
    if usage is None or usage.role not in MATRICES or not usage.leaf.trainable:
        return False
    if not p.constant or usage.fans is None or min(usage.fans.fan_in, usage.fans.fan_out) <= 1:
        return False
    return p.identical > 0 and reading.on_path(p.name) and not reading.is_head(p.name)
