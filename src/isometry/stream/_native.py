"""The compiled kernel behind the interface of `_numpy`: the same bits, at near memory speed."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isometry.stream import _kernel
from isometry.stream.draws import Draw, draw_of
from isometry.stream.index import Dim
from isometry.stream.keys import StreamKey, check_seed, digest_of
from isometry.stream.request import check_law
from isometry.stream.rounding import DTYPES
from isometry.types import Law

__all__ = ["advise_huge_pages", "element_words", "elementwise", "kernels", "whole"]

CODES = {dtype: code for code, dtype in enumerate(DTYPES)}
KINDS = {"normal": 0, "uniform": 1}

advise_huge_pages = _kernel.advise_huge_pages
kernels = tuple(_kernel.kernels())  # those that this processor can run, the fastest first


def element_words(key: StreamKey, start: int, stop: int, kernel: str) -> NDArray[np.uint32]:
    """The words of elements [start, stop)."""
    out = np.empty(stop - start, dtype=np.uint32)
    _kernel.words(kernel, (*key.key, *key.high), start, out)
    return out


def elementwise(
    how: Draw,
    key: StreamKey,
    dims: Sequence[Dim],
    shape: Sequence[int],
    dtype: str,
    out: NDArray[Any],
    kernel: str,
    threads: int,
) -> None:
    """One word, one value, at the positions of `dims` in a tensor of this shape."""
    first, stride = 0, 1
    positions: list[_kernel.Position] = []
    for dim, size in zip(reversed(dims), reversed(shape), strict=True):
        if isinstance(dim, range):
            first += dim.start * stride if len(dim) else 0
            positions.append((dim.step * stride if len(dim) > 1 else 0, None))
        else:
            positions.append((0, dim * stride))
        stride *= size
    _kernel.fill(
        kernel,
        (*key.key, *key.high),
        _pack(how),
        CODES[dtype],
        first,
        positions[::-1],
        out,
        threads,
    )


def whole(
    law: Law, name: str, seed: int, dtype: str, address: int, count: int, kernel: str, threads: int
) -> bool:
    """All of a tensor whose elements lie one after the other from an address on.

    The common case, in a few microseconds. False, and nothing done, where the law is not
    elementwise and random.
    """
    how = _packed(law, dtype)
    if how is not None:
        _kernel.fill_whole(
            kernel, digest_of(name), check_seed(seed), how, CODES[dtype], address, count, threads
        )
    return how is not None


@lru_cache(maxsize=4096)
def _packed(law: Law, dtype: str) -> _kernel.How | None:
    check_law(law, dtype)
    how = draw_of(law) if law.elementwise else None
    return None if how is None else _pack(how)


def _pack(how: Draw) -> _kernel.How:
    return KINDS[how.kind], float(how.scale), how.mean, how.low
