"""wrong-fan

What it does
    Looks, in the weights whose fans cannot be read off a shape (grouped and transposed convolutions,
    experts, matrices stored as (in, out)), for a std that is exactly that of a named law with the
    fans of `torch.nn.init`: size(1) and size(0) times the kernel. Where it misses the std needed by
    a factor of 3 and no normalisation follows, it is a fault; its severity is that of what such
    layers do together.

Why it is bad
    A depthwise kernel of 64 channels has a fan_out of 9, not 576: its std is 8 times too small. A
    transposed convolution stores (in, out): its fans change places. A batch of experts (E, in, out)
    is no convolution.

Example
    nn.init.kaiming_normal_(depthwise.weight, mode="fan_out")

Use instead
    isometry.initialize(net, x, seed=0)     # iso.fans(layer) says which fans it has

References
    pytorch/pytorch issue 23854; Lasagne/Lasagne issue 858.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.effects import severity
from isometry.checker.reading import Reading
from isometry.checker.wording import activation_gain, factor, number, stretch
from isometry.roles import MATRICES, Usage
from isometry.types import Finding, ParameterMeasurement

CODE, NAME = "ISO602", "wrong-fan"
EXPLAINS = ("ISO2", "ISO3", "ISO5", "ISO601")
DOWNSTREAM = True

MISSES = 3.0
SQUARED_GAINS = {"PyTorch's default": 1 / 3, "LeCun's law": 1.0, "He's law": 2.0}


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all weights whose law has the wrong fans."""
    found: list[tuple[str, float, str]] = []
    for name, usage in reading.usages.items():
        parameter = reading.parameters.get(name)
        if parameter is None or usage.fans is None or usage.role not in MATRICES:
            continue
        if usage.normalised or usage.factor != 1.0 or _fixed(reading, parameter, usage):
            continue
        needed = activation_gain(reading.reads_fn(name))
        law = _misread(parameter, usage)
        if law is None or not needed or usage.fans.fan_in <= 0 or usage.stream is not None:
            continue
        excess = math.sqrt(parameter.q * usage.fans.fan_in) / needed
        if not 1 / MISSES < excess < MISSES:
            found.append((name, excess, law))
    if not found:
        return
    found.sort(key=lambda item: reading.place(item[0]))
    names = [name for name, _, _ in found]
    effect = math.prod(excess for _, excess, _ in found)
    first = reading.usages[names[0]]
    assert first.fans is not None
    needs = math.sqrt(reading.parameters[names[0]].q) / found[0][1]
    yield Finding(
        CODE,
        NAME,
        severity(effect) or "warning",
        stretch([reading.layer(n) for n in names]),
        f"weights {factor(effect, len(found))} of what they should be",
        f"{found[0][2]}; {names[0]} has {first.fans} and needs std {number(needs)}",
        "iso.initialize(model, inputs, seed=0)",
        {
            "effect": effect,
            "layers": len(found),
            "first": reading.place(names[0]),
            "last": reading.place(names[-1]),
        },
        reading.concerned(names),
    )


def _fixed(reading: Reading, p: ParameterMeasurement, usage: Usage) -> bool:
    """Does a matrix with quite other fans have the same std? Then it is a number, N(0, 0.02), and
    was worked out from no fan."""
    for name, other in reading.usages.items():
        if other.role in MATRICES and other.fans is not None and usage.fans is not None:
            fans = (other.fans.fan_in * other.fans.fan_out, usage.fans.fan_in * usage.fans.fan_out)
            twin = reading.parameters[name]
            if max(fans) > 2 * min(fans) and abs(twin.q - p.q) < 0.1 * p.q:
                return True
    return False


def _misread(p: ParameterMeasurement, usage: Usage) -> str | None:
    """The named law with misread fans that a weight's std is, where with its own fans it is none."""
    if p.constant is not None or p.nonfinite or len(p.shape) < 2 or usage.fans is None:
        return None
    std = math.sqrt(max(p.q - p.mean**2, 0.0))
    field = math.prod(p.shape[2:])
    naive = (float(p.shape[1] * field), float(p.shape[0] * field))
    right = (usage.fans.fan_in, usage.fans.fan_out)
    if naive == right or std == 0:
        return None
    close = max(0.01, min(0.05, 4 / math.sqrt(2 * math.prod(p.shape))))
    if any(abs(std / s - 1) < close for _, s in _laws(*right)):
        return None
    for law, wanted in _laws(*naive):
        if abs(std / wanted - 1) < close:
            return law
    return None


def _laws(fan_in: float, fan_out: float) -> Iterator[tuple[str, float]]:
    """(description, std) of the laws that people choose by name, with these fans."""
    for name, square in SQUARED_GAINS.items():
        for mode, fan in (("fan_in", fan_in), ("fan_out", fan_out)):
            if fan > 0:
                yield f"{name} with {mode} = {fan:g}", math.sqrt(square / fan)
    if fan_in + fan_out > 0:
        yield (
            f"Glorot's law with fans {fan_in:g} and {fan_out:g}",
            math.sqrt(2 / (fan_in + fan_out)),
        )
