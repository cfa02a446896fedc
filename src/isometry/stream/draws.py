"""What a kernel needs to know of an elementwise random law: a kind and four numbers.

The numbers are worked out on the host, with IEEE operations and integers alone, so that they are
the same everywhere; a kernel turns words into values with them and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from isometry.stream.environment import standard_environment
from isometry.stream.quantile import UNIT, magnitude
from isometry.types import Law, Normal, Sparse, TruncatedNormal, Uniform

__all__ = ["Draw", "draw_of"]


@dataclass(frozen=True, slots=True)
class Draw:
    """value = ±m * scale, or float32(float64(±m) * float64(scale) + mean) where there is a mean.

    kind "normal": u = w mod 2^31, v = (low + floor(u * (2^31 - low) / 2^31)) | 1, and m is the
    quantile's integer of v; `low` is even, and 0 where nothing is cut off.
    kind "uniform": ±m = float32(int32(w) | 1).
    """

    kind: str
    scale: np.float32
    mean: float = 0.0
    low: int = 0


@lru_cache(maxsize=4096)
def draw_of(law: Law) -> Draw | None:
    """The draw of a law whose elements each need one word, and None for any other law."""
    with standard_environment():
        return _draw_of(law)


def _draw_of(law: Law) -> Draw | None:
    match law:
        case Normal():
            return Draw("normal", np.float32(law.std * UNIT), law.mean)
        case Sparse():
            return Draw("normal", np.float32(law.std * UNIT))
        case Uniform():
            return Draw("uniform", np.float32(law.bound * 2.0**-31), law.mean)
        case TruncatedNormal():
            scale = np.float32(law.uncut_std * UNIT)
            return Draw("normal", scale, law.mean, _cut(scale, law.bound) - 1)
    return None


def _cut(scale: np.float32, bound: float) -> int:
    """The smallest odd v whose magnitude times the scale, exactly, is not past the bound."""
    k = 0  # v = 2k + 1; the magnitude falls as k grows
    for shift in (20, 10, 0):
        candidates = k + (np.arange(1024, dtype=np.uint32) << np.uint32(shift))
        size = magnitude(2 * candidates + 1).astype(np.float64) * np.float64(scale)
        past = int(np.count_nonzero(size > bound))
        if shift:
            k += max(past - 1, 0) << shift
        else:
            k += past
    return 2 * k + 1
