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

__all__ = ["Effect", "alive", "cause_of", "severity", "signal_effects", "weights_share"]

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

    Each segment once, by where it starts, its worst course. A head counts towards severity and
    not towards whether there is a fault. A signal that is exactly zero was cut, by a zero weight
    or a dead layer, which other rules judge; one that is below rounding is taken to go on as it
    went before.
    """
    worst: dict[int, tuple[Segment, Effect]] = {}
    for path in reading.paths:
        for segment in path.segments("norm", "batch norm", "average"):
            found = _signal_effect(segment)
            if found is None:
                continue
            key = found.steps[0].measured.node
            if key not in worst or _size(found.effect) > _size(worst[key][1].effect):
                worst[key] = (segment, found)
    yield from worst.values()


def _signal_effect(segment: Segment) -> Effect | None:
    body = alive(segment.body)
    if len(body) < 2 or not body[0].resolved:
        return None
    effect = _change(body)
    grade = severity(effect)
    if grade is None:
        return None
    whole = alive(segment.steps)
    if len(whole) > len(body) and _size(_change(whole)) > _size(effect):
        body, effect = whole, _change(whole)
        grade = severity(effect) or grade
    begin = 0
    for i, step in enumerate(body[:-1]):  # the trouble starts where the signal leaves its size
        ratio = step.spread / body[0].spread
        if (ratio < 0.5 and effect < 1) or (ratio > 2 and effect > 1):
            break
        begin = i
    return Effect(body[begin:], _change(body[begin:]), grade)


def alive(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps before the first whose signal is zero or not a number."""
    ended = (i for i, s in enumerate(steps) if s.spread <= 0 or s.measured.nonfinite > 0)
    return steps[: next(ended, len(steps))]


def _change(steps: tuple[Step, ...]) -> float:
    """The last signal over the first, carried on from the last that rounding does not hide."""
    hidden = (i for i, s in enumerate(steps) if not s.resolved)
    seen = max(1, next(hidden, len(steps)) - 1)
    change = math.log(steps[seen].spread / steps[0].spread) * (len(steps) - 1) / seen
    return math.exp(max(-600.0, min(600.0, change)))


def _size(effect: float) -> float:
    return abs(math.log(effect)) if effect > 0 else math.inf


def weights_share(steps: tuple[Step, ...]) -> float:
    """How much of a loss of signal is the weights' own doing, from 0 to 1.

    The rest is the activation's: a sigmoid squeezes any signal, and a common part grows at the
    expense of what differs between samples.
    """
    lost = deficit = 0.0
    for before, after in pairwise(steps):
        if after.reads is None or not after.reads.std or not after.resolved:
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
