"""Laws of a whole matrix: orthogonal, delta-orthogonal, identity, dirac, sparse.

Each works on a *box*: the whole tensor, or the block of it that has the law. Axes play one of
three parts: batch (independent matrices), out (rows), and the rest (columns: the in axes and the
receptive field, in the order in which the tensor has them).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError
from isometry.stream._numpy import tile_words
from isometry.stream.backend import Backend
from isometry.stream.draws import draw_of
from isometry.stream.haar import haar
from isometry.stream.index import Dim, tiles
from isometry.stream.keys import key
from isometry.types import Axes, DeltaOrthogonal, Dirac, Identity, Law, Normal, Orthogonal, Sparse

__all__ = ["Box", "check_structured", "is_structured", "structured"]

TOGETHER = 2**16  # elements of small matrices made orthogonal at once
Values = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Box:
    """A block of a named tensor that has one structured law, and what its axes are for."""

    seed: int
    name: str
    shape: tuple[int, ...]  # of the whole tensor: it numbers the elements
    ranges: tuple[range, ...]  # the block, in the tensor's own positions
    axes: Axes
    backend: Backend
    threads: int

    @property
    def field(self) -> tuple[int, ...]:
        """The axes of the receptive field."""
        named = (*self.axes.in_axis, *self.axes.out_axis, *self.axes.batch_axis)
        return tuple(a for a in range(len(self.shape)) if a not in named)

    @property
    def order(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Batch, out and the rest, each in the tensor's own order."""
        batch, out = sorted(self.axes.batch_axis), sorted(self.axes.out_axis)
        rest = sorted((*self.axes.in_axis, *self.field))
        return tuple(batch), tuple(out), tuple(rest)

    def centre(self, axis: int) -> int:
        """The middle of a kernel axis: k // 2, as torch and JAX have it."""
        return self.ranges[axis][len(self.ranges[axis]) // 2]

    def local(self, axis: int, dim: Dim) -> NDArray[np.int64]:
        """Positions along an axis, counted from the block's first."""
        return np.asarray(dim, dtype=np.int64) - self.ranges[axis].start


def check_structured(law: Law, shape: tuple[int, ...], axes: Axes | None) -> Axes:
    """The axes a structured law will use. Raises ArgumentError where it cannot fit the shape."""
    if axes is None:
        if len(shape) < 2:
            raise ArgumentError(
                f"{law} is a law of matrices; shape {shape} has {len(shape)} axes; expected two or "
                "more, or another law"
            )
        axes = Axes(in_axis=(1,), out_axis=(0,))
    named = (*axes.in_axis, *axes.out_axis, *axes.batch_axis)
    if len(set(named)) != len(named) or not all(0 <= a < len(shape) for a in named):
        raise ArgumentError(f"{axes}: expected distinct positions in [0, {len(shape)})")
    if not axes.in_axis or not axes.out_axis:
        raise ArgumentError(f"{axes}: {law} needs an in_axis and an out_axis")
    field = len(shape) - len(named)
    if isinstance(law, Identity) and (len(axes.in_axis) > 1 or len(axes.out_axis) > 1 or field):
        raise ArgumentError(
            f"{law} is a law of plain matrices; shape {shape} has {field} kernel axes and {axes}; "
            "for a convolution write Dirac(gain)"
        )
    if isinstance(law, Dirac):
        if len(axes.in_axis) > 1 or len(axes.out_axis) > 1 or not field:
            raise ArgumentError(
                f"{law} is a law of convolutions; shape {shape} has {field} kernel axes and {axes}; "
                "for a matrix write Identity(gain)"
            )
        out = shape[axes.out_axis[0]]
        if (
            isinstance(law.groups, bool)
            or not isinstance(law.groups, int)
            or law.groups < 1
            or out % law.groups
        ):
            raise ArgumentError(
                f"Dirac(groups={law.groups!r}): expected a positive divisor of the {out} outputs"
            )
    return axes


def is_structured(law: Law) -> bool:
    """Is the law one of a whole matrix, rather than of single elements?"""
    return type(law) in _LAWS


def structured(law: Law, box: Box, dims: Sequence[Dim]) -> Values:
    """The values of a structured law at the given positions, of shape (len(dim), ...)."""
    return _LAWS[type(law)](law, box, dims)


def _orthogonal(law: Orthogonal, box: Box, dims: Sequence[Dim]) -> Values:
    whole = [d if a in box.axes.batch_axis else box.ranges[a] for a, d in enumerate(dims)]
    return _take(_semi_orthogonal(law.gain, box, whole), box, dims, whole)


def _delta_orthogonal(law: Orthogonal, box: Box, dims: Sequence[Dim]) -> Values:
    values = np.zeros([len(d) for d in dims], dtype=np.float32)
    whole: list[Dim] = list(box.ranges)
    at: list[NDArray[np.int64]] = [np.arange(len(d), dtype=np.int64) for d in dims]
    for a in box.axes.batch_axis:
        whole[a] = dims[a]
    for a in box.field:
        centre = box.centre(a) if len(box.ranges[a]) else 0
        whole[a] = range(centre, centre + 1)
        at[a] = np.flatnonzero(np.asarray(dims[a]) == centre)
    if all(len(a) for a in at):
        centre_dims = [whole[a] if a in box.field else d for a, d in enumerate(dims)]
        values[np.ix_(*at)] = _take(_semi_orthogonal(law.gain, box, whole), box, centre_dims, whole)
    return values


def _semi_orthogonal(gain: float, box: Box, dims: Sequence[Dim]) -> Values:
    """gain * Q for each matrix, Q made by reflections from normals at the same positions."""
    normals = _drawn(Normal(std=1.0), box, dims)
    order = [axis for part in box.order for axis in part]
    moved = normals.transpose(order)
    matrices = moved.reshape(_sizes(box, normals.shape))
    if matrices.size:
        together = max(1, TOGETHER // matrices[0].size)
        for first in range(0, len(matrices), together):
            some = matrices[first : first + together]
            np.multiply(haar(some), gain, out=some, casting="same_kind")  # rounded to float32 once
    return matrices.reshape(moved.shape).transpose(np.argsort(order))


def _sparse(law: Sparse, box: Box, dims: Sequence[Dim]) -> Values:
    _, _, rest = box.order
    whole = [box.ranges[a] if a in rest else d for a, d in enumerate(dims)]
    values = _drawn(law, box, whole)
    marks = _marks(box, whole)
    order = [axis for part in box.order for axis in part]
    rows, columns = math.prod(_sizes(box, values.shape)[:2]), _sizes(box, values.shape)[2]
    zeros = math.ceil(law.sparsity * columns)
    chosen = np.argsort(marks.transpose(order).reshape(rows, columns), axis=1, kind="stable")
    mask = np.ones((rows, columns), dtype=np.float32)
    np.put_along_axis(mask, chosen[:, :zeros], 0.0, axis=1)
    moved = values.transpose(order)
    kept = np.where(mask.reshape(moved.shape) > 0, moved, np.float32(0.0))
    return _take(kept.transpose(np.argsort(order)), box, dims, whole)


def _identity(law: Identity, box: Box, dims: Sequence[Dim]) -> Values:
    return _pattern(law.gain, box, dims, groups=1)


def _dirac(law: Dirac, box: Box, dims: Sequence[Dim]) -> Values:
    return _pattern(law.gain, box, dims, groups=law.groups)


def _pattern(gain: float, box: Box, dims: Sequence[Dim], groups: int) -> Values:
    """gain where the output reads its own input, at the kernel's centre; +0 elsewhere."""
    (out,), (into,) = box.axes.out_axis, box.axes.in_axis
    per_group = max(1, len(box.ranges[out]) // groups)
    on = np.ones((1,) * len(dims), dtype=np.bool_)
    on = on & (
        _along(out, box.local(out, dims[out]) % per_group, len(dims))
        == _along(into, box.local(into, dims[into]), len(dims))
    )
    for a in box.field:
        if len(box.ranges[a]):
            on = on & _along(a, np.asarray(dims[a]) == box.centre(a), len(dims))
    values = np.where(on, np.float32(gain), np.float32(0.0))
    return np.broadcast_to(values, [len(d) for d in dims])


def _along(axis: int, values: NDArray[np.generic], ndim: int) -> NDArray[np.generic]:
    return values.reshape([-1 if a == axis else 1 for a in range(ndim)])


def _sizes(box: Box, lengths: Sequence[int]) -> tuple[int, int, int]:
    batch, out, rest = (math.prod(lengths[a] for a in part) for part in box.order)
    return batch, out, rest


def _drawn(law: Law, box: Box, dims: Sequence[Dim]) -> Values:
    """Values of an elementwise law at these positions."""
    how = draw_of(law)
    assert how is not None
    out = np.empty([len(d) for d in dims], dtype=np.float32)
    stream = key(box.seed, box.name)
    box.backend.elementwise(how, stream, dims, box.shape, "float32", out, box.threads)
    return out


def _marks(box: Box, dims: Sequence[Dim]) -> NDArray[np.uint32]:
    """The words by which zeros are chosen, a chunk at a time."""
    stream = key(box.seed, box.name, "mask")
    out = np.empty([len(d) for d in dims], dtype=np.uint32)
    for tile in tiles(out.shape):
        part = [d[s] for d, s in zip(dims, tile, strict=True)]
        out[tile] = tile_words(stream, part, box.shape)
    return out


def _take(values: Values, box: Box, dims: Sequence[Dim], whole: Sequence[Dim]) -> Values:
    """The positions asked for, out of values computed for whole axes."""
    for a, (dim, have) in enumerate(zip(dims, whole, strict=True)):
        same = dim == have if isinstance(dim, range) and isinstance(have, range) else dim is have
        if not same:
            values = values.take(
                np.asarray(dim, dtype=np.int64) - int(have[0] if len(have) else 0), axis=a
            )
    return values


_LAWS: dict[type[Law], Callable[..., Values]] = {
    Orthogonal: _orthogonal,
    DeltaOrthogonal: _delta_orthogonal,
    Sparse: _sparse,
    Identity: _identity,
    Dirac: _dirac,
}
