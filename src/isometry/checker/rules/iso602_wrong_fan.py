"""wrong-fan: a std worked out from the wrong axes of a shape

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
EXPLAINS = ("ISO2", "ISO3", "ISO5", "ISO601", "ISO7")
DOWNSTREAM = True

READ = ("linear", "conv", "conv_transpose", "experts")  # recurrent cells have laws of their own
MISSES = 3.0
SQUARED_GAINS = {"PyTorch's default": 1 / 3, "LeCun's law": 1.0, "He's law": 2.0}


def check(reading: Reading) -> Iterator[Finding]:
    """One finding for all weights whose law has the wrong fans."""
    found = list(_misreadings(reading, sure=True))
    if found:  # beside those that are sure, those that a small matrix leaves open
        found = list(_misreadings(reading, sure=False))
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


def _misreadings(reading: Reading, sure: bool) -> Iterator[tuple[str, float, str]]:
    """(name, std over the std needed, law) of the weights whose law has the wrong fans."""
    for name, usage in reading.usages.items():
        parameter = reading.parameters.get(name)
        if parameter is None or usage.fans is None or usage.role not in READ:
            continue
        if usage.normalised or usage.factor != 1.0 or usage.stream is not None:
            continue
        if usage.role in ("linear", "experts") and 1 in parameter.shape[-2:]:
            continue  # a vector has no orientation to mistake
        needed = activation_gain(reading.reads_fn(name))
        law = _misread(parameter, usage, sure)
        if law is not None and usage.role == "conv_transpose" and law.startswith("PyTorch"):
            continue  # torch's own layer does it
        if law is None or not needed or _fixed(reading, parameter, usage):
            continue
        excess = math.sqrt(parameter.q * usage.fans.fan_in) / needed
        if not 1 / MISSES < excess < MISSES:
            yield name, excess, law


def _fixed(reading: Reading, p: ParameterMeasurement, usage: Usage) -> bool:
    """Does a matrix with quite other fans have the same std, which is no named law's either? Then
    it is a number, N(0, 0.02), and was worked out from no fan."""
    for name, other in reading.usages.items():
        if other.role in MATRICES and other.fans is not None and usage.fans is not None:
            fans = (other.fans.fan_in * other.fans.fan_out, usage.fans.fan_in * usage.fans.fan_out)
            twin = reading.parameters.get(name)
            if twin is None or max(fans) <= 2 * min(fans) or abs(twin.q - p.q) >= 0.1 * p.q:
                continue
            if not (_named(twin, *_naive(twin)) or _named(twin, *_right(other))):
                return True
    return False


def _misread(p: ParameterMeasurement, usage: Usage, sure: bool) -> str | None:
    """The named law with misread fans that a weight's std is and, to be sure, with its own fans is
    not. fan_out in place of fan_in is a choice where the two are not mixed up; here they are."""
    if p.constant is not None or p.nonfinite or len(p.shape) < 2 or p.q <= 0:
        return None
    right, naive = _right(usage), _naive(p)
    if naive == right or (sure and _named(p, *right, modes=("fan_in",))):
        return None
    return _named(p, *naive)


def _right(usage: Usage) -> tuple[float, float]:
    return (0.0, 0.0) if usage.fans is None else (usage.fans.fan_in, usage.fans.fan_out)


def _naive(p: ParameterMeasurement) -> tuple[float, float]:
    """The fans that torch.nn.init reads off a shape."""
    if len(p.shape) < 2:
        return 0.0, 0.0
    field = math.prod(p.shape[2:])
    return float(p.shape[1] * field), float(p.shape[0] * field)


def _named(
    p: ParameterMeasurement,
    fan_in: float,
    fan_out: float,
    modes: tuple[str, ...] = ("fan_in", "fan_out"),
) -> str | None:
    """The law that people choose by name which has this std with these fans."""
    std = math.sqrt(max(p.q - p.mean**2, 0.0))
    close = max(0.01, min(0.1, 3 / math.sqrt(2 * math.prod(p.shape))))
    laws = [
        (f"{name} with {mode} = {fan:g}", math.sqrt(square / fan))
        for name, square in SQUARED_GAINS.items()
        for mode, fan in (("fan_in", fan_in), ("fan_out", fan_out))
        if fan > 0 and mode in modes
    ]
    if fan_in + fan_out > 0:
        law = f"Glorot's law with fans {fan_in:g} and {fan_out:g}"
        laws.append((law, math.sqrt(2 / (fan_in + fan_out))))
    return next((law for law, wanted in laws if abs(std / wanted - 1) < close), None)
