"""Where the elements of a part lie, in memory and in the whole tensor, as few axes as can be.

For kernels that run far from NumPy: numbers and tables, no framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isometry.stream.index import Dim

__all__ = ["Along", "Places", "encoded", "places"]


@dataclass(frozen=True, slots=True)
class Along:
    """One axis: its i-th position lies i * stride items on in memory, and is the element
    i * step, or the i-th of a table, further on in the whole tensor."""

    length: int
    stride: int
    step: int
    table: NDArray[np.int64] | None = None

    def whole_blocks(self) -> bool:
        """Does it go from one begin of a block of four to others, in memory and in the tensor?"""
        steps = self.step if self.table is None else self.table
        return self.stride % 4 == 0 and not np.any(np.mod(steps, 4))

    def takes_in(self, outer: Along) -> bool:
        """Are this axis and the one around it a single, longer one?"""
        return (
            self.table is None
            and outer.table is None
            and outer.stride == self.stride * self.length
            and outer.step == self.step * self.length
        )


@dataclass(frozen=True, slots=True)
class Places:
    """The element at the first place, and the axes, those that are nearest in memory first."""

    first: int
    axes: tuple[Along, ...]

    @property
    def run(self) -> int:
        """How many elements follow each other in memory and in the tensor; 1 where none do."""
        if not self.axes:
            return 1
        axis = self.axes[0]
        return axis.length if axis.table is None and axis.stride == axis.step == 1 else 1


def encoded(axes: Sequence[Along]) -> NDArray[np.int64]:
    """Axes as numbers: (length, stride, step, where its table starts or 0) of each, then the tables."""
    rows: list[int] = []
    tables: list[NDArray[np.int64]] = []
    start = 4 * len(axes)
    for axis in axes:
        rows += [axis.length, axis.stride, axis.step, 0 if axis.table is None else start]
        if axis.table is not None:
            tables.append(axis.table)
            start += axis.length
    return np.concatenate([np.array(rows, dtype=np.int64), *tables])


def places(dims: Sequence[Dim], shape: Sequence[int], strides: Sequence[int]) -> Places:
    """The places of the positions `dims` of a tensor of this shape, in memory of these strides.

    Args:
        dims: the positions taken along every axis; none is empty.
        shape: of the whole tensor.
        strides: of the memory that holds the part, in items, an entry an axis.

    Returns:
        The places. Axes of length 1 are gone, and axes that run on into each other are one.

    Example:
        >>> places([range(2, 4), range(5)], (10, 5), (5, 1))
        Places(first=10, axes=(Along(length=10, stride=1, step=1, table=None),))
    """
    first, worth = 0, 1  # worth: of one position along the axis, in elements
    axes: list[Along] = []
    for dim, size, stride in zip(reversed(dims), reversed(shape), reversed(strides), strict=True):
        if isinstance(dim, range) or len(dim) == 1:
            first += int(dim[0]) * worth
            step = dim.step * worth if isinstance(dim, range) else 0
            axes.append(Along(len(dim), stride, step))
        else:
            axes.append(Along(len(dim), stride, 0, np.asarray(dim, dtype=np.int64) * worth))
        worth *= size
    merged: list[Along] = []
    for axis in sorted((a for a in axes if a.length > 1), key=lambda a: a.stride):
        if merged and merged[-1].takes_in(axis):
            inner = merged[-1]
            merged[-1] = Along(inner.length * axis.length, inner.stride, inner.step)
        else:
            merged.append(axis)
    return Places(first, tuple(merged))
