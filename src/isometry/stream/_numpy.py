"""The normative implementation of the stream: words and elementwise draws, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.stream.draws import Draw
from isometry.stream.index import Dim, contiguous, linear, tiles
from isometry.stream.keys import StreamKey
from isometry.stream.philox import block_words
from isometry.stream.quantile import magnitude, with_sign
from isometry.stream.rounding import store

__all__ = ["draw", "element_words", "elementwise", "tile_words"]


def elementwise(
    how: Draw,
    key: StreamKey,
    dims: Sequence[Dim],
    shape: Sequence[int],
    dtype: str,
    out: NDArray[Any],
) -> None:
    """One word, one value, at the positions of `dims` in a tensor of this shape, chunk by chunk.

    On one thread: a ufunc on a chunk takes microseconds, and two threads spend as long again in
    handing the interpreter to each other.
    """
    for tile in tiles(out.shape):
        part = [d[s] for d, s in zip(dims, tile, strict=True)]
        values = draw(how, tile_words(key, part, shape))
        here: tuple[Any, ...] = (*tile, ...)  # the Ellipsis makes it a view where there are no axes
        store(values, dtype, out[here])


def element_words(key: StreamKey, start: int, stop: int) -> NDArray[np.uint32]:
    """The words of elements [start, stop): word i % 4 of block i // 4."""
    blocks = np.arange(start // 4, -(-stop // 4), dtype=np.uint64)
    first = start - start % 4
    return block_words(key, blocks).reshape(-1)[start - first : stop - first]


def tile_words(key: StreamKey, dims: Sequence[Dim], shape: Sequence[int]) -> NDArray[np.uint32]:
    """The words of the elements at these positions of a tensor, of shape (len(dim), ...)."""
    run = contiguous(dims, shape)
    if run is not None:
        return element_words(key, *run).reshape([len(d) for d in dims])
    places = linear(dims, shape)
    flat = places.reshape(-1)
    blocks = flat >> 2
    new = np.empty(flat.size, dtype=np.bool_)  # neighbours often share a block: compute it once
    new[:1] = True
    np.not_equal(blocks[1:], blocks[:-1], out=new[1:])
    words = block_words(key, blocks[new].astype(np.uint64))
    picked: NDArray[np.uint32] = words[np.cumsum(new) - 1, flat & 3]
    return picked.reshape(places.shape)


def draw(how: Draw, words: NDArray[np.uint32]) -> NDArray[np.float32]:
    """One value for each word."""
    flat = words.reshape(-1)
    if how.kind == "uniform":
        z = (flat | np.uint32(1)).view(np.int32).astype(np.float32)
    else:
        v = flat & np.uint32(0x7FFFFFFF)
        if how.low:
            span = np.uint64(2**31 - how.low)
            v = (np.uint64(how.low) + ((v * span) >> np.uint64(31))).astype(np.uint32)
        z = with_sign(magnitude(v | np.uint32(1)), flat)
    if how.mean:
        wide = z.astype(np.float64)
        wide *= np.float64(how.scale)  # exact: 24 by 24 bits
        wide += how.mean
        z = wide.astype(np.float32)
    else:
        z *= how.scale
    return z.reshape(words.shape)
