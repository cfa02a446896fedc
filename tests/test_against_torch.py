"""The README's table "what PyTorch does, what isometry does": a test for every row, of both sides.

.venv/bin/pytest tests/test_against_torch.py -v
"""

import math
import operator
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import isometry as iso
import isometry.torch as it

torch_fans = nn.init._calculate_fan_in_and_fan_out


def test_fans_of_a_depthwise_convolution() -> None:
    layer = nn.Conv2d(64, 64, 3, groups=64)
    assert torch_fans(layer.weight) == (9, 576)
    assert iso.fans(layer) == iso.Fans(9, 9)


def test_fans_of_a_transposed_convolution() -> None:
    layer = nn.ConvTranspose2d(64, 32, 4, stride=2)
    assert torch_fans(layer.weight) == (512, 1024)
    assert iso.fans(layer) == iso.Fans(64 * 4 * 4 / 2**2, 32 * 4 * 4)
    # who is right: the second moment of what one output sums, away from the border
    x = torch.randn(64, 64, 12, 12)
    with torch.no_grad():
        layer.bias.zero_()  # type: ignore[union-attr]
        layer.weight.normal_(std=iso.fans(layer).fan_in ** -0.5)  # type: ignore[union-attr]
        inner = layer(x)[:, :, 6:-6, 6:-6]
    # each filter's own deviation, sqrt(2 / (32 * 256 * ...)), is below a percent
    assert inner.square().mean().item() == pytest.approx(1.0, abs=0.05)


def test_query_key_and_value_in_one_matrix() -> None:
    attention = nn.MultiheadAttention(256, 4)
    assert attention.in_proj_weight.abs().max().item() == pytest.approx(
        math.sqrt(6 / (256 + 3 * 256)), rel=1e-3
    )
    tokens = torch.randn(7, 2, 256)
    plan = iso.plan(attention, (tokens, tokens, tokens), recipe="glorot")
    blocks = plan["in_proj_weight"].blocks
    assert len(blocks) == 3
    for block in blocks:
        assert block.law.variance == pytest.approx(2 / (256 + 256), rel=1e-6)


def test_gain_of_gelu() -> None:
    with pytest.raises(ValueError, match="Unsupported nonlinearity gelu"):
        nn.init.calculate_gain("gelu")  # type: ignore[arg-type]
    assert iso.gain("gelu") == pytest.approx(1.53353, rel=1e-6)
    assert iso.gain(lambda z: z * (z > 0)) == float(f"{math.sqrt(2):.6g}")


def test_a_truncated_normal_of_std_002_is_cut_at_two_sigma() -> None:
    theirs, ours = torch.empty(1000, 1000), torch.empty(1000, 1000)
    torch.manual_seed(0)
    nn.init.trunc_normal_(theirs, std=0.02)
    it.fill_(ours, iso.TruncatedNormal(std=0.02), seed=0, name="w")
    assert theirs.abs().max().item() > 4 * 0.02
    assert ours.abs().max().item() <= 0.045474
    # a million draws: the standard error of the std is 0.02 / sqrt(2e6)
    assert ours.std().item() == pytest.approx(0.02, abs=4 * 0.02 / math.sqrt(2e6))


def same_second_layer(initialise: Callable[[nn.Module], object]) -> bool:
    """Is a layer's weight the same when the layer before it is another?"""
    models = [nn.ModuleDict({"a": nn.Linear(16, size), "b": nn.Linear(8, 8)}) for size in (4, 5)]
    for model in models:
        initialise(model)
    first, second = (model["b"].weight for model in models)  # type: ignore[union-attr]
    return torch.equal(first, second)  # type: ignore[arg-type]


def test_a_layer_does_not_depend_on_the_layers_before_it() -> None:
    def theirs(model: nn.Module) -> None:
        torch.manual_seed(0)
        for weight in model.parameters():
            nn.init.normal_(weight, std=0.02)

    def ours(model: nn.Module) -> None:
        for name, weight in model.named_parameters():
            it.fill_(weight, iso.Normal(std=0.02), seed=0, name=name)

    assert not same_second_layer(theirs)
    assert same_second_layer(ours)


def same_in(change: Callable[[Tensor], Tensor], fill: Callable[[Tensor], object]) -> bool:
    """Are the values of a tensor the same when it lies otherwise in memory?"""
    plain = torch.empty(64, 8, 3, 3)
    changed = change(torch.empty(64, 8, 3, 3))
    fill(plain)
    fill(changed)
    return torch.equal(plain, changed)


def test_memory_layout_does_not_change_the_values() -> None:
    def theirs(tensor: Tensor) -> None:
        torch.manual_seed(0)
        nn.init.normal_(tensor)

    def ours(tensor: Tensor) -> None:
        it.fill_(tensor, iso.Normal(), seed=0, name="w")

    change = operator.methodcaller("to", memory_format=torch.channels_last)
    assert not same_in(change, theirs)
    assert same_in(change, ours)


def test_a_shard_is_drawn_alone() -> None:
    whole, part = torch.empty(64, 32), torch.empty(16, 32)
    it.fill_(whole, iso.Normal(), seed=0, name="w")
    it.fill_(part, iso.Normal(), seed=0, name="w", index=(slice(16, 32),), shape=(64, 32))
    assert torch.equal(whole[16:32], part)
