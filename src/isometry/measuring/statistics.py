"""Statistics of one array on one batch, on a sample of its elements.

Arrays above LIMIT elements are thinned by a stride that has no factor in common with the shape, so
that every row, column and channel is met and two runs look at the same elements. All sums are in
float64: a signal of 1e-20 or 1e+30 is still a number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "FEW",
    "FEWEST",
    "FLAT",
    "LIMIT",
    "SHOWN",
    "Samples",
    "Statistics",
    "cuts_at_zero",
    "dead_fraction",
    "moment",
    "one_hot_share",
    "pair_moments",
    "rows_of",
    "samples_of",
    "statistics",
    "strides_of",
    "summary",
    "token_share",
]

Array = NDArray[Any]
Wide = NDArray[np.float64]

LIMIT = 1 << 13
SHOWN = 512  # elements that are kept for a histogram
FEW = (64, 256, 64)  # samples, positions and features that pairs are taken of
FEWEST = 32  # below so many samples no unit is called dead

# Where the slope of a bounded function is next to nothing, by its own output.
FLAT = {"tanh": (-0.97, 0.97), "sigmoid": (0.0066929, 0.9933071)}
ZEROING = ("relu", "relu6", "clamp", "threshold")


@dataclass(slots=True)
class Statistics:
    """One operation's output on one batch."""

    samples: int = 1
    mean: float = 0.0
    q: float = 0.0
    std: float | None = None
    c: float | None = None
    zeros: float = 0.0
    saturated: float | None = None
    dead: float | None = None
    nonfinite: float = 0.0
    tokens: float | None = None
    values: Wide | None = None  # a few of the elements, for a histogram


@dataclass(frozen=True, slots=True)
class Samples:
    """What counts as a sample: an entry of the batch; in a batch of one, a token."""

    count: int
    batched: bool = True

    @classmethod
    def of(cls, shape: Sequence[int], *, ids: bool) -> Samples:
        """The samples of a batch whose first input has this shape; `ids`: it holds integers."""
        if not shape:
            return cls(1)
        if shape[0] > 1:
            return cls(shape[0])
        tokens = len(shape) == 3 or (len(shape) == 2 and ids)
        return cls(shape[1], batched=False) if tokens else cls(1)

    def axis(self, shape: Sequence[int]) -> int | None:
        """The axis along which samples lie, (samples x anything) where it is longer than they are
        many; None where no axis counts them."""
        n = self.count
        if n < 2 or not shape or 0 in shape:
            return None
        if not self.batched:
            return tuple(shape).index(n) if n in shape else None
        if shape[0] % n == 0:
            return 0
        return 1 if len(shape) > 2 and shape[1] == n else None  # (time, samples, features)


def samples_of(array: Array | None) -> Samples:
    """The samples of a batch whose first input is this array."""
    return Samples(1) if array is None else Samples.of(array.shape, ids=array.dtype.kind in "iub")


def rows_of(array: Array, samples: Samples) -> Array | None:
    """The array as (samples, everything else); None where no axis of it counts samples."""
    axis = samples.axis(array.shape)
    return None if axis is None else np.moveaxis(array, axis, 0).reshape(samples.count, -1)


def statistics(array: Array, samples: Samples, fn: str | None) -> Statistics:
    """Measure an output; `fn` is the elementwise function that made it, where one did."""
    rows = rows_of(array, samples)
    found = summary(_thinned(array.reshape(1, -1) if rows is None else rows), rows is not None, fn)
    found.samples = 1 if rows is None else samples.count
    if found.nonfinite == 0 and rows is not None and samples.batched:
        found.tokens = token_share(array, samples.count)
    return found


