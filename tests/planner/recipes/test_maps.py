"""The mean-field maps against closed forms, and against what is known of their fixed points."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isometry.errors import ArgumentError
from isometry.gains import find
from isometry.recipe.critical import CRITICAL_POINTS
from isometry.theory.maps import LayerMap, critical_point, edge_of_chaos, pair_moment

CORRELATIONS = (-1.0, -0.7, 0.0, 0.3, 0.9, 0.999, 1.0 - 1e-6, 1.0 - 1e-9, 1.0)


@pytest.mark.parametrize("c", CORRELATIONS)
def test_relu_pair_is_the_arccosine_kernel(c: float) -> None:
    exact = (math.sqrt(1 - c * c) + (math.pi - math.acos(c)) * c) / math.pi
    assert 2 * pair_moment("relu", 1.0, 1.0, c) == pytest.approx(exact, abs=1e-13)


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize(("q", "other"), [(1.0, 1.0), (0.1, 4.0), (14.0, 14.0)])
def test_leaky_relu_pair(c: float, q: float, other: float) -> None:
    a, b, k = 0.01, 1.0, c * math.sqrt(q * other)
    theta = math.acos(c)
    exact = (a - b) ** 2 / (2 * math.pi) * math.sqrt(q * other * (1 - c * c)) + (
        (a * a + b * b) / 2 - (a - b) ** 2 * theta / (2 * math.pi)
    ) * k
    assert pair_moment("leaky_relu", q, other, c) == pytest.approx(exact, abs=1e-12 * (q + other))


@pytest.mark.parametrize("c", CORRELATIONS)
@pytest.mark.parametrize(("q", "other"), [(1.0, 1.0), (0.1, 4.0), (14.0, 14.0)])
def test_erf_and_sine_pairs(c: float, q: float, other: float) -> None:
    k = c * math.sqrt(q * other)
    erf = 2 / math.pi * math.asin(2 * k / math.sqrt((1 + 2 * q) * (1 + 2 * other)))
    assert pair_moment("erf", q, other, c) == pytest.approx(erf, abs=1e-12)
    # E[sin u sin v] = (E cos(u - v) - E cos(u + v))/2
    sine = (math.exp(k - (q + other) / 2) - math.exp(-k - (q + other) / 2)) / 2
    assert pair_moment("sin", q, other, c) == pytest.approx(sine, abs=1e-12)


def test_a_jump_and_corners_that_are_named() -> None:
    """The sign's kernel is (2/pi) arcsin c; hardtanh agrees with a million draws."""
    step = LayerMap(np.sign, c_w=1.0)
    assert step.variance(1.0) == pytest.approx(1.0, abs=1e-9)
    u, v = np.random.default_rng(0).multivariate_normal([0, 0], [[1, 0.95], [0.95, 1]], 10**6).T
    product = np.clip(u, -1, 1) * np.clip(v, -1, 1)
    error = product.std() / 1e3
    assert pair_moment("hardtanh", 1.0, 1.0, 0.95) == pytest.approx(product.mean(), abs=4 * error)


def test_gelu_variance_map() -> None:
    for q in (0.1, 1.0, 3.5616, 20.0):
        root = math.sqrt(1 + 2 * q)
        exact = q * (0.25 + (q / ((q + 1) * root) + math.atan(q / root) / 2) / math.pi)
        assert LayerMap("gelu", 1.0).variance(q) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("name", ["tanh", "gelu", "silu", "selu", "erf", "softsign"])
def test_slopes_are_those_of_the_maps(name: str) -> None:
    """dq'/dq by differences; chi is dc'/dc at c = 1."""
    layer, q, h = LayerMap(name, 1.7, 0.1), 1.3, 1e-4
    rise = (layer.variance(q + h) - layer.variance(q - h)) / (2 * h)
    assert layer.slope(q) == pytest.approx(rise, rel=1e-6)
    below = (1.0 - layer.correlation(1.0 - 1e-7, q)) / 1e-7
    assert below == pytest.approx(layer.chi(q) * q / layer.variance(q), rel=1e-3)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh", "silu", "mish", "hardswish"])
