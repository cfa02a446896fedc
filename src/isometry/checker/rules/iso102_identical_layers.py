"""identical-layers: several matrices that hold the same values

What it does
    Compares the values of all random trainable matrices of one shape, and names those that are
    equal bit for bit although they are different parameters.

Why it is bad
    The layers start as copies: draws that should be independent are not, and products of them
    have other statistics than intended. They do part, because each gets a gradient of its own;
    so it is a warning.

Example
    One seeded initialiser object used for every layer; copy.deepcopy of a layer that has been
    initialised, as nn.TransformerEncoder does.

Use instead
    isometry.initialize(net, x, seed=0)     # a stream of its own for every name

References
    keras-team/keras-hub issue 352; DESIGN of counter-based generators: Salmon et al. 2011.
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import stretch
from isometry.roles import MATRICES
from isometry.types import Finding, ParameterMeasurement

CODE, NAME = "ISO102", "identical-layers"
EXPLAINS = ("ISO804",)
DOWNSTREAM = False


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all groups of equal weights."""
    groups: dict[str, list[str]] = {}
    for p in reading.measurements.parameters:
        usage = reading.usages.get(p.name)
        if usage is None or usage.role not in (*MATRICES, "embedding", "query"):
            continue
        if usage.leaf.trainable and _random(p) and not _sparse(reading, p):
            groups.setdefault(p.digest, []).append(p.name)
    equal = [names for names in groups.values() if len(names) > 1]
    if not equal:
        return
    largest = max(equal, key=len)
    yield Finding(
        CODE,
        NAME,
        "warning",
        ", ".join(largest) if len(largest) < 3 else stretch(largest),
        f"{len(largest)} weights hold the same values, bit for bit"
        + (f" (and {len(equal) - 1} other groups)" if len(equal) > 1 else ""),
        "one seed used for each, or layers copied after they were initialised",
        "iso.initialize(model, inputs, seed=0)",
        {
            "first": min(reading.place(n) for n in largest),
            "last": max(reading.place(n) for n in largest),
            "weights": len(largest),
            "groups": len(equal),
        },
        tuple(n for names in equal for n in names),
    )


def _random(p: ParameterMeasurement) -> bool:
    """A matrix with no equal units and no constant: values that look drawn, not computed."""
    many = len(p.shape) > 1 and min(p.shape[:2]) > 1
    # A teacher or target network is a copy on purpose, and gets no gradient.
    return (
        many and p.grad is not None and p.constant is None and p.identical == 0 and p.nonfinite == 0
    )


def _sparse(reading: Reading, p: ParameterMeasurement) -> bool:
    """Mostly zeros: an identity, a Dirac kernel, what is equal because it is computed."""
    values = reading.measurements.values.get(p.name, ())
    return len([v for v in values if v == 0]) > len(values) / 2
