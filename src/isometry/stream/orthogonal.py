"""Orthogonal matrices: plain, at a kernel's centre, blind to the mean, between mirrored pairs.

Each takes its numbers from Haar matrices in a part of the box: place by place, with a sign.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isometry.stream.box import Box, Values, along
from isometry.stream.haar_box import HaarBox
from isometry.stream.index import Dim, tiles
from isometry.types import CenteredOrthogonal, DeltaOrthogonal, MirroredOrthogonal, Orthogonal

__all__ = ["orthogonal", "orthogonal_tiles"]


def orthogonal(law: Orthogonal, box: Box, dims: Sequence[Dim]) -> Values:
    """The values at these positions, of shape (len(dim), ...); +0 where there is no matrix."""
    haar, sources, signs = _taken_from(law, box, dims)
    kept = [np.flatnonzero(s) for s in signs]
    lengths = [len(d) for d in dims]
    if not all(len(k) for k in kept):
        return np.zeros(lengths, dtype=np.float32)
    places, back = _ascending([s[k] for s, k in zip(sources, kept, strict=True)])
    values = haar.values(places, _is_whole(box, dims))
    for axis, order in enumerate(back):
        if len(order) != values.shape[axis] or (np.diff(order) != 1).any():
            values = values.take(order, axis=axis)
        own = signs[axis][kept[axis]]
        if (own < 0).any():
            np.multiply(values, along(axis, own, len(dims)), out=values)
    if list(values.shape) == lengths:
        return values
    out = np.zeros(lengths, dtype=np.float32)
    out[np.ix_(*kept)] = values
    return out


def orthogonal_tiles(law: Orthogonal, box: Box, dims: Sequence[Dim]) -> Iterator[tuple[slice, ...]]:
    """Cuts of what is asked for, each to be worked out by itself, in little memory.

    Matrices that are small, or asked for whole, are made whole, some of a batch at a time. Of a large
    one what is asked for is made, some rows or some columns at a time: `haar_part`.
    """
    haar, sources, signs = _taken_from(law, box, dims)
    kept = [s[np.flatnonzero(sign)] for s, sign in zip(sources, signs, strict=True)]
    lengths = [len(d) for d in dims]
    if not all(len(k) for k in kept):
        yield tuple(slice(0, n) for n in lengths)
        return
    load = haar.load(_ascending(kept)[0], _is_whole(box, dims))
    batch = sorted(box.axes.batch_axis)
    for outer in tiles([lengths[a] for a in batch], load.matrices):
        for inner in tiles([lengths[a] for a in load.axes], load.positions):
            cut = dict(zip((*batch, *load.axes), (*outer, *inner), strict=True))
            yield tuple(cut.get(a, slice(0, n)) for a, n in enumerate(lengths))


def _taken_from(
    law: Orthogonal, box: Box, dims: Sequence[Dim]
) -> tuple[HaarBox, list[NDArray[np.int64]], list[NDArray[np.float32]]]:
    """The matrices, and for each position along each axis where its numbers stand, times what."""
    ranges = list(box.ranges)
    sources = [np.asarray(d, dtype=np.int64) for d in dims]
    signs = [np.ones(len(d), dtype=np.float32) for d in dims]
    if isinstance(law, MirroredOrthogonal):
        (out,), (into,) = box.axes.out_axis, box.axes.in_axis
        for axis, pairs, lonely in ((out, law.writes, 1.0), (into, law.reads, 0.0)):
            n, first = len(ranges[axis]), ranges[axis].start
            local, signs[axis] = _sides(sources[axis] - first, n, pairs, lonely)
            sources[axis] = local + first
        ranges[out] = ranges[out][: len(ranges[out]) - law.writes]
        ranges[into] = ranges[into][: law.reads] if law.reads else ranges[into]
    if isinstance(law, DeltaOrthogonal) or getattr(law, "delta", False):
        for axis in box.field:
            centre = box.centre(axis)
            ranges[axis] = range(centre, centre + 1)
            signs[axis] = (sources[axis] == centre).astype(np.float32)
    reads, writes = (
        (law.reads, law.writes) if isinstance(law, CenteredOrthogonal) else (False, False)
    )
    return HaarBox(replace(box, ranges=tuple(ranges)), law.gain, reads, writes), sources, signs


def _sides(
    places: NDArray[np.int64], count: int, pairs: int, lonely: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each unit, the one whose numbers it takes and the sign; units without a partner keep
    their own, or are multiplied by 0."""
    if pairs == 0:
        return places, np.ones(len(places), dtype=np.float32)
    second, alone = places >= count - pairs, (places >= pairs) & (places < count - pairs)
    signs = np.where(second, -1.0, np.where(alone, lonely, 1.0)).astype(np.float32)
    return np.where(second, places - (count - pairs), places), signs


def _ascending(
    places: Sequence[NDArray[np.int64]],
) -> tuple[list[Dim], list[NDArray[np.intp]]]:
    """The positions of each axis in order, once each, as a range where they are one; and where each
    of the given is among them."""
    ordered: list[Dim] = []
    back: list[NDArray[np.intp]] = []
    for given in places:
        unique, where = np.unique(given, return_inverse=True)
        first, last = int(unique[0]), int(unique[-1])
        ordered.append(range(first, last + 1) if last - first + 1 == len(unique) else unique)
        back.append(where)
    return ordered, back


def _is_whole(box: Box, dims: Sequence[Dim]) -> bool:
    """Are whole matrices asked for, all rows and all columns?"""
    return all(
        len(np.unique(np.asarray(dims[a]))) == len(box.ranges[a])
        for part in box.order[1:]
        for a in part
    )
