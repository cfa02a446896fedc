"""What it takes to fill a part of a tensor: operations, and memory beyond the part itself.

A law whose elements need no other is written in place and takes no memory. An orthogonal matrix of
up to 4 M elements, or one that is asked for whole, is made whole; of a larger one a rank makes its rows
or columns, some at a time (docs/spec/stream.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from isometry.stored import needed_blocks
from isometry.stream.haar_box import SMALL, VECTORS
from isometry.stream.haar_part import NARROWEST, PANEL_ELEMENTS
from isometry.stream.structured import TILE, is_structured
from isometry.types import Decision, Orthogonal

__all__ = ["is_orthogonal", "memory", "operations"]

Sides = list[NDArray[np.int64]]
OVERHEAD = 64  # vectors whose work a part costs, since it makes all reflections anew
SCRATCH = 8 << 20  # bytes, of a part: a strip of a product, a triangle
WHOLE, SMALLER = 20, 34  # bytes an element of a matrix that is made whole; of small ones


def is_orthogonal(decision: Decision) -> bool:
    """Is any of it an orthogonal matrix, which costs more than its elements?"""
    return any(isinstance(law, Orthogonal) for law in _laws(decision))


def _laws(decision: Decision) -> Iterator[object]:
    blocks = needed_blocks(decision)
    yield from [b.law for b in blocks] or [decision.law]


def operations(decision: Decision, sides: Sides) -> NDArray[np.float64]:
    """Floating-point operations of the linear algebra in a part, of all ranks.

    The reflections of an m x n matrix, m >= n, cost 4 (m n - n^2/2) for a row, and all its columns
    2 m n^2 - 2/3 n^3.

    Args:
        decision: with orthogonal laws.
        sides: how long the part is, of every rank, an array for each axis.
    """
    many, rows, columns = _matrices(decision)
    batch, height, width = _parts(decision, sides)
    m, n = max(rows, columns), min(rows, columns)
    if rows < columns:
        height, width = width, height
    whole = 2 * m * n**2 - 2 / 3 * n**3
    row = 4 * (m * n - n**2 / 2)
    vectors = np.minimum(height, width)
    again = np.ceil(vectors * m / VECTORS) * OVERHEAD * row
    part = np.minimum(height * row, width / n * whole) + again
    all_of_it = (height * width >= rows * columns) | (rows * columns <= SMALL)
    something = (height > 0) & (width > 0)
    return np.asarray(batch * something * np.where(all_of_it, whole * many, part * many))


def memory(decision: Decision, sides: Sides) -> int:
    """Bytes that filling takes beyond the part, on the rank where it takes most."""
    if not any(is_structured(law) for law in _laws(decision)):  # type: ignore[arg-type]
        return 0
    if not is_orthogonal(decision):
        return 16 * TILE
    _, rows, columns = _matrices(decision)
    batch, height, width = _parts(decision, sides)
    if rows * columns <= SMALL:
        held = min(SMALL, int(batch.max()) * rows * columns)
        return SMALLER * max(held, rows * columns)
    long = max(rows, columns)
    vectors = int(np.minimum(height, width).max()) * long
    at_once = min(vectors, max(VECTORS, long))  # in float64, what is taken of them, in float32
    found = 20 * at_once + 8 * max(PANEL_ELEMENTS, NARROWEST * long) + SCRATCH
    return max(found, WHOLE * rows * columns) if (height * width >= rows * columns).any() else found


def _matrices(decision: Decision) -> tuple[int, int, int]:
    """How many matrices each position along the batch axes has, and their sides: of the largest block."""
    blocks, shape = needed_blocks(decision), list(decision.shape)
    if blocks:
        shape[blocks[0].axis] = max(b.stop - b.start for b in blocks)
    _, out, rest = _axes(decision)
    return max(1, len(blocks)), math.prod(shape[a] for a in out), math.prod(shape[a] for a in rest)


def _parts(decision: Decision, sides: Sides) -> tuple[NDArray[np.int64], ...]:
    """How many matrices a rank has something of, and how many rows and columns of each."""
    count, _, _ = _matrices(decision)
    blocks = needed_blocks(decision)
    if blocks and count > 1:
        axis = blocks[0].axis
        sides = [-(-s // count) if a == axis else s for a, s in enumerate(sides)]
    one = np.ones((), dtype=np.int64)
    batch, out, rest = (math.prod((sides[a] for a in part), start=one) for part in _axes(decision))
    return batch, out, rest


def _axes(decision: Decision) -> tuple[tuple[int, ...], ...]:
    """Batch, out, and the rest, as the stream takes them."""
    axes, ndim = decision.axes, len(decision.shape)
    batch, out = ((), (0,)) if axes is None else (axes.batch_axis, axes.out_axis)
    return batch, out, tuple(a for a in range(ndim) if a not in (*batch, *out))
