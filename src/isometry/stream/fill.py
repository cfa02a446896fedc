"""Filling a checked buffer, block by block."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.stream.backend import Backend
from isometry.stream.draws import draw_of
from isometry.stream.environment import standard_environment
from isometry.stream.index import Dim
from isometry.stream.keys import key
from isometry.stream.request import Request
from isometry.stream.rounding import store
from isometry.stream.structured import Box, check_structured, is_structured, structured_tiles
from isometry.types import Constant, Law

__all__ = ["fill", "pieces"]


def fill(request: Request, out: NDArray[Any], backend: Backend, threads: int) -> None:
    """Write the request into a buffer that has been checked."""
    with standard_environment():
        _fill(request, out, backend, threads)


def _fill(request: Request, out: NDArray[Any], backend: Backend, threads: int) -> None:
    view = request.selection.expand(out)
    stream = key(request.seed, request.name)
    for law, limits, dims, target in pieces(request, view):
        how = draw_of(law)
        if is_structured(law):
            ranges = tuple(
                range(*limits) if a == request.axis else range(n)
                for a, n in enumerate(request.shape)
            )
            box_shape = tuple(len(r) for r in ranges)
            axes = check_structured(law, box_shape, request.axes)
            box = Box(request.seed, request.name, request.shape, ranges, axes, backend, threads)
            if target.size:
                for tile, values in structured_tiles(law, box, dims):
                    store(values, request.dtype, target[tile])
        elif how is not None:
            backend.elementwise(how, stream, dims, request.shape, request.dtype, target, threads)
        else:
            assert isinstance(law, Constant)
            cell = np.empty((), dtype=target.dtype)
            store(np.array(law.value, dtype=np.float32), request.dtype, cell)
            target[...] = cell


def pieces(
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
