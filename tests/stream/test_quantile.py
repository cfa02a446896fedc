"""The quantile against the exact inverse normal CDF; every word is enumerated by the tool."""

from __future__ import annotations

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from isometry.errors import ArgumentError
from isometry.stream import quantile
from isometry.stream.quantile import COEFFICIENTS, UNIT, magnitude

SIGN = np.uint32(0x80000000)


def odd(values: NDArray[np.int64]) -> NDArray[np.uint32]:
    kept = values[(values > 0) & (values < 2**31)] | 1
    return np.unique(kept).astype(np.uint32)


def dense() -> NDArray[np.uint32]:
    """All of the tail, 512 words on both sides of every segment's start, and 2^21 between."""
    starts = [(2 + half) << octave >> 1 for octave in range(31) for half in (0, 1)]
    near = [start + np.arange(-512, 512) for start in (*starts, 2**31)]
    spread = np.arange(1, 2**31, 2**10 + 1, dtype=np.int64)
    return odd(np.concatenate([np.arange(2**18), *near, spread]))


DENSE = dense()


def test_the_error_is_small_everywhere() -> None:
    v = DENSE
    error = np.abs(quantile(v).astype(np.float64) + ndtri(v * 2.0**-32))
    assert v.size > 2_200_000
    assert error.max() <= 3.39e-7  # 3.380e-7 over all words: tools/fit_quantile.py --report
    assert error[v > 2**27].max() <= 2.7e-7  # |z| < 1.86, 94 % of all words


def test_scipy_is_an_oracle() -> None:
    v = DENSE[::30_000]
    with mpmath.workdps(30):
        for one in v.tolist():
            exact = mpmath.sqrt(2) * mpmath.erfinv(1 - mpmath.mpf(one) / 2**31)
            assert abs(float(exact + ndtri(one * 2.0**-32))) < 1e-13
            assert abs(float(exact - quantile(np.uint32([one]))[0])) < 3.39e-7


def test_a_second_reading_of_the_specification_gives_the_same() -> None:
    v = DENSE
    f, a = spelt_out(v)
    np.testing.assert_array_equal(magnitude(v), a.astype(np.float32))
    # The integer falls at every step of float32(v), over the segments' boundaries too.
    assert np.diff(a)[np.diff(f) > 0].max() <= -2
    assert not np.diff(a)[np.diff(f) == 0].any()
    assert np.diff(quantile(v)).max() <= 0


def spelt_out(v: NDArray[np.uint32]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """float32(v) and the integer, by frexp and float64, where a product of float32s is exact."""
    f = v.astype(np.float64).astype(np.float32).astype(np.float64)
    mantissa, exponent = np.frexp(f)  # f = mantissa * 2^exponent, mantissa in [1/2, 1)
    half = (mantissa >= 0.75).astype(np.int64)
    t = 2 * mantissa - 1.25 - half / 2
    row = np.array(COEFFICIENTS, dtype=np.int64)[2 * (exponent - 1) + half]
    a = row[:, 5]
    for d in (4, 3, 2, 1, 0):
        product = a.astype(np.float32).astype(np.float64) * t
        a = np.trunc(product.astype(np.float32)).astype(np.int64) + row[:, d]
    return f, a


def test_signs_zero_and_tail() -> None:
    v = DENSE
    z = quantile(v)
    np.testing.assert_array_equal(quantile(v | SIGN), -z)
    np.testing.assert_array_equal(quantile(v - np.uint32(1)), z)  # bit 0 is not read
    assert z.min() == np.float32(3 * UNIT)  # never zero, so never minus zero
    assert z.max() == z[0] == np.float32(6.2302599)  # p = 2^-32
    assert 6.0 < z.max() < -ndtri(2.0**-33)


def test_kolmogorov_smirnov_and_moments_on_a_lattice() -> None:
    v = np.arange(1, 2**31, 2**10, dtype=np.uint32) | np.uint32(1)
    z = quantile(v).astype(np.float64)
    assert np.abs(ndtr(-z) - v * 2.0**-32).max() < 9.1e-8
    # The lattice itself is off by its own cell: compare with the exact quantile on it.
    exact = -ndtri(v * 2.0**-32)
    for power in (2, 4):
        assert abs(np.mean(z**power) - np.mean(exact**power)) < 3e-7


def test_the_table_is_what_the_arithmetic_needs() -> None:
    table = np.array(COEFFICIENTS, dtype=np.int64)
    assert table.shape == (63, 6)
    assert np.abs(table[:, 5]).max() < 2**24  # exact as float32
    assert np.abs(table).sum(axis=1).max() < 2**30.7  # no sum ever leaves int32


def test_shape_and_dtype() -> None:
    assert quantile(np.zeros((2, 0, 3), dtype=np.uint32)).shape == (2, 0, 3)
    assert quantile(np.uint32([[1, 2], [3, 4]])).dtype == np.float32
    with pytest.raises(ArgumentError, match="uint32"):
        quantile(np.zeros(3, dtype=np.int64))
