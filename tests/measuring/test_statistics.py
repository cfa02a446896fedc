"""The statistics of an array are those that PyTorch's side takes of a tensor."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isometry.measuring import statistics as ours
from isometry.measuring.parameters import equal_units, units
from isometry.torch import parameters as torch_parameters
from isometry.torch import statistics as theirs

SHAPES = st.sampled_from(
    [(32, 10), (64, 7, 12), (40, 5, 6, 3), (2, 3), (128, 300), (8, 9, 33), (32, 1), (6, 4, 5)]
)


@settings(deadline=None, max_examples=60)
@given(SHAPES, st.integers(0, 2**31), st.sampled_from([None, "relu", "tanh"]))
def test_of_an_output(shape: tuple[int, ...], seed: int, fn: str | None) -> None:
    x = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    x = {"relu": np.maximum(x, 0), "tanh": np.tanh(3 * x)}.get(str(fn), x)
    tensor = torch.from_numpy(x)
    found = ours.statistics(x, ours.samples_of(x), fn)
    expected = theirs.statistics(tensor, theirs.samples_of(tensor), fn)
    for field in dataclasses.fields(found):
        mine, its = getattr(found, field.name), getattr(expected, field.name)
        if field.name == "values":
            continue  # which few are kept for a histogram is each side's own
        if its is None:
            assert mine is None, field.name
        else:
            assert mine == pytest.approx(its, rel=1e-9, abs=1e-12), field.name
    assert ours.moment(x) == pytest.approx(theirs.moment(tensor), rel=1e-5)
    if x.ndim < 4:
        assert ours.pair_moments(x) == pytest.approx(
            theirs.pair_moments(tensor), rel=1e-6, abs=1e-9
        )


def test_images_with_channels_last_have_the_same_pairs() -> None:
    x = np.random.default_rng(0).normal(size=(8, 5, 6, 7)).astype(np.float32) + 0.3
    last = np.moveaxis(x, 1, -1)
    expected = theirs.pair_moments(torch.from_numpy(x))
    assert ours.pair_moments(last) == pytest.approx(expected, rel=1e-6)
    assert ours.pair_moments(x, channels_last=False) == pytest.approx(expected, rel=1e-6)


def test_what_is_not_finite_is_counted_and_left_out() -> None:
    x = np.ones((32, 8), np.float32)
    x[0, 0], x[1, 1] = np.inf, np.nan
    found = ours.statistics(x, ours.samples_of(x), None)
    assert found.nonfinite == pytest.approx(2 / 256)
    assert found.q == 1.0
    assert ours.moment(x) == (1.0, pytest.approx(2 / 256))
    assert (
        ours.moment(np.full((4,), 1e200)) == (0.0, 1.0)
        or ours.moment(np.full((4,), 1e200))[1] == 0.0
    )


def test_dead_units_and_one_hot_rows() -> None:
    x = np.abs(np.random.default_rng(0).normal(size=(64, 10))).astype(np.float32)
    x[:, :3] = 0
    samples = ours.samples_of(x)
    assert ours.dead_fraction(x, -1, samples, {"fn": "relu", "args": ()}) == pytest.approx(0.3)
    assert ours.dead_fraction(x, -1, samples, {"fn": "tanh", "args": ()}) is None
    assert ours.dead_fraction(x[:8], -1, ours.samples_of(x[:8]), {"fn": "relu", "args": ()}) is None
    rows = np.eye(8, dtype=np.float32)[[0, 1, 2, 3]]
    assert ours.one_hot_share(rows, -1) == 1.0
    assert ours.one_hot_share(np.full((4, 8), 0.125), -1) == 0.0
    assert ours.one_hot_share(rows[:, :2], -1) is None


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**31), st.sampled_from([(0,), (1,), (0, 2)]))
def test_equal_units_are_found(seed: int, axes: tuple[int, ...]) -> None:
    generator = np.random.default_rng(seed)
    x: Any = generator.integers(0, 2, size=(6, 5, 3)).astype(np.float32)
    tensor = torch.from_numpy(x)
    assert equal_units(units(x, axes)) == torch_parameters.equal_units(
        torch_parameters.units(tensor, axes)
    )
