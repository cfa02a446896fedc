"""Which elements of a tensor are asked for: one list of positions per axis, combined outerly."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.errors import ArgumentError

__all__ = ["CHUNK", "Dim", "Selection", "contiguous", "linear", "select", "shape_of", "tiles"]

CHUNK = 1 << 14  # elements worked on at once: their temporaries stay in cache

Dim = range | NDArray[np.int64]  # the positions taken along one axis, all of them valid


@dataclass(frozen=True, slots=True)
class Selection:
    """The positions taken along every axis, and which of the axes the result keeps."""

    dims: tuple[Dim, ...]
    kept: tuple[bool, ...]  # False where the index was an integer

    @property
    def lengths(self) -> tuple[int, ...]:
        """How many positions are taken along each axis, those of integers included."""
        return tuple(len(d) for d in self.dims)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the result."""
        return tuple(len(d) for d, kept in zip(self.dims, self.kept, strict=True) if kept)

    def expand(self, out: NDArray[Any]) -> NDArray[Any]:
        """A view of the result that has all the tensor's axes."""
        return out[(*(slice(None) if kept else None for kept in self.kept), ...)]


def shape_of(shape: object) -> tuple[int, ...]:
    """A shape as a tuple of ints. Raises ArgumentError where it is not one."""
    sizes: list[int] = []
    try:
        items = list(shape) if not isinstance(shape, str) else None  # type: ignore[call-overload]
    except TypeError:
        items = None
    for item in items if items is not None else ():
        number = _integer(item)
        if number is not None and number >= 0:
            sizes.append(number)
    if items is None or len(sizes) != len(items):
        raise ArgumentError(
            f"shape={shape!r}: expected a tuple of non-negative integers; write (256, 128), or "
            "(256,) for a vector"
        )
    if math.prod(sizes) > 2**62:
        raise ArgumentError(f"shape={shape!r} has more than 2**62 elements")
    return tuple(sizes)


def select(shape: tuple[int, ...], index: object) -> Selection:
    """The selection an index makes: integers, slices, 1-D integer or boolean arrays, Ellipsis."""
    items = list(index) if isinstance(index, tuple) else [] if index is None else [index]
    ellipses = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(ellipses) > 1:
        raise ArgumentError(f"index={index!r}: expected at most one Ellipsis (...)")
    missing = len(shape) - len(items) + len(ellipses)
    if missing < 0:
        raise ArgumentError(
            f"index={index!r} has {len(items) - len(ellipses)} entries for a tensor of "
            f"{len(shape)} axes (shape {shape}); write at most one entry an axis"
        )
    place = ellipses[0] if ellipses else len(items)
    items[place : place + 1] = [slice(None)] * missing
    pairs = [
        _dim(axis, size, item) for axis, (size, item) in enumerate(zip(shape, items, strict=True))
    ]
    return Selection(tuple(d for d, _ in pairs), tuple(kept for _, kept in pairs))


def _integer(item: object) -> int | None:
    if isinstance(item, (bool, np.bool_)) or (isinstance(item, np.ndarray) and item.ndim):
        return None
    try:
        return operator.index(item)  # type: ignore[arg-type]
    except TypeError:
        return None


def _dim(axis: int, size: int, item: object) -> tuple[Dim, bool]:
    """The positions one entry takes along its axis, and whether the axis stays."""
    if isinstance(item, slice):
        try:
            return range(*item.indices(size)), True
        except (TypeError, ValueError) as error:
            raise ArgumentError(f"index {item!r} of axis {axis}: {error}") from None
    number = _integer(item)
    if number is not None:
        if not -size <= number < size:
            raise ArgumentError(
                f"index {number} of axis {axis}: expected {-size} <= index < {size}"
            )
        return range(number % size, number % size + 1), False
    if isinstance(item, (np.ndarray, list, range)):
        array = np.asarray(item)
        if array.ndim == 1 and array.dtype == np.bool_:
            if array.size != size:
                raise ArgumentError(
                    f"boolean index of axis {axis} has {array.size} entries; the axis has {size}"
                )
            return np.flatnonzero(array).astype(np.int64), True
        if array.ndim == 1 and (array.dtype.kind in "iu" or array.size == 0):
            if array.size and not (-size <= int(array.min()) and int(array.max()) < size):
                raise ArgumentError(
                    f"index of axis {axis} runs from {array.min()} to {array.max()}: expected "
                    f"{-size} <= index < {size}"
                )
            places = array.astype(np.int64)
            return np.where(places < 0, places + size, places), True
    raise ArgumentError(
        f"index {item!r} of axis {axis}: expected an integer, a slice, a 1-D array of integers or "
        "of booleans, or an Ellipsis; arrays on several axes combine as in numpy.ix_"
    )


def tiles(lengths: Sequence[int], limit: int = CHUNK) -> Iterator[tuple[slice, ...]]:
    """Boxes of at most `limit` elements that cover an array of these lengths, in order."""
    if 0 in lengths:
        return
    inner, split = 1, len(lengths)
    while split and inner * lengths[split - 1] <= limit:
        split -= 1
        inner *= lengths[split]
    whole = [slice(0, n) for n in lengths[split:]]
    if not split:
        yield tuple(whole)
        return
    size = lengths[split - 1]
    pieces = -(-size // max(1, limit // inner))
    edges = [size * i // pieces for i in range(pieces + 1)]
    for outer in np.ndindex(*lengths[: split - 1]):
        head = [slice(i, i + 1) for i in outer]
        for start, stop in pairwise(edges):
            yield (*head, slice(start, stop), *whole)


def contiguous(dims: Sequence[Dim], shape: Sequence[int]) -> tuple[int, int] | None:
    """(start, stop) of the row-major positions, where they are consecutive and ascending."""
    start, count, stride = 0, 1, 1
    open_ended = True  # are all the axes so far taken whole?
    for dim, size in zip(reversed(dims), reversed(shape), strict=True):
        if len(dim) == 0:
            return None
        if len(dim) > 1:
            if not open_ended or not isinstance(dim, range) or dim.step != 1:
                return None
            count *= len(dim)
        open_ended = open_ended and len(dim) == size
        start += int(dim[0]) * stride
        stride *= size
    return start, start + count


def linear(dims: Sequence[Dim], shape: Sequence[int]) -> NDArray[np.int64]:
    """The row-major position of every element taken, of shape (len(dim), ...)."""
    total = np.zeros((1,) * len(dims), dtype=np.int64)
    stride = 1
    for axis in reversed(range(len(dims))):
        along = [1] * len(dims)
        along[axis] = -1
        total = total + np.asarray(dims[axis], dtype=np.int64).reshape(along) * stride
        stride *= shape[axis]
    return total
