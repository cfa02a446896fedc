"""The experiments about what flows through networks: each holds, draws, and can be resumed."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, special

from isometry.lab.depth_scale import depth_scale, edge, fixed_point
from isometry.lab.finite_width import finite_width
from isometry.lab.glorot2010 import glorot2010
from isometry.lab.maps import through_layers
from isometry.lab.random_lengths import log_moments

from .experiments import checked


def gaussian(function: object, q: float) -> float:
    """E[f(sqrt(q) z)] by scipy."""
    density = lambda z: function(math.sqrt(q) * z) * math.exp(-z * z / 2)  # type: ignore[operator]  # noqa: E731
    return integrate.quad(density, -12, 12, epsabs=1e-13)[0] / math.sqrt(2 * math.pi)


@pytest.mark.parametrize(
    ("scale", "figure6"),
    [
        (1 / 3, [0.4603, 0.2495, 0.1412, 0.0810, 0.0467]),
        (1.0, [0.6279, 0.4863, 0.4082, 0.3576, 0.3216]),
    ],
)
def test_the_map_is_that_of_scipy_and_gives_glorots_figure(
    scale: float, figure6: list[float]
) -> None:
    theory = through_layers("tanh", [scale] * 5)
    q = 1.0
    for layer in range(5):
        before = scale * q
        q = gaussian(lambda x: math.tanh(x) ** 2, before)
        slope = gaussian(lambda x: (1 - math.tanh(x) ** 2) ** 2, before)
        assert theory.after[layer] == pytest.approx(q, rel=1e-8)
        assert theory.chi[layer] == pytest.approx(scale * slope, rel=1e-8)
    assert [round(math.sqrt(v), 4) for v in theory.after] == figure6


def test_gradients_are_products_of_chi_from_the_last_layer_back() -> None:
    theory = through_layers("tanh", [1.0, 0.5, 2.0])
    assert theory.gradients == (theory.chi[1] * theory.chi[2], theory.chi[2], 1.0)


def test_glorot2010(tmp_path: Path) -> None:
    result = checked(glorot2010, tmp_path)
    measured = result.numbers["laws"]["Glorot"]["measured"]["signal"]
    assert measured == pytest.approx([0.6279, 0.4863, 0.4082, 0.3576, 0.3216], rel=0.03)


def test_finite_width(tmp_path: Path) -> None:
    result = checked(finite_width, tmp_path)
    assert any("a whole layer is off" in claim.what for claim in result.claims)


@pytest.mark.parametrize("width", [8, 32, 200])
def test_moments_of_the_log_are_those_of_the_mixture(width: int) -> None:
    """By drawing: ln((2/n) chi²_K), K ~ Binomial(n, 1/2) given K >= 1."""
    rng = np.random.default_rng(0)
    on = rng.binomial(width, 0.5, 400_000)
    drawn = np.log(2 / width * rng.chisquare(on[on > 0]))
    mean, variance = log_moments(width)
    n = len(drawn)
    assert abs(drawn.mean() - mean) < 4 * drawn.std() / math.sqrt(n)
    apart = (drawn - drawn.mean()) ** 2
    assert abs(apart.mean() - variance) < 4 * apart.std() / math.sqrt(n)


def test_wide_layers_approach_five_over_n() -> None:
    mean, variance = log_moments(2000)
    assert variance == pytest.approx(5 / 2000, rel=0.01)
    assert mean == pytest.approx(-2.5 / 2000, rel=0.01)


def test_depth_scale(tmp_path: Path) -> None:
    checked(depth_scale, tmp_path)


def test_the_edge_of_chaos_is_where_chi_is_one() -> None:
    q, chi = fixed_point(edge())
    assert chi == pytest.approx(1.0, abs=1e-5)
    assert q == pytest.approx(edge() * gaussian(lambda x: math.tanh(x) ** 2, q) + 0.05, rel=1e-6)


def test_saturation_is_that_of_a_gaussian() -> None:
    from isometry.lab.too_small_too_large import EDGE, _beyond

    assert _beyond(4.0) == pytest.approx(special.erfc(math.atanh(EDGE) / math.sqrt(8.0)))
