"""Two builds of a model, compared by their parameters."""

from __future__ import annotations

import numpy as np

from isometry.measuring import compare_builds
from isometry.types import NotChecked, ParameterMeasurement


def parameter(name: str, shape: tuple[int, ...]) -> ParameterMeasurement:
    return ParameterMeasurement(name, shape, 0.0, 1.0, 0.0, None, 0.0, "")


def test_what_differs_between_two_builds() -> None:
    drawn = np.random.default_rng(0).normal(size=(3, 2)).astype(np.float32)
    other = np.nextafter(drawn, np.float32(9))
    empty = np.full(2, np.nan, np.float32)
    said: list[NotChecked] = []
    found = compare_builds(
        (
            parameter("a", (3, 2)),
            parameter("b", (3, 2)),
            parameter("c", (2,)),
            parameter("d", (2,)),
        ),
        {"a": drawn, "b": drawn, "c": empty, "extra": drawn},
        {"a": drawn.copy(), "b": other, "c": empty.copy(), "extra": drawn},
        said,
    )
    assert [p.rebuilt for p in found] == ["equal", "different", "equal", None]
    assert said == [NotChecked("d", "build() returns a model without it")]


def test_two_models_cannot_be_compared() -> None:
    measured = (parameter("a", (2,)),)
    for second in ({"b": np.ones(2)}, {"a": np.ones(3)}):
        said: list[NotChecked] = []
        assert compare_builds(measured, {"a": np.ones(2)}, second, said) == measured
        assert [n.what for n in said] == ["what two builds share"]
