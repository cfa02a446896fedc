"""rank-collapse: the tokens of a sequence become one

What it does
    Follows, layer by layer, the part of the signal by which the tokens (positions) of one sample
    differ, over the rms. A fall of more than 10 along the path is a warning, of more than 1000 an
    error.

Why it is bad
    Every attention layer is an average over tokens. Without a way round it, all tokens become one
    vector, doubly exponentially with depth: the output cannot say anything about a position, and
    the gradients of queries and keys vanish.

Example
    Twelve layers of attention without residual connections.

Use instead
    x = x + attention(norm(x))          # the skip keeps what tells tokens apart

References
    Dong, Cordonnier & Loukas 2021, Attention is not all you need, theorem 2.2;
    Noci et al. 2022, Signal Propagation in Transformers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.effects import severity
from isometry.checker.paths import Path, Step
from isometry.checker.reading import Reading
from isometry.checker.wording import factor, stretch
from isometry.types import Finding

CODE, NAME = "ISO502", "rank-collapse"
EXPLAINS = ("ISO3",)
DOWNSTREAM = True


def check(reading: Reading) -> Iterator[Finding]:
    """The worst fall of the difference between tokens along each path."""
    seen: set[int] = set()
    for path in reading.paths:
        steps = _fall(path)
        if len(steps) < 2 or steps[0].measured.node in seen:
            continue
        first, last = steps[0].measured, steps[-1].measured
        between = reading.graph.nodes[first.node : last.node]
        if not any(n.op in ("attention", "softmax") for n in between):
            continue  # a bias, a table of one row: what is common to all tokens is a matter of scale
        effect = (last.tokens or 0.0) / (first.tokens or 1.0)
        grade = severity(effect) if effect < 1 else None
        if grade is None:
            continue
        seen.add(first.node)
        skips = any(n.index in reading.streams.of_addition for n in between)
        yield Finding(
            CODE,
            NAME,
            grade,
            stretch([first.layer, last.layer]),
            f"difference between the tokens of one sample {factor(effect, len(steps) - 1)}",
            "averages over tokens, one after the other, "
            + (
                "faster than the residual connections keep them apart"
                if skips
                else "with no way round them"
            ),
            "normalise before a branch and not after the sum: x = x + attention(norm(x))"
            if skips
            else "a residual connection round each attention layer: x = x + attention(norm(x))",
            {
                "effect": effect,
                "factor": effect ** (1 / (len(steps) - 1)) if effect > 0 else 0.0,
                "layers": len(steps) - 1,
                "first": first.node,
                "last": last.node,
            },
        )


def _fall(path: Path) -> tuple[Step, ...]:
    """The steps over which the tokens of one sequence grow alike: the same tokens throughout."""
    steps = [s for s in path.steps if s.measured.tokens is not None]
    steps = [s for s in steps if _length(s) == _length(steps[0])]
    if len(steps) < 2:
        return ()
    begin = max(range(len(steps)), key=lambda i: steps[i].measured.tokens or 0.0)
    seen = [s for s in steps[begin:] if s.spread > 0]
    if not seen or (seen[0].measured.tokens or 0.0) < math.sqrt(seen[0].grain):
        return ()
    # Below rounding there is nothing to compare any more: up to the first such step.
    hidden = (i for i, s in enumerate(seen) if (s.measured.tokens or 0.0) < 16 * s.grain)
    return tuple(seen[: max(2, next(hidden, len(seen)))])


def _length(step: Step) -> int:
    """How many tokens a sample has here; linear layers see them flattened."""
    m = step.measured
    return m.shape[0] // m.samples if len(m.shape) == 2 else m.shape[1]
