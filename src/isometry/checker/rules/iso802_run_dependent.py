"""run-dependent: parameters that two builds from one seed do not share

What it does
    Builds the model twice with every generator at the same seed (where a factory is given) and
    compares: parameters that were set and still differ.

Why it is bad
    They are drawn from a source that the seed does not reach: a generator of their own, the
    operating system, the order of a set, the time. No run can be repeated, and ranks that each
    build the model disagree.

Example
    nn.Parameter(torch.from_numpy(np.random.default_rng().normal(size=8)))

Use instead
    isometry.initialize(net, x, seed=0)     # a pure function of seed, name and place

References
    PyTorch, Reproducibility: docs.pytorch.org/docs/stable/notes/randomness.html
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import stretch
from isometry.types import Finding

CODE, NAME = "ISO802", "run-dependent"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all parameters that differ between two builds."""
    names = [p.name for p in reading.measurements.parameters if p.rebuilt == "different"]
    if not names:
        return
    yield Finding(
        CODE,
        NAME,
        "error",
        stretch(names),
        "two models built from the same seed differ in it"
        + (f" ({len(names)} parameters)" if len(names) > 1 else ""),
        "drawn from a source that the seed does not reach",
        "iso.initialize(model, inputs, seed=0)",
        {
            "first": min(reading.place(n) for n in names),
            "last": max(reading.place(n) for n in names),
            "parameters": len(names),
        },
        tuple(names),
    )
