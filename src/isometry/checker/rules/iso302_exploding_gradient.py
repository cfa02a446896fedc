"""exploding-gradient: the first layers get far more gradient than the last

What it does
    Compares, along the path of the signal, how much the objective changes with a relative change
    of the signal at the first and at the last layer but the head: |dL/dx| rms(x). A growth of
    more than 1000 towards the input is a warning, of more than 100,000, or beyond all numbers, an
    error.

Why it is bad
    The first layers move so much that the last ones learn on noise; a learning rate that suits
    the one does not suit the other. Batch normalisation under ReLU does it without residual
    connections: × 1.21 a layer, whatever the weights.

Example
    A 60-layer chain of convolution, batch normalisation and ReLU without skips.

Use instead
    isometry.initialize(net, x, seed=0); with batch normalisation, residual connections

References
    Pascanu et al. 2013; Yang et al. 2019, A Mean Field Theory of Batch Normalization.
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.effects import cause_of
from isometry.checker.gradients import gradient_effects
from isometry.checker.reading import Reading
from isometry.checker.wording import factor, number
from isometry.types import Finding

CODE, NAME = "ISO302", "exploding-gradient"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False


def check(reading: Reading) -> Iterator[Finding]:
    """Gradients that grow on their way to the input, and gradients that overflow."""
    overflow = _overflow(reading)
    if overflow is not None:
        yield overflow
    for effect in gradient_effects(reading):
        if effect.effect > 1:
            yield Finding(
                CODE,
                NAME,
                effect.severity,
                effect.where,
                f"gradient, from the last layer to the first, {factor(effect.effect, effect.layers)}",
                cause_of(reading, effect.steps),
                "iso.initialize(model, inputs, seed=0); with batch normalisation, which undoes any "
                "scale, add residual connections",
                effect.data,
                reading.behind(effect.blamed),
            )


def _overflow(reading: Reading) -> Finding | None:
    """The last layer whose gradient is not finite, where the signal and the loss are."""
    if reading.loss_not_finite:
        return None
    layers = reading.measurements.layers
    bad = [m for m in layers if m.grad_nonfinite > 0]
    if not bad or any(m.nonfinite > 0 for m in layers):
        return None
    last = bad[-1]
    after = [m.grad for m in layers if m.node > last.node and m.grad is not None]
    return Finding(
        CODE,
        NAME,
        "error",
        last.layer or "(model)",
        f"{last.grad_nonfinite:.0%} of the gradient is infinite or NaN",
        f"the gradient that arrives has an rms of {number(max(after, default=0.0) ** 0.5)}; the "
        f"derivative of {last.op}, or of what follows it, is not finite",
        "iso.initialize(model, inputs, seed=0)",
        {"first": bad[0].node, "last": last.node, "nonfinite": last.grad_nonfinite},
        reading.after(last.node),
    )
