"""How the gradient changes along the paths of a model."""

from __future__ import annotations

from collections.abc import Iterator

from isometry.checker.effects import Effect, severity
from isometry.checker.paths import Step
from isometry.checker.reading import Reading

__all__ = ["gradient_effects"]


def gradient_effects(reading: Reading) -> Iterator[Effect]:
    """For each path, cut at averages over positions, the pull of the first layer over the last's.

    Where the gradient is exactly zero a zero weight or a dead layer stops it, which other rules
    judge by what they do next.
    """
    seen: set[int] = set()
    for path in reading.paths:
        for segment in path.segments("average"):
            steps = tuple(s for s in segment.body if s.pull is not None and not _broken(s))
            if len(steps) < 3 or steps[0].measured.node in seen:
                continue
            first, last = steps[0].pull, steps[-1].pull
            if not first or not last:
                continue
            grade = severity(first / last)
            if grade is not None:
                seen.add(steps[0].measured.node)
                yield Effect(steps, first / last, grade)


def _broken(step: Step) -> bool:
    return step.measured.nonfinite > 0 or step.measured.grad_nonfinite > 0
