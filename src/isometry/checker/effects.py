"""What happens along a segment of a path: a factor a layer, a number of layers, and its cause."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from isometry.checker.paths import Segment, Step
from isometry.checker.reading import Reading
from isometry.checker.wording import activation_gain, law_of, number, stretch

__all__ = [
    "SHARE", "Effect", "cause_of", "ratio", "rms", "severity", "signal_effects", "spread",
    "weights_share",
]  # fmt: skip

FEW, NEARLY = 3, 0.8  # of a third of the layers, to do 80 % of the effect is to be the cause
OWN = 0.3  # a std whose departure does less of an effect than this is the one needed

Size = Callable[[Step], float]

BOUNDED = ("sigmoid", "tanh", "sin", "cos", "erf", "hardsigmoid", "softmax")
WARN, FAIL = 10.0, 1000.0


def severity(effect: float, warn: float = WARN, fail: float = FAIL) -> str | None:
    """By consequence: beyond a factor 10 either way a warning, beyond 1000 an error."""
    size = math.inf if effect <= 0 or not math.isfinite(effect) else max(effect, 1 / effect)
    return "error" if size > fail else "warning" if size > warn else None


@dataclass(frozen=True, slots=True)
class Effect:
    """A ratio between the last and the first of some steps."""

    steps: tuple[Step, ...]
    effect: float
    severity: str
    reference: bool = False  # is the first step only what the others are measured against?

    @property
    def blamed(self) -> tuple[Step, ...]:
        return self.steps[1:] if self.reference else self.steps

    @property
    def layers(self) -> int:
        return max(1, len(self.steps) - 1)  # a first layer is measured against the input

    @property
    def where(self) -> str:
        return stretch([s.measured.layer for s in self.blamed])

    @property
    def data(self) -> dict[str, float | int | str]:
        return {
            "effect": self.effect,
            "factor": self.effect ** (1 / self.layers) if self.effect > 0 else 0.0,
            "layers": self.layers,
            "first": self.blamed[0].measured.node,
            "last": self.steps[-1].measured.node,
        }


SCALE = ("norm", "batch norm", "average")  # what sets the scale of a signal anew
SHARE = ("batch norm", "average", "join")  # what sets anew how much of it tells samples apart


def spread(step: Step) -> float:
    return step.spread


def rms(step: Step) -> float:
    return math.sqrt(step.measured.q)


def ratio(step: Step) -> float:
    return step.ratio


def signal_effects(
    reading: Reading, size: Size = spread, breaks: tuple[str, ...] = SCALE
) -> Iterator[tuple[Segment, Effect]]:
    """For each segment between breaks, how the size of the signal changes over it.

    Each segment once, by where it starts, its worst course. A head counts towards severity and
    not towards whether there is a fault. A signal that is exactly zero was cut, by a zero weight
    or a dead layer, which other rules judge; one that is below rounding is taken to go on as it
    went before.
    """
    worst: dict[int, tuple[Segment, Effect]] = {}
    for path in reading.paths:
        for segment in path.segments(*breaks):
            found = _signal_effect(segment, size)
            if found is None:
                continue
            key = segment.steps[0].measured.node
            if key not in worst or _far(found.effect) > _far(worst[key][1].effect):
                worst[key] = (segment, found)
    yield from worst.values()


def _signal_effect(segment: Segment, size: Size) -> Effect | None:
    steps = _products(_alive(segment.body))
    if len(steps) < 2 or not steps[0].resolved:
        return None
    effect = _change(steps, size)
    grade = severity(effect)
    if grade is None:
        return None
    headed = _products(_alive(segment.steps))
    further = _change(headed, size) / effect
    if len(headed) > len(steps) and (further < 1) == (effect < 1):
        steps, effect = headed, effect * further
        grade = severity(effect) or grade
    begin = 0
    for i, step in enumerate(steps[:-1]):  # the trouble starts where the signal leaves its size
        so_far = size(step) / size(steps[0])
        if (so_far < 0.8 and effect < 1) or (so_far > 1.25 and effect > 1):
            break
        begin = i
    steps, reference = _culprits(steps[begin:], size)
    return Effect(steps, _change(steps, size), grade, reference)


def _culprits(steps: tuple[Step, ...], size: Size) -> tuple[tuple[Step, ...], bool]:
    """Where a few layers do nearly all of it, the step before them and those; else all steps."""
    if not all(s.resolved for s in steps):
        return steps, False
    changes = [math.log(size(b) / size(a)) for a, b in pairwise(steps)]
    total = sum(changes)
    for length in range(1, len(changes) // FEW + 1):
        for start in range(len(changes) - length + 1):
            if sum(changes[start : start + length]) / total > NEARLY:
                return steps[start : start + length + 1], True
    return steps, False


def _alive(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps before the first whose signal is zero or not a number."""
    ended = (i for i, s in enumerate(steps) if s.spread <= 0 or s.measured.nonfinite > 0)
    return steps[: next(ended, len(steps))]


def _products(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Without tables: how large the rows of an embedding are is a matter of its own. What a
    bounded function reads counts as 1 at most: it passes no more."""
    steps = tuple(s for s in steps if s.kind != "table")
    if len(steps) > 1 and steps[1].fn in BOUNDED and steps[0].spread > 1:
        read = steps[0].measured
        capped = replace(read, std=1.0, q=read.q / steps[0].spread ** 2)
        steps = (replace(steps[0], measured=capped), *steps[1:])
    return steps


def _change(steps: tuple[Step, ...], size: Size) -> float:
    """The last signal over the first, carried on from the last that rounding does not hide."""
    hidden = (i for i, s in enumerate(steps) if not s.resolved)
    seen = max(1, next(hidden, len(steps)) - 1)
    change = math.log(size(steps[seen]) / size(steps[0])) * (len(steps) - 1) / seen
    return math.exp(max(-600.0, min(600.0, change)))


def _far(effect: float) -> float:
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
    """The law of the weights that do most of it, what they read, and what that needs."""
    share: dict[str, float] = {}
    example: dict[str, Step] = {}
    for before, after in pairwise(steps):
        parameter = reading.parameters.get(after.weight.name) if after.weight is not None else None
        if parameter is None or after.weight is None or not after.resolved:
            continue
        law = law_of(parameter, reading.usages[after.weight.name].fans)
        share[law] = (
            share.get(law, 0.0) + abs(math.log(after.spread / before.spread))
            if before.spread > 0
            else 0.0
        )
        example.setdefault(law, after)
    if not share:
        streams = sum(s.kind == "stream" for s in steps)
        return f"what {streams} branches add to one stream"
    law = max(share, key=lambda name: share[name])
    step = example[law]
    fans = None if step.weight is None else reading.usages[step.weight.name].fans
    needed = activation_gain(step.fn)
    cause = f"weights drawn from {law}" + ("" if step.fn is None else f", under {step.fn}")
    if needed is None or fans is None or fans.fan_in <= 0 or step.weight is None:
        return cause
    std = needed / math.sqrt(fans.fan_in)
    found = math.sqrt(reading.parameters[step.weight.name].q)
    lost = abs(math.log(steps[-1].spread / steps[0].spread)) if steps[-1].spread > 0 else math.inf
    own = abs(math.log(found / std)) * len(steps) if found > 0 else math.inf
    if step.fn is not None and own < OWN * lost:
        return f"{step.fn} itself, in a row: {step.weight.name} has the std it needs, {number(std)}"
    return f"{cause}; {step.weight.name} needs std {number(std)}"
