"""uninitialised: parameters that nothing sets, or that are not finite

What it does
    Looks for parameters that hold infinities or NaN, and, where a factory is given (`build=`), for
    parameters that are NaN in a second model, built while memory that is only allocated is filled
    with it.

Why it is bad
    `torch.empty` gives what happened to lie in memory: zeros on one machine, 1e30 on another.

Example
    self.scale = nn.Parameter(torch.empty(dim))     # and no reset_parameters that fills it

Use instead
    isometry.initialize(net, x, seed=0)     # every parameter has a decision, or an error says so

References
    torch.utils.deterministic.fill_uninitialized_memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import stretch
from isometry.types import Constant, Finding, ParameterMeasurement

CODE, NAME = "ISO801", "uninitialised"
EXPLAINS = ("ISO1", "ISO2", "ISO3", "ISO4", "ISO5", "ISO6", "ISO7", "ISO804", "ISO805")
DOWNSTREAM = True


def check(reading: Reading) -> Iterator[Finding]:
    """Parameters that are not finite, and parameters that nothing sets."""
    found = reading.measurements.parameters
    broken = [p for p in found if p.nonfinite > 0]
    unset = [p for p in found if p.rebuilt == "unset" and p.nonfinite == 0]
    if broken:
        worst = max(broken, key=lambda p: p.nonfinite)
        size = math.prod(worst.shape)
        yield _finding(
            reading,
            broken,
            f"{round(worst.nonfinite * size)} of {size} values are infinite or NaN",
            "never set after torch.empty, or set by an arithmetic that overflowed",
        )
    if unset:
        yield _finding(
            reading,
            unset,
            "it holds what happened to lie in memory: NaN, where memory is filled with NaN",
            "never set after torch.empty",
        )


def _finding(
    reading: Reading, parameters: list[ParameterMeasurement], evidence: str, cause: str
) -> Finding:
    names = [p.name for p in parameters]
    many = f" ({len(names)} parameters)" if len(names) > 1 else ""
    return Finding(
        CODE,
        NAME,
        "error",
        stretch(names),
        evidence + many,
        cause,
        "iso.initialize(model, inputs, seed=0)",
        {
            "first": min(reading.place(n) for n in names),
            "last": max(reading.place(n) for n in names),
            "parameters": len(names),
        },
        tuple(names),
        {n: Constant(1.0) for n in names if _is_factor(reading, n)},
    )


def _is_factor(reading: Reading, name: str) -> bool:
    """A gain or a scale: no law of a plan's sets it, and 1 is what it does nothing with."""
    usage = reading.usages.get(name)
    return usage is not None and usage.role in ("scale", "norm_gain")
