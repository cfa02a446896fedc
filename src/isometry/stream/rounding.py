"""Dtypes: every one of them is defined by the float32 value, rounded or widened once."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from isometry.errors import ArgumentError

__all__ = ["DTYPES", "FLOAT32_MAX", "Format", "dtype_name", "store"]


@dataclass(frozen=True, slots=True)
class Format:
    """How a dtype lies in memory, and the largest magnitude a law may ask of it.

    A float8 takes anything that is a finite float32: it saturates.
    """

    storage: np.dtype[np.generic]
    limit: float


FLOAT32_MAX = float(np.finfo(np.float32).max)
DTYPES: dict[str, Format] = {
    "float32": Format(np.dtype(np.float32), FLOAT32_MAX),
    "float64": Format(np.dtype(np.float64), FLOAT32_MAX),
    "float16": Format(np.dtype(np.float16), 65504.0),
    "bfloat16": Format(np.dtype(np.uint16), float.fromhex("0x1.fep127")),
    "float8_e4m3fn": Format(np.dtype(np.uint8), FLOAT32_MAX),
    "float8_e5m2": Format(np.dtype(np.uint8), FLOAT32_MAX),
}


def dtype_name(dtype: DTypeLike) -> str:
    """The canonical name of a dtype the stream can write. Raises ArgumentError on any other."""
    name = dtype if isinstance(dtype, str) else ""
    if dtype is not None and not isinstance(dtype, str):
        with contextlib.suppress(TypeError):
            name = np.dtype(dtype).name
    if name not in DTYPES:
        raise ArgumentError(
            f'dtype={dtype!r}: expected one of {", ".join(DTYPES)}; write dtype="float32"'
        )
    return name


def store(values: NDArray[np.float32], dtype: str, out: NDArray[np.generic]) -> None:
    """Round float32 values to `dtype` and write them into `out`, which has its storage dtype."""
    bits: NDArray[np.generic]
    if dtype == "bfloat16":
        bits = bfloat16_bits(values)
    elif dtype == "float8_e4m3fn":
        bits = float8_bits(values, mantissa=3, smallest=-6, largest=0x7E)
    elif dtype == "float8_e5m2":
        bits = float8_bits(values, mantissa=2, smallest=-14, largest=0x7B)
    else:
        with np.errstate(under="ignore"):  # float16: small values round to subnormals and zero
            out[...] = values
        return
    out[...] = bits


def bfloat16_bits(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Finite float32 rounded to bfloat16, to nearest, ties to even: its 16 bits."""
    bits = np.ascontiguousarray(values).view(np.uint32)
    half = np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return ((bits + half) >> np.uint32(16)).astype(np.uint16)


def float8_bits(
    values: NDArray[np.float32], mantissa: int, smallest: int, largest: int
) -> NDArray[np.uint8]:
    """Finite float32 rounded to an 8-bit float, ties to even; past `largest` it saturates.

    `smallest` is the least exponent of a normal number: below it the step no longer shrinks, so
    the significand loses a bit more for every octave.
    """
    bits = np.ascontiguousarray(values).view(np.uint32).astype(np.int64)
    exponent = np.maximum(((bits >> 23) & 0xFF) - 127, -126)
    significand = (bits & 0x7FFFFF) | np.where(bits & 0x7F800000, 0x800000, 0)
    octaves = np.maximum(exponent, smallest)
    shift = np.minimum(23 - mantissa + octaves - exponent, 40)  # 40 shifts everything out
    half = (np.int64(1) << (shift - 1)) - 1 + ((significand >> shift) & 1)
    code = ((significand + half) >> shift) + ((octaves - smallest) << mantissa)
    rounded: NDArray[np.uint8] = (np.minimum(code, largest) | ((bits >> 24) & 0x80)).astype(
        np.uint8
    )
    return rounded
