"""What happens along a segment of a path: a factor a layer, a number of layers, and its cause."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from isometry.checker.paths import Segment, Step
from isometry.checker.reading import Reading
from isometry.checker.wording import activation_gain, law_of, number, stretch

__all__ = ["Effect", "cause_of", "severity", "signal_effects", "weights_share"]

WARN, FAIL = 10.0, 1000.0


def severity(effect: float) -> str | None:
    """By consequence: beyond a factor 10 either way a warning, beyond 1000 an error."""
    size = math.inf if effect <= 0 or not math.isfinite(effect) else max(effect, 1 / effect)
    return "error" if size > FAIL else "warning" if size > WARN else None


@dataclass(frozen=True, slots=True)
class Effect:
    """A ratio between the last and the first of some steps."""

    steps: tuple[Step, ...]
    effect: float
    severity: str

    @property
    def layers(self) -> int:
        return len(self.steps) - 1

    @property
    def where(self) -> str:
        return stretch([s.measured.layer for s in self.steps])

    @property
    def data(self) -> dict[str, float | int | str]:
        return {
            "effect": self.effect,
            "factor": self.effect ** (1 / self.layers) if self.effect > 0 else 0.0,
            "layers": self.layers,
            "first": self.steps[0].measured.node,
            "last": self.steps[-1].measured.node,
        }


def signal_effects(reading: Reading) -> Iterator[tuple[Segment, Effect]]:
    """For each segment between normalisations, how the across-sample signal changes over it.

    Each segment once, by where it starts, its worst course; a head counts towards severity and
    not towards whether there is a fault.
    """
    worst: dict[int, tuple[Segment, Effect]] = {}
    for path in reading.paths:
        for segment in path.segments("norm", "batch norm", "average"):
            body = segment.body
            start = body[0].spread
            if len(body) < 2 or start <= 0 or any(s.measured.nonfinite for s in body):
                continue
            found = severity(body[-1].spread / start)
            if found is None:
                continue
            steps, head = body, segment.steps[-1]
            whole = head.spread / start
            if head is not body[-1] and (whole < 1) == (body[-1].spread < start) and whole > 0:
                grade = severity(whole)
                if grade is not None:
                    steps, found = segment.steps, max(found, grade, key=("warning", "error").index)
            effect = Effect(_from_the_start(steps), steps[-1].spread / start, found)
            key = effect.steps[0].measured.node
            if key not in worst or _size(effect) > _size(worst[key][1]):
                worst[key] = (segment, effect)
    yield from worst.values()


def _size(effect: Effect) -> float:
    return abs(math.log(effect.effect)) if effect.effect > 0 else math.inf


def _from_the_start(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Without the layers before the trouble: those whose signal is still within a factor 2."""
    begin = 0
    for i, step in enumerate(steps[:-1]):
        ratio = step.spread / steps[0].spread
        if not 0.5 <= ratio <= 2:
            break
        begin = i
    return steps[begin:]


def weights_share(steps: tuple[Step, ...]) -> float:
    """How much of a loss of signal is the weights' own doing, from 0 to 1.

    The rest is the activation's: a sigmoid squeezes any signal, and a common part grows at the
    expense of what differs between samples.
    """
    lost = deficit = 0.0
    for before, after in pairwise(steps):
        if after.reads is None or not after.reads.std or after.spread <= 0 or before.spread <= 0:
            continue
        needed = activation_gain(after.fn)
        if needed is None or after.kind != "weight":
            continue
        lost += math.log(after.spread / before.spread)
        deficit += min(0.0, math.log(after.spread / after.reads.std / needed))
    if lost >= 0:
        return 0.0
    return min(1.0, deficit / lost)


def cause_of(reading: Reading, steps: tuple[Step, ...]) -> str:
    """The law that most of the weights concerned were drawn from, and what they read."""
    laws: Counter[str] = Counter()
    for step in steps[1:]:
        parameter = reading.parameters.get(step.weight.name) if step.weight is not None else None
        if parameter is not None and step.weight is not None:
            laws[law_of(parameter, reading.usages[step.weight.name].fans)] += 1
    if not laws:
        streams = sum(s.kind == "stream" for s in steps)
        return f"{streams} branches added to one stream, which nothing normalises"
    law, times = laws.most_common(1)[0]
    others = f" (in {times} of {sum(laws.values())} weights)" if len(laws) > 1 else ""
    fns = Counter(s.fn for s in steps[1:] if s.fn is not None)
    if not fns:
        return f"weights drawn from {law}{others}"
    fn = fns.most_common(1)[0][0]
    needed = activation_gain(fn)
    needs = f", which needs gain {number(needed)}" if needed is not None else ""
    return f"weights drawn from {law}{others}, under {fn}{needs}"
