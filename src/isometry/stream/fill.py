"""Filling a checked buffer: block by block, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.stream._numpy import draw, tile_words
from isometry.stream.draws import Draw, draw_of
from isometry.stream.index import Dim, tiles
from isometry.stream.keys import StreamKey, key
from isometry.stream.request import Request
from isometry.stream.rounding import store
from isometry.stream.structured import Box, check_structured, is_structured, structured
from isometry.types import Constant, Law

__all__ = ["fill"]


def fill(request: Request, out: NDArray[Any]) -> None:
    """Write the request into a buffer that has been checked."""
    view = request.selection.expand(out)
    stream = key(request.seed, request.name)
    for law, limits, dims, target in _pieces(request, view):
        how = draw_of(law)
        if is_structured(law):
            ranges = tuple(
                range(*limits) if a == request.axis else range(n)
                for a, n in enumerate(request.shape)
            )
            box_shape = tuple(len(r) for r in ranges)
            axes = check_structured(law, box_shape, request.axes)
            box = Box(request.seed, request.name, request.shape, ranges, axes)
            if target.size:
                store(structured(law, box, dims), request.dtype, target)
        elif how is not None:
            _elementwise(how, stream, request, dims, target)
        else:
            assert isinstance(law, Constant)
            cell = np.empty((), dtype=target.dtype)
            store(np.array(law.value, dtype=np.float32), request.dtype, cell)
            target[...] = cell


def _pieces(
    request: Request, view: NDArray[Any]
) -> Iterator[tuple[Law, tuple[int, int], tuple[Dim, ...], NDArray[Any]]]:
    """(law, its range, positions, the part of the buffer) for each run of positions in a block."""
    dims = request.selection.dims
    if len(request.parts) == 1:
        start, stop, law = request.parts[0]
        yield law, (start, stop), dims, view
        return
    along = np.asarray(dims[request.axis], dtype=np.int64)
    which = np.searchsorted([stop for _, stop, _ in request.parts], along, side="right")
    edges = [0, *(np.flatnonzero(np.diff(which)) + 1).tolist(), along.size]
    for a, b in pairwise(edges):
        if a == b:
            continue
        start, stop, law = request.parts[which[a]]
        cut = slice(a, b)
        part = tuple(d[cut] if axis == request.axis else d for axis, d in enumerate(dims))
        target = view[
            tuple(cut if axis == request.axis else slice(None) for axis in range(view.ndim))
        ]
        yield law, (start, stop), part, target


def _elementwise(
    how: Draw, stream: StreamKey, request: Request, dims: tuple[Dim, ...], out: NDArray[Any]
) -> None:
    """One word, one value, a chunk at a time.

    On one thread: a ufunc on a chunk takes microseconds, and two threads spend as long again in
    handing the interpreter to each other.
    """
    for tile in tiles(out.shape):
        part = [d[s] for d, s in zip(dims, tile, strict=True)]
        values = draw(how, tile_words(stream, part, request.shape))
        here: tuple[Any, ...] = (*tile, ...)  # the Ellipsis makes it a view where there are no axes
        store(values, request.dtype, out[here])
