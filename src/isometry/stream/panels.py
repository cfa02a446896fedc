"""The matrix of normals in a box, drawn some columns at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from isometry.stream.box import Box
from isometry.stream.draws import draw_of
from isometry.stream.haar import Floats
from isometry.stream.haar_part import Panel
from isometry.stream.keys import key
from isometry.types import Normal

__all__ = ["panel_of", "runs"]


def panel_of(box: Box, batch: Sequence[int], rows: int, tall: bool) -> Panel:
    """Columns of the box's matrix where it is tall, else of its transpose, as `haar_part` asks for them.

    Args:
        box: its out axes are rows, its in axes and kernel columns.
        batch: one position along each batch axis.
        rows: of the tall matrix, those that count.
        tall: columns of the matrix are drawn; else its rows.

    Returns:
        panel(k, l, out), which writes columns k to l from row k down.
    """
    how, stream = draw_of(Normal(std=1.0)), key(box.seed, box.name)
    assert how is not None
    order = [axis for part in box.order for axis in part]
    lengths = [[len(box.ranges[a]) for a in part] for part in box.order[1:]]

    def panel(start: int, stop: int, out: Floats) -> None:
        sides = [(start, rows), (start, stop)]
        matrix, (down, along) = (out, sides) if tall else (out.swapaxes(0, 1), sides[::-1])
        for i, height in runs(lengths[0], *down):
            for j, width in runs(lengths[1], *along):
                positions = [
                    box.ranges[a][r.start : r.stop]
                    for a, r in zip(order[len(batch) :], (*height, *width), strict=True)
                ]
                moved = [*(range(i, i + 1) for i in batch), *positions]
                dims = [moved[order.index(a)] for a in range(len(order))]
                sizes = [len(d) for d in moved]
                first, second = math.prod(map(len, height)), math.prod(map(len, width))
                part = matrix[i : i + first, j : j + second].reshape(sizes)
                target = part.transpose(np.argsort(order))
                box.backend.elementwise(
                    how, stream, dims, box.shape, "float64", target, box.threads
                )

    return panel


def runs(lengths: Sequence[int], start: int, stop: int) -> Iterator[tuple[int, tuple[range, ...]]]:
    """The boxes that make up positions start to stop of several axes counted as one, and after how many.

    Example:
        >>> [ranges for _, ranges in runs((4, 3), 2, 10)]
        [(range(0, 1), range(2, 3)), (range(1, 3), range(0, 3)), (range(3, 4), range(0, 1))]
    """
    inner, place = math.prod(lengths[1:]), start
    while place < stop:
        i, within = divmod(place, inner)
        if within == 0 and stop - place >= inner:
            many = (stop - place) // inner
            yield place - start, (range(i, i + many), *map(range, lengths[1:]))
            place += many * inner
        else:
            end = min(stop, (i + 1) * inner)
            for offset, ranges in runs(lengths[1:], within, within + end - place):
                yield place - start + offset, (range(i, i + 1), *ranges)
            place = end
