"""The Haar matrices of a box: whole where that is little or all is asked for, else the part alone."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isometry.stream.box import Box, Values, drawn, sizes, take
from isometry.stream.haar import Floats, haar
from isometry.stream.haar_part import Places, by_rows, haar_part, swapping
from isometry.stream.index import Dim, linear
from isometry.stream.panels import panel_of
from isometry.types import Normal

__all__ = ["HaarBox", "Load"]

TOGETHER = 2**16  # elements of small matrices made orthogonal at once
SMALL = 2**22  # elements of a matrix that is made whole whatever is asked for: 32 MB in float64
VECTORS = 3 * 2**20  # elements of the rows, or columns, of a larger one made at once: 24 MB


class Load(NamedTuple):
    """How much to make at once, for the memory's sake."""

    matrices: int
    axes: tuple[int, ...] = ()  # of a matrix that is not made whole: rows', or columns'
    positions: int = 1  # along those axes


class Part(NamedTuple):
    """What is asked of one matrix, or of its transpose, so that it is tall: as `haar_part` takes it."""

    shape: tuple[int, int]
    rows: Places
    columns: Places
    reads: bool
    writes: bool


@dataclass(frozen=True, slots=True)
class HaarBox:
    """gain * Q for each position along the batch axes, from the normals at the same positions.

    Where `reads` or `writes` are set, Q has a column or a row less; it is padded with zeros and
    multiplied by the reflection of `swapping` on that side.
    """

    box: Box
    gain: float
    reads: bool = False
    writes: bool = False

    def values(self, places: Sequence[Dim], whole: bool) -> Values:
        """The values at these positions, which ascend along each axis.

        Args:
            places: an axis, in the tensor's own positions.
            whole: all of each matrix is asked for.
        """
        return self._parts(places) if self._large(whole) else self._wholes(places)

    def load(self, places: Sequence[Dim], whole: bool) -> Load:
        """How much of these positions to ask `values` for at once."""
        if not self._large(whole):
            return Load(max(1, SMALL // max(1, self._rows * self._columns)))
        part = self._part(places)
        _, out, rest = self.box.order
        own = by_rows(part.shape, part.rows, part.columns, part.reads) == self._tall
        return Load(1, out if own else rest, max(1, VECTORS // part.shape[0]))

    @property
    def _rows(self) -> int:
        return sizes(self.box, [len(r) for r in self.box.ranges])[1]

    @property
    def _columns(self) -> int:
        return sizes(self.box, [len(r) for r in self.box.ranges])[2]

    @property
    def _tall(self) -> bool:
        return self._rows - self.writes >= self._columns - self.reads

    def _large(self, whole: bool) -> bool:
        """Is a part made alone? Multiplied by reflections, a whole matrix takes twice the memory."""
        empty = self._rows <= self.writes or self._columns <= self.reads
        small = SMALL // 2 if self.reads or self.writes else SMALL
        return not whole and not empty and self._rows * self._columns > small

    def _part(self, places: Sequence[Dim]) -> Part:
        rows, columns = (
            linear(
                [self.box.local(a, places[a]) for a in side],
                [len(self.box.ranges[a]) for a in side],
            ).ravel()
            for side in self.box.order[1:]
        )
        height, width = self._rows - self.writes, self._columns - self.reads
        if self._tall:
            return Part((height, width), rows, columns, self.reads, self.writes)
        return Part((width, height), columns, rows, self.writes, self.reads)

    def _parts(self, places: Sequence[Dim]) -> Values:
        part = self._part(places)
        batch, out, rest = self.box.order
        order, lengths = (*batch, *out, *rest), [len(d) for d in places]
        values = np.empty(sizes(self.box, lengths), dtype=np.float32)
        for target, at in zip(values, itertools.product(*(places[a] for a in batch)), strict=True):
            q = haar_part(panel_of(self.box, at, part.shape[0], self._tall), *part)
            q *= self.gain
            target[...] = q if self._tall else q.T  # rounded to float32 once
        return values.reshape([lengths[a] for a in order]).transpose(np.argsort(order))

    def _wholes(self, places: Sequence[Dim]) -> Values:
        batch, out, rest = self.box.order
        order = [*batch, *out, *rest]
        dims = [d if a in batch else self.box.ranges[a] for a, d in enumerate(places)]
        normals = drawn(Normal(std=1.0), self.box, dims)
        moved = normals.transpose(order)
        matrices = moved.reshape(sizes(self.box, normals.shape))
        if matrices.size:
            together = max(1, TOGETHER // matrices[0].size)
            for first in range(0, len(matrices), together):
                some = matrices[first : first + together]
                q = _centred(some, self.reads, self.writes)
                q *= self.gain
                some[...] = q
        made = matrices.reshape(moved.shape).transpose(np.argsort(order))
        return take(made, self.box, places, dims)


def _centred(normals: NDArray[np.floating], reads: bool, writes: bool) -> Floats:
    """H_out [Q, 0; 0, 0] H_in: Q a row or a column short, where there is such an H."""
    if not reads and not writes:
        return haar(normals)
    rows, columns = normals.shape[-2] - writes, normals.shape[-1] - reads
    q = np.zeros(normals.shape)
    if rows and columns:
        q[..., :rows, :columns] = haar(normals[..., :rows, :columns])
    if reads and columns:
        v = swapping(columns + 1)
        q -= 2.0 * (q @ v)[..., None] * v
    if writes and rows:
        v = swapping(rows + 1)
        q -= 2.0 * v[:, None] * (v @ q)[..., None, :]
    return q