def test_the_table_of_double_criticality(name: str) -> None:
    point = critical_point(name)
    layer = LayerMap(name, point.c_w, point.c_b)
    assert layer.variance(point.q) == pytest.approx(point.q, rel=1e-9)
    assert layer.chi(point.q) == pytest.approx(1.0, abs=1e-9)
    assert layer.slope(point.q) == pytest.approx(1.0, abs=1e-8)
    q, c_w, c_b = CRITICAL_POINTS[name]  # to the digits that are written
    assert q == pytest.approx(point.q, abs=5e-5)
    assert (c_w, c_b) == pytest.approx((point.c_w, point.c_b), abs=6e-6)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "linear", "tanh", "erf", "sin"])
def test_where_no_biases_are_needed(name: str) -> None:
    point = critical_point(name)
    assert (point.c_w, point.c_b) == pytest.approx(CRITICAL_POINTS[name][1:], rel=1e-9)
    assert point.q == (1.0 if "relu" in name or name == "linear" else 0.0)


def test_the_edge_of_chaos_of_the_paper() -> None:
    """Schoenholz et al. 2017: tanh with Var b = 0.05 is critical at C_W = 1.76."""
    q, c_w, c_b = edge_of_chaos("tanh", 0.05)
    assert (round(c_w, 2), c_b) == (1.76, 0.05)
    layer = LayerMap("tanh", c_w, c_b)
    assert layer.fixed_point() == pytest.approx(q, rel=1e-8)
    assert layer.depth_scale() > 1e8
    assert layer.slope(q) < 1
    assert LayerMap("tanh", c_w - 0.3, c_b).correlation_fixed_point() == 1.0


def test_chaos_parts_two_inputs() -> None:
    layer = LayerMap("tanh", 2.5, 0.05)
    q, c = layer.fixed_point(), layer.correlation_fixed_point()
    assert 0 < c < 1
    assert layer.correlation(c, q) == pytest.approx(c, abs=1e-9)
    assert layer.depth_scale() == pytest.approx(1 / math.log(layer.chi(q)))


def test_siren_settles_at_0797() -> None:
    """Sitzmann et al. 2020: n Var W omega² = 2, so q' = 1 - exp(-2q)."""
    layer = LayerMap("sin", 2.0)
    q = layer.fixed_point()
    assert q == pytest.approx(0.7968, abs=5e-5)
    assert layer.chi(q) == pytest.approx(1.2032, abs=5e-5)
    assert 1 - math.exp(-2 * q) == pytest.approx(q, abs=1e-9)


def test_a_slope_of_ones_own() -> None:
    leaky = find("leaky_relu", {"negative_slope": 0.2})
    assert critical_point(leaky).c_w == pytest.approx(2 / 1.04)
    assert critical_point(lambda z: np.maximum(z, 0)).c_w == pytest.approx(2.0)


def test_errors() -> None:
    with pytest.raises(ArgumentError, match="has no critical point"):
        critical_point("sigmoid")
    with pytest.raises(ArgumentError, match=r"relu with biases of variance 0\.05 has no edge"):
        edge_of_chaos("relu", 0.05)
    with pytest.raises(ArgumentError, match=r"gelu with C_W 2.5, C_b 0 does not settle"):
        LayerMap("gelu", 2.5).fixed_point()
    with pytest.raises(ArgumentError, match=r"c_w=-1.0, c_b=0.0.*LayerMap\('relu', c_w=2.0\)"):
        LayerMap("relu", -1.0)
    with pytest.raises(ArgumentError, match="expected a correlation in"):
        pair_moment("relu", 1.0, 1.0, 1.5)
    with pytest.raises(ArgumentError, match="activation is 3; expected a name"):
        LayerMap(3, 1.0)  # type: ignore[arg-type]
