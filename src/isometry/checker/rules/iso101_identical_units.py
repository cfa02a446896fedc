"""identical-units: output units that are equal, get equal gradients, and never part

What it does
    Looks for weights whose output units are equal bit for bit, and takes three steps of gradient
    descent on a copy: units that get the same gradient and are still equal after it never part.
    Half of a layer's units or more is an error.

Why it is bad
    Units that start equal and are trained equally stay one unit for ever: a layer of a thousand
    has the capacity of one. Equal units whose gradients differ (a zero head) part by themselves,
    and are no fault.

Example
    nn.init.constant_(layer.weight, 0.01)

Use instead
    isometry.initialize(net, x, seed=0)     # any random law breaks the symmetry

References
    Goodfellow, Bengio & Courville 2016, Deep Learning, section 8.4.
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import stretch
from isometry.types import Finding

CODE, NAME = "ISO101", "identical-units"
EXPLAINS = ("ISO103", "ISO104", "ISO2", "ISO3", "ISO4", "ISO5", "ISO7", "ISO901")
DOWNSTREAM = True

HALF = 0.5


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all weights whose equal units never part."""
    stuck = [
        p
        for p in reading.measurements.parameters
        if p.identical > 0 and p.probed and p.parts_at is None
        and not (p.constant == 0.0 and p.moves_at is None)  # ISO103
    ]  # fmt: skip
    if not stuck:
        return
    stuck.sort(key=lambda p: reading.place(p.name))
    names = [p.name for p in stuck]
    worst = max(stuck, key=lambda p: p.identical)
    value = f", all {worst.constant:g}" if worst.constant is not None else ""
    yield Finding(
        CODE,
        NAME,
        "error" if worst.identical >= HALF else "warning",
        stretch(names),
        f"{worst.identical:.0%} of the output units are equal to another{value}, get equal "
        "gradients and do not part in three steps"
        + (f" ({len(names)} weights)" if len(names) > 1 else ""),
        "constant weights" if worst.constant is not None else "rows that are copies of each other",
        "iso.initialize(model, inputs, seed=0)",
        {
            "first": reading.place(names[0]),
            "last": reading.place(names[-1]),
            "identical": worst.identical,
            "parameters": len(names),
        },
        reading.concerned(names),
    )
