"""What the first layer of a path makes of an input that it reads as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from isometry.checker.effects import SCALE, Effect, severity
from isometry.checker.paths import Segment, Step
from isometry.checker.reading import Reading
from isometry.checker.wording import factor, number
from isometry.types import Finding

__all__ = ["first_layers"]

# More patience than with a factor between layers: inputs come in many kinds.
WARN, FAIL = 50.0, 1000.0


def first_layers(
    reading: Reading,
    code: str,
    name: str,
    wanted: Callable[[Segment, Effect], bool],
    seen: set[int],
) -> Iterator[Finding]:
    """A finding for each first layer whose gain is wanted, where none starts there already."""
    for segment, effect in _effects(reading):
        step = effect.steps[0]
        if step.measured.node not in seen and wanted(segment, effect):
            yield Finding(
                code,
                name,
                effect.severity,
                effect.where,
                f"signal {factor(effect.effect, 1)}, from the input on",
                _cause(reading, step),
                "iso.initialize(model, inputs, seed=0)",
                effect.data,
                reading.behind([step]),
            )


def _effects(reading: Reading) -> Iterator[tuple[Segment, Effect]]:
    seen: set[int] = set()
    for path in reading.paths:
        segment = next(path.segments(*SCALE), None)
        step = segment.steps[0] if segment is not None else None
        if segment is None or step is None or step.kind != "weight" or len(path.steps) < 2:
            continue
        given = reading.input_of(step)
        size = math.sqrt(step.measured.q)
        if given is None or given.q <= 0 or size == 0 or step.measured.node in seen:
            continue
        effect = size / math.sqrt(given.q)
        grade = severity(effect, WARN, FAIL)
        if grade == "error" and effect < 1:
            grade = "warning"  # a table, a bias or a norm may be what the model goes by
        if grade is not None and given.nonfinite == 0 and step.measured.nonfinite == 0:
            seen.add(step.measured.node)
            yield segment, Effect((step,), effect, grade)


def _cause(reading: Reading, step: Step) -> str:
    """The law of a first layer, and what a gain of 1 needs."""
    if step.weight is None or step.weight.name not in reading.parameters:
        return "a first layer that is out of scale"
    fans = reading.usages[step.weight.name].fans
    needs = "" if fans is None or fans.fan_in <= 0 else number(1 / math.sqrt(fans.fan_in))
    return f"{step.weight.name} is drawn from {reading.law(step.weight.name)}" + (
        f"; it needs std {needs}" if needs else ""
    )
