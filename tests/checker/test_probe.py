"""What zeros and equal units do when trained, and what two builds have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import isometry as iso
from isometry.torch.measure import measure
from isometry.types import ParameterMeasurement

from .networks import DiT, LoRA, ResNet, initialised, mlp


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def parameters(model: nn.Module, *inputs: Tensor, **more: Any) -> dict[str, ParameterMeasurement]:
    return {p.name: p for p in measure(model, inputs, **more)[0].parameters}


def test_the_step_at_which_a_zero_moves_is_its_depth_behind_other_zeros() -> None:
    found = parameters(DiT(), noise(32, 12), noise(32, 16))
    assert found["last.weight"].moves_at == 1
    assert found["ada.0.weight"].moves_at == found["last_ada.weight"].moves_at == 2
    assert not found["embed.weight"].probed


def test_one_zero_of_two_moves_and_two_do_not() -> None:
    for zero_a, step in ((False, 1), (True, None)):
        b = parameters(LoRA(zero_a), noise(32, 32))["b"]
        assert b.probed
        assert b.moves_at == step


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_what_moves_does_not_depend_on_the_scale_of_the_loss(scale: float) -> None:
    model, x = ResNet(zero=True, blocks=2), noise(16, 3, 8, 8)

    def loss(output: Tensor, target: Any) -> Tensor:
        return scale * output.square().sum()

    found = parameters(model, x, loss=loss)
    assert found["blocks.0.4.weight"].moves_at == 1


def test_equal_units_that_read_and_feed_alike_never_part() -> None:
    net = initialised(mlp([8, 16, 16, 4]), lambda w: nn.init.constant_(w, 0.1))
    found = parameters(net, noise(32, 8), loss="cross_entropy")
    assert found["0.weight"].identical == 1.0
    assert found["0.weight"].grad_identical == 1.0
    assert found["0.weight"].parts_at is None
    head = found["4.weight"]
    assert (head.identical, head.grad_identical, head.parts_at) == (1.0, 0.0, 1)


def test_copies_of_some_units_are_counted() -> None:
    net = mlp([8, 16, 4])
    with torch.no_grad():
        net[0].weight[10:14] = net[0].weight[0]
    assert parameters(net, noise(32, 8))["0.weight"].identical == 5 / 16


def test_rounding_is_no_movement() -> None:
    # All zeros under softmax: the gradient of the first layer cancels but for rounding.
    net = initialised(mlp([64, 10, 10], lambda: nn.Softmax(-1)), nn.init.zeros_)
    found = parameters(net, noise(64, 64).abs())
    assert found["0.weight"].moves_at is None
    assert found["2.weight"].moves_at == 1


def test_a_model_that_cannot_be_copied_is_not_probed_and_says_so() -> None:
    class Uncopied(LoRA):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("a lock is held")

    report = iso.check(Uncopied(zero_a=True), noise(32, 32))
    assert any("a lock is held" in n.why for n in report.not_checked)
    assert not report.parameters[0].probed
    assert report.ok


class Unset(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.scale = nn.Parameter(torch.empty(8))
        self.shift = nn.Parameter(torch.from_numpy(np.random.default_rng().normal(size=8)).float())

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) * torch.nan_to_num(self.scale) + self.shift


def test_two_builds_tell_what_is_never_set_and_what_the_seed_does_not_reach() -> None:
    found = parameters(Unset(), noise(32, 8), build=Unset)
    assert {n: p.rebuilt for n, p in found.items()} == {
        "scale": "unset", "shift": "different", "fc.weight": "equal", "fc.bias": "equal"
    }  # fmt: skip


class Vast(nn.Module):
    """So much memory comes fresh from the system, as zeros: two builds agree by chance."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.table = nn.Linear(8, 8), nn.Parameter(torch.empty(1 << 23))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x) + self.table[:8]


def test_memory_that_happens_to_be_zero_is_not_taken_for_set() -> None:
    model = Vast()
    nn.init.zeros_(model.table)
    assert parameters(model, noise(32, 8), build=Vast)["table"].rebuilt == "unset"


def test_a_build_that_is_none_is_refused() -> None:
    net, x = nn.Linear(8, 8), noise(32, 8)
    with pytest.raises(iso.ArgumentError, match="factory"):
        measure(net, x, build=net)  # type: ignore[arg-type]
    with pytest.raises(iso.ArgumentError, match="returned dict"):
        measure(net, x, build=dict)


def test_a_build_of_another_model_is_not_judged() -> None:
    report = iso.check(nn.Linear(8, 8), noise(32, 8), build=lambda: nn.Linear(8, 4))
    assert report.parameters[0].rebuilt is None
    assert any("without it" in n.why for n in report.not_checked)
