"""Orthogonal matrices: plain, at a kernel's centre, blind to the mean, between mirrored pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from isometry.stream.box import Box, Values, along, drawn, sizes, take
from isometry.stream.haar import Floats, haar
from isometry.stream.index import Dim
from isometry.types import (
    CenteredOrthogonal,
    DeltaOrthogonal,
    MirroredOrthogonal,
    Normal,
    Orthogonal,
)

__all__ = ["centered", "delta_orthogonal", "mirrored", "orthogonal"]

TOGETHER = 2**16  # elements of small matrices made orthogonal at once


def orthogonal(law: Orthogonal, box: Box, dims: Sequence[Dim]) -> Values:
    whole = [d if a in box.axes.batch_axis else box.ranges[a] for a, d in enumerate(dims)]
    return take(_semi_orthogonal(law.gain, box, whole), box, dims, whole)


def delta_orthogonal(law: DeltaOrthogonal, box: Box, dims: Sequence[Dim]) -> Values:
    whole = _at_centre(
        box, [d if a in box.axes.batch_axis else box.ranges[a] for a, d in enumerate(dims)]
    )
    return _spread(_semi_orthogonal(law.gain, box, whole), box, dims, whole)


def centered(law: CenteredOrthogonal, box: Box, dims: Sequence[Dim]) -> Values:
    """H_out [Q, 0; 0, 0] H_in: Q a row or a column short, H the reflection that swaps e_N and 1/sqrt(N)."""
    whole = [d if a in box.axes.batch_axis else box.ranges[a] for a, d in enumerate(dims)]
    if law.delta:
        whole = _at_centre(box, whole)
    values = _matrices(box, whole, lambda m: law.gain * _centred(m, law.reads, law.writes))
    return _spread(values, box, dims, whole)


def _centred(normals: NDArray[np.floating], reads: bool, writes: bool) -> Floats:
    rows, columns = normals.shape[-2] - writes, normals.shape[-1] - reads
    q = np.zeros(normals.shape)
    if rows and columns:
        q[..., :rows, :columns] = haar(normals[..., :rows, :columns])
    if reads and columns:
        v = _swapping(columns + 1)
        q -= 2.0 * (q @ v)[..., None] * v
    if writes and rows:
        v = _swapping(rows + 1)
        q -= 2.0 * v[:, None] * (v @ q)[..., None, :]
    return q


def _swapping(n: int) -> Floats:
    """The unit vector v whose reflection, I - 2 v vᵀ, swaps e_n and (1, ..., 1)/sqrt(n), n > 1."""
    v = np.full(n, -(n**-0.5))
    v[-1] += 1.0
    return np.asarray(v / np.sqrt(2.0 * v[-1]))  # |e_n - 1/sqrt(n)|² = 2 - 2/sqrt(n) = 2 v_n


def mirrored(law: MirroredOrthogonal, box: Box, dims: Sequence[Dim]) -> Values:
    """±W at the positions of a first half and of its mirror."""
    (out,), (into,) = box.axes.out_axis, box.axes.in_axis
    whole = [d if a in box.axes.batch_axis else box.ranges[a] for a, d in enumerate(dims)]
    rows, columns = box.ranges[out], box.ranges[into]
    whole[out] = rows[: len(rows) - law.writes]
    whole[into] = columns[: law.reads] if law.reads else columns
    if law.delta:
        whole = _at_centre(box, whole)
    values = _semi_orthogonal(law.gain, box, whole)
    row, row_sign = _sides(box.local(out, dims[out]), len(rows), law.writes, lonely=1.0)
    column, column_sign = _sides(box.local(into, dims[into]), len(columns), law.reads, lonely=0.0)
    values = values.take(row, axis=out).take(column, axis=into)
    signs = np.multiply(along(out, row_sign, len(dims)), along(into, column_sign, len(dims)))
    values = np.where(signs == 0, np.float32(0.0), np.multiply(values, signs))
    whole[out], whole[into] = dims[out], dims[into]
    return _spread(values, box, dims, whole)


def _sides(
    places: NDArray[np.int64], count: int, pairs: int, lonely: float
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """For each unit, the one whose numbers it takes and the sign; units without a partner keep
    their own, or are multiplied by 0."""
    if pairs == 0:
        return places, np.ones(len(places), dtype=np.float32)
    second, alone = places >= count - pairs, (places >= pairs) & (places < count - pairs)
    signs = np.where(second, -1.0, np.where(alone, lonely, 1.0)).astype(np.float32)
    source = np.where(second, places - (count - pairs), np.where(alone & (lonely == 0), 0, places))
    return source, signs


def _semi_orthogonal(gain: float, box: Box, dims: Sequence[Dim]) -> Values:
    """gain * Q for each matrix, Q made by reflections from normals at the same positions."""
    return _matrices(box, dims, lambda normals: gain * haar(normals))


def _matrices(
    box: Box, dims: Sequence[Dim], make: Callable[[NDArray[np.floating]], Floats]
) -> Values:
    """What `make` makes of the normals at these positions, matrix by matrix."""
    normals = drawn(Normal(std=1.0), box, dims)
    order = [axis for part in box.order for axis in part]
    moved = normals.transpose(order)
    matrices = moved.reshape(sizes(box, normals.shape))
    if matrices.size:
        together = max(1, TOGETHER // matrices[0].size)
        for first in range(0, len(matrices), together):
            some = matrices[first : first + together]
            some[...] = make(some)  # rounded to float32 once
    return matrices.reshape(moved.shape).transpose(np.argsort(order))


def _at_centre(box: Box, dims: Sequence[Dim]) -> list[Dim]:
    """The same positions, but of a kernel only its centre."""
    whole = list(dims)
    for a in box.field:
        centre = box.centre(a) if len(box.ranges[a]) else 0
        whole[a] = range(centre, centre + 1)
    return whole


def _spread(values: Values, box: Box, dims: Sequence[Dim], whole: Sequence[Dim]) -> Values:
    """The positions asked for: values where there are some, +0 where a kernel is not at its centre."""
    out = np.zeros([len(d) for d in dims], dtype=np.float32)
    at: list[NDArray[np.int64]] = []
    wanted: list[Dim] = []
    for a, (dim, have) in enumerate(zip(dims, whole, strict=True)):
        inside = np.isin(np.asarray(dim), np.asarray(have)) if a in box.field else None
        at.append(np.arange(len(dim)) if inside is None else np.flatnonzero(inside))
        wanted.append(dim if inside is None or inside.all() else np.asarray(dim)[inside])
    if all(len(a) for a in at):
        out[np.ix_(*at)] = take(values, box, wanted, whole)
    return out
