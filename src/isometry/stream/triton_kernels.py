# mypy: ignore-errors
# (Triton compiles these functions: their arguments are its own, and have no types for Python.)
"""The kernels of the stream for a GPU, in Triton: the same bits, whatever the compiler contracts.

A program draws its elements from their numbers alone. Words are integers; a normal multiplies in
float32 and adds in int32, so that no product is ever added in floating point; a mean is added in
float64, to a product that is exact there; the narrowest dtypes are rounded in integers. Parameters
come as 32-bit words, floats too, so that none is rounded on its way.
"""

from __future__ import annotations

import triton
import triton.language as tl

__all__ = ["PARAMETERS", "fill_picks", "fill_runs"]

COLUMN = tl.constexpr(64)  # of the table of the quantile: c0 of every segment, then c1, ... c5
MULTIPLIER0, MULTIPLIER1 = tl.constexpr(0xD2511F53), tl.constexpr(0xCD9E8D57)
WEYL0, WEYL1 = tl.constexpr(0x9E3779B9), tl.constexpr(0xBB67AE85)
SIGN = tl.constexpr(0x80000000)

PARAMETERS = ["k0", "k1", "h0", "h1", "scale", "mean_low", "mean_high", "low"]


@triton.jit
def _philox(block, h0, h1, k0, k1):
    """The four words of each block, as in `stream.philox`."""
    c0, c1 = block.to(tl.uint32), (block >> 32).to(tl.uint32)
    c2, c3 = h0.to(tl.uint32, bitcast=True), h1.to(tl.uint32, bitcast=True)
    k0, k1 = k0.to(tl.uint32, bitcast=True), k1.to(tl.uint32, bitcast=True)
    for _ in tl.static_range(10):
        high0, low0 = tl.umulhi(c0, MULTIPLIER0), c0 * MULTIPLIER0
        high1, low1 = tl.umulhi(c2, MULTIPLIER1), c2 * MULTIPLIER1
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = k0 + WEYL0, k1 + WEYL1
    return c0, c1, c2, c3


@triton.jit
def _magnitude(v, table):
    """|z| in units of 2^-27 for v odd in [1, 2^31), as in `stream.quantile`."""
    bits = v.to(tl.int32).to(tl.float32).to(tl.uint32, bitcast=True)
    t = ((bits & 0x3FFFFF) | 0x3F800000).to(tl.float32, bitcast=True) - 1.25
    row = table + ((bits >> 22) - 254).to(tl.int32)
    a = tl.load(row + 5 * COLUMN).to(tl.float32)
    for d in tl.static_range(5):
        a = ((a * t).to(tl.int32) + tl.load(row + (4 - d) * COLUMN)).to(tl.float32)
    return a


@triton.jit
def _drawn(words, table, scale, mean_low, mean_high, low, KIND: tl.constexpr, MEAN: tl.constexpr):
    """One float32 for each word: see `draws.Draw`. KIND "cut" is a normal with a `low`."""
    if KIND == "uniform":
        z = (words | 1).to(tl.int32, bitcast=True).to(tl.float32)
    else:
        v = words & 0x7FFFFFFF
        if KIND == "cut":
            low = low.to(tl.uint32, bitcast=True)
            v = low + tl.umulhi(v, (SIGN - low) * 2)
        z = _magnitude(v | 1, table)
        z = (z.to(tl.uint32, bitcast=True) ^ (words & SIGN)).to(tl.float32, bitcast=True)
    factor = scale.to(tl.float32, bitcast=True)
    if MEAN:
        mean = (mean_high.to(tl.int64) << 32) | mean_low.to(tl.uint32, bitcast=True).to(tl.int64)
        wide = z.to(tl.float64) * factor.to(tl.float64)  # exact: 24 by 24 bits
        z = (wide + mean.to(tl.float64, bitcast=True)).to(tl.float32)
    else:
        z = z * factor
    return z


@triton.jit
def _rounded(z, DTYPE: tl.constexpr):
    """What is stored: float64, 32 and 16 as they are, bits of the others, as in `rounding.store`."""
    bits = z.to(tl.uint32, bitcast=True)
    if DTYPE == "float32":
        stored = z
    elif DTYPE == "float64":
        stored = z.to(tl.float64)
    elif DTYPE == "float16":
        stored = z.to(tl.float16)
    elif DTYPE == "bfloat16":
        stored = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).to(tl.uint16)
    elif DTYPE == "float8_e4m3fn":
        stored = _float8(bits, 3, -6, 0x7E)
    else:
        stored = _float8(bits, 2, -14, 0x7B)
    return stored


