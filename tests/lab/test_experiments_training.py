"""The experiments that train on digits: each holds, draws, and can be resumed."""

from pathlib import Path

import pytest
import torch
from torch import nn

from isometry.lab.calibrate_against_lsuv import calibrate_against_lsuv, lsuv
from isometry.lab.he2015 import he2015
from isometry.lab.learning import MOST, digits, held_out, smooth, train
from isometry.lab.mup_coordinates import mup_coordinates
from isometry.lab.networks import mlp
from isometry.lab.normal_or_uniform import normal_or_uniform
from isometry.lab.too_small_too_large import too_small_too_large
from isometry.lab.zero_and_constant import distinct_units, zero_and_constant

from .experiments import checked


def test_zero_and_constant(tmp_path: Path) -> None:
    result = checked(zero_and_constant, tmp_path)
    runs = result.numbers["runs"]
    assert runs["all zero"]["moved"] == ["4.bias"]
    assert set(runs["constant"]["history"]["0.weight"]) == {1}


def test_distinct_units_counts_rows_that_differ() -> None:
    net = mlp([64, 8, 8], "tanh").double()
    assert distinct_units(net, "2.weight") == 8
    with torch.no_grad():
        net[2].weight[:] = net[2].weight[0]
        net[2].bias.zero_()
    assert distinct_units(net, "2.weight") == 1
    with torch.no_grad():
        net[2].bias[3] = 0.1
    assert distinct_units(net, "2.weight") == 2


def test_too_small_too_large(tmp_path: Path) -> None:
    checked(too_small_too_large, tmp_path)


def test_he2015(tmp_path: Path) -> None:
    checked(he2015, tmp_path)


def test_normal_or_uniform(tmp_path: Path) -> None:
    result = checked(normal_or_uniform, tmp_path)
    assert result.numbers["pairs"] >= 10


def test_mup_coordinates(tmp_path: Path) -> None:
    result = checked(mup_coordinates, tmp_path)
    hidden = result.numbers["changes"]["hidden layer"]
    # At the base width the two parametrisations are one network.
    assert hidden["standard"]["measured"][0] == hidden["muP"]["measured"][0]


def test_calibrate_against_lsuv(tmp_path: Path) -> None:
    checked(calibrate_against_lsuv, tmp_path)


def test_lsuv_brings_every_variance_to_one() -> None:
    x, _ = digits()
    net = mlp([64, 32, 32, 32], "tanh")
    lsuv(net, 7 * x[:200], seed=0)
    with torch.no_grad():
        h = 7 * x[:200]
        for module in net:
            h = module(h)
            if isinstance(module, nn.Linear):
                assert h.var().item() == pytest.approx(1.0, abs=0.1)


def test_digits_have_second_moment_one_and_are_parted_without_overlap() -> None:
    x, y = digits()
    assert x.shape == (1797, 64)
    assert x.square().mean().item() == pytest.approx(1.0, abs=1e-5)
    (learn, labels), (test, answers) = held_out()
    assert len(learn) + len(test) == len(x)
    assert len(labels) + len(answers) == len(y)


def test_training_is_repeatable_and_a_diverged_loss_is_a_number() -> None:
    x, y = digits()

    def losses(rate: float) -> list[float]:
        net = mlp([64, 16], "relu")
        with torch.no_grad():
            for p in net.parameters():
                p.fill_(0.1)
        return train(net, x, y, steps=40, rate=rate, seed=3)

    assert losses(0.1) == losses(0.1)
    assert smooth([float("nan"), float("inf"), 1.0, 3.0], window=2) == [MOST, 2.0]
