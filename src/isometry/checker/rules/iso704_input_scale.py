"""input-scale: inputs far from a second moment of 1

What it does
    Looks at the floating-point inputs that a weight reads as they are. An rms of their values other
    than zero above 10 or below 1/100 is a warning, an error where what follows from it is one.

Why it is bad
    Every law for weights assumes inputs of second moment 1. Pixels from 0 to 255 make everything
    behind the first layer 150 times as large; where a bias is added, inputs of 0.001 are not seen.

Example
    model(torch.from_numpy(image).float())      # 0 to 255

Use instead
    x = (x - mean) / std                # of the training set; or a normalisation as first layer

References
    LeCun et al. 1998, Efficient BackProp, section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from isometry.checker.paths import WEIGHTED
from isometry.checker.reading import Reading
from isometry.checker.wording import number
from isometry.graph import Node
from isometry.types import Finding

CODE, NAME = "ISO704", "input-scale"
EXPLAINS = ("ISO2", "ISO3", "ISO4", "ISO5", "ISO6", "ISO7")
DOWNSTREAM = True

LARGE, SMALL = 10.0, 0.01


def check(reading: Reading) -> Iterator[Finding]:
    """Inputs that are read as they are, and are far from 1."""
    for place, given in enumerate(reading.measurements.inputs):
        size = math.sqrt(given.q / max(1.0 - given.zeros, 1e-12))  # of one-hot inputs, the ones
        if SMALL <= size <= LARGE or size == 0 or not math.isfinite(size):
            continue
        reader = _reader(reading, given.value)
        if reader is None:
            continue
        measured = reading.at.get(reader.index)
        yield Finding(
            CODE,
            NAME,
            "warning",
            (measured.layer if measured is not None else reader.scope) or "(model)",
            f"input {place} has an rms of {number(size)} and a mean of {number(given.mean)}",
            "inputs that are not scaled to a second moment of 1",
            "inputs = (inputs - mean) / std, with the mean and std of the training set",
            {"first": reader.index, "last": reader.index, "rms": size},
        )


def _reader(reading: Reading, value: int) -> Node | None:
    """The product with a weight that reads an input as it is."""
    stack = [value]
    while stack:
        for node, place in reading.graph.readers(stack.pop()):
            if node.op in WEIGHTED and place == 0:
                return node
            if node.op in ("view", "dropout"):
                stack.append(node.output)
    return None
