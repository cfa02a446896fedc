"""correlation-collapse: different inputs become one while the signal lives on

What it does
    Follows the share of the signal that tells samples apart: the across-sample standard deviation
    over the rms. Where it falls by more than 10 (a warning) or 1000 (an error) while the signal
    itself need not vanish, different inputs have become one. Averages over positions and batch
    normalisations set it anew, and it is judged between them.

Why it is bad
    All samples point the same way (cosine 1), so all outputs and all gradients are nearly equal,
    and nothing that separates the samples can be learned. No scale of the weights alone mends it:
    it is the activation's mean or squeeze that adds up with depth.

Example
    Thirteen layers of sigmoid under He's uniform law, width 5: the mean square stays 0.3, the
    across-sample std falls to 3e-6.

Use instead
    isometry.initialize(net, x, seed=0)     # as far as a law can help
    a residual connection, a normalisation, or an activation of mean zero

References
    Poole et al. 2016; Schoenholz et al. 2017, Deep Information Propagation; Yang & Schoenholz 2017.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.effects import SHARE, cause_of, ratio, signal_effects, weights_share
from isometry.checker.reading import Reading
from isometry.checker.wording import factor, number
from isometry.types import Finding

CODE, NAME = "ISO501", "correlation-collapse"
EXPLAINS = ("ISO3", "ISO401")
DOWNSTREAM = True


def check(reading: Reading) -> Iterator[Finding]:
    """Falls of the share of the signal that tells samples apart."""
    for _, effect in signal_effects(reading, ratio, SHARE):
        if effect.effect >= 1 or weights_share(effect.steps) >= 0.5:
            continue
        if reading.shift_of(effect.steps[-1]):
            continue  # a bias does it: ISO202, ISO401
        first, last = effect.steps[0], effect.steps[-1]
        c = last.measured.c
        cosine = "" if c is None else f", cosine {_cosine(c)} between samples"
        yield Finding(
            CODE,
            NAME,
            effect.severity,
            effect.where,
            f"difference between samples {factor(effect.effect, effect.layers)}{cosine}, while "
            f"the rms goes from {number(math.sqrt(first.measured.q))} to "
            f"{number(math.sqrt(last.measured.q))}",
            cause_of(reading, effect.steps),
            "iso.initialize(model, inputs, seed=0); where it stays, add residual connections or "
            "normalisation",
            {**effect.data, **({} if c is None else {"cosine": c})},
            reading.behind(effect.blamed),
        )


def _cosine(c: float) -> str:
    return f"{c:.2f}" if c < 0.99 else f"1 - {number(1 - c)}" if c < 1 - 1e-6 else "1"
