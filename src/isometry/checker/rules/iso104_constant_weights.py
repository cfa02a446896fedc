"""constant-weights: hidden matrices filled with one number, or with copies of a row

What it does
    Looks for hidden matrices all of whose weights are one number other than zero, an error, and for
    those of which half of the units or more are copies of another, a warning. Whether units part
    later (each is read by other weights) or never (ISO101) is told apart by three steps.

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


HALF = 0.5


def check(reading: Reading) -> Iterator[Finding]:
    """Hidden matrices that hold one number, and those whose units are copies of each other."""
    for severity, alike in (("error", _constant), ("warning", _copied)):
        found = [p for p in reading.measurements.parameters if alike(p) and _hidden(reading, p)]
        if found:
            yield _finding(reading, sorted(found, key=lambda p: reading.place(p.name)), severity)


def _finding(reading: Reading, found: list[ParameterMeasurement], severity: str) -> Finding:
    names, first = [p.name for p in found], found[0]
    constant = first.constant is not None
    many = f" ({len(names)} matrices)" if len(names) > 1 else ""
    return Finding(
        CODE,
        NAME,
        severity,
        stretch(names),
        (
            f"all weights are {first.constant:g}: all units compute the same"
            if constant
            else f"{first.identical:.0%} of the units are copies of another, and part only slowly"
        )
        + many,
        f"weights filled with the constant {first.constant:g}"
        if constant
        else "rows that are copies of each other",
        "iso.initialize(model, inputs, seed=0)",
        {
            "first": reading.place(names[0]),
            "last": reading.place(names[-1]),
            "parameters": len(names),
        },
        reading.concerned(names),
    )


def _constant(p: ParameterMeasurement) -> bool:
    return bool(p.constant) and p.identical > 0


def _copied(p: ParameterMeasurement) -> bool:
    return p.constant is None and p.identical >= HALF


def _hidden(reading: Reading, p: ParameterMeasurement) -> bool:
    """A trainable matrix of more than a vector, on a path and not its head."""
    usage = reading.usages.get(p.name)
    if usage is None or usage.role not in MATRICES or not usage.leaf.trainable:
        return False
    if usage.fans is None or min(usage.fans.fan_in, usage.fans.fan_out) <= 1:
        return False
    return reading.on_path(p.name) and not reading.is_head(p.name)
