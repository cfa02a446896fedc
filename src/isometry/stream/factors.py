"""The law Factor: two tensors whose product is a given random matrix.

What they share is a stream with a name of its own, from which each works out the same matrix and its
singular vectors, and keeps its side.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError
from isometry.stream._numpy import draw, tile_words
from isometry.stream.box import Box, Values, take
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
    columns, d = len(box.ranges[inner]), len(box.ranges[outer])
    left, right = _factors(
        box.seed, law.shared, law.heads, d, columns // law.heads, law.alpha, law.beta
    )
    side = left if law.side == "left" else right  # (heads, d, k)
    whole = side.transpose(0, 2, 1).reshape(columns, d).astype(np.float32)
    values: Values = whole if inner == 0 else whole.T
    return take(values, box, dims, list(box.ranges))


@lru_cache(maxsize=4)  # a tensor and its partner, and those of the next layer
def _factors(
    seed: int, shared: str, heads: int, d: int, k: int, alpha: float, beta: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """U_k sqrt(S_k) and V_k sqrt(S_k) of alpha Z + beta I, of each head."""
    stream = key(seed, shared, "factor")
    how = draw_of(Normal(1.0))
    assert how is not None
    left, right = np.empty((heads, d, k)), np.empty((heads, d, k))
    for head in range(heads):
        dims = (range(head, head + 1), range(d), range(d))
        normals = draw(how, tile_words(stream, dims, (heads, d, d))[0]).astype(np.float64)
        u, s, vt = np.linalg.svd(alpha / math.sqrt(d) * normals + beta * np.eye(d))
        largest = np.abs(u).argmax(axis=0)  # of the two signs of a pair, one is taken
        sign = np.where(u[largest, np.arange(d)] < 0.0, -1.0, 1.0)
        root = (sign * np.sqrt(s))[:k]
        left[head], right[head] = u[:, :k] * root, vt[:k].T * root
    return left, right
