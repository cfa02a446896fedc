"""vanishing-gradient: the first layers get far less gradient than the last

What it does
    Compares, along the path of the signal, how much the objective changes with a relative change
    of the signal at the first and at the last layer but the head: |dL/dx| rms(x), which a
    normalisation and a change of scale leave as it is. A fall of more than 1000 towards the input
    is a warning, of more than 100,000 an error.

Why it is bad
    The first layers hardly learn while the last ones do. No absolute size is looked at: the size
    of a gradient depends on the loss's scale and reduction.

Example
    Ten layers of nn.Linear and nn.Sigmoid: a slope of at most 1/4 a layer.

Use instead
    isometry.initialize(net, x, seed=0), and an activation with slope 1 somewhere

References
    Hochreiter 1991; Glorot & Bengio 2010, section 4; Schoenholz et al. 2017.
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.effects import cause_of
from isometry.checker.gradients import gradient_effects
from isometry.checker.reading import Reading
from isometry.checker.wording import factor
from isometry.types import Finding

CODE, NAME = "ISO301", "vanishing-gradient"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False


def check(reading: Reading) -> Iterator[Finding]:
    """Gradients that fall on their way to the input."""
    for effect in gradient_effects(reading):
        if effect.effect < 1:
            yield Finding(
                CODE,
                NAME,
                effect.severity,
                effect.where,
                f"gradient, from the last layer to the first, {factor(effect.effect, effect.layers)}",
                cause_of(reading, effect.steps),
                "iso.initialize(model, inputs, seed=0)",
                effect.data,
                reading.behind(effect.blamed),
            )
