"""Memory to fill and hand over: whole huge pages, at addresses that JAX and TensorFlow take as they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.stream.backend import advise_huge_pages

__all__ = ["fresh_memory"]

ALIGNED = 64  # bytes: from such an address memory is taken over instead of copied
HUGE_PAGE = 2 << 20


def fresh_memory(shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """An array of our own, not yet touched: its pages are, once, by whoever fills it.

    Args:
        shape: of the array.
        dtype: of the array.

    Returns:
        A C-contiguous array that begins at a multiple of 64 bytes.

    Example:
        >>> fresh_memory((2, 3), np.dtype(np.float32)).ctypes.data % 64
        0
    """
    size = math.prod(shape) * dtype.itemsize
    large = size >= 2 * HUGE_PAGE
    aligned = HUGE_PAGE if large else ALIGNED  # a huge page that is not whole is no huge page
    memory = np.empty(size + aligned, dtype=np.uint8)
    start = -memory.ctypes.data % aligned
    part = memory[start : start + size]
    if large:
        advise_huge_pages(part)
    return part.view(dtype).reshape(tuple(shape))
