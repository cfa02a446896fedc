"""Rows and columns of a Haar-distributed matrix, without the rest of it.

The reflections whose product it is are made of the normals themselves: a rank makes them anew, some at
a time, and has nothing to store and nobody to ask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from isometry.stream.haar import LEAF, PANEL, STRIP, Floats, reflections, transposed, triangle

__all__ = ["Panel", "Places", "by_rows", "haar_part", "swapping"]

NARROWEST = 32  # reflections applied at once, at least
PANEL_ELEMENTS = 3 * 2**19  # of their vectors, but of the narrowest: 12 MB

Places = NDArray[np.int64]
Panel = Callable[[int, int, Floats], None]


def haar_part(
    panel: Panel,
    shape: tuple[int, int],
    rows: Places,
    columns: Places,
    reads: bool = False,
    writes: bool = False,
) -> Floats:
    """Rows and columns of the Q that `haar` makes of m x n normals, m >= n.

    P = H_1 ... H_n diag(D, I),   rows R: (I[R, :] P)[:, S],   columns S: (I[S, :] P^T)[:, R]^T

    Of these the one with fewer operations is done. Rows, up to column k of Q, take 4 |R| (m k - k^2/2);
    columns the sum of 4 (m s - s^2/2) over them, column s being no concern of the reflections after it.
    So a square in parts costs 4/3 n^3 by columns, as it does whole, and 2 n^3 by rows; and each part as
    much again as some 64 rows or columns, since it makes all reflections anew.

    Args:
        panel: panel(k, l, out) writes columns k to l of the normals, from row k down, into float64.
        shape: (m, n), m >= n > 0.
        rows, columns: positions, at least one of each, strictly ascending.
        reads, writes: on these sides Q, padded by a column or a row of zeros, is multiplied by a
            reflection, that of `swapping`; positions then go up to n or m.

    Returns:
        float64, shape (|R|, |S|), each element within some n sqrt(m) 2^-53 of the whole's. Memory: m
        for each of the rows, or else of the columns; and some 20 MB.
    """
    m, n = shape
    if by_rows(shape, rows, columns, reads):
        x = _unit_vectors(rows, m, m, writes)
        _multiply(x[:, :m], panel, n if reads else int(columns[-1]) + 1)
        return _taken(x, columns, n, reads)
    x = _unit_vectors(columns, n, m, reads)
    _multiply_inverse(x[:, :m], panel, np.full(len(columns), n) if reads else columns + 1)
    return transposed(_taken(x, rows, m, writes))


def by_rows(shape: tuple[int, int], rows: Places, columns: Places, reads: bool = False) -> bool:
    """Do these rows of an m x n Q take fewer operations than these columns?"""
    ends = np.full(len(columns), shape[1]) if reads else columns + 1
    area = shape[0] * ends - ends * ends / 2
    return bool(len(rows) * area.max() < area.sum())


def swapping(k: int) -> Floats:
    """The unit vector v whose reflection, I - 2 v v^T, swaps e_k and (1, ..., 1)/sqrt(k), k > 1."""
    v = np.full(k, -(k**-0.5))
    v[-1] += 1.0
    return np.asarray(v / np.sqrt(2.0 * v[-1]))  # |e_k - 1/sqrt(k)|^2 = 2 - 2/sqrt(k) = 2 v_k


def _unit_vectors(places: Places, count: int, length: int, centred: bool) -> Floats:
    """e_i for each place i, or the first `count` elements of the reflected one; then zeros, one more
    than `length` needs."""
    x = np.zeros((len(places), length + 1))
    inside = np.flatnonzero(places < count)
    x[inside, places[inside]] = 1.0
    if centred:
        v = swapping(count + 1)
        for row, own in zip(x, v[places], strict=True):
            row[:count] -= 2.0 * own * v[:count]
    return x


def _taken(x: Floats, places: Places, count: int, centred: bool) -> Floats:
    """These elements of each row's first `count`, or of the reflected row. They overwrite x."""
    x[:, count] = 0.0
    v = swapping(count + 1) if centred else None
    for row in x:
        taken = row[places]
        if v is not None:
            taken -= 2.0 * float(row[:count] @ v[:count]) * v[places]
        row[: len(places)] = taken
    return x[:, : len(places)]


def _multiply(x: Floats, panel: Panel, columns: int) -> None:
    """x <- x H_1 ... H_k D, so that its first k columns are those of x P."""
    for start, v, t, d in _blocks(panel, x.shape[1], columns, last_first=False):
        part = x[:, start:]
        _reflect(part, v, t)
        part[:, : len(d)] *= d


def _multiply_inverse(x: Floats, panel: Panel, ends: Places) -> None:
    """x <- x P^T, where row i is zero from column ends[i] on, and the ends ascend."""
    for start, v, t, d in _blocks(panel, x.shape[1], int(ends[-1]), last_first=True):
        part = x[np.searchsorted(ends, start, side="right") :, start:]
        part[:, : len(d)] *= d
        _reflect(part, v, transposed(t))


def _blocks(
    panel: Panel, length: int, columns: int, last_first: bool
) -> Iterator[tuple[int, Floats, Floats, Floats]]:
    """(start, V, T, D) of blocks of reflections, I - V T V^T, which begin at column `start`."""
    width = min(columns, PANEL, max(NARROWEST, PANEL_ELEMENTS // length))
    memory = np.empty((width, length))
    starts = range(0, columns, width)
    for start in reversed(starts) if last_first else starts:
        stop = min(columns, start + width)
        v = transposed(memory[: stop - start, start:])
        panel(start, stop, v)
        c, signs = reflections(v, v)
        yield start, v, triangle(v, c), -signs


def _reflect(x: Floats, v: Floats, t: Floats) -> None:
    """x <- x (I - V T V^T)."""
    w = (x @ v) @ t
    step = max(LEAF, STRIP // max(1, len(x)))
    for i in range(0, x.shape[1], step):
        x[:, i : i + step] -= w @ transposed(v[i : i + step])
