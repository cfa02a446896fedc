"""vanishing-signal: the signal, or what tells samples apart in it, shrinks with depth

What it does
    Follows the signal from layer to layer and compares its across-sample standard deviation,
    the part of it that tells one sample from another, at the last and at the first
    pre-activation between two normalisations. A fall of more than 10 is a warning, of more than
    1000 an error. Branches of a residual network are not on the path: one may be zero. The first
    layer is measured against the input it reads, from a factor of 50 on.

Why it is bad
    What the last layers see hardly depends on the input. They learn the mean of the targets, and
    by the chain rule the gradient that reaches the first layers is as small. The mean square of
    the signal need not show it: biases keep it up.

Example
    net = nn.Sequential(*[m for _ in range(20) for m in (nn.Linear(256, 256), nn.ReLU())])

    `nn.Linear` draws weights from U(±1/√fan_in), variance 1/(3 fan_in); under ReLU the signal
    falls to 0.41 a layer, to 4e-8 after 20.

Use instead
    isometry.initialize(net, x, seed=0)     # He's law under ReLU, the right gain under others

References
    LeCun et al. 1998, Efficient BackProp, section 4.6; Glorot & Bengio 2010, equation 12;
    He et al. 2015, Delving Deep into Rectifiers, equation 10; Schoenholz et al. 2017.
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.effects import (
    Effect,
    cause_of,
    rms,
    signal_effects,
    spread,
    weights_share,
)
from isometry.checker.first_layer import first_layers
from isometry.checker.paths import Segment
from isometry.checker.reading import Reading
from isometry.checker.wording import factor
from isometry.types import Finding

CODE, NAME = "ISO201", "vanishing-signal"
EXPLAINS = ("ISO3", "ISO401", "ISO501", "ISO6")
DOWNSTREAM = True

RESTORABLE = 1e-3  # a normalisation brings a signal above this back: its epsilon is 1e-5


def check(reading: Reading) -> Iterator[Finding]:
    """Signals that fall: the rms of them, or what tells samples apart where weights do it."""
    seen: set[int] = set()
    for size in (spread, rms):
        for segment, effect in signal_effects(reading, size):
            if effect.effect >= 1 or segment.steps[0].measured.node in seen:
                continue
            if size is spread and weights_share(effect.steps) < 0.5:
                continue  # the activation does it: ISO501
            if "norm" in segment.end and effect.steps[-1].spread > RESTORABLE:
                continue
            seen.add(segment.steps[0].measured.node)
            yield Finding(
                CODE,
                NAME,
                effect.severity,
                effect.where,
                f"signal {factor(effect.effect, effect.layers)}",
                cause_of(reading, effect.steps),
                "iso.initialize(model, inputs, seed=0)",
                effect.data,
                tuple(dict.fromkeys((*reading.behind(effect.blamed), *_behind(reading, segment)))),
            )
    yield from first_layers(reading, CODE, NAME, _first, seen)


def _behind(reading: Reading, segment: Segment) -> tuple[str, ...]:
    """Where the signal falls to nothing at all, what lies behind it could not be judged."""
    gone = next((s for s in segment.steps if s.spread == 0), None)
    return () if gone is None else reading.after(gone.measured.node)


def _first(segment: Segment, effect: Effect) -> bool:
    """Does a first layer do it?"""
    return effect.effect < 1 and not ("norm" in segment.end and effect.steps[0].spread > RESTORABLE)
