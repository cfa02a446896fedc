"""A GPU behind the interface of `_numpy`: Triton's kernels, launched where the memory is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import triton
import triton.language as tl
from numpy.typing import NDArray

from isometry.stream.draws import Draw
from isometry.stream.index import Dim
from isometry.stream.keys import StreamKey
from isometry.stream.places import encoded, places
from isometry.stream.quantile import COEFFICIENTS
from isometry.stream.triton_kernels import COLUMN, fill_picks, fill_runs

__all__ = ["TABLE", "VERSION", "elementwise"]

VERSION: str = triton.__version__

# The table of the quantile as the kernels read it.
TABLE = np.zeros((len(COEFFICIENTS[0]), COLUMN.value), dtype=np.int32)
TABLE[:, : len(COEFFICIENTS)] = np.array(COEFFICIENTS, dtype=np.int32).T

TILE = 1024  # elements a program
WORTH_A_RUN = TILE // 4  # a program of runs does a quarter of the work for each of its elements
NARROW = 2**32  # places that 32 bits number: dividing those is many times cheaper

BITS = {"bfloat16": tl.uint16, "float8_e4m3fn": tl.uint8, "float8_e5m2": tl.uint8}

# The kernels need neither: they add no product, and their words are meant to wrap.
OPTIONS = {"enable_fp_fusion": False, "sanitize_overflow": False}
if tuple(map(int, VERSION.split(".")[:2])) < (3, 2):
    del OPTIONS["sanitize_overflow"]


def elementwise(
    how: Draw,
    key: StreamKey,
    dims: Sequence[Dim],
    shape: Sequence[int],
    dtype: str,
    out: Any,
    table: Any,
    upload: Callable[[NDArray[np.int64]], Any],
    tile: int = TILE,
) -> None:
    """One word, one value, at the positions of `dims` in a tensor of this shape.

    Launched on the current device and stream: they must be `out`'s.

    Args:
        how, key, dims, shape, dtype: as for `_numpy.elementwise`.
        out: a tensor on the device, with an axis for each of `dims`, not empty, of any strides.
        table: TABLE, on the device.
        upload: puts an array there.
        tile: elements a program, a power of two.
    """
    target = triton.reinterpret(out, BITS[dtype]) if dtype in BITS else out
    where, count = places(dims, shape, out.stride()), out.numel()
    parameters = _parameters(how, key)
    kind = "cut" if how.low else how.kind
    static = {"KIND": kind, "MEAN": how.mean != 0, "DTYPE": dtype, **OPTIONS}

    run = where.run
    around = where.axes[run > 1 :]  # the axes around the run
    if run >= WORTH_A_RUN or not around:
        aligned = where.first % 4 == 0 and all(axis.whole_blocks() for axis in around)
        programs = -(-(run + (0 if aligned else 3)) // tile)  # it may begin at a block's last word
        geometry = upload(encoded(around)) if around else table
        fill_runs[(count // run * programs,)](
            target, table, geometry, where.first, run, programs, *parameters,
            **static, AXES=len(around), ALIGNED=aligned, BLOCKS=tile // 4,
        )  # fmt: skip
    else:
        fill_picks[(-(-count // tile),)](
            target, table, upload(encoded(where.axes)), where.first, count, *parameters,
            **static, AXES=len(where.axes), WIDE=count + tile > NARROW, ELEMENTS=tile,
        )  # fmt: skip


def _parameters(how: Draw, key: StreamKey) -> tuple[int, ...]:
    """`triton_kernels.PARAMETERS` as signed 32-bit integers, whatever they are."""
    words = np.array([*key.key, *key.high], dtype=np.uint32).view(np.int32)
    low, high = np.array([how.mean], dtype="<f8").view("<i4")
    return *map(int, words), int(how.scale.view(np.int32)), int(low), int(high), how.low
