"""Each layer of Keras: its fans, its place in PyTorch's layout, and the variance that it gets."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

import isometry as iso
from isometry.errors import ArgumentError
from isometry.types import Fans

from .models import host

L = keras.layers
SEQ, IMG, VOL = (4, 6, 8), (4, 12, 12, 8), (2, 6, 6, 6, 8)


def built(layer: Any, shape: tuple[int, ...]) -> Any:
    layer(np.zeros(shape, np.float32))
    return layer


# -- fans ------------------------------------------------------------------------------------


def test_DepthwiseConv2D_reads_nine_pixels_of_one_channel() -> None:
    layer = built(L.DepthwiseConv2D(3), (2, 9, 9, 64))
    assert iso.fans(layer) == Fans(9.0, 9.0)
    assert iso.fans(built(L.DepthwiseConv2D(3, depth_multiplier=2), (2, 9, 9, 64))) == Fans(9, 18)


def test_Conv2DTranspose_counts_by_the_layer_and_its_stride() -> None:
    layer = built(L.Conv2DTranspose(8, 4, strides=2), (2, 9, 9, 64))
    assert iso.fans(layer) == Fans(64 * 16 / 4, 8 * 16)
    assert iso.fans(built(L.Conv2DTranspose(8, 4), (2, 9, 9, 64))) == Fans(1024, 128)


def test_Conv2D_divides_by_groups_and_stride() -> None:
    assert iso.fans(built(L.Conv2D(128, 3, groups=4), (2, 9, 9, 64))) == Fans(144, 288)
    assert iso.fans(built(L.Conv2D(128, 3, strides=2), (2, 9, 9, 64))) == Fans(576, 288)


def test_SeparableConv2D_is_two_convolutions() -> None:
    assert iso.fans(built(L.SeparableConv2D(16, 3), (2, 9, 9, 8))) == {
        "depthwise_kernel": Fans(9, 9), "pointwise_kernel": Fans(8, 16),
    }  # fmt: skip


def test_EinsumDense_sums_over_the_axes_of_its_equation() -> None:
    assert iso.fans(built(L.EinsumDense("btd,dnh->btnh", (None, 8, 64)), (2, 4, 512))) == Fans(
        512, 512
    )
    assert iso.fans(built(L.EinsumDense("btnh,nhd->btd", (None, 64)), (2, 4, 8, 32))) == Fans(
        256, 64
    )


def test_MultiHeadAttention_is_four_matrices() -> None:
    layer = L.MultiHeadAttention(4, 16)
    x = np.zeros((2, 5, 64), np.float32)
    layer(x, x)
    found = iso.fans(layer)
    assert found["query.weight"] == found["attention_output.weight"] == Fans(64, 64)


def test_LSTM_and_GRU_are_a_matrix_a_gate() -> None:
    for layer in (built(L.LSTM(16), SEQ), built(L.GRU(16), SEQ)):
        assert iso.fans(layer) == {"weight_ih_l0": Fans(8, 16), "weight_hh_l0": Fans(16, 16)}


def test_Embedding_is_looked_up() -> None:
    layer = L.Embedding(100, 16)
    layer.build()
    assert iso.fans(layer) == Fans(1, 16)


def test_fans_of_what_has_none() -> None:
    with pytest.raises(ArgumentError, match="is not built"):
        iso.fans(L.Dense(4))
    with pytest.raises(ArgumentError, match="is not a layer whose fans are known"):
        iso.fans(built(L.BatchNormalization(), SEQ))


# -- the same function as PyTorch's layer of the same name and seed ----------------------------


def as_model(layer: Any) -> Any:
    return keras.Sequential([layer])


def named(layer: nn.Module) -> nn.Module:
    model = nn.Module()
    model.add_module("f", layer)
    model.forward = lambda x: layer(x)  # type: ignore[assignment]
    return model


def channels_first(x: Any) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(x, -1, 1).copy())


Case = tuple[Callable[[], Any], Callable[[], nn.Module], tuple[int, ...], bool]
SAME: dict[str, Case] = {
    "Dense": (lambda: L.Dense(5, name="f"), lambda: nn.Linear(8, 5), (4, 8), False),
    "Conv1D": (lambda: L.Conv1D(6, 3, name="f"), lambda: nn.Conv1d(8, 6, 3), SEQ, True),
    "Conv2D": (
        lambda: L.Conv2D(6, 3, strides=2, groups=2, name="f"),
        lambda: nn.Conv2d(8, 6, 3, stride=2, groups=2), IMG, True,
    ),
    "Conv3D": (lambda: L.Conv3D(4, 3, name="f"), lambda: nn.Conv3d(8, 4, 3), VOL, True),
    "DepthwiseConv1D": (
        lambda: L.DepthwiseConv1D(3, depth_multiplier=2, name="f"),
        lambda: nn.Conv1d(8, 16, 3, groups=8), SEQ, True,
    ),
    "DepthwiseConv2D": (
        lambda: L.DepthwiseConv2D(3, depth_multiplier=2, name="f"),
        lambda: nn.Conv2d(8, 16, 3, groups=8), IMG, True,
    ),
    "Conv1DTranspose": (
        lambda: L.Conv1DTranspose(6, 4, strides=2, name="f"),
        lambda: nn.ConvTranspose1d(8, 6, 4, stride=2), SEQ, True,
    ),
    "Conv2DTranspose": (
        lambda: L.Conv2DTranspose(6, 4, strides=2, name="f"),
        lambda: nn.ConvTranspose2d(8, 6, 4, stride=2), IMG, True,
    ),
    "Conv3DTranspose": (
        lambda: L.Conv3DTranspose(4, 3, strides=2, name="f"),
        lambda: nn.ConvTranspose3d(8, 4, 3, stride=2), VOL, True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SAME)
def test_the_layer_computes_what_pytorch_s_does(name: str) -> None:
    make, make_torch, shape, image = SAME[name]
    x = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    model, twin = as_model(make()), named(make_torch())
    tensor = channels_first(x) if image else torch.from_numpy(x)
    plan, other = iso.initialize(model, x, seed=9), iso.initialize(twin, tensor, seed=9)
    assert plan.digest == other.digest
    y = host(model(x))
    wanted = host(twin(tensor))
    wanted = np.moveaxis(wanted, 1, -1) if image else wanted
    assert np.allclose(y, wanted, atol=2e-5 * np.abs(wanted).max())


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "SimpleRNN", "BidirectionalLSTM"])
def test_a_recurrent_layer_computes_what_pytorch_s_does(kind: str) -> None:
    both = kind.startswith("Bidirectional")
    name = kind.removeprefix("Bidirectional")
    own = getattr(L, name)(16, return_sequences=True, name="f")
    layer = L.Bidirectional(own, name="f") if both else own
    torch_class = {"LSTM": nn.LSTM, "GRU": nn.GRU, "SimpleRNN": nn.RNN}[name]
    inner = torch_class(8, 16, batch_first=True, bidirectional=both)

    class Twin(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.f = inner

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.f(x)[0]

    x = np.random.default_rng(1).standard_normal((4, 6, 8), dtype=np.float32)
    model, twin = as_model(layer), Twin()
    plan = iso.initialize(model, x, seed=9)
    other = iso.initialize(twin, torch.from_numpy(x), seed=9)
    for decision in plan:
        if "weight" in decision.name:
            same = other[decision.name]
            assert (decision.law, decision.blocks) == (same.law, same.blocks)
    y, wanted = host(model(x)), host(twin(torch.from_numpy(x)))
    assert np.allclose(y, wanted, atol=1e-5)


def test_EinsumDense_computes_what_a_linear_layer_does() -> None:
    x = np.random.default_rng(1).standard_normal((4, 6, 8), dtype=np.float32)
    layer = L.EinsumDense("btd,dnh->btnh", (None, 3, 5), bias_axes="nh", name="f")
    model, twin = as_model(layer), named(nn.Linear(8, 15))
    plan = iso.initialize(model, x, seed=9)
    assert plan.digest == iso.initialize(twin, torch.from_numpy(x), seed=9).digest
    wanted = host(twin(torch.from_numpy(x))).reshape(4, 6, 3, 5)
    assert np.allclose(host(model(x)), wanted, atol=1e-5)


def test_the_forget_gate_is_open() -> None:
    model = as_model(L.LSTM(4))
    iso.initialize(model, np.zeros(SEQ, np.float32))
    assert np.array_equal(model.get_weights()[2], np.repeat([0.0, 1.0, 0.0, 0.0], 4))


# -- laws ------------------------------------------------------------------------------------

LAWS: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
    "Dense": (lambda: L.Dense(300), (4, 200)),
    "EinsumDense": (lambda: L.EinsumDense("btd,dnh->btnh", (None, 6, 50)), (2, 3, 200)),
    "Conv1D": (lambda: L.Conv1D(200, 3, padding="causal"), (2, 8, 100)),
    "Conv2D": (lambda: L.Conv2D(120, 3, groups=2, padding="same"), (2, 8, 8, 100)),
    "Conv3D": (lambda: L.Conv3D(40, 3), (2, 5, 5, 5, 50)),
    "DepthwiseConv1D": (lambda: L.DepthwiseConv1D(5, depth_multiplier=4), (2, 8, 3000)),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(3, depth_multiplier=2), (2, 8, 8, 3000)),
    "SeparableConv1D": (lambda: L.SeparableConv1D(80, 3), (2, 8, 3000)),
    "SeparableConv2D": (lambda: L.SeparableConv2D(60, 3), (2, 8, 8, 2000)),
    "Conv1DTranspose": (lambda: L.Conv1DTranspose(200, 4, strides=2), (2, 8, 100)),
    "Conv2DTranspose": (lambda: L.Conv2DTranspose(60, 4, strides=2), (2, 8, 8, 60)),
    "Conv3DTranspose": (lambda: L.Conv3DTranspose(40, 3), (2, 5, 5, 5, 50)),
    "GRU": (lambda: L.GRU(128), (2, 5, 256)),
    "GRU, reset before": (lambda: L.GRU(128, reset_after=False), (2, 5, 256)),
    "LSTM": (lambda: L.LSTM(128), (2, 5, 256)),
    "SimpleRNN": (lambda: L.SimpleRNN(200), (2, 5, 256)),
    "Bidirectional": (lambda: L.Bidirectional(L.GRU(128)), (2, 5, 256)),
    "ConvLSTM2D": (lambda: L.ConvLSTM2D(32, 3, padding="same"), (2, 3, 6, 6, 32)),
    "TimeDistributed": (lambda: L.TimeDistributed(L.Dense(300)), (2, 5, 200)),
}


@pytest.mark.parametrize("name", LAWS)
def test_the_variance_that_was_planned(name: str) -> None:
    make, shape = LAWS[name]
    model = as_model(make())
    x = np.zeros(shape, np.float32)
    plan = iso.initialize(model, x, seed=11, recipe="he")
    drawn = 0
    for variable, values in zip(model.weights, model.get_weights(), strict=True):
        decision = plan[next(d.name for d in plan if _is(d, variable, model))]
        if not decision.law.random or not decision.law.elementwise:
            continue
        drawn += 1
        variance = np.square(values, dtype=np.float64).mean()
        # A Gaussian's second moment over n values has a standard error of sqrt(2 / n).
        assert variance == pytest.approx(decision.law.variance, rel=5 * math.sqrt(2 / values.size))
        fans = decision.fans
        assert decision.law.variance == pytest.approx(decision.gain**2 / fans.fan_in, rel=1e-5)
    assert drawn >= 1


def _is(decision: Any, variable: Any, model: Any) -> bool:
    from isometry.keras.structure import owned_variables

    return any(
        o.variable is variable and o.names[0] == decision.name for o in owned_variables(model)
    )


@pytest.mark.parametrize("name", ["MultiHeadAttention", "GroupQueryAttention"])
def test_the_variance_of_each_projection(name: str) -> None:
    layer = (
        L.MultiHeadAttention(4, 64)
        if name == "MultiHeadAttention"
        else L.GroupQueryAttention(64, 4, 2)
    )

    class Net(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.attn = layer

        def call(self, x: Any) -> Any:
            return self.attn(x, x, use_causal_mask=True)

    model, x = Net(), np.zeros((2, 5, 256), np.float32)
    plan = iso.initialize(model, x, seed=1)
    for part, kernel in (("query", layer._query_dense), ("attention_output", layer._output_dense)):
        values, decision = host(kernel.kernel), plan[f"attn.{part}.weight"]
        assert decision.fans == Fans(256.0, 256.0)
        assert np.square(values).mean() == pytest.approx(
            decision.law.variance, rel=5 * math.sqrt(2 / values.size)
        )


def test_channels_first_is_the_same_plan() -> None:
    def make(data_format: str, axis: int) -> Any:
        return keras.Sequential(
            [
                L.Conv2D(8, 3, data_format=data_format, name="a"),
                L.BatchNormalization(axis=axis, name="n"),
                L.ReLU(),
                L.Conv2DTranspose(8, 4, strides=2, data_format=data_format, name="b"),
                L.DepthwiseConv2D(3, data_format=data_format, name="c"),
            ]
        )

    last, first = make("channels_last", -1), make("channels_first", 1)
    last.build((4, 12, 12, 6))
    first.build((4, 6, 12, 12))
    plans = iso.plan(last), iso.plan(first)
    assert plans[0].digest == plans[1].digest
    assert [d.reason for d in plans[0]] == [d.reason for d in plans[1]]


def test_LoRA_s_second_factor_stays_zero() -> None:
    model = keras.Sequential([L.Input((8,)), L.Dense(16, name="f"), L.Dense(4)])
    model.layers[0].enable_lora(2)
    plan = iso.initialize(model)
    assert [plan[f"f.{n}"].keeps for n in ("weight", "lora_kernel_a", "lora_kernel_b")] == [
        True
    ] * 3
    assert not host(model.layers[0].lora_kernel_b).any()
    assert host(model.layers[0].lora_kernel_a).any()
    assert not plan["dense.weight"].keeps
