"""What turns measurements into claims and pictures."""

import pytest
from scipy import stats

from isometry.lab.evidence import STUDENT, Estimate, agrees, estimate, interval
from isometry.lab.pictures import axis, by, decades, lines, picture


def test_an_estimate_is_the_mean_and_its_standard_error() -> None:
    draws = [1.0, 4.0, 2.0, 5.0, 3.5]
    found = estimate(draws)
    assert (found.value, found.n) == (pytest.approx(3.1), 5)
    assert found.error == pytest.approx(stats.sem(draws))


def test_a_claim_fails_beyond_four_standard_errors() -> None:
    found = Estimate(1.0, 0.1, 10)
    assert agrees("x", 1.39, "a book", found).holds
    assert not agrees("x", 1.41, "a book", found).holds
    assert agrees("x", 1.41, "a book", found, slack=0.02, why="finite width").holds
    assert "finite width" in agrees("x", 1.0, "a book", found, 0.02, "finite width").expected


def test_an_interval_is_students() -> None:
    draws = [0.3, -0.1, 0.2, 0.05, 0.4, -0.2, 0.1, 0.0, 0.25, 0.15]
    low, high = stats.t.interval(0.95, 9, loc=sum(draws) / 10, scale=stats.sem(draws))
    assert interval(draws)[1:] == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))


def test_students_points_are_scipys() -> None:
    for freedom, point in STUDENT.items():
        assert point == pytest.approx(stats.t.ppf(0.975, freedom), abs=6e-4)


def test_decades_are_labelled_as_powers_of_ten() -> None:
    y = decades("v", "a length", [1e-9, 1.0])
    assert "10⁻⁴" in y["axis"]["labelExpr"]
    assert y["axis"]["title"] == "a length"
    near = decades("v", "a length", [0.2, 0.9])
    assert near["axis"]["values"] == [0.2, 0.5, 1.0]


def test_a_zero_is_no_decade() -> None:
    assert decades("v", "a length", [0.0, 1e-3, 1.0])["axis"]["values"][0] == pytest.approx(1e-3)


def test_a_picture_is_as_wide_as_its_page() -> None:
    spec = picture("two points", [lines(axis("x", "x"), axis("y", "y"), by("s", ["a"]))],
                   [{"x": 0, "y": 1, "s": "a"}])  # fmt: skip
    assert spec["width"] == "container"
    assert spec["data"] == {"values": [{"x": 0, "y": 1, "s": "a"}]}
