"""duplicated-streams: weights that go through the same random numbers

What it does
    Compares the first values of all random matrices but for their scale: those that go through the
    same numbers were drawn from generators with one seed. Copies of one shape and scale are ISO102.

Why it is bad
    Weights that should be independent are the same numbers, stretched: layers are correlated where
    every formula takes them to be independent.

Example
    for layer in net: nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))

Use instead
    isometry.initialize(net, x, seed=0)     # a stream of its own for every name

References
    keras-team/keras-hub issue 352; Salmon et al. 2011, Parallel Random Numbers: As Easy as 1, 2, 3.
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import stretch
from isometry.roles import MATRICES
from isometry.types import Finding

CODE, NAME = "ISO804", "duplicated-streams"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all groups of matrices that begin with the same numbers."""
    groups: dict[str, dict[str, str]] = {}  # stream -> digest -> the first parameter with it
    for p in reading.measurements.parameters:
        usage = reading.usages.get(p.name)
        if usage is None or usage.role not in (*MATRICES, "embedding") or not usage.leaf.trainable:
            continue
        if p.stream and p.identical == 0 and p.nonfinite == 0:
            groups.setdefault(p.stream, {}).setdefault(p.digest, p.name)
    shared = [list(names.values()) for names in groups.values() if len(names) > 1]
    if not shared:
        return
    largest = max(shared, key=len)
    yield Finding(
        CODE,
        NAME,
        "warning",
        ", ".join(largest) if len(largest) < 3 else stretch(largest),
        f"{len(largest)} weights begin with the same numbers, but for their scale",
        "one seed used for each",
        "iso.initialize(model, inputs, seed=0)",
        {
            "first": min(reading.place(n) for n in largest),
            "last": max(reading.place(n) for n in largest),
            "weights": len(largest),
            "groups": len(shared),
        },
        tuple(n for names in shared for n in names),
    )
