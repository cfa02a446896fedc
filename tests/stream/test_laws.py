"""The laws, measured: moments, bounds and distribution, with tolerances from the sample's size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from isometry.errors import ArgumentError
from isometry.stream import quantile, sample, words
from isometry.stream.draws import draw_of
from isometry.stream.quantile import UNIT
from isometry.types import Constant, Law, Normal, TruncatedNormal, Uniform

SHAPE = (1 << 19,)
N = SHAPE[0]


def check_moments(x: np.ndarray, mean: float, std: float, kurtosis: float) -> None:
    """Mean and std within 4 standard errors: sigma/sqrt(n), sigma sqrt((k - 1) / 4n)."""
    assert abs(x.mean(dtype=np.float64) - mean) < 4 * std / math.sqrt(x.size)
    error = std * math.sqrt((kurtosis - 1) / (4 * x.size))
    assert abs(x.std(dtype=np.float64) - std) < 4 * error


@pytest.mark.parametrize("seed", [0, 1, 2**63])
@pytest.mark.parametrize("law", [Normal(0.02), Normal(3.0, mean=-7.0)], ids=str)
def test_normal(law: Normal, seed: int) -> None:
    x = sample(law, SHAPE, seed=seed, name="w").astype(np.float64)
    check_moments(x, law.mean, law.std, kurtosis=3)
    z = (x - law.mean) / law.std
    assert stats.kstest(z, "norm").pvalue > 1e-4
    # Anderson-Darling, by hand: the parameters are known.
    u = np.clip(np.sort(stats.norm.cdf(z)), 1e-300, 1 - 1e-16)
    i = np.arange(1, N + 1)
    anderson = -N - np.mean((2 * i - 1) * (np.log(u) + np.log1p(-u[::-1])))
    assert anderson < 10.0  # p = 1e-5 where the law is fully known
    assert abs(stats.skew(z)) < 4 * math.sqrt(6 / N)
    assert abs(stats.kurtosis(z)) < 4 * math.sqrt(24 / N)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("law", [Uniform(0.05), Uniform(2.0, mean=10.0)], ids=str)
def test_uniform(law: Uniform, seed: int) -> None:
    x = sample(law, SHAPE, seed=seed, name="w").astype(np.float64)
    check_moments(x, law.mean, law.bound / math.sqrt(3), kurtosis=1.8)
    assert np.abs(x - law.mean).max() <= np.float32(law.bound)
    unit = (x - law.mean + law.bound) / (2 * law.bound)
    assert stats.kstest(unit, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("law", [TruncatedNormal(0.02), TruncatedNormal(1.0, 0.1), TruncatedNormal(3.0, 3.0, 1.0), TruncatedNormal(0.7, 6.0)], ids=str)  # fmt: skip
def test_truncated_normal(law: TruncatedNormal) -> None:
    x = sample(law, SHAPE, seed=0, name="w").astype(np.float64)
    c = law.cutoff
    cut = stats.truncnorm(-c, c)
    check_moments(x, law.mean, law.std, kurtosis=float(cut.stats("k")) + 3)
    assert np.abs(x - law.mean).max() <= np.nextafter(np.float32(law.bound), np.float32(9e9))
    assert stats.kstest((x - law.mean) / law.uncut_std, cut.cdf).pvalue > 1e-4


def test_ten_million_truncated_values_stay_within_the_bound() -> None:
    law = TruncatedNormal(0.02)
    x = sample(law, (10_000_000,), seed=0, name="w")
    assert np.abs(x).max() <= np.float32(0.045474)
    assert np.abs(x).max() > 0.0454738  # and reach it
    check_moments(x, 0.0, 0.02, kurtosis=float(stats.truncnorm.stats(-2, 2, moments="k")) + 3)


@pytest.mark.parametrize("std", [0.02, 1.0, 1 / 3, 2.0**-80, 2.0**80, 1.2345e-5])
@pytest.mark.parametrize("cutoff", [0.1, 1.0, 2.0, 3.7, 6.0])
def test_the_largest_word_of_a_cut_is_just_inside_its_bound(std: float, cutoff: float) -> None:
    law = TruncatedNormal(std, cutoff)
    how = draw_of(law)
    assert how is not None
    assert 0 < how.low < 2**31
    assert how.low % 2 == 0

    def size(v: int) -> float:
        return float(quantile(np.uint32([v]))[0]) / UNIT * float(how.scale)

    assert size(how.low + 1) <= law.bound < size(how.low - 1)
    assert np.float32(size(how.low + 1)) <= np.float32(law.bound)


def test_a_cut_maps_words_in_order_onto_the_whole_interval() -> None:
    law = TruncatedNormal(1.0, 2.0)
    x = sample(law, SHAPE, seed=0, name="w")
    low31 = words(0, "w", 0, N) & np.uint32(0x7FFFFFFF)
    order = np.argsort(low31, kind="stable")
    assert np.diff(np.abs(x[order])).max() <= 0
    np.testing.assert_array_equal(
        np.signbit(x), np.signbit(sample(Normal(), SHAPE, seed=0, name="w"))
    )


def test_a_normal_is_one_multiplication() -> None:
    z = quantile(words(0, "w", 0, N))
    for std in (0.02, 1 / 3, 2.0**-80, 2.0**80):
        np.testing.assert_array_equal(
            sample(Normal(std), SHAPE, seed=0, name="w"), z * np.float32(std)
        )


def test_a_uniform_is_one_multiplication_on_the_closed_interval() -> None:
    raw = (words(0, "w", 0, N) | np.uint32(1)).view(np.int32)
    expected = raw.astype(np.float32) * np.float32(0.7 * 2.0**-31)
    np.testing.assert_array_equal(sample(Uniform(0.7), SHAPE, seed=0, name="w"), expected)
    assert np.float32(2**31 - 1) * np.float32(0.7 * 2.0**-31) == np.float32(0.7)


def test_a_mean_is_added_once_in_float64() -> None:
    z = quantile(words(0, "w", 0, N)).astype(np.float64)
    expected = (z * np.float64(np.float32(0.3)) + 0.1).astype(np.float32)
    np.testing.assert_array_equal(sample(Normal(0.3, mean=0.1), SHAPE, seed=0, name="w"), expected)


def test_a_constant_is_itself() -> None:
    assert (sample(Constant(0.1), (3, 2), seed=0, name="w") == np.float32(0.1)).all()
    zero = sample(Constant(-0.0), (3,), seed=0, name="w")
    assert np.signbit(zero).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float8_e4m3fn"])
def test_a_law_that_float32_cannot_hold(dtype: str) -> None:
    for law in (Constant(1e39), Normal(mean=-4e38), Uniform(mean=1e300)):
        with pytest.raises(ArgumentError, match=r"reaches .* drawn up to 3\.[0-9]*e\+38"):
            sample(law, (3,), seed=0, name="w", dtype=dtype)


@pytest.mark.parametrize("law", [Normal(11000.0), Uniform(66000.0), Constant(-70000.0)], ids=str)
def test_a_law_that_float16_cannot_hold(law: Law) -> None:
    assert np.isfinite(sample(law, (3,), seed=0, name="w")).all()
    with pytest.raises(ArgumentError, match=r'float16 is drawn up to 6\.55.* dtype="float32"'):
        sample(law, (3,), seed=0, name="w", dtype="float16")
