"""Matrices of zeros and equal numbers, or of zeros but for some: identity, dirac, hadamard, sparse."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from isometry.stream._numpy import tile_words
from isometry.stream.box import Box, Values, along, drawn, sizes, take
from isometry.stream.index import Dim, tiles
from isometry.stream.keys import key
from isometry.types import Dirac, Hadamard, Identity, Sparse

__all__ = ["dirac", "hadamard", "identity", "sparse", "sparse_tiles"]

ROWS = 2**19  # elements of whole rows that are sorted at once


def sparse(law: Sparse, box: Box, dims: Sequence[Dim]) -> Values:
    _, _, rest = box.order
    whole = [box.ranges[a] if a in rest else d for a, d in enumerate(dims)]
    values = drawn(law, box, whole)
    marks = _marks(box, whole)
    order = [axis for part in box.order for axis in part]
    rows, columns = math.prod(sizes(box, values.shape)[:2]), sizes(box, values.shape)[2]
    zeros = math.ceil(law.sparsity * columns)
    chosen = np.argsort(marks.transpose(order).reshape(rows, columns), axis=1, kind="stable")
    mask = np.ones((rows, columns), dtype=np.float32)
    np.put_along_axis(mask, chosen[:, :zeros], 0.0, axis=1)
    moved = values.transpose(order)
    kept = np.where(mask.reshape(moved.shape) > 0, moved, np.float32(0.0))
    return take(kept.transpose(np.argsort(order)), box, dims, whole)


def sparse_tiles(box: Box, lengths: Sequence[int]) -> Iterator[tuple[slice, ...]]:
    """Cuts of what is asked for along the rows, which are made whole, some at a time."""
    batch, out, _ = box.order
    _, _, columns = sizes(box, [len(r) for r in box.ranges])
    for cut in tiles([lengths[a] for a in (*batch, *out)], max(1, ROWS // max(1, columns))):
        own = dict(zip((*batch, *out), cut, strict=True))
        yield tuple(own.get(a, slice(0, n)) for a, n in enumerate(lengths))


def identity(law: Identity, box: Box, dims: Sequence[Dim]) -> Values:
    return _pattern(law.gain, box, dims, groups=1)


def dirac(law: Dirac, box: Box, dims: Sequence[Dim]) -> Values:
    return _pattern(law.gain, box, dims, groups=law.groups)


def hadamard(law: Hadamard, box: Box, dims: Sequence[Dim]) -> Values:
    """The signs of (-1)^(ones of row & column), scaled, at the kernel's centre; +0 elsewhere."""
    row, column, rows = _rows_and_columns(box, dims, law.groups)
    ones = row & column
    for shift in (32, 16, 8, 4, 2, 1):
        ones = ones ^ (ones >> shift)
    m = (max(rows, len(box.ranges[box.axes.in_axis[0]]), 1) - 1).bit_length()
    size = law.gain * 2.0 ** -(m // 2) * (math.sqrt(0.5) if m % 2 else 1.0)
    signs = np.where(ones & 1, np.float32(-size), np.float32(size))
    values = np.where(_at_centre(box, dims), signs, np.float32(0.0))
    return np.broadcast_to(values, [len(d) for d in dims])


def _pattern(gain: float, box: Box, dims: Sequence[Dim], groups: int) -> Values:
    """gain where the output reads its own input, at the kernel's centre; +0 elsewhere."""
    row, column, _ = _rows_and_columns(box, dims, groups)
    on = _at_centre(box, dims) & (row == column)
    values = np.where(on, np.float32(gain), np.float32(0.0))
    return np.broadcast_to(values, [len(d) for d in dims])


def _rows_and_columns(
    box: Box, dims: Sequence[Dim], groups: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """Output and input numbers, to be broadcast, outputs counted in their group; and its size."""
    (out,), (into,) = box.axes.out_axis, box.axes.in_axis
    per_group = max(1, len(box.ranges[out]) // groups)
    rows = along(out, box.local(out, dims[out]) % per_group, len(dims))
    columns = along(into, box.local(into, dims[into]), len(dims))
    return rows.astype(np.int64), columns.astype(np.int64), per_group


def _at_centre(box: Box, dims: Sequence[Dim]) -> NDArray[np.bool_]:
    """True at the centre of every kernel axis."""
    on = np.ones((1,) * len(dims), dtype=np.bool_)
    for a in box.field:
        if len(box.ranges[a]):
            on = np.logical_and(on, along(a, np.asarray(dims[a]) == box.centre(a), len(dims)))
    return on


def _marks(box: Box, dims: Sequence[Dim]) -> NDArray[np.uint32]:
    """The words by which zeros are chosen, a chunk at a time."""
    stream = key(box.seed, box.name, "mask")
    out = np.empty([len(d) for d in dims], dtype=np.uint32)
    for tile in tiles(out.shape):
        part = [d[s] for d, s in zip(dims, tile, strict=True)]
        out[tile] = tile_words(stream, part, box.shape)
    return out