def summary(x: Wide, sampled: bool, fn: str | None) -> Statistics:
    """The statistics of (samples, features); `sampled`: the rows are samples."""
    result = Statistics()
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", x, x)
    if not np.isfinite(squares.sum()):
        finite = np.isfinite(x)
        result.nonfinite = float(1.0 - finite.mean())
        x, sampled = x[finite][None], False
        if not x.size:
            return result
        with np.errstate(over="ignore"):
            squares = np.einsum("ij,ij->i", x, x)
    result.q = float(squares.sum() / x.size)
    result.values = x.ravel()[:: max(1, x.size // SHOWN)].copy()
    result.zeros = float(1.0 - np.count_nonzero(x) / x.size)
    centre = x.mean(axis=0)
    result.mean = float(centre.mean())
    if sampled:
        apart = x - centre
        result.std = math.sqrt(np.vdot(apart, apart) / (apart.size - apart.shape[1]))
        result.c = _cosine(x, np.sqrt(squares))
    if fn in FLAT:
        low, high = FLAT[fn]
        result.saturated = float(np.mean((x < low) | (x > high)))
    return result


def _cosine(x: Wide, lengths: Wide) -> float | None:
    """The mean cosine of all pairs of rows, from the length of the sum of unit vectors."""
    alive = lengths > 0
    n = int(np.count_nonzero(alive))
    if n < 2:
        return None
    total = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=alive) @ x
    return float((total @ total - n) / (n * (n - 1)))


def token_share(array: Array, count: int) -> float | None:
    """Of (samples, tokens, features), or those flattened: the part of a signal that differs between
    the tokens of one sample, over its rms. sqrt(E[(x - mean_t x)²] / E[x²]), on a few of them."""
    if array.ndim == 2 and array.shape[0] % count == 0:
        array = array.reshape(count, -1, array.shape[1])
    if array.ndim != 3 or array.shape[1] < 4 or array.shape[2] < 4:
        return None
    n, length, features = array.shape
    x = np.asarray(array[:: -(-n // 4), :: -(-length // 32), :: -(-features // 64)], np.float64)
    total = float(np.vdot(x, x))
    apart = x - x.mean(axis=1, keepdims=True)
    return math.sqrt(np.vdot(apart, apart) / total) if total > 0 else None


def strides_of(samples: int, features: int) -> tuple[int, int]:
    """Every how many rows and columns are looked at; every row, column and channel is met."""
    keep = max(1, LIMIT // samples)
    stride = -(-features // keep) if features > keep else 1
    while stride > 1 and math.gcd(stride, features) > 1:
        stride += 1
    return (-(-samples // LIMIT) if samples > LIMIT else 1), stride


def _thinned(rows: Array) -> Wide:
    """At most LIMIT elements, the same features of every row, as float64."""
    down, across = strides_of(*rows.shape)
    return np.asarray(rows[::down, ::across], dtype=np.float64)


def pair_moments(array: Array, channels_last: bool = True) -> tuple[float, float, float]:
    """E[x y]/E[x²] of one place in two samples, of two positions in one, and of both, from sums:
    sum_{b != b'} x_b x_b' = (sum_b x_b)² - sum_b x_b². Of images the positions are pixels, of
    sequences tokens; at most a few samples, positions and features are looked at."""
    if array.ndim < 2 or array.size == 0:
        return 0.0, 0.0, 0.0
    x = np.moveaxis(array, 1, -1) if array.ndim > 3 and not channels_last else array
    x = x.reshape(x.shape[0], -1, x.shape[-1])
    down, along, across = (-(-n // most) for n, most in zip(x.shape, FEW, strict=True))
    x = x[::down, ::along, ::across].astype(np.float64)
    if not np.isfinite(x).all() or not x.any():
        return 0.0, 0.0, 0.0
    n, places = x.shape[:2]
    own = float(np.square(x).sum())
    samples, positions = float(np.square(x.sum(0)).sum()), float(np.square(x.sum(1)).sum())
    every = float(np.square(x.sum((0, 1))).sum())
    return (
        (samples - own) / own / max(n - 1, 1),
        (positions - own) / own / max(places - 1, 1),
        (every - samples - positions + own) / own / max((n - 1) * (places - 1), 1),
    )


def cuts_at_zero(attrs: Any, samples: Samples) -> bool:
    """Is an elementwise function one whose units can die, and are there samples enough to say so?"""
    fn = attrs.get("fn")
    if fn not in ZEROING or samples.count < FEWEST:
        return False
    return fn not in ("clamp", "threshold") or attrs["args"][0] in (0, 0.0)


def dead_fraction(array: Array, axis: int, samples: Samples, attrs: Any) -> float | None:
    """The fraction of units that are zero for every sample and position, of a function that cuts
    at zero; None for any other, and for fewer than 32 samples."""
    if array.ndim < 2 or not cuts_at_zero(attrs, samples):
        return None
    others = tuple(d for d in range(array.ndim) if d != axis % array.ndim)
    return float((array.max(axis=others) == 0).mean())


def one_hot_share(array: Array, axis: int) -> float | None:
    """The share of a softmax's distributions that give nearly all to one; None over few choices."""
    if array.ndim == 0 or array.shape[axis] < 4:
        return None
    few = array[:: -(-array.shape[0] // 4)] if axis % array.ndim else array
    return float((few.max(axis) > 0.97).mean())


def moment(array: Array) -> tuple[float, float]:
    """Mean square of the finite elements, and the fraction that is not finite."""
    if array.size == 0:
        return 0.0, 0.0
    x = np.asarray(array, dtype=np.float64).ravel()
    total = float(np.vdot(x, x))
    if math.isfinite(total):
        return total / x.size, 0.0
    finite = np.isfinite(x)
    x = x[finite]
    return float(np.vdot(x, x)) / max(1, x.size), 1.0 - x.size / finite.size
