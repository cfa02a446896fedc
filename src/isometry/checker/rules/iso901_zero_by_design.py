"""zero-by-design: factors that are zero on purpose, and when they move

What it does
    Names the factors that are zero and start to move within three steps of gradient descent on a
    copy of the model, and says at which step.

Why it is worth knowing
    It is right, and often deliberate: the last layer of a branch, LoRA's B, the modulation of
    adaLN-Zero, a zero head. What such a factor multiplies gets no gradient until it moves.

Example
    nn.init.zeros_(block.norm2.weight)      # the block starts as the identity

Use instead
    Nothing; ignore it with ignore=["ISO901"].

References
    Goyal et al. 2017; Hu et al. 2021 (LoRA); Peebles & Xie 2022 (adaLN-Zero); Zhang et al. 2019 (Fixup).
"""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.reading import Reading
from isometry.checker.wording import stretch
from isometry.types import Finding

CODE, NAME = "ISO901", "zero-by-design"
EXPLAINS: tuple[str, ...] = ()
DOWNSTREAM = False


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all factors that move at the same step."""
    moving: dict[int, list[str]] = {}
    for p in reading.measurements.parameters:
        if p.constant == 0.0 and p.moves_at is not None and reading.is_factor(p.name):
            moving.setdefault(p.moves_at, []).append(p.name)
    for step, names in sorted(moving.items()):
        yield Finding(
            CODE,
            NAME,
            "info",
            stretch(names),
            f"{len(names)} {'factor is' if len(names) == 1 else 'factors are'} zero and "
            f"{'starts' if len(names) == 1 else 'start'} to move at step {step}",
            "zero by design, as in the last layer of a branch or a head",
            "nothing to mend",
            {
                "first": min(reading.place(n) for n in names),
                "last": max(reading.place(n) for n in names),
                "step": step,
                "parameters": len(names),
            },
        )
