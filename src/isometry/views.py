"""Which axes of which tensor a view shows, read off its strides.

Every view of a storage is (sizes, strides, offset). A storage written by one operation has a
layout: a list of digits, from the most to the least significant, that says how an address splits
into positions along the axes of the tensor first written there, its root. Decomposing a view in
that mixed-radix system tells for each of its axes which axes of the root it runs over, through
any chain of transposes, splits, slices and reshapes, without a rule per operation. A copy of a
view starts a new storage whose digits are the view's. `View` moves through such storages where a
framework has no strides of its own to show: the strides are those that PyTorch would have.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

__all__ = ["Layout", "View", "Window", "copied_layout", "fresh_layout", "row_major"]

REPEATED = -1  # the axis of a digit along which nothing changes: an expanded axis that was copied


@dataclass(frozen=True, slots=True)
class Digit:
    """Addresses stride, 2 stride, ... size stride step along `axis` of the root by `unit`."""

    stride: int
    size: int
    axis: int
    unit: int


@dataclass(frozen=True, slots=True)
class Window:
    """A view, decomposed: the digits under each of its axes, and the position it starts at."""

    root: int
    axes: tuple[tuple[Digit, ...], ...]
    start: tuple[tuple[int, int], ...]  # (axis of the root, first position)

    def covers(self, dim: int) -> tuple[int, ...]:
        """The axes of the root that one axis of the view runs over."""
        return tuple(dict.fromkeys(d.axis for d in self.axes[dim] if d.axis != REPEATED))

    def is_ordered(self, dims: slice = slice(None)) -> bool:
        """Do positions along these axes of the view rise as along the root's, the slowest first?"""
        found = [(d.axis, -d.unit) for dim in self.axes[dims] for d in dim if d.axis != REPEATED]
        return found == sorted(found)

    def ranges(self, shape: Sequence[int]) -> dict[int, tuple[int, int]]:
        """The range of each axis of the root that the view covers, where not the whole."""
        first = dict(self.start)
        last = dict(self.start)
        for digit in (d for dim in self.axes for d in dim):
            last[digit.axis] = last.get(digit.axis, 0) + (digit.size - 1) * digit.unit
        found = {}
        for axis, size in enumerate(shape):
            start, stop = first.get(axis, 0), last.get(axis, 0) + 1
            if (start, stop) != (0, size):
                found[axis] = (start, stop)
        return found


