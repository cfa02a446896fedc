"""What a plan says of a long plain chain: where it settles, and what its gradient does meanwhile."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import isometry as iso
from isometry.theory.fixed_points import settled

from .models import mlp


def test_a_long_chain_is_told_where_it_settles() -> None:
    plan = iso.plan(mlp(nn.Tanh, 20, 64), torch.zeros(4, 64))
    (note,) = plan.notes
    assert note.startswith("20 layers of tanh: the second moment settles at 1")
    assert "x 1.18 a layer (depth scale 6.1 layers)" in note
    first, last = plan.predictions[0], plan.predictions[-2]  # the head has a fan_out of its own
    assert (first.grad or 0.0) / (last.grad or 1.0) == pytest.approx(1.1778**19, rel=0.01)


def test_a_gradient_that_keeps_its_size_is_not_talked_of() -> None:
    assert iso.plan(mlp(nn.ReLU, 20, 64), torch.zeros(4, 64)).notes == ()
    assert iso.plan(mlp(nn.Tanh, 4, 64), torch.zeros(4, 64)).notes == ()
    assert settled("tanh", 2.5363, 0.0, 4) is None
    assert settled("gelu", 2.3517, 0.0, 50) is None  # its second moment runs away


def test_a_bias_that_is_kept_is_no_law() -> None:
    """Of a chain whose biases are someone's choice nothing is said, and the plan is made."""
    model = mlp(nn.Tanh, 20, 64)
    for layer in model.modules():
        if isinstance(layer, nn.Linear):
            nn.init.normal_(layer.bias)
            layer.bias.requires_grad_(False)
    plan = iso.plan(model, torch.zeros(4, 64))
    assert not any("settles" in note for note in plan.notes)
    assert all(p.q is None or math.isfinite(p.q) for p in plan.predictions)
