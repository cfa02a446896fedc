"""The law Factor: two tensors whose product is a given random matrix.

What they share is a stream with a name of its own, from which each works out the same matrix and its
singular vectors, and keeps its side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from isometry.errors import ArgumentError
from isometry.stream._numpy import draw, tile_words
from isometry.stream.box import Box, Values
from isometry.stream.draws import draw_of
from isometry.stream.index import Dim
from isometry.stream.keys import key
from isometry.types import Axes, Factor, Normal

__all__ = ["check_factor", "factor"]


def check_factor(law: Factor, shape: tuple[int, ...], axes: Axes) -> None:
    """Raise ArgumentError where the heads do not share the inner axis, or are too many."""
    if len(shape) != 2:
        raise ArgumentError(f"{law} is a law of plain matrices; received shape {shape}")
    inner = shape[axes.out_axis[0] if law.inner == "out" else axes.in_axis[0]]
    outer = math.prod(shape) // max(1, inner)
    if inner % law.heads or inner // law.heads > outer:
        raise ArgumentError(
            f"Factor(heads={law.heads}, inner={law.inner!r}) of shape {shape}: expected heads that "
            f"divide the inner axis, {inner}, into parts of at most {outer}"
        )


def factor(law: Factor, box: Box, dims: Sequence[Dim]) -> Values:
    out, into = box.axes.out_axis[0], box.axes.in_axis[0]
    inner, outer = (out, into) if law.inner == "out" else (into, out)
    d, k = len(box.ranges[outer]), len(box.ranges[inner]) // law.heads
    columns, rows = box.local(inner, dims[inner]), box.local(outer, dims[outer])
    values = np.empty((len(columns), len(rows)), dtype=np.float32)
    for head in np.unique(columns // k):
        sides = _factors(box.seed, law.shared, law.heads, int(head), d, k, law.alpha, law.beta)
        own = columns // k == head
        values[own] = sides[law.side][np.ix_(columns[own] % k, rows)]
    return values if inner == 0 else values.T


@lru_cache(maxsize=128)  # heads of a tensor and its partner, of at most d x k float32 twice each
def _factors(
    seed: int, shared: str, heads: int, head: int, d: int, k: int, alpha: float, beta: float
) -> dict[str, Values]:
    """U_k sqrt(S_k) and V_k sqrt(S_k) of a head's alpha Z + beta I, transposed: shape (k, d)."""
    how = draw_of(Normal(1.0))
    assert how is not None
    dims = (range(head, head + 1), range(d), range(d))
    words = tile_words(key(seed, shared, "factor"), dims, (heads, d, d))[0]
    normals = draw(how, words).astype(np.float64)
    u, s, vt = np.linalg.svd(alpha / math.sqrt(d) * normals + beta * np.eye(d))
    largest = np.abs(u).argmax(axis=0)  # of the two signs of a pair, one is taken
    sign = np.where(u[largest, np.arange(d)] < 0.0, -1.0, 1.0)
    root = (sign * np.sqrt(s))[:k, None]
    return {
        "left": (u.T[:k] * root).astype(np.float32),
        "right": (vt[:k] * root).astype(np.float32),
    }