@dataclass(frozen=True, slots=True)
class Layout:
    """How the addresses of one storage split into positions along the axes of `root`."""

    root: int
    digits: tuple[Digit, ...]  # by falling stride
    base: tuple[tuple[int, int], ...] = ()  # where address 0 lies along the root's axes
    known: bool = True  # False: a copy of what could not be decomposed

    def window(self, sizes: Sequence[int], strides: Sequence[int], offset: int) -> Window | None:
        """Decompose a view; None where its strides do not follow the digits."""
        start = dict(self.base)
        rest = offset
        room = []  # how far each digit can still step before it carries into the next
        for digit in self.digits:
            step, rest = divmod(rest, digit.stride)
            start[digit.axis] = start.get(digit.axis, 0) + step * digit.unit
            room.append(digit.size - 1 - step)
        if not self.known or rest or min(room, default=0) < 0:
            return None
        axes = []
        for size, stride in zip(sizes, strides, strict=True):
            found = self._axis(size, stride, room)
            if found is None:
                return None
            axes.append(found)
        return Window(self.root, tuple(axes), tuple(start.items()))

    def _axis(self, size: int, stride: int, room: list[int]) -> tuple[Digit, ...] | None:
        if size <= 1 or stride == 0:  # nothing to run over, or an expanded axis
            return ()
        found: list[Digit] = []
        # The axis may run over several digits: the finest first, then carry into the coarser.
        for place in reversed(range(len(self.digits))):
            digit = self.digits[place]
            if size == 1:
                break
            if not digit.stride <= stride < digit.stride * digit.size:
                continue
            step, odd = divmod(stride, digit.stride)
            here = min(size, -(-digit.size // step))
            if odd or size % here or (here < size and digit.size % step):
                return None
            room[place] -= (here - 1) * step
            if room[place] < 0:  # it starts or ends inside a digit, and would carry midway
                return None
            found.append(Digit(stride, here, digit.axis, digit.unit * step))
            size //= here
            stride = digit.stride * digit.size
        return tuple(reversed(found)) if size == 1 else None


def fresh_layout(root: int, sizes: Sequence[int], strides: Sequence[int]) -> Layout:
    """The layout of a storage that holds a whole tensor, its own root."""
    axes = enumerate(zip(sizes, strides, strict=True))
    return _layout(root, ((axis, stride, size, 1) for axis, (size, stride) in axes))


def copied_layout(window: Window, sizes: Sequence[int], strides: Sequence[int]) -> Layout:
    """The layout of a storage into which a view was copied."""
    entries = []
    for digits, size, stride in zip(window.axes, sizes, strides, strict=True):
        if size > 1 and not digits:
            entries.append((REPEATED, stride, size, 0))
        fine = stride
        for digit in reversed(digits):
            entries.append((digit.axis, fine, digit.size, digit.unit))
            fine *= digit.size
    return _layout(window.root, entries, window.start)


def _layout(
    root: int, entries: Iterable[tuple[int, int, int, int]], base: tuple[tuple[int, int], ...] = ()
) -> Layout:
    digits = [
        Digit(stride, size, axis, unit)
        for axis, stride, size, unit in entries
        if size > 1 and stride > 0
    ]
    return Layout(root, tuple(sorted(digits, key=lambda d: -d.stride)), base)


def row_major(sizes: Sequence[int]) -> tuple[int, ...]:
    """The strides of a contiguous tensor."""
    return tuple(math.prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


@dataclass(frozen=True, slots=True)
class View:
    """A tensor by its strides, in a storage that exists in thought alone."""

    layout: Layout
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0

    @classmethod
    def whole(cls, root: int, sizes: Sequence[int]) -> View:
        """A whole tensor, contiguous, its own root."""
        strides = row_major(sizes)
        return cls(fresh_layout(root, sizes, strides), tuple(sizes), strides)

    @property
    def root(self) -> int:
        return self.layout.root

    @property
    def window(self) -> Window | None:
        """What it shows of its root, where the strides tell."""
        return self.layout.window(self.sizes, self.strides, self.offset)

    def transpose(self, order: Sequence[int]) -> View:
        """Axes in another order."""
        return replace(
            self,
            sizes=tuple(self.sizes[a] for a in order),
            strides=tuple(self.strides[a] for a in order),
        )

    def slice(self, starts: Sequence[int], stops: Sequence[int], steps: Sequence[int]) -> View:
        """Every step-th position of [start, stop), axis by axis."""
        ranges = [range(*triple) for triple in zip(starts, stops, steps, strict=True)]
        return replace(
            self,
            sizes=tuple(len(r) for r in ranges),
            strides=tuple(s * r.step for s, r in zip(self.strides, ranges, strict=True)),
            offset=self.offset
            + sum(s * r.start for s, r in zip(self.strides, ranges, strict=True) if len(r)),
        )

    def broadcast(self, sizes: Sequence[int], dims: Sequence[int]) -> View:
        """Repeated to a shape; axis i of the view becomes axis dims[i], the others are new."""
        place = {dim: axis for axis, dim in enumerate(dims)}
        strides = tuple(
            self.strides[place[d]] if d in place and self.sizes[place[d]] == size else 0
            for d, size in enumerate(sizes)
        )
        return replace(self, sizes=tuple(sizes), strides=strides)

    def reshape(self, sizes: Sequence[int]) -> View:
        """The same elements in row-major order under another shape: a view of the storage where
        the strides allow it, else of a copy."""
        strides = self._split(tuple(sizes))
        if strides is not None:
            return replace(self, sizes=tuple(sizes), strides=strides)
        return self.copied().reshape(sizes)

    def copied(self) -> View:
        """A contiguous copy, in a storage whose digits are the view's."""
        window, strides = self.window, row_major(self.sizes)
        if window is None:
            return View(Layout(self.root, (), known=False), self.sizes, strides)
        return View(copied_layout(window, self.sizes, strides), self.sizes, strides)

    def _split(self, sizes: tuple[int, ...]) -> tuple[int, ...] | None:
        """The strides of the same elements under another shape; None where only a copy has it."""
        if math.prod(sizes) != math.prod(self.sizes) or 0 in sizes:
            return row_major(sizes) if 0 in sizes else None
        old = [(n, s) for n, s in zip(self.sizes, self.strides, strict=True) if n != 1]
        strides, place = [1] * len(sizes), len(sizes)
        while old:  # match the last axes of both, as many as it takes for equal products
            size, stride = old.pop()
            count, step = size, stride
            while old and old[-1][1] == size * stride:
                more, stride = old[-1][0], old[-1][1]
                size, count = more, count * more
                old.pop()
            while count > 1:
                place -= 1
                if place < 0 or count % sizes[place]:
                    return None
                strides[place] = step
                step, count = step * sizes[place], count // sizes[place]
        return tuple(strides)
