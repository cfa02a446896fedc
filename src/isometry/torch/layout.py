"""Which axes of which tensor a view shows, read off its strides.

Every view of a storage is (sizes, strides, offset). A storage written by one operation has a
layout: a list of digits, from the most to the least significant, that says how an address splits
into positions along the axes of the tensor first written there, its root. Decomposing a view in
that mixed-radix system tells for each of its axes which axes of the root it runs over, through
any chain of transposes, splits, slices and reshapes, without a rule per operation. A copy of a
view starts a new storage whose digits are the view's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Layout", "Window", "copied_layout", "fresh_layout"]

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
