"""Quadrature of functions nobody named: corners and jumps anywhere, shifts, scales and steepness."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.errors import ArgumentError
from isometry.gains import FUNCTIONS, KINKS, gaussian_grid, gaussian_moments


def tail(x: float) -> float:
    return 0.5 * math.erfc(x / math.sqrt(2))


def density(x: float) -> float:
    return math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi)


def relu_moments(mean: float, std: float) -> tuple[float, float]:
    """E[relu(x)], E[relu(x)²] for x ~ N(mean, std²)."""
    a = mean / std
    first = mean * tail(-a) + std * density(a)
    second = (mean**2 + std**2) * tail(-a) + mean * std * density(a)
    return first, second


numbers = st.floats(-4, 4)
scales = st.floats(0.05, 4)


@settings(max_examples=60, deadline=None)
@given(shift=numbers, mean=numbers, std=scales)
def test_a_corner_is_found_wherever_it_is(shift: float, mean: float, std: float) -> None:
    found = gaussian_moments(lambda x: np.maximum(x - shift, 0.0), q=std**2, mean=mean)
    assert found == pytest.approx(relu_moments(mean - shift, std), rel=1e-6, abs=1e-13)
    named = gaussian_moments(lambda x: np.maximum(x - shift, 0.0), (shift,), std**2, mean)
    assert named == pytest.approx(relu_moments(mean - shift, std), rel=1e-8, abs=1e-14)


@settings(max_examples=60, deadline=None)
@given(at=numbers, low=numbers, high=numbers)
def test_a_jump_is_found_wherever_it_is(at: float, low: float, high: float) -> None:
    first, second = gaussian_moments(lambda x: np.where(x > at, high, low))
    assert first == pytest.approx(high * tail(at) + low * tail(-at), rel=1e-8, abs=1e-8)
    assert second == pytest.approx(high**2 * tail(at) + low**2 * tail(-at), rel=1e-8, abs=1e-12)


def test_a_jump_has_no_slope_and_a_corner_has_two() -> None:
    grid = gaussian_grid(lambda x: np.where(x > 0.3, 2.0 * x + 1, -x), tolerance=1e-13)
    expected = 4 * tail(0.3) + tail(-0.3)
    assert grid.mean(grid.slope**2) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(mean=numbers, std=scales, omega=st.floats(0.1, 20))
def test_waves(mean: float, std: float, omega: float) -> None:
    found = gaussian_moments(lambda x: np.sin(omega * x), q=std**2, mean=mean)
    first = math.sin(omega * mean) * math.exp(-0.5 * (omega * std) ** 2)
    second = 0.5 * (1 - math.cos(2 * omega * mean) * math.exp(-2 * (omega * std) ** 2))
    assert found == pytest.approx((first, second), rel=1e-8, abs=1e-9)


@pytest.mark.parametrize("q", [1e-12, 1e-4, 1.0, 1e4, 1e12])
def test_relu_and_erf_at_any_scale(q: float) -> None:
    assert gaussian_moments(FUNCTIONS["relu"], KINKS["relu"], q) == pytest.approx(
        (math.sqrt(q / (2 * math.pi)), q / 2), rel=1e-9
    )
    first, second = gaussian_moments(FUNCTIONS["erf"], q=q)
    assert first == pytest.approx(0.0, abs=1e-12)
    assert second == pytest.approx(2 / math.pi * math.asin(2 * q / (1 + 2 * q)), rel=1e-9)


def test_the_exponential_far_out() -> None:
    """exp(2x), x ~ N(0, 16): the mass of its square lies 8 standard deviations out."""
    first, second = gaussian_moments(np.exp, q=16.0)
    assert (first, second) == pytest.approx((math.exp(8), math.exp(32)), rel=1e-9)


def test_without_variance_it_is_the_value_there() -> None:
    assert gaussian_moments(np.tanh, (0.0,), q=0.0, mean=0.5) == pytest.approx(
        (math.tanh(0.5), math.tanh(0.5) ** 2), rel=1e-14
    )


def test_zero_is_a_function_too() -> None:
    assert gaussian_moments(np.zeros_like) == (0.0, 0.0)


def test_a_composition_costs_one_call_for_each_level_of_halving() -> None:
    """Speed, as a count: a smooth function settles in a few calls, a corner in some twenty."""
    calls = []

    def counted(x: np.ndarray) -> np.ndarray:
        calls.append(x.size)
        return 0.3 * x + np.tanh(x - 0.1)

    gaussian_moments(counted)
    assert len(calls) <= 3
    assert sum(calls) <= 1000
    calls.clear()
    gaussian_moments(lambda x: np.abs(counted(x) - 0.777))
    assert len(calls) <= 24


@pytest.mark.parametrize("bad", [{"q": -1.0}, {"q": math.nan}, {"mean": math.inf}])
def test_bad_laws_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match="q is the variance"):
        gaussian_moments(np.tanh, **bad)


def test_a_function_that_draws_is_refused_and_not_chased() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ArgumentError, match="deterministic"):
        gaussian_moments(lambda x: rng.normal(size=x.shape))
