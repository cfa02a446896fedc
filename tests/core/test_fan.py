"""Fans from axes: the rows that a shape cannot tell, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from isometry.errors import ArgumentError
from isometry.fan import fans, fans_of, normalise_axes
from isometry.types import Axes, Fans

OUT_IN = Axes(in_axis=(1,), out_axis=(0,))
IN_OUT = Axes(in_axis=(0,), out_axis=(1,))


def test_torch_depthwise_conv2d() -> None:
    assert fans_of((64, 1, 3, 3), OUT_IN, groups=64) == Fans(9, 9)


def test_torch_grouped_conv2d() -> None:
    assert fans_of((128, 16, 3, 3), OUT_IN, groups=4) == Fans(144, 288)


def test_torch_experts() -> None:
    assert fans((8, 64, 256), in_axis=2, out_axis=1, batch_axis=0) == Fans(256, 64)


def test_torch_attention_in_proj_is_three_matrices() -> None:
    one = fans_of((256, 256), OUT_IN)
    assert (6 / (one.fan_in + one.fan_out)) ** 0.5 == pytest.approx(0.1083, abs=5e-5)
    three = fans((3, 256, 256), in_axis=2, out_axis=1, batch_axis=0)
    assert three == one


def test_keras_depthwise_conv2d() -> None:
    assert fans((3, 3, 64, 1), in_axis=(), out_axis=3, batch_axis=2) == Fans(9, 9)


def test_keras_conv2d_transpose() -> None:
    """Its kernel is (k, k, out, in): fan_in counts the last axis."""
    assert fans_of((3, 3, 32, 64), Axes((3,), (2,)), transposed=True) == Fans(576, 288)


def test_flax_einsum() -> None:
    assert fans((512, 8, 64), in_axis=0, out_axis=(1, 2)) == Fans(512, 512)


@pytest.mark.parametrize(("stride", "fan_in"), [(1, 1024), (2, 256), ((2, 2), 256), ((1, 4), 256)])
def test_flax_conv_transpose_with_its_kernel_transposed(stride: object, fan_in: int) -> None:
    found = fans_of((4, 4, 8, 64), Axes((3,), (2,)), stride=stride, transposed=True)
    assert found == Fans(fan_in, 128)


def test_tinygrad_glorot_conv() -> None:
    assert fans((64, 32, 3, 3), in_axis=1, out_axis=0) == Fans(288, 576)


def test_torch_conv_transpose_grouped_and_strided() -> None:
    """(in, out/groups, k, k) at stride 2: each output sees a quarter of the kernel's positions."""
    assert fans_of((64, 8, 4, 4), IN_OUT, groups=4, stride=2, transposed=True) == Fans(64, 128)


def test_a_stride_divides_the_fan_out_of_a_convolution() -> None:
    assert fans_of((128, 64, 3, 3), OUT_IN, stride=(1, 2)) == Fans(576, 576)
    assert fans_of((128, 64, 3, 3), OUT_IN, stride=2).fan_out == 288


def test_a_lookup_sums_one_term() -> None:
    assert fans((1000, 32), in_axis=(), out_axis=1, batch_axis=0) == Fans(1, 32)


def test_defaults_are_those_of_jax() -> None:
    assert fans((256, 128)) == Fans(256, 128)
    assert fans((3, 3, 16, 32)) == Fans(144, 288)
    assert fans(np.zeros((2, 5, 7)).shape, batch_axis=0) == Fans(5, 7)
    assert fans([np.int64(5), 7]) == Fans(5, 7)


def test_axes_may_be_negative_or_several() -> None:
    assert normalise_axes((2, 3, 4, 5), -1, (0, -3), 2) == Axes((3,), (0, 1), (2,))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fans((5,)), r"in_axis=-2 does not exist in shape \(5,\), which has 1 axis.*"
                             r"name axes that the array has .* or choose a law that needs no fans"),
        (lambda: fans(()), "which has 0 axes"),
        (lambda: fans((5, 6), in_axis=2), "in_axis=2 does not exist"),
        (lambda: fans((5, 6), in_axis=1), "axis 1 of shape .* is named twice: in_axis=1, out_axis="),
        (lambda: fans((5, 6, 7), batch_axis=-1), "named twice.*batch_axis=-1"),
        (lambda: fans((5, 6), in_axis=True), "in_axis=True: expected an integer"),
        (lambda: fans((5, 6), in_axis=(0.5,)), "expected an integer"),
        (lambda: fans((5, -6)), "expected a tuple of non-negative integers"),
        (lambda: fans((5, 6.0)), "expected a tuple of non-negative integers"),
        (lambda: fans((5, True)), "expected a tuple of non-negative integers"),
        (lambda: fans((64, 2, 3), groups=2), "groups=2 does not divide the 3 out channels"),
        (lambda: fans((64, 64), groups=0), "groups=0 does not divide"),
        (lambda: fans((3, 3, 4, 4), stride=0), "stride=0 for a receptive field of 2 axes"),
        (lambda: fans((3, 3, 4, 4), stride=(2,)), "stride=.2,. for a receptive field of 2 axes"),
        (lambda: fans_of((6, 4, 3), IN_OUT, groups=4, transposed=True), "the 6 in channels"),
    ],
)  # fmt: skip
def test_errors(call: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        call()
