"""A block of a named tensor that has one law of a whole matrix, and what its axes are for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.stream.backend import Backend
from isometry.stream.draws import draw_of
from isometry.stream.index import Dim
from isometry.stream.keys import key
from isometry.types import Axes, Law

__all__ = ["Box", "Values", "along", "drawn", "sizes", "take"]

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


def along(axis: int, values: NDArray[np.generic], ndim: int) -> NDArray[np.generic]:
    """A vector along one axis of ndim, to be broadcast."""
    return values.reshape([-1 if a == axis else 1 for a in range(ndim)])


def sizes(box: Box, lengths: Sequence[int]) -> tuple[int, int, int]:
    """How many matrices, of how many rows and columns."""
    batch, out, rest = (math.prod(lengths[a] for a in part) for part in box.order)
    return batch, out, rest


def drawn(law: Law, box: Box, dims: Sequence[Dim]) -> Values:
    """Values of an elementwise law at these positions."""
    how = draw_of(law)
    assert how is not None
    out = np.empty([len(d) for d in dims], dtype=np.float32)
    stream = key(box.seed, box.name)
    box.backend.elementwise(how, stream, dims, box.shape, "float32", out, box.threads)
    return out


def take(values: Values, box: Box, dims: Sequence[Dim], whole: Sequence[Dim]) -> Values:
    """The positions asked for, out of values computed for whole axes."""
    for a, (dim, have) in enumerate(zip(dims, whole, strict=True)):
        same = dim == have if isinstance(dim, range) and isinstance(have, range) else dim is have
        if not same:
            values = values.take(
                np.asarray(dim, dtype=np.int64) - int(have[0] if len(have) else 0), axis=a
            )
    return values
