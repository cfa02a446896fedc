"""The law LogUniform: a logarithm that is the same to the bit on every machine.

Products, sums and quotients are rounded alike by every IEEE machine, a maths library's log is not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from isometry.stream._numpy import tile_words
from isometry.stream.box import Box, Values
from isometry.stream.index import Dim
from isometry.stream.keys import key
from isometry.types import LogUniform

__all__ = ["ln", "log_uniform"]

LN_2 = float.fromhex("0x1.62e42fefa39efp-1")
TERMS = 13  # of the series; the next is below 2^-60 of the sum


def log_uniform(law: LogUniform, box: Box, dims: Sequence[Dim]) -> Values:
    """sign x ln(low + (high - low) u), u = (w | 1) / 2^32, of the word `offset` elements on."""
    (dim,) = dims
    places = np.asarray(dim, dtype=np.int64) + law.offset
    words = tile_words(key(box.seed, box.name), [places], box.shape)
    share = (words | np.uint32(1)).astype(np.float64) * 2.0**-32
    scaled = share * (law.high - law.low)
    values: Values = (law.sign * ln(scaled + law.low)).astype(np.float32)
    return values


def ln(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The natural logarithm of positive numbers, to about an ulp, in float64 operations alone.

    x = f 2^e with f in [sqrt(1/2), sqrt(2)), s = (f - 1)/(f + 1):  ln x = e ln 2 + 2 (s + s³/3 + ...)
    """
    fraction, exponent = np.frexp(x)
    small = fraction < math.sqrt(0.5)
    f = np.where(small, fraction * 2.0, fraction)
    e = np.where(small, exponent - 1, exponent).astype(np.float64)
    s = (f - 1.0) / (f + 1.0)
    square = s * s
    total = np.full_like(s, 1.0 / (2 * TERMS - 1))
    for k in range(TERMS - 2, -1, -1):
        total = total * square
        total = total + 1.0 / (2 * k + 1)
    series: NDArray[np.float64] = total * (2.0 * s)
    return series + e * LN_2
