"""Calibration changes the weights and nothing else; where it fails, nothing at all."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import isometry as iso
import isometry.torch as it

from ..checker.test_no_trace import bits, randomness, state
from .calibrated_nets import NEAR, mlp, noise, second_moments


@pytest.mark.parametrize("training", [True, False])
def test_nothing_but_the_weights_is_changed(training: bool) -> None:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(), nn.Flatten(), nn.Linear(288, 4)
    )
    model.train(training)
    model[4].weight.grad = torch.ones(4, 288)
    x = noise(16, 3, 8, 8)
    given, rng = bits(x), randomness()
    before = state(model)
    iso.initialize(model, x, calibrate=True)
    assert randomness() == rng
    assert bits(x) == given
    written = {"parameter 0.weight", "parameter 0.bias", "parameter 4.weight", "parameter 4.bias"}
    after = state(model)
    assert {k for k in before if before[k] != after[k]} == written
    for key in written:  # the same tensors, in the same memory, with the same gradients
        assert [before[key][i] for i in (0, 1, 2, 4)] == [after[key][i] for i in (0, 1, 2, 4)]  # type: ignore[index]


def test_dropout_is_off_while_it_is_measured() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Dropout(0.9), nn.Linear(16, 16)).train()
    iso.initialize(model, noise(32, 16), calibrate=True)
    q = second_moments(model.eval(), noise(32, 16))
    assert list(q.values()) == pytest.approx([1.0, 1.0], rel=NEAR)


class Dead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.norm = nn.Linear(8, 8), nn.Linear(8, 8), nn.BatchNorm1d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.relu(self.first(self.norm(x)) - 100.0))


@pytest.mark.parametrize(
    ("model", "x", "what"),
    [
        (Dead(), noise(32, 8), "second.weight cannot be calibrated.* is zero everywhere"),
        (mlp(depth=2)[0], torch.full((4, 64), math.inf), r"0\.weight .*is not finite"),
    ],
    ids=["zero", "infinite"],
)
def test_a_product_that_no_factor_mends_is_named_and_the_model_is_as_it_was(
    model: nn.Module, x: Tensor, what: str
) -> None:
    before, rng = state(model), randomness()
    with pytest.raises(iso.ModelError, match=what + r".*iso\.check\(model, inputs\)"):
        iso.initialize(model, x, calibrate=True)
    assert state(model) == before
    assert randomness() == rng


def test_a_forward_that_fails_on_values_leaves_the_model_as_it_was() -> None:
    model, x = mlp(depth=2)
    before = state(model)
    model_of = nn.Sequential(model, Refusing())
    with pytest.raises(iso.TraceError, match="no such expert"):
        iso.initialize(model_of, x, calibrate=True)
    assert state(model) == before


class Refusing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            raise LookupError("no such expert")
        return x


def test_a_factor_beyond_float32_is_refused_before_anything_is_written() -> None:
    model, x = mlp(depth=2)
    before = state(model)
    with pytest.raises(iso.ArgumentError, match=r"0\.weight would have to be multiplied.*inputs"):
        iso.initialize(model, 1e-30 * x, calibrate=True)
    assert state(model) == before


def test_data_is_asked_for() -> None:
    with pytest.raises(iso.ArgumentError, match=r"calibrate=True without inputs.*pass a batch"):
        iso.initialize(mlp()[0], calibrate=True)


def test_on_meta_the_weights_are_those_of_the_model_with_memory() -> None:
    real, x = mlp(depth=5)
    with it.meta():
        empty = mlp(depth=5)[0]
    with pytest.raises(iso.ModelError):
        iso.initialize(empty, torch.full_like(x, math.inf), calibrate=True)
    assert all(p.is_meta for p in empty.parameters())
    iso.initialize(real, x, calibrate=True)
    iso.initialize(empty, x, calibrate=True)
    for (name, a), b in zip(real.state_dict().items(), empty.state_dict().values(), strict=True):
        assert bits(a) == bits(b), name