@triton.jit
def _float8(bits, MANTISSA: tl.constexpr, SMALLEST: tl.constexpr, LARGEST: tl.constexpr):
    biased = ((bits >> 23) & 0xFF).to(tl.int32)
    exponent = tl.maximum(biased - 127, -126)
    significand = (bits & 0x7FFFFF).to(tl.int32) | tl.where(biased > 0, 0x800000, 0)
    octaves = tl.maximum(exponent, SMALLEST)
    shift = tl.minimum(23 - MANTISSA + octaves - exponent, 30)  # 30 shifts everything out
    half = (1 << (shift - 1)) - 1 + ((significand >> shift) & 1)
    code = ((significand + half) >> shift) + ((octaves - SMALLEST) << MANTISSA)
    return (tl.minimum(code, LARGEST) | ((bits >> 24) & 0x80).to(tl.int32)).to(tl.uint8)


@triton.jit
def _place(number, geometry, AXES: tl.constexpr):
    """(element, offset in memory) of the number-th place: see `places.encoded`."""
    element = number.to(tl.int64) * 0
    offset = number.to(tl.int64) * 0
    for axis in tl.static_range(AXES):
        length = tl.load(geometry + 4 * axis).to(number.dtype)
        start = tl.load(geometry + 4 * axis + 3)
        i = (number % length).to(tl.int64)
        number = number // length
        offset += i * tl.load(geometry + 4 * axis + 1)
        element += i * tl.load(geometry + 4 * axis + 2)
        element += tl.load(geometry + start + i, mask=start + i > i, other=0)
    return element, offset


@triton.jit(do_not_specialize=[*PARAMETERS, "first", "programs"])
def fill_runs(
    out, table, geometry, first, length, programs,
    k0, k1, h0, h1, scale, mean_low, mean_high, low,
    KIND: tl.constexpr, MEAN: tl.constexpr, DTYPE: tl.constexpr,
    AXES: tl.constexpr, ALIGNED: tl.constexpr, BLOCKS: tl.constexpr,
):  # fmt: skip
    """Runs of `length` elements, by `programs` programs each: the four words of a block, stored."""
    program = tl.program_id(0)
    element, offset = _place((program // programs).to(tl.uint32), geometry, AXES)
    element += first
    begin = (program % programs).to(tl.int64) * BLOCKS
    blocks = (element >> 2) + begin + tl.arange(0, BLOCKS)
    w0, w1, w2, w3 = _philox(blocks, h0, h1, k0, k1)
    words = tl.interleave(tl.interleave(w0, w2), tl.interleave(w1, w3))
    z = _drawn(words, table, scale, mean_low, mean_high, low, KIND, MEAN)
    at = begin * 4 + tl.arange(0, 4 * BLOCKS)
    if ALIGNED:  # every run begins a block, at a multiple of four items: four are one store
        offset = tl.multiple_of(offset, 4)
        here = at < length
    else:
        at -= element & 3
        here = (at >= 0) & (at < length)
    tl.store(out + offset + at, _rounded(z, DTYPE), mask=here)


@triton.jit(do_not_specialize=[*PARAMETERS, "first", "count"])
def fill_picks(
    out, table, geometry, first, count,
    k0, k1, h0, h1, scale, mean_low, mean_high, low,
    KIND: tl.constexpr, MEAN: tl.constexpr, DTYPE: tl.constexpr,
    AXES: tl.constexpr, WIDE: tl.constexpr, ELEMENTS: tl.constexpr,
):  # fmt: skip
    """Elements one by one, each a word of its own block, wherever they lie."""
    program = tl.program_id(0)
    if WIDE:
        number = program.to(tl.uint64) * ELEMENTS + tl.arange(0, ELEMENTS).to(tl.uint64)
    else:
        number = program.to(tl.uint32) * ELEMENTS + tl.arange(0, ELEMENTS).to(tl.uint32)
    here = number < count
    element, offset = _place(number, geometry, AXES)
    element += first
    w0, w1, w2, w3 = _philox(element >> 2, h0, h1, k0, k1)
    lane = (element & 3).to(tl.int32)
    words = tl.where(lane < 2, tl.where(lane == 0, w0, w1), tl.where(lane == 2, w2, w3))
    z = _drawn(words, table, scale, mean_low, mean_high, low, KIND, MEAN)
    tl.store(out + offset, _rounded(z, DTYPE), mask=here)
